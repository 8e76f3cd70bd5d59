//! `GoDbSnapshot`: one snapshot of an instance.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::instance::DeletionPolicy;

/// One snapshot of an instance: the whole database as it was at one LSN, which later writes do not
/// change. The spec cannot be changed: another snapshot is another object.
///
/// A snapshot on the instance's own volume is made in milliseconds and takes no space of its own
/// at first. It helps against mistakes and is lost with the volume: see
/// `status.survivesVolumeLoss`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "godb.dev",
    version = "v1alpha1",
    kind = "GoDbSnapshot",
    plural = "godbsnapshots",
    shortname = "gdbsnap",
    category = "all",
    namespaced,
    status = "GoDbSnapshotStatus",
    derive = "PartialEq",
    doc = "One snapshot of a GoDbInstance.",
    printcolumn(name = "Instance", type_ = "string", json_path = ".spec.instance"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "LSN", type_ = "integer", json_path = ".status.lsn"),
    printcolumn(name = "Bytes", type_ = "integer", json_path = ".status.sizeBytes"),
    printcolumn(name = "Claim", type_ = "string", json_path = ".spec.target.claim.name"),
    printcolumn(name = "Bucket", type_ = "string", json_path = ".spec.target.s3.bucket", priority = 1),
    printcolumn(name = "Survives-Volume", type_ = "boolean", json_path = ".status.survivesVolumeLoss"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?$')")
        .message("metadata.name must be 1 to 53 lower-case letters, digits or dashes, and begin and end with a letter or digit: Jobs are named after it"),
    validation = Rule::new("self.spec == oldSelf.spec")
        .message("spec cannot be changed: delete this snapshot and make another"),
)]
#[serde(rename_all = "camelCase")]
pub struct GoDbSnapshotSpec {
    /// The GoDbInstance of this namespace.
    #[schemars(length(min = 1, max = 40))]
    pub instance: String,

    /// Where the snapshot is kept.
    pub target: SnapshotTarget,

    /// What becomes of the data when this object is deleted: Retain leaves it where it is, and a
    /// restore can name its location; Delete removes it first. It is left behind, with an event
    /// that names it, when the target refuses for 10 minutes.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// CPU and memory of the Jobs that carry, verify and remove it. The instance's own volume needs
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// Where a snapshot is kept: exactly one of these.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("[has(self.instanceVolume), has(self.claim), has(self.s3)].filter(x, x).size() == 1")
        .message("target must be exactly one of instanceVolume, claim and s3"),
)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotTarget {
    /// The instance's own data volume, by hard links: no copy, and no help when the volume is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_volume: Option<InstanceVolumeTarget>,

    /// A volume claim of its own. A Job copies the snapshot to it, and another one reads every byte
    /// back. Tables that are there from earlier snapshots of the instance are not sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimTarget>,

    /// A bucket of an object storage that speaks S3. Jobs push the snapshot and read every byte
    /// back. Tables that are there from earlier snapshots of the instance are not sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Target>,
}

/// A bucket of an object storage that speaks S3 and knows conditional puts (`If-None-Match: *`).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct S3Target {
    /// The bucket.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9][-a-z0-9.]*[a-z0-9]$')").message("s3.bucket is lower-case letters, digits, dots and dashes"))]
    pub bucket: String,

    /// Where in the bucket. Below it each instance has a place of its own, `NAMESPACE/UID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9][-A-Za-z0-9._]*(/[A-Za-z0-9][-A-Za-z0-9._]*)*$')").message("s3.prefix is names with one slash between them, without . and .."))]
    pub prefix: Option<String>,

    /// `http://` or `https://`, host and port. Without it: Amazon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/ ]+/?$')").message("s3.endpoint is http:// or https://, host and port"))]
    pub endpoint: Option<String>,

    /// The region; `us-east-1` if it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,

    /// Whether the bucket is in the path, not in the host's name; true where an endpoint is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,

    /// The Secret of this namespace with `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, and
    /// `AWS_SESSION_TOKEN` if there is one. Only the Jobs see it: neither the node nor the operator.
    #[schemars(length(min = 1, max = 253))]
    pub credentials_secret: String,

    /// The Secret of this namespace whose `ca.crt` holds the authorities to trust, in place of the
    /// system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub ca_secret: Option<String>,
}

/// A volume claim that holds snapshots, of any number of instances.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct ClaimTarget {
    /// The PersistentVolumeClaim of this namespace; never one that an instance runs on.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The instance's own data volume. It has no settings.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct InstanceVolumeTarget {}

/// How far a snapshot is. It only goes forward, and each phase ends by a deadline.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum SnapshotPhase {
    /// Waits for the instance; fails after an hour.
    #[default]
    Pending,
    /// The node makes the cut; fails after 10 minutes.
    Cutting,
    /// A Job copies it to its target; fails after 6 hours.
    Carrying,
    /// Another Job reads every byte of the copy; fails after 6 hours.
    Verifying,
    /// It is there; a copy was read back by another process.
    Succeeded,
    /// It is not there; the condition Succeeded says why.
    Failed,
}

impl SnapshotPhase {
    /// As the status has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Cutting => "Cutting",
            Self::Carrying => "Carrying",
            Self::Verifying => "Verifying",
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

/// What the operator saw last, and all that a restore needs.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoDbSnapshotStatus {
    /// Generation of the spec that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How far it is.
    #[serde(default)]
    pub phase: SnapshotPhase,
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
    /// UID of the instance that it was taken of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_uid: Option<String>,
    /// Version of the node that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The life of the node process that was asked for the cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// It holds exactly the writes at or below this LSN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lsn: Option<i64>,
    /// Bytes of its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// Documents in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documents: Option<i64>,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<SnapshotLocation>,
    /// Whether it is still there when the volume of its instance is not.
    #[serde(default)]
    pub survives_volume_loss: bool,
}

/// Where a snapshot is.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotLocation {
    /// Its name there, as `godb snapshot` takes it.
    pub name: String,
    /// The instance on whose own volume it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The PersistentVolumeClaim that it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// The bucket that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Target>,
    /// Its directory on that claim, or the prefix in that bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl SnapshotLocation {
    /// Whether it is anywhere but on an instance's own volume.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        self.claim.is_some() || self.s3.is_some()
    }
}
