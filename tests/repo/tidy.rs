//! Tidiness as tests: sizes, names, the direction of dependency, leftovers, dead files, links.
//!
//! Each rule is a function from a file to its faults, tried on a file that breaks it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A file of the repository: path from its root, text.
struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Text files that people write.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root(), "", &mut found);
    assert!(found.len() > 50, "the walk finds the sources");
    found
}

fn collect(directory: &Path, prefix: &str, found: &mut Vec<Source>) {
    let skipped = [".git", "target", "cache", "godb-data", "node_modules"];
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{prefix}{name}");
        if entry.file_type().unwrap().is_dir() {
            if !skipped.contains(&name.as_str()) {
                collect(&entry.path(), &format!("{path}/"), found);
            }
            continue;
        }
        let kind = path.rsplit('.').next().unwrap_or_default();
        if ["rs", "toml", "md", "sh", "py", "yml", "yaml"].contains(&kind) || name == "Makefile" {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            found.push(Source { path, text });
        }
    }
}

fn source(path: &str, text: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

/// Fails with every fault that the rule finds in these files.
#[track_caller]
fn hold(rule: impl Fn(&Source) -> Vec<String>) {
    let faults: Vec<String> = sources().iter().flat_map(rule).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Faults of single lines: number and line, where `is_fault` says so.
fn lines(source: &Source, why: &str, is_fault: impl Fn(&str) -> bool) -> Vec<String> {
    let numbered = source.text.lines().enumerate();
    numbered
        .filter(|(_, line)| is_fault(line))
        .map(|(n, line)| format!("{}:{}: {why}: {}", source.path, n + 1, line.trim()))
        .collect()
}

const MAX_LINES: usize = 600;

fn too_long(source: &Source) -> Vec<String> {
    let count = source.text.lines().count();
    let code = source.path.ends_with(".rs") || source.path.ends_with(".sh");
    if code && count > MAX_LINES {
        return vec![format!(
            "{}: {count} lines, at most {MAX_LINES}: split it",
            source.path
        )];
    }
    Vec::new()
}

#[test]
fn files_are_short() {
    assert_eq!(too_long(&source("a.rs", &"x\n".repeat(601))).len(), 1);
    assert!(too_long(&source("a.rs", &"x\n".repeat(600))).is_empty());
    hold(too_long);
}

fn vague_name(source: &Source) -> Vec<String> {
    let vague = [
        "util", "utils", "common", "helper", "helpers", "manager", "misc", "stub",
    ];
    let parts = source.path.trim_end_matches(".rs").split('/');
    let bad = parts.into_iter().find(|part| vague.contains(part));
    bad.map(|part| format!("{}: `{part}` says nothing", source.path))
        .into_iter()
        .collect()
}

#[test]
fn names_say_what_is_inside() {
    assert_eq!(vague_name(&source("node/src/util/mod.rs", "")).len(), 1);
    assert_eq!(vague_name(&source("node/src/helpers.rs", "")).len(), 1);
    hold(vague_name);
}

fn leftover(source: &Source) -> Vec<String> {
    // Put together here, so that this file does not find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("HA", "CK"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("#[ig", "nore"),
        concat!("<<<<", "<<<"),
        concat!(">>>>", ">>>"),
    ];
    let word_in = |line: &str| {
        words.iter().any(|word| {
            line.match_indices(word).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                let after = line[at + word.len()..].chars().next();
                let inside =
                    |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
                !(inside(before) || word.chars().all(char::is_alphabetic) && inside(after))
            })
        })
    };
    lines(source, "a leftover", word_in)
}

#[test]
fn nothing_is_left_over() {
    for line in [
        concat!("// TO", "DO: later"),
        concat!("todo", "!()"),
        concat!("#[ig", "nore]"),
    ] {
        assert_eq!(leftover(&source("a.rs", line)).len(), 1, "{line}");
    }
    assert!(leftover(&source("a.rs", "a mastodon, HACKNEY")).is_empty());
    hold(leftover);
}

/// What a package must never name, in its sources or among its dependencies.
const DIRECTION: &[(&str, &[&str])] = &[
    (
        "node/store/",
        &[
            "godb_engine",
            "tokio",
            "axum",
            "hyper",
            "prometheus",
            "serde_json",
            "serde",
            "tracing",
            "clap",
        ],
    ),
    (
        "node/engine/",
        &[
            "tokio",
            "axum",
            "hyper",
            "prometheus",
            "tracing",
            "clap",
            "godb_tests",
        ],
    ),
];

