//! The README's chapter on Kubernetes, word for word: each command of a `console kubernetes` block,
//! with its output.

use std::path::Path;
use std::process::Command;

use godb_tests::readme::{shows, steps};

use crate::release::alone;

#[test]
fn the_kubernetes_chapter_of_the_readme_is_true() {
    let _turn = alone();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("a README");
    let steps = steps(&readme, "console kubernetes");
    assert!(steps.len() > 8, "the chapter is there");
    // One shell for all, so that what runs in the background lasts; a marker ends each output.
    const END: &str = "--- end of output ---";
    let mut script = String::from("trap 'kill $(jobs -p) 2>/dev/null' EXIT\n");
    for step in &steps {
        script.push_str(&format!(
            "{{ {}\n}} 2>&1\necho; echo '{END}'\n",
            step.command
        ));
    }
    let output = Command::new("timeout")
        .args(["300", "bash", "-c", &script])
        .current_dir(&root)
        .output()
        .expect("a shell");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
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
