use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::checkpoint::pick::pick;
use crate::disk::fault::{Failure, Rule};
use crate::read::merge::VisibleScan;
use crate::read::{Io, VersionedEntry};
use crate::table::tests::{Bench, DIR, Model, all, entry, model_entries};
use crate::table::{Levels, Table, TableOptions};

/// Levels on a disk in memory, checkpointed and compacted as a store does it.
struct Tree {
    bench: Bench,
    options: CompactionOptions,
    levels: Arc<Levels>,
    next_number: u64,
    written_bytes: u64,
}

impl Tree {
    fn new(options: CompactionOptions) -> Self {
        Self {
            bench: Bench::new(),
            options,
            levels: Arc::new(Levels::default()),
            next_number: 1,
            written_bytes: 0,
        }
    }

    fn checkpoint(&mut self, entries: impl IntoIterator<Item = VersionedEntry>) -> u64 {
        let meta = self
            .bench
            .build(self.next_number, self.options.table, entries);
        self.next_number += 1;
        self.written_bytes += meta.bytes;
        let table = self.bench.open(&meta).unwrap();
        self.levels = Arc::new(self.levels.with_checkpoint(table));
        meta.bytes
    }

    fn run(&mut self, compaction: &Compaction, oldest_needed: Lsn) -> Result<Vec<TableMeta>> {
        let next_number = &mut self.next_number;
        let mut next = || {
            *next_number += 1;
            *next_number - 1
        };
        let dir = Path::new(DIR);
        let disk = &self.bench.disk;
        run(
            compaction,
            &self.options,
            disk,
            dir,
            &mut next,
            oldest_needed,
            &|| false,
        )
    }

    fn apply(&mut self, compaction: &Compaction, oldest_needed: Lsn) {
        let mut outputs = Vec::new();
        if !compaction.trivial_move {
            for meta in self.run(compaction, oldest_needed).unwrap() {
                self.written_bytes += meta.bytes;
                outputs.push(self.bench.open(&meta).unwrap());
            }
            compaction.tables().for_each(|table| table.mark_obsolete());
        }
        self.levels = Arc::new(compaction.apply(&self.levels, outputs).unwrap());
    }

    /// Compacts until nothing is left to do; returns how many merges and moves that took.
    fn settle(&mut self, oldest_needed: Lsn) -> (usize, usize) {
        let (mut merges, mut moves) = (0, 0);
        while let Some(compaction) = pick(&self.levels, &self.options, oldest_needed) {
            *(if compaction.trivial_move {
                &mut moves
            } else {
                &mut merges
            }) += 1;
            assert!(merges + moves < 1000, "compaction does not come to an end");
            self.apply(&compaction, oldest_needed);
        }
        (merges, moves)
    }

    fn shape(&self) -> Vec<usize> {
        self.levels.iter().map(<[_]>::len).collect()
    }

    fn visible(&self, direction: Direction, lsn: Lsn) -> Vec<(Bytes, Lsn, Bytes)> {
        let mut sources = Vec::new();
        self.levels.scan(&all(), direction, Io::Allow, &mut sources);
        VisibleScan::new(sources, direction, lsn)
            .collect::<Result<_>>()
            .unwrap()
    }
}

fn small() -> CompactionOptions {
    CompactionOptions {
        level_0_tables: 4,
        base_bytes: 6_000,
        growth: 4,
        table_bytes: 2_000,
        table: TableOptions {
            block_bytes: 300,
            filter_bits_per_key: 10,
            compress: false,
        },
    }
}

fn numbered(
    keys: impl IntoIterator<Item = u32>,
    lsn: u64,
    value: Option<&[u8]>,
) -> Vec<VersionedEntry> {
    keys.into_iter()
        .map(|key| entry(key.to_be_bytes(), lsn, value))
        .collect()
}

fn newest_at(model: &Model, key: &[u8], lsn: u64) -> Option<(Lsn, Option<Bytes>)> {
    let at = (key.to_vec(), Reverse(lsn));
    model
        .range(at..)
        .next()
        .filter(|((found, _), _)| found == key)
        .map(|((_, Reverse(lsn)), value)| (Lsn(*lsn), value.as_deref().map(Bytes::copy_from_slice)))
}

