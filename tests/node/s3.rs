//! Snapshots in an S3-compatible object storage: what arrives, what damage and cuts leave of it.

mod server;

use std::path::Path;
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use godb_tests::random::{Random, seed};
use godb_tests::{Node, NodeOptions};
use serde_json::json;
use tempfile::TempDir;

use self::server::{BUCKET, Server, full_storage};
use crate::snapshots::{admin_url, documents, fill, noise, path, text};

#[track_caller]
fn succeeds(server: &Server, arguments: &[&str]) -> String {
    let output = server.command(&server.keys, arguments).output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

#[track_caller]
fn fails(output: &Output, exit: i32, says: &str) {
    let text = text(output);
    assert_eq!(output.status.code(), Some(exit), "{text}");
    assert!(text.contains(says), "{text}");
}

fn run(server: &Server, arguments: &[&str]) -> Output {
    server.command(&server.keys, arguments).output().unwrap()
}

fn begin(server: &Server, arguments: &[&str]) -> Child {
    server.command(&server.keys, arguments).spawn().unwrap()
}

fn at(prefix: &str) -> String {
    format!("s3://{BUCKET}/{prefix}")
}

/// A node with documents of `megabytes` in a dozen of transactions.
fn filled(dir: &Path, megabytes: u64) -> Node {
    let seed = seed();
    println!("SEED={seed}");
    let node = NodeOptions::new(dir).start();
    fill(&node, &mut Random::new(seed), megabytes * 50);
    node
}

/// What a line of `pull` says: bytes carried, tables that were there.
fn carried(said: &str) -> (u64, u64) {
    let number = |after: &str| -> u64 {
        let (_, rest) = said.split_once(after).unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    (number("tables ("), number(", "))
}

#[test]
fn a_snapshot_goes_to_a_bucket_and_comes_back_and_the_next_one_sends_what_is_new() {
    let (server, dir) = (Server::start(), TempDir::new().unwrap());
    let node = filled(&dir.path().join("data"), 12);
    let (url, bucket) = (admin_url(&node), at("ns/uid"));
    let pull = |name: &str| {
        succeeds(&server, &["create", name, "--url", &url]);
        carried(&succeeds(
            &server,
            &["pull", name, "--to", &bucket, "--url", &url],
        ))
    };
    let (first_bytes, there) = pull("one");
    assert!(first_bytes > 8 << 20, "{first_bytes} bytes need no parts");
    assert_eq!(there, 0);
    let state = documents(&node);
    let mut random = Random::new(7);
    let mut client = node.client();
    for id in state.keys().take(state.len() / 100) {
        let document = json!({"_id": id, "t": noise(&mut random, 20_000)});
        let target = format!("/collections/c/documents/{id}");
        client.put(&target, &document.to_string());
    }
    let (second_bytes, there) = pull("two");
    println!("{first_bytes} bytes were sent first, {second_bytes} after 1 % was changed");
    assert!(there > 0 && second_bytes < first_bytes / 10);
    let second = documents(&node);
    drop(node);

    let listed = succeeds(&server, &["list", "--dir", &bucket]);
    assert!(listed.contains("one") && listed.contains("two"), "{listed}");
    let verified = succeeds(&server, &["verify", "--dir", &bucket]);
    assert_eq!(verified.matches(": whole").count(), 2, "{verified}");
    for (name, expected) in [("one", &state), ("two", &second)] {
        let to = dir.path().join(name);
        succeeds(
            &server,
            &["restore", name, "--from", &bucket, "--data-dir", path(&to)],
        );
        assert_eq!(documents(&NodeOptions::new(&to).start()), *expected);
    }
    // The newest stays, with all of its tables, and nothing else does.
    succeeds(&server, &["prune", "--keep", "1", "--dir", &bucket]);
    let objects = server.objects("ns/uid");
    assert!(
        !objects
            .iter()
            .any(|name| name.contains("one.") || name.contains("sweep"))
    );
    succeeds(&server, &["verify", "two", "--dir", &bucket]);
    succeeds(&server, &["delete", "two", "--dir", &bucket]);
    assert_eq!(server.objects("ns/uid"), [""; 0]);
    fails(
        &run(&server, &["delete", "two", "--dir", &bucket]),
        66,
        "no snapshot `two`",
    );
}

#[test]
fn a_push_that_is_killed_leaves_no_snapshot_and_is_repeated() {
    let (server, dir) = (Server::start(), TempDir::new().unwrap());
    let node = filled(&dir.path().join("data"), 24);
    let (url, bucket) = (admin_url(&node), at("k"));
    succeeds(&server, &["create", "a", "--url", &url]);
    let push = ["pull", "a", "--to", &bucket, "--url", &url];
    let mut cut = 0;
    for wait_ms in [0, 20, 60, 150, 300] {
        let mut child = begin(&server, &push);
        let began = Instant::now();
        while server.objects("k").is_empty() && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(wait_ms));
        child.kill().unwrap();
        if !child.wait().unwrap().success() {
            cut += 1;
        }
        let is_there = server
            .objects("k")
            .iter()
            .any(|name| name.ends_with(".snapshot"));
        let listed = succeeds(&server, &["list", "--dir", &bucket, "--json"]);
        assert_eq!(listed.contains("\"a\""), is_there, "{listed}");
        if is_there {
            break;
        }
        fails(
            &run(&server, &["verify", "a", "--dir", &bucket]),
            66,
            "no snapshot `a`",
        );
    }
    assert!(cut > 0, "no push was cut");
    succeeds(&server, &push);
    succeeds(&server, &["verify", "a", "--dir", &bucket]);
}

#[test]
fn a_flipped_byte_in_any_object_is_found_and_not_restored() {
    let (server, dir) = (Server::start(), TempDir::new().unwrap());
    let node = filled(&dir.path().join("data"), 1);
    let (url, bucket) = (admin_url(&node), at("f"));
    succeeds(&server, &["create", "a", "--url", &url]);
    succeeds(&server, &["pull", "a", "--to", &bucket, "--url", &url]);
    let objects = server.objects("f");
    assert_eq!(objects.len(), 3, "{objects:?}");
    let data = dir.path().join("restored");
    for object in objects {
        let target = format!("/{BUCKET}/{object}");
        let (_, whole) = server.raw("GET", &target, b"");
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        assert_eq!(server.raw("PUT", &target, &damaged).0, 200);
        let verify = run(&server, &["verify", "a", "--dir", &bucket]);
        fails(&verify, 65, "corrupt");
        let restore = ["restore", "a", "--from", &bucket, "--data-dir", path(&data)];
        let output = run(&server, &restore);
        assert_eq!(
            output.status.code(),
            Some(65),
            "{object}: {}",
            text(&output)
        );
        assert!(!data.join("MANIFEST").exists(), "{object}");
        assert_eq!(server.raw("PUT", &target, &whole).0, 200);
    }
    succeeds(&server, &["verify", "a", "--dir", &bucket]);
}

#[test]
fn pushes_at_once_and_deletes_meanwhile_leave_whole_snapshots() {
    let (server, dir) = (Server::start(), TempDir::new().unwrap());
    let node = filled(&dir.path().join("data"), 12);
    let (url, bucket) = (admin_url(&node), at("m"));
    for name in ["a", "b", "c"] {
        succeeds(&server, &["create", name, "--url", &url]);
    }
    let push = |name: &'static str| begin(&server, &["pull", name, "--to", &bucket, "--url", &url]);
    // The same one twice, and another one with the same tables.
    for child in [push("a"), push("a"), push("b")] {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
    succeeds(&server, &["verify", "--dir", &bucket]);
    // One comes while the others, which have the same tables, go.
    let pushing = push("c");
    let deletes = [
        begin(&server, &["delete", "a", "--dir", &bucket]),
        begin(&server, &["delete", "b", "--dir", &bucket]),
    ];
    for child in deletes.into_iter().chain([pushing]) {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
    succeeds(&server, &["verify", "c", "--dir", &bucket]);
    // Deleted while it is restored: all of it came, or no database is there.
    let data = dir.path().join("restored");
    let restore = begin(
        &server,
        &["restore", "c", "--from", &bucket, "--data-dir", path(&data)],
    );
    std::thread::sleep(Duration::from_millis(60));
    succeeds(&server, &["delete", "c", "--dir", &bucket]);
    let restored = restore.wait_with_output().unwrap();
    println!("{}", text(&restored));
    assert_eq!(restored.status.success(), data.join("MANIFEST").exists());
}

#[test]
fn what_keeps_a_snapshot_from_a_bucket_is_said() {
    let (server, dir) = (Server::start(), TempDir::new().unwrap());
    let node = filled(&dir.path().join("data"), 1);
    let (url, bucket) = (admin_url(&node), at("e"));
    succeeds(&server, &["create", "a", "--url", &url]);
    let push = ["pull", "a", "--to", &bucket, "--url", &url];
    succeeds(&server, &push);
    server.make_read_only();
    fails(&run(&server, &push), 77, "may not write");
    fails(
        &run(&server, &["delete", "a", "--dir", &bucket]),
        77,
        "may not",
    );
    succeeds(&server, &["verify", "a", "--dir", &bucket]);
    let nowhere = ["list", "--dir", "s3://no-such-bucket/x"];
    fails(
        &run(&server, &nowhere),
        66,
        "there is no bucket `no-such-bucket`",
    );

    server.ask_for_keys();
    fails(&run(&server, &push), 77, "does not know these credentials");

    let mut unreachable = server.command(&server.keys, &push);
    unreachable.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    let began = Instant::now();
    fails(
        &unreachable.output().unwrap(),
        69,
        "no answer from bucket `backup`",
    );
    assert!(began.elapsed() < Duration::from_secs(60));
    let mut full = server.command(&server.keys, &push);
    full.env("AWS_ENDPOINT_URL", full_storage());
    fails(&full.output().unwrap(), 74, "is full");
    let mut unnamed = server.command(&server.keys, &push);
    unnamed.env_remove("AWS_ACCESS_KEY_ID");
    fails(&unnamed.output().unwrap(), 77, "set AWS_ACCESS_KEY_ID");
}

#[test]
fn the_server_is_known_by_its_certificate() {
    let dir = TempDir::new().unwrap();
    let mut server = Server::start_tls(dir.path());
    let list = ["list", "--dir", "s3://absent/x"];
    fails(&run(&server, &list), 66, "there is no bucket `absent`");
    let other = Server::start_tls(&{
        let other = dir.path().join("other");
        std::fs::create_dir(&other).unwrap();
        other
    });
    server.ca_file.clone_from(&other.ca_file);
    fails(&run(&server, &list), 69, "certificate");
}
