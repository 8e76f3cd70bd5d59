//! Pages: limits, offsets, cursors that stay where they are while others write.

use serde_json::{Value, json};

use crate::shared::{Fixture, check_error, ids};

/// Documents d000, d001, …; `even` says whether the number is.
fn filled(count: usize) -> (Fixture, Vec<String>) {
    let mut f = Fixture::new();
    let names: Vec<String> = (0..count).map(|n| format!("d{n:03}")).collect();
    let documents: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(n, id)| json!({"_id": id, "even": n % 2 == 0}))
        .collect();
    f.batch(&Value::from(documents).to_string()).expect(201);
    (f, names)
}

fn cursor(page: &Value, which: &str) -> Option<String> {
    page.get(which)
        .map(|cursor| godb_tests::client::encode(cursor.as_str().expect("text")))
}

/// `has_next`, `has_prev`; and that each cursor is there exactly when it should.
#[track_caller]
fn ways(page: &Value) -> (bool, bool) {
    let next = page["has_next"].as_bool().expect("has_next");
    let prev = page["has_prev"].as_bool().expect("has_prev");
    assert_eq!(page.get("next_cursor").is_some(), next, "{page}");
    assert_eq!(page.get("prev_cursor").is_some(), prev, "{page}");
    (next, prev)
}

#[test]
fn a_missing_collection_is_an_empty_page() {
    let mut f = Fixture::new();
    let page = f.find("").expect(200).json();
    assert_eq!(
        page,
        json!({"documents":[],"has_next":false,"has_prev":false,"total":0})
    );
    assert_eq!(f.find("n=1").expect(200).json(), page);
}

#[test]
fn a_page_has_50_documents_unless_asked_otherwise() {
    let (mut f, names) = filled(60);
    let page = f.find("").expect(200).json();
    assert_eq!(ids(&page), names[..50]);
    assert_eq!(ways(&page), (true, false));
    assert_eq!(page["total"], 60);
}

#[test]
fn the_last_page_that_fills_exactly_has_no_next() {
    let (mut f, names) = filled(50);
    let page = f.find("").expect(200).json();
    assert_eq!(ids(&page), names);
    assert_eq!(ways(&page), (false, false));
    let page = f.find("limit=25&offset=25").expect(200).json();
    assert_eq!(ways(&page), (false, true));
}

#[test]
fn limits_from_1_to_1000_are_fine() {
    let (mut f, names) = filled(30);
    for limit in [1, 7, 29, 30, 31, 1000] {
        assert_eq!(f.found(&format!("limit={limit}")), names[..limit.min(30)]);
    }
}