/// One batch of writes becomes one checkpoint; a batch puts or deletes some of 40 keys.
type Batch = Vec<(u8, Option<u8>)>;

fn batches() -> impl Strategy<Value = Vec<(Batch, bool)>> {
    let write = (0u8..40, proptest::option::weighted(0.7, any::<u8>()));
    let batch = proptest::collection::vec(write, 1..30);
    proptest::collection::vec((batch, any::<bool>()), 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// A view that stays open, and every newer one, sees the same through all compactions.
    #[test]
    fn readers_cannot_tell_that_tables_were_merged(batches in batches(), held in 0u64..400) {
        let mut tree = Tree::new(small());
        let mut model = Model::new();
        let mut lsn = 0;
        for (batch, compact) in batches {
            let mut entries = Model::new();
            for (key, value) in batch {
                lsn += 1;
                let value = value.map(|value| vec![value; 60]);
                entries.insert((vec![b'k', key], Reverse(lsn)), value);
            }
            tree.checkpoint(model_entries(&entries));
            model.append(&mut entries);
            let oldest = held.min(lsn);
            if compact {
                tree.settle(Lsn(oldest));
            }
            for at in [oldest, (oldest + lsn) / 2, lsn] {
                let mut expected = Vec::new();
                for key in 0..40u8 {
                    let key = [b'k', key];
                    let newest = newest_at(&model, &key, at);
                    let found = tree.levels.get(&key, Lsn(at), Io::Allow).unwrap();
                    // A tombstone that nobody needs may be gone.
                    if found.is_some() || newest.as_ref().is_some_and(|(_, value)| value.is_some()) {
                        prop_assert_eq!(&found, &newest);
                    }
                    if let Some((lsn, Some(value))) = newest {
                        expected.push((Bytes::copy_from_slice(&key), lsn, value));
                    }
                }
                prop_assert_eq!(&tree.visible(Direction::Ascending, Lsn(at)), &expected);
                expected.reverse();
                prop_assert_eq!(&tree.visible(Direction::Descending, Lsn(at)), &expected);
            }
        }
        tree.settle(Lsn(lsn));
        if let Some(everything) = Compaction::everything(&tree.levels) {
            tree.apply(&everything, Lsn(lsn));
        }
        let left: u64 = tree.levels.tables().map(|table| table.meta().entries).sum();
        prop_assert_eq!(left, tree.visible(Direction::Ascending, Lsn(lsn)).len() as u64);
        prop_assert!(Compaction::everything(&tree.levels).is_none());
        prop_assert_eq!(tree.bench.names().len(), tree.levels.tables().count());
    }
}

#[test]
fn full_checkpoints_of_random_keys_are_written_at_most_ten_times() {
    let mut options = CompactionOptions {
        base_bytes: 4 * 64 * 1024,
        table_bytes: 64 * 1024,
        ..CompactionOptions::default()
    };
    options.table.compress = false;
    let mut tree = Tree::new(options);
    let mut seed = 7u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed >> 33
    };
    let (mut flushed, mut runs) = (0, 0);
    let mut model = BTreeMap::new();
    for lsn in 1..=20 {
        let mut keys: Vec<_> = (0..560)
            .map(|_| random() % 20_000)
            .map(|n| u32::try_from(n).unwrap())
            .collect();
        keys.sort_unstable();
        keys.dedup();
        model.extend(keys.iter().map(|key| (*key, lsn)));
        flushed += tree.checkpoint(numbered(keys, lsn, Some(&[1; 100])));
        tree.settle(Lsn(lsn));
        runs = runs.max(tree.levels.level(0).len());
    }
    let written = tree.written_bytes;
    let amplification = written as f64 / flushed as f64;
    println!("{flushed} bytes in checkpoints, {written} written: {amplification:.1} times");
    println!("tables by level: {:?}", tree.shape());
    assert!(amplification <= 10.0, "{amplification:.1}");
    assert!(runs < 4);
    assert_eq!(
        tree.visible(Direction::Ascending, Lsn::MAX).len(),
        model.len()
    );
    for (key, lsn) in model {
        let found = tree
            .levels
            .get(&key.to_be_bytes(), Lsn::MAX, Io::Allow)
            .unwrap();
        assert_eq!(found.unwrap().0, Lsn(lsn));
    }
}