fn wrong_direction(source: &Source) -> Vec<String> {
    let Some((package, forbidden)) = DIRECTION
        .iter()
        .find(|(prefix, _)| source.path.starts_with(prefix))
    else {
        return Vec::new();
    };
    let why = format!("{package} must not know it");
    if source.path.ends_with("Cargo.toml") {
        let text = source
            .text
            .split("[dev-dependencies]")
            .next()
            .unwrap_or_default();
        let names = |line: &str| {
            let key = line
                .split(['=', '.', ' '])
                .next()
                .unwrap_or_default()
                .replace('-', "_");
            forbidden.contains(&key.as_str())
        };
        return lines(&self::source(&source.path, text), &why, names);
    }
    if !source.path.ends_with(".rs") {
        return Vec::new();
    }
    lines(source, &why, |line| {
        let code = line.split("//").next().unwrap_or_default();
        forbidden.iter().any(|name| {
            code.match_indices(&format!("{name}::")).any(|(at, _)| {
                !code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':')
            })
        })
    })
}

#[test]
fn dependencies_point_one_way() {
    assert_eq!(
        wrong_direction(&source("node/store/src/a.rs", "use tokio::sync;")).len(),
        1
    );
    assert_eq!(
        wrong_direction(&source("node/store/Cargo.toml", "serde_json = 1\n")).len(),
        1
    );
    assert_eq!(
        wrong_direction(&source(
            "node/engine/src/a.rs",
            "let x = axum::Router::new();"
        ))
        .len(),
        1
    );
    assert!(wrong_direction(&source("node/src/a.rs", "use tokio::sync;")).is_empty());
    assert!(
        wrong_direction(&source(
            "node/store/src/a.rs",
            "// tokio::sync is elsewhere"
        ))
        .is_empty()
    );
    hold(wrong_direction);
}

/// Who may name the file system, and why.
const FILE_SYSTEM: &[(&str, &str)] = &[
    ("node/store/src/disk/real.rs", "the one way to the disk"),
    ("node/store/src/disk/", "its tests look at real files"),
    (
        "node/src/",
        "configuration, tokens, imported and exported files; never the database's",
    ),
    ("crds/src/bin/", "a generator of files of the repository"),
    ("tests/", "the harness"),
    ("node/store/tests/", "tests"),
    ("node/engine/tests/", "tests"),
];

fn names_file_system(source: &Source) -> Vec<String> {
    let free = FILE_SYSTEM
        .iter()
        .any(|(prefix, _)| source.path.starts_with(prefix));
    let is_test = source.path.ends_with("/tests.rs") || source.path.contains("/examples/");
    if !source.path.ends_with(".rs") || free || is_test {
        return Vec::new();
    }
    let text = source.text.split("#[cfg(test)]").next().unwrap_or_default();
    lines(
        &self::source(&source.path, text),
        "only disk/real.rs may",
        |line| {
            let code = line.split("//").next().unwrap_or_default();
            [
                "std::fs",
                "File::open(",
                "File::create(",
                "OpenOptions::new",
            ]
            .iter()
            .any(|name| code.contains(name))
        },
    )
}

#[test]
fn one_file_names_the_file_system() {
    assert_eq!(
        names_file_system(&source("node/store/src/wal/a.rs", "use std::fs::File;")).len(),
        1
    );
    assert_eq!(
        names_file_system(&source("node/engine/src/a.rs", "std::fs::read(p)")).len(),
        1
    );
    assert!(names_file_system(&source("node/store/src/disk/real.rs", "use std::fs;")).is_empty());
    hold(names_file_system);
}

fn without_reason(source: &Source) -> Vec<String> {
    if !source.path.ends_with(".rs") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (at, _) in source
        .text
        .match_indices("allow(")
        .chain(source.text.match_indices("#[expect("))
    {
        let attribute = source.text[..at]
            .lines()
            .next_back()
            .unwrap_or_default()
            .trim_start();
        let opens = source.text[at..].starts_with("#[expect(") && attribute.is_empty();
        if !opens && !attribute.starts_with("#[") && !attribute.starts_with("#![") {
            continue;
        }
        let end = source.text[at..]
            .find(")]")
            .map_or(source.text.len(), |length| at + length);
        if !source.text[at..end].contains("reason") {
            let line = source.text[..at].lines().count();
            faults.push(format!(
                "{}:{line}: a lint switched off without a reason",
                source.path
            ));
        }
    }
    faults
}

#[test]
fn each_exception_from_a_lint_has_a_reason() {
    assert_eq!(
        without_reason(&source("a.rs", "#[allow(clippy::panic)]\nfn a() {}")).len(),
        1
    );
    assert_eq!(
        without_reason(&source("a.rs", "#![allow(\n    dead_code\n)]\n")).len(),
        1
    );
    assert_eq!(
        without_reason(&source("a.rs", "#[expect(clippy::panic)]")).len(),
        1
    );
    assert!(without_reason(&source("a.rs", "#[expect(clippy::panic, reason = \"x\")]")).is_empty());
    assert!(without_reason(&source("a.rs", "let x = disallow(7); policy.allow(x);")).is_empty());
    hold(without_reason);
}

