use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use godb_engine::EngineError;
use godb_store::disk::sim::{Image, LossVariant, SimDisk};

use super::*;

#[test]
fn an_index_is_listed_once_it_is_there() {
    let engine = engine();
    assert_eq!(engine.indexes("c").unwrap(), Vec::<String>::new());
    assert!(engine.create_index("c", "a.b").unwrap());
    assert_eq!(engine.indexes("c").unwrap(), ["_id", "a.b"]);
    assert!(!engine.create_index("c", "a.b").unwrap());
    assert!(engine.create_index("c", "z").unwrap());
    assert_eq!(engine.indexes("c").unwrap(), ["_id", "a.b", "z"]);
    let info = engine.collection("c").unwrap().unwrap();
    assert!(info.indexes.iter().all(|index| index.ready));
    assert_eq!(info.documents, 0);
    check(&engine);
}

#[test]
fn there_are_at_most_64() {
    let engine = engine();
    for n in 0..64 {
        engine.create_index("c", &format!("f{n}")).unwrap();
    }
    let refused = engine.create_index("c", "one_more");
    assert!(matches!(
        refused,
        Err(EngineError::TooMany { limit: 64, .. })
    ));
    insert(&engine, "c", r#"{"f0":1,"f63":2}"#);
    check(&engine);
}

#[test]
fn entries_follow_every_kind_of_write() {
    let engine = engine();
    insert(&engine, "c", r#"{"_id":"old","v":{"w":1}}"#);
    engine.create_index("c", "v.w").unwrap();
    insert(&engine, "c", r#"{"_id":"a","v":{"w":1}}"#);
    insert(&engine, "c", r#"{"_id":"b","v.w":true}"#);
    let find = |value: &str| ids(&engine, "c", &[("v.w", value)]);
    assert_eq!(find("1"), ["a", "old"]);
    assert_eq!(find("true"), ["b"]);
    engine
        .update("c", "a", br#"{"v":{"w":null}}"#, &write())
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(
        (find("1"), find("null")),
        (vec!["old".to_owned()], vec!["a".to_owned()])
    );
    engine
        .update("c", "b", br#"{"v":{"w":"true"}}"#, &write())
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(find("true"), ["b"], "found by two values, listed once");
    let upsert = godb_engine::Replace::Upsert;
    engine
        .replace("c", "old", br#"{"v":[{"w":1}]}"#, upsert, &write())
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(find("1"), Vec::<String>::new());
    engine.delete("c", "b", &write()).unwrap().wait().unwrap();
    assert_eq!(find("true"), Vec::<String>::new());
    check(&engine);
    assert_eq!(engine.check().unwrap().entries, 1);
}

#[test]
fn building_while_others_write() {
    let engine = engine();
    for n in 0..500 {
        insert(
            &engine,
            "c",
            &format!(r#"{{"_id":"{n:04}","v":{}}}"#, n % 7),
        );
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (engine, stop) = (&engine, &stop);
            scope.spawn(move || {
                let mut n: usize = thread;
                while !stop.load(Ordering::Relaxed) {
                    let id = format!("{:04}", (n * 37) % 600);
                    let document = format!(r#"{{"v":{}}}"#, n % 5);
                    let pending = match n % 3 {
                        0 => engine.delete("c", &id, &write()).map(|p| drop(p.wait())),
                        1 => engine
                            .update("c", &id, document.as_bytes(), &write())
                            .map(|p| drop(p.wait())),
                        _ => engine
                            .replace(
                                "c",
                                &id,
                                document.as_bytes(),
                                godb_engine::Replace::Upsert,
                                &write(),
                            )
                            .map(|p| drop(p.wait())),
                    };
                    pending.unwrap();
                    n += 3;
                }
            });
        }
        let builders: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| engine.create_index("c", "v").unwrap()))
            .collect();
        let made = builders
            .into_iter()
            .map(|b| b.join().unwrap())
            .filter(|made| *made);
        assert_eq!(made.count(), 1, "one build, and all wait for it");
        stop.store(true, Ordering::Relaxed);
    });
    check(&engine);
    let by_index = ids(&engine, "c", &[("v", "3")]);
    let stream = engine
        .find_stream("c", &filter(&[]))
        .unwrap()
        .map(Result::unwrap);
    let has_3 = filter(&[("v", "3")]);
    let by_scan: Vec<_> = stream
        .filter(|d| has_3.matches(&d.json))
        .map(|d| id(&d))
        .collect();
    assert_eq!(by_index, by_scan);
}

/// The process or the power ends at any call of a build; the index is then complete or absent.
#[test]
fn a_build_that_breaks_off_leaves_nothing() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    for n in 0..200 {
        insert(
            &engine,
            "c",
            &format!(r#"{{"_id":"{n:04}","v":{}}}"#, n % 7),
        );
    }
    engine.flush().unwrap();
    let images: Arc<Mutex<Vec<Image>>> = Arc::default();
    let taken = Arc::clone(&images);
    disk.on_call(move |call| taken.lock().unwrap().push(call.image()));
    engine.create_index("c", "v").unwrap();
    disk.clear_hook();
    let images = std::mem::take(&mut *images.lock().unwrap());
    assert!(images.len() > 4, "a build writes and syncs");
    let mut complete = 0;
    let step = images.len().div_ceil(20);
    for (call, image) in images.iter().enumerate().step_by(step) {
        for variant in [LossVariant::ALL[0], LossVariant::ALL[1]] {
            let engine = open(&image.survive(variant, 7));
            let listed = engine.collection("c").unwrap().unwrap().indexes;
            let context = format!("call {call}, {variant:?}: {listed:?}");
            assert!(listed.iter().all(|index| index.ready), "{context}");
            check(&engine);
            let made = engine.create_index("c", "v").unwrap();
            assert_eq!(made, listed.is_empty(), "{context}");
            complete += usize::from(!made);
            assert_eq!(ids(&engine, "c", &[("v", "3")]).len(), 29, "{context}");
            check(&engine);
            engine.close().unwrap();
        }
    }
    println!(
        "{} calls, {complete} of the states have the index",
        images.len()
    );
}
