//! Files that are made from others. To write them anew: `make chart-docs`.

use std::collections::BTreeMap;
use std::ffi::OsString;
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

#[test]
fn the_chart_has_the_definitions_that_were_generated() {
    let read = |folder: &str| -> BTreeMap<OsString, String> {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        let files = entries.map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name(), fs::read_to_string(entry.path()).unwrap())
        });
        files.collect()
    };
    let definitions = read("crds/yaml");
    assert!(!definitions.is_empty());
    assert!(
        read("charts/godb/files/crds") == definitions,
        "charts/godb/files/crds is stale: run `make generate` and commit it"
    );
}
