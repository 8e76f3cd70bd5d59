use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::disk::sim::LossVariant;
use crate::disk::{CallKind, Disk, FaultDisk, OpenMode, SimDisk};
use crate::error::{Result, StoreError};
use crate::read::{Direction, Io, KeyRange, VersionedEntry};

mod damage;

pub(crate) const DIR: &str = "tables";

/// A simulated disk and a cache, and the tables built on them.
pub(crate) struct Bench {
    pub(crate) sim: SimDisk,
    pub(crate) faults: FaultDisk,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) cache: Arc<BlockCache>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let sim = SimDisk::new();
        sim.create_dir(Path::new(DIR)).unwrap();
        let faults = FaultDisk::over_sim(sim.clone());
        Self {
            disk: Arc::new(faults.clone()),
            faults,
            sim,
            cache: Arc::new(BlockCache::new(4 * 1024 * 1024)),
        }
    }

    /// Read calls so far.
    pub(crate) fn reads(&self) -> u64 {
        self.sim.calls().of(CallKind::Read)
    }

    /// Names of the files there are.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = self.sim.list(Path::new(DIR)).unwrap();
        names.sort();
        names
    }

    /// Makes the file of `meta` with these bytes, or replaces them.
    pub(crate) fn put(&self, meta: &TableMeta, bytes: &[u8]) {
        let path = meta.path(Path::new(DIR));
        let file = match self.sim.open(&path, OpenMode::Create) {
            Ok(file) => file,
            Err(_) => self.sim.open(&path, OpenMode::Write).unwrap(),
        };
        file.truncate(bytes.len() as u64).unwrap();
        file.write_all_at(bytes, 0).unwrap();
    }

    pub(crate) fn contents(&self, meta: &TableMeta) -> Vec<u8> {
        self.sim.read(&meta.path(Path::new(DIR))).unwrap()
    }

    pub(crate) fn build(
        &self,
        number: u64,
        options: TableOptions,
        entries: impl IntoIterator<Item = VersionedEntry>,
    ) -> TableMeta {
        let mut builder = TableBuilder::new(&self.disk, Path::new(DIR), number, options).unwrap();
        for entry in entries {
            builder.add(&entry).unwrap();
        }
        builder.finish().unwrap().unwrap()
    }

    pub(crate) fn open(&self, meta: &TableMeta) -> Result<Arc<Table>> {
        Table::open(&self.disk, Path::new(DIR), meta, Arc::clone(&self.cache))
    }

    pub(crate) fn table(
        &self,
        number: u64,
        entries: impl IntoIterator<Item = VersionedEntry>,
    ) -> Arc<Table> {
        let meta = self.build(number, TableOptions::default(), entries);
        self.open(&meta).unwrap()
    }
}

pub(crate) fn get(
    table: &Table,
    key: &[u8],
    lsn: Lsn,
    io: Io,
) -> Result<Option<(Lsn, Option<Bytes>)>> {
    table.get(key, filter::KeyHash::of(key), lsn, io, &mut None)
}

pub(crate) fn entry(key: impl AsRef<[u8]>, lsn: u64, value: Option<&[u8]>) -> VersionedEntry {
    VersionedEntry {
        key: Bytes::copy_from_slice(key.as_ref()),
        lsn: Lsn(lsn),
        value: value.map(Bytes::copy_from_slice),
    }
}

pub(crate) fn all() -> KeyRange {
    KeyRange {
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
    }
}

pub(crate) type Model = BTreeMap<(Vec<u8>, Reverse<u64>), Option<Vec<u8>>>;

pub(crate) fn model_entries(model: &Model) -> Vec<VersionedEntry> {
    model
        .iter()
        .map(|((key, Reverse(lsn)), value)| entry(key, *lsn, value.as_deref()))
        .collect()
}

pub(crate) fn models(most: usize) -> impl Strategy<Value = Model> {
    // Few letters, so that there are many versions and many common prefixes.
    let key = proptest::collection::vec(b'a'..b'd', 0..5);
    let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    proptest::collection::btree_map((key, (1u64..30).prop_map(Reverse)), value, 1..most)
}

