//! Starting: flags, file, environment, and every way in which a start must be refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use godb_tests::node::{free_port, godb_command};
use godb_tests::{NodeOptions, run_godb};
use tempfile::TempDir;

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// Runs the node where it must refuse to start; its output.
#[track_caller]
fn refused(arguments: &[&str], code: i32, words: &[&str]) -> String {
    let mut child = godb_command()
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for _ in 0..2000 {
        if child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let running = child.try_wait().unwrap().is_none();
    if running {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let text = text(&output);
    assert!(!running, "{arguments:?} runs: {text}");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    for word in words {
        assert!(
            text.contains(word),
            "{arguments:?} does not say `{word}`: {text}"
        );
    }
    text
}

/// Arguments of a node on free ports.
pub fn on(data_dir: &Path) -> Vec<String> {
    vec![
        "--data-dir".to_owned(),
        data_dir.display().to_string(),
        "--listen".to_owned(),
        format!("127.0.0.1:{}", free_port()),
        "--admin-listen".to_owned(),
        format!("127.0.0.1:{}", free_port()),
    ]
}

#[track_caller]
pub fn refused_on(data_dir: &Path, more: &[&str], code: i32, words: &[&str]) -> String {
    let arguments = on(data_dir);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(more);
    refused(&arguments, code, words)
}

#[test]
fn help_and_version_are_printed() {
    let help = run_godb(&["--help"]);
    assert!(help.status.success());
    for word in [
        "--data-dir",
        "--durability",
        "GODB_DURABILITY",
        "import",
        "verify",
        "Exit codes",
    ] {
        assert!(text(&help).contains(word), "{word}");
    }
    let version = run_godb(&["--version"]);
    assert!(text(&version).contains(env!("CARGO_PKG_VERSION")));
    for subcommand in ["serve", "config", "verify", "import", "export"] {
        assert!(
            run_godb(&[subcommand, "--help"]).status.success(),
            "{subcommand}"
        );
    }
}

#[test]
fn unknown_flags_and_subcommands_are_refused() {
    for arguments in [
        &["--no-such-flag"][..],
        &["frobnicate"],
        &["serve", "extra"],
        &["verify"],
        &["config"],
    ] {
        refused(arguments, 64, &["--help"]);
    }
}

#[test]
fn every_fault_of_every_source_is_reported_at_once() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("godb.yaml");
    fs::write(
        &file,
        "durability: maybe\nlistem: 127.0.0.1:1\nmax_memory: 12 apples\n",
    )
    .unwrap();
    let output = godb_command()
        .args([
            "config",
            "check",
            "--config",
            file.to_str().unwrap(),
            "--log-format",
            "loud",
        ])
        .env("GODB_MAX_WAL_SIZE", "huge")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let text = text(&output);
    for word in [
        "maybe",
        "listem",
        "listen",
        "12 apples",
        "huge",
        "GODB_MAX_WAL_SIZE",
        "loud",
        "5 places",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    refused(
        &["--config", file.to_str().unwrap()],
        64,
        &["maybe", "listem", "12 apples"],
    );
}

#[test]
fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("godb.yaml");
    fs::write(
        &file,
        "max_memory: 64MiB\nmax_wal_size: 48MiB\nlog_level: warn\n",
    )
    .unwrap();
    let output = godb_command()
        .args([
            "config",
            "show",
            "--config",
            file.to_str().unwrap(),
            "--log-level",
            "error",
        ])
        .env("GODB_MAX_WAL_SIZE", "56MiB")
        .env("GODB_LOG_LEVEL", "debug")
        .output()
        .unwrap();
    assert!(output.status.success());
    let shown = text(&output);
    let line = |key: &str| {
        let line = shown
            .lines()
            .find(|line| line.starts_with(&format!("{key}:")));
        line.unwrap_or_else(|| panic!("{key}: {shown}")).to_owned()
    };
    assert!(line("max_memory").contains("64MiB") && line("max_memory").contains("file"));
    assert!(
        line("max_wal_size").contains("56MiB")
            && line("max_wal_size").contains("GODB_MAX_WAL_SIZE")
    );
    assert!(line("log_level").contains("error") && line("log_level").contains("flag"));
    assert!(line("durability").contains("os") && line("durability").contains("default"));
}

#[test]
fn what_config_show_prints_can_be_used_as_a_file() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("godb.yaml");
    let shown = run_godb(&[
        "config",
        "show",
        "--durability",
        "full",
        "--max-memory",
        "100",
    ]);
    fs::write(&file, &shown.stdout).unwrap();
    let again = run_godb(&["config", "show", "--config", file.to_str().unwrap()]);
    let values = |output: &Output| -> Vec<String> {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines()
            .map(|line| line.split(" #").next().unwrap().trim().to_owned())
            .collect()
    };
    assert_eq!(values(&shown), values(&again));
    assert!(text(&again).contains("100MiB"));
}

