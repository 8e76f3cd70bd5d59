//! Names of what belongs to an instance, labels and annotations. No client.

use std::collections::BTreeMap;

use godb_crds::GROUP;

/// Field manager of everything the operator applies.
pub const MANAGER: &str = "godb-operator";
/// Name of the node's container.
pub const CONTAINER: &str = "godb";
/// Label that names the installation which looks after an object.
pub const OPERATOR_LABEL: &str = "godb.dev/operator";
/// On an instance: the installation (NAMESPACE.NAME) that takes over children of another one.
pub const ADOPT: &str = "godb.dev/adopt";
/// On an instance: any new value is one orderly restart.
pub const RESTART_AT: &str = "godb.dev/restart-at";
/// On the StatefulSet: what of the spec its pod template was made of.
pub const INPUTS: &str = "godb.dev/template-inputs";
/// On the StatefulSet: the pod template that was applied.
pub const TEMPLATE: &str = "godb.dev/template-hash";
/// On the ConfigMap while the StatefulSet is made again: the pod template to make it with.
pub const KEPT_TEMPLATE: &str = "godb.dev/kept-template";
/// On a snapshot whose data goes with the object: it is removed first. On a restore: the instance is
/// given back first.
pub const FINALIZER: &str = "godb.dev/snapshot";
/// Port of documents.
pub const HTTP_PORT: i32 = 8080;
/// Port of administration.
pub const ADMIN_PORT: i32 = 8081;

/// Names of an instance's children.
#[derive(Clone, Debug)]
pub struct Names {
    /// Its namespace.
    pub namespace: String,
    /// Its name, which is that of StatefulSet, Service and ServiceAccount too.
    pub instance: String,
}

impl Names {
    /// The Service that names the pod, ready or not.
    pub fn headless(&self) -> String {
        format!("{}-headless", self.instance)
    }

    /// The ConfigMap with the node's settings.
    pub fn config(&self) -> String {
        format!("{}-config", self.instance)
    }

    /// The Secret with the token of the admin port.
    pub fn admin_secret(&self) -> String {
        format!("{}-admin", self.instance)
    }

    /// The Secret for applications.
    pub fn app_secret(&self) -> String {
        format!("{}-app", self.instance)
    }

    /// The pod.
    pub fn pod(&self) -> String {
        format!("{}-0", self.instance)
    }

    /// The claim of the volume `data` or `wal`.
    pub fn claim(&self, volume: &str) -> String {
        format!("{volume}-{}-0", self.instance)
    }

    /// Where applications reach it.
    pub fn url(&self) -> String {
        format!(
            "http://{}.{}.svc:{HTTP_PORT}",
            self.instance, self.namespace
        )
    }
}

/// Labels that find what belongs to an instance; they never change.
pub fn selector(instance: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "godb"),
        ("app.kubernetes.io/instance", instance),
        ("app.kubernetes.io/managed-by", MANAGER),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// On a snapshot of a schedule: the name of that.
pub const SCHEDULE_LABEL: &str = "godb.dev/schedule";
/// On what works on a restore: its name.
pub const RESTORE_LABEL: &str = "godb.dev/restore";
/// On what works on a snapshot: its name.
pub const SNAPSHOT_LABEL: &str = "godb.dev/snapshot";

/// Labels of what works on a snapshot. No Service of an instance finds its pods.
pub fn snapshot_labels(snapshot: &str, release: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "godb-snapshot"),
        ("app.kubernetes.io/managed-by", MANAGER),
        (OPERATOR_LABEL, release),
        (SNAPSHOT_LABEL, snapshot),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// Watches of Jobs ask for these.
pub fn watched_jobs() -> String {
    format!("app.kubernetes.io/name=godb-snapshot,app.kubernetes.io/managed-by={MANAGER}")
}

/// Labels of an instance's children.
pub fn labels(instance: &str, release: &str) -> BTreeMap<String, String> {
    let mut labels = selector(instance);
    labels.insert(OPERATOR_LABEL.to_owned(), release.to_owned());
    labels
}

/// Watches ask for these.
pub fn watched_labels() -> String {
    format!("app.kubernetes.io/name=godb,app.kubernetes.io/managed-by={MANAGER}")
}

/// Version of the API, with the group.
pub fn api_version() -> String {
    format!("{GROUP}/v1alpha1")
}
