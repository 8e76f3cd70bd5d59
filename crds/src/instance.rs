//! `GoDbInstance`: one node on persistent volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, LocalObjectReference, ResourceRequirements, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One godb node on a persistent volume of its own: what version it runs, how durable an
/// acknowledged write is, how large its volume is, and what becomes of the volume when this object
/// is deleted.
///
/// Changes of `engine` and `logging.level` reach the running node within seconds and restart
/// nothing. Other changes of the pod are one orderly restart. Deleting a namespace deletes
/// everything in it, volumes included, whatever `deletionPolicy` says.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "godb.dev",
    version = "v1alpha1",
    kind = "GoDbInstance",
    plural = "godbinstances",
    shortname = "gdb",
    category = "all",
    namespaced,
    status = "GoDbInstanceStatus",
    derive = "PartialEq",
    doc = "One godb node on a persistent volume.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Durability", type_ = "string", json_path = ".status.engine.durability"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.storage.capacity"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')")
        .message("metadata.name must be 1 to 40 lower-case letters, digits or dashes, begin with a letter and end with a letter or digit: Services and volumes are named after it"),
    validation = Rule::new("self.spec.storage.size == oldSelf.spec.storage.size || quantity(self.spec.storage.size).compareTo(quantity(oldSelf.spec.storage.size)) >= 0 || !has(self.status) || !has(self.status.storage) || !has(self.status.storage.capacity) || quantity(self.spec.storage.size).compareTo(quantity(self.status.storage.capacity)) >= 0")
        .message("spec.storage.size cannot be less than what the volume already has (status.storage.capacity): volumes do not shrink; export, and import into a smaller instance"),
)]
#[x_kube(
    validation = Rule::new("!has(self.engine.maxMemory) || !has(self.resources) || !has(self.resources.limits) || !('memory' in self.resources.limits) || quantity(self.engine.maxMemory).asApproximateFloat() <= 0.75 * quantity(string(self.resources.limits['memory'])).asApproximateFloat()")
        .message("engine.maxMemory must be at most 75 % of resources.limits.memory: the rest is for requests in flight; leave maxMemory out for 60 %"),
    validation = Rule::new("has(self.storage.wal) == has(oldSelf.storage.wal)")
        .message("storage.wal cannot be added or removed later: the log does not move between volumes; export, and import into a new instance"),
)]
#[serde(rename_all = "camelCase")]
pub struct GoDbInstanceSpec {
    /// Version of godb, which is the tag of its image. Changing it is one orderly restart.
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+[.][0-9]+[.][0-9]+(-[0-9A-Za-z.-]+)?$')").message("version must be one of godb's, such as 0.1.0"))]
    #[schemars(length(min = 1, max = 64))]
    pub version: String,

    /// Image of the node, in place of the operator's default with `version` as its tag. A digest
    /// wins over a tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,

    /// Secrets of this namespace for pulling the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<LocalObjectReference>,

    /// What the node promises and what it may use. All of it can be changed while it runs.
    #[serde(default)]
    pub engine: EngineSpec,

    /// The volumes.
    pub storage: StorageSpec,

    /// What the node logs.
    #[serde(default)]
    pub logging: LoggingSpec,

    /// CPU and memory of the node's container. Without a memory limit the node's budget is
    /// 512 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// User and groups of the pod. Left out, they are 65532, which the images are made for; an
    /// empty object leaves the choice to the platform, as OpenShift wants it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SecurityContextSpec>,

    /// The Service for applications, which has the name of the instance and port 8080.
    #[serde(default)]
    pub service: ServiceSpec,

    /// The pod's ServiceAccount, which has no rights.
    #[serde(default)]
    pub service_account: ServiceAccountSpec,

    /// Where the pod may run.
    #[serde(default)]
    pub scheduling: SchedulingSpec,

    /// Labels and annotations of the pod, besides the operator's own.
    #[serde(default)]
    pub pod: PodSpec,

    /// Environment variables of the node, for what has no field here. Names that begin with
    /// `GODB_` are refused: settings have fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub extra_env: Vec<EnvironmentVariable>,

    /// Seconds between the wish to stop the pod and its end by force. The node drains requests
    /// and writes a last checkpoint in that time; giving that up loses nothing.
    #[serde(default = "default_grace")]
    #[schemars(range(min = 30, max = 3600))]
    pub termination_grace_period_seconds: i64,

    /// No pod runs; the volumes stay and may grow.
    #[serde(default)]
    pub stopped: bool,

