use godb_engine::{Cursor, EngineError, Page};

use super::*;

fn page(engine: &StorageEngine, query: &[(&str, &str)], limit: usize, start: PageStart) -> Page {
    engine
        .find("c", &find(query, limit, start), Io::Allow)
        .unwrap()
}

fn page_ids(page: &Page) -> Vec<String> {
    page.documents.iter().map(id).collect()
}

/// Documents a0, b1, a2, b3, … of ids 00 to 19.
fn twenty() -> StorageEngine {
    let engine = engine();
    for n in 0..20 {
        let kind = if n % 2 == 0 { "a" } else { "b" };
        insert(
            &engine,
            "c",
            &format!(r#"{{"_id":"{n:02}","kind":"{kind}","n":{n}}}"#),
        );
    }
    engine
}

/// Pages forwards and backwards through everything that matches give the same, exactly.
#[track_caller]
fn walk_both_ways(engine: &StorageEngine, query: &[(&str, &str)], limit: usize, all: &[String]) {
    let mut pages = Vec::new();
    let mut current = page(engine, query, limit, PageStart::Offset(0));
    assert_eq!(current.total, Some(all.len() as u64));
    assert!(!current.has_prev && current.prev_cursor.is_none());
    loop {
        pages.push(page_ids(&current));
        assert_eq!(current.has_next, current.next_cursor.is_some());
        assert_eq!(current.has_prev, current.prev_cursor.is_some());
        let Some(cursor) = current.next_cursor.clone() else {
            break;
        };
        let cursor: Cursor = cursor.to_string().parse().unwrap();
        current = page(engine, query, limit, PageStart::After(cursor));
        assert!(current.has_prev && current.total.is_none());
    }
    assert_eq!(pages.concat(), all);
    let chunks: Vec<_> = all.chunks(limit).map(<[String]>::to_vec).collect();
    if !all.is_empty() {
        assert_eq!(pages, chunks);
    }
    let mut back = vec![page_ids(&current)];
    while let Some(cursor) = current.prev_cursor.clone() {
        current = page(engine, query, limit, PageStart::Before(cursor));
        assert_eq!(current.has_prev, current.prev_cursor.is_some());
        assert!(current.has_next && current.next_cursor.is_some() && current.total.is_none());
        back.push(page_ids(&current));
    }
    back.reverse();
    assert_eq!(back.concat(), all);
    for offset in 0..all.len() + 2 {
        let current = page(engine, query, limit, PageStart::Offset(offset as u64));
        let expected: Vec<_> = all.iter().skip(offset).take(limit).cloned().collect();
        assert_eq!(page_ids(&current), expected);
        assert_eq!(current.has_next, offset + limit < all.len());
        assert_eq!(current.has_prev, offset > 0 && !all.is_empty());
        assert_eq!(current.prev_cursor.is_some(), current.has_prev);
        assert_eq!(current.next_cursor.is_some(), current.has_next);
        if let Some(cursor) = current.prev_cursor {
            let before = page(engine, query, limit, PageStart::Before(cursor));
            let to = offset.min(all.len());
            let expected: Vec<_> = all[to.saturating_sub(limit)..to].to_vec();
            assert_eq!(page_ids(&before), expected);
        }
    }
    let streamed = engine.find_stream("c", &filter(query)).unwrap();
    let streamed: Vec<_> = streamed.map(|document| id(&document.unwrap())).collect();
    assert_eq!(streamed, all);
}

#[test]
fn pages_with_and_without_an_index() {
    let engine = twenty();
    let every = |step: usize, from: usize| -> Vec<String> {
        (from..20)
            .step_by(step)
            .map(|n| format!("{n:02}"))
            .collect()
    };
    for indexed in [false, true] {
        if indexed {
            assert!(engine.create_index("c", "kind").unwrap());
            assert!(engine.create_index("c", "n").unwrap());
        }
        for limit in [1, 2, 3, 7, 10, 19, 20, 21, 1000] {
            walk_both_ways(&engine, &[], limit, &every(1, 0));
            walk_both_ways(&engine, &[("kind", "a")], limit, &every(2, 0));
            walk_both_ways(
                &engine,
                &[("kind", "a"), ("kind", "b")],
                limit,
                &every(1, 0),
            );
            walk_both_ways(&engine, &[("kind", "x")], limit, &[]);
            let five = ["05".to_owned()];
            walk_both_ways(&engine, &[("n", "5.0"), ("kind", "b")], limit, &five);
            let some = ["03", "05", "11"].map(str::to_owned);
            walk_both_ways(
                &engine,
                &[("n", "11"), ("n", "3"), ("n", "0.5e1")],
                limit,
                &some,
            );
            walk_both_ways(
                &engine,
                &[("_id", "11"), ("_id", "05"), ("_id", "03")],
                limit,
                &some,
            );
            walk_both_ways(
                &engine,
                &[("_id", "05"), ("_id", "06"), ("kind", "b")],
                limit,
                &five,
            );
        }
    }
    check(&engine);
}

#[test]
fn cursors_stay_right_while_others_write() {
    let engine = twenty();
    let first = page(&engine, &[], 5, PageStart::Offset(0));
    let next = first.next_cursor.unwrap();
    for gone in ["04", "05"] {
        engine.delete("c", gone, &write()).unwrap().wait().unwrap();
    }
    insert(&engine, "c", r#"{"_id":"035"}"#);
    insert(&engine, "c", r#"{"_id":"045"}"#);
    let second = page(&engine, &[], 3, PageStart::After(next));
    assert_eq!(page_ids(&second), ["045", "06", "07"]);
    let back = page(
        &engine,
        &[],
        3,
        PageStart::Before(second.prev_cursor.unwrap()),
    );
    assert_eq!(page_ids(&back), ["02", "03", "035"]);
}

#[test]
fn an_empty_page_leads_back() {
    let engine = twenty();
    let last = page(&engine, &[], 1, PageStart::Offset(19));
    assert!(!last.has_next);
    // The page behind the last document: there is no cursor for it, so take one and delete.
    let page_18 = page(&engine, &[], 1, PageStart::Offset(18));
    let after_18 = page_18.next_cursor.unwrap();
    engine.delete("c", "19", &write()).unwrap().wait().unwrap();
    let empty = page(&engine, &[], 5, PageStart::After(after_18));
    assert!(empty.documents.is_empty() && !empty.has_next && empty.next_cursor.is_none());
    assert!(empty.has_prev);
    let cursor = empty.prev_cursor.unwrap();
    let back = page(&engine, &[], 2, PageStart::Before(cursor.clone()));
    assert_eq!(
        page_ids(&back),
        ["17", "18"],
        "the document at the cursor is not lost"
    );
    insert(&engine, "c", r#"{"_id":"185"}"#);
    let behind = page(&engine, &[], 2, PageStart::After(cursor));
    assert_eq!(page_ids(&behind), ["185"]);

    let page_1 = page(&engine, &[], 1, PageStart::Offset(1));
    let before_1 = page_1.prev_cursor.unwrap();
    engine.delete("c", "00", &write()).unwrap().wait().unwrap();
    let empty = page(&engine, &[], 5, PageStart::Before(before_1));
    assert!(empty.documents.is_empty() && !empty.has_prev && empty.has_next);
    let forth = page(
        &engine,
        &[],
        2,
        PageStart::After(empty.next_cursor.unwrap()),
    );
    assert_eq!(page_ids(&forth), ["01", "02"]);

    let beyond = page(&engine, &[("kind", "a")], 5, PageStart::Offset(1000));
    assert!(beyond.documents.is_empty() && beyond.has_prev && !beyond.has_next);
    let back = page(
        &engine,
        &[("kind", "a")],
        2,
        PageStart::Before(beyond.prev_cursor.unwrap()),
    );
    assert_eq!(page_ids(&back), ["16", "18"]);
}

#[test]
fn a_missing_collection_is_an_empty_one() {
    let engine = twenty();
    let query = find(&[("a", "b")], 5, PageStart::Offset(0));
    let missing = engine.find("missing", &query, Io::Allow).unwrap();
    assert!(missing.documents.is_empty() && !missing.has_next && !missing.has_prev);
    assert_eq!(missing.total, Some(0));
    assert_eq!(
        engine.find_stream("missing", &filter(&[])).unwrap().count(),
        0
    );
    assert!(engine.collection("missing").unwrap().is_none());
}

#[test]
fn a_cursor_of_another_collection_is_refused() {
    let engine = twenty();
    insert(&engine, "d", "{}");
    let cursor = page(&engine, &[], 5, PageStart::Offset(0))
        .next_cursor
        .unwrap();
    for collection in ["d", "missing"] {
        let query = find(&[], 5, PageStart::After(cursor.clone()));
        let refused = engine.find(collection, &query, Io::Allow);
        assert!(matches!(refused, Err(EngineError::InvalidCursor)));
    }
    for limit in [0, 1001] {
        let refused = engine.find("c", &find(&[], limit, PageStart::Offset(0)), Io::Allow);
        assert!(matches!(refused, Err(EngineError::InvalidQuery { .. })));
    }
}

#[test]
fn long_values_are_found_exactly() {
    let engine = engine();
    engine.create_index("c", "v").unwrap();
    let long = "x".repeat(256);
    for end in ["", "a", "b"] {
        insert(
            &engine,
            "c",
            &format!(r#"{{"_id":"s{end}","v":"{long}{end}"}}"#),
        );
    }
    let digits = "7".repeat(512);
    for (id, end) in [("n", ""), ("n1", ".1"), ("n2", ".2")] {
        insert(
            &engine,
            "c",
            &format!(r#"{{"_id":"{id}","v":{digits}{end}}}"#),
        );
    }
    let huge = "9".repeat(40);
    insert(&engine, "c", &format!(r#"{{"_id":"h","v":1e{huge}}}"#));
    assert_eq!(ids(&engine, "c", &[("v", &long)]), ["s"]);
    assert_eq!(ids(&engine, "c", &[("v", &format!("{long}a"))]), ["sa"]);
    assert_eq!(ids(&engine, "c", &[("v", &format!("{digits}.10"))]), ["n1"]);
    assert_eq!(ids(&engine, "c", &[("v", &digits)]), ["n"]);
    assert_eq!(
        ids(&engine, "c", &[("v", &format!("0.1e1{}", "0".repeat(40)))]),
        ["h"; 1]
    );
    assert_eq!(
        ids(&engine, "c", &[("v", &format!("2e{huge}"))]),
        Vec::<String>::new()
    );
    check(&engine);
}

#[test]
fn work_without_blocking_is_bounded() {
    let engine = engine();
    let documents: Vec<_> = (0..1000)
        .map(|n| format!(r#"{{"_id":"{n:05}"}}"#))
        .collect();
    for round in 0..5 {
        let documents: Vec<_> = documents
            .iter()
            .map(|d| d.replace(":\"", &format!(":\"{round}")))
            .collect();
        let documents: Vec<_> = documents.iter().map(|d| d.as_bytes()).collect();
        engine
            .batch_insert("c", &documents, &write())
            .unwrap()
            .wait()
            .unwrap();
    }
    let near = find(&[], 10, PageStart::Offset(0));
    assert_eq!(
        engine
            .find("c", &near, Io::MemoryOnly)
            .unwrap()
            .documents
            .len(),
        10
    );
    let far = find(&[("x", "1")], 10, PageStart::Offset(0));
    assert!(matches!(
        engine.find("c", &far, Io::MemoryOnly),
        Err(EngineError::WouldBlock)
    ));
    assert_eq!(engine.find("c", &far, Io::Allow).unwrap().total, Some(0));
    let beyond = find(&[], 10, PageStart::Offset(4995));
    let beyond = engine.find("c", &beyond, Io::Allow).unwrap();
    assert_eq!((beyond.documents.len(), beyond.total), (5, Some(5000)));
    assert_eq!(engine.find_stream("c", &filter(&[])).unwrap().count(), 5000);
}

#[test]
fn a_stream_shows_the_moment_it_was_made() {
    let engine = twenty();
    let mut stream = engine.find_stream("c", &filter(&[("kind", "a")])).unwrap();
    assert_eq!(id(&stream.next().unwrap().unwrap()), "00");
    insert(&engine, "c", r#"{"_id":"99","kind":"a"}"#);
    engine.delete("c", "02", &write()).unwrap().wait().unwrap();
    engine
        .update("c", "04", br#"{"kind":"b"}"#, &write())
        .unwrap()
        .wait()
        .unwrap();
    let rest: Vec<_> = stream.map(|document| id(&document.unwrap())).collect();
    assert_eq!(rest, ["02", "04", "06", "08", "10", "12", "14", "16", "18"]);
}
