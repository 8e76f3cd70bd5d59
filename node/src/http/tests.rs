//! The router without a socket, over an engine on a simulated disk.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use godb_engine::{Durability, LiveSettings, StorageEngine};
use godb_store::disk::fault::{Failure, Rule};
use godb_store::disk::{CallKind, Disk, FaultDisk, SimDisk};
use http_body_util::{BodyExt, Full};
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::metrics::observer::NodeObserver;

struct Node {
    router: Router,
    engine: StorageEngine,
    lifecycle: Arc<Lifecycle>,
    metrics: Metrics,
    disk: FaultDisk,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }
}

fn node_at(durability: Durability) -> Node {
    let disk = FaultDisk::over_sim(SimDisk::new());
    let lifecycle = Arc::new(Lifecycle::start().unwrap());
    let metrics = Metrics::new().unwrap();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let engine = StorageEngine::builder("/data")
        .disk(shared)
        .live(LiveSettings {
            durability,
            ..LiveSettings::default()
        })
        .observer(Arc::new(NodeObserver::new(
            metrics.store.clone(),
            lifecycle.clone(),
        )))
        .open()
        .unwrap();
    lifecycle.advance(Phase::Ready);
    let router = router(
        Bridge::new(engine.clone()),
        lifecycle.clone(),
        metrics.http.clone(),
        Config::default().body_times(),
    );
    Node {
        router,
        engine,
        lifecycle,
        metrics,
        disk,
    }
}

fn node() -> Node {
    node_at(Durability::Os)
}

impl Node {
    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask_with(method, path, &[], body).await
    }

    async fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        let response = self.router.handle(request.body(body).unwrap()).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }
}