fn bounds() -> impl Strategy<Value = Bound<Bytes>> {
    (0..3, proptest::collection::vec(b'a'..b'e', 0..4)).prop_map(|(kind, key)| match kind {
        0 => Bound::Unbounded,
        1 => Bound::Included(Bytes::from(key)),
        _ => Bound::Excluded(Bytes::from(key)),
    })
}

fn options() -> impl Strategy<Value = TableOptions> {
    (prop_oneof![Just(1usize), 64usize..600], any::<bool>()).prop_map(|(block_bytes, compress)| {
        TableOptions {
            block_bytes,
            compress,
            ..TableOptions::default()
        }
    })
}

proptest! {
    #[test]
    fn a_table_answers_like_a_map(
        model in models(200),
        options in options(),
        ranges in proptest::collection::vec((bounds(), bounds()), 1..8),
    ) {
        let bench = Bench::new();
        let meta = bench.build(3, options, model_entries(&model));
        prop_assert_eq!(meta.entries, model.len() as u64);
        prop_assert_eq!(meta.tombstones, model.values().filter(|v| v.is_none()).count() as u64);
        let table = bench.open(&meta).unwrap();
        table.verify().unwrap();

        let mut keys: Vec<Vec<u8>> = model.keys().map(|(key, _)| key.clone()).collect();
        keys.dedup();
        for key in keys.clone() {
            keys.push([key.as_slice(), b"b"].concat());
        }
        for key in keys {
            for lsn in [0, 1, 7, 15, 29, u64::MAX] {
                let at = (key.clone(), Reverse(lsn));
                let expected = model
                    .range(at..)
                    .next()
                    .filter(|((found, _), _)| *found == key)
                    .map(|((_, Reverse(lsn)), value)| {
                        (Lsn(*lsn), value.as_deref().map(Bytes::copy_from_slice))
                    });
                prop_assert_eq!(get(&table, &key, Lsn(lsn), Io::Allow).unwrap(), expected);
            }
        }
        for (lower, upper) in ranges {
            let range = KeyRange { lower, upper };
            let bounds = (range.lower.as_ref(), range.upper.as_ref());
            let mut expected: Vec<_> = model_entries(&model)
                .into_iter()
                .filter(|entry| std::ops::RangeBounds::<Bytes>::contains(&bounds, &entry.key))
                .collect();
            for direction in [Direction::Ascending, Direction::Descending] {
                let found: Result<Vec<_>> =
                    table.scan(range.clone(), direction, Io::Allow).collect();
                prop_assert_eq!(&found.unwrap(), &expected);
                expected.reverse();
            }
        }
    }

    #[test]
    fn a_description_comes_back(number: u64, bytes: u64, checksum: u32, model in models(20)) {
        let bench = Bench::new();
        let meta = TableMeta {
            number,
            bytes,
            checksum,
            ..bench.build(1, TableOptions::default(), model_entries(&model))
        };
        let mut out = Vec::new();
        meta.encode(&mut out);
        let mut reader = Reader::new(&out);
        prop_assert_eq!(&TableMeta::decode(&mut reader).unwrap(), &meta);
        prop_assert!(reader.is_empty());
        for len in 0..out.len() {
            prop_assert!(TableMeta::decode(&mut Reader::new(&out[..len])).is_err());
        }
    }
}

/// More blocks than one scan puts into the cache, so that reading ahead is covered.
#[test]
fn a_long_scan_reads_past_the_cache_and_leaves_it_to_lookups() {
    let bench = Bench::new();
    let value = [7u8; 300];
    let entries: Vec<_> = (0..20_000u64)
        .map(|n| entry(n.to_be_bytes(), n + 1, Some(&value)))
        .collect();
    let options = TableOptions {
        compress: false,
        ..TableOptions::default()
    };
    let table = bench
        .open(&bench.build(1, options, entries.clone()))
        .unwrap();
    assert!(table.index().len() > 4 * scan::MAX_FILLS);
    for direction in [Direction::Ascending, Direction::Descending] {
        let reads = bench.reads();
        let mut found: Vec<_> = table
            .scan(all(), direction, Io::Allow)
            .collect::<Result<_>>()
            .unwrap();
        if direction == Direction::Descending {
            found.reverse();
        }
        assert_eq!(found, entries);
        let reads = bench.reads() - reads;
        assert!(reads < scan::MAX_FILLS as u64 + 40, "{reads} reads");
    }
    assert!(bench.cache.memory_bytes() < 3 * scan::MAX_FILLS as u64 * 8192);
    let reads = bench.reads();
    assert_eq!(table.scan_all().count(), entries.len());
    assert!(bench.reads() - reads < 30);
}

