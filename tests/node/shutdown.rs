//! SIGTERM, once and twice, under load: nothing acknowledged is lost, and it ends in time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use godb_tests::random::seed;
use godb_tests::{Node, NodeOptions};
use tempfile::TempDir;

use crate::load;

/// Longer than any of the defaults: grace, drain and checkpoint end within 8 s.
const SOON: Duration = Duration::from_secs(20);

/// Answered before the stop, however busy the machine is.
const LEAST_REQUESTS: f64 = 100.0;
/// Long before that, the load hangs.
const LOADED_WITHIN: Duration = Duration::from_secs(120);

/// Starts, loads, stops by `stop`, starts again, compares.
/// Returns what answers were broken off.
fn stop_under_load(options: &NodeOptions, stop: impl Fn(&mut Node)) -> Vec<String> {
    let seed = seed();
    println!("SEED={seed}");
    let mut node = options.start();
    load::prepare(&node);
    let mut writers = load::writers(seed);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in &mut writers {
            let (address, done) = (node.address, &done);
            scope.spawn(move || writer.run(address, done));
        }
        std::thread::sleep(Duration::from_millis(400));
        let deadline = Instant::now() + LOADED_WITHIN;
        while node.metric("godb_http_requests_total") < LEAST_REQUESTS {
            assert!(Instant::now() < deadline, "no load\n{}", node.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        stop(&mut node);
        done.store(true, Ordering::Relaxed);
    });
    let log = node.log();
    node = options.start();
    load::settle(&node, &mut writers, &format!("SEED={seed} after:\n{log}"));
    let acknowledged: u64 = writers
        .iter()
        .map(|writer| writer.history.acknowledged_requests)
        .sum();
    assert!(acknowledged > 20, "the load was a load");
    writers
        .into_iter()
        .filter_map(|writer| writer.broken_answer)
        .collect()
}

#[test]
fn sigterm_under_load_keeps_everything_at_each_level() {
    // Also at none and memory: a clean stop writes everything.
    for level in ["none", "memory", "os", "full"] {
        let dir = TempDir::new().unwrap();
        let options = NodeOptions::new(dir.path().join("data"))
            .durability(level)
            .arg("--drain-timeout")
            .arg("15s");
        let broken = stop_under_load(&options, |node| {
            node.terminate();
            let status = node.wait(SOON);
            assert_eq!(status.code(), Some(0), "{level}: {}", node.log());
        });
        // Each request was answered as a whole, or its connection ended before the first byte.
        assert_eq!(broken, Vec::<String>::new(), "{level}");
    }
}

#[test]
fn a_second_sigterm_hurries_and_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let options = NodeOptions::new(dir.path().join("data"))
        .durability("full")
        .arg("--shutdown-grace")
        .arg("10m");
    // In a hurry an answer may be cut, and is seen to be.
    let _cut = stop_under_load(&options, |node| {
        node.terminate();
        assert!(
            node.try_wait(Duration::from_millis(300)).is_none(),
            "the grace is long"
        );
        node.terminate();
        let status = node.wait(SOON);
        assert_eq!(status.code(), Some(0), "{}", node.log());
    });
}

#[test]
fn during_the_grace_it_serves_and_is_not_ready() {
    let dir = TempDir::new().unwrap();
    let mut node = NodeOptions::new(dir.path().join("data"))
        .arg("--shutdown-grace")
        .arg("3s")
        .start();
    let mut client = node.client();
    client
        .post("/collections/c", r#"{"_id":"before"}"#)
        .expect(201);
    node.terminate();
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut admin = node.admin_client();
    while admin.get("/readyz").status != 503 {
        assert!(Instant::now() < deadline, "still ready");
    }
    admin.get("/livez").expect(200);
    let answer = client
        .post("/collections/c", r#"{"_id":"during"}"#)
        .expect(201);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(node.wait(SOON).code(), Some(0));
    let log = node.log();
    let took_ms: u64 = log
        .lines()
        .find(|line| line.contains(" stopped took_ms="))
        .and_then(|line| line.rsplit('=').next())
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or_else(|| panic!("{log}"));
    assert!(
        took_ms >= 3000,
        "the grace is a part of the stop: {took_ms}"
    );
    let node = node.options().clone().start();
    node.client()
        .get("/collections/c/documents/during")
        .expect(200);
}

#[test]
fn idle_connections_do_not_hold_up_a_stop() {
    let dir = TempDir::new().unwrap();
    let mut node = NodeOptions::new(dir.path().join("data")).start();
    let mut kept: Vec<_> = (0..20).map(|_| node.client()).collect();
    for client in &mut kept {
        client.get("/health").expect(200);
    }
    let silent = std::net::TcpStream::connect(node.address).unwrap();
    let started = Instant::now();
    assert!(node.stop().success());
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    drop(silent);
}

#[test]
fn a_clean_stop_leaves_nothing_to_recover() {
    let dir = TempDir::new().unwrap();
    let mut node = NodeOptions::new(dir.path().join("data")).start();
    for n in 0..100 {
        node.client()
            .post("/collections/c", &format!("{{\"n\":{n}}}"))
            .expect(201);
    }
    assert!(node.stop().success());
    let node = node.options().clone().start();
    assert_eq!(
        node.metric("godb_recovery_transactions"),
        0.0,
        "{}",
        node.log()
    );
    assert_eq!(
        node.client().get("/collections/c/find?limit=1").json()["total"],
        100
    );
}

#[test]
fn sigterm_while_it_starts_is_heard() {
    let dir = TempDir::new().unwrap();
    for wait_ms in [0, 5, 20, 60] {
        let mut node = NodeOptions::new(dir.path().join("data")).spawn();
        std::thread::sleep(Duration::from_millis(wait_ms));
        node.terminate();
        let status = node.wait(SOON);
        // Before its handler is there the signal ends the process at once.
        let by_signal = std::os::unix::process::ExitStatusExt::signal(&status) == Some(15);
        assert!(status.success() || by_signal, "{status} {}", node.log());
    }
    NodeOptions::new(dir.path().join("data")).start();
}
