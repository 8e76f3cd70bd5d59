//! The routes themselves: unknown ones, wrong methods, health, OpenAPI, the two forms of an error.

use godb_tests::client::JSON;
use serde_json::Value;

use crate::shared::{Fixture, check_error};

/// Every path of the contract with its methods.
const ROUTES: &[(&str, &[&str])] = &[
    ("/health", &["GET"]),
    ("/openapi.json", &["GET"]),
    ("/export", &["GET"]),
    ("/collections/{c}", &["POST"]),
    ("/collections/{c}/batch", &["POST", "PATCH"]),
    (
        "/collections/{c}/documents/{id}",
        &["GET", "PATCH", "PUT", "DELETE"],
    ),
    ("/collections/{c}/find", &["GET"]),
    ("/collections/{c}/find_with_stream", &["GET"]),
    ("/collections/{c}/indexes", &["GET"]),
    ("/collections/{c}/indexes/{field}", &["POST"]),
];

const METHODS: &[&str] = &[
    "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND",
];

fn concrete(f: &Fixture, template: &str) -> String {
    template
        .replace("{c}", &f.name)
        .replace("{id}", "x")
        .replace("{field}", "f")
}

#[test]
fn health_says_healthy() {
    let mut f = Fixture::new();
    let answer = f.client.get("/health").expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!(body["status"], "healthy");
    assert!(body["message"].is_string());
    assert_eq!(body.as_object().unwrap().len(), 2);
}

#[test]
fn unknown_routes_are_404() {
    let mut f = Fixture::new();
    for target in [
        "/",
        "/x",
        "/healthz",
        "/health/",
        "/health/x",
        "/collections",
        "/collections/",
        "/Collections/c",
        "/collections//find",
        "/collections/c/",
        "/collections/c/documents",
        "/collections/c/documents/",
        "/collections/c/documents/x/y",
        "/collections/c/find/",
        "/collections/c/find/x",
        "/collections/c/nothing",
        "/collections/c/indexes/",
        "/collections/c/indexes/a/b",
        "/collections/c/batch/x",
        "/metrics",
        "/admin/config",
        "/readyz",
        "/%2e%2e/health",
        "//health",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = f.client.request(method, target, &[JSON], b"");
            check_error(&answer, 404, "");
        }
    }
}

#[test]
fn wrong_methods_are_405_with_allow() {
    let mut f = Fixture::new();
    for (template, methods) in ROUTES {
        let target = concrete(&f, template);
        for method in METHODS.iter().filter(|method| !methods.contains(method)) {
            let answer = f.client.request(method, &target, &[JSON], b"");
            check_error(&answer, 405, "");
            let allow = answer.header("allow").expect("Allow");
            let mut allowed: Vec<&str> = allow.split(',').map(str::trim).collect();
            allowed.retain(|method| !matches!(*method, "HEAD" | "OPTIONS"));
            allowed.sort_unstable();
            let mut expected = methods.to_vec();
            expected.sort_unstable();
            assert_eq!(allowed, expected, "{method} {target}");
        }
    }
}

#[test]
fn head_is_get_without_its_body() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"x"}"#);
    for target in [
        "/health".to_owned(),
        f.document("x"),
        f.path("/find"),
        f.path("/indexes"),
    ] {
        let get = f.client.get(&target).expect(200);
        let head = f.client.request("HEAD", &target, &[], b"");
        assert_eq!(head.status, 200, "{target}");
        assert_eq!(
            head.header("content-length"),
            get.header("content-length"),
            "{target}"
        );
    }
    let missing = f.document("missing");
    assert_eq!(f.client.request("HEAD", &missing, &[], b"").status, 404);
    f.client.get("/health").expect(200);
}

/// One request for each status a client can bring about.
fn failing(f: &Fixture) -> Vec<(u16, &'static str, String, &'static str, &'static str)> {
    vec![
        (400, "POST", f.path(""), "application/json", "nonsense"),
        (400, "GET", f.path("/find?limit=0"), "", ""),
        (404, "GET", f.document("missing"), "", ""),
        (404, "GET", "/nothing".to_owned(), "", ""),
        (405, "DELETE", "/health".to_owned(), "", ""),
        (
            409,
            "POST",
            f.path(""),
            "application/json",
            r#"{"_id":"there"}"#,
        ),
        (415, "POST", f.path(""), "text/plain", "{}"),
    ]
}

