//! kill -9 while snapshots are taken, carried and restored: each is whole or absent, and the same
//! command goes on.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use godb_tests::NodeOptions;
use godb_tests::random::{Random, seed};
use serde_json::json;
use tempfile::TempDir;

use crate::snapshots::{admin_url, begin, documents, fails, fill, path, snapshot, succeeds, text};

fn rounds() -> u64 {
    std::env::var("GODB_TEST_ROUNDS").map_or(8, |text| {
        text.parse().expect("GODB_TEST_ROUNDS is a number")
    })
}

fn wait(random: &mut Random, most_ms: u64) {
    std::thread::sleep(Duration::from_millis(random.below(most_ms)));
}

/// Until a file is there, or the command has ended.
fn wait_for(command: &mut Child, file: &Path) {
    while !file.exists() && command.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Names of the snapshots in a directory.
fn names(dir: &Path) -> Vec<String> {
    let list = succeeds(&["list", "--json", "--dir", path(dir)]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let name = |one: &serde_json::Value| {
        assert!(one["fault"].is_null(), "{one}");
        one["name"].as_str().unwrap().to_owned()
    };
    list.as_array().unwrap().iter().map(name).collect()
}

#[test]
fn a_node_killed_while_it_takes_one_has_it_whole_or_not() {
    let seed = seed();
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut node = NodeOptions::new(&data).start();
    let (mut whole, mut absent) = (0, 0);
    for round in 0..rounds() {
        fill(&node, &mut random, 20);
        let before = documents(&node).len();
        let name = format!("r{round}");
        let body = json!({"name": name, "leased": random.chance(50)}).to_string();
        let mut admin = node.admin_client();
        std::thread::scope(|scope| {
            scope
                .spawn(move || admin.try_request("POST", "/admin/snapshots", &[], body.as_bytes()));
            wait(&mut random, 80);
            node.kill9();
        });
        let there = names(&data.join("snapshots"));
        if there.contains(&name) {
            whole += 1;
            succeeds(&["verify", &name, "--dir", path(&data.join("snapshots"))]);
        } else {
            absent += 1;
        }
        node = node.options().start();
        let mut admin = node.admin_client();
        admin.request("DELETE", &format!("/admin/snapshots/{name}"), &[], b"");
        let again = admin
            .post("/admin/snapshots", &json!({"name": name}).to_string())
            .expect(201);
        assert_eq!(
            again.json()["documents"],
            before,
            "SEED={seed} round {round}"
        );
    }
    println!("killed {} times: {whole} whole, {absent} absent", rounds());
    succeeds(&["verify", "--url", &admin_url(&node)]);
    assert_eq!(names(&data.join("snapshots")).len() as u64, rounds());
}

#[test]
fn a_pull_that_is_killed_leaves_no_snapshot_and_goes_on() {
    let seed = seed();
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let dir = TempDir::new().unwrap();
    let mut node = NodeOptions::new(dir.path().join("data"))
        .arg("--snapshot-read-rate=8MiB")
        .start();
    for _ in 0..4 {
        fill(&node, &mut random, 60);
        node.admin_client()
            .post("/admin/checkpoint", "")
            .expect(200);
    }
    let url = admin_url(&node);
    succeeds(&["create", "s", "--url", &url]);
    let (mut kills, mut absent) = (0, 0);
    for round in 0..rounds() {
        let backup = dir.path().join(format!("backup{round}"));
        let arguments = ["pull", "s", "--to", path(&backup), "--url", &url];
        for _ in 0..2 {
            let mut pull = begin(&arguments);
            wait(&mut random, 500);
            pull.kill().unwrap();
            pull.wait().unwrap();
            kills += 1;
            if backup.exists() && names(&backup).is_empty() {
                absent += 1;
            }
        }
        if round == 0 {
            // The node ends in the middle of one; the command goes on with the next one.
            let mut pull = begin(&arguments);
            wait(&mut random, 300);
            node.kill9_and_restart();
            pull.wait().unwrap();
        }
        let said = succeeds(&arguments);
        assert!(said.contains("carried"), "{said}");
        succeeds(&["verify", "s", "--dir", path(&backup)]);
    }
    println!("{kills} pulls killed, {absent} with nothing but tables");
    assert!(absent > 0, "some were killed in the middle, SEED={seed}");
}

#[test]
fn a_restore_that_is_killed_leaves_no_half_database() {
    let seed = seed();
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut node = NodeOptions::new(&data).start();
    fill(&node, &mut random, 250);
    succeeds(&["create", "s", "--url", &admin_url(&node)]);
    let expected = documents(&node);
    node.client()
        .post("/collections/c", r#"{"_id":"later"}"#)
        .expect(201);
    let newer = documents(&node);
    assert!(node.stop().success());
    let from = dir.path().join("backup");
    succeeds(&["pull", "s", "--data-dir", path(&data), "--to", path(&from)]);
    // How long it takes, so that kills fall into it.
    let began = Instant::now();
    succeeds(&[
        "restore",
        "--from",
        path(&from),
        "--data-dir",
        path(&dir.path().join("once")),
    ]);
    let most_ms = u64::try_from(began.elapsed().as_millis()).unwrap().max(20);

    let (mut refused, mut whole) = (0, 0);
    for round in 0..rounds() {
        let new = dir.path().join(format!("new{round}"));
        let arguments = [
            "restore",
            "s",
            "--from",
            path(&from),
            "--data-dir",
            path(&new),
        ];
        let mut restore = begin(&arguments);
        wait_for(&mut restore, &new.join("RESTORING"));
        wait(&mut random, most_ms / 4);
        restore.kill().unwrap();
        restore.wait().unwrap();
        if new.join("MANIFEST").exists() {
            whole += 1;
        } else {
            if new.join("RESTORING").exists() {
                // A node does not take it for an empty database.
                let mut started = NodeOptions::new(&new).spawn();
                assert!(!started.wait(Duration::from_secs(10)).success());
                refused += 1;
            }
            succeeds(&arguments);
        }
        assert_eq!(
            documents(&NodeOptions::new(&new).start()),
            expected,
            "SEED={seed}"
        );
        fs::remove_dir_all(&new).unwrap();
    }
    println!(
        "{} restores killed: {refused} begun, {whole} done",
        rounds()
    );

    // In place of another: the old one or the new one, at every moment.
    let arguments = [
        "restore",
        "s",
        "--from",
        path(&from),
        "--data-dir",
        path(&data),
        "--replace",
    ];
    let (mut old, mut new) = (0, 0);
    for round in 0..rounds() {
        let mut restore = begin(&arguments);
        if random.chance(80) {
            wait_for(&mut restore, &dir.path().join("data.restoring"));
        }
        wait(&mut random, most_ms / 2);
        restore.kill().unwrap();
        restore.wait().unwrap();
        let mut node = NodeOptions::new(&data).start();
        let found = documents(&node);
        if found == newer {
            old += 1;
        } else {
            assert_eq!(found, expected, "SEED={seed} round {round}");
            new += 1;
            node.client()
                .post("/collections/c", r#"{"_id":"later"}"#)
                .expect(201);
            assert_eq!(documents(&node), newer);
        }
        assert!(node.stop().success());
    }
    println!(
        "{} replacements killed: {old} times the old one, {new} times the new one",
        rounds()
    );
    succeeds(&arguments);
    assert_eq!(documents(&NodeOptions::new(&data).start()), expected);
    // Every database that was replaced is kept, and usable.
    for entry in fs::read_dir(dir.path()).unwrap() {
        let kept = entry.unwrap().path();
        if path(&kept).contains("before-restore") {
            assert_eq!(
                documents(&NodeOptions::new(&kept).start()),
                newer,
                "{kept:?}"
            );
        }
    }
}

#[test]
fn two_that_pull_to_one_directory_do_not_mix() {
    let dir = TempDir::new().unwrap();
    let node = NodeOptions::new(dir.path().join("data"))
        .arg("--snapshot-read-rate=4MiB")
        .start();
    fill(&node, &mut Random::new(1), 200);
    let (url, backup) = (admin_url(&node), dir.path().join("backup"));
    for name in ["a", "b"] {
        succeeds(&["create", name, "--url", &url]);
    }
    let mut first = begin(&["pull", "a", "--to", path(&backup), "--url", &url]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !backup.join("LOCK").exists() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = snapshot(&["pull", "b", "--to", path(&backup), "--url", &url]);
    assert!(
        second.status.code() == Some(75) || second.status.success(),
        "{}",
        text(&second)
    );
    assert!(first.wait().unwrap().success());
    succeeds(&["pull", "b", "--to", path(&backup), "--url", &url]);
    assert_eq!(names(&backup), ["a", "b"]);
    succeeds(&["verify", "--dir", path(&backup)]);
    fails(&["delete", "c", "--dir", path(&backup)], 66);
}
