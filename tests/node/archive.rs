//! `godb export --all` and `godb import --all`: a whole database, every fault of a file, and runs
//! that are interrupted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use godb_tests::node::godb_command;
use godb_tests::{Node, NodeOptions, run_godb};
use tempfile::TempDir;

use crate::shared::ids;

/// What this version's first release wrote, in the sources of the format.
fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/src/archive/testdata/export-v1.ndjson")
}

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn data(&self) -> String {
        self.path("data").to_str().unwrap().to_owned()
    }

    fn node(&self) -> Node {
        NodeOptions::new(self.path("data")).start()
    }
}

/// Exit code, and everything it said.
fn run(arguments: &[&str]) -> (i32, String) {
    let output = run_godb(arguments);
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code().unwrap_or(-1), said)
}

#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    let (code, said) = run(arguments);
    assert_eq!(code, 0, "{said}");
    said
}

fn import(url: &str, file: &Path, more: &[&str]) -> (i32, String) {
    let file = file.to_str().unwrap();
    run(&[&["import", "--all", file, "--url", url], more].concat())
}

#[track_caller]
fn export(source: &[&str], file: &Path) -> String {
    let file_name = file.to_str().unwrap();
    succeeds(&[&["export", "--all", file_name], source].concat());
    assert!(!file.with_extension("godb.part").exists());
    fs::read_to_string(file).unwrap()
}

/// Without its first and last line, which tell the LSN.
fn body(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    lines[1..lines.len() - 1].to_vec()
}

/// A file of these lines, with a first and a last line that fit them.
fn archive(path: &Path, lines: &[String]) {
    let text = ["[\"godb-export\",1,{\"lsn\":7}]".to_owned()]
        .iter()
        .chain(lines)
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    fs::write(path, &text).unwrap();
    let sum = std::process::Command::new("sha256sum")
        .arg(path)
        .output()
        .unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    let (sum, _) = sum.split_once(' ').unwrap();
    let count = |first| lines.iter().filter(|line| line.starts_with(first)).count();
    let (collections, documents) = (count('['), count('{'));
    let end = format!(
        "[\"end\",{{\"collections\":{collections},\"documents\":{documents},\"sha256\":\"{sum}\"}}]\n"
    );
    fs::write(path, text + &end).unwrap();
}

/// One collection of many documents, with an index.
fn many(path: &Path, count: usize) {
    let mut lines = vec!["[\"collection\",\"c\",{\"indexes\":[\"v\"]}]".to_owned()];
    lines.extend((0..count).map(|n| {
        format!(
            "{{\"_id\":\"{n:07}\",\"v\":{},\"t\":\"{}\"}}",
            n % 7,
            "x".repeat(60)
        )
    }));
    archive(path, &lines);
}

fn total(node: &Node, collection: &str) -> u64 {
    let path = format!("/collections/{collection}/find?limit=1");
    node.client().get(&path).expect(200).json()["total"]
        .as_u64()
        .unwrap()
}

#[test]
fn a_file_of_version_1_is_imported_and_exported_as_it_was() {
    let text = fs::read_to_string(golden()).unwrap();
    let place = Place::new();
    let file = place.path("again.godb");
    let golden = golden();
    let golden = golden.to_str().unwrap();
    let data = place.data();
    succeeds(&["import", "--all", golden, "--data-dir", &data]);
    let again = export(&["--data-dir", &data], &file);
    assert_eq!(body(&again), body(&text));
    // The same from a running node, and into one.
    let node = place.node();
    assert_eq!(export(&["--url", &node.url()], &file), again);
    let other = Place::new();
    let node = other.node();
    let (code, said) = import(&node.url(), &file, &[]);
    assert_eq!(code, 0, "{said}");
    let exported = export(&["--url", &node.url()], &other.path("o.godb"));
    let without_empty: Vec<&str> = body(&text)
        .into_iter()
        .filter(|line| !line.contains("\"empty\""))
        .collect();
    assert_eq!(body(&exported), without_empty);
    let found = node
        .client()
        .get("/collections/people/find?big=9007199254740993")
        .expect(200)
        .json();
    assert_eq!(ids(&found), ["a"]);
}

#[test]
fn the_checksum_is_what_the_documentation_says() {
    let command = format!("head -n -1 {} | sha256sum", golden().display());
    let output = std::process::Command::new("sh")
        .args(["-c", &command])
        .output()
        .unwrap();
    let sum = String::from_utf8(output.stdout).unwrap();
    let text = fs::read_to_string(golden()).unwrap();
    let last = text.lines().last().unwrap();
    assert!(last.contains(sum.split(' ').next().unwrap()), "{last}");
}

