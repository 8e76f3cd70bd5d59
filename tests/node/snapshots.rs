//! Snapshots of a running node: what is in them, who may have them, what damage does to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use godb_tests::node::godb_command;
use godb_tests::random::{Random, seed};
use godb_tests::{Client, Node, NodeOptions, run_godb};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Runs `godb snapshot …`.
pub fn snapshot(arguments: &[&str]) -> Output {
    run_godb(&[&["snapshot"], arguments].concat())
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[track_caller]
pub fn succeeds(arguments: &[&str]) -> String {
    let output = snapshot(arguments);
    let text = text(&output);
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

#[track_caller]
pub fn fails(arguments: &[&str], exit: i32) -> String {
    let output = snapshot(arguments);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {text}");
    text
}

/// Starts `godb snapshot …`.
pub fn begin(arguments: &[&str]) -> Child {
    godb_command()
        .arg("snapshot")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

pub fn admin_url(node: &Node) -> String {
    format!("http://{}", node.admin)
}

/// Text that compression does not make smaller.
pub fn noise(random: &mut Random, bytes: usize) -> String {
    let digit = |n: u64| char::from(b'0' + u8::try_from(n).unwrap());
    (0..bytes).map(|_| digit(random.below(43))).collect()
}

/// Puts documents of about 20 kB into `c`.
pub fn fill(node: &Node, random: &mut Random, count: u64) {
    let mut client = node.client();
    for _ in 0..count {
        let document = json!({"t": noise(random, 20_000)});
        client
            .post("/collections/c", &document.to_string())
            .expect(201);
    }
}

pub type State = BTreeMap<String, Value>;

/// All documents of `c`.
pub fn documents(node: &Node) -> State {
    let found = node
        .client()
        .get("/collections/c/find_with_stream")
        .expect(200)
        .json();
    let found = found.as_array().unwrap().iter();
    found
        .map(|document| {
            (
                document["_id"].as_str().unwrap().to_owned(),
                document.clone(),
            )
        })
        .collect()
}

pub fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The documents of a snapshot, after a restore of it.
#[track_caller]
pub fn restored(from: &Path, name: &str, dir: &Path) -> State {
    succeeds(&[
        "restore",
        name,
        "--from",
        path(from),
        "--data-dir",
        path(dir),
    ]);
    let node = NodeOptions::new(dir).start();
    documents(&node)
}

/// An acknowledged write.
struct Written {
    lsn: u64,
    id: String,
    value: Option<Value>,
}

/// Writes until told to stop, and records every write with its LSN; also the slowest one while
/// `watched`, and while not.
fn write(
    mut client: Client,
    writer: u64,
    seed: u64,
    [stop, watched]: [&AtomicBool; 2],
) -> (Vec<Written>, [Duration; 2]) {
    let mut random = Random::new(seed + writer);
    let (mut written, mut slowest) = (Vec::new(), [Duration::ZERO; 2]);
    let mut there = BTreeSet::new();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let id = format!("w{writer}-{:03}", random.below(300));
        let target = format!("/collections/c/documents/{id}");
        let document = json!({"_id": id, "n": n, "t": noise(&mut random, 300)});
        let is_watched = watched.load(Ordering::Relaxed);
        let began = Instant::now();
        let is_there = there.contains(&id);
        let (answer, value) = match is_there {
            true if random.chance(20) => (client.delete(&target), None),
            true => (client.put(&target, &document.to_string()), Some(document)),
            false => {
                let made = client.post("/collections/c", &document.to_string());
                (made, Some(document))
            }
        };
        let place = usize::from(is_watched);
        slowest[place] = slowest[place].max(began.elapsed());
        assert!(answer.status < 300, "{}", answer.text());
        if value.is_some() {
            there.insert(id.clone());
        } else {
            there.remove(&id);
        }
        written.push(Written {
            lsn: answer.header("x-godb-lsn").unwrap().parse().unwrap(),
            id,
            value,
        });
    }
    (written, slowest)
}

#[test]
fn a_snapshot_under_load_is_the_state_at_its_lsn() {
    let seed = seed();
    println!("SEED={seed}");
    let dir = TempDir::new().unwrap();
    let node = NodeOptions::new(dir.path().join("data"))
        .arg("--checkpoint-interval")
        .arg("1s")
        .start();
    let backup = dir.path().join("backup");
    let url = admin_url(&node);
    let (stop, watched) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut lsns = Vec::new();
    let histories = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (client, flags) = (node.client(), [&stop, &watched]);
                scope.spawn(move || write(client, writer, seed, flags))
            })
            .collect();
        for round in 0..4 {
            std::thread::sleep(Duration::from_millis(400));
            watched.store(true, Ordering::Relaxed);
            // Two at once, and one of them by two.
            let (mut admin, mut other) = (node.admin_client(), node.admin_client());
            let (a, b) = (format!("s{round}-a"), format!("s{round}-b"));
            let takers = [&a, &b, &a].map(|name| {
                let (name, url) = (name.clone(), &url);
                scope.spawn(move || succeeds(&["create", &name, "--url", url]))
            });
            let said = takers.map(|taker| taker.join().unwrap());
            let new = said.iter().filter(|said| said.contains("taken,")).count();
            assert_eq!(new, 2, "{said:?}");
            watched.store(false, Ordering::Relaxed);
            for name in [a, b] {
                let one = admin
                    .get(&format!("/admin/snapshots/{name}"))
                    .expect(200)
                    .json();
                lsns.push((name, one["lsn"].as_u64().unwrap()));
            }
            other.get("/readyz").expect(200);
            if round == 1 {
                succeeds(&["pull", "s1-a", "--to", path(&backup), "--url", &url]);
            }
        }
        stop.store(true, Ordering::Relaxed);
        let join = writers.into_iter().map(|writer| writer.join().unwrap());
        join.collect::<Vec<_>>()
    });
    let slowest = |place: usize| histories.iter().map(|(_, s)| s[place]).max().unwrap();
    println!(
        "slowest write: {:?} while a snapshot was taken, {:?} otherwise",
        slowest(1),
        slowest(0)
    );
    let mut history: Vec<Written> = histories
        .into_iter()
        .flat_map(|(written, _)| written)
        .collect();
    history.sort_by_key(|one| one.lsn);
    println!("{} writes, snapshots at {lsns:?}", history.len());
    for (name, lsn) in &lsns {
        let mut expected = State::new();
        for one in history.iter().take_while(|one| one.lsn <= *lsn) {
            match &one.value {
                Some(value) => expected.insert(one.id.clone(), value.clone()),
                None => expected.remove(&one.id),
            };
        }
        assert!(!expected.is_empty());
        let said = succeeds(&["pull", name, "--to", path(&backup), "--url", &url]);
        assert!(said.contains(" were there"), "{said}");
        let found = restored(&backup, name, &dir.path().join(name));
        assert_eq!(found, expected, "{name} at {lsn}, SEED={seed}");
    }
    succeeds(&["verify", "--dir", path(&backup)]);
    succeeds(&["verify", "--url", &url]);
    let listed = node
        .admin_client()
        .get("/admin/snapshots")
        .expect(200)
        .json();
    let names: Vec<_> = listed["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["name"])
        .collect();
    assert!(names.is_sorted_by_key(|name| name.as_str()), "{names:?}");
    assert_eq!(node.metric("godb_snapshots"), 8.0);
    assert!(node.metric("godb_snapshot_last_success_timestamp_seconds") > 1e9);
}