    /// The operator writes nothing for this instance but its status. Deleting it works.
    #[serde(default)]
    pub paused: bool,

    /// What becomes of the volumes when this object is deleted: Retain keeps them, and a new
    /// instance of the same name uses them; Delete deletes them. It can be changed at any time.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

fn default_grace() -> i64 {
    300
}

/// See the field.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum DeletionPolicy {
    /// Volumes stay.
    #[default]
    Retain,
    /// Volumes go with the object.
    Delete,
}

/// When a write is acknowledged.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// In memory; only checkpoints survive anything.
    None,
    /// In the log's buffer; a killed process loses the last moments.
    Memory,
    /// Handed to the operating system; survives a killed process, not a power cut.
    #[default]
    Os,
    /// On the disk; survives a power cut.
    Full,
}

impl Durability {
    /// As the node writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Memory => "memory",
            Self::Os => "os",
            Self::Full => "full",
        }
    }
}

/// What the node promises and what it may use.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EngineSpec {
    /// When a write is acknowledged. none: in memory; memory: in the log's buffer; os: handed to
    /// the operating system, survives a killed process; full: on the disk, survives a power cut.
    #[serde(default)]
    pub durability: Durability,

    /// Longest time between two checkpoints, which bring the log into tables: 1s to 24h.
    #[serde(default = "default_interval")]
    #[schemars(length(min = 2, max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,5}(h|ms|m|s)){1,3}$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')").message("engine.checkpointInterval must be a duration from 1s to 24h, such as 30s or 5m"))]
    pub checkpoint_interval: String,

    /// Size of the log that starts a checkpoint: 2Mi to 16Gi. A longer log means a longer restart
    /// after a crash, about a second for 100 MB.
    #[serde(default = "default_wal")]
    #[schemars(length(min = 2, max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^[1-9][0-9]{0,14}(k|M|G|T|Ki|Mi|Gi|Ti)?$') && quantity(self).compareTo(quantity('2Mi')) >= 0 && quantity(self).compareTo(quantity('16Gi')) <= 0").message("engine.maxWalSize must be a size from 2Mi to 16Gi, such as 64Mi"))]
    pub max_wal_size: String,

    /// Budget for data kept in memory: 16Mi to 1Ti, at most 75 % of the memory limit. Left out,
    /// 60 % of the memory limit, or 512Mi without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^[1-9][0-9]{0,14}(k|M|G|T|Ki|Mi|Gi|Ti)?$') && quantity(self).compareTo(quantity('16Mi')) >= 0 && quantity(self).compareTo(quantity('1Ti')) <= 0").message("engine.maxMemory must be a size from 16Mi to 1Ti, such as 512Mi"))]
    pub max_memory: Option<String>,
}

fn default_interval() -> String {
    "30s".to_owned()
}

fn default_wal() -> String {
    "32Mi".to_owned()
}

impl Default for EngineSpec {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            checkpoint_interval: default_interval(),
            max_wal_size: default_wal(),
            max_memory: None,
        }
    }
}

/// The volumes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storage.storageClassName cannot be changed, added or removed: a volume does not move between classes; export, and import into a new instance"),
)]
#[serde(rename_all = "camelCase")]
pub struct StorageSpec {
    /// Size of the data volume: 32Mi to 64Ti. It grows while the node runs, if its StorageClass
    /// allows it, and never shrinks.
    #[schemars(length(min = 2, max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^[1-9][0-9]{0,14}(k|M|G|T|Ki|Mi|Gi|Ti)?$') && quantity(self).compareTo(quantity('32Mi')) >= 0 && quantity(self).compareTo(quantity('64Ti')) <= 0").message("storage.size must be a size from 32Mi to 64Ti, such as 10Gi"))]
    pub size: String,

    /// StorageClass of the volumes; the cluster's default if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// Labels of the claims.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('godb.dev/') && !key.startsWith('app.kubernetes.io/'))").message("storage.labels may not begin with godb.dev/ or app.kubernetes.io/: those are the operator's"))]
    pub labels: BTreeMap<String, String>,

    /// A volume of its own for the log. It is decided when the instance is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal: Option<WalStorageSpec>,
}