#[test]
fn memory_only_reads_do_not_touch_the_disk() {
    let bench = Bench::new();
    let entries = (0..2000u64).map(|n| entry(n.to_be_bytes(), 1, Some(b"value")));
    let table = bench.table(1, entries);
    let reads = bench.reads();
    let key = 700u64.to_be_bytes();
    let present = |io| get(&table, &key, Lsn::MAX, io);
    assert!(matches!(
        present(Io::MemoryOnly),
        Err(StoreError::WouldBlock)
    ));
    let mut scan = table.scan(all(), Direction::Ascending, Io::MemoryOnly);
    assert!(matches!(scan.next(), Some(Err(StoreError::WouldBlock))));
    assert!(scan.next().is_none());
    // The filter and the LSN range answer without a block.
    assert_eq!(
        get(&table, b"absent", Lsn::MAX, Io::MemoryOnly).unwrap(),
        None
    );
    assert_eq!(get(&table, &key, Lsn::ZERO, Io::MemoryOnly).unwrap(), None);
    assert_eq!(bench.reads(), reads);

    assert!(present(Io::Allow).unwrap().is_some());
    assert!(present(Io::MemoryOnly).unwrap().is_some());
    assert_eq!(bench.reads(), reads + 1);
}

#[test]
fn a_value_is_a_slice_of_the_cached_block() {
    let bench = Bench::new();
    let table = bench.table(1, [entry("k", 1, Some(b"value"))]);
    let value = || {
        get(&table, b"k", Lsn::MAX, Io::Allow)
            .unwrap()
            .unwrap()
            .1
            .unwrap()
    };
    assert_eq!(value().as_ptr(), value().as_ptr());
}

#[test]
fn a_large_entry_has_a_block_of_its_own() {
    let bench = Bench::new();
    let large = vec![1u8; 100_000];
    let entries = [
        entry("a", 1, Some(b"small")),
        entry("b", 1, Some(&large)),
        entry("c", 1, Some(b"small")),
        entry("d", 1, Some(b"small")),
    ];
    let table = bench.table(1, entries.clone());
    assert_eq!(table.index().len(), 3);
    let found: Result<Vec<_>> = table.scan_all().collect();
    assert_eq!(found.unwrap(), entries);
}

#[test]
fn the_largest_key_and_value_fit_and_larger_ones_are_refused() {
    use crate::limits::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
    let bench = Bench::new();
    let largest = entry(
        vec![7; MAX_KEY_BYTES],
        u64::MAX,
        Some(&vec![7; MAX_VALUE_BYTES]),
    );
    let mut builder =
        TableBuilder::new(&bench.disk, Path::new(DIR), 1, TableOptions::default()).unwrap();
    let key = entry(vec![6; MAX_KEY_BYTES + 1], 1, None);
    let value = entry("k", 1, Some(&vec![7; MAX_VALUE_BYTES + 1]));
    assert!(matches!(
        builder.add(&key),
        Err(StoreError::TooLarge { what: "key", .. })
    ));
    assert!(matches!(
        builder.add(&value),
        Err(StoreError::TooLarge { what: "value", .. })
    ));
    builder.add(&largest).unwrap();
    let table = bench.open(&builder.finish().unwrap().unwrap()).unwrap();
    let found = get(&table, &largest.key, Lsn::MAX, Io::Allow).unwrap();
    assert_eq!(found, Some((largest.lsn, largest.value)));
    table.verify().unwrap();
}