#[test]
fn the_flags_of_go_db_work_with_one_and_two_dashes() {
    for dashes in ["-", "--"] {
        let dir = TempDir::new().unwrap();
        let port = free_port();
        let flag = |name: &str| format!("{dashes}{name}");
        let mut child = godb_command()
            .args([flag("port"), port.to_string()])
            .args([
                flag("data-dir"),
                dir.path().join("data").display().to_string(),
            ])
            .args([
                flag("wal-dir"),
                dir.path().join("wal").display().to_string(),
            ])
            .args([
                flag("checkpoint-dir"),
                dir.path().join("tables").display().to_string(),
            ])
            .args([
                flag("durability"),
                "full".to_owned(),
                flag("max-memory"),
                "64".to_owned(),
            ])
            .args([flag("v2"), flag("no-saves")])
            .args(["--admin-listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut client = godb_tests::Client::new(([127, 0, 0, 1], port).into());
        let mut healthy = false;
        for _ in 0..1000 {
            healthy = client
                .try_request("GET", "/health", &[], b"")
                .is_ok_and(|a| a.status == 200);
            if healthy {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let stored = client
            .try_request("POST", "/collections/c", &[], b"{}")
            .map(|a| a.status);
        child.kill().unwrap();
        let log = text(&child.wait_with_output().unwrap());
        assert!(healthy, "{log}");
        assert_eq!(stored.unwrap(), 201);
        assert!(
            log.contains("-v2") && log.contains("-no-saves") && log.contains("WARN"),
            "{log}"
        );
        assert!(fs::read_dir(dir.path().join("wal")).unwrap().count() > 0);
    }
}

#[test]
fn the_folder_above_the_data_directory_must_exist() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("missing");
    refused_on(
        &missing.join("data"),
        &[],
        66,
        &[missing.to_str().unwrap(), "missing"],
    );
    assert!(!missing.exists(), "nothing was made");
}

#[test]
fn a_file_is_no_data_directory() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("data");
    fs::write(&file, "text").unwrap();
    let text = refused_on(&file, &[], 66, &[file.to_str().unwrap()]);
    assert!(!text.contains("panicked"), "{text}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
}

#[test]
fn a_directory_in_use_is_refused_and_the_first_goes_on() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let node = NodeOptions::new(&data).start();
    node.client()
        .post("/collections/c", r#"{"_id":"x"}"#)
        .expect(201);
    refused_on(&data, &[], 75, &["in use", data.to_str().unwrap()]);
    node.client().get("/collections/c/documents/x").expect(200);
    let output = run_godb(&["verify", data.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(75), "verify: {}", text(&output));
}

#[test]
fn a_directory_can_be_used_again_after_kill_9() {
    let dir = TempDir::new().unwrap();
    let mut node = NodeOptions::new(dir.path().join("data")).start();
    node.client()
        .post("/collections/c", r#"{"_id":"x"}"#)
        .expect(201);
    node.kill9_and_restart();
    node.client().get("/collections/c/documents/x").expect(200);
}

#[test]
fn a_taken_port_is_refused_by_its_address() {
    let dir = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = dir.path().join("data").display().to_string();
    let free = format!("127.0.0.1:{}", free_port());
    for (documents, admin) in [(&address, &free), (&free, &address)] {
        let arguments = [
            "--data-dir",
            &data,
            "--listen",
            documents,
            "--admin-listen",
            admin,
        ];
        refused(&arguments, 69, &[&address, "taken"]);
    }
}

#[test]
fn flags_may_be_repeated_and_the_last_one_counts_or_all_are_refused() {
    let output = run_godb(&[
        "config",
        "show",
        "--durability",
        "full",
        "--durability",
        "os",
    ]);
    let shown = text(&output);
    if output.status.success() {
        assert!(shown.contains("durability: os"), "{shown}");
    } else {
        assert_eq!(output.status.code(), Some(64), "{shown}");
    }
}

/// A mounted read-only directory says EROFS even to root, which a mode does not.
#[test]
fn a_read_only_data_directory_is_refused() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut node = NodeOptions::new(&data).start();
    node.client()
        .post("/collections/c", r#"{"_id":"x"}"#)
        .expect(201);
    assert!(node.stop().success());
    if is_root() {
        let _mounted = crate::mount::ReadOnly::over(&data);
        refused_on(&data, &[], 77, &["ead-only", data.to_str().unwrap()]);
    } else {
        fs::set_permissions(&data, fs::Permissions::from_mode(0o500)).unwrap();
        refused_on(&data, &[], 77, &["denied", data.to_str().unwrap()]);
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let node = NodeOptions::new(&data).start();
    node.client().get("/collections/c/documents/x").expect(200);
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn other_files_beside_the_database_are_left_alone() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    fs::create_dir_all(dir.path().join("lost+found")).unwrap();
    fs::create_dir_all(data.join("lost+found")).unwrap();
    let mut node = NodeOptions::new(&data).start();
    node.client()
        .post("/collections/c", r#"{"_id":"x"}"#)
        .expect(201);
    assert!(node.stop().success());
    assert!(data.join("lost+found").is_dir());
    let node = NodeOptions::new(&data).start();
    node.client().get("/collections/c/documents/x").expect(200);
}

#[test]
fn the_level_can_change_at_each_start_and_nothing_is_lost() {
    let dir = TempDir::new().unwrap();
    let mut expected = 0;
    for level in [
        "os", "full", "memory", "none", "full", "none", "os", "memory", "full",
    ] {
        let mut node = NodeOptions::new(dir.path().join("data"))
            .durability(level)
            .start();
        let mut client = node.client();
        let total = client.get("/collections/c/find?limit=1").expect(200).json()["total"].clone();
        assert_eq!(total, expected, "before {level}");
        for _ in 0..20 {
            client.post("/collections/c", "{}").expect(201);
            expected += 1;
        }
        assert!(node.stop().success(), "{}", node.log());
    }
}
