use godb_engine::{DatabaseItem, EngineError};
use godb_store::disk::sim::SimDisk;
use godb_store::disk::{Disk, OpenMode};

use super::*;

fn filled(disk: &SimDisk) -> StorageEngine {
    let engine = open(disk);
    engine.create_index("a", "v").unwrap();
    engine
        .create_collection("empty", &write())
        .unwrap()
        .wait()
        .unwrap();
    for n in 0..1500 {
        insert(
            &engine,
            "a",
            &format!(
                r#"{{"_id":"{n:04}","v":{},"w":"{}"}}"#,
                n % 5,
                "x".repeat(n)
            ),
        );
    }
    insert(&engine, "b", r#"{"_id":"ß","v":1.10}"#);
    engine
}

fn save(engine: &StorageEngine) -> u64 {
    let mut told = 0;
    let report = engine
        .save(path("/save"), &mut |bytes| told = bytes)
        .unwrap();
    assert_eq!((report.collections, report.documents), (3, 1501));
    assert_eq!(told, report.bytes);
    report.bytes
}

/// An engine on an empty disk that holds this file.
fn with_file(bytes: &[u8]) -> (SimDisk, StorageEngine) {
    let disk = SimDisk::new();
    let file = disk.open(path("/save"), OpenMode::Create).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(path("/")).unwrap();
    let engine = open(&disk);
    (disk, engine)
}

fn documents(engine: &StorageEngine, collection: &str) -> Vec<String> {
    let stream = engine.find_stream(collection, &filter(&[])).unwrap();
    stream
        .map(|document| text(&document.unwrap()).to_owned())
        .collect()
}

#[test]
fn a_saved_database_comes_back_whole() {
    let disk = SimDisk::new();
    let engine = filled(&disk);
    let size = save(&engine);
    let bytes = disk.read(path("/save")).unwrap();
    assert_eq!(bytes.len() as u64, size);
    let (_, copy) = with_file(&bytes);
    let report = copy.load(path("/save"), &mut |_| {}).unwrap();
    assert_eq!(
        (report.collections, report.documents, report.bytes),
        (3, 1501, size)
    );
    for collection in ["a", "b", "empty"] {
        assert_eq!(documents(&copy, collection), documents(&engine, collection));
        assert_eq!(
            copy.indexes(collection).unwrap(),
            engine.indexes(collection).unwrap()
        );
        let count =
            |engine: &StorageEngine| engine.collection(collection).unwrap().unwrap().documents;
        assert_eq!(count(&copy), count(&engine));
    }
    assert_eq!(
        ids(&copy, "a", &[("v", "3")]),
        ids(&engine, "a", &[("v", "3")])
    );
    check(&copy);
    insert(&copy, "c", "{}");
    check(&copy);
    let again = copy.load(path("/save"), &mut |_| {});
    assert!(matches!(
        again,
        Err(EngineError::NotEmpty { collections: 4 })
    ));
}

#[test]
fn an_existing_file_is_not_touched() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    engine.save(path("/save"), &mut |_| {}).unwrap();
    let before = disk.read(path("/save")).unwrap();
    insert(&engine, "c", "{}");
    assert!(engine.save(path("/save"), &mut |_| {}).is_err());
    assert_eq!(disk.read(path("/save")).unwrap(), before);
    let (_, copy) = with_file(&before);
    assert_eq!(copy.load(path("/save"), &mut |_| {}).unwrap().documents, 0);
}

/// The format is on disk: this file must always load.
#[test]
fn golden() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    engine.create_index("c", "v").unwrap();
    insert(&engine, "c", r#"{"_id":"x","v":1}"#);
    engine.save(path("/save"), &mut |_| {}).unwrap();
    let bytes = disk.read(path("/save")).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(&bytes[..12]), "676f64627361766501000000");
    assert_eq!(
        hex(&bytes[32..]),
        concat!(
            "01",
            "0100",
            "63",
            "0100",
            "0100",
            "76",
            "02",
            "0100",
            "78",
            "11000000",
            "7b225f6964223a2278222c2276223a317d",
            "03",
            "0100000000000000",
            "0100000000000000"
        )
    );
    let length = u32::from_le_bytes(bytes[24..28].try_into().unwrap());
    assert_eq!(length as usize, bytes.len() - 32);
}

