//! kill -9 under concurrent load, at any time: during writes, checkpoints and recovery.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use godb_tests::NodeOptions;
use godb_tests::random::{Random, seed};
use tempfile::TempDir;

use crate::load;

fn rounds() -> u64 {
    std::env::var("GODB_TEST_ROUNDS").map_or(15, |text| {
        text.parse().expect("GODB_TEST_ROUNDS is a number")
    })
}

#[test]
fn an_index_that_was_answered_is_there_at_every_level() {
    for level in ["none", "memory", "os", "full"] {
        let dir = TempDir::new().unwrap();
        let mut node = NodeOptions::new(dir.path().join("data"))
            .durability(level)
            .start();
        let mut client = node.client();
        client.post("/collections/c", r#"{"n":1}"#).expect(201);
        client.post("/collections/c/indexes/n", "").expect(201);
        node.kill9_and_restart();
        let found = node.client().get("/collections/c/indexes").expect(200);
        assert_eq!(
            found.json()["indexes"],
            serde_json::json!(["_id", "n"]),
            "{level}"
        );
    }
}

fn torture(level: &'static str) {
    let seed = seed();
    println!("kill -9 at {level}: SEED={seed} ROUNDS={}", rounds());
    let replay = format!(
        "again: GODB_TEST_SEED={seed} GODB_TEST_ROUNDS={} cargo test -p godb-tests --test node kill9",
        rounds()
    );
    let started = Instant::now();
    let mut random = Random::new(seed);
    let dir = TempDir::new().unwrap();
    let options = NodeOptions::new(dir.path().join("data"))
        .durability(level)
        .arg("--checkpoint-interval")
        .arg("1s");
    let mut node = options.start();
    load::prepare(&node);
    let mut writers = load::writers(seed);
    for round in 0..rounds() {
        let stop = AtomicBool::new(false);
        let run_for = Duration::from_millis(50 + random.below(700));
        let checkpoint_after = random.chance(50).then(|| run_for.mul_f64(0.9));
        std::thread::scope(|scope| {
            for writer in &mut writers {
                let (address, stop) = (node.address, &stop);
                scope.spawn(move || writer.run(address, stop));
            }
            let (mut admin, started) = (node.admin_client(), Instant::now());
            if let Some(after) = checkpoint_after {
                scope.spawn(move || {
                    std::thread::sleep(after);
                    // Killed in the middle of it, more often than not.
                    let _ = admin.try_request("POST", "/admin/checkpoint", &[], b"");
                });
            }
            std::thread::sleep(run_for.saturating_sub(started.elapsed()));
            node.kill9();
            stop.store(true, Ordering::Relaxed);
        });
        // Some recoveries are killed as well.
        for _ in 0..random.below(3) {
            let mut recovering = options.spawn();
            std::thread::sleep(Duration::from_millis(random.below(60)));
            recovering.kill9();
        }
        node = options.start();
        load::settle(
            &node,
            &mut writers,
            &format!("SEED={seed} round {round} at {level} ({replay})"),
        );
    }
    let (acknowledged, unknown) = writers.iter().fold((0, 0), |(a, u), writer| {
        (
            a + writer.history.acknowledged_requests,
            u + writer.history.unknown_requests,
        )
    });
    println!(
        "{level}: {} rounds in {:.0} s, {:.2} a second; {acknowledged} acknowledged requests all there, {unknown} with unknown outcome whole or absent",
        rounds(),
        started.elapsed().as_secs_f64(),
        rounds() as f64 / started.elapsed().as_secs_f64()
    );
    assert!(acknowledged > rounds() * 20, "the load was a load");
    assert!(unknown > 0, "it was killed in the middle of writes");
    assert!(node.stop().success());
    let verified = godb_tests::run_godb(&["verify", dir.path().join("data").to_str().unwrap()]);
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
}

/// Found by the test below: a log that was cut twice, the second time right behind what the first
/// recovery had copied, was refused as corrupt.
#[test]
fn kill9_again_and_again_without_a_checkpoint() {
    for level in ["memory", "os", "full"] {
        for writes in [0, 1, 20] {
            let dir = TempDir::new().unwrap();
            let mut node = NodeOptions::new(dir.path().join("data"))
                .durability(level)
                .start();
            let mut total = 0;
            for round in 0..6 {
                let mut client = node.client();
                // The first crash always has something to copy.
                for _ in 0..if round == 0 { 20 } else { writes } {
                    client.post("/collections/c", "{}").expect(201);
                    total += 1;
                }
                node.kill9_and_restart();
                let found = node
                    .client()
                    .get("/collections/c/find?limit=1")
                    .expect(200)
                    .json();
                let found = found["total"].as_u64().unwrap();
                if level == "memory" {
                    assert!(found <= total);
                    total = found;
                } else {
                    assert_eq!(found, total, "{level}, {writes} writes, round {round}");
                }
            }
        }
    }
}

#[test]
fn kill9_at_os_loses_nothing_acknowledged() {
    torture("os");
}

#[test]
fn kill9_at_full_loses_nothing_acknowledged() {
    torture("full");
}