#[test]
fn a_limit_of_a_thousand_gives_a_thousand() {
    let (mut f, names) = filled(1000);
    f.add(r#"{"_id":"z"}"#);
    let page = f.find("limit=1000").expect(200).json();
    assert_eq!(ids(&page), names);
    assert_eq!(ways(&page), (true, false));
}

#[test]
fn other_limits_are_refused() {
    let (mut f, _) = filled(1);
    for limit in [
        "0",
        "-1",
        "1001",
        "x",
        "",
        "1.5",
        "1e1",
        "99999999999999999999",
        "%31%30x",
        " 5",
    ] {
        check_error(
            &f.find(&format!("limit={}", limit.replace(' ', "%20"))),
            400,
            "limit",
        );
    }
}

#[test]
fn other_offsets_are_refused() {
    let (mut f, _) = filled(1);
    for offset in ["-1", "x", "", "1.5", "99999999999999999999"] {
        check_error(&f.find(&format!("offset={offset}")), 400, "offset");
    }
}

#[test]
fn bad_paging_is_refused_on_a_missing_collection_too() {
    let mut f = Fixture::new();
    check_error(&f.find("limit=0"), 400, "limit");
    check_error(&f.find("offset=-1"), 400, "offset");
    check_error(&f.find("after=nonsense"), 400, "cursor");
}

#[test]
fn offsets_skip_documents() {
    let (mut f, names) = filled(20);
    for (offset, limit, next, prev) in [
        (0, 5, true, false),
        (5, 5, true, true),
        (15, 5, false, true),
        (18, 5, false, true),
        (1, 1, true, true),
    ] {
        let page = f
            .find(&format!("offset={offset}&limit={limit}"))
            .expect(200)
            .json();
        assert_eq!(ids(&page), names[offset..(offset + limit).min(20)]);
        assert_eq!(ways(&page), (next, prev), "{offset}");
        assert_eq!(page["total"], 20);
    }
}

#[test]
fn an_offset_behind_the_end_is_an_empty_page() {
    let (mut f, _) = filled(5);
    for offset in ["5", "6", "1000000", "9223372036854775807"] {
        let page = f.find(&format!("offset={offset}")).expect(200).json();
        assert!(ids(&page).is_empty());
        assert_eq!(page["has_next"], false);
        assert_eq!(page["has_prev"], true);
        assert_eq!(page["total"], 5);
    }
}

/// Walks forwards, then backwards, and compares with what it should be.
fn walk(f: &mut Fixture, filter: &str, limit: usize, expected: &[String]) {
    let mut seen = Vec::new();
    let mut page = f
        .find(&format!("{filter}&limit={limit}"))
        .expect(200)
        .json();
    assert!(page.get("total").is_some());
    loop {
        seen.extend(ids(&page));
        let Some(next) = cursor(&page, "next_cursor") else {
            break;
        };
        page = f
            .find(&format!("{filter}&limit={limit}&after={next}"))
            .expect(200)
            .json();
        assert!(
            page.get("total").is_none(),
            "total comes with offset paging only"
        );
        assert!(ways(&page).1);
    }
    assert_eq!(seen, expected, "forwards by {limit}");
    let mut backwards: Vec<String> = ids(&page);
    while let Some(prev) = cursor(&page, "prev_cursor") {
        page = f
            .find(&format!("{filter}&limit={limit}&before={prev}"))
            .expect(200)
            .json();
        assert!(ways(&page).0);
        let mut ids = ids(&page);
        ids.append(&mut backwards);
        backwards = ids;
    }
    assert_eq!(backwards, expected, "backwards by {limit}");
}

#[test]
fn cursors_walk_all_pages_both_ways() {
    let (mut f, names) = filled(60);
    for limit in [1, 7, 30, 59, 60, 61] {
        walk(&mut f, "", limit, &names);
    }
}

#[test]
fn cursors_walk_a_filter_by_scan_and_by_index() {
    let (mut f, names) = filled(60);
    let even: Vec<String> = names.iter().step_by(2).cloned().collect();
    walk(&mut f, "even=true", 7, &even);
    f.index("even").expect(201);
    for limit in [1, 7, 30, 31] {
        walk(&mut f, "even=true", limit, &even);
    }
    walk(&mut f, "even=true&even=false", 7, &names);
}

#[test]
fn a_page_from_an_offset_gives_cursors_too() {
    let (mut f, names) = filled(20);
    let page = f.find("offset=10&limit=4").expect(200).json();
    let next = cursor(&page, "next_cursor").unwrap();
    assert_eq!(f.found(&format!("after={next}&limit=4")), names[14..18]);
    let prev = cursor(&page, "prev_cursor").unwrap();
    assert_eq!(f.found(&format!("before={prev}&limit=4")), names[6..10]);
}

#[test]
fn a_deleted_document_at_the_cursor_changes_nothing() {
    let (mut f, names) = filled(20);
    let page = f.find("limit=10").expect(200).json();
    let next = cursor(&page, "next_cursor").unwrap();
    for n in [9, 10] {
        let path = f.document(&names[n]);
        f.client.delete(&path).expect(204);
    }
    assert_eq!(f.found(&format!("after={next}&limit=3")), names[11..14]);
    let page = f.find(&format!("after={next}&limit=3")).expect(200).json();
    let prev = cursor(&page, "prev_cursor").unwrap();
    assert_eq!(f.found(&format!("before={prev}&limit=3")), names[6..9]);
}

#[test]
fn inserts_between_pages_neither_repeat_nor_hide_a_document() {
    let (mut f, names) = filled(20);
    let page = f.find("limit=10").expect(200).json();
    let next = cursor(&page, "next_cursor").unwrap();
    f.add(r#"{"_id":"a-before-all"}"#);
    f.add(r#"{"_id":"d0095"}"#);
    f.add(r#"{"_id":"d0105"}"#);
    let rest = f.found(&format!("after={next}&limit=1000"));
    let old: Vec<String> = rest.into_iter().filter(|id| names.contains(id)).collect();
    assert_eq!(old, names[10..]);
}

#[test]
fn walking_while_others_write_sees_every_unchanged_document_once() {
    let (mut f, names) = filled(200);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let path = f.path("");
    std::thread::scope(|scope| {
        let mut client = f.node().client();
        let (path, stop) = (&path, &stop);
        scope.spawn(move || {
            let mut n = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let id = format!("d{:03}x{}", n % 200, n);
                client
                    .post(path, &format!("{{\"_id\":\"{id}\"}}"))
                    .expect(201);
                client.delete(&format!("{path}/documents/{id}")).expect(204);
                n += 1;
            }
        });
        for _ in 0..3 {
            let mut seen = Vec::new();
            let mut query = "limit=7".to_owned();
            loop {
                let page = f.find(&query).expect(200).json();
                seen.extend(ids(&page).into_iter().filter(|id| !id.contains('x')));
                let Some(next) = cursor(&page, "next_cursor") else {
                    break;
                };
                query = format!("limit=7&after={next}");
            }
            assert_eq!(seen, names);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn cursors_work_for_any_id() {
    let mut f = Fixture::new();
    let mut names = vec!["a b", "%", "ä", "日本", "😀", "\u{0}", "+", "&after=x"];
    for id in &names {
        f.add(&json!({ "_id": id }).to_string());
    }
    names.sort_unstable();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    walk(&mut f, "", 1, &names);
}

#[test]
fn a_bad_cursor_is_refused() {
    let (mut f, _) = filled(3);
    for name in ["after", "before"] {
        for bad in [
            "x",
            "",
            "AAAA",
            "d001",
            "!!!",
            "%ff",
            &"A".repeat(5000),
            "bnVsbA==",
            "0",
            "-1",
        ] {
            let answer = f.find(&format!("{name}={bad}"));
            assert_eq!(answer.status, 400, "{name}={bad}: {}", answer.text());
        }
        check_error(&f.find(&format!("{name}=nonsense")), 400, "cursor");
    }
}

#[test]
fn a_cursor_with_a_changed_byte_is_refused_or_harmless() {
    let (mut f, _) = filled(20);
    let page = f.find("limit=10").expect(200).json();
    let good = page["next_cursor"].as_str().unwrap().to_owned();
    for at in 0..good.len() {
        let mut bad = good.clone().into_bytes();
        bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
        let bad = godb_tests::client::encode(&String::from_utf8_lossy(&bad));
        let status = f.find(&format!("after={bad}")).status;
        assert!(matches!(status, 200 | 400), "{status} at {at}");
    }
    f.find(&format!("after={}", godb_tests::client::encode(&good)))
        .expect(200);
}

#[test]
fn pages_are_ordered_by_id() {
    let mut f = Fixture::new();
    let mut names = vec!["b", "a", "B", "10", "9", "ä", "z", "aa", "a-"];
    for id in &names {
        f.add(&json!({ "_id": id, "n": 1 }).to_string());
    }
    names.sort_unstable();
    assert_eq!(f.found(""), names);
    assert_eq!(f.found("n=1"), names);
    f.index("n").expect(201);
    assert_eq!(f.found("n=1"), names);
}