#[tokio::test]
async fn a_document_goes_through_its_life() {
    let node = node();
    let path = "/collections/people/documents/a%2F%C3%A9";
    let made = node
        .ask("POST", "/collections/people", r#"{"_id":"a/é", "n": 1.10}"#)
        .await
        .expect(201);
    assert_eq!(made.text, r#"{"_id":"a/é","n":1.10}"#);
    assert_eq!(made.headers["x-godb-lsn"], "1");
    assert_eq!(made.headers["content-type"], "application/json");
    assert_eq!(node.ask("GET", path, "").await.expect(200).text, made.text);
    let patched = node.ask("PATCH", path, r#"{"x":null}"#).await.expect(200);
    assert_eq!(patched.text, r#"{"_id":"a/é","n":1.10,"x":null}"#);
    let put = node.ask("PUT", path, r#"{"z":1}"#).await.expect(200);
    assert_eq!(put.json(), json!({"_id": "a/é", "z": 1}));
    let deleted = node.ask("DELETE", path, "").await.expect(204);
    assert_eq!(deleted.text, "");
    assert_eq!(deleted.headers["x-godb-lsn"], "4");
    for method in ["GET", "PATCH", "PUT", "DELETE"] {
        let missing = node.ask(method, path, "{}").await.expect(404);
        let message = missing.json()["message"].clone();
        let message = message.as_str().unwrap();
        assert!(
            message.starts_with("document with id a/é not found"),
            "{message}"
        );
    }
    let creates = [("if-none-match", "*")];
    node.ask_with("PUT", path, &creates, "{}").await.expect(201);
    node.ask_with("PUT", path, &creates, "{}").await.expect(412);
    node.ask("POST", "/collections/people", r#"{"_id":"a/é"}"#)
        .await
        .expect(409);
}

#[tokio::test]
async fn batches_are_whole() {
    let node = node();
    let path = "/collections/c/batch";
    let body = r#"{"documents":[{"_id":"a","n":1},{"_id":"b"}]}"#;
    let made = node.ask("POST", path, body).await.expect(201);
    assert_eq!(
        made.json(),
        json!({
            "success": true, "message": "Batch insert completed successfully",
            "inserted_count": 2, "collection": "c", "documents": [{"_id": "a", "n": 1}, {"_id": "b"}],
        })
    );
    assert!(made.headers.contains_key("x-godb-lsn"));
    let body = r#"{"operations":[{"id":"a","updates":{"n":2}},{"id":"b","updates":{"m":3}}]}"#;
    let updated = node.ask("PATCH", path, body).await.expect(200).json();
    assert_eq!(updated["message"], "Batch update completed successfully");
    assert_eq!(updated["failed_count"], 0);
    assert_eq!(
        updated["documents"],
        json!([{"_id": "a", "n": 2}, {"_id": "b", "m": 3}])
    );
    let body = r#"{"operations":[{"id":"a","updates":{"n":9}},{"id":"X","updates":{}}]}"#;
    let missing = node.ask("PATCH", path, body).await.expect(404).json();
    assert_eq!(missing["message"], "document with id X not found");
    let kept = node.ask("GET", "/collections/c/documents/a", "").await;
    assert_eq!(kept.json()["n"], 2);
}

#[tokio::test]
async fn a_large_answer_is_the_same_in_pieces() {
    let node = node();
    let text = "x".repeat(40_000);
    let documents: Vec<Value> = (0..20)
        .map(|n| json!({"_id": format!("{n:02}"), "t": text}))
        .collect();
    let body = json!({"documents": documents}).to_string();
    let made = node
        .ask("POST", "/collections/c/batch", &body)
        .await
        .expect(201);
    assert_eq!(made.json()["documents"], Value::from(documents.clone()));
    let page = node.ask("GET", "/collections/c/find", "").await.expect(200);
    assert_eq!(page.json()["documents"], Value::from(documents));
}

#[tokio::test]
async fn pages_follow_each_other() {
    let node = node();
    for id in ["a", "b", "c"] {
        let body = format!("{{\"_id\":\"{id}\",\"zip\":\"007\"}}");
        node.ask("POST", "/collections/c", &body).await.expect(201);
    }
    let first = node
        .ask("GET", "/collections/c/find?limit=2&zip=007", "")
        .await
        .expect(200)
        .json();
    assert_eq!(first["documents"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&first["has_next"], &first["has_prev"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(first["total"], 3);
    let cursor = first["next_cursor"].as_str().unwrap();
    let path = format!("/collections/c/find?limit=2&zip=007&after={cursor}");
    let second = node.ask("GET", &path, "").await.expect(200).json();
    assert_eq!(second["documents"], json!([{"_id": "c", "zip": "007"}]));
    assert_eq!(second.get("total"), None);
    assert_eq!(second.get("next_cursor"), None);
    let none = node
        .ask("GET", "/collections/missing/find", "")
        .await
        .expect(200)
        .json();
    assert_eq!(none["documents"], json!([]));
    let all = node
        .ask("GET", "/collections/c/find_with_stream?limit=1", "")
        .await
        .expect(200);
    assert_eq!(all.json().as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn indexes_are_made_and_listed() {
    let node = node();
    let list = "/collections/c/indexes";
    let none = node.ask("GET", list, "").await.expect(200).json();
    assert_eq!(none["index_count"], 0);
    for _ in 0..2 {
        let headers = [("content-type", "text/plain")];
        let made = node
            .ask_with("POST", "/collections/c/indexes/a.b", &headers, "ignored")
            .await
            .expect(201);
        assert_eq!(
            made.json(),
            json!({"success": true, "message": "Index created successfully", "collection": "c", "field": "a.b"})
        );
    }
    let listed = node.ask("GET", list, "").await.expect(200).json();
    assert_eq!(
        listed,
        json!({"success": true, "collection": "c", "indexes": ["_id", "a.b"], "index_count": 2})
    );
    node.ask("POST", "/collections/c/indexes/_id", "")
        .await
        .expect(400);
}

#[tokio::test]
async fn refusals_have_one_form_and_write_nothing() {
    let node = node();
    let problem = [("accept", "text/html, application/problem+json;q=0.9")];
    for (method, path, body, status) in [
        ("GET", "/nowhere", "", 404),
        ("DELETE", "/collections/c", "", 405),
        ("POST", "/collections/c", "{\"a\":\n x}", 400),
        ("POST", "/collections/..", "{}", 400),
        ("POST", "/collections/a%20b", "{}", 400),
        ("GET", "/collections/c/documents/%ff", "", 400),
        ("GET", "/collections/c/documents/%zz", "", 400),
        ("GET", "/collections/c/find?limit=0", "", 400),
        ("GET", "/collections/c/find?after=x", "", 400),
        ("POST", "/collections/c", r#"{"_id":7}"#, 400),
        ("POST", "/collections/c/batch", r#"{"documents":[]}"#, 400),
        ("GET", "/collections/%2E%2E/indexes", "", 400),
        ("GET", "/collections/a%22b/find", "", 400),
    ] {
        let answer = node.ask(method, path, body).await.expect(status);
        assert_eq!(answer.headers["content-type"], "application/json");
        let value = answer.json();
        assert_eq!(value["code"], status);
        assert_eq!(value["error"], answer.status.canonical_reason().unwrap());
        assert!(
            value["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty())
        );
        let other = node
            .ask_with(method, path, &problem, body)
            .await
            .expect(status);
        assert_eq!(other.headers["content-type"], "application/problem+json");
        assert_eq!(other.json()["detail"], value["message"]);
    }
    let wrong = node
        .ask("POST", "/collections/c", "{\"a\":\n x}")
        .await
        .json();
    assert!(
        wrong["message"]
            .as_str()
            .unwrap()
            .contains("line 2 column 2")
    );
    let allow = node.ask("PUT", "/health", "").await.expect(405);
    assert_eq!(allow.headers["allow"], "GET, HEAD");
    let text = [("content-type", "text/plain")];
    node.ask_with("POST", "/collections/c", &text, "{}")
        .await
        .expect(415);
    let stale = [("if-match", "\"1\"")];
    node.ask_with("DELETE", "/collections/c/documents/a", &stale, "")
        .await
        .expect(400);
    let level = [("durability", "most")];
    node.ask_with("POST", "/collections/c", &level, "{}")
        .await
        .expect(400);
    assert!(node.engine.collections().unwrap().is_empty());
}

#[tokio::test]
async fn a_request_may_ask_for_a_stronger_level() {
    let node = node_at(Durability::Memory);
    let level = [("durability", "full")];
    let answer = node
        .ask_with("POST", "/collections/c", &level, "{}")
        .await
        .expect(201);
    let lsn: u64 = answer.headers["x-godb-lsn"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(node.engine.stats().durable_lsn.0 >= lsn);
    let without_log = node_at(Durability::None);
    without_log
        .ask_with("POST", "/collections/c", &level, "{}")
        .await
        .expect(400);
}

#[tokio::test]
async fn while_draining_answers_close_their_connection() {
    let node = node();
    assert_eq!(
        node.ask("GET", "/health", "").await.expect(200).json()["status"],
        "healthy"
    );
    node.lifecycle.advance(Phase::Draining);
    let health = node.ask("GET", "/health", "").await.expect(503);
    assert_eq!(health.json()["status"], "unhealthy");
    let written = node.ask("POST", "/collections/c", "{}").await.expect(201);
    assert_eq!(written.headers["connection"], "close");
}

#[tokio::test]
async fn after_a_failed_sync_the_outcome_is_unknown_and_reads_go_on() {
    let node = node_at(Durability::Full);
    node.ask("POST", "/collections/c", r#"{"_id":"kept"}"#)
        .await
        .expect(201);
    node.disk
        .add(Rule::on(CallKind::SyncData).path("wal").fail(Failure::Eio));
    let unknown = node
        .ask("POST", "/collections/c", r#"{"_id":"x"}"#)
        .await
        .expect(503);
    assert_eq!(unknown.json()["reason"], "outcome_unknown");
    assert!(unknown.headers.contains_key("retry-after"));
    let mut phase = node.lifecycle.subscribe();
    let failed = phase.wait_for(|phase| *phase == Phase::Failed);
    tokio::time::timeout(Duration::from_secs(5), failed)
        .await
        .unwrap()
        .unwrap();
    node.ask("GET", "/collections/c/documents/kept", "")
        .await
        .expect(200);
    node.ask("GET", "/health", "").await.expect(503);
    let refused = node.ask("POST", "/collections/c", "{}").await.expect(503);
    assert_eq!(refused.json()["reason"], "unavailable");
    let text = node.metrics.render(&node.lifecycle, |_| {}).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("godb_wal_fsync_errors_total 1"), "{text}");
}

#[tokio::test]
async fn the_description_is_served() {
    let node = node();
    let document = node
        .ask("GET", "/openapi.json", "")
        .await
        .expect(200)
        .json();
    assert_eq!(document["openapi"], "3.1.0");
}

fn with_tokens(node: Node) -> (Node, tempfile::NamedTempFile) {
    let file = crate::auth::tests::three_tokens();
    let auth = Auth::open(file.path(), node.metrics.auth.clone()).unwrap();
    let router = node.router.clone().guarded_by(Arc::new(auth));
    (Node { router, ..node }, file)
}

#[tokio::test]
async fn every_route_asks_for_its_role() {
    let (node, _file) = with_tokens(node());
    for route in &route::ROUTES {
        let path = route
            .template
            .replace("{collection}", "c")
            .replace("{id}", "x")
            .replace("{field}", "f");
        for (token, has) in crate::auth::tests::BEARERS {
            let headers: Vec<(&str, &str)> = token
                .map(|token| ("authorization", token))
                .into_iter()
                .collect();
            let answer = node.ask_with(route.method, &path, &headers, "").await;
            let status = answer.status.as_u16();
            let what = format!("{} {path} with {token:?}: {}", route.method, answer.text);
            match route.needs {
                None => assert_eq!((route.template, status), ("/health", 200), "{what}"),
                Some(needs) if has >= Some(needs) => {
                    assert!(![401, 403].contains(&status), "{what}");
                }
                Some(_) if has.is_none() => {
                    assert_eq!(status, 401, "{what}");
                    assert_eq!(answer.headers["www-authenticate"], "Bearer");
                    assert!(answer.text.contains("\"error\":\"Unauthorized\""), "{what}");
                }
                Some(_) => {
                    assert_eq!(status, 403, "{what}");
                    assert!(answer.text.contains("\"error\":\"Forbidden\""), "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn who_has_no_token_learns_nothing_of_paths_and_methods() {
    let (node, _file) = with_tokens(node());
    for (method, path) in [
        ("GET", "/nothing"),
        ("POST", "/health"),
        ("GET", "/collections/c"),
    ] {
        assert_eq!(
            node.ask(method, path, "").await.status.as_u16(),
            401,
            "{path}"
        );
        let reader = [("authorization", "Bearer reads")];
        let status = node
            .ask_with(method, path, &reader, "")
            .await
            .status
            .as_u16();
        assert!([404, 405].contains(&status), "{path}: {status}");
    }
}

#[tokio::test]
async fn only_a_reader_writes_nothing() {
    let (node, _file) = with_tokens(node());
    let document = r#"{"_id":"x"}"#;
    let ask = async |token| {
        let headers = [("authorization", token)];
        node.ask_with("POST", "/collections/c", &headers, document)
            .await
            .status
            .as_u16()
    };
    assert_eq!(ask("Bearer reads").await, 403);
    assert!(node.engine.collection("c").unwrap().is_none());
    assert_eq!(ask("Bearer writes").await, 201);
}
