//! Batches: all or nothing, 1 to 1000 items.

use serde_json::{Value, json};

use crate::shared::{Fixture, check_error};

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

#[test]
fn an_insert_answers_what_clients_expect() {
    let mut f = Fixture::new();
    let answer = f
        .batch(r#"[{"_id":"b","n":1},{"n":2},{"_id":"a"}]"#)
        .expect(201)
        .json();
    assert_eq!(
        keys(&answer),
        [
            "collection",
            "documents",
            "inserted_count",
            "message",
            "success"
        ]
    );
    assert_eq!(answer["success"], true);
    assert_eq!(answer["message"], "Batch insert completed successfully");
    assert_eq!(answer["inserted_count"], 3);
    assert_eq!(answer["collection"], f.name.as_str());
    let documents = answer["documents"].as_array().unwrap();
    assert_eq!(documents[0], json!({"_id":"b","n":1}));
    assert_eq!(documents[1]["n"], 2);
    assert_eq!(documents[2], json!({"_id":"a"}));
    let made = documents[1]["_id"].as_str().unwrap();
    assert_eq!(f.fetch(made).expect(200).json(), documents[1]);
    assert_eq!(f.count(), 3);
}

#[test]
fn an_update_answers_what_clients_expect() {
    let mut f = Fixture::new();
    f.batch(r#"[{"_id":"a","n":1,"k":0},{"_id":"b"}]"#)
        .expect(201);
    let operations = r#"[{"id":"b","updates":{"n":null}},{"id":"a","updates":{"n":2}}]"#;
    let answer = f.batch_update(operations).expect(200).json();
    assert_eq!(
        keys(&answer),
        [
            "collection",
            "documents",
            "failed_count",
            "message",
            "success",
            "updated_count"
        ]
    );
    assert_eq!(answer["success"], true);
    assert_eq!(answer["message"], "Batch update completed successfully");
    assert_eq!(answer["updated_count"], 2);
    assert_eq!(answer["failed_count"], 0);
    assert_eq!(answer["collection"], f.name.as_str());
    assert_eq!(
        answer["documents"],
        json!([{"_id":"b","n":null},{"_id":"a","n":2,"k":0}])
    );
    assert_eq!(f.fetch("a").json(), json!({"_id":"a","n":2,"k":0}));
}

#[test]
fn numbers_and_key_order_survive_a_batch() {
    let mut f = Fixture::new();
    let answer = f
        .batch(r#"[{"z":1.10,"_id":"x","a":9007199254740993}]"#)
        .expect(201)
        .text();
    assert!(
        answer.contains(r#"{"z":1.10,"_id":"x","a":9007199254740993}"#),
        "{answer}"
    );
    let answer = f
        .batch_update(r#"[{"id":"x","updates":{"b":2.50}}]"#)
        .expect(200)
        .text();
    assert!(
        answer.contains(r#"{"z":1.10,"_id":"x","a":9007199254740993,"b":2.50}"#),
        "{answer}"
    );
}

#[test]
fn a_thousand_items_are_fine() {
    let mut f = Fixture::new();
    let documents: Vec<Value> = (0..1000)
        .map(|n| json!({"_id": format!("{n:04}"), "n": n}))
        .collect();
    let answer = f
        .batch(&Value::from(documents).to_string())
        .expect(201)
        .json();
    assert_eq!(answer["inserted_count"], 1000);
    assert_eq!(f.count(), 1000);
    let operations: Vec<Value> = (0..1000)
        .map(|n| json!({"id": format!("{n:04}"), "updates": {"m": n}}))
        .collect();
    let answer = f
        .batch_update(&Value::from(operations).to_string())
        .expect(200)
        .json();
    assert_eq!(answer["updated_count"], 1000);
    assert_eq!(f.fetch("0999").json()["m"], 999);
}

#[test]
fn none_and_too_many_are_refused() {
    let mut f = Fixture::new();
    check_error(&f.batch("[]"), 400, "1000");
    check_error(&f.batch_update("[]"), 400, "1000");
    let documents = vec![json!({}); 1001];
    check_error(&f.batch(&Value::from(documents).to_string()), 400, "1000");
    f.add(r#"{"_id":"x","n":0}"#);
    let operations = vec![json!({"id":"x","updates":{"n":1}}); 1001];
    check_error(
        &f.batch_update(&Value::from(operations).to_string()),
        400,
        "1000",
    );
    assert_eq!(f.fetch("x").json()["n"], 0);
    assert_eq!(f.count(), 1);
}

#[test]
fn one_bad_document_fails_the_whole_insert() {
    let mut f = Fixture::new();
    for bad in [
        "1",
        "null",
        "[]",
        "\"x\"",
        r#"{"_id":1}"#,
        r#"{"_id":""}"#,
        r#"{"_id":null}"#,
    ] {
        let answer = f.batch(&format!(r#"[{{"_id":"a"}},{bad},{{"_id":"b"}}]"#));
        check_error(&answer, 400, "");
    }
    assert_eq!(f.count(), 0);
}

#[test]
fn an_existing_id_fails_the_whole_insert() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"there","n":1}"#);
    check_error(
        &f.batch(r#"[{"_id":"a"},{"_id":"there","n":2},{"_id":"b"}]"#),
        409,
        "there",
    );
    assert_eq!(f.count(), 1);
    assert_eq!(f.fetch("there").json()["n"], 1);
}

#[test]
fn an_id_twice_fails_the_whole_insert() {
    let mut f = Fixture::new();
    check_error(
        &f.batch(r#"[{"_id":"a"},{"_id":"b"},{"_id":"a"}]"#),
        409,
        "a",
    );
    assert_eq!(f.count(), 0);
}

#[test]
fn the_body_of_an_insert_must_have_documents() {
    let mut f = Fixture::new();
    let path = f.path("/batch");
    for body in [
        "{}",
        "[]",
        r#"{"documents":null}"#,
        r#"{"documents":{}}"#,
        r#"{"documents":1}"#,
        r#"{"Documents":[{}]}"#,
        r#"[{"a":1}]"#,
        r#"{"documents":"x"}"#,
    ] {
        check_error(&f.client.post(&path, body), 400, "");
    }
    assert_eq!(f.count(), 0);
}

#[test]
fn the_body_of_an_update_must_have_operations() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x","n":0}"#);
    let path = f.path("/batch");
    let good = r#"{"id":"x","updates":{"n":1}}"#;
    for operation in [
        "1",
        "null",
        "[]",
        "{}",
        r#"{"id":"x"}"#,
        r#"{"updates":{}}"#,
        r#"{"id":1,"updates":{}}"#,
        r#"{"id":"x","updates":null}"#,
        r#"{"id":"x","updates":[]}"#,
        r#"{"id":null,"updates":{}}"#,
        r#"{"id":"","updates":{}}"#,
        r#"{"id":"x","updates":{"_id":"y"}}"#,
        r#"{"id":"x","updates":{"_id":1}}"#,
    ] {
        check_error(&f.batch_update(&format!("[{good},{operation}]")), 400, "");
    }
    for body in [
        "{}",
        "[]",
        r#"{"operations":null}"#,
        r#"{"operations":{}}"#,
        r#"{"documents":[{}]}"#,
    ] {
        check_error(&f.client.patch(&path, body), 400, "");
    }
    assert_eq!(f.fetch("x").json()["n"], 0);
}

#[test]
fn one_missing_id_fails_the_whole_update() {
    let mut f = Fixture::new();
    f.batch(r#"[{"_id":"a","n":0},{"_id":"b","n":0}]"#)
        .expect(201);
    let answer = f.batch_update(
        r#"[{"id":"a","updates":{"n":1}},{"id":"X","updates":{"n":1}},{"id":"b","updates":{"n":1}}]"#,
    );
    check_error(&answer, 404, "");
    assert_eq!(answer.json()["message"], "document with id X not found");
    assert_eq!(f.fetch("a").json()["n"], 0);
    assert_eq!(f.fetch("b").json()["n"], 0);
    check_error(&f.fetch("X"), 404, "X");
}

#[test]
fn an_id_twice_is_updated_in_order() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x","n":0}"#);
    let operations = r#"[{"id":"x","updates":{"n":1,"a":1}},{"id":"x","updates":{"n":2,"b":2}}]"#;
    let answer = f.batch_update(operations).expect(200).json();
    assert_eq!(answer["updated_count"], 2);
    assert_eq!(f.fetch("x").json(), json!({"_id":"x","n":2,"a":1,"b":2}));
}

#[test]
fn a_batch_is_seen_as_a_whole_or_not_at_all() {
    let mut f = Fixture::new();
    let ids: Vec<String> = (0..20).map(|n| format!("d{n:02}")).collect();
    let with = |round: u32| {
        let operations: Vec<Value> = ids
            .iter()
            .map(|id| json!({"id": id, "updates": {"round": round}}))
            .collect();
        Value::from(operations).to_string()
    };
    let documents: Vec<Value> = ids
        .iter()
        .map(|id| json!({"_id": id, "round": 0}))
        .collect();
    f.batch(&Value::from(documents).to_string()).expect(201);
    let (mut reader, path) = (f.node().client(), f.path("/find"));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 1..=60 {
                f.batch_update(&with(round)).expect(200);
            }
        });
        while !writer.is_finished() {
            let page = reader.get(&path).expect(200).json();
            let documents = page["documents"].as_array().unwrap();
            assert_eq!(documents.len(), 20);
            assert!(
                documents
                    .iter()
                    .all(|d| d["round"] == documents[0]["round"]),
                "{page}"
            );
        }
    });
}
