//! What damage to a file does, and the bytes of the format.

use super::*;

/// The entries of the golden files.
fn golden_entries() -> Vec<VersionedEntry> {
    let mut entries = vec![
        entry("", 12, Some(b"empty key")),
        entry("apple", 9, Some(b"red")),
        entry("apple", 4, None),
        entry("apple", 2, Some(b"green")),
        entry("application", 300, Some(b"")),
        entry("banana", 70_000, None),
    ];
    for n in 0u8..40 {
        entries.push(entry(
            format!("key-{n:03}"),
            100 + u64::from(n),
            Some(&[n; 12]),
        ));
    }
    for lsn in (200..230).rev() {
        entries.push(entry("many versions", lsn, Some(b"some value")));
    }
    entries.push(entry([0xff, 0xff], 1, Some(&[0; 500])));
    entries
}

fn golden_options(compress: bool) -> TableOptions {
    TableOptions {
        block_bytes: 256,
        filter_bits_per_key: 10,
        compress,
    }
}

fn golden_meta() -> TableMeta {
    let mut reader = Reader::new(include_bytes!("../../../testdata/table-v1.meta"));
    TableMeta::decode(&mut reader).unwrap()
}

const GOLDEN: &[u8] = include_bytes!("../../../testdata/table-v1.sst");
const GOLDEN_LZ4: &[u8] = include_bytes!("../../../testdata/table-v1-lz4.sst");

#[test]
fn the_bytes_of_a_table_do_not_change() {
    let bench = Bench::new();
    let meta = bench.build(17, golden_options(false), golden_entries());
    assert_eq!(bench.contents(&meta), GOLDEN);
    assert_eq!(meta, golden_meta());
}

/// Which bytes the compressor makes may change with its version; what was written stays readable.
#[test]
fn a_compressed_table_stays_readable() {
    let bench = Bench::new();
    let path = golden_meta().path(Path::new(DIR));
    let (_, checksum) = footer::Footer::decode(
        &GOLDEN_LZ4[GOLDEN_LZ4.len() - footer::FOOTER_BYTES..],
        &path,
        0,
    )
    .unwrap();
    let meta = TableMeta {
        bytes: GOLDEN_LZ4.len() as u64,
        checksum,
        ..golden_meta()
    };
    bench.put(&meta, GOLDEN_LZ4);
    let table = bench.open(&meta).unwrap();
    table.verify().unwrap();
    let found: Result<Vec<_>> = table.scan_all().collect();
    assert_eq!(found.unwrap(), golden_entries());
}

/// Everything a reader may do, compared with what was written. An error is fine, another answer is
/// not.
fn never_wrong(table: &Arc<Table>, entries: &[VersionedEntry]) {
    for expected in entries {
        if let Ok(found) = get(table, &expected.key, expected.lsn, Io::Allow) {
            assert_eq!(found, Some((expected.lsn, expected.value.clone())));
        }
    }
    for direction in [Direction::Ascending, Direction::Descending] {
        let mut expected: Vec<_> = entries.to_vec();
        if direction == Direction::Descending {
            expected.reverse();
        }
        let mut scan = table.scan(all(), direction, Io::Allow);
        for (position, found) in scan.by_ref().enumerate() {
            match found {
                Ok(found) => assert_eq!(found, expected[position]),
                Err(_) => break,
            }
        }
        assert!(scan.next().is_none());
    }
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let meta = golden_meta();
    let path = meta.path(Path::new(DIR));
    let entries = golden_entries();
    for bit in 0..GOLDEN.len() * 8 {
        let bench = Bench::new();
        let mut damaged = GOLDEN.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        bench.put(&meta, &damaged);
        match bench.open(&meta) {
            Err(StoreError::Corrupt { file, .. }) => assert_eq!(file, path),
            Err(error) => panic!("bit {bit}: {error}"),
            Ok(table) => {
                assert!(
                    matches!(table.verify(), Err(StoreError::Corrupt { .. })),
                    "bit {bit} was not noticed"
                );
                if bit % 5 == 0 {
                    never_wrong(&table, &entries);
                }
            }
        }
    }
}

#[test]
fn a_file_of_another_length_is_refused() {
    let meta = golden_meta();
    for len in (0..GOLDEN.len()).chain([GOLDEN.len() + 1]) {
        let mut damaged = GOLDEN.to_vec();
        damaged.resize(len, 0);
        let bench = Bench::new();
        bench.put(&meta, &damaged);
        assert!(matches!(bench.open(&meta), Err(StoreError::Corrupt { .. })));
        // Also if the length is what the manifest says.
        let meta = TableMeta {
            bytes: len as u64,
            ..meta.clone()
        };
        assert!(matches!(bench.open(&meta), Err(StoreError::Corrupt { .. })));
    }
    let bench = Bench::new();
    assert!(matches!(bench.open(&meta), Err(StoreError::Corrupt { .. })));
}

/// A file that shrinks while it is open is damage, not an error of the disk.
#[test]
fn a_file_that_shrinks_later_is_corrupt() {
    let bench = Bench::new();
    let meta = bench.build(17, golden_options(false), golden_entries());
    let table = bench.open(&meta).unwrap();
    let file = bench
        .disk
        .open(&meta.path(Path::new(DIR)), OpenMode::Write)
        .unwrap();
    file.truncate(10).unwrap();
    let found = get(&table, b"banana", Lsn::MAX, Io::Allow);
    assert!(matches!(found, Err(StoreError::Corrupt { .. })));
    assert!(matches!(table.verify(), Err(StoreError::Corrupt { .. })));
}

/// Another table's file under this name, as a wrong copy would leave it, whole and valid.
#[test]
fn another_table_under_the_name_is_refused() {
    let bench = Bench::new();
    let meta = golden_meta();
    let mut entries = golden_entries();
    entries[1].value = Some(Bytes::from_static(b"rad"));
    let other = bench.build(17, golden_options(false), entries);
    assert_eq!(other.bytes, meta.bytes);
    assert!(matches!(bench.open(&meta), Err(StoreError::Corrupt { .. })));
    bench.put(&meta, GOLDEN);
    assert!(bench.open(&meta).is_ok());
    let renamed = TableMeta { number: 18, ..meta };
    bench.put(&renamed, GOLDEN);
    assert!(matches!(
        bench.open(&renamed),
        Err(StoreError::Corrupt { .. })
    ));
}

#[test]
fn every_field_of_the_description_is_compared() {
    let bench = Bench::new();
    let good = golden_meta();
    bench.put(&good, GOLDEN);
    let changes: [fn(&mut TableMeta); 8] = [
        |meta| meta.checksum ^= 1,
        |meta| meta.entries += 1,
        |meta| meta.tombstones += 1,
        |meta| meta.keys -= 1,
        |meta| meta.smallest = Bytes::from_static(b"a"),
        |meta| meta.largest = Bytes::from_static(b"z"),
        |meta| meta.min_lsn = meta.min_lsn.next(),
        |meta| meta.max_lsn = meta.max_lsn.next(),
    ];
    for change in changes {
        let mut meta = good.clone();
        change(&mut meta);
        assert!(
            matches!(bench.open(&meta), Err(StoreError::Corrupt { .. })),
            "{meta:?}"
        );
    }
}
