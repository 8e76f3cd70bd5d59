//! The Jobs that copy a snapshot to a claim or a bucket, read it back and remove it (pure). They run
//! the node's image and mount the target alone: never a claim that an instance runs on.

use std::collections::BTreeMap;

use godb_crds::instance::{SchedulingSpec, SecurityContextSpec};
use godb_crds::snapshot::SnapshotLocation;
use godb_crds::{GoDbInstance, GoDbSnapshot};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, KeyToPath, LocalObjectReference, PodSpec, PodTemplateSpec,
    ResourceRequirements, SecretVolumeSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;

use super::phase::cut_name;
use super::place::Place;
use crate::instance::build::{SECRET_MODE, TOKEN_KEY, container_security, mount, pod_security};
use crate::instance::validate;
use crate::names::{self, ADMIN_PORT, CONTAINER, Names};

const TOKEN_DIR: &str = "/etc/godb/admin";
/// Attempts after the first, each in a pod of its own.
const RETRIES: i32 = 3;
/// A finished Job is kept for people to look at.
const KEPT_SECONDS: i32 = 3600;
/// Grace of a pod that only copies or reads.
const GRACE_SECONDS: i64 = 10;

/// What a Job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Copies the cut from the node to the target.
    Carry,
    /// Reads the copy.
    Verify,
    /// Removes the copy.
    Remove,
}

impl Work {
    fn as_str(self) -> &'static str {
        match self {
            Self::Carry => "carry",
            Self::Verify => "verify",
            Self::Remove => "remove",
        }
    }
}

/// Name of a snapshot's Job.
pub fn name(snapshot: &GoDbSnapshot, work: Work) -> String {
    format!("{}-{}", snapshot.name_any(), work.as_str())
}

/// What the pods of Jobs have from the instance, or without it from the operator.
#[derive(Clone, Debug)]
pub struct Runner {
    /// Image of the node.
    pub image: String,
    /// Secrets for pulling it.
    pub pull_secrets: Vec<LocalObjectReference>,
    /// Where they may run.
    pub scheduling: SchedulingSpec,
    /// User and groups.
    pub security: Option<SecurityContextSpec>,
    /// Account of the instance, which has no rights.
    pub account: Option<String>,
    /// The installation that looks after them.
    pub release: String,
}

impl Runner {
    /// Of this instance; of one that is gone, what its snapshot remembers.
    pub fn of(
        instance: Option<&GoDbInstance>,
        version: Option<&str>,
        node_image: &str,
        release: &str,
    ) -> Self {
        let Some(instance) = instance else {
            let version = version.unwrap_or(env!("CARGO_PKG_VERSION"));
            return Self {
                image: validate::image(None, version, node_image),
                pull_secrets: Vec::new(),
                scheduling: SchedulingSpec::default(),
                security: None,
                account: None,
                release: release.to_owned(),
            };
        };
        let spec = &instance.spec;
        Self {
            image: validate::image(spec.image.as_deref(), &spec.version, node_image),
            pull_secrets: spec.image_pull_secrets.clone(),
            scheduling: spec.scheduling.clone(),
            security: spec.security_context.clone(),
            account: Some(instance.name_any()),
            release: release.to_owned(),
        }
    }
}

/// Directory for the snapshots of an instance, from the root of a claim or the prefix in a bucket.
pub fn directory(namespace: &str, instance_uid: &str) -> String {
    format!("{namespace}/{instance_uid}")
}

fn arguments(snapshot: &GoDbSnapshot, work: Work, directory: &str) -> Vec<String> {
    let names = Names {
        namespace: snapshot.namespace().unwrap_or_default(),
        instance: snapshot.spec.instance.clone(),
    };
    let cut = cut_name(snapshot);
    let url = format!(
        "http://{}.{}.{}.svc:{ADMIN_PORT}",
        names.pod(),
        names.headless(),
        names.namespace
    );
    let token = format!("{TOKEN_DIR}/{TOKEN_KEY}");
    let words: Vec<&str> = match work {
        Work::Carry => vec![
            "pull",
            &cut,
            "--to",
            directory,
            "--url",
            &url,
            "--token-file",
            &token,
        ],
        Work::Verify => vec!["verify", &cut, "--dir", directory],
        Work::Remove => vec!["delete", &cut, "--dir", directory],
    };
    std::iter::once("snapshot")
        .chain(words)
        .map(str::to_owned)
        .collect()
}