#[test]
fn lsns_go_on_and_what_is_there_is_not_sent_again() {
    let dir = TempDir::new().unwrap();
    let node = NodeOptions::new(dir.path().join("data")).start();
    let (url, backup) = (admin_url(&node), dir.path().join("backup"));
    fill(&node, &mut Random::new(1), 100);
    let pull = || succeeds(&["pull", "--to", path(&backup), "--url", &url]);
    let first = pull();
    assert!(
        first.contains("1 tables") && first.contains(" 0 were there"),
        "{first}"
    );
    // It was there only to be carried.
    let left = node
        .admin_client()
        .get("/admin/snapshots")
        .expect(200)
        .json();
    assert_eq!(left["snapshots"], json!([]));
    std::thread::sleep(Duration::from_secs(1));
    node.client()
        .post("/collections/c", r#"{"_id":"later"}"#)
        .expect(201);
    let second = pull();
    assert!(
        second.contains("1 tables") && second.contains(" 1 were there"),
        "{second}"
    );
    let last = node
        .client()
        .post("/collections/c", r#"{"_id":"last"}"#)
        .expect(201);
    let lsn = |answer: &godb_tests::Response| -> u64 {
        answer.header("x-godb-lsn").unwrap().parse().unwrap()
    };

    // The newest is restored, and LSNs go on.
    let new = dir.path().join("new");
    succeeds(&["restore", "--from", path(&backup), "--data-dir", path(&new)]);
    let restored = NodeOptions::new(&new).start();
    let mut client = restored.client();
    client.get("/collections/c/documents/later").expect(200);
    client.get("/collections/c/documents/last").expect(404);
    let next = client
        .post("/collections/c", r#"{"_id":"next"}"#)
        .expect(201);
    assert!(
        lsn(&next) > lsn(&last),
        "{} after {}",
        lsn(&next),
        lsn(&last)
    );

    let said = succeeds(&["prune", "--keep", "1", "--dir", path(&backup)]);
    assert_eq!(said.matches("removed").count(), 1, "{said}");
    succeeds(&["verify", "--dir", path(&backup)]);
    let list = succeeds(&["list", "--dir", path(&backup), "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["documents"], 101);

    // Another database has no business in this directory.
    let other = NodeOptions::new(dir.path().join("other")).start();
    let refused = fails(
        &["pull", "--to", path(&backup), "--url", &admin_url(&other)],
        78,
    );
    assert!(refused.contains("another database"), "{refused}");
}

#[test]
fn a_restore_refuses_a_database_and_replaces_it_only_when_told() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut node = NodeOptions::new(&data).start();
    let mut client = node.client();
    client
        .post("/collections/c", r#"{"_id":"a","v":1}"#)
        .expect(201);
    succeeds(&["create", "before", "--url", &admin_url(&node)]);
    client
        .put("/collections/c/documents/a", r#"{"v":2}"#)
        .expect(200);
    let restore = [
        "restore",
        "before",
        "--from",
        path(&data),
        "--data-dir",
        path(&data),
    ];
    let replace = [&restore[..], &["--replace"]].concat();
    fails(&restore, 78);
    let used = fails(&replace, 75);
    assert!(used.contains("LOCK"), "{used}");
    assert!(node.stop().success());
    fails(&restore, 78);
    succeeds(&replace);
    node = NodeOptions::new(&data).start();
    let found = node
        .client()
        .get("/collections/c/documents/a")
        .expect(200)
        .json();
    assert_eq!(found["v"], 1);
    // Snapshots go on belonging to it; the old one is kept.
    succeeds(&["verify", "before", "--url", &admin_url(&node)]);
    let old = NodeOptions::new(dir.path().join("data.before-restore-1")).start();
    let found = old
        .client()
        .get("/collections/c/documents/a")
        .expect(200)
        .json();
    assert_eq!(found["v"], 2);
}

#[test]
fn offline_it_works_on_the_directory_unless_a_node_has_it() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut node = NodeOptions::new(&data).start();
    node.client()
        .post("/collections/c", r#"{"_id":"a"}"#)
        .expect(201);
    fails(&["create", "x", "--data-dir", path(&data)], 75);
    succeeds(&["create", "x", "--url", &admin_url(&node)]);
    fails(&["delete", "x", "--data-dir", path(&data)], 75);
    assert!(node.stop().success());
    let backup = dir.path().join("backup");
    for name in ["y", "z"] {
        succeeds(&["create", name, "--data-dir", path(&data)]);
    }
    succeeds(&[
        "pull",
        "y",
        "--data-dir",
        path(&data),
        "--to",
        path(&backup),
    ]);
    succeeds(&["verify", "--data-dir", path(&data)]);
    succeeds(&["delete", "x", "--data-dir", path(&data)]);
    fails(&["delete", "x", "--data-dir", path(&data)], 66);
    succeeds(&["delete", "x", "--if-exists", "--data-dir", path(&data)]);
    let nowhere = dir.path().join("nowhere");
    fails(&["delete", "x", "--dir", path(&nowhere)], 66);
    succeeds(&["delete", "x", "--if-exists", "--dir", path(&nowhere)]);
    fails(&["verify", "x", "--data-dir", path(&data)], 66);
    fails(
        &[
            "restore",
            "x",
            "--from",
            path(&backup),
            "--data-dir",
            path(&dir.path().join("n")),
        ],
        66,
    );
    fails(&["create", "-x/", "--data-dir", path(&data)], 64);
    let list = succeeds(&["list", "--data-dir", path(&data)]);
    assert!(list.contains("\ny ") && list.contains("\nz "), "{list}");
    fails(&["list", "--url", "http://127.0.0.1:1"], 69);
}

#[test]
fn a_flipped_byte_in_any_file_is_refused_by_verify_and_restore() {
    let dir = TempDir::new().unwrap();
    let mut node = NodeOptions::new(dir.path().join("data")).start();
    let mut random = Random::new(2);
    let (url, backup) = (admin_url(&node), dir.path().join("backup"));
    for _ in 0..2 {
        fill(&node, &mut random, 30);
        node.admin_client()
            .post("/admin/checkpoint", "")
            .expect(200);
    }
    succeeds(&["create", "s", "--url", &url]);
    succeeds(&["pull", "s", "--to", path(&backup), "--url", &url]);
    let data = dir.path().join("data/snapshots");
    let names: Vec<String> = fs::read_dir(&backup)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "LOCK")
        .collect();
    assert!(names.len() >= 3, "{names:?}");
    for name in &names {
        let file = backup.join(name);
        let sound = fs::read(&file).unwrap();
        for _ in 0..3 {
            let mut damaged = sound.clone();
            let place = random.index(damaged.len());
            damaged[place] ^= 1 << random.below(8);
            fs::write(&file, &damaged).unwrap();
            let why = fails(&["verify", "--dir", path(&backup)], 65);
            assert!(why.contains(name.as_str()) || why.contains("s: "), "{why}");
            let new = dir.path().join("new");
            let why = fails(
                &[
                    "restore",
                    "s",
                    "--from",
                    path(&backup),
                    "--data-dir",
                    path(&new),
                ],
                65,
            );
            assert!(!new.join("MANIFEST").exists(), "{name} at {place}: {why}");
            fs::remove_dir_all(&new).ok();
        }
        fs::write(&file, &sound).unwrap();
    }
    succeeds(&["verify", "--dir", path(&backup)]);

    // A damaged table of the target is fetched again.
    let table = names.iter().find(|name| name.ends_with(".sst")).unwrap();
    let sound = fs::read(backup.join(table)).unwrap();
    fs::write(backup.join(table), &sound[..sound.len() / 2]).unwrap();
    let said = succeeds(&["pull", "s", "--to", path(&backup), "--url", &url]);
    assert!(said.contains("1 tables"), "{said}");
    succeeds(&["verify", "--dir", path(&backup)]);

    // The node says so too, and goes on. Its snapshot has a file of its own for this.
    let table = data.join(table);
    let mut damaged = fs::read(&table).unwrap();
    damaged[100] ^= 4;
    fs::remove_file(&table).unwrap();
    fs::write(&table, &damaged).unwrap();
    fails(&["verify", "s", "--url", &url], 65);
    let elsewhere = dir.path().join("elsewhere");
    fails(&["pull", "s", "--to", path(&elsewhere), "--url", &url], 65);
    fails(&["verify", "--dir", path(&elsewhere)], 66);
    assert!(node.stop().success());
}
