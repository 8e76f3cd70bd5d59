//! Snapshots that are carried to another directory: whole or absent after a power cut, and what has
//! landed is not sent again. Leased ones and descriptions, which lie beside them.

use std::path::Path;
use std::sync::{Arc, Mutex};

use godb_store::disk::SimDisk;
use godb_store::disk::sim::LossVariant;
use godb_store::{SnapshotReader, Snapshots, StoreError};

use crate::powercut::{on, rounds};
use crate::snapshots::{content, cuts, fill, open};

const TARGET: &str = "/backup";

fn target(disk: &SimDisk) -> Snapshots {
    Snapshots::new(on(disk), TARGET)
}

fn whole(reader: &SnapshotReader) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(reader.bytes()).unwrap()];
    reader.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// Carries a snapshot, in pieces of odd size; how many tables were sent.
fn carry(from: &Snapshots, name: &str, to: &Snapshots) -> Result<usize, StoreError> {
    let file = |file: &str| whole(&from.open_file(name, file).unwrap().unwrap());
    let receiver = to.receive(name, &file(&Snapshots::manifest_name(name)))?;
    let missing = receiver.missing()?;
    for table in &missing {
        let mut incoming = receiver.begin(&table.name)?;
        for piece in file(&table.name).chunks(1013) {
            incoming.write(piece)?;
        }
        assert_eq!(incoming.written_bytes(), table.bytes);
        incoming.finish()?;
    }
    receiver.finish(from.description(name)?.as_deref())?;
    Ok(missing.len())
}

#[test]
fn a_power_cut_during_a_carry_leaves_a_whole_snapshot_or_none() {
    let (_, seed) = rounds();
    let disk = SimDisk::new();
    let store = open(&disk);
    fill(&store, 0, 60);
    store.create_snapshot("a").unwrap();
    fill(&store, 60, 100);
    store.create_snapshot("b").unwrap();
    let describe = |name, text: &[u8], replace| store.describe_snapshot(name, text, replace);
    assert!(describe("b", b"first", false).unwrap());
    assert!(!describe("b", b"second", false).unwrap());
    assert!(describe("b", b"what it holds", true).unwrap());
    assert!(!describe("c", b"of nothing", true).unwrap());
    let expected = content(&store.snapshots().read("b").unwrap());
    assert!(carry(&store.snapshots(), "a", &target(&disk)).unwrap() > 0);
    let done = Arc::new(Mutex::new(false));
    let taken = cuts(&disk, &done, || {
        carry(&store.snapshots(), "b", &target(&disk)).unwrap();
        *done.lock().unwrap() = true;
    });
    let mut cases = 0;
    for (at, (image, is_done, what)) in taken.iter().enumerate() {
        for variant in LossVariant::ALL {
            let left = image.survive(variant, seed + at as u64);
            let there = target(&left);
            for (name, info) in there.list().unwrap() {
                assert!(info.is_ok(), "{what} {variant:?}: {name}");
                there.verify(&name, &mut |_, _| {}).unwrap();
            }
            assert!(
                there.contains("b").unwrap() || !is_done,
                "{what} {variant:?}"
            );
            // Gone on with.
            carry(&Snapshots::new(on(&left), "/data/snapshots"), "b", &there).unwrap();
            there.verify("b", &mut |_, _| {}).unwrap();
            assert_eq!(content(&there.read("b").unwrap()), expected);
            assert_eq!(there.description("b").unwrap().unwrap(), b"what it holds");
            cases += 1;
        }
    }
    println!("{cases} cuts of a carry, seed {seed}");
    assert!(cases > 50, "{cases}");
}