/// A volume of its own for the log.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storage.wal.storageClassName cannot be changed, added or removed"),
    validation = Rule::new("self.size == oldSelf.size || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0")
        .message("storage.wal.size cannot be lowered: volumes do not shrink"),
)]
#[serde(rename_all = "camelCase")]
pub struct WalStorageSpec {
    /// Size of the log volume: 32Mi to 64Ti. It should hold several times `engine.maxWalSize`.
    #[schemars(length(min = 2, max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^[1-9][0-9]{0,14}(k|M|G|T|Ki|Mi|Gi|Ti)?$') && quantity(self).compareTo(quantity('32Mi')) >= 0 && quantity(self).compareTo(quantity('64Ti')) <= 0").message("storage.wal.size must be a size from 32Mi to 64Ti, such as 2Gi"))]
    pub size: String,

    /// StorageClass of the log volume; the cluster's default if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

/// What the node logs.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoggingSpec {
    /// error, warn, info, debug (one line a request) or trace. Changes without a restart.
    #[serde(default)]
    pub level: LogLevel,
    /// json or text.
    #[serde(default)]
    pub format: LogFormat,
}

/// How much is logged.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What a person must look at.
    Error,
    /// What a person should know.
    Warn,
    /// What happens.
    #[default]
    Info,
    /// One line a request.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// As the node writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Form of the log.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

impl LogFormat {
    /// As the node writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
        }
    }
}

/// User and groups of the pod.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecurityContextSpec {
    /// User of the process; never 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub run_as_user: Option<i64>,
    /// Its group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub run_as_group: Option<i64>,
    /// Group that owns the volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub fs_group: Option<i64>,
}

/// The Service for applications.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// ClusterIP is reachable inside the cluster only.
    #[serde(default, rename = "type")]
    pub type_: ServiceType,
    /// Annotations, for instance for a load balancer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
    /// IPv4 and IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_family_policy: Option<IpFamilyPolicy>,
}

/// How far a Service reaches.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum ServiceType {
    /// Inside the cluster.
    #[default]
    ClusterIP,
    /// A port of every machine.
    NodePort,
    /// A load balancer of the platform.
    LoadBalancer,
}

/// IPv4 and IPv6 of a Service.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum IpFamilyPolicy {
    /// One of them.
    SingleStack,
    /// Both, if the cluster has both.
    PreferDualStack,
    /// Both, or none.
    RequireDualStack,
}

/// The pod's ServiceAccount.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountSpec {
    /// Annotations, for instance of a cloud's identity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
}

/// Where the pod may run.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchedulingSpec {
    /// Labels that the machine must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pod bears.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Machines and pods that it should be near to or far from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Priority of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
}

/// Labels and annotations of the pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('godb.dev/') && !key.startsWith('app.kubernetes.io/'))").message("pod.labels may not begin with godb.dev/ or app.kubernetes.io/: those are the operator's"))]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('godb.dev/'))").message("pod.annotations may not begin with godb.dev/: those are the operator's"))]
    pub annotations: BTreeMap<String, String>,
}

/// A variable of the node's environment.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct EnvironmentVariable {
    /// Its name.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z_][A-Za-z0-9_]*$') && !self.startsWith('GODB_')").message("extraEnv names are letters, digits and _, and may not begin with GODB_: settings have fields of their own"))]
    pub name: String,
    /// Its value.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// What the operator saw last. Nothing in it moves by itself: for sizes, LSNs and rates see the
/// node's metrics.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoDbInstanceStatus {
    /// Generation of the spec that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word for people; programs read the conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Ready, Progressing, Degraded, SpecValid, ConfigApplied, UpdatePending, StorageResizing and
    /// ReconciliationPaused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Where applications reach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Version that the pod runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The policy that would hold if the object were deleted now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// The volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageStatus>,
    /// Settings that the node said are in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineStatus>,
    /// The restore that holds the instance: no pod runs until it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

/// What holds an instance.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct Operation {
    /// Name of the GoDbRestore.
    pub restore: String,
    /// Its UID.
    pub uid: String,
}

/// The volumes as they are.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageStatus {
    /// Size of the data volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<String>,
    /// Size of the log volume, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_capacity: Option<String>,
}

/// Settings that the node said are in force, in its words.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EngineStatus {
    /// Durability.
    pub durability: String,
    /// Longest time between two checkpoints.
    pub checkpoint_interval: String,
    /// Size of the log that starts a checkpoint.
    pub max_wal_size: String,
    /// Memory budget.
    pub max_memory: String,
    /// Log level.
    pub log_level: String,
    /// The life of the node process that said so.
    pub boot_id: String,
}
