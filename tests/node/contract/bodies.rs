//! Request bodies: what is JSON, how large, how deep, of which type. A 4xx writes nothing.

use godb_tests::Response;
use godb_tests::client::JSON;
use serde_json::json;

use crate::shared::{Fixture, check_error};

const MIB: usize = 1024 * 1024;

/// Not one JSON object in UTF-8.
const MALFORMED: &[&[u8]] = &[
    b"",
    b" ",
    b"{",
    b"}",
    b"null",
    b"true",
    b"1",
    b"\"text\"",
    b"[]",
    b"[{}]",
    b"{}{}",
    b"{} {}",
    b"{},",
    b"{}x",
    b"{}\0",
    b"\0{}",
    b"\xef\xbb\xbf{}",
    b"{\"a\":}",
    b"{\"a\"}",
    b"{\"a\" 1}",
    b"{\"a\"=1}",
    b"{a:1}",
    b"{'a':1}",
    b"{1:1}",
    b"{null:1}",
    b"{\"a\":1,}",
    b"{,}",
    b"{\"a\":1 \"b\":2}",
    b"{\"a\":[1,]}",
    b"{\"a\":[,1]}",
    b"{\"a\":[1 2]}",
    b"{\"a\":[}",
    b"{\"a\":[1}",
    b"{\"a\":{]}",
    b"{\"a\":01}",
    b"{\"a\":-01}",
    b"{\"a\":+1}",
    b"{\"a\":1.}",
    b"{\"a\":.5}",
    b"{\"a\":1e}",
    b"{\"a\":1e+}",
    b"{\"a\":-}",
    b"{\"a\":0x1}",
    b"{\"a\":NaN}",
    b"{\"a\":Infinity}",
    b"{\"a\":-Infinity}",
    b"{\"a\":nul}",
    b"{\"a\":nulls}",
    b"{\"a\":True}",
    b"{\"a\":undefined}",
    b"{\"a\":\"}",
    b"{\"a\":\"\\\"}",
    b"{\"a\":\"\\x\"}",
    b"{\"a\":\"\\u12\"}",
    b"{\"a\":\"\\u12g4\"}",
    b"{\"a\":\"\\ud800\"}",
    b"{\"a\":\"\\ud800x\"}",
    b"{\"a\":\"\\ud800\\u0041\"}",
    b"{\"a\":\"\\udc00\"}",
    b"{\"\\ud800\":1}",
    b"{\"a\":\"\n\"}",
    b"{\"a\":\"\t\"}",
    b"{\"a\":\"\0\"}",
    b"{\"a\":\"\xff\"}",
    b"{\"a\":\"\xc3\"}",
    b"{\"a\":\"\xc0\xaf\"}",
    b"{\"a\":\"\xed\xa0\x80\"}",
    b"{\"a\":\"\xf5\x80\x80\x80\"}",
    b"{\"\xff\":1}",
    b"{/* */}",
    b"{} // end",
    b"{\x0c}",
    b"{\xc2\xa0}",
];

/// Sends a body to each route that reads one document.
fn everywhere(f: &mut Fixture, body: &[u8]) -> Vec<Response> {
    let (collection, document) = (f.path(""), f.document("x"));
    [
        ("POST", &collection),
        ("PUT", &document),
        ("PATCH", &document),
    ]
    .into_iter()
    .map(|(method, path)| f.client.request(method, path, &[JSON], body))
    .collect()
}

#[test]
fn malformed_json_is_refused_with_its_place() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x","n":0}"#);
    for body in MALFORMED {
        for answer in everywhere(&mut f, body) {
            let shown = String::from_utf8_lossy(body).into_owned();
            assert_eq!(answer.status, 400, "{shown:?}: {}", answer.text());
            check_error(&answer, 400, "line ");
            check_error(&answer, 400, "column ");
        }
    }
    assert_eq!(f.count(), 1);
    assert_eq!(f.fetch("x").json(), json!({"_id":"x","n":0}));
}