#[test]
fn what_has_landed_is_not_sent_again_and_damage_is_not_taken() {
    let disk = SimDisk::new();
    let store = open(&disk);
    fill(&store, 0, 60);
    store.create_snapshot("a").unwrap();
    fill(&store, 60, 90);
    store.create_snapshot("b").unwrap();
    let (from, to) = (store.snapshots(), target(&disk));
    let of_b = from.files("b").unwrap();
    let shared = {
        let of_a = from.files("a").unwrap();
        of_b.iter().filter(|file| of_a.contains(file)).count()
    };
    assert!(shared > 0);
    carry(&from, "a", &to).unwrap();
    let manifest = whole(&from.open_file("b", "b.snapshot").unwrap().unwrap());
    let receiver = to.receive("b", &manifest).unwrap();
    assert!(matches!(
        to.receive("b", &manifest),
        Err(StoreError::Locked { .. })
    ));
    assert!(matches!(
        receiver.begin("table-0-0.sst"),
        Err(StoreError::Mismatch { .. })
    ));
    let missing = receiver.missing().unwrap();
    assert_eq!(missing.len(), of_b.len() - shared);
    let table = &missing[0];
    let mut bytes = whole(&from.open_file("b", &table.name).unwrap().unwrap());
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut incoming = receiver.begin(&table.name).unwrap();
    incoming.write(&bytes).unwrap();
    assert!(matches!(
        incoming.write(b"x"),
        Err(StoreError::Corrupt { .. })
    ));
    assert!(matches!(incoming.finish(), Err(StoreError::Corrupt { .. })));
    assert_eq!(receiver.missing().unwrap(), missing);
    assert!(receiver.finish(None).is_err());
    assert!(!to.contains("b").unwrap());
    assert_eq!(carry(&from, "b", &to).unwrap(), missing.len());
    assert_eq!(carry(&from, "b", &to).unwrap(), 0);
    // The first of a name is the one.
    let other = whole(&from.open_file("a", "a.snapshot").unwrap().unwrap());
    assert!(matches!(
        to.receive("b", &other),
        Err(StoreError::Mismatch { .. })
    ));
    for length in 0..manifest.len() {
        assert!(to.receive("c", &manifest[..length]).is_err());
    }
}

#[test]
fn a_lease_is_marked_before_there_is_a_snapshot_and_goes_with_it() {
    let (_, seed) = rounds();
    let disk = SimDisk::new();
    let store = open(&disk);
    fill(&store, 0, 30);
    store.create_snapshot("kept").unwrap();
    let done = Arc::new(Mutex::new(false));
    let taken = cuts(&disk, &done, || {
        store.create_leased_snapshot("l").unwrap();
    });
    for (at, (image, _, what)) in taken.iter().enumerate() {
        for variant in LossVariant::ALL {
            let left = image.survive(variant, seed + at as u64);
            let there = Snapshots::new(on(&left), "/data/snapshots");
            let is_there = there.contains("l").unwrap();
            assert!(
                !is_there || there.is_leased("l").unwrap(),
                "{what} {variant:?}"
            );
        }
    }
    let snapshots = store.snapshots();
    assert!(!snapshots.is_leased("kept").unwrap());
    assert_eq!(store.snapshot_usage().unwrap().snapshots, 2);
    store.delete_snapshot("l").unwrap();
    assert!(!snapshots.is_leased("l").unwrap());
    store.create_snapshot("l").unwrap();
    assert!(!snapshots.is_leased("l").unwrap());
}

#[test]
fn what_snapshots_pin_is_what_removing_them_frees() {
    let disk = SimDisk::new();
    let store = open(&disk);
    fill(&store, 0, 60);
    store.create_snapshot("a").unwrap();
    let usage = store.snapshot_usage().unwrap();
    assert_eq!((usage.snapshots, usage.pinned_bytes), (1, 0));
    assert!(usage.bytes > 0);
    fill(&store, 0, 60);
    store.checkpoint().unwrap();
    store.compact().unwrap();
    let usage = store.snapshot_usage().unwrap();
    assert_eq!(usage.pinned_bytes, usage.bytes);
    store.delete_snapshot("a").unwrap();
    assert_eq!(
        store.snapshot_usage().unwrap(),
        godb_store::SnapshotUsage::default()
    );
    assert!(
        on(&disk)
            .list(Path::new("/data/snapshots"))
            .unwrap()
            .is_empty()
    );
}