#[test]
fn entries_out_of_order_are_refused() {
    let bench = Bench::new();
    for (second, number) in [(("a", 9), 1), (("b", 5), 2), (("b", 6), 3)] {
        let mut builder =
            TableBuilder::new(&bench.disk, Path::new(DIR), number, TableOptions::default())
                .unwrap();
        builder.add(&entry("b", 5, None)).unwrap();
        let result = builder.add(&entry(second.0, second.1, None));
        assert!(
            matches!(result, Err(StoreError::Corrupt { .. })),
            "{second:?}"
        );
    }
}

#[test]
fn an_unfinished_or_empty_table_leaves_no_file() {
    let bench = Bench::new();
    let builder = |number| {
        TableBuilder::new(&bench.disk, Path::new(DIR), number, TableOptions::default()).unwrap()
    };
    let mut unfinished = builder(1);
    unfinished.add(&entry("a", 1, None)).unwrap();
    assert_eq!(bench.names(), [file_name(1)]);
    drop(unfinished);
    assert_eq!(builder(2).finish().unwrap(), None);
    assert!(bench.names().is_empty());
}

/// The builder syncs the file, its caller the directory: after that a power cut takes nothing.
#[test]
fn a_finished_table_survives_a_power_cut() {
    let bench = Bench::new();
    bench.sim.sync_dir(Path::new("")).unwrap();
    let value = [3u8; 9000];
    let entries: Vec<_> = (0..600u64)
        .map(|n| entry(n.to_be_bytes(), n + 1, Some(&value)))
        .collect();
    let options = TableOptions {
        compress: false,
        ..TableOptions::default()
    };
    let meta = bench.build(1, options, entries.clone());
    let syncs = bench.sim.calls().of(CallKind::SyncData);
    assert_eq!(syncs, 2, "5 MiB are synced on the way and at the end");
    bench.sim.sync_dir(Path::new(DIR)).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(bench.sim.image().survive(LossVariant::LoseUnsynced, 1));
    let table = Table::open(&disk, Path::new(DIR), &meta, Arc::clone(&bench.cache)).unwrap();
    table.verify().unwrap();
    let found: Result<Vec<_>> = table.scan_all().collect();
    assert_eq!(found.unwrap(), entries);
}

#[test]
fn an_obsolete_table_goes_with_its_last_reader() {
    let bench = Bench::new();
    let table = bench.table(1, [entry("a", 1, Some(b"v"))]);
    let kept = bench.table(2, [entry("a", 1, Some(b"v"))]);
    assert!(get(&table, b"a", Lsn::MAX, Io::Allow).unwrap().is_some());
    let mut scan = table.scan(all(), Direction::Ascending, Io::Allow);
    table.mark_obsolete();
    drop(table);
    assert_eq!(bench.names().len(), 2);
    assert!(scan.next().unwrap().is_ok());
    drop(scan);
    drop(kept);
    assert_eq!(bench.names(), [file_name(2)]);
    assert_eq!(bench.cache.memory_bytes(), 0);
}

#[test]
fn the_estimate_is_near_the_size_of_the_file() {
    let bench = Bench::new();
    let options = TableOptions {
        compress: false,
        ..TableOptions::default()
    };
    let mut builder = TableBuilder::new(&bench.disk, Path::new(DIR), 1, options).unwrap();
    for n in 0..5000u64 {
        builder
            .add(&entry(n.to_be_bytes(), 1, Some(&[1; 100])))
            .unwrap();
    }
    let estimate = builder.estimated_bytes();
    let bytes = builder.finish().unwrap().unwrap().bytes;
    assert!(
        estimate.abs_diff(bytes) < 1000,
        "{estimate} estimated, {bytes} written"
    );
}

#[test]
fn file_names_are_read_back_and_nothing_else_is() {
    assert_eq!(file_name(17), "table-0000000017.sst");
    for number in [0, 17, 9_999_999_999, 12_345_678_901, u64::MAX] {
        assert_eq!(parse_file_name(&file_name(number)), Some(number));
    }
    for name in [
        "table-17.sst",
        "table-+000000017.sst",
        "table-00000000017.sst",
        "table-0000000017.sst.tmp",
        "table-.sst",
        "wal-0000000017.wal",
        "lost+found",
    ] {
        assert_eq!(parse_file_name(name), None, "{name}");
    }
}