#[test]
fn malformed_json_inside_a_batch_is_refused() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x","n":0}"#);
    let path = f.path("/batch");
    for body in MALFORMED
        .iter()
        .filter(|body| !matches!(body, [] | [b' ', ..]))
    {
        let wrap = |before: &str, after: &str| [before.as_bytes(), body, after.as_bytes()].concat();
        let insert = wrap("{\"documents\":[{\"_id\":\"y\"},", "]}");
        let update = wrap(
            "{\"operations\":[{\"id\":\"x\",\"updates\":{\"n\":1}},{\"id\":\"x\",\"updates\":",
            "}]}",
        );
        for (method, sent) in [("POST", insert), ("PATCH", update)] {
            let answer = f.client.request(method, &path, &[JSON], &sent);
            assert_eq!(
                answer.status,
                400,
                "{method} {}",
                String::from_utf8_lossy(&sent)
            );
        }
    }
    assert_eq!(f.count(), 1);
    assert_eq!(f.fetch("x").json()["n"], 0);
}

#[test]
fn line_and_column_count_from_one() {
    let mut f = Fixture::new();
    for (body, place) in [
        ("x", "line 1 column 1"),
        ("{\"a\":1,\n \"b\":tru}", "line 2 column"),
        ("{\n\n\n  x", "line 4 column 3"),
        ("{\"é\":x}", "line 1 column 6"),
    ] {
        check_error(&f.insert(body), 400, place);
    }
}

/// An object of this many levels, itself included.
fn nested(levels: usize) -> String {
    format!(
        "{{\"a\":{}{}}}",
        "[".repeat(levels - 1),
        "]".repeat(levels - 1)
    )
}

#[test]
fn nesting_may_be_128_levels_deep() {
    let mut f = Fixture::new();
    let id = f.insert(&nested(128)).expect(201).json_id();
    assert!(f.fetch(&id).expect(200).text().contains(&"[".repeat(127)));
    let objects = format!("{}1{}", "{\"a\":".repeat(128), "}".repeat(128));
    f.insert(&objects).expect(201);
    let path = f.path("/find");
    let text = f.client.get(&path).expect(200).text();
    assert!(text.contains(&objects[1..]));
}

#[test]
fn deeper_nesting_is_refused() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x","n":0}"#);
    for levels in [129, 130, 1000, 100_000] {
        for answer in everywhere(&mut f, nested(levels).as_bytes()) {
            check_error(&answer, 400, "deep");
        }
    }
    let path = f.path("/batch");
    let body = format!("{{\"documents\":[{}]}}", nested(129));
    check_error(&f.client.post(&path, &body), 400, "deep");
    let body = format!(
        "{{\"operations\":[{{\"id\":\"x\",\"updates\":{}}}]}}",
        nested(129)
    );
    check_error(&f.client.patch(&path, &body), 400, "deep");
    assert_eq!(f.count(), 1);
}

#[test]
fn in_a_batch_each_document_has_128_levels() {
    let mut f = Fixture::new();
    let answer = f.batch(&format!("[{}]", nested(128))).expect(201);
    let id = answer.json_id();
    f.batch_update(&format!(
        "[{{\"id\":\"{id}\",\"updates\":{}}}]",
        nested(128)
    ))
    .expect(200);
}

trait JsonId {
    fn json_id(&self) -> String;
}

impl JsonId for Response {
    /// The `_id` in the text: serde_json reads 128 levels only.
    fn json_id(&self) -> String {
        let text = self.text();
        let start = text.find("\"_id\":\"").expect("an _id") + 7;
        text[start..].split('"').next().unwrap().to_owned()
    }
}

/// A document of exactly this many bytes.
fn sized(id: &str, bytes: usize) -> String {
    let frame = format!("{{\"_id\":\"{id}\",\"t\":\"\"}}").len();
    format!(
        "{{\"_id\":\"{id}\",\"t\":\"{}\"}}",
        "x".repeat(bytes - frame)
    )
}

#[test]
fn a_document_may_have_16_mib() {
    let mut f = Fixture::new();
    let largest = sized("big", 16 * MIB);
    f.insert(&largest).expect(201);
    assert!(f.fetch("big").expect(200).text() == largest);
}