#[test]
fn an_export_shows_one_moment() {
    let place = Place::new();
    let node = place.node();
    let stop = AtomicBool::new(false);
    let url = node.url();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = node.client();
            // First here, then there: no moment has one in `b` that `a` has not.
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                for collection in ["z", "m", "a"] {
                    let path = format!("/collections/{collection}");
                    client
                        .post(&path, &format!("{{\"_id\":\"{n:06}\"}}"))
                        .expect(201);
                }
            }
        });
        std::thread::sleep(Duration::from_millis(100));
        for _ in 0..8 {
            let text = export(&["--url", &url], &place.path("e.godb"));
            let mut counts = Vec::new();
            for line in body(&text) {
                if line.starts_with('[') {
                    counts.push(0_i64);
                } else {
                    *counts.last_mut().unwrap() += 1;
                }
            }
            let [a, m, z] = counts[..] else {
                panic!("{counts:?}")
            };
            assert!(a <= m && m <= z && z <= a + 1, "{counts:?}");
            assert!(z > 0);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn documents_of_others_are_left_alone_unless_told() {
    let place = Place::new();
    let node = place.node();
    let url = node.url();
    let mut client = node.client();
    let file = place.path("f.godb");
    let line = |text: &str| text.to_owned();
    archive(
        &file,
        &[
            line("[\"collection\",\"a\",{\"indexes\":[\"v\"]}]"),
            line("{\"_id\":\"1\",\"v\":1}"),
            line("{\"_id\":\"2\",\"v\":2}"),
            line("[\"collection\",\"b\",{\"indexes\":[]}]"),
            line("{\"_id\":\"3\"}"),
        ],
    );
    client
        .post("/collections/other", r#"{"_id":"o"}"#)
        .expect(201);
    // What is the file's own is no obstacle, and is not written again.
    client
        .post("/collections/a", r#"{"_id":"1","v":1}"#)
        .expect(201);
    for (id, document) in [("2", r#"{"_id":"2","mine":1}"#), ("15", r#"{"_id":"15"}"#)] {
        client.post("/collections/a", document).expect(201);
        let (code, said) = import(&url, &file, &[]);
        assert_eq!(code, 73, "{said}");
        assert!(said.contains(&format!("`{id}`")), "{said}");
        assert_eq!((total(&node, "a"), total(&node, "b")), (2, 0));
        if id == "2" {
            client.delete("/collections/a/documents/2").expect(204);
        }
    }
    client
        .post("/collections/a", r#"{"_id":"2","mine":1}"#)
        .expect(201);
    let (code, said) = import(&url, &file, &["--merge"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!((total(&node, "a"), total(&node, "b")), (3, 1));
    let kept = client.get("/collections/a/documents/2").text();
    assert_eq!(kept, r#"{"_id":"2","mine":1}"#);
    for expected in [
        "0 created, 1 replaced, 1 removed",
        "0 created, 0 replaced, 0 removed",
    ] {
        let (code, said) = import(&url, &file, &["--replace"]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains(expected), "{said}");
        let exported = export(&["--url", &url], &place.path("e.godb"));
        let imported = fs::read_to_string(&file).unwrap();
        let all = [
            body(&imported),
            vec![
                "[\"collection\",\"other\",{\"indexes\":[]}]",
                "{\"_id\":\"o\"}",
            ],
        ];
        assert_eq!(body(&exported), all.concat());
    }
}

#[test]
fn no_part_of_a_wrong_file_is_imported() {
    let place = Place::new();
    let node = place.node();
    let url = node.url();
    let good = place.path("good.godb");
    many(&good, 3000);
    let bytes = fs::read(&good).unwrap();
    let bad = place.path("bad.godb");
    let newer = String::from_utf8(bytes.clone())
        .unwrap()
        .replacen("export\",1", "export\",2", 1);
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for (what, content, code, words) in [
        ("half", &bytes[..bytes.len() / 2], 65, "cut off"),
        ("no newline", &bytes[..bytes.len() - 1], 65, "cut off"),
        ("flipped", &flipped[..], 65, ""),
        (
            "twice",
            &[&bytes[..], &bytes[..]].concat()[..],
            65,
            "follows the end",
        ),
        ("empty", &[], 65, "cut off"),
        ("newer", newer.as_bytes(), 76, "version is 2"),
        ("another", b"{\"_id\":\"a\"}\n", 65, "no export"),
    ] {
        fs::write(&bad, content).unwrap();
        let (found, said) = import(&url, &bad, &["--replace"]);
        assert_eq!(found, code, "{what}: {said}");
        assert!(said.contains(words), "{what}: {said}");
        assert_eq!(total(&node, "c"), 0, "{what}");
        let data = place.path("new");
        let arguments = ["import", "--all", bad.to_str().unwrap(), "--data-dir"];
        let (found, _) = run(&[&arguments[..], &[data.to_str().unwrap()]].concat());
        assert_eq!(found, code, "{what}");
        assert!(!data.exists(), "{what}: a database was made for it");
    }
    assert_eq!(import(&url, &place.path("missing"), &[]).0, 66);
    assert_eq!(import(&url, Path::new("-"), &[]).0, 64);
}

#[test]
fn an_import_that_is_killed_goes_on() {
    let place = Place::new();
    let file = place.path("f.godb");
    const COUNT: usize = 40_000;
    many(&file, COUNT);
    let node = place.node();
    let url = node.url();
    let offline = place.path("offline");
    for target in [["--url", &url], ["--data-dir", offline.to_str().unwrap()]] {
        for wait_ms in [300, 900, 1500] {
            let mut child = godb_command()
                .args(["import", "--all", file.to_str().unwrap()])
                .args(target)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(wait_ms));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        println!("{target:?} {}", total(&node, "c"));
        for _ in 0..2 {
            succeeds(&[&["import", "--all", file.to_str().unwrap()], &target[..]].concat());
        }
        let exported = export(&target, &place.path("e.godb"));
        assert_eq!(body(&exported), body(&fs::read_to_string(&file).unwrap()));
    }
    let indexed = node.client().get("/collections/c/find?v=3&limit=1");
    let expected = (0..COUNT).filter(|n| n % 7 == 3).count();
    assert_eq!(indexed.expect(200).json()["total"], expected);
}

#[test]
fn an_import_goes_on_when_the_node_was_killed() {
    let place = Place::new();
    let file = place.path("f.godb");
    many(&file, 40_000);
    let mut node = place.node();
    let child = godb_command()
        .args([
            "import",
            "--all",
            file.to_str().unwrap(),
            "--url",
            &node.url(),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while total(&node, "c") == 0 && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    node.kill9_and_restart();
    let output = child.wait_with_output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stderr));
    // Whether it waited or gave up: run again, it goes on.
    let (code, said) = import(&node.url(), &file, &[]);
    assert_eq!(code, 0, "{said}");
    let exported = export(&["--url", &node.url()], &place.path("e.godb"));
    assert_eq!(body(&exported), body(&fs::read_to_string(&file).unwrap()));
}

#[test]
fn an_export_that_fails_leaves_the_old_file() {
    let place = Place::new();
    let file = place.path("f.godb");
    many(&file, 60_000);
    let mut node = place.node();
    assert_eq!(import(&node.url(), &file, &[]).0, 0);
    let out = place.path("out.godb");
    fs::write(&out, "the one of yesterday").unwrap();
    // The node dies under it.
    let export = |url: &str| {
        godb_command()
            .args(["export", "--all", out.to_str().unwrap(), "--url", url])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let part = place.path("out.godb.part");
    let child = export(&node.url());
    let start = Instant::now();
    while !fs::metadata(&part).is_ok_and(|found| found.len() > 0) {
        assert!(start.elapsed() < Duration::from_secs(30));
    }
    node.kill9();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(69 | 74)), "{said}");
    assert_eq!(fs::read_to_string(&out).unwrap(), "the one of yesterday");
    assert!(!part.exists());
    // It is killed itself; what it left is in nobody's way.
    node.kill9_and_restart();
    let mut child = export(&node.url());
    while !fs::metadata(&part).is_ok_and(|found| found.len() > 0) {
        assert!(start.elapsed() < Duration::from_secs(60));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fs::read_to_string(&out).unwrap(), "the one of yesterday");
    let text = self::export(&["--url", &node.url()], &out);
    assert_eq!(body(&text), body(&fs::read_to_string(&file).unwrap()));
}

#[test]
fn two_hundred_thousand_documents_go_and_come() {
    let place = Place::new();
    let file = place.path("f.godb");
    many(&file, 200_000);
    let data = place.data();
    succeeds(&[
        "import",
        "--all",
        file.to_str().unwrap(),
        "--data-dir",
        &data,
    ]);
    let node = place.node();
    let out = place.path("e.godb");
    let exported = export(&["--url", &node.url()], &out);
    assert_eq!(body(&exported), body(&fs::read_to_string(&file).unwrap()));
    let found = node.client().get("/collections/c/find?v=3&limit=1");
    let expected = (0..200_000).filter(|n| n % 7 == 3).count();
    assert_eq!(found.expect(200).json()["total"], expected);
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    for arguments in [
        "export --all f -c people",
        "export --all f --format array",
        "import --all f --merge --replace",
        "import --all f --id-prefix x",
        "import f -c people --merge",
        "export f",
    ] {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        assert_eq!(run(&arguments).0, 64, "{arguments:?}");
    }
}
