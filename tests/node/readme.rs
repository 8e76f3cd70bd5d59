//! The README's tour, word for word: each command of a `console` block is run against a node, and
//! its output compared. `…` in the README stands for anything.

use std::path::Path;
use std::process::Command;

use godb_tests::{NodeOptions, node};
use tempfile::TempDir;

/// A command as it is typed, and the output that the README shows.
struct Step {
    command: String,
    output: String,
}

fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if inside && let Some(command) = line.strip_prefix("$ ") {
            let command = command.to_owned();
            steps.push(Step {
                command,
                output: String::new(),
            });
        } else if inside {
            let step = steps.last_mut().expect("a command before its output");
            match line.strip_prefix("> ") {
                Some(more) => step.command.push_str(&format!("\n{more}")),
                None => step.output.push_str(&format!("{line}\n")),
            }
        }
    }
    steps
}

/// Whether the text is what the pattern shows, with `…` for anything.
fn shows(pattern: &str, text: &str) -> bool {
    let parts: Vec<&str> = pattern.trim().split('…').collect();
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    let text = text.trim();
    if parts.len() == 1 {
        return text == first;
    }
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    for part in &parts[1..parts.len() - 1] {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn patterns_can_fail() {
    assert!(shows("{\"a\":1,…,\"c\":3}", "{\"a\":1,\"b\":2,\"c\":3}\n"));
    for text in ["{\"a\":2,\"b\":2,\"c\":3}", "{\"a\":1,\"b\":2}", ""] {
        assert!(!shows("{\"a\":1,…,\"c\":3}", text), "{text}");
    }
    assert!(!shows("a", "ab"));
}

#[test]
fn the_tour_of_the_readme_is_true() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let steps = steps(&std::fs::read_to_string(readme).unwrap());
    assert!(steps.len() > 12, "the tour is there");
    let dir = TempDir::new().unwrap();
    let node = NodeOptions::new(dir.path().join("data")).start();
    // One shell for all, so that variables last; a marker ends the output of each command.
    const END: &str = "--- end of output ---";
    let mut script = String::new();
    for step in &steps {
        let command = step
            .command
            .replace("target/release/godb", "$GODB")
            .replace(
                "$GODB export",
                &format!("$GODB export --url {}", node.url()),
            )
            .replace(
                "$GODB import",
                &format!("$GODB import --url {}", node.url()),
            )
            .replace("localhost:8080", &node.address.to_string())
            .replace("localhost:8081", &node.admin.to_string());
        script.push_str(&format!("{{ {command}\n}} 2>&1\necho; echo '{END}'\n"));
    }
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    std::os::unix::fs::symlink(samples, dir.path().join("examples")).unwrap();
    let mut shell = Command::new("bash");
    // What the caller sets for its own godb is not part of the tour.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GODB_") {
            shell.env_remove(name);
        }
    }
    let output = shell
        .env("GODB", node::binary())
        .arg("-c")
        .arg(&script)
        .current_dir(dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let outputs: Vec<&str> = text.split(&format!("{END}\n")).collect();
    assert_eq!(outputs.len(), steps.len() + 1, "{text}\n{errors}");
    for (step, found) in steps.iter().zip(outputs) {
        assert!(
            shows(&step.output, found),
            "$ {}\nshows in the README: {}\nprints: {found}",
            step.command,
            step.output
        );
    }
}
