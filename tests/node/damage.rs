//! Damaged, missing and foreign files: refused by name, and nothing is touched.

use std::fs;
use std::path::{Path, PathBuf};

use godb_tests::node::godb_command;
use godb_tests::random::Random;
use godb_tests::{NodeOptions, run_godb};
use tempfile::TempDir;

use crate::mount::ReadOnly;
use crate::start::{on, refused_on, text};

/// A stopped node's directory with some documents, a table and a log.
fn stored() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut node = NodeOptions::new(&data).durability("full").start();
    let mut client = node.client();
    for n in 0..200 {
        client
            .post("/collections/c", &format!("{{\"_id\":\"d{n}\",\"n\":{n}}}"))
            .expect(201);
    }
    node.admin_client()
        .post("/admin/checkpoint", "")
        .expect(200);
    for n in 200..400 {
        client
            .post("/collections/c", &format!("{{\"_id\":\"d{n}\",\"n\":{n}}}"))
            .expect(201);
    }
    node.kill9();
    (dir, data)
}

fn files(data: &Path, part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![data.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap().to_string_lossy().contains(part) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn damage_in_the_middle_of_the_log_is_refused_with_its_place() {
    let (_dir, data) = stored();
    let intact: Vec<_> = files(&data, "")
        .into_iter()
        .map(|path| (fs::read(&path).unwrap(), path))
        .collect();
    let mut damaged = 0;
    for path in files(&data, ".wal") {
        let bytes = fs::read(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // Behind the header, and well before the last frames, whose loss would be a torn tail.
        let Some(at) = (used > 20_000).then_some(used / 2) else {
            continue;
        };
        let mut bad = bytes.clone();
        bad[at] ^= 0x40;
        fs::write(&path, &bad).unwrap();
        let text = refused_on(&data, &["--durability", "full"], 65, &["corrupt", &name]);
        assert!(!text.contains("panicked"), "{text}");
        assert_eq!(
            run_godb(&["verify", data.to_str().unwrap()]).status.code(),
            Some(65)
        );
        assert!(fs::read(&path).unwrap() == bad, "a refusal touches nothing");
        fs::write(&path, &bytes).unwrap();
        damaged += 1;
    }
    assert!(damaged > 0, "a log long enough to be damaged");
    for (bytes, path) in intact {
        assert!(fs::read(&path).unwrap() == bytes, "{}", path.display());
    }
    let node = NodeOptions::new(&data).durability("full").start();
    assert_eq!(
        node.client().get("/collections/c/find?limit=1").json()["total"],
        400
    );
}

#[test]
fn damage_of_the_manifest_is_refused() {
    let (_dir, data) = stored();
    let manifest = data.join("MANIFEST");
    let bytes = fs::read(&manifest).unwrap();
    for at in [0, 9, bytes.len() / 2, bytes.len() - 1] {
        let mut bad = bytes.clone();
        bad[at] ^= 0x20;
        fs::write(&manifest, &bad).unwrap();
        let arguments = on(&data);
        let output = godb_command().args(&arguments).output().unwrap();
        let text = text(&output);
        // A changed version number may look like a newer format.
        assert!(
            matches!(output.status.code(), Some(65 | 76)),
            "byte {at}: {text}"
        );
        assert!(
            text.contains("MANIFEST") && !text.contains("panicked"),
            "byte {at}: {text}"
        );
    }
    fs::write(&manifest, &bytes).unwrap();
    let node = NodeOptions::new(&data).start();
    assert_eq!(
        node.client().get("/collections/c/find?limit=1").json()["total"],
        400
    );
}

#[test]
fn damage_of_a_table_is_found_and_never_served() {
    let (_dir, data) = stored();
    let tables: Vec<_> = files(&data.join("tables"), "")
        .into_iter()
        .filter(|p| !p.ends_with("LOCK"))
        .collect();
    assert!(!tables.is_empty(), "the checkpoint made a table");
    for path in tables {
        let bytes = fs::read(&path).unwrap();
        for at in [bytes.len() / 3, bytes.len() - 2] {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            let verified = run_godb(&["verify", data.to_str().unwrap()]);
            assert_eq!(
                verified.status.code(),
                Some(65),
                "byte {at}: {}",
                text(&verified)
            );
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(text(&verified).contains(name), "{}", text(&verified));
        }
        fs::write(&path, &bytes).unwrap();
    }
    assert!(
        run_godb(&["verify", data.to_str().unwrap()])
            .status
            .success()
    );
}

#[test]
fn who_meets_damaged_data_is_logged_and_counted() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut node = NodeOptions::new(&data).start();
    let mut client = node.client();
    for n in 0..200 {
        // Not to be compressed, so that there are many blocks.
        let noise: String = (0..100)
            .map(|i| format!("{:08x}", (n * 100 + i) * 2_654_435_761_u64 % (1 << 32)))
            .collect();
        let document = format!("{{\"_id\":\"d{n}\",\"noise\":\"{noise}\"}}");
        client.post("/collections/c", &document).expect(201);
    }
    assert!(node.stop().success());
    let table = files(&data.join("tables"), ".sst").remove(0);
    let mut bytes = fs::read(&table).unwrap();
    let at = bytes.len() / 3;
    bytes[at] ^= 0x10;
    fs::write(&table, &bytes).unwrap();
    let node = NodeOptions::new(&data).durability("full").start();
    assert!(node.metric("godb_corruption_total") < 1.0);
    let mut client = node.client();
    let damaged: Vec<String> = (0..200)
        .map(|n| format!("/collections/c/documents/d{n}"))
        .filter(|path| client.get(path).status == 500)
        .collect();
    let count = damaged.len();
    assert!(count > 0, "byte {at} of {} is not data", bytes.len());
    assert_eq!(node.metric("godb_corruption_total"), count as f64);
    let log = node.log();
    let line = log
        .lines()
        .find(|line| line.contains("a request failed"))
        .unwrap();
    for part in ["ERROR", "method=GET", &damaged[0], "corrupt: "] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let cut = client.try_request("GET", "/collections/c/find_with_stream", &[], &[]);
    assert!(cut.is_err() || cut.unwrap().status == 500);
    let log = node.log();
    let line = log.lines().find(|line| line.contains("a stream was cut"));
    assert!(line.is_none_or(|line| line.contains("ERROR")), "{line:?}");
    assert!(node.metric("godb_corruption_total") > count as f64);
}

#[test]
fn a_missing_segment_or_table_is_refused() {
    for part in ["wal", "tables"] {
        let (_dir, data) = stored();
        let mut victims = files(&data.join(part), "");
        victims.retain(|path| !path.ends_with("LOCK") && !path.ends_with("STORE-ID"));
        let victim = victims.first().unwrap();
        fs::remove_file(victim).unwrap();
        let name = victim.file_name().unwrap().to_str().unwrap();
        refused_on(&data, &[], 65, &[name]);
    }
}

#[test]
fn a_directory_that_does_not_say_whose_it_is_is_refused() {
    for part in ["wal", "tables"] {
        let (_dir, data) = stored();
        fs::remove_file(data.join(part).join("STORE-ID")).unwrap();
        let named = format!("{part}: the ");
        refused_on(&data, &[], 78, &[&named, "has no STORE-ID", "volume"]);
        fs::remove_dir_all(data.join(part)).unwrap();
        let missing = format!("the {} directory is missing", part.trim_end_matches('s'));
        let missing = missing.replace("wal", "log");
        refused_on(&data, &[], 78, &[&missing, "is its volume mounted"]);
        let verified = run_godb(&["verify", data.to_str().unwrap()]);
        assert_eq!(verified.status.code(), Some(78), "{}", text(&verified));
        assert!(text(&verified).contains(&missing), "{}", text(&verified));
        assert!(!data.join(part).exists(), "a refusal makes nothing");
    }
}

#[test]
fn content_without_its_manifest_is_refused_and_stays_as_it_is() {
    let (_dir, data) = stored();
    fs::remove_file(data.join("MANIFEST")).unwrap();
    for path in files(&data, "LOCK") {
        fs::remove_file(path).unwrap();
    }
    let before = files(&data, "");
    let words = "there is no manifest here, but ";
    refused_on(&data, &[], 78, &[words]);
    let verified = run_godb(&["verify", data.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(78), "{}", text(&verified));
    assert!(text(&verified).contains(words), "{}", text(&verified));
    assert_eq!(files(&data, ""), before, "a refusal makes nothing");
}

#[test]
fn a_database_is_not_made_among_the_files_of_others() {
    let dir = TempDir::new().unwrap();
    let data = dir.path();
    fs::create_dir(data.join("lost+found")).unwrap();
    fs::write(data.join("thesis.txt"), "mine").unwrap();
    refused_on(data, &[], 78, &["holds no database", "`thesis.txt`"]);
    assert_eq!(fs::read_dir(data).unwrap().count(), 2);
    fs::remove_file(data.join("thesis.txt")).unwrap();
    let mut node = NodeOptions::new(data).start();
    assert!(node.stop().success());
    // What somebody puts there later does not keep a database from its start.
    fs::write(data.join("thesis.txt"), "mine").unwrap();
    drop(NodeOptions::new(data).start());
}

#[test]
fn an_emptied_log_directory_is_refused_where_the_manifest_expects_one() {
    let (_dir, data) = stored();
    for path in files(&data.join("wal"), "") {
        fs::remove_file(path).unwrap();
    }
    let arguments = on(&data);
    let output = godb_command().args(&arguments).output().unwrap();
    assert!(
        matches!(output.status.code(), Some(65 | 78)),
        "{}",
        text(&output)
    );
}

#[test]
fn a_log_of_another_database_is_refused() {
    let ((_a, first), (_b, second)) = (stored(), stored());
    let wal = second.join("wal");
    refused_on(
        &first,
        &["--wal-dir", wal.to_str().unwrap()],
        78,
        &[wal.to_str().unwrap()],
    );
}

#[test]
fn verify_says_what_is_wrong_with_its_argument() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("missing");
    let output = run_godb(&["verify", missing.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(66), "{}", text(&output));
    let (_dir, data) = stored();
    let before: Vec<_> = files(&data, "")
        .into_iter()
        .map(|p| (fs::read(&p).unwrap(), p))
        .collect();
    let output = run_godb(&["verify", data.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output));
    for (bytes, path) in before {
        assert!(
            fs::read(&path).unwrap() == bytes,
            "verify changes nothing: {}",
            path.display()
        );
    }
}

#[test]
fn damage_of_the_catalogue_is_found_when_it_is_opened() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut node = NodeOptions::new(&data).start();
    let mut client = node.client();
    let mut random = Random::new(7);
    // Names that fill several blocks, however well they are compressed.
    for n in 0..300 {
        let noise: String = (0..7)
            .map(|_| format!("{:016x}", random.below(u64::MAX)))
            .collect();
        client
            .post(&format!("/collections/{noise}"), &format!("{{\"n\":{n}}}"))
            .expect(201);
    }
    let pad = "x".repeat(4000);
    for n in 0..300 {
        let document = format!("{{\"_id\":\"d{n}\",\"pad\":\"{n}{pad}\"}}");
        client.post("/collections/c", &document).expect(201);
    }
    assert!(node.stop().success());
    let tables: Vec<_> = files(&data.join("tables"), "")
        .into_iter()
        .filter(|path| !path.ends_with("LOCK") && !path.ends_with("STORE-ID"))
        .collect();
    let [table] = tables.as_slice() else {
        panic!("{tables:?}")
    };
    let bytes = fs::read(table).unwrap();
    let flip = |at: usize| {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        fs::write(table, &bad).unwrap();
    };
    // The catalogue has the first keys of all; this is not the first block of it.
    flip(12_000);
    let name = table.file_name().unwrap().to_str().unwrap();
    refused_on(&data, &[], 65, &["corrupt", name, "at byte"]);
    // Where only documents are damaged, the others are served.
    flip(bytes.len() * 3 / 4);
    let node = NodeOptions::new(&data).start();
    node.client().get("/collections/c/find?limit=1").expect(200);
}

#[test]
fn verify_reads_what_cannot_be_written_and_export_says_to_copy_it() {
    let (_dir, data) = stored();
    let path = data.to_str().unwrap();
    fs::remove_file(data.join("wal").join("LOCK")).unwrap();
    let _read_only = ReadOnly::over(&data);
    let verified = run_godb(&["verify", path]);
    assert!(verified.status.success(), "{}", text(&verified));
    let said = text(&verified);
    assert!(said.contains("read without a lock ("), "{said}");
    assert!(said.contains("wal/LOCK"), "{said}");
    let exported = run_godb(&["export", "-c", "c", "--data-dir", path]);
    assert_eq!(exported.status.code(), Some(77), "{}", text(&exported));
    assert!(
        text(&exported).contains("copy the directory"),
        "{}",
        text(&exported)
    );
}
