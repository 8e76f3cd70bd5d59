//! Files that are made from others. To write them anew: `make chart-docs`.

use std::fs;
use std::path::Path;

use crate::helm::{chart, root, run};
use crate::schema;

/// Compares the file with what it should be, or writes it where UPDATE_REFERENCE is set.
#[track_caller]
fn check(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(path, text).unwrap();
        return;
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == text,
        "{} is stale: run `make chart-docs` and commit it",
        path.display()
    );
}

#[test]
fn the_schema_is_what_values_yaml_says() {
    let values = fs::read_to_string(chart().join("values.yaml")).unwrap();
    check(
        &chart().join("values.schema.json"),
        &schema::of_values(&values),
    );
}

#[test]
fn the_readme_is_what_values_yaml_says() {
    let ran = run(
        "helm-docs",
        &["--chart-search-root=charts/godb", "--dry-run"],
    );
    assert!(ran.success, "{}", ran.stderr);
    check(&chart().join("README.md"), ran.stdout.trim_start());
}

/// Files of a folder by name, with their text.
fn files(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<(String, String)> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

#[test]
fn the_chart_has_the_definitions_that_crdgen_wrote() {
    let (source, copy) = (root().join("crds/yaml"), chart().join("files/crds"));
    let wanted = files(&source);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::remove_dir_all(&copy).unwrap();
        fs::create_dir_all(&copy).unwrap();
        for (name, text) in &wanted {
            fs::write(copy.join(name), text).unwrap();
        }
    }
    assert!(
        files(&copy) == wanted,
        "charts/godb/files/crds is stale: run `make chart-docs` and commit it"
    );
}

#[test]
fn chart_and_program_have_one_version() {
    let read = |path| fs::read_to_string(root().join(path)).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let chart = read("charts/godb/Chart.yaml");
    for line in [
        format!("\nversion: {version}\n"),
        format!("\nappVersion: {version}\n"),
    ] {
        assert!(chart.contains(&line), "Chart.yaml lacks {line}");
    }
}
