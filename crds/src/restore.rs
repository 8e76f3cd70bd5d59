//! `GoDbRestore`: an instance is brought back to a snapshot, in place.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::snapshot::{S3Target, SnapshotLocation};

/// Brings an instance back to a snapshot, in place: what was written after the snapshot is not in
/// it. The instance does not serve meanwhile. The restored database is made and verified beside the
/// one that is there, which needs space for both, and takes its place in one step; until then every
/// failure starts the old one again. The old one stays on the volume, as `data.before-restore-1` or
/// the next free number.
///
/// A new instance made for the purpose is the way back after a lost volume. The spec cannot be
/// changed: another restore is another object.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "godb.dev",
    version = "v1alpha1",
    kind = "GoDbRestore",
    plural = "godbrestores",
    shortname = "gdbrestore",
    category = "all",
    namespaced,
    status = "GoDbRestoreStatus",
    derive = "PartialEq",
    doc = "Brings a GoDbInstance back to a snapshot, in place.",
    printcolumn(name = "Instance", type_ = "string", json_path = ".spec.instance"),
    printcolumn(name = "Snapshot", type_ = "string", json_path = ".status.location.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?$')")
        .message("metadata.name must be 1 to 53 lower-case letters, digits or dashes, and begin and end with a letter or digit: a Job is named after it"),
    validation = Rule::new("self.spec == oldSelf.spec")
        .message("spec cannot be changed: delete this restore and make another"),
)]
#[serde(rename_all = "camelCase")]
pub struct GoDbRestoreSpec {
    /// The GoDbInstance of this namespace. Its log must not be on a volume of its own.
    #[schemars(length(min = 1, max = 40))]
    pub instance: String,

    /// What it is brought back to.
    pub source: RestoreSource,

    /// CPU and memory of the Job that does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// What is restored: exactly one of these.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.snapshot) != has(self.location)")
        .message("source must be exactly one of snapshot and location"),
)]
#[serde(rename_all = "camelCase")]
pub struct RestoreSource {
    /// A GoDbSnapshot of this namespace that succeeded: on a claim, in a bucket, or on the volume of the very
    /// instance that is restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 53))]
    pub snapshot: Option<String>,

    /// Where a snapshot is whose object is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<RestoreLocation>,
}

/// A snapshot on a claim or in a bucket, as `status.location` of its GoDbSnapshot named it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.claim) != has(self.s3)")
        .message("location must be exactly one of claim and s3"),
)]
pub struct RestoreLocation {
    /// The PersistentVolumeClaim of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub claim: Option<String>,
    /// The bucket. Its prefix is not looked at: the path is the whole of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Target>,
    /// The directory of snapshots on the claim, or the prefix in the bucket.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9][-A-Za-z0-9._]*(/[A-Za-z0-9][-A-Za-z0-9._]*)*$')").message("location.path is names with one slash between them, without . and .."))]
    pub path: String,
    /// The snapshot's name in it.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_][-A-Za-z0-9._]*$')").message("location.name is letters, digits, dots, dashes and underscores"))]
    pub name: String,
}

/// How far a restore is. It only goes forward, and each phase ends by a deadline.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum RestorePhase {
    /// Waits for snapshot and instance; fails after an hour.
    #[default]
    Pending,
    /// The instance is held at no pod; fails after 90 minutes.
    Locked,
    /// A Job makes the database beside the old one, verifies it and changes the two; fails after 6
    /// hours.
    Copying,
    /// The node starts with it; fails after an hour.
    Starting,
    /// The node serves it.
    Succeeded,
    /// The condition Succeeded says why, and which database is in place.
    Failed,
}

impl RestorePhase {
    /// As the status has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Locked => "Locked",
            Self::Copying => "Copying",
            Self::Starting => "Starting",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// What the operator saw last.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoDbRestoreStatus {
    /// Generation of the spec that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How far it is.
    #[serde(default)]
    pub phase: RestorePhase,
    /// When that phase began: its deadline counts from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase_since: Option<Time>,
    /// Succeeded: True, False for good, or Unknown while it is under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// When it succeeded or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// UID of the instance that is restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_uid: Option<String>,
    /// What is restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<SnapshotLocation>,
}
