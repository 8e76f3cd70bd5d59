//! The admin router without a socket.

use std::sync::Arc;

use bytes::Bytes;
use godb_engine::StorageEngine;
use godb_store::disk::SimDisk;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use serde_json::{Value, json};

use super::*;
use crate::config::{Config, SETTINGS};
use crate::lifecycle::Phase;

struct Node {
    router: Router,
    state: Arc<State>,
}

fn node(config: Config, is_loopback: bool) -> Node {
    let guard = Guard::new(&config, is_loopback);
    let in_force = InForce {
        config,
        sources: vec!["default".to_owned(); SETTINGS.len()],
    };
    let state = Arc::new(State::new(
        Arc::new(Lifecycle::start().unwrap()),
        Arc::new(Metrics::new().unwrap()),
        LogControl::disconnected(),
        in_force,
        guard,
        None,
    ));
    Node {
        router: router(state.clone()),
        state,
    }
}

impl Node {
    fn open(&self) {
        let engine = StorageEngine::builder("/data")
            .disk(Arc::new(SimDisk::new()))
            .open();
        self.state.set_engine(engine.unwrap());
        self.state.lifecycle.advance(Phase::Ready);
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(body)
            .unwrap();
        let response = self.router.handle(request).await;
        let boot_id = response.headers()[BOOT_ID_HEADER]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(boot_id, self.state.lifecycle.boot_id());
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[track_caller]
    fn json((status, text): (u16, String), expected: u16) -> Value {
        assert_eq!(status, expected, "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

#[tokio::test]
async fn probes_tell_apart_what_they_ask() {
    let node = node(Config::default(), true);
    let statuses = async || {
        let mut statuses = Vec::new();
        for path in ["/livez", "/startupz", "/readyz", "/readyz?verbose"] {
            let (status, text) = node.ask("GET", path, "").await;
            let body: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(body["bootId"], node.state.lifecycle.boot_id());
            statuses.push(status);
        }
        statuses
    };
    assert_eq!(statuses().await, [200, 503, 503, 503]);
    assert_eq!(node.ask("POST", "/admin/checkpoint", "").await.0, 503);
    assert_eq!(node.ask("GET", "/metrics", "").await.0, 200);
    node.open();
    assert_eq!(statuses().await, [200, 200, 200, 200]);
    node.state.lifecycle.advance(Phase::Draining);
    assert_eq!(statuses().await, [200, 200, 503, 503]);
    node.state.lifecycle.fail("the disk is gone");
    let verbose = Node::json(node.ask("GET", "/readyz?verbose", "").await, 503);
    assert_eq!(verbose["failure"], "the disk is gone");
}

#[tokio::test]
async fn settings_change_while_it_runs() {
    let node = node(Config::default(), true);
    assert_eq!(node.ask("PUT", "/admin/config", "{}").await.0, 503);
    node.open();
    let change = r#"{"durability":"full","checkpoint_interval":"5s","listen":"127.0.0.1:1"}"#;
    let changed = Node::json(node.ask("PUT", "/admin/config", change).await, 200);
    assert_eq!(
        changed["applied"],
        json!({"durability": "full", "checkpoint_interval": "5s"})
    );
    assert_eq!(
        changed["restart_required"],
        json!({"listen": "127.0.0.1:1"})
    );
    let message = changed["message"].as_str().unwrap();
    assert!(message.contains("not applied and not kept"), "{message}");
    let live_only = r#"{"durability":"full"}"#;
    let applied = Node::json(node.ask("PUT", "/admin/config", live_only).await, 200);
    assert!(applied.get("message").is_none(), "{applied}");
    let engine = node.state.engine().unwrap();
    assert_eq!(engine.live_settings().durability.as_str(), "full");
    let shown = Node::json(node.ask("GET", "/admin/config", "").await, 200);
    assert_eq!(shown["live"]["durability"], "full");
    assert_eq!(shown["sources"]["durability"], "admin port");
    assert_eq!(shown["restart"]["listen"], "127.0.0.1:8080");
    let again = Node::json(node.ask("PUT", "/admin/config", change).await, 200);
    assert_eq!(again["applied"], json!({}));
    for wrong in ["", "[]", "{", r#"{"durability":"fuller"}"#, r#"{"x":1}"#] {
        assert_eq!(
            node.ask("PUT", "/admin/config", wrong).await.0,
            400,
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn a_checkpoint_and_figures_on_request() {
    let node = node(Config::default(), true);
    node.open();
    let engine = node.state.engine().unwrap().clone();
    engine
        .insert("c", b"{}", &godb_engine::Write::default())
        .unwrap()
        .wait()
        .unwrap();
    let done = Node::json(node.ask("POST", "/admin/checkpoint", "").await, 200);
    assert_eq!(done["lsn"], 1);
    Node::json(node.ask("POST", "/admin/compact", "").await, 200);
    let stats = Node::json(node.ask("GET", "/admin/stats", "").await, 200);
    assert_eq!(
        stats["collections"],
        json!([{"name": "c", "documents": 1, "indexes": []}])
    );
    assert_eq!(stats["store"]["lsn"]["checkpointed"], 1);
    let (_, metrics) = node.ask("GET", "/metrics", "").await;
    for series in [
        r#"godb_collection_documents{collection="c"} 1"#,
        r#"godb_wal_lsn{mark="checkpointed"} 1"#,
        r#"godb_durability{level="os"} 1"#,
        r#"godb_phase{phase="ready"} 1"#,
    ] {
        assert!(metrics.contains(series), "{series}\n{metrics}");
    }
}

#[tokio::test]
async fn other_machines_get_metrics_and_probes_only() {
    let node = node(Config::default(), false);
    node.open();
    for (method, path) in [
        ("GET", "/admin/config"),
        ("PUT", "/admin/config"),
        ("POST", "/admin/checkpoint"),
        ("POST", "/admin/compact"),
        ("GET", "/admin/stats"),
        ("DELETE", "/admin/stats"),
    ] {
        let refused = Node::json(node.ask(method, path, "").await, 403);
        assert!(
            refused["message"]
                .as_str()
                .unwrap()
                .contains("--admin-token-file")
        );
    }
    for path in ["/metrics", "/livez", "/readyz", "/startupz"] {
        assert_eq!(node.ask("GET", path, "").await.0, 200);
    }
    assert_eq!(node.ask("GET", "/admin", "").await.0, 404);
    assert_eq!(node.ask("POST", "/livez", "").await.0, 405);
}

#[tokio::test]
async fn every_route_asks_for_its_role() {
    let open = node(Config::default(), false);
    let file = crate::auth::tests::three_tokens();
    let auth = Auth::open(file.path(), open.state.metrics.auth.clone()).unwrap();
    let state = State::new(
        open.state.lifecycle.clone(),
        open.state.metrics.clone(),
        LogControl::disconnected(),
        InForce {
            config: Config::default(),
            sources: Vec::new(),
        },
        Guard::Shut,
        Some(Arc::new(auth)),
    );
    let router = router(Arc::new(state));
    for (method, template, _, needs) in &route::ROUTES {
        for (token, has) in crate::auth::tests::BEARERS {
            let mut request = Request::builder().method(*method).uri(*template);
            if let Some(token) = token {
                request = request.header("authorization", token);
            }
            let request = request.body(Full::new(Bytes::new())).unwrap();
            let status = router.handle(request).await.status().as_u16();
            let expected_refusal = match (needs, has) {
                (None, _) => None,
                (Some(_), None) => Some(401),
                (Some(needs), Some(has)) => (has < *needs).then_some(403),
            };
            match expected_refusal {
                Some(refusal) => assert_eq!(status, refusal, "{method} {template} {token:?}"),
                None => assert!(
                    ![401, 403].contains(&status),
                    "{method} {template} {token:?}"
                ),
            }
        }
    }
}