/// Keys that only grow are never written again once they left level 0.
#[test]
fn ascending_keys_are_moved_not_merged() {
    let mut tree = Tree::new(small());
    let value = [1; 90];
    let mut flushed = 0;
    for n in 0..40u32 {
        flushed += tree.checkpoint(numbered(
            n * 20..n * 20 + 20,
            1 + u64::from(n),
            Some(&value),
        ));
        let (merges, _) = tree.settle(Lsn::MAX);
        assert_eq!(merges, 0);
    }
    assert_eq!(tree.written_bytes, flushed);
    assert!(tree.shape().len() > 2, "{:?}", tree.shape());
    assert_eq!(tree.visible(Direction::Ascending, Lsn::MAX).len(), 800);
}

#[test]
fn small_checkpoints_do_not_rewrite_a_large_level() {
    let mut tree = Tree::new(CompactionOptions {
        base_bytes: 1_000_000,
        table_bytes: 100_000,
        ..small()
    });
    for lsn in 1..=4 {
        tree.checkpoint(numbered(
            (0..1500).map(|n| n * 4 + lsn),
            u64::from(lsn),
            Some(&[1; 90]),
        ));
    }
    tree.settle(Lsn::MAX);
    assert_eq!(tree.shape()[0], 0);
    let before = tree.written_bytes;
    let mut flushed = 0;
    for lsn in 10..100 {
        let keys = [0, 3000, 5999];
        flushed += tree.checkpoint(numbered(keys, lsn, Some(&[2; 90])));
        tree.settle(Lsn::MAX);
        assert!(tree.shape()[0] < 4);
    }
    let written = tree.written_bytes - before;
    assert!(written < 10 * flushed, "{written} bytes for {flushed}");
    assert_eq!(tree.visible(Direction::Ascending, Lsn::MAX).len(), 6001);
}

#[test]
fn deleting_frees_space_without_being_asked() {
    let mut tree = Tree::new(small());
    for lsn in 1..=20 {
        tree.checkpoint(numbered(
            (0..40).map(|n| n * 20 + lsn),
            u64::from(lsn),
            Some(&[1; 90]),
        ));
        tree.settle(Lsn(0));
    }
    assert!(tree.levels.len() > 2);
    tree.checkpoint(numbered(0..900, 30, None));
    // A view still reads what was deleted.
    tree.settle(Lsn(25));
    assert_eq!(tree.visible(Direction::Ascending, Lsn(25)).len(), 800);
    assert_eq!(tree.visible(Direction::Ascending, Lsn(30)).len(), 0);
    tree.settle(Lsn(30));
    assert_eq!(tree.levels.tables().count(), 0, "{:?}", tree.shape());
    assert!(tree.bench.names().is_empty());
}

#[test]
fn versions_of_a_key_stay_in_one_table() {
    let mut tree = Tree::new(small());
    for round in 0..4u64 {
        let mut entries = Vec::new();
        for key in 0..4u32 {
            for lsn in (1..=30).rev() {
                entries.push(entry(key.to_be_bytes(), round * 30 + lsn, Some(&[1; 60])));
            }
        }
        tree.checkpoint(entries);
    }
    tree.settle(Lsn::ZERO);
    assert_eq!(tree.levels.level(0).len(), 0);
    let tables: Vec<_> = tree.levels.tables().collect();
    assert!(tables.len() > 2);
    let keys: u64 = tables.iter().map(|table| table.meta().keys).sum();
    assert_eq!(keys, 4);
}

#[test]
fn a_checkpoint_during_a_compaction_stays() {
    let mut tree = Tree::new(small());
    for lsn in 1..=4 {
        tree.checkpoint(numbered(0..40, lsn, Some(&[1; 60])));
    }
    let compaction = pick(&tree.levels, &tree.options, Lsn::MAX).unwrap();
    tree.checkpoint(numbered(0..1, 9, Some(b"new")));
    tree.apply(&compaction, Lsn::MAX);
    assert_eq!(tree.levels.level(0).len(), 1);
    let newest = tree
        .levels
        .get(&0u32.to_be_bytes(), Lsn::MAX, Io::Allow)
        .unwrap();
    assert_eq!(newest.unwrap().0, Lsn(9));
    // The inputs are gone by now: they cannot be replaced again.
    assert!(compaction.apply(&tree.levels, Vec::new()).is_err());
}

