use godb_engine::{EngineError, Lsn, Replace};
use godb_store::disk::sim::SimDisk;

use super::*;

#[test]
fn a_document_comes_back_as_it_was_sent() {
    let engine = engine();
    let sent =
        "{ \"n\" : 9007199254740993,\n \"m\":1.10, \"_id\" : \"x\", \"z\":null, \"a\":[1, 2]}";
    let stored = insert(&engine, "c", sent);
    assert_eq!(
        text(&stored),
        r#"{"n":9007199254740993,"m":1.10,"_id":"x","z":null,"a":[1,2]}"#
    );
    assert_eq!(id(&stored), "x");
    assert!(stored.lsn > Lsn::ZERO);
    assert_eq!(
        engine.get("c", "x", Io::Allow).unwrap(),
        Some(stored.clone())
    );
    assert_eq!(engine.get("c", "x", Io::MemoryOnly).unwrap(), Some(stored));
    assert_eq!(get(&engine, "c", "y"), None);
    assert_eq!(get(&engine, "d", "x"), None);
}

#[test]
fn made_ids_are_in_the_order_of_the_inserts() {
    let engine = engine();
    let made: Vec<_> = (0..20).map(|_| id(&insert(&engine, "c", "{}"))).collect();
    assert_eq!(ids(&engine, "c", &[]), made);
}