/// The token of the node's admin port.
fn token(snapshot: &GoDbSnapshot) -> Volume {
    let names = Names {
        namespace: snapshot.namespace().unwrap_or_default(),
        instance: snapshot.spec.instance.clone(),
    };
    Volume {
        name: "admin".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(names.admin_secret()),
            default_mode: Some(SECRET_MODE),
            items: Some(vec![KeyToPath {
                key: TOKEN_KEY.to_owned(),
                path: TOKEN_KEY.to_owned(),
                ..KeyToPath::default()
            }]),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// A Job for a snapshot at `location`, that ends by itself after `seconds`; none where it is on the
/// instance's own volume.
pub fn job(
    snapshot: &GoDbSnapshot,
    work: Work,
    location: &SnapshotLocation,
    runner: &Runner,
    seconds: i64,
) -> Option<Job> {
    let Place {
        directory,
        env,
        mut mounts,
        mut volumes,
    } = Place::of(location, work == Work::Verify)?;
    if work == Work::Carry {
        mounts.push(mount("admin", TOKEN_DIR, true));
        volumes.push(token(snapshot));
    }
    let task = Task {
        name: name(snapshot, work),
        namespace: snapshot.namespace().unwrap_or_default(),
        owner: owner(snapshot),
        labels: names::snapshot_labels(&snapshot.name_any(), &runner.release),
        arguments: arguments(snapshot, work, &directory),
        env,
        mounts,
        volumes,
        resources: snapshot.spec.resources.clone(),
        seconds,
    };
    Some(task.job(runner))
}

/// What one Job has for its own.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The object that it goes with.
    pub owner: OwnerReference,
    /// Labels of it and of its pods.
    pub labels: BTreeMap<String, String>,
    /// What the node's program is told.
    pub arguments: Vec<String>,
    /// Environment.
    pub env: Vec<EnvVar>,
    /// Where its volumes are.
    pub mounts: Vec<VolumeMount>,
    /// Its volumes.
    pub volumes: Vec<Volume>,
    /// CPU and memory.
    pub resources: Option<ResourceRequirements>,
    /// It ends by itself after so long.
    pub seconds: i64,
}

impl Task {
    /// The Job.
    pub fn job(self, runner: &Runner) -> Job {
        let container = Container {
            name: CONTAINER.to_owned(),
            image: Some(runner.image.clone()),
            args: Some(self.arguments),
            env: (!self.env.is_empty()).then_some(self.env),
            resources: self.resources,
            security_context: Some(container_security()),
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            volume_mounts: Some(self.mounts),
            ..Container::default()
        };
        let scheduling = &runner.scheduling;
        let pod = PodSpec {
            containers: vec![container],
            restart_policy: Some("Never".to_owned()),
            service_account_name: runner.account.clone(),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            security_context: Some(pod_security(runner.security.as_ref())),
            image_pull_secrets: (!runner.pull_secrets.is_empty())
                .then(|| runner.pull_secrets.clone()),
            node_selector: (!scheduling.node_selector.is_empty())
                .then(|| scheduling.node_selector.clone()),
            tolerations: (!scheduling.tolerations.is_empty())
                .then(|| scheduling.tolerations.clone()),
            affinity: scheduling.affinity.clone(),
            priority_class_name: scheduling.priority_class_name.clone(),
            volumes: Some(self.volumes),
            ..PodSpec::default()
        };
        Job {
            metadata: ObjectMeta {
                name: Some(self.name),
                namespace: Some(self.namespace),
                labels: Some(self.labels.clone()),
                owner_references: Some(vec![self.owner]),
                ..ObjectMeta::default()
            },
            spec: Some(JobSpec {
                backoff_limit: Some(RETRIES),
                active_deadline_seconds: Some(self.seconds),
                ttl_seconds_after_finished: Some(KEPT_SECONDS),
                // Two that write to one place at once would be worse than a pause.
                pod_replacement_policy: Some("Failed".to_owned()),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(self.labels),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(pod),
                },
                ..JobSpec::default()
            }),
            ..Job::default()
        }
    }
}

fn owner(snapshot: &GoDbSnapshot) -> OwnerReference {
    OwnerReference {
        api_version: names::api_version(),
        kind: "GoDbSnapshot".to_owned(),
        name: snapshot.name_any(),
        uid: snapshot.uid().unwrap_or_default(),
        controller: Some(true),
        // The snapshot must not wait for it.
        block_owner_deletion: None,
    }
}

#[cfg(test)]
mod tests;
