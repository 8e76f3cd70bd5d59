use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use godb_engine::{Durability, EngineError};
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

/// The process or the power ends at every call of a build at `full`, while a writer goes on: the
/// index is then complete or absent, agrees with the documents, and no acknowledged one is gone.
#[test]
fn a_build_that_breaks_off_anywhere_leaves_nothing_half_done() {
    const BEFORE: usize = 300;
    const DURING: usize = 10;
    let disk = SimDisk::new();
    let engine = open_at(&disk, Durability::Full);
    let document = |n: usize| format!(r#"{{"_id":"{n:04}","v":{}}}"#, n % 7);
    for n in 0..BEFORE {
        insert(&engine, "c", &document(n));
    }
    let acknowledged = Arc::new(AtomicUsize::new(BEFORE));
    let images: Arc<Mutex<Vec<(Image, usize)>>> = Arc::default();
    let (taken, so_far) = (Arc::clone(&images), Arc::clone(&acknowledged));
    disk.on_call(move |call| {
        let state = (call.image(), so_far.load(Ordering::SeqCst));
        taken.lock().unwrap().push(state);
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in BEFORE..BEFORE + DURING {
                insert(&engine, "c", &document(n));
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        });
        engine.create_index("c", "v").unwrap();
    });
    disk.clear_hook();
    let images = std::mem::take(&mut *images.lock().unwrap());
    assert!(
        images.len() > 2 * DURING,
        "writes and a build cross many calls"
    );
    let (mut cuts, mut complete) = (0, 0);
    for (call, (image, acknowledged)) in images.iter().enumerate() {
        for variant in LossVariant::ALL {
            let engine = open_at(&image.survive(variant, call as u64), Durability::Full);
            let info = engine.collection("c").unwrap().unwrap();
            let context = format!("seed and call {call}, {variant:?}: {info:?}");
            assert!(info.indexes.iter().all(|index| index.ready), "{context}");
            let documents = usize::try_from(info.documents).unwrap();
            assert!(
                documents >= *acknowledged,
                "{context}: {acknowledged} were acknowledged"
            );
            assert!(documents <= BEFORE + DURING, "{context}");
            let expected: Vec<String> = (0..documents).map(|n| format!("{n:04}")).collect();
            assert_eq!(ids(&engine, "c", &[]), expected, "{context}");
            check(&engine);
            let threes = (0..documents).filter(|n| n % 7 == 3).count();
            assert_eq!(ids(&engine, "c", &[("v", "3")]).len(), threes, "{context}");
            complete += usize::from(!info.indexes.is_empty());
            cuts += 1;
        }
    }
    assert!(
        complete > 0 && complete < cuts,
        "cuts before and behind the build"
    );
    println!(
        "{cuts} cuts at {} calls, {complete} behind the build",
        images.len()
    );
}
