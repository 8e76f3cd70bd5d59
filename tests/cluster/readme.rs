//! The README's chapter on Kubernetes, word for word: each command of a `console kubernetes` block,
//! with its output.

use std::path::Path;
use std::process::Command;

use godb_tests::readme::{shows, steps};

use crate::kube::{run, succeeded};
use crate::release::{alone, kinds};

/// What the chapter makes in the namespaces that it uses.
fn clean_up() {
    for arguments in [
        "delete godbinstance people --ignore-not-found --wait",
        "delete pod writer --ignore-not-found",
        "delete pvc data-people-0 --ignore-not-found",
    ] {
        // Before the first install the kind may not be known.
        let arguments: Vec<&str> = arguments.split(' ').collect();
        run("kubectl", &arguments, "");
    }
    let uninstall = "uninstall godb --namespace godb-system --ignore-not-found --wait";
    run("helm", &uninstall.split(' ').collect::<Vec<_>>(), "");
    succeeded(
        "kubectl",
        &["delete", "namespace", "godb-system", "--ignore-not-found"],
        "",
    );
}

#[test]
fn the_kubernetes_chapter_of_the_readme_is_true() {
    let _turn = alone();
    kinds();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("a README");
    let steps = steps(&readme, "console kubernetes");
    assert!(steps.len() > 8, "the chapter is there");
    clean_up();
    // One shell for all, so that what runs in the background lasts; a marker ends each output.
    const END: &str = "--- end of output ---";
    let mut script = String::from("set -e; trap 'kill $(jobs -p) 2>/dev/null' EXIT\n");
    for step in &steps {
        // Other tests have brought the definitions already, which a reader's cluster does not have.
        let command = step
            .command
            .replace("helm install", "helm install --take-ownership");
        script.push_str(&format!("{{ {command}\n}} 2>&1\necho; echo '{END}'\n"));
    }
    let output = Command::new("timeout")
        .args(["300", "bash", "-c", &script])
        .current_dir(&root)
        .output()
        .expect("a shell");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    clean_up();
    let outputs: Vec<&str> = text.split(&format!("{END}\n")).collect();
    for (step, found) in steps.iter().zip(&outputs) {
        println!("$ {}\n{}", step.command, found.trim_end());
        assert!(
            shows(&step.output, found),
            "$ {}\nshows in the README: {}\nprints: {found}",
            step.command,
            step.output
        );
    }
    assert_eq!(outputs.len(), steps.len() + 1, "{text}");
}

/// What starts the cluster cannot be typed inside of it, so its recipes are only looked up: each is
/// there, and runs a script that is there.
#[test]
fn the_first_block_of_the_chapter_names_recipes_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("a README");
    let (_, chapter) = readme.split_once("\n## Kubernetes\n").expect("a chapter");
    let (_, block) = chapter.split_once("\n```sh\n").expect("a first block");
    let (block, _) = block.split_once("\n```").expect("its end");
    let mut scripts = Vec::new();
    for line in block.lines() {
        let output = Command::new("sh")
            .args(["-c", line])
            .env("MAKEFLAGS", "--dry-run --no-print-directory")
            // As typed by a person also when it was `make test` that began this.
            .env_remove("MAKELEVEL")
            .current_dir(&root)
            .output()
            .expect("a shell");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        for recipe in text.lines() {
            let script = recipe.split_whitespace().next().expect("a command");
            assert!(root.join(script).is_file(), "{line}: no {script}");
            scripts.push(script.to_owned());
        }
    }
    for needed in ["image.sh", "start.sh", "load.sh", "in.sh"] {
        assert!(
            scripts.iter().any(|script| script.ends_with(needed)),
            "{needed} in {scripts:?}"
        );
    }
}