#[test]
fn a_larger_body_is_413() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x","n":0}"#);
    let large = sized("x", 16 * MIB + 1);
    for (method, path) in [
        ("POST", f.path("")),
        ("PUT", f.document("x")),
        ("PATCH", f.document("x")),
    ] {
        let answer = f
            .node()
            .client()
            .request(method, &path, &[JSON], large.as_bytes());
        check_error(&answer, 413, "16");
        let chunks: Vec<&[u8]> = large.as_bytes().chunks(MIB).collect();
        let answer = f
            .node()
            .client()
            .try_chunked(method, &path, &[JSON], &chunks)
            .unwrap();
        check_error(&answer, 413, "16");
    }
    assert_eq!(f.count(), 1);
    assert_eq!(f.fetch("x").json()["n"], 0);
}

#[test]
fn a_length_that_is_too_large_is_refused_before_the_body_is_sent() {
    let f = Fixture::new();
    for length in ["16777217", "1000000000000"] {
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n",
            f.path("")
        );
        let started = std::time::Instant::now();
        let answer = f.node().client().raw(head.as_bytes()).unwrap();
        check_error(&answer, 413, "16");
        assert!(started.elapsed() < std::time::Duration::from_secs(10));
    }
}

#[test]
fn a_patch_may_not_make_a_document_larger_than_16_mib() {
    let mut f = Fixture::new();
    let half = sized("x", 9 * MIB);
    f.insert(&half).expect(201);
    let path = f.document("x");
    let more = format!("{{\"u\":\"{}\"}}", "y".repeat(9 * MIB));
    check_error(&f.client.patch(&path, &more), 413, "");
    let operations = format!("[{{\"id\":\"x\",\"updates\":{more}}}]");
    check_error(&f.batch_update(&operations), 413, "");
    assert!(f.fetch("x").expect(200).text() == half);
}

#[test]
fn one_request_may_not_write_more_than_64_mib() {
    let mut f = Fixture::new();
    for n in 0..6 {
        f.insert(&sized(&format!("d{n}"), 12 * MIB)).expect(201);
    }
    let operations: Vec<String> = (0..6)
        .map(|n| format!("{{\"id\":\"d{n}\",\"updates\":{{\"n\":1}}}}"))
        .collect();
    check_error(
        &f.batch_update(&format!("[{}]", operations.join(","))),
        413,
        "",
    );
    for n in 0..6 {
        assert!(
            !f.fetch(&format!("d{n}"))
                .expect(200)
                .text()
                .contains("\"n\"")
        );
    }
    f.batch_update(&format!("[{}]", operations[..5].join(",")))
        .expect(200);
}

#[test]
fn other_content_types_are_415() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x","n":0}"#);
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "application/jsonx",
        "text/html",
    ] {
        for (method, path, body) in [
            ("POST", f.path(""), "{}"),
            ("POST", f.path("/batch"), r#"{"documents":[{}]}"#),
            (
                "PATCH",
                f.path("/batch"),
                r#"{"operations":[{"id":"x","updates":{}}]}"#,
            ),
            ("PUT", f.document("x"), "{}"),
            ("PATCH", f.document("x"), "{}"),
        ] {
            let headers = [("Content-Type", content_type)];
            let answer = f.client.request(method, &path, &headers, body.as_bytes());
            check_error(&answer, 415, "json");
        }
    }
    assert_eq!(f.count(), 1);
}

#[test]
fn json_in_its_spellings_and_no_content_type_are_accepted() {
    let mut f = Fixture::new();
    let path = f.path("");
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/json ;charset=UTF-8",
    ] {
        let headers = [("Content-Type", content_type)];
        f.client.request("POST", &path, &headers, b"{}").expect(201);
    }
    f.client.request("POST", &path, &[], b"{}").expect(201);
    assert_eq!(f.count(), 5);
}

#[test]
fn a_chunked_body_is_a_body() {
    let mut f = Fixture::new();
    let path = f.path("");
    let chunks: [&[u8]; 4] = [b"{\"_id\":\"x\",", b"\"n", b"\":", b"1}"];
    let answer = f
        .client
        .try_chunked("POST", &path, &[JSON], &chunks)
        .unwrap();
    assert_eq!(answer.expect(201).json(), json!({"_id":"x","n":1}));
}

#[test]
fn a_body_that_is_cut_off_writes_nothing() {
    let mut f = Fixture::new();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{}}",
        f.path("")
    );
    let mut other = f.node().client();
    std::io::Write::write_all(other.socket().unwrap().get_mut(), head.as_bytes()).unwrap();
    drop(other);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(f.count(), 0);
}
