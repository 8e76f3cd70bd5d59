//! Snapshots on the admin port: answers, who has a lease, what goes by itself, full disks.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use godb_tests::NodeOptions;
use godb_tests::random::Random;
use serde_json::json;
use tempfile::TempDir;

use crate::mount::Small;
use crate::snapshots::{admin_url, begin, fails, fill, noise, path, succeeds};

#[test]
fn what_is_being_pulled_is_not_removed_and_what_nobody_pulls_goes() {
    let dir = TempDir::new().unwrap();
    let node = NodeOptions::new(dir.path().join("data"))
        .arg("--snapshot-read-rate=1MiB")
        .arg("--snapshot-lease=1s")
        .start();
    fill(&node, &mut Random::new(3), 200);
    let (url, mut admin) = (admin_url(&node), node.admin_client());
    admin
        .post("/admin/snapshots", r#"{"name":"s"}"#)
        .expect(201);
    admin
        .post("/admin/snapshots", r#"{"name":"s"}"#)
        .expect(200);
    admin
        .post("/admin/snapshots", r#"{"name":"s","leased":true}"#)
        .expect(409);
    let backup = dir.path().join("backup");
    // 4 MB at 1 MiB a second.
    let began = Instant::now();
    let mut pull = begin(&["pull", "s", "--to", path(&backup), "--url", &url]);
    let deadline = Instant::now() + Duration::from_secs(30);
    let refused = loop {
        // Nothing is lost by asking early: the snapshot is not removed while it is in use, and
        // before that it is asked for by its files only.
        let is_pulled = fs::read_dir(&backup).is_ok_and(|entries| entries.count() > 1);
        if is_pulled {
            break admin.delete("/admin/snapshots/s").expect(409);
        }
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(
        refused.json()["message"]
            .as_str()
            .unwrap()
            .contains("`pull-")
    );
    assert!(pull.wait().unwrap().success());
    assert!(
        began.elapsed() > Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    succeeds(&["verify", "s", "--dir", path(&backup)]);
    admin.delete("/admin/snapshots/s").expect(200);
    admin.delete("/admin/snapshots/s").expect(404);

    // By force: the pull fails, and leaves no snapshot.
    admin
        .post("/admin/snapshots", r#"{"name":"t"}"#)
        .expect(201);
    for _ in 0..2 {
        fill(&node, &mut Random::new(4), 100);
        admin.post("/admin/snapshots", r#"{"name":"t2"}"#);
    }
    let other = dir.path().join("other");
    let mut pull = begin(&["pull", "t2", "--to", path(&other), "--url", &url]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !fs::read_dir(&other).is_ok_and(|entries| entries.count() > 1) {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    admin.delete("/admin/snapshots/t2?force=true").expect(200);
    assert!(!pull.wait().unwrap().success());
    fails(&["verify", "--dir", path(&other)], 66);

    // Nobody wants it: it goes. Somebody does: it stays.
    for name in ["u", "v"] {
        let body = json!({"name": name, "leased": true}).to_string();
        admin.post("/admin/snapshots", &body).expect(201);
    }
    admin
        .put("/admin/snapshots/v/leases/me", r#"{"seconds":3600}"#)
        .expect(200);
    let deadline = Instant::now() + Duration::from_secs(20);
    while admin.get("/admin/snapshots/u").status == 200 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(300));
    }
    admin.get("/admin/snapshots/v").expect(200);
    admin.get("/admin/snapshots/t").expect(200);
    admin.delete("/admin/snapshots/v/leases/me").expect(200);
    let deadline = Instant::now() + Duration::from_secs(20);
    while admin.get("/admin/snapshots/v").status == 200 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(300));
    }
    admin.get("/admin/snapshots/t").expect(200);
}

#[test]
fn answers_are_in_the_form_of_all_answers() {
    let dir = TempDir::new().unwrap();
    let node = NodeOptions::new(dir.path().join("data")).start();
    let mut admin = node.admin_client();
    node.client()
        .post("/collections/c", r#"{"_id":"a"}"#)
        .expect(201);
    let made = admin
        .post("/admin/snapshots", r#"{"name":"a.b-c_1"}"#)
        .expect(201);
    assert_eq!(made.header("location"), Some("/admin/snapshots/a.b-c_1"));
    let boot_id = admin.get("/admin/stats").expect(200).json()["bootId"].clone();
    let one = admin.get("/admin/snapshots/a.b-c_1").expect(200).json();
    assert_eq!(one["bootId"], boot_id);
    assert_eq!(one["collections"][0]["documents"], 1);
    assert_eq!(one["collections"][0]["sha256"].as_str().unwrap().len(), 64);
    let named = admin.post("/admin/snapshots", "").expect(201).json();
    assert_eq!(
        named["name"].as_str().unwrap().len(),
        "20260101-000000.000".len()
    );
    let files = admin
        .get("/admin/snapshots/a.b-c_1/files")
        .expect(200)
        .json();
    let files = files["files"].as_array().unwrap();
    assert_eq!(
        files.last().unwrap()["name"],
        "a.b-c_1.snapshot",
        "the manifest comes last"
    );
    for file in files {
        let target = format!(
            "/admin/snapshots/a.b-c_1/files/{}",
            file["name"].as_str().unwrap()
        );
        let whole = admin.get(&target).expect(200);
        assert_eq!(whole.body.len() as u64, file["size_bytes"]);
        let part = admin
            .request("GET", &target, &[("Range", "bytes=5-14")], b"")
            .expect(206);
        assert_eq!(part.body, whole.body[5..15]);
        let range = format!("bytes 5-14/{}", whole.body.len());
        assert_eq!(part.header("content-range"), Some(range.as_str()));
        admin
            .request("GET", &target, &[("Range", "bytes=999999999-")], b"")
            .expect(416);
    }
    for (method, target, body, status) in [
        ("GET", "/admin/snapshots/nothing", "", 404),
        ("GET", "/admin/snapshots/nothing/files", "", 404),
        ("GET", "/admin/snapshots/a.b-c_1/files/MANIFEST", "", 404),
        (
            "GET",
            "/admin/snapshots/a.b-c_1/files/..%2F..%2FMANIFEST",
            "",
            404,
        ),
        ("POST", "/admin/snapshots/nothing/verify", "", 404),
        (
            "PUT",
            "/admin/snapshots/nothing/leases/x",
            r#"{"seconds":5}"#,
            404,
        ),
        (
            "PUT",
            "/admin/snapshots/a.b-c_1/leases/x",
            r#"{"seconds":0}"#,
            400,
        ),
        ("PUT", "/admin/snapshots/a.b-c_1/leases/x", "", 400),
        ("GET", "/admin/snapshots/..%2Fx", "", 400),
        ("POST", "/admin/snapshots", r#"{"name":"../x"}"#, 400),
        ("POST", "/admin/snapshots", r#"{"nam":"x"}"#, 400),
        ("POST", "/admin/snapshots", "{", 400),
        ("PATCH", "/admin/snapshots", "", 405),
    ] {
        let answer = admin
            .request(method, target, &[], body.as_bytes())
            .expect(status);
        assert_eq!(answer.json()["code"], status, "{method} {target}");
    }
}

#[test]
fn a_full_target_gets_no_snapshot_and_a_full_source_gives_leased_ones_up() {
    let disk = Small::of_mib(64);
    let dir = TempDir::new().unwrap();
    let node = NodeOptions::new(dir.path().join("data")).start();
    fill(&node, &mut Random::new(5), 300);
    let url = admin_url(&node);
    let backup = disk.path().join("backup");
    let ballast = disk.path().join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 65536]).is_ok() {}
    let length = file.metadata().unwrap().len();
    file.set_len(length - (3 << 20)).unwrap();
    drop(file);
    let why = fails(&["pull", "--to", path(&backup), "--url", &url], 74);
    assert!(why.contains("space"), "{why}");
    fails(&["verify", "--dir", path(&backup)], 66);
    fs::remove_file(&ballast).unwrap();
    succeeds(&["pull", "--to", path(&backup), "--url", &url]);
    succeeds(&["verify", "--dir", path(&backup)]);

    let full = NodeOptions::new(disk.path().join("data")).start();
    fill(&full, &mut Random::new(6), 100);
    let mut admin = full.admin_client();
    admin
        .post("/admin/snapshots", r#"{"name":"carried","leased":true}"#)
        .expect(201);
    admin
        .put("/admin/snapshots/carried/leases/me", r#"{"seconds":3600}"#)
        .expect(200);
    admin
        .post("/admin/snapshots", r#"{"name":"kept"}"#)
        .expect(201);
    let mut client = full.client();
    let mut random = Random::new(7);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let document = json!({"t": noise(&mut random, 60_000)}).to_string();
        let status = client.post("/collections/c", &document).status;
        if status == 507 {
            break;
        }
        assert!(Instant::now() < deadline, "{status}");
    }
    while admin.get("/admin/snapshots/carried").status == 200 {
        assert!(Instant::now() < deadline, "it is held on a full disk");
        std::thread::sleep(Duration::from_millis(200));
    }
    admin.get("/admin/snapshots/kept").expect(200);
}

#[test]
fn where_the_admin_port_asks_for_a_token_the_command_has_one() {
    let dir = TempDir::new().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "a token of some length\n").unwrap();
    let node = NodeOptions::new(dir.path().join("data"))
        .arg(format!("--admin-token-file={}", path(&token)))
        .start();
    let (url, backup) = (admin_url(&node), dir.path().join("backup"));
    let refused = fails(&["create", "s", "--url", &url], 77);
    assert!(refused.contains("Authorization"), "{refused}");
    let with = ["--url", &url, "--token-file", path(&token)];
    succeeds(&[&["create", "s"], &with[..]].concat());
    succeeds(&[&["pull", "s", "--to", path(&backup)], &with[..]].concat());
    let missing = path(&backup.join("none")).to_owned();
    fails(&["list", "--url", &url, "--token-file", &missing], 66);
}
