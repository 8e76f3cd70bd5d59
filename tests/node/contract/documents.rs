//! One document: insert, read, merge, replace, delete.

use godb_tests::client::{JSON, encode};
use serde_json::{Value, json};

use crate::shared::{Fixture, check_error};

#[test]
fn an_inserted_document_comes_back_with_an_id() {
    let mut f = Fixture::new();
    let answer = f.insert(r#"{"name":"Ada"}"#).expect(201);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let document = answer.json();
    assert_eq!(document["name"], "Ada");
    assert!(!document["_id"].as_str().unwrap().is_empty());
    assert_eq!(document.as_object().unwrap().len(), 2);
}

#[test]
fn made_ids_are_unique_and_sorted_by_time() {
    let mut f = Fixture::new();
    let made: Vec<String> = (0..50).map(|n| f.add(&format!("{{\"n\":{n}}}"))).collect();
    let mut sorted = made.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(made, sorted);
}

#[test]
fn an_id_in_the_body_is_kept() {
    let mut f = Fixture::new();
    let answer = f.insert(r#"{"_id":"mine","n":1}"#).expect(201);
    assert_eq!(answer.text(), r#"{"_id":"mine","n":1}"#);
    assert_eq!(
        f.fetch("mine").expect(200).text(),
        r#"{"_id":"mine","n":1}"#
    );
}

#[test]
fn an_id_that_exists_is_a_conflict_and_changes_nothing() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"a","n":1}"#);
    check_error(&f.insert(r#"{"_id":"a","n":2}"#), 409, "a");
    assert_eq!(f.fetch("a").json(), json!({"_id":"a","n":1}));
}

#[test]
fn an_id_that_is_not_a_string_is_refused() {
    let mut f = Fixture::new();
    for id in ["1", "null", "true", "[]", "{}", "1.5", r#"["a"]"#] {
        check_error(&f.insert(&format!("{{\"_id\":{id}}}")), 400, "_id");
    }
    assert_eq!(f.count(), 0);
}

#[test]
fn ids_have_1_to_512_bytes() {
    let mut f = Fixture::new();
    let longest = "é".repeat(256);
    f.add(&json!({ "_id": longest }).to_string());
    f.fetch(&longest).expect(200);
    for id in [String::new(), "é".repeat(256) + "x"] {
        check_error(&f.insert(&json!({ "_id": id }).to_string()), 400, "id");
    }
    check_error(&f.fetch(&"x".repeat(513)), 400, "id");
    assert_eq!(f.count(), 1);
}

#[test]
fn ids_are_any_utf8_percent_decoded_from_the_path() {
    let mut f = Fixture::new();
    let ids = [
        "a b",
        "a/b",
        "100%",
        "%41",
        "?x=1",
        "#",
        ".",
        "..",
        "+",
        "日本語",
        "😀",
        "a\nb",
        "a\u{0}b",
        "\"",
        "\\",
        "find",
        "batch",
        "\u{feff}",
        "é",
        "e\u{301}",
        "\u{7f}",
        "&=;",
        " ",
    ];
    for id in ids {
        let document = json!({ "_id": id, "is": id });
        f.add(&document.to_string());
        assert_eq!(f.fetch(id).expect(200).json(), document, "{id:?}");
        let path = f.document(id);
        assert_eq!(
            f.client.patch(&path, r#"{"n":1}"#).expect(200).json()["n"],
            1,
            "{id:?}"
        );
    }
    let mut sorted: Vec<String> = ids.iter().map(|&id| id.to_owned()).collect();
    sorted.sort();
    assert_eq!(f.found("limit=1000"), sorted);
    for id in ids {
        let path = f.document(id);
        assert!(f.client.delete(&path).expect(204).body.is_empty());
    }
    assert_eq!(f.count(), 0);
}

#[test]
fn a_path_that_does_not_decode_is_refused() {
    let mut f = Fixture::new();
    for segment in ["%ff", "%c3%28", "%ed%a0%80"] {
        let path = f.path(&format!("/documents/{segment}"));
        check_error(&f.client.get(&path), 400, "UTF-8");
    }
}

#[test]
fn lower_and_upper_case_escapes_are_the_same() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"é"}"#);
    for segment in ["%c3%a9", "%C3%A9", "%c3%A9"] {
        let path = f.path(&format!("/documents/{segment}"));
        f.client.get(&path).expect(200);
    }
}

#[test]
fn numbers_come_back_as_they_were_sent() {
    let mut f = Fixture::new();
    let numbers = [
        "0",
        "-0",
        "1.10",
        "1e5",
        "1E+5",
        "-1.5e-10",
        "0.1",
        "9007199254740993",
        "18446744073709551616",
        "-9223372036854775809",
        "123456789012345678901234567890.000",
        "0.30000000000000004",
        "1e-7",
    ];
    for number in numbers {
        let id = f.add(&format!("{{\"n\":{number}}}"));
        let text = f.fetch(&id).expect(200).text();
        assert!(
            text.contains(&format!("\"n\":{number}")),
            "{number}: {text}"
        );
    }
}

#[test]
fn key_order_is_kept_and_whitespace_is_not() {
    let mut f = Fixture::new();
    let sent =
        " {\n\t\"z\" : 1 ,\r\n \"_id\":\"x\", \"a\" : [ 1 , { \"b\" : null , \"a\" : \"  \" } ] } ";
    let stored = r#"{"z":1,"_id":"x","a":[1,{"b":null,"a":"  "}]}"#;
    assert_eq!(f.insert(sent).expect(201).text(), stored);
    assert_eq!(f.fetch("x").text(), stored);
}

#[test]
fn of_duplicate_keys_the_last_wins() {
    let mut f = Fixture::new();
    for (sent, key, value) in [
        (r#"{"a":1,"b":2,"a":3}"#, "a", json!(3)),
        (r#"{"a":1,"\u0061":2}"#, "a", json!(2)),
        (r#"{"o":{"k":1,"k":{"k":2}}}"#, "o", json!({"k":{"k":2}})),
        (r#"{"_id":"first","_id":"second"}"#, "_id", json!("second")),
        (
            r#"{"_id":"third","\u005fid":"fourth"}"#,
            "_id",
            json!("fourth"),
        ),
        (r#"{"_id":7,"_id":"fifth"}"#, "_id", json!("fifth")),
    ] {
        let answer = f.insert(sent).expect(201);
        assert_eq!(answer.json()[key], value, "{sent}");
        let id = answer.json()["_id"].as_str().unwrap().to_owned();
        assert_eq!(f.fetch(&id).expect(200).text(), answer.text());
    }
    assert_eq!(
        f.insert(r#"{"_id":"d","a":1,"a":2,"a":3}"#)
            .text()
            .matches("\"a\"")
            .count(),
        1
    );
    check_error(&f.fetch("first"), 404, "first");
    check_error(&f.insert(r#"{"_id":"x","_id":7}"#), 400, "_id");
}

#[test]
fn awkward_strings_and_keys_come_back() {
    let mut f = Fixture::new();
    let document = json!({
        "_id": "x", "": "empty key", "a.b": 1, "$gt": 2, "\u{0}": "nul", "quote\"": "\\\"\u{8}\u{c}\n\r\t/",
        "emoji": "😀", "separators": "\u{2028}\u{2029}", "del": "\u{7f}", "limit": 5, "__proto__": {},
        "empty": [{}, [], ""],
    });
    f.add(&document.to_string());
    assert_eq!(f.fetch("x").json(), document);
    assert_eq!(
        f.insert(r#"{"_id":"p","s":"\ud83d\ude00\u0041\/"}"#).json()["s"],
        "😀A/"
    );
}

#[test]
fn patch_merges_one_level_and_answers_the_whole_document() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x","a":1,"o":{"k":1,"l":2},"arr":[1,2]}"#);
    let path = f.document("x");
    let answer = f
        .client
        .patch(&path, r#"{"o":{"k":9},"new":true,"arr":[]}"#)
        .expect(200);
    assert_eq!(
        answer.json(),
        json!({"_id":"x","a":1,"o":{"k":9},"arr":[],"new":true})
    );
    assert_eq!(f.fetch("x").text(), answer.text());
}

#[test]
fn patch_keeps_the_order_of_keys_and_the_text_of_numbers() {
    let mut f = Fixture::new();
    f.add(r#"{"b":1.10,"_id":"x","a":1e2}"#);
    let path = f.document("x");
    let answer = f
        .client
        .patch(&path, r#"{"c":2.50,"b":9007199254740993}"#)
        .expect(200);
    assert_eq!(
        answer.text(),
        r#"{"b":9007199254740993,"_id":"x","a":1e2,"c":2.50}"#
    );
}

#[test]
fn patch_stores_a_null() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x","a":1}"#);
    let path = f.document("x");
    f.client.patch(&path, r#"{"a":null}"#).expect(200);
    assert_eq!(f.fetch("x").json(), json!({"_id":"x","a":null}));
}

#[test]
fn an_empty_patch_changes_nothing() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x","a":1}"#);
    let path = f.document("x");
    assert_eq!(
        f.client.patch(&path, "{}").expect(200).text(),
        r#"{"_id":"x","a":1}"#
    );
}

#[test]
fn put_replaces_the_document() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x","old":1}"#);
    let path = f.document("x");
    let answer = f.client.put(&path, r#"{"new":2}"#).expect(200);
    assert_eq!(answer.json(), json!({"_id":"x","new":2}));
    assert_eq!(f.fetch("x").text(), answer.text());
    let answer = f.client.put(&path, r#"{"n":3,"_id":"x"}"#).expect(200);
    assert_eq!(answer.text(), r#"{"n":3,"_id":"x"}"#);
}

#[test]
fn an_id_in_patch_and_put_must_be_that_of_the_path() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x","n":0}"#);
    let path = f.document("x");
    for body in [
        r#"{"_id":"y","n":1}"#,
        r#"{"_id":1,"n":1}"#,
        r#"{"_id":null}"#,
        r#"{"_id":""}"#,
    ] {
        check_error(&f.client.patch(&path, body), 400, "id");
        check_error(&f.client.put(&path, body), 400, "id");
    }
    assert_eq!(f.fetch("x").json(), json!({"_id":"x","n":0}));
    f.client.patch(&path, r#"{"_id":"x","n":1}"#).expect(200);
    assert_eq!(f.fetch("x").json(), json!({"_id":"x","n":1}));
    check_error(&f.fetch("y"), 404, "y");
}

#[test]
fn put_with_if_none_match_creates() {
    let mut f = Fixture::new();
    let path = f.document("x");
    let create = [JSON, ("If-None-Match", "*")];
    let answer = f.client.request("PUT", &path, &create, br#"{"n":1}"#);
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    assert_eq!(f.fetch("x").expect(200).json(), json!({"_id":"x","n":1}));
    let again = f.client.request("PUT", &path, &create, br#"{"n":2}"#);
    check_error(&again, 412, "x");
    assert_eq!(f.fetch("x").json()["n"], 1);
}

#[test]
fn put_without_it_does_not_create() {
    let mut f = Fixture::new();
    let path = f.document("x");
    check_error(
        &f.client.put(&path, "{}"),
        404,
        "document with id x not found; to make it, send If-None-Match: *",
    );
    assert_eq!(f.count(), 0);
}

#[test]
fn delete_answers_204_without_a_body() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x"}"#);
    let path = f.document("x");
    let answer = f.client.delete(&path).expect(204);
    assert!(answer.body.is_empty());
    assert!(f.client.is_connected());
    check_error(&f.fetch("x"), 404, "document with id x not found");
    check_error(&f.client.delete(&path), 404, "document with id x not found");
}

#[test]
fn a_deleted_id_can_be_used_again() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x","n":1}"#);
    let path = f.document("x");
    f.client.delete(&path).expect(204);
    f.add(r#"{"_id":"x","m":2}"#);
    assert_eq!(f.fetch("x").json(), json!({"_id":"x","m":2}));
    assert_eq!(f.count(), 1);
}

#[test]
fn a_missing_document_is_404_whether_or_not_the_collection_exists() {
    for make_collection in [false, true] {
        let mut f = Fixture::new();
        if make_collection {
            f.add(r#"{"_id":"other"}"#);
        }
        let path = f.document("x");
        for (method, body) in [("GET", ""), ("PATCH", "{}"), ("PUT", "{}"), ("DELETE", "")] {
            let answer = f.client.request(method, &path, &[JSON], body.as_bytes());
            check_error(&answer, 404, "document with id x not found");
        }
    }
}

#[test]
fn a_refused_write_makes_no_collection() {
    let mut f = Fixture::new();
    let path = f.document("x");
    check_error(&f.insert("[]"), 400, "object");
    check_error(&f.client.patch(&path, "{}"), 404, "x");
    check_error(&f.client.delete(&path), 404, "x");
    let path = f.path("/indexes");
    assert_eq!(f.client.get(&path).json()["index_count"], 0);
}

#[test]
fn good_collection_names() {
    let mut f = Fixture::new();
    for name in [
        "a",
        "A.b-c_9",
        "...",
        "-",
        "_",
        ".hidden",
        "0",
        "find",
        "batch",
        &"n".repeat(128),
    ] {
        let name = if name.len() < 100 {
            format!("{}{name}", f.name)
        } else {
            name.to_owned()
        };
        f.client
            .post(&format!("/collections/{name}"), r#"{"_id":"x"}"#)
            .expect(201);
        f.client
            .get(&format!("/collections/{name}/documents/x"))
            .expect(200);
    }
}

#[test]
fn bad_collection_names_are_refused_on_every_route() {
    let mut f = Fixture::new();
    for name in [
        ".",
        "..",
        "a b",
        "ä",
        "a$",
        "a/b",
        "a:b",
        "*",
        "\n",
        "\u{0}",
        &"n".repeat(129),
    ] {
        let base = format!("/collections/{}", encode(name));
        for (method, rest, body) in [
            ("POST", "", "{}"),
            ("POST", "/batch", r#"{"documents":[{}]}"#),
            (
                "PATCH",
                "/batch",
                r#"{"operations":[{"id":"x","updates":{}}]}"#,
            ),
            ("GET", "/documents/x", ""),
            ("PATCH", "/documents/x", "{}"),
            ("PUT", "/documents/x", "{}"),
            ("DELETE", "/documents/x", ""),
            ("GET", "/find", ""),
            ("GET", "/find_with_stream", ""),
            ("GET", "/indexes", ""),
            ("POST", "/indexes/f", ""),
        ] {
            let target = format!("{base}{rest}");
            let answer = f.client.request(method, &target, &[JSON], body.as_bytes());
            check_error(&answer, 400, "collection");
        }
    }
}

#[test]
fn collections_do_not_share_documents() {
    let (mut a, mut b) = (Fixture::new(), Fixture::new());
    a.add(r#"{"_id":"x","from":"a"}"#);
    b.add(r#"{"_id":"x","from":"b"}"#);
    assert_eq!(a.fetch("x").json()["from"], "a");
    let path = a.document("x");
    a.client.delete(&path).expect(204);
    assert_eq!(b.fetch("x").expect(200).json()["from"], "b");
    assert_eq!((a.count(), b.count()), (0, 1));
}

#[test]
fn concurrent_patches_of_one_document_lose_nothing() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x"}"#);
    let path = f.document("x");
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let (mut client, path) = (f.node().client(), &path);
            scope.spawn(move || {
                for n in 0..25 {
                    client
                        .patch(path, &format!("{{\"w{writer}_{n}\":{n}}}"))
                        .expect(200);
                }
            });
        }
    });
    let document: Value = f.fetch("x").json();
    assert_eq!(document.as_object().unwrap().len(), 1 + 8 * 25);
}

#[test]
fn of_concurrent_inserts_of_one_id_one_wins() {
    let f = Fixture::new();
    let path = f.path("");
    for round in 0..10 {
        let created: usize = std::thread::scope(|scope| {
            let attempt = |writer: usize| {
                let (mut client, path) = (f.node().client(), &path);
                scope.spawn(move || {
                    let body = format!("{{\"_id\":\"r{round}\",\"by\":{writer}}}");
                    let answer = client.post(path, &body);
                    assert!(matches!(answer.status, 201 | 409), "{}", answer.text());
                    usize::from(answer.status == 201)
                })
            };
            let handles: Vec<_> = (0..6).map(attempt).collect();
            handles
                .into_iter()
                .map(|handle| handle.join().unwrap())
                .sum()
        });
        assert_eq!(created, 1);
    }
}

#[test]
fn a_write_whose_condition_is_not_understood_is_not_made() {
    let mut f = Fixture::new();
    let document = r#"{"_id":"a","n":1}"#;
    f.add(document);
    let path = f.document("a");
    let (collection, _) = path.split_once("/documents").unwrap();
    let batch = format!("{collection}/batch");
    let operations = r#"{"operations":[{"id":"a","updates":{"n":2}}]}"#;
    for header in [("If-None-Match", "*"), ("If-Match", "*")] {
        for (method, target, body) in [
            ("DELETE", path.as_str(), ""),
            ("PATCH", path.as_str(), r#"{"n":2}"#),
            ("POST", collection, r#"{"_id":"b"}"#),
            ("POST", batch.as_str(), r#"{"documents":[{"_id":"b"}]}"#),
            ("PATCH", batch.as_str(), operations),
        ] {
            let answer = f
                .client
                .request(method, target, &[JSON, header], body.as_bytes());
            assert_eq!(answer.status, 400, "{method} {target} {header:?}");
        }
    }
    // Of two levels the weaker one might be taken for the one that was asked for.
    let levels = [JSON, ("Durability", "os"), ("Durability", "full")];
    let answer = f.client.request("PUT", &path, &levels, br#"{"n":3}"#);
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(f.fetch("a").text(), document);
    assert_eq!(f.count(), 1);
}
