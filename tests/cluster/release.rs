//! The operator, installed by Helm into the namespace of a test, with the rights of its own chart.

use std::path::{Path, PathBuf};
use std::sync::{Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kube::{Namespace, run, succeeded, wait, word};

/// Longest wait for something that takes seconds on a machine of its own: how fast it was is printed,
/// and no test fails because others used the machine.
pub const SOON: Duration = Duration::from_secs(180);

static MACHINE: RwLock<()> = RwLock::new(());

/// For a test that leaves other namespaces alone.
pub fn beside_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// For a test that all others would feel.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// The chart as it lies in the tree.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/godb")
}

/// The node's image.
pub const IMAGE: &str = "localhost/godb:dev";
/// The same under another name: another image, to whoever compares names.
pub const NEXT: &str = "localhost/godb:next";
/// What an instance of this version has without an image of its own.
const VERSIONED: &str = concat!("localhost/godb:", env!("CARGO_PKG_VERSION"));
const NEXT_VERSIONED: &str = concat!("localhost/godb-next:", env!("CARGO_PKG_VERSION"));

/// The kinds and images, once for all tests: releases of the tests do not own the kinds.
pub fn kinds() {
    static KINDS: Once = Once::new();
    KINDS.call_once(|| {
        for new in [NEXT, VERSIONED, NEXT_VERSIONED] {
            succeeded("ctr", &["images", "tag", "--force", IMAGE, new], "");
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/godb/files/crds");
        succeeded(
            "kubectl",
            &[
                "apply",
                "--server-side",
                "--force-conflicts",
                "-f",
                folder.to_str().unwrap(),
            ],
            "",
        );
        succeeded(
            "kubectl",
            &[
                "wait",
                "--for=condition=Established",
                "--timeout=30s",
                "crd/godbinstances.godb.dev",
            ],
            "",
        );
    });
}

/// An operator that watches the namespace that it is in.
#[derive(Debug)]
pub struct Release<'a> {
    namespace: &'a Namespace,
    name: String,
}

impl<'a> Release<'a> {
    /// Installs it, and waits for it.
    #[track_caller]
    pub fn install(namespace: &'a Namespace) -> Self {
        Self::install_as(namespace, "godb", &[])
    }

    /// Under another name, with more values.
    #[track_caller]
    pub fn install_as(namespace: &'a Namespace, name: &str, values: &[&str]) -> Self {
        kinds();
        let release = Self {
            namespace,
            name: name.to_owned(),
        };
        let started = Instant::now();
        release.helm("install", values);
        println!(
            "{}: operator installed in {:.1?}",
            namespace.name,
            started.elapsed()
        );
        release
    }

    /// `helm install` or `helm upgrade` with these values, waiting for the result.
    #[track_caller]
    pub fn helm(&self, verb: &str, values: &[&str]) {
        let chart = chart();
        let watch = format!("watch.namespace={}", self.namespace.name);
        let mut arguments = vec![
            verb,
            &self.name,
            chart.to_str().unwrap(),
            "--namespace",
            &self.namespace.name,
            "--wait",
            "--timeout",
            "180s",
            "--set",
            "crds.install=false",
            "--set",
            &watch,
            "--set",
            "image.repository=localhost/godb-operator",
            "--set",
            "image.tag=dev",
            "--set",
            "node.image.repository=localhost/godb",
        ];
        for value in values {
            arguments.extend(["--set", value]);
        }
        succeeded("helm", &arguments, "");
    }

    /// Removes it. Instances stay.
    #[track_caller]
    pub fn uninstall(self) {
        succeeded(
            "helm",
            &[
                "uninstall",
                &self.name,
                "--namespace",
                &self.namespace.name,
                "--wait",
                "--timeout",
                "180s",
            ],
            "",
        );
    }

    /// Name of its Deployment and of its service account.
    pub fn account(&self) -> String {
        let deployments = self.namespace.list("deployments");
        let ours = deployments.iter().find(|deployment| {
            deployment["metadata"]["labels"]["app.kubernetes.io/instance"] == self.name.as_str()
        });
        let spec = &ours.expect("a Deployment")["spec"]["template"]["spec"];
        word(&spec["serviceAccountName"]).to_owned()
    }

    /// Its pods.
    pub fn pods(&self) -> Vec<Value> {
        let mut pods = self.namespace.list("pods");
        pods.retain(|pod| {
            let labels = &pod["metadata"]["labels"];
            labels["app.kubernetes.io/instance"] == self.name.as_str()
                && labels["app.kubernetes.io/name"] == "godb-operator"
        });
        pods
    }

    /// kill -9 of every process of it; the kubelet starts them again.
    pub fn kill9(&self) {
        for pod in self.pods() {
            signal(&pod, "KILL");
        }
    }

    /// Waits until it is there and ready.
    #[track_caller]
    pub fn wait_ready(&self) {
        wait("the operator is ready", SOON, || {
            let pods = self.pods();
            (!pods.is_empty() && pods.iter().all(is_ready)).then_some(())
        });
    }
}

/// Whether a pod is ready.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| {
        all.iter()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    })
}

/// The process of a pod's first container, as the cluster's machine sees it.
pub fn process_of(pod: &Value) -> Option<String> {
    let id = word(&pod["status"]["containerStatuses"][0]["containerID"]);
    let id = id.strip_prefix("containerd://")?;
    let tasks = run("ctr", &["tasks", "ls"], "");
    let tasks = String::from_utf8_lossy(&tasks.stdout).into_owned();
    let line = tasks.lines().find(|line| line.starts_with(id))?;
    line.split_whitespace().nth(1).map(str::to_owned)
}

/// Lets a stopped process go on, if the kubelet did not lose patience with it meanwhile.
pub fn wake(pod: &Value) {
    match process_of(pod) {
        Some(process) => drop(run("kill", &["-CONT", &process], "")),
        None => println!("the kubelet had ended it already"),
    }
}

/// Sends a signal to the process of a pod, past the kubelet.
#[track_caller]
pub fn signal(pod: &Value, signal: &str) {
    let name = word(&pod["metadata"]["name"]);
    let process = process_of(pod).unwrap_or_else(|| panic!("{name} runs"));
    succeeded("kill", &[&format!("-{signal}"), &process], "");
}

/// Whether somebody may do something, as the API server decides it.
pub fn may(user: &str, verb: &str, resource: &str, namespace: &str) -> bool {
    let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
    let part = format!("--subresource={part}");
    let output = run(
        "kubectl",
        &[
            "auth",
            "can-i",
            verb,
            resource,
            &part,
            "--as",
            user,
            "--namespace",
            namespace,
        ],
        "",
    );
    match String::from_utf8_lossy(&output.stdout).trim() {
        "yes" => true,
        "no" => false,
        other => panic!("{other} {}", String::from_utf8_lossy(&output.stderr)),
    }
}