#[test]
fn errors_have_three_members() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"there"}"#);
    for (status, method, target, content_type, body) in failing(&f) {
        let headers = [
            ("Content-Type", content_type),
            ("Accept", "application/json"),
        ];
        let answer = f.client.request(method, &target, &headers, body.as_bytes());
        check_error(&answer, status, "");
        let mut members: Vec<String> = answer.json().as_object().unwrap().keys().cloned().collect();
        members.sort();
        assert_eq!(members, ["code", "error", "message"], "{target}");
    }
}

#[test]
fn problem_json_on_request_has_the_same_members_inside() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"there"}"#);
    for accept in [
        "application/problem+json",
        "text/html, application/problem+json;q=0.9",
    ] {
        for (status, method, target, content_type, body) in failing(&f) {
            let headers = [("Content-Type", content_type), ("Accept", accept)];
            let answer = f.client.request(method, &target, &headers, body.as_bytes());
            assert_eq!(answer.status, status);
            assert_eq!(
                answer.header("content-type"),
                Some("application/problem+json"),
                "{target}"
            );
            let problem = answer.json();
            for member in ["type", "title", "detail", "error", "message"] {
                assert!(problem[member].is_string(), "{member}: {problem}");
            }
            assert_eq!(problem["status"], status);
            assert_eq!(problem["code"], status);
            assert_eq!(problem["detail"], problem["message"]);
            assert_eq!(problem["title"], problem["error"]);
        }
    }
}

#[test]
fn a_success_is_never_a_problem() {
    let mut f = Fixture::new();
    let headers = [("Accept", "application/problem+json")];
    let answer = f
        .client
        .request("GET", "/health", &headers, b"")
        .expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

fn openapi(f: &mut Fixture) -> Value {
    let answer = f.client.get("/openapi.json").expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()
}

#[test]
fn openapi_lists_exactly_the_routes() {
    let mut f = Fixture::new();
    let document = openapi(&mut f);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let mut listed = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "parameters")
        {
            let template = path.replace("{collection}", "{c}");
            listed.push(format!("{} {template}", method.to_uppercase()));
        }
    }
    let mut expected: Vec<String> = ROUTES
        .iter()
        .flat_map(|(path, methods)| methods.iter().map(move |method| format!("{method} {path}")))
        .collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
}

#[test]
fn every_openapi_operation_is_served_and_described() {
    let mut f = Fixture::new();
    let document = openapi(&mut f);
    let mut operation_ids = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if method == "parameters" {
                continue;
            }
            let target = path
                .replace("{collection}", &f.name)
                .replace("{id}", "x")
                .replace("{field}", "f");
            let status = f
                .client
                .request(&method.to_uppercase(), &target, &[JSON], b"")
                .status;
            let known = operation["responses"].as_object().unwrap();
            assert!(
                known.contains_key(&status.to_string()) || known.contains_key("default"),
                "{method} {path} answers {status}, which its description does not know"
            );
            assert_ne!(status, 405, "{method} {path}");
            operation_ids.push(
                operation["operationId"]
                    .as_str()
                    .expect("operationId")
                    .to_owned(),
            );
        }
    }
    let count = operation_ids.len();
    operation_ids.sort();
    operation_ids.dedup();
    assert_eq!(operation_ids.len(), count, "operationId is unique");
}

#[test]
fn every_openapi_reference_resolves() {
    fn visit(value: &Value, document: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference.strip_prefix('#').expect("a local reference");
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                members.values().for_each(|member| visit(member, document));
            }
            Value::Array(items) => items.iter().for_each(|item| visit(item, document)),
            _ => {}
        }
    }
    let document = openapi(&mut Fixture::new());
    visit(&document, &document);
}
