//! The admin port: probes, settings, checkpoints, metrics.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use godb_tests::{Node, NodeOptions};
use serde_json::json;
use tempfile::TempDir;

fn node() -> (Node, TempDir) {
    let dir = TempDir::new().unwrap();
    let node = NodeOptions::new(dir.path().join("data")).start();
    (node, dir)
}

#[test]
fn probes_answer() {
    let (node, _dir) = node();
    let mut admin = node.admin_client();
    for path in ["/livez", "/readyz", "/startupz", "/readyz?verbose"] {
        admin.get(path).expect(200);
    }
    admin.get("/nothing").expect(404);
    let answer = admin.post("/metrics", "").expect(405);
    assert!(answer.header("allow").unwrap().contains("GET"));
}

#[test]
fn every_admin_answer_carries_the_boot_id_of_its_process() {
    let (mut node, _dir) = node();
    let ids = |node: &Node| -> Vec<String> {
        let mut admin = node.admin_client();
        let mut ids: Vec<String> = [
            "/admin/config",
            "/admin/stats",
            "/livez",
            "/readyz",
            "/startupz",
        ]
        .iter()
        .map(|path| {
            admin.get(path).expect(200).json()["bootId"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
        ids.dedup();
        ids
    };
    let first = ids(&node);
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(first[0].len(), 32);
    node.kill9_and_restart();
    assert_ne!(ids(&node), first);
}

#[test]
fn the_durability_can_be_changed_while_it_runs() {
    let (mut node, _dir) = node();
    let mut expected = 0;
    for level in ["full", "memory", "none", "os", "none", "full"] {
        let body = json!({ "durability": level }).to_string();
        let answer = node
            .admin_client()
            .put("/admin/config", &body)
            .expect(200)
            .json();
        assert_eq!(answer["applied"]["durability"], level);
        let shown = node.admin_client().get("/admin/config").expect(200).json();
        assert_eq!(shown["live"]["durability"], level);
        let mut client = node.client();
        for _ in 0..20 {
            client.post("/collections/c", "{}").expect(201);
            expected += 1;
        }
    }
    node.kill9_and_restart();
    assert_eq!(
        node.client().get("/collections/c/find?limit=1").json()["total"],
        expected
    );
}

#[test]
fn what_cannot_be_changed_live_is_said_and_what_is_wrong_refused_as_a_whole() {
    let (node, _dir) = node();
    let mut admin = node.admin_client();
    let answer = admin
        .put(
            "/admin/config",
            r#"{"max_memory":"128MiB","listen":"127.0.0.1:1"}"#,
        )
        .expect(200)
        .json();
    assert_eq!(answer["applied"], json!({"max_memory":"128MiB"}));
    assert!(
        answer["restart_required"].get("listen").is_some(),
        "{answer}"
    );
    for body in [
        r#"{"durability":"often"}"#,
        r#"{"checkpoint_interval":"5s","max_wal_size":"big"}"#,
        r#"{"no_such":1}"#,
        "nonsense",
        "[]",
    ] {
        admin.put("/admin/config", body).expect(400);
    }
    let live = admin.get("/admin/config").expect(200).json()["live"].clone();
    assert_eq!(
        live["checkpoint_interval"], "30s",
        "nothing of a refused request"
    );
    assert_eq!(live["max_memory"], "128MiB");
}

#[test]
fn a_checkpoint_on_request_moves_the_checkpoint_lsn() {
    let (node, _dir) = node();
    for _ in 0..50 {
        node.client().post("/collections/c", "{}").expect(201);
    }
    let answer = node
        .admin_client()
        .post("/admin/checkpoint", "")
        .expect(200)
        .json();
    assert!(answer["lsn"].as_u64().unwrap() >= 50, "{answer}");
    let stats = node.admin_client().get("/admin/stats").expect(200).json();
    assert!(
        stats["store"]["lsn"]["checkpointed"].as_u64().unwrap() >= 50,
        "{stats}"
    );
    assert_eq!(stats["collection_count"], 1);
}

#[test]
fn checkpoints_by_interval_and_by_log_size_happen() {
    let dir = TempDir::new().unwrap();
    let options = NodeOptions::new(dir.path().join("data"));
    let waits = |node: &Node| {
        let started = Instant::now();
        let checkpointed = || {
            let stats = node.admin_client().get("/admin/stats").expect(200).json();
            stats["store"]["lsn"]["checkpointed"].as_u64().unwrap()
        };
        while checkpointed() == 0 {
            assert!(started.elapsed() < Duration::from_secs(30), "no checkpoint");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let node = options
        .clone()
        .arg("--checkpoint-interval")
        .arg("1s")
        .start();
    node.client().post("/collections/c", "{}").expect(201);
    waits(&node);
    drop(node);
    let dir = TempDir::new().unwrap();
    let node = NodeOptions::new(dir.path().join("data"))
        .arg("--checkpoint-interval")
        .arg("1h")
        .arg("--max-wal-size")
        .arg("16MiB")
        .start();
    let large = format!("{{\"t\":\"{}\"}}", "x".repeat(1 << 20));
    let mut client = node.client();
    for _ in 0..40 {
        client.post("/collections/c", &large).expect(201);
    }
    waits(&node);
}

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    let (node, _dir) = node();
    let mut client = node.client();
    client.post("/collections/c", r#"{"_id":"x"}"#).expect(201);
    client.get("/collections/c/documents/x").expect(200);
    client.get("/nothing").expect(404);
    let answer = node.admin_client().get("/metrics").expect(200);
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is needed: `make test` unpacks it, or install the package prometheus");
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(&answer.body)
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn the_metrics_of_the_design_are_there_from_the_start() {
    let (node, _dir) = node();
    let text = node.admin_client().get("/metrics").text();
    for name in [
        "godb_build_info",
        "godb_http_requests_total",
        "godb_http_request_duration_seconds",
        "godb_http_requests_in_flight",
        "godb_wal_fsync_duration_seconds",
        "godb_wal_fsync_errors_total",
        "godb_wal_size_bytes",
        "godb_wal_segments",
        "godb_wal_lsn",
        "godb_wal_write_duration_seconds",
        "godb_wal_group_transactions",
        "godb_checkpoint_duration_seconds",
        "godb_checkpoints_total",
        "godb_checkpoint_last_success_lsn",
        "godb_compactions_total",
        "godb_recovery_duration_seconds",
        "godb_recovery_cut_bytes",
        "godb_transaction_conflicts_total",
        "godb_memory_bytes",
        "godb_memory_limit_bytes",
        "godb_cache_hits_total",
        "godb_disk_free_bytes",
        "godb_disk_size_bytes",
        "godb_collection_documents",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
    }
    let mut documented = 0;
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap();
        assert!(
            name.starts_with("godb_") || name.starts_with("process_"),
            "{name}"
        );
        assert!(
            !line.ends_with("counter") || name.ends_with("_total"),
            "{line}"
        );
        documented += 1;
    }
    assert!(documented >= 40, "{documented} metrics");
}

#[test]
fn requests_are_counted_by_route_and_never_by_collection() {
    let (node, _dir) = node();
    let mut client = node.client();
    for n in 0..5 {
        client
            .post(&format!("/collections/secret{n}"), "{}")
            .expect(201);
    }
    let text = node.admin_client().get("/metrics").text();
    let counted = text.lines().find(|line| {
        line.starts_with("godb_http_requests_total{")
            && line.contains("/collections/{collection}\"")
            && line.contains("201")
    });
    assert!(counted.unwrap_or_default().ends_with(" 5"), "{counted:?}");
    let labels = text.lines().filter(|line| line.starts_with("godb_http"));
    assert!(labels.into_iter().all(|line| !line.contains("secret")));
}

#[test]
fn admin_routes_ask_for_the_token_and_probes_never_do() {
    let dir = TempDir::new().unwrap();
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, "s3cret-s3cret-s3cret-s3cret-s3cret\n").unwrap();
    let node = NodeOptions::new(dir.path().join("data"))
        .arg("--admin-token-file")
        .arg(token_file.display().to_string())
        .start();
    let mut admin = node.admin_client();
    for path in ["/metrics", "/livez", "/readyz", "/startupz"] {
        admin.get(path).expect(200);
    }
    for path in ["/admin/config", "/admin/stats"] {
        let answer = admin.get(path).expect(401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        let wrong = [("Authorization", "Bearer s3cret-s3cret-s3cret-s3cret-s3creT")];
        admin.request("GET", path, &wrong, b"").expect(401);
        let right = [("Authorization", "Bearer s3cret-s3cret-s3cret-s3cret-s3cret")];
        admin.request("GET", path, &right, b"").expect(200);
    }
    admin.post("/admin/checkpoint", "").expect(401);
}