#[test]
fn an_id_is_taken_once() {
    let engine = engine();
    insert(&engine, "c", r#"{"_id":"x","v":1}"#);
    let second = engine
        .insert("c", br#"{"_id":"x","v":2}"#, &write())
        .unwrap()
        .wait();
    assert!(matches!(second, Err(EngineError::AlreadyExists { id }) if id == "x"));
    assert_eq!(get(&engine, "c", "x").unwrap(), r#"{"_id":"x","v":1}"#);
    insert(&engine, "d", r#"{"_id":"x","v":2}"#);
    check(&engine);
}

#[test]
fn update_merges_and_keeps_the_id() {
    let engine = engine();
    insert(&engine, "c", r#"{"_id":"x","a":1,"b":{"c":1}}"#);
    let update = |fields: &str| engine.update("c", "x", fields.as_bytes(), &write());
    let merged = update(r#"{"b":{"d":2},"e":null}"#).unwrap().wait().unwrap();
    assert_eq!(text(&merged), r#"{"_id":"x","a":1,"b":{"d":2},"e":null}"#);
    assert_eq!(engine.get("c", "x", Io::Allow).unwrap(), Some(merged));
    assert!(matches!(
        update(r#"{"_id":"y"}"#),
        Err(EngineError::InvalidDocument { .. })
    ));
    assert!(matches!(
        update("[]"),
        Err(EngineError::InvalidJson {
            line: 1,
            column: 1,
            ..
        })
    ));
    for (collection, id) in [("c", "y"), ("d", "x")] {
        let missing = engine
            .update(collection, id, b"{}", &write())
            .unwrap()
            .wait();
        assert!(matches!(missing, Err(EngineError::NotFound { .. })));
    }
    assert!(
        engine.collection("d").unwrap().is_none(),
        "a refusal makes no collection"
    );
}

#[test]
fn replace_by_mode() {
    let engine = engine();
    let replace = |id: &str, json: &str, mode| {
        engine
            .replace("c", id, json.as_bytes(), mode, &write())
            .unwrap()
            .wait()
    };
    let missing = replace("x", "{}", Replace::Existing);
    assert!(matches!(missing, Err(EngineError::NotFound { .. })));
    assert!(engine.collection("c").unwrap().is_none());
    let made = replace("x", r#"{"a":1}"#, Replace::CreateOnly).unwrap();
    assert_eq!(text(&made), r#"{"_id":"x","a":1}"#);
    let there = replace("x", "{}", Replace::CreateOnly);
    assert!(matches!(there, Err(EngineError::PreconditionFailed { .. })));
    assert_eq!(
        text(&replace("x", r#"{"b":1}"#, Replace::Existing).unwrap()),
        r#"{"_id":"x","b":1}"#
    );
    replace("y", "{}", Replace::Upsert).unwrap();
    replace("x", r#"{"c":1,"_id":"x"}"#, Replace::Upsert).unwrap();
    assert_eq!(get(&engine, "c", "x").unwrap(), r#"{"c":1,"_id":"x"}"#);
    assert_eq!(engine.collection("c").unwrap().unwrap().documents, 2);
    check(&engine);
}

#[test]
fn delete_once() {
    let engine = engine();
    insert(&engine, "c", r#"{"_id":"x"}"#);
    let delete = || engine.delete("c", "x", &write()).unwrap().wait();
    delete().unwrap();
    assert_eq!(get(&engine, "c", "x"), None);
    assert!(matches!(delete(), Err(EngineError::NotFound { id }) if id == "x"));
    assert_eq!(engine.collection("c").unwrap().unwrap().documents, 0);
    insert(&engine, "c", r#"{"_id":"x"}"#);
    check(&engine);
}

#[test]
fn batches_are_all_or_nothing() {
    let engine = engine();
    let insert_all = |documents: &[&str]| {
        let documents: Vec<_> = documents.iter().map(|json| json.as_bytes()).collect();
        engine
            .batch_insert("c", &documents, &write())
            .and_then(|pending| pending.wait())
    };
    let made = insert_all(&[r#"{"_id":"a"}"#, "{}", r#"{"_id":"b"}"#]).unwrap();
    assert_eq!(made.len(), 3);
    assert!(made.iter().all(|document| document.lsn == made[0].lsn));
    let taken = insert_all(&[r#"{"_id":"d"}"#, r#"{"_id":"a"}"#]);
    assert!(matches!(taken, Err(EngineError::AlreadyExists { id }) if id == "a"));
    let twice = insert_all(&[r#"{"_id":"d"}"#, r#"{"_id":"\u0064"}"#]);
    assert!(matches!(twice, Err(EngineError::DuplicateInBatch { id }) if id == "d"));
    let no_object = insert_all(&["{}", "[]"]);
    assert!(
        matches!(no_object, Err(EngineError::InvalidDocument { reason }) if reason.contains("item 1"))
    );
    assert!(matches!(
        insert_all(&[]),
        Err(EngineError::TooMany { count: 0, .. })
    ));
    assert!(matches!(
        insert_all(&["{}"; 1001]),
        Err(EngineError::TooMany { count: 1001, .. })
    ));
    assert_eq!(engine.collection("c").unwrap().unwrap().documents, 3);
    assert_eq!(insert_all(&["{}"; 1000]).unwrap().len(), 1000);
    assert_eq!(engine.collection("c").unwrap().unwrap().documents, 1003);
    check(&engine);
}

#[test]
fn batch_updates_build_on_each_other() {
    let engine = engine();
    engine.create_index("c", "n").unwrap();
    insert(&engine, "c", r#"{"_id":"a","n":1}"#);
    insert(&engine, "c", r#"{"_id":"b","n":1}"#);
    let update = |operations: &[(&str, &str)]| {
        let operations: Vec<_> = operations
            .iter()
            .map(|(id, f)| (*id, f.as_bytes()))
            .collect();
        engine
            .batch_update("c", &operations, &write())
            .and_then(|pending| pending.wait())
    };
    let missing = update(&[("a", r#"{"n":2}"#), ("x", "{}")]);
    let message = missing.unwrap_err().to_string();
    assert_eq!(message, "document with id x not found");
    assert_eq!(get(&engine, "c", "a").unwrap(), r#"{"_id":"a","n":1}"#);
    let updated = update(&[
        ("a", r#"{"n":2}"#),
        ("b", r#"{"n":3}"#),
        ("a", r#"{"m":1}"#),
        ("a", r#"{"n":4}"#),
    ]);
    let texts: Vec<_> = updated
        .unwrap()
        .iter()
        .map(|d| text(d).to_owned())
        .collect();
    assert_eq!(
        texts,
        [
            r#"{"_id":"a","n":2}"#,
            r#"{"_id":"b","n":3}"#,
            r#"{"_id":"a","n":2,"m":1}"#,
            r#"{"_id":"a","n":4,"m":1}"#
        ]
    );
    assert_eq!(ids(&engine, "c", &[("n", "4")]), ["a"]);
    assert_eq!(ids(&engine, "c", &[("n", "2")]), Vec::<String>::new());
    check(&engine);
}

#[test]
fn what_results_obeys_the_limits_of_what_is_sent() {
    let engine = engine();
    let large = "x".repeat(9 * 1024 * 1024);
    insert(&engine, "c", &format!(r#"{{"_id":"x","a":"{large}"}}"#));
    let fields = format!(r#"{{"b":"{large}"}}"#);
    let update = engine
        .update("c", "x", fields.as_bytes(), &write())
        .unwrap()
        .wait();
    assert!(matches!(
        update,
        Err(EngineError::TooLarge {
            what: "document",
            ..
        })
    ));
    assert!(get(&engine, "c", "x").unwrap().ends_with("xxx\"}"));
    let item = format!(r#"{{"a":"{large}"}}"#);
    let items = [item.as_bytes(); 8];
    let batch = engine.batch_insert("c", &items, &write());
    assert!(matches!(
        batch,
        Err(EngineError::TooLarge {
            what: "request",
            ..
        })
    ));
    let operations = [("x", item.as_bytes()); 8];
    let batch = engine
        .batch_update("c", &operations, &write())
        .unwrap()
        .wait();
    assert!(matches!(
        batch,
        Err(EngineError::TooLarge {
            what: "request",
            ..
        })
    ));
}

#[test]
fn names_and_ids_are_checked_everywhere() {
    let engine = engine();
    let bad_name = |error: EngineError| matches!(error, EngineError::InvalidName { .. });
    let bad_id = |error: EngineError| matches!(error, EngineError::InvalidId { .. });
    let all = find(&[], 1, PageStart::Offset(0));
    for name in ["", "..", "a/b"] {
        assert!(bad_name(
            engine.insert(name, b"{}", &write()).err().unwrap()
        ));
        assert!(bad_name(
            engine.batch_insert(name, &[b"{}"], &write()).err().unwrap()
        ));
        assert!(bad_name(
            engine.update(name, "x", b"{}", &write()).err().unwrap()
        ));
        assert!(bad_name(engine.delete(name, "x", &write()).err().unwrap()));
        assert!(bad_name(engine.get(name, "x", Io::Allow).err().unwrap()));
        assert!(bad_name(engine.find(name, &all, Io::Allow).err().unwrap()));
        assert!(bad_name(
            engine.find_stream(name, &filter(&[])).err().unwrap()
        ));
        assert!(bad_name(engine.create_index(name, "x").err().unwrap()));
        assert!(bad_name(
            engine.create_collection(name, &write()).err().unwrap()
        ));
        assert!(bad_name(engine.indexes(name).err().unwrap()));
    }
    assert!(bad_name(engine.create_index("c", "_id").err().unwrap()));
    assert!(bad_id(engine.get("c", "", Io::Allow).err().unwrap()));
    assert!(bad_id(
        engine.update("c", "", b"{}", &write()).err().unwrap()
    ));
    assert!(bad_id(
        engine
            .delete("c", &"x".repeat(513), &write())
            .err()
            .unwrap()
    ));
    assert!(engine.collections().unwrap().is_empty());
}

#[test]
fn collections_are_made_once_and_listed() {
    let engine = engine();
    engine
        .create_collection("b", &write())
        .unwrap()
        .wait()
        .unwrap();
    insert(&engine, "a", "{}");
    insert(&engine, "b", "{}");
    engine
        .create_collection("b", &write())
        .unwrap()
        .wait()
        .unwrap();
    let collections = engine.collections().unwrap();
    let listed: Vec<_> = collections
        .iter()
        .map(|c| (c.name.as_str(), c.documents))
        .collect();
    assert_eq!(listed, [("a", 1), ("b", 1)]);
    assert_ne!(collections[0].number, collections[1].number);
}

#[test]
fn everything_is_there_after_opening_again() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    engine.create_index("c", "n").unwrap();
    for n in 0..100 {
        insert(
            &engine,
            "c",
            &format!(r#"{{"_id":"{n:03}","n":{}}}"#, n % 3),
        );
    }
    engine.delete("c", "007", &write()).unwrap().wait().unwrap();
    let before = (
        ids(&engine, "c", &[("n", "1")]),
        engine.collections().unwrap(),
    );
    engine.close().unwrap();
    drop(engine);
    let engine = open(&disk);
    assert_eq!(
        (
            ids(&engine, "c", &[("n", "1")]),
            engine.collections().unwrap()
        ),
        before
    );
    check(&engine);
    let added = insert(&engine, "d", "{}");
    drop(engine);
    let engine = open(&disk);
    assert_eq!(get(&engine, "d", &id(&added)).unwrap(), text(&added));
    let numbers: Vec<_> = engine
        .collections()
        .unwrap()
        .iter()
        .map(|c| c.number)
        .collect();
    assert_eq!(numbers, [1, 2]);
    check(&engine);
}
