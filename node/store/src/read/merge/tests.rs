use super::*;
use crate::StoreError;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Model = BTreeMap<(Vec<u8>, Reverse<u64>), (usize, Option<Vec<u8>>)>;

fn entry(key: &[u8], lsn: u64, value: Option<&[u8]>) -> VersionedEntry {
    VersionedEntry {
        key: Bytes::copy_from_slice(key),
        lsn: Lsn(lsn),
        value: value.map(Bytes::copy_from_slice),
    }
}

fn source(entries: Vec<VersionedEntry>) -> Source {
    Box::new(entries.into_iter().map(Ok))
}

/// The entries of `model` that belong to each of `count` sources, in `direction`.
fn sources(model: &Model, count: usize, direction: Direction) -> Vec<Source> {
    (0..count)
        .map(|wanted| {
            let mut entries: Vec<_> = model
                .iter()
                .filter(|(_, (source, _))| source % count == wanted)
                .map(|((key, Reverse(lsn)), (_, value))| entry(key, *lsn, value.as_deref()))
                .collect();
            if direction == Direction::Descending {
                entries.reverse();
            }
            source(entries)
        })
        .collect()
}

proptest! {
    #[test]
    fn a_merge_is_the_sorted_union_and_readers_see_the_newest(
        model in proptest::collection::btree_map(
            (proptest::collection::vec(b'a'..b'd', 0..3), (1u64..20).prop_map(Reverse)),
            (0usize..12, proptest::option::of(proptest::collection::vec(any::<u8>(), 0..3))),
            0..60,
        ),
        count in 1usize..6,
        lsn in 0u64..21,
    ) {
        let model: Model = model;
        let mut all: Vec<_> = model
            .iter()
            .map(|((key, Reverse(lsn)), (_, value))| entry(key, *lsn, value.as_deref()))
            .collect();
        let mut visible: BTreeMap<Bytes, (Lsn, Option<Bytes>)> = BTreeMap::new();
        for entry in all.iter().rev().filter(|entry| entry.lsn <= Lsn(lsn)) {
            visible.insert(entry.key.clone(), (entry.lsn, entry.value.clone()));
        }
        let mut visible: Vec<_> = visible
            .into_iter()
            .filter_map(|(key, (lsn, value))| Some((key, lsn, value?)))
            .collect();
        for direction in [Direction::Ascending, Direction::Descending] {
            let merged: Result<Vec<_>> =
                Merge::new(sources(&model, count, direction), direction).collect();
            prop_assert_eq!(&merged.unwrap(), &all);
            let seen: Result<Vec<_>> =
                VisibleScan::new(sources(&model, count, direction), direction, Lsn(lsn)).collect();
            prop_assert_eq!(&seen.unwrap(), &visible);
            all.reverse();
            visible.reverse();
        }
    }
}

#[test]
fn no_source_is_an_empty_scan() {
    assert!(
        Merge::new(Vec::new(), Direction::Ascending)
            .next()
            .is_none()
    );
    let mut scan = VisibleScan::new(Vec::new(), Direction::Descending, Lsn::MAX);
    assert!(scan.next().is_none());
}

#[test]
fn of_equal_versions_the_earlier_source_comes_first() {
    let sources =
        ["first", "second"].map(|value| source(vec![entry(b"k", 1, Some(value.as_bytes()))]));
    let mut scan = VisibleScan::new(sources.into(), Direction::Ascending, Lsn::MAX);
    assert_eq!(scan.next().unwrap().unwrap().2, "first");
    assert!(scan.next().is_none());
}

/// What a source could not read must never look like keys that are not there.
#[test]
fn an_error_ends_the_scan() {
    for direction in [Direction::Ascending, Direction::Descending] {
        for others in 0..3 {
            for good in 0..2 {
                let mut all: Vec<Source> = (0..others)
                    .map(|n: u8| source(vec![entry(&[b'm' + n], 5, Some(b"v"))]))
                    .collect();
                let failing: Vec<Result<_>> = (0..good)
                    .map(|_| Ok(entry(b"n", 3, Some(b"v"))))
                    .chain([Err(StoreError::WouldBlock)])
                    .chain([Ok(entry(b"z", 3, Some(b"v")))])
                    .collect();
                all.push(Box::new(failing.into_iter()));
                let results: Vec<_> = VisibleScan::new(all, direction, Lsn::MAX).collect();
                let (last, before) = results.split_last().unwrap();
                assert!(matches!(last, Err(StoreError::WouldBlock)));
                assert!(before.iter().all(Result::is_ok));
            }
        }
    }
}
