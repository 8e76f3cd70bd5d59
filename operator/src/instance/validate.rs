//! From a spec to something that can be built without a failure (pure). The API server refuses
//! what is refused here; these checks are for objects that an older rule let in.

use std::collections::BTreeMap;

use godb_crds::quantity;
use godb_crds::{GoDbInstance, GoDbInstanceSpec};
use kube::ResourceExt;

use crate::names::Names;

/// Budget of a node without a memory limit.
const DEFAULT_MEMORY_BYTES: u64 = 512 << 20;
const LEAST_MEMORY_BYTES: u64 = 16 << 20;

/// Settings of the node that change without a restart, as the node names them.
pub type LiveSettings = BTreeMap<&'static str, String>;

/// An instance that can be built.
#[derive(Clone, Debug)]
pub struct Valid {
    /// Names of its children.
    pub names: Names,
    /// Identity of the object.
    pub uid: String,
    /// Labels of every child.
    pub release: String,
    /// Image of the node.
    pub image: String,
    /// Settings that change without a restart.
    pub live: LiveSettings,
    /// Value of the annotation that asks for a restart.
    pub restart_at: Option<String>,
    /// The restore that holds it at no pod.
    pub held_by: Option<String>,
    /// The rest.
    pub spec: GoDbInstanceSpec,
}

/// Checks everything and says every fault at once.
pub fn validate(
    instance: &GoDbInstance,
    node_image: &str,
    release: &str,
) -> Result<Valid, Vec<String>> {
    let spec = &instance.spec;
    let mut faults = Vec::new();
    let mut size = |field: &str, text: &str| {
        let bytes = quantity::bytes(text);
        if bytes.is_none() {
            faults.push(format!("{field}: `{text}` is not a size"));
        }
        bytes.unwrap_or_default()
    };
    size("storage.size", &spec.storage.size);
    if let Some(wal) = &spec.storage.wal {
        size("storage.wal.size", &wal.size);
    }
    size("engine.maxWalSize", &spec.engine.max_wal_size);
    let limit = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.limits.as_ref()?.get("memory"))
        .map(|limit| size("resources.limits.memory", &limit.0));
    let memory = match (&spec.engine.max_memory, limit) {
        (Some(asked), limit) => {
            let asked = size("engine.maxMemory", asked);
            if limit.is_some_and(|limit| asked > limit / 4 * 3) {
                faults.push("engine.maxMemory is more than 75 % of the memory limit".to_owned());
            }
            asked
        }
        (None, Some(limit)) => (limit / 10 * 6).max(LEAST_MEMORY_BYTES) >> 20 << 20,
        (None, None) => DEFAULT_MEMORY_BYTES,
    };
    if !faults.is_empty() {
        return Err(faults);
    }
    let live = LiveSettings::from([
        ("durability", spec.engine.durability.as_str().to_owned()),
        (
            "checkpoint_interval",
            spec.engine.checkpoint_interval.clone(),
        ),
        ("max_wal_size", spec.engine.max_wal_size.clone()),
        ("max_memory", bytes_text(memory)),
        ("log_level", spec.logging.level.as_str().to_owned()),
    ]);
    Ok(Valid {
        names: Names {
            namespace: instance.namespace().unwrap_or_default(),
            instance: instance.name_any(),
        },
        uid: instance.uid().unwrap_or_default(),
        release: release.to_owned(),
        image: image(spec.image.as_deref(), &spec.version, node_image),
        live,
        restart_at: instance
            .annotations()
            .get(crate::names::RESTART_AT)
            .cloned(),
        held_by: instance
            .status
            .as_ref()
            .and_then(|status| status.operation.as_ref())
            .map(|operation| operation.restore.clone()),
        spec: spec.clone(),
    })
}

fn bytes_text(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) {
        format!("{}Mi", bytes >> 20)
    } else {
        bytes.to_string()
    }
}

/// The image: the spec's own, or the operator's default with the version as its tag, unless that
/// one is pinned by digest.
pub fn image(image: Option<&str>, version: &str, node_image: &str) -> String {
    match image {
        Some(image) => image.to_owned(),
        None if node_image.contains('@') => node_image.to_owned(),
        None => {
            let name_at = node_image.rfind('/').map_or(0, |at| at + 1);
            let (path, name) = node_image.split_at(name_at);
            let name = name.split(':').next().unwrap_or(name);
            format!("{path}{name}:{version}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::fixture;

    #[test]
    fn the_version_is_the_tag_of_the_default_image() {
        let mut instance = fixture::instance("a");
        instance.spec.version = "1.2.3".to_owned();
        let of = |instance: &GoDbInstance, default: &str| {
            validate(instance, default, "ns.release").unwrap().image
        };
        assert_eq!(
            of(&instance, "ghcr.io/godb/godb"),
            "ghcr.io/godb/godb:1.2.3"
        );
        assert_eq!(of(&instance, "host:5000/godb:dev"), "host:5000/godb:1.2.3");
        assert_eq!(of(&instance, "x/godb@sha256:00"), "x/godb@sha256:00");
        instance.spec.image = Some("mine:1".to_owned());
        assert_eq!(of(&instance, "ghcr.io/godb/godb"), "mine:1");
    }

    #[test]
    fn the_memory_budget_follows_the_limit() {
        let mut instance = fixture::instance("a");
        let memory = |instance: &GoDbInstance| {
            validate(instance, "x", "r").map(|valid| valid.live["max_memory"].clone())
        };
        assert_eq!(memory(&instance).unwrap(), "512Mi");
        fixture::limit_memory(&mut instance, "1Gi");
        assert_eq!(memory(&instance).unwrap(), "614Mi");
        instance.spec.engine.max_memory = Some("800Mi".to_owned());
        assert!(memory(&instance).unwrap_err()[0].contains("75 %"));
        instance.spec.engine.max_memory = Some("700Mi".to_owned());
        assert_eq!(memory(&instance).unwrap(), "700Mi");
    }

    #[test]
    fn every_fault_is_said_at_once() {
        let mut instance = fixture::instance("a");
        instance.spec.storage.size = "lots".to_owned();
        instance.spec.engine.max_wal_size = "-1".to_owned();
        assert_eq!(validate(&instance, "x", "r").unwrap_err().len(), 2);
    }
}
