//! The StatefulSet: one pod, its volumes.

use std::collections::BTreeMap;

use godb_crds::instance::SecurityContextSpec;
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, HTTPGetAction,
    KeyToPath, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, SeccompProfile, SecretVolumeSource, SecurityContext, Volume,
    VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::config::restart_settings;
use super::{metadata, secrets};
use crate::instance::validate::Valid;
use crate::names::{self, ADMIN_PORT, CONTAINER, HTTP_PORT, INPUTS, TEMPLATE};

/// Volumes that have claims.
pub const VOLUMES: [&str; 2] = ["data", "wal"];
pub const DATA_MOUNT: &str = "/var/lib/godb";
/// A subdirectory: beside it may lie what the file system keeps for itself.
pub const DATA_DIR: &str = "/var/lib/godb/data";
pub const WAL_DIR: &str = "/var/lib/godb-wal";
pub const ADMIN_DIR: &str = "/etc/godb/admin";
const CONFIG_DIR: &str = "/etc/godb/config";
/// The user that the images are made for.
const USER: i64 = 65532;
/// Nobody else may read the token's hash.
pub const SECRET_MODE: i32 = 0o440;

/// A short, stable name of a value.
pub fn hash(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string().as_bytes());
    digest
        .iter()
        .take(8)
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// What the user decided of the pod template: while it stays the same, a template that differs is
/// the operator's doing. Defaults of the operator (its image) are left out on purpose.
fn inputs(valid: &Valid) -> Value {
    let spec = &valid.spec;
    json!({
        "version": spec.version,
        "image": spec.image,
        "imagePullSecrets": spec.image_pull_secrets,
        "resources": spec.resources,
        "securityContext": spec.security_context,
        "scheduling": spec.scheduling,
        "pod": spec.pod,
        "extraEnv": spec.extra_env,
        "grace": spec.termination_grace_period_seconds,
        "logFormat": spec.logging.format,
        "wal": spec.storage.wal.is_some(),
        "restartAt": valid.restart_at,
    })
}

pub(super) fn stateful_set(valid: &Valid) -> StatefulSet {
    let template = template(valid);
    // Typed objects of the API always have a JSON form.
    let template_hash = hash(&serde_json::to_value(&template).unwrap_or_default());
    let annotations = BTreeMap::from([
        (INPUTS.to_owned(), hash(&inputs(valid))),
        (TEMPLATE.to_owned(), template_hash),
    ]);
    let retain = || Some("Retain".to_owned());
    StatefulSet {
        metadata: metadata(valid, valid.names.instance.clone(), annotations),
        spec: Some(StatefulSetSpec {
            replicas: Some(i32::from(!valid.spec.stopped && valid.held_by.is_none())),
            service_name: Some(valid.names.headless()),
            // With OrderedReady a pod that never became ready blocks its own mend.
            pod_management_policy: Some("Parallel".to_owned()),
            revision_history_limit: Some(3),
            selector: LabelSelector {
                match_labels: Some(names::selector(&valid.names.instance)),
                ..LabelSelector::default()
            },
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            // What goes with the instance is decided by owners of the claims.
            persistent_volume_claim_retention_policy: Some(
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: retain(),
                    when_scaled: retain(),
                },
            ),
            volume_claim_templates: Some(claims(valid)),
            template,
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn claims(valid: &Valid) -> Vec<PersistentVolumeClaim> {
    let storage = &valid.spec.storage;
    let claim = |name: &str, size: &str, class: &Option<String>| PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: class.clone(),
            volume_mode: Some("Filesystem".to_owned()),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([(
                    "storage".to_owned(),
                    Quantity(size.to_owned()),
                )])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    };
    let data = claim("data", &storage.size, &storage.storage_class_name);
    let wal = storage
        .wal
        .as_ref()
        .map(|wal| claim("wal", &wal.size, &wal.storage_class_name));
    std::iter::once(data).chain(wal).collect()
}

fn template(valid: &Valid) -> PodTemplateSpec {
    let spec = &valid.spec;
    let mut labels = spec.pod.labels.clone();
    labels.extend(names::labels(&valid.names.instance, &valid.release));
    let settings = json!(restart_settings(valid));
    let mut annotations = spec.pod.annotations.clone();
    annotations.insert("godb.dev/restart-settings".to_owned(), hash(&settings));
    if let Some(at) = &valid.restart_at {
        annotations.insert(names::RESTART_AT.to_owned(), at.clone());
    }
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container(valid)],
            service_account_name: Some(valid.names.instance.clone()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(spec.termination_grace_period_seconds),
            security_context: Some(pod_security(spec.security_context.as_ref())),
            image_pull_secrets: (!spec.image_pull_secrets.is_empty())
                .then(|| spec.image_pull_secrets.clone()),
            node_selector: (!spec.scheduling.node_selector.is_empty())
                .then(|| spec.scheduling.node_selector.clone()),
            tolerations: (!spec.scheduling.tolerations.is_empty())
                .then(|| spec.scheduling.tolerations.clone()),
            affinity: spec.scheduling.affinity.clone(),
            priority_class_name: spec.scheduling.priority_class_name.clone(),
            volumes: Some(volumes(valid)),
            ..PodSpec::default()
        }),
    }
}

/// Of the pods of an instance, and of those that work on its snapshots.
pub fn pod_security(asked: Option<&SecurityContextSpec>) -> PodSecurityContext {
    let (user, group, fs_group) = match asked {
        None => (Some(USER), Some(USER), Some(USER)),
        Some(asked) => (asked.run_as_user, asked.run_as_group, asked.fs_group),
    };
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: user,
        run_as_group: group,
        fs_group,
        // A volume of many files is not walked at every start.
        fs_group_change_policy: fs_group.map(|_| "OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

/// Nothing that a restricted namespace would refuse.
pub fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            ..Capabilities::default()
        }),
        ..SecurityContext::default()
    }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// A volume in a container.
pub fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn container(valid: &Valid) -> Container {
    let spec = &valid.spec;
    let mut mounts = vec![
        mount("data", DATA_MOUNT, false),
        mount("config", CONFIG_DIR, true),
        mount("admin", ADMIN_DIR, true),
    ];
    if spec.storage.wal.is_some() {
        mounts.push(mount("wal", WAL_DIR, false));
    }
    let port = |name: &str, number| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let env = |variable: &godb_crds::instance::EnvironmentVariable| EnvVar {
        name: variable.name.clone(),
        value: Some(variable.value.clone()),
        ..EnvVar::default()
    };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(valid.image.clone()),
        args: Some(vec![
            "serve".to_owned(),
            "--config".to_owned(),
            format!("{CONFIG_DIR}/{}", super::config::FILE_NAME),
        ]),
        env: (!spec.extra_env.is_empty()).then(|| spec.extra_env.iter().map(env).collect()),
        ports: Some(vec![port("http", HTTP_PORT), port("admin", ADMIN_PORT)]),
        resources: spec.resources.clone(),
        // No startup probe: a fixed budget would kill a long replay. `/livez` is served before
        // recovery begins, and fails only when the process cannot help itself.
        liveness_probe: Some(probe("/livez", 10, 6)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        security_context: Some(container_security()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

fn volumes(valid: &Valid) -> Vec<Volume> {
    vec![
        Volume {
            name: "config".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: valid.names.config(),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: "admin".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(valid.names.admin_secret()),
                default_mode: Some(SECRET_MODE),
                items: Some(vec![KeyToPath {
                    key: secrets::HASH_KEY.to_owned(),
                    path: secrets::HASH_KEY.to_owned(),
                    ..KeyToPath::default()
                }]),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
    ]
}