#[test]
fn every_source_file_is_part_of_a_program() {
    let all = sources();
    let rust: Vec<&Source> = all
        .iter()
        .filter(|source| source.path.ends_with(".rs"))
        .collect();
    let declared: BTreeSet<String> = rust
        .iter()
        .flat_map(|source| source.text.lines())
        .filter_map(|line| {
            let line = line.trim();
            let start = line.find("mod ")?;
            line[start + 4..].strip_suffix(';').map(str::to_owned)
        })
        .collect();
    for source in rust {
        let parts: Vec<&str> = source.path.split('/').collect();
        let file = parts[parts.len() - 1].trim_end_matches(".rs");
        let folder = parts[parts.len().saturating_sub(2)];
        let name = if file == "mod" { folder } else { file };
        let is_root =
            matches!(file, "lib" | "main" | "build") || matches!(folder, "bin" | "examples");
        assert!(
            is_root || declared.contains(name),
            "{}: no `mod {name};`",
            source.path
        );
    }
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    // A workspace of its own has none to take.
    for source in sources().iter().filter(|source| {
        source.path.ends_with("/Cargo.toml") && !source.text.contains("\n[workspace]\n")
    }) {
        assert!(
            source.text.contains("[lints]\nworkspace = true"),
            "{}",
            source.path
        );
        assert!(
            source.text.contains("edition.workspace = true"),
            "{}",
            source.path
        );
    }
}

#[test]
fn scripts_stop_at_the_first_error_and_parse() {
    for source in sources()
        .iter()
        .filter(|source| source.path.ends_with(".sh"))
    {
        let sourced = ["scripts/env.sh", "scripts/tools.sh"].contains(&source.path.as_str());
        let careful = source.text.contains("env.sh") || source.text.contains("set -euo pipefail");
        assert!(careful || sourced, "{}", source.path);
        let parsed = std::process::Command::new("bash")
            .arg("-n")
            .arg(root().join(&source.path))
            .status();
        assert!(parsed.unwrap().success(), "{}", source.path);
    }
}

#[test]
fn the_makefile_only_calls_and_explains() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let mut recipe = 0;
    for line in makefile.lines() {
        if let Some(command) = line.strip_prefix('\t') {
            recipe += 1;
            assert!(recipe == 1, "more than one line in a recipe: {command}");
            if let Some(script) = command.strip_prefix("@scripts/") {
                let script = script.split(' ').next().unwrap();
                assert!(root().join("scripts").join(script).is_file(), "{script}");
            }
        } else {
            recipe = 0;
            let is_target =
                line.contains(':') && !line.starts_with(['.', '#']) && !line.contains(":=");
            assert!(
                !is_target || line.contains(" ## "),
                "a target without its line of help: {line}"
            );
        }
    }
}

/// Links of a Markdown text: targets of `[text](target)`, without those in code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split(')').next().unwrap_or_default();
            let quoted = line[..at].matches('`').count() % 2 == 1;
            if !quoted {
                found.push(target.split(' ').next().unwrap_or_default().to_owned());
            }
        }
    }
    found
}

/// The anchors that a Markdown renderer gives the headings.
fn anchors(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

fn broken_link(source: &Source) -> Vec<String> {
    if !source.path.ends_with(".md") {
        return Vec::new();
    }
    let here = root().join(&source.path);
    let mut faults = Vec::new();
    for link in links(&source.text) {
        if link.starts_with("http://")
            || link.starts_with("https://")
            || link.starts_with("mailto:")
        {
            continue;
        }
        let (file, anchor) = link.split_once('#').unwrap_or((link.as_str(), ""));
        let text = if file.is_empty() {
            Some(source.text.clone())
        } else {
            let target = here.parent().unwrap().join(file);
            let anything = target.exists().then(String::new);
            std::fs::read_to_string(&target).ok().or(anything)
        };
        let good = text.is_some_and(|text| anchor.is_empty() || anchors(&text).contains(anchor));
        if !good {
            faults.push(format!("{}: the link {link} leads nowhere", source.path));
        }
    }
    faults
}

#[test]
fn every_link_leads_somewhere() {
    assert_eq!(
        broken_link(&source("README.md", "[x](no/such/file.md)")).len(),
        1
    );
    assert_eq!(broken_link(&source("README.md", "# A\n[x](#b)")).len(), 1);
    assert!(
        broken_link(&source(
            "README.md",
            "# A b!\n[x](#a-b) [y](Makefile) `[z](q)`"
        ))
        .is_empty()
    );
    hold(broken_link);
}

fn machine_path(source: &Source) -> Vec<String> {
    // The home, work and scratch folders of whoever wrote it.
    let paths = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/tmp/", "godb"),
    ];
    lines(source, "a path of one machine", |line| {
        paths.iter().any(|path| line.contains(path))
    })
}

#[test]
fn no_file_names_a_machine() {
    assert_eq!(
        machine_path(&source("a.md", concat!("see /wo", "rk/x"))).len(),
        1
    );
    hold(machine_path);
}