#[test]
fn damage_is_noticed_before_anything_is_loaded() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    engine.create_index("c", "v").unwrap();
    for n in 0..3 {
        insert(&engine, "c", &format!(r#"{{"_id":"{n}","v":{n}}}"#));
    }
    engine.save(path("/save"), &mut |_| {}).unwrap();
    let bytes = disk.read(path("/save")).unwrap();
    let (target, copy) = with_file(&bytes);
    let mut damaged: Vec<Vec<u8>> = (0..bytes.len()).map(|end| bytes[..end].to_vec()).collect();
    damaged.push([bytes.as_slice(), b"x"].concat());
    damaged.push([&bytes[..], &bytes[24..]].concat());
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        damaged.push(flipped);
    }
    for bytes in damaged {
        let file = target.open(path("/save"), OpenMode::Write).unwrap();
        file.truncate(0).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let refused = copy.load(path("/save"), &mut |_| {});
        let store = |error: &EngineError| matches!(error, EngineError::Store(_));
        assert!(
            refused
                .as_ref()
                .is_err_and(|e| store(e) || matches!(e, EngineError::InvalidFile { .. })),
            "{refused:?}"
        );
        assert!(copy.collections().unwrap().is_empty());
    }
}

/// A load that broke off does not count, and what it wrote is removed.
#[test]
fn a_load_is_complete_or_absent() {
    use godb_store::disk::sim::LossVariant;
    use std::sync::{Arc, Mutex};

    let disk = SimDisk::new();
    let engine = filled(&disk);
    save(&engine);
    let (target, copy) = with_file(&disk.read(path("/save")).unwrap());
    let images: Arc<Mutex<Vec<_>>> = Arc::default();
    let taken = Arc::clone(&images);
    target.on_call(move |call| taken.lock().unwrap().push(call.image()));
    copy.load(path("/save"), &mut |_| {}).unwrap();
    target.clear_hook();
    let images = std::mem::take(&mut *images.lock().unwrap());
    let step = images.len().div_ceil(12);
    for (call, image) in images.iter().enumerate().step_by(step) {
        let disk = image.survive(LossVariant::ALL[0], 3);
        let engine = open(&disk);
        let documents: u64 = engine
            .collections()
            .unwrap()
            .iter()
            .map(|c| c.documents)
            .sum();
        assert!(
            documents == 0 || documents == 1501,
            "call {call}: {documents}"
        );
        check(&engine);
        if documents == 0 {
            engine.load(path("/save"), &mut |_| {}).unwrap();
            check(&engine);
        }
        engine.close().unwrap();
    }
}

#[test]
fn a_stream_of_everything_is_as_of_one_moment() {
    let disk = SimDisk::new();
    let engine = filled(&disk);
    let stream = engine.database_stream().unwrap();
    let lsn = stream.lsn();
    // None of this is in it.
    insert(&engine, "a", r#"{"_id":"0000-later"}"#);
    insert(&engine, "later", r#"{"_id":"x"}"#);
    engine.delete("b", "ß", &write()).unwrap().wait().unwrap();
    let mut outline = Vec::new();
    let mut ids = Vec::new();
    for item in stream {
        match item.unwrap() {
            DatabaseItem::Collection { name, indexes } => outline.push((name, indexes, 0)),
            DatabaseItem::Document(document) => {
                assert!(document.lsn <= lsn);
                outline.last_mut().unwrap().2 += 1;
                ids.push(String::from_utf8(document.id.to_vec()).unwrap());
            }
        }
    }
    let expected = [
        ("a".to_owned(), vec!["v".to_owned()], 1500),
        ("b".to_owned(), vec![], 1),
        ("empty".to_owned(), vec![], 0),
    ];
    assert_eq!(outline, expected);
    let mut all: Vec<String> = (0..1500).map(|n| format!("{n:04}")).collect();
    all.push("ß".to_owned());
    assert_eq!(ids, all);
}