#[test]
fn a_merge_within_level_0_keeps_its_place() {
    let mut tree = Tree::new(CompactionOptions {
        table_bytes: 1_000_000,
        ..small()
    });
    tree.checkpoint(numbered(0..200, 1, Some(&[1; 60])));
    for lsn in 2..=4 {
        tree.checkpoint(numbered([5], lsn, Some(b"v")));
    }
    let compaction = pick(&tree.levels, &tree.options, Lsn::MAX).unwrap();
    assert_eq!((compaction.output_level, compaction.bottom), (0, false));
    assert_eq!(compaction.tables().count(), 3);
    tree.checkpoint(numbered([5], 5, Some(b"v")));
    tree.apply(&compaction, Lsn::MAX);
    let lsns: Vec<_> = tree
        .levels
        .level(0)
        .iter()
        .map(|table| table.meta().max_lsn.0)
        .collect();
    assert_eq!(lsns, [5, 4, 1]);
}

#[test]
fn a_compaction_that_is_stopped_or_fails_leaves_nothing() {
    let mut tree = Tree::new(small());
    for lsn in 1..=4 {
        tree.checkpoint(numbered(0..200, lsn, Some(&[1; 60])));
    }
    let compaction = pick(&tree.levels, &tree.options, Lsn::ZERO).unwrap();
    let names = tree.bench.names();
    let left = Cell::new(700);
    let stop = || {
        left.set(left.get() - 1);
        left.get() == 0
    };
    let mut number = 100;
    let mut next = || {
        number += 1;
        number
    };
    let result = run(
        &compaction,
        &tree.options,
        &tree.bench.disk,
        Path::new(DIR),
        &mut next,
        Lsn::ZERO,
        &stop,
    );
    assert!(matches!(result, Err(StoreError::Closed)));
    assert!(number > 102, "outputs were finished before the stop");
    assert_eq!(tree.bench.names(), names);

    let first: &Table = &tree.levels.level(0)[0];
    let path = first.meta().path(Path::new(DIR));
    tree.bench
        .sim
        .corrupt(&path, |bytes| bytes[20] ^= 1)
        .unwrap();
    assert!(matches!(
        tree.run(&compaction, Lsn::ZERO),
        Err(StoreError::Corrupt { .. })
    ));
    assert_eq!(tree.bench.names(), names);
}

/// Whichever call fails: the error is told, no output is left, and the next attempt succeeds.
#[test]
fn a_failing_call_fails_the_compaction_and_nothing_else() {
    let mut tree = Tree::new(small());
    for lsn in 1..=4 {
        tree.checkpoint(numbered(0..100, lsn, Some(&[1; 60])));
    }
    let compaction = pick(&tree.levels, &tree.options, Lsn::MAX).unwrap();
    let names = tree.bench.names();
    let mut failed = 0;
    loop {
        let rule = tree
            .bench
            .faults
            .add(Rule::any().nth(failed + 1).fail(Failure::Eio));
        let result = tree.run(&compaction, Lsn::MAX);
        if tree.bench.faults.picked(rule) == 0 {
            assert!(!result.unwrap().is_empty());
            break;
        }
        tree.bench.faults.remove_rule(rule);
        assert!(
            matches!(result, Err(StoreError::Io { .. })),
            "call {failed}"
        );
        assert_eq!(tree.bench.names(), names, "call {failed}");
        failed += 1;
    }
    assert!(failed > 20, "only {failed} calls were made");
}

#[test]
fn levels_that_overlap_are_refused() {
    let bench = Bench::new();
    let a = bench.table(1, numbered(0..10, 1, None));
    let b = bench.table(2, numbered(9..20, 1, None));
    let c = bench.table(3, numbered(10..20, 1, None));
    assert!(Levels::new(vec![vec![Arc::clone(&a), Arc::clone(&b)]]).is_ok());
    assert!(Levels::new(vec![vec![], vec![Arc::clone(&a), b]]).is_err());
    assert!(Levels::new(vec![vec![], vec![Arc::clone(&a), Arc::clone(&c)]]).is_ok());
    assert!(Levels::new(vec![vec![], vec![c, Arc::clone(&a)]]).is_err());
    assert!(Levels::new((0..8).map(|_| vec![Arc::clone(&a)]).collect()).is_err());
}
