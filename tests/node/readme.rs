//! The README's tour, word for word: each command of a `console` block is run against a node, and
//! its output compared. `…` in the README stands for anything.

use std::path::Path;
use std::process::Command;

use godb_tests::readme::{shows, steps};
use godb_tests::{NodeOptions, node};
use tempfile::TempDir;

#[test]
fn the_tour_of_the_readme_is_true() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let steps = steps(&readme, "console");
    assert!(steps.len() > 12, "the tour is there");
    let dir = TempDir::new().unwrap();
    let mut node = NodeOptions::new(dir.path().join("data"))
        .arg("--checkpoint-interval")
        .arg("1h")
        .start();
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
    // Then it kills the node and reads what is on disk.
    let shown = readme
        .lines()
        .find(|line| line.starts_with("godb-data: "))
        .unwrap();
    node.kill9();
    let data = dir.path().join("data");
    let verified = godb_tests::run_godb(&["verify", data.to_str().unwrap()]);
    let printed = String::from_utf8(verified.stdout).unwrap();
    let printed = printed.replace(data.to_str().unwrap(), "godb-data");
    assert!(
        shows(shown, &printed),
        "the README shows: {shown}\nverify prints: {printed}"
    );
}
