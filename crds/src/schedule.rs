//! `GoDbSnapshotSchedule`: snapshots at regular times, and how many of them stay.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::instance::DeletionPolicy;
use crate::snapshot::SnapshotTarget;

/// Snapshots of an instance at regular times. Each is a GoDbSnapshot `NAME-yyyymmddhhmm` of its
/// own, which stays when this object is deleted.
///
/// A time that passed while the operator was away is made up for once, by the newest of them. A
/// time at which the instance is stopped, paused or missing, or the snapshot before is still under
/// way, is skipped with an event.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "godb.dev",
    version = "v1alpha1",
    kind = "GoDbSnapshotSchedule",
    plural = "godbsnapshotschedules",
    shortname = "gdbsched",
    category = "all",
    namespaced,
    status = "GoDbSnapshotScheduleStatus",
    derive = "PartialEq",
    doc = "Snapshots of a GoDbInstance at regular times.",
    printcolumn(name = "Instance", type_ = "string", json_path = ".spec.template.instance"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Last", type_ = "string", json_path = ".status.lastSnapshot"),
    printcolumn(name = "Last-Slot", type_ = "date", json_path = ".status.lastSlot"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$')")
        .message("metadata.name must be 1 to 40 lower-case letters, digits or dashes, and begin and end with a letter or digit: snapshots are named after it"),
)]
#[serde(rename_all = "camelCase")]
pub struct GoDbSnapshotScheduleSpec {
    /// When, in UTC: minute, hour, day of the month, month, day of the week, as cron has them, such
    /// as `0 3 * * *` or `*/15 * * * mon-fri`. Where both days are restricted, either suffices.
    #[schemars(length(min = 9, max = 100))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9*][-0-9*/,]* [0-9*][-0-9*/,]* [0-9*][-0-9*/,]* [0-9a-zA-Z*][-0-9a-zA-Z*/,]* [0-9a-zA-Z*][-0-9a-zA-Z*/,]*$')").message("schedule must be five fields of cron with one space between them, such as 0 3 * * *"))]
    pub schedule: String,

    /// No new snapshot is made, and none is made up for afterwards. Retention goes on.
    #[serde(default)]
    pub suspend: bool,

    /// What happens at a time when the snapshot before is still under way: Forbid skips it, Allow
    /// makes another one.
    #[serde(default)]
    pub concurrency_policy: ConcurrencyPolicy,

    /// Which snapshots of this schedule stay.
    #[serde(default)]
    pub retention: RetentionSpec,

    /// What each snapshot is. Changes are for those to come.
    pub template: SnapshotTemplate,
}

/// What happens at a time when the snapshot before is still under way.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// The time is skipped, with an event.
    #[default]
    Forbid,
    /// Another one is made.
    Allow,
}

/// Which snapshots of a schedule stay. The newest that succeeded always does.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionSpec {
    /// So many of those that succeeded, the newest ones: 1 to 1000. Of those that failed, three.
    #[serde(default = "default_keep")]
    #[schemars(range(min = 1, max = 1000))]
    pub keep_last: i32,

    /// None that is older than so many days: 1 to 3650.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3650))]
    pub max_age_days: Option<i32>,
}

fn default_keep() -> i32 {
    7
}

impl Default for RetentionSpec {
    fn default() -> Self {
        Self {
            keep_last: default_keep(),
            max_age_days: None,
        }
    }
}

/// What each snapshot of a schedule is.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotTemplate {
    /// The GoDbInstance of this namespace.
    #[schemars(length(min = 1, max = 40))]
    pub instance: String,

    /// Where the snapshots are kept.
    pub target: SnapshotTarget,

    /// What becomes of the data of a snapshot that goes: Delete frees it, Retain leaves it where it
    /// is for good.
    #[serde(default = "default_policy")]
    pub deletion_policy: DeletionPolicy,

    /// CPU and memory of the Jobs that carry, verify and remove them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

fn default_policy() -> DeletionPolicy {
    DeletionPolicy::Delete
}

/// What the operator did last.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoDbSnapshotScheduleStatus {
    /// Generation of the spec that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Scheduled: True while snapshots are made, False with the cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The newest time that was dealt with, by a snapshot or by skipping it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_slot: Option<Time>,
    /// The snapshot that was made last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_snapshot: Option<String>,
}
