//! Types and reasons of conditions, each in one place, as users and alerts match on them.

/// The node serves, and what it serves is the present spec.
pub const READY: &str = "Ready";
/// Something is on its way to the present spec.
pub const PROGRESSING: &str = "Progressing";
/// Something is wrong that does not mend itself.
pub const DEGRADED: &str = "Degraded";
/// The spec can be carried out.
pub const SPEC_VALID: &str = "SpecValid";
/// The running node has the settings of the spec.
pub const CONFIG_APPLIED: &str = "ConfigApplied";
/// A newer operator would render another pod; it waits for a restart that the user causes.
pub const UPDATE_PENDING: &str = "UpdatePending";
/// A volume is growing.
pub const STORAGE_RESIZING: &str = "StorageResizing";
/// `spec.paused` is set.
pub const RECONCILIATION_PAUSED: &str = "ReconciliationPaused";
/// Of a snapshot: it is there and was read back.
pub const SUCCEEDED: &str = "Succeeded";

/// Of a schedule: snapshots are made at their times.
pub const SCHEDULED: &str = "Scheduled";

/// Reasons.
pub mod reason {
    /// All is as it should be.
    pub const AS_EXPECTED: &str = "AsExpected";
    /// The pod is being made or is starting.
    pub const STARTING: &str = "Starting";
    /// `spec.stopped` is set.
    pub const STOPPED: &str = "Stopped";
    /// The pod is being replaced.
    pub const UPDATING: &str = "Updating";
    /// The pod cannot be made; the message quotes why.
    pub const POD_NOT_CREATED: &str = "PodNotCreated";
    /// No machine can take the pod.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// The container cannot start; the message quotes why.
    pub const CONTAINER_WAITING: &str = "ContainerWaiting";
    /// The node ended by itself; the message is its last word.
    pub const NODE_FAILED: &str = "NodeFailed";
    /// The node runs and is not ready.
    pub const NOT_READY: &str = "NotReady";
    /// The node does not answer.
    pub const NODE_UNREACHABLE: &str = "NodeUnreachable";
    /// The node refused the settings.
    pub const SETTINGS_REFUSED: &str = "SettingsRefused";
    /// A Secret lacks what it must have.
    pub const SECRET_INVALID: &str = "SecretInvalid";
    /// The children belong to another operator.
    pub const OPERATOR_CONFLICT: &str = "OperatorConflict";
    /// The API server refused a write; the message is its answer.
    pub const APPLY_REFUSED: &str = "ApplyRefused";
    /// The API server cannot be reached or is overloaded.
    pub const API_UNAVAILABLE: &str = "ApiUnavailable";
    /// The operator renders another pod than the one that runs.
    pub const OPERATOR_CHANGED: &str = "OperatorChanged";
    /// The volume grows.
    pub const RESIZING: &str = "Resizing";
    /// The file system grows when a pod mounts the volume.
    pub const WAITS_FOR_MOUNT: &str = "WaitsForMount";
    /// The API server or the storage refused the new size.
    pub const RESIZE_REFUSED: &str = "ResizeRefused";
    /// A volume is larger than the spec, and stays so.
    pub const LARGER_THAN_SPEC: &str = "LargerThanSpec";
    /// `spec.paused` is set.
    pub const PAUSED: &str = "Paused";
    /// The object waits for its instance.
    pub const WAITING: &str = "Waiting";
    /// It is under way.
    pub const UNDER_WAY: &str = "UnderWay";
    /// `spec.suspend` is set.
    pub const SUSPENDED: &str = "Suspended";
    /// A phase took longer than it may.
    pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
    /// The node restarted while it made a cut, and has none.
    pub const NODE_RESTARTED: &str = "NodeRestarted";
    /// The node refused the cut; the message is its answer.
    pub const CUT_REFUSED: &str = "CutRefused";
    /// The node dropped the cut before it was carried.
    pub const CUT_DROPPED: &str = "CutDropped";
    /// Another snapshot is being written to the target.
    pub const WAITS_FOR_TARGET: &str = "WaitsForTarget";
    /// The Job that copies it failed; the message is its last word.
    pub const CARRY_FAILED: &str = "CarryFailed";
    /// The copy is not what was cut; the message is the last word of the Job that read it.
    pub const VERIFY_FAILED: &str = "VerifyFailed";
    /// A restore holds the instance.
    pub const RESTORING: &str = "Restoring";
    /// The Job of a restore failed; the message is its last word.
    pub const RESTORE_FAILED: &str = "RestoreFailed";
    /// The restore does not hold the instance any more.
    pub const LOCK_LOST: &str = "LockLost";
    /// The instance was deleted, or another one has its name now.
    pub const INSTANCE_GONE: &str = "InstanceGone";
    /// The spec cannot be carried out.
    pub const SPEC_INVALID: &str = "SpecInvalid";
}
