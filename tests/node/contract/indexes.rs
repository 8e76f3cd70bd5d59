//! Secondary indexes: list and create.

use godb_tests::client::encode;
use serde_json::json;

use crate::shared::{Fixture, check_error};

#[test]
fn a_missing_collection_has_none() {
    let mut f = Fixture::new();
    let path = f.path("/indexes");
    let answer = f.client.get(&path).expect(200).json();
    assert_eq!(
        answer,
        json!({"success":true,"collection":f.name,"indexes":[],"index_count":0})
    );
}

#[test]
fn a_collection_has_the_index_on_id() {
    let mut f = Fixture::new();
    f.add("{}");
    let path = f.path("/indexes");
    let answer = f.client.get(&path).expect(200).json();
    assert_eq!(
        answer,
        json!({"success":true,"collection":f.name,"indexes":["_id"],"index_count":1})
    );
}

#[test]
fn a_created_index_is_listed() {
    let mut f = Fixture::new();
    f.add(r#"{"n":1}"#);
    let answer = f.index("n").expect(201).json();
    assert_eq!(
        answer,
        json!({"success":true,"message":"Index created successfully","collection":f.name,"field":"n"})
    );
    let path = f.path("/indexes");
    let listed = f.client.get(&path).expect(200).json();
    assert_eq!(listed["indexes"], json!(["_id", "n"]));
    assert_eq!(listed["index_count"], 2);
}

#[test]
fn creating_one_that_exists_does_nothing_and_is_201() {
    let mut f = Fixture::new();
    f.add(r#"{"n":1}"#);
    let first = f.index("n").expect(201).json();
    assert_eq!(f.index("n").expect(201).json(), first);
    let path = f.path("/indexes");
    assert_eq!(f.client.get(&path).json()["index_count"], 2);
}

#[test]
fn an_index_on_id_is_refused() {
    let mut f = Fixture::new();
    check_error(&f.index("_id"), 400, "_id");
    f.add("{}");
    check_error(&f.index("_id"), 400, "_id");
}

#[test]
fn an_index_makes_its_collection() {
    let mut f = Fixture::new();
    f.index("n").expect(201);
    let path = f.path("/indexes");
    assert_eq!(f.client.get(&path).json()["indexes"], json!(["_id", "n"]));
    assert_eq!(f.count(), 0);
}

#[test]
fn a_request_body_is_ignored() {
    let mut f = Fixture::new();
    let path = f.path("/indexes/n");
    for (content_type, body) in [
        ("application/json", "{}"),
        ("application/json", "nonsense"),
        ("text/plain", "x"),
        ("a/b", ""),
    ] {
        let headers = [("Content-Type", content_type)];
        f.client
            .request("POST", &path, &headers, body.as_bytes())
            .expect(201);
    }
    f.client
        .try_chunked("POST", &path, &[], &[b"[1", b",2"])
        .unwrap()
        .expect(201);
    f.client.get("/health").expect(200);
}

#[test]
fn fields_may_be_dotted_paths_in_any_script() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x","a":{"b":{"c":1}},"größe":2,"a b":3}"#);
    for field in ["a.b.c", "größe", "a b", "_x", "$", "日本"] {
        let answer = f.index(field).expect(201).json();
        assert_eq!(answer["field"], field);
    }
    assert_eq!(f.found("a.b.c=1"), ["x"]);
    assert_eq!(f.found(&format!("{}=2", encode("größe"))), ["x"]);
}

#[test]
fn bad_fields_are_refused() {
    let mut f = Fixture::new();
    check_error(&f.index(&"x".repeat(10_000)), 400, "field");
    let path = f.path("/indexes/%ff");
    check_error(&f.client.post(&path, ""), 400, "UTF-8");
    let path = f.path("/indexes");
    assert_eq!(f.client.get(&path).json()["index_count"], 0);
}

#[test]
fn an_index_is_built_while_others_write_and_misses_nothing() {
    let mut f = Fixture::new();
    let seed: Vec<_> = (0..1000)
        .map(|n| json!({"_id": format!("s{n:04}"), "k": n % 10}))
        .collect();
    f.batch(&json!(seed).to_string()).expect(201);
    let path = f.path("");
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (mut client, path) = (f.node().client(), &path);
            scope.spawn(move || {
                for n in 0..150 {
                    client
                        .post(
                            path,
                            &format!("{{\"_id\":\"w{writer}_{n}\",\"k\":{}}}", n % 10),
                        )
                        .expect(201);
                    let target = format!("{path}/documents/s{:04}", writer * 300 + n);
                    if n % 3 == 0 {
                        client.delete(&target).expect(204);
                    } else {
                        client.patch(&target, r#"{"k":100}"#).expect(200);
                    }
                }
            });
        }
        f.index("k").expect(201);
    });
    let stream = f.path("/find_with_stream");
    let all = f.client.get(&stream).expect(200).json();
    for k in (0..10).chain([100]) {
        let mut expected: Vec<&str> = all
            .as_array()
            .unwrap()
            .iter()
            .filter(|document| document["k"] == k)
            .map(|document| document["_id"].as_str().unwrap())
            .collect();
        expected.sort_unstable();
        assert_eq!(f.found(&format!("k={k}&limit=1000")), expected, "k={k}");
    }
}

#[test]
fn concurrent_creation_of_one_index_is_fine() {
    let mut f = Fixture::new();
    for n in 0..200 {
        f.add(&format!("{{\"n\":{n}}}"));
    }
    let path = f.path("/indexes/n");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            let (mut client, path) = (f.node().client(), &path);
            scope.spawn(move || client.post(path, "").expect(201));
        }
    });
    assert_eq!(f.found("n=150").len(), 1);
    let path = f.path("/indexes");
    assert_eq!(f.client.get(&path).json()["index_count"], 2);
}
