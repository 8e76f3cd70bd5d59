use std::path::Path;
use std::sync::Arc;

use godb_store::disk::{Disk, SimDisk};

use super::*;
use crate::Write;

fn sample() -> Contents {
    Contents {
        created_at_ms: 1_700_000_000_123,
        took_ms: 17,
        collections: vec![
            CollectionContents {
                name: "a".to_owned(),
                documents: 3,
                bytes: 90,
                sha256: [7; 32],
            },
            CollectionContents {
                name: "people".to_owned(),
                documents: 0,
                bytes: 0,
                sha256: [0xfe; 32],
            },
        ],
    }
}

fn engine(disk: &Arc<dyn Disk>) -> StorageEngine {
    StorageEngine::builder("/data")
        .disk(Arc::clone(disk))
        .open()
        .unwrap()
}

fn insert(engine: &StorageEngine, collection: &str, document: &str) {
    engine
        .insert(collection, document.as_bytes(), &Write::default())
        .unwrap()
        .wait()
        .unwrap();
}

#[test]
fn contents_come_back_and_every_flipped_bit_and_cut_is_noticed() {
    let path = Path::new("x.contents");
    let bytes = sample().encode();
    assert_eq!(Contents::decode(&bytes, path).unwrap(), sample());
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Contents::decode(&damaged, path).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(Contents::decode(&bytes[..length], path).is_err());
    }
}

#[test]
fn contents_have_the_bytes_of_version_1() {
    let hex: String = sample()
        .encode()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, include_str!("../../testdata/contents-v1.hex").trim());
}

#[test]
fn a_snapshot_says_what_it_holds_and_goes_on_saying_it() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let engine = engine(&disk);
    for number in 0..50 {
        insert(
            &engine,
            "c",
            &format!("{{\"_id\":\"{number}\",\"n\":{number}}}"),
        );
    }
    insert(&engine, "d", "{\"_id\":\"x\"}");
    let (first, is_new) = engine
        .create_snapshot("one", SnapshotOptions::default())
        .unwrap();
    assert!(is_new && !first.is_leased);
    let contents = first.contents.clone().unwrap();
    assert_eq!(contents.documents(), 51);
    assert!(contents.created_at_ms > 0);
    insert(&engine, "c", "{\"_id\":\"later\"}");
    engine
        .delete("c", "7", &Write::default())
        .unwrap()
        .wait()
        .unwrap();
    engine.compact().unwrap();
    let snapshots = engine.snapshots();
    assert_eq!(
        verify_snapshot(&snapshots, "one", &mut |_, _| {}).unwrap(),
        first
    );
    let (again, is_new) = engine
        .create_snapshot("one", SnapshotOptions::default())
        .unwrap();
    assert_eq!((again, is_new), (first, false));
    let (second, _) = engine
        .create_snapshot("two", SnapshotOptions { is_leased: true })
        .unwrap();
    assert!(second.is_leased);
    let of = |contents: &Contents, name: &str| {
        contents
            .collections
            .iter()
            .find(|each| each.name == name)
            .unwrap()
            .clone()
    };
    let later = second.contents.unwrap();
    assert_eq!(of(&later, "d"), of(&contents, "d"));
    assert_ne!(of(&later, "c").sha256, of(&contents, "c").sha256);
}

#[test]
fn a_difference_to_what_was_written_down_is_found() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let engine = engine(&disk);
    insert(&engine, "c", "{\"_id\":\"1\"}");
    let (taken, _) = engine
        .create_snapshot("s", SnapshotOptions::default())
        .unwrap();
    let mut contents = taken.contents.unwrap();
    contents.collections[0].sha256[31] ^= 1;
    let snapshots = engine.snapshots();
    snapshots.describe("s", &contents.encode()).unwrap();
    let error = verify_snapshot(&snapshots, "s", &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("collection `c`"), "{error}");
}

#[test]
fn contents_that_were_not_written_down_are_with_the_next_call() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let engine = engine(&disk);
    insert(&engine, "c", "{\"_id\":\"1\"}");
    engine
        .create_snapshot("s", SnapshotOptions::default())
        .unwrap();
    let snapshots = engine.snapshots();
    disk.remove(&snapshots.dir().join("s.contents")).unwrap();
    assert_eq!(snapshot(&snapshots, "s").unwrap().contents, None);
    let verified = verify_snapshot(&snapshots, "s", &mut |_, _| {}).unwrap();
    assert_eq!(verified.contents.unwrap().documents(), 1);
    let (again, is_new) = engine
        .create_snapshot("s", SnapshotOptions::default())
        .unwrap();
    assert!(!is_new);
    assert_eq!(again.contents.unwrap().documents(), 1);
}
