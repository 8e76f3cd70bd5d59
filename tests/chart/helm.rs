//! Runs Helm and its companions, and reads what they render.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_yaml::Value;

/// Both are supported, so whatever is asked of one is asked of the other.
pub(crate) const HELMS: [&str; 2] = ["helm3", "helm"];

/// The namespace and the name of every release rendered here.
pub(crate) const NAMESPACE: &str = "godb-system";
pub(crate) const RELEASE: &str = "godb";

pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../..").canonicalize().unwrap()
}

pub(crate) fn chart() -> PathBuf {
    root().join("charts/godb")
}

pub(crate) struct Ran {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> Ran {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; `make test PARTS=chart` installs it"));
    Ran {
        success: output.status.success(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// What `helm template` says to these values, as text.
pub(crate) fn template(helm: &str, values: &[&str]) -> Ran {
    let chart = chart();
    let mut arguments = vec!["template", RELEASE, chart.to_str().unwrap()];
    arguments.extend(["--namespace", NAMESPACE, "--kube-version", "1.37.2"]);
    for value in values {
        arguments.extend(["--set", value]);
    }
    run(helm, &arguments)
}

/// Every object that is rendered. A key that is there twice is an error of the parser's.
#[track_caller]
pub(crate) fn objects(helm: &str, values: &[&str]) -> Vec<Value> {
    let ran = template(helm, values);
    assert!(ran.success, "{helm} {values:?}: {}", ran.stderr);
    let documents = serde_yaml::Deserializer::from_str(&ran.stdout);
    let objects: Vec<Value> = documents
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| !object.is_null())
        .collect();
    assert!(objects.len() > 5, "{helm} {values:?} renders the chart");
    objects
}

pub(crate) fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap()
}

pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}
