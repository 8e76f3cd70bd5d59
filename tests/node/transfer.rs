//! `godb import` and `godb export`: every format, every fault, and runs that are interrupted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use godb_tests::node::godb_command;
use godb_tests::{Node, NodeOptions, run_godb};
use serde_json::{Value, json};
use tempfile::TempDir;

fn node() -> (Node, TempDir) {
    let dir = TempDir::new().unwrap();
    let node = NodeOptions::new(dir.path().join("data")).start();
    (node, dir)
}

fn file(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

fn import(node: &Node, path: &Path, more: &[&str]) -> Output {
    let url = node.url();
    let mut arguments = vec![
        "import",
        path.to_str().unwrap(),
        "--collection",
        "c",
        "--url",
        &url,
    ];
    arguments.extend(more);
    run_godb(&arguments)
}

#[track_caller]
fn succeeds(output: Output) -> String {
    let text =
        String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

fn total(node: &Node) -> u64 {
    node.client()
        .get("/collections/c/find?limit=1")
        .expect(200)
        .json()["total"]
        .as_u64()
        .unwrap()
}

fn export(node: &Node, more: &[&str]) -> String {
    let url = node.url();
    let mut arguments = vec!["export", "--collection", "c", "--url", &url];
    arguments.extend(more);
    let output = run_godb(&arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn ndjson_arrays_and_maps_are_imported() {
    for (name, format, text, ids) in [
        (
            "a.ndjson",
            None,
            "{\"_id\":\"a\",\"n\":1}\n\n  {\"_id\":\"b\",\"n\":1.10}\r\n{\"_id\":\"c\"}",
            "a b c",
        ),
        (
            "a.json",
            None,
            " [ {\"_id\":\"a\"} , {\"_id\":\"b\",\n\"n\":2}\n]\n",
            "a b",
        ),
        (
            "a.map",
            Some("map"),
            "{\"k1\": {\"n\": 1}, \"k2\": {\"n\": [\"]}\"]}}",
            "k1 k2",
        ),
        ("empty.ndjson", None, "", ""),
        ("empty.json", None, "[]", ""),
    ] {
        let (node, dir) = node();
        let path = file(&dir, name, text);
        let more: Vec<&str> = format
            .iter()
            .flat_map(|format| ["--format", format])
            .collect();
        succeeds(import(&node, &path, &more));
        let found = node.client().get("/collections/c/find").expect(200).json();
        assert_eq!(crate::shared::ids(&found).join(" "), ids, "{name}");
    }
}

#[test]
fn numbers_are_imported_as_they_are_written() {
    let (node, dir) = node();
    let line = r#"{"_id":"a","z":1.10,"big":9007199254740993,"e":1E5}"#;
    succeeds(import(&node, &file(&dir, "a.ndjson", line), &[]));
    assert_eq!(node.client().get("/collections/c/documents/a").text(), line);
    assert_eq!(export(&node, &[]).trim_end(), line);
}

#[test]
fn one_wrong_line_and_nothing_is_written() {
    for (bad, words) in [
        ("{\"n\":}", "line 3"),
        ("[]", "line 3"),
        ("{\"_id\":5}", "_id"),
        ("{} {}", "line 3"),
        ("\u{feff}{}", "line 3"),
    ] {
        let (node, dir) = node();
        let text = format!("{{\"_id\":\"a\"}}\n{{\"_id\":\"b\"}}\n{bad}\n{{\"_id\":\"c\"}}\n");
        let output = import(&node, &file(&dir, "a.ndjson", &text), &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(65), "{bad}: {said}");
        assert!(said.contains(words), "{bad}: {said}");
        assert_eq!(total(&node), 0, "{bad}");
    }
}

#[test]
fn a_missing_file_and_a_server_that_is_not_there_are_said() {
    let (node, dir) = node();
    assert_eq!(
        import(&node, &dir.path().join("missing"), &[])
            .status
            .code(),
        Some(66)
    );
    let path = file(&dir, "a.ndjson", "{}");
    let url = format!("http://127.0.0.1:{}", godb_tests::node::free_port());
    let output = run_godb(&["import", path.to_str().unwrap(), "-c", "c", "--url", &url]);
    assert_eq!(
        output.status.code(),
        Some(69),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn an_import_again_makes_nothing_twice() {
    let (node, dir) = node();
    let text: String = (0..2500).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let path = file(&dir, "a.ndjson", &text);
    for _ in 0..3 {
        succeeds(import(&node, &path, &[]));
        assert_eq!(total(&node), 2500);
    }
    let page = node
        .client()
        .get("/collections/c/find?limit=1000")
        .expect(200)
        .json();
    let numbers: Vec<u64> = page["documents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["n"].as_u64().unwrap())
        .collect();
    assert_eq!(
        numbers,
        (0..1000).collect::<Vec<_>>(),
        "in the order of the file"
    );
}

#[test]
fn equal_documents_of_one_file_are_all_imported() {
    let (node, dir) = node();
    let path = file(&dir, "a.ndjson", &"{\"same\":true}\n".repeat(50));
    succeeds(import(&node, &path, &[]));
    assert_eq!(total(&node), 50);
}

#[test]
fn a_document_that_exists_is_left_as_it_is() {
    let (node, dir) = node();
    node.client()
        .post("/collections/c", r#"{"_id":"a","mine":true}"#)
        .expect(201);
    let path = file(
        &dir,
        "a.ndjson",
        "{\"_id\":\"a\",\"theirs\":true}\n{\"_id\":\"b\"}\n",
    );
    succeeds(import(&node, &path, &[]));
    let kept = node.client().get("/collections/c/documents/a").json();
    assert_eq!(kept, json!({"_id":"a","mine":true}));
    assert_eq!(total(&node), 2);
}

/// A file large enough that its import takes a while.
fn large(dir: &TempDir) -> (PathBuf, u64) {
    const COUNT: u64 = 30_000;
    let line = |n: u64| format!("{{\"n\":{n},\"t\":\"{}\"}}\n", "x".repeat(200));
    let text: String = (0..COUNT).map(line).collect();
    (file(dir, "large.ndjson", &text), COUNT)
}

#[track_caller]
fn each_once(node: &Node, count: u64) {
    let all = node
        .client()
        .get("/collections/c/find_with_stream")
        .expect(200)
        .json();
    let mut numbers: Vec<u64> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["n"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
}

#[test]
fn an_import_killed_in_between_goes_on() {
    let (node, dir) = node();
    let (path, count) = large(&dir);
    let url = node.url();
    for wait_ms in [50, 150, 300, 600] {
        let mut child = godb_command()
            .args([
                "import",
                path.to_str().unwrap(),
                "--collection",
                "c",
                "--url",
                &url,
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        println!("killed after {wait_ms} ms with {} documents", total(&node));
    }
    succeeds(import(&node, &path, &[]));
    each_once(&node, count);
}

#[test]
fn an_import_goes_on_when_the_node_comes_back() {
    let (mut node, dir) = node();
    let (path, count) = large(&dir);
    let child = godb_command()
        .args([
            "import",
            path.to_str().unwrap(),
            "--collection",
            "c",
            "--url",
            &node.url(),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut was_cut = false;
    for wait_ms in [150, 300] {
        std::thread::sleep(Duration::from_millis(wait_ms));
        node.kill9_and_restart();
        was_cut |= total(&node) < count;
        println!("killed after {wait_ms} ms with {} documents", total(&node));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("the import: {said}");
    if was_cut {
        assert!(said.contains("trying again for up to 60 s"), "{said}");
    }
    // Whether it waited or gave up: run again, it goes on.
    succeeds(import(&node, &path, &[]));
    each_once(&node, count);
}

#[test]
fn an_export_can_be_imported_again_with_the_same_values() {
    let (first, dir) = node();
    for document in [
        r#"{"_id":"é/ 1","n":1.10}"#,
        r#"{"_id":"b","o":{"z":1,"a":[null,"\u0000"]}}"#,
    ] {
        first.client().post("/collections/c", document).expect(201);
    }
    for format in ["ndjson", "array"] {
        let text = export(&first, &["--format", format]);
        let (second, other) = node();
        let path = file(&other, "copy", &text);
        succeeds(import(&second, &path, &[]));
        assert_eq!(export(&second, &[]), export(&first, &[]), "{format}");
    }
    let path = dir.path().join("out.ndjson");
    export(&first, &[path.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(path).unwrap(), export(&first, &[]));
}

#[test]
fn a_directory_is_imported_into_and_exported_from_without_a_server() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let path = file(&dir, "a.ndjson", "{\"_id\":\"a\"}\n{\"_id\":\"b\"}\n");
    let run = |arguments: &[&str]| {
        let mut all = vec!["--collection", "c", "--data-dir", data.to_str().unwrap()];
        all.splice(0..0, arguments.iter().copied());
        run_godb(&all)
    };
    succeeds(run(&["import", path.to_str().unwrap()]));
    succeeds(run(&["import", path.to_str().unwrap()]));
    let exported = run(&["export"]);
    assert!(exported.status.success());
    let documents: Vec<Value> = exported
        .stdout
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    assert_eq!(documents, [json!({"_id":"a"}), json!({"_id":"b"})]);
    let node = NodeOptions::new(&data).start();
    assert_eq!(total(&node), 2);
    assert_eq!(run(&["export"]).status.code(), Some(75), "in use");
}

#[test]
fn an_export_of_a_missing_collection_leaves_the_old_file_as_it_is() {
    let (mut node, dir) = node();
    node.client()
        .post("/collections/good", r#"{"_id":"a"}"#)
        .expect(201);
    node.client()
        .delete("/collections/good/documents/a")
        .expect(204);
    let backup = file(&dir, "backup", "{\"_id\":\"a\"}\n");
    let path = backup.to_str().unwrap().to_owned();
    let refused = |source: &[&str]| {
        let output = run_godb(&[&["export", &path, "-c", "goood"], source].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(66), "{said}");
        assert!(
            said.contains("there is no collection `goood` in "),
            "{said}"
        );
        assert_eq!(fs::read_to_string(&backup).unwrap(), "{\"_id\":\"a\"}\n");
        assert!(!dir.path().join("backup.part").exists());
    };
    let empty = |source: &[&str]| {
        let output = run_godb(&[&["export", "-c", "good"], source].concat());
        assert_eq!(succeeds(output), "exported 0 documents of `good`\n");
    };
    refused(&["--url", &node.url()]);
    empty(&["--url", &node.url()]);
    node.kill9();
    let data = dir.path().join("data");
    refused(&["--data-dir", data.to_str().unwrap()]);
    empty(&["--data-dir", data.to_str().unwrap()]);
}
