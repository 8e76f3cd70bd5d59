//! What follows for a restore from what is there (pure). Each phase is in the status before
//! anything is done for it.
//!
//! ```text
//! Pending ──► Locked ──► Copying ──► Starting ──► Succeeded
//!    └──────────┴───────────┴───────────┴───────► Failed
//! ```
//!
//! The lock is in the instance's status. It is given back when the restore has ended, however it
//! ended, and not before every pod of its Job is gone.

use std::time::Duration;

use godb_crds::GoDbRestore;
use godb_crds::conditions::{self as kind, reason};
use godb_crds::restore::{GoDbRestoreStatus, RestorePhase};
use godb_crds::snapshot::SnapshotLocation;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::conditions::{say, set};
use crate::snapshot::phase::{WORKING, Work, elapsed};

const PENDING: Duration = Duration::from_secs(3600);
/// Longer than the longest grace period of a pod.
const LOCKED: Duration = Duration::from_secs(5400);
const STARTING: Duration = Duration::from_secs(3600);
const LOOK_WAITING: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(2);

/// Whether the snapshot can be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is here.
    There(SnapshotLocation),
    /// Not yet: why.
    NotYet(String),
    /// Never: why.
    Never(String),
}

/// Who holds the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Nobody.
    Free,
    /// This restore.
    Mine,
    /// Another one: its name.
    Other(String),
}

/// The instance of a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its UID.
    pub uid: String,
    /// `spec.paused` is set: nothing is written for it.
    pub is_paused: bool,
    /// `spec.stopped` is set: it will not serve.
    pub is_stopped: bool,
    /// Its log has a volume of its own.
    pub has_wal_volume: bool,
    /// It has a data volume.
    pub has_volume: bool,
    /// Its StatefulSet wants no pod, and there is none.
    pub is_down: bool,
    /// Its pod is ready.
    pub is_ready: bool,
    /// Who holds it.
    pub lock: Lock,
}

/// What is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The snapshot.
    pub source: Source,
    /// The instance.
    pub instance: Option<Instance>,
    /// The Job.
    pub work: Work,
    /// Pods of the Job that have not ended.
    pub workers: usize,
}

/// What is to be done, after the status was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Take the lock, if it is free.
    Lock,
    /// Make the Job.
    Copy,
    /// End the Job and its pods.
    End,
    /// Give the lock back.
    Unlock,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    /// The status that should be there.
    pub status: GoDbRestoreStatus,
    /// What is to be done.
    pub act: Option<Act>,
    /// When to look again.
    pub look_after: Option<Duration>,
}

struct Step<'a> {
    restore: &'a GoDbRestore,
    status: GoDbRestoreStatus,
    now: Timestamp,
}

impl Step<'_> {
    fn said(mut self, status: &'static str, reason: &'static str, message: String) -> Self {
        let generation = self.restore.metadata.generation;
        self.status.observed_generation = generation;
        let said = say(status, reason, message);
        set(
            &mut self.status.conditions,
            kind::SUCCEEDED,
            said,
            generation,
            self.now,
        );
        self
    }

    fn enters(mut self, phase: RestorePhase, act: Option<Act>, message: &str) -> Next {
        self.status.phase = phase;
        self.status.phase_since = Some(Time(self.now));
        let step = self.said("Unknown", reason::UNDER_WAY, message.to_owned());
        Next {
            status: step.status,
            act,
            look_after: Some(LOOK),
        }
    }

    /// The lock is given back by the next look.
    fn ends(
        self,
        phase: RestorePhase,
        status: &'static str,
        reason: &'static str,
        message: String,
    ) -> Next {
        let mut step = self.said(status, reason, message);
        step.status.phase = phase;
        step.status.phase_since = Some(Time(step.now));
        step.status.completed_at = Some(Time(step.now));
        Next {
            status: step.status,
            act: None,
            look_after: Some(Duration::ZERO),
        }
    }

    fn fails(self, reason: &'static str, message: impl Into<String>) -> Next {
        let message: String = message.into();
        let state = match self.status.phase {
            RestorePhase::Starting => "the restored database is in place",
            RestorePhase::Copying => {
                "the old database is in place, unless the Job said that the change was made"
            }
            _ => "nothing was changed",
        };
        self.ends(
            RestorePhase::Failed,
            "False",
            reason,
            format!("{message}; {state}"),
        )
    }

    fn waits(
        self,
        reason: &'static str,
        message: impl Into<String>,
        limit: Duration,
        act: Option<Act>,
    ) -> Next {
        let message: String = message.into();
        let phase = self.status.phase;
        if elapsed(self.status.phase_since.as_ref(), self.now) >= limit {
            let message = format!(
                "{} for more than {} s: {message}",
                phase.as_str(),
                limit.as_secs()
            );
            return self.fails(reason::DEADLINE_EXCEEDED, message);
        }
        let step = self.said("Unknown", reason, message);
        let look = if phase == RestorePhase::Pending {
            LOOK_WAITING
        } else {
            LOOK
        };
        Next {
            status: step.status,
            act,
            look_after: Some(look),
        }
    }
}

/// See the module.
pub fn next(restore: &GoDbRestore, observed: &Observed, now: Timestamp) -> Next {
    let mut step = Step {
        restore,
        status: restore.status.clone().unwrap_or_default(),
        now,
    };
    if step.status.phase_since.is_none() {
        step.status.phase_since = Some(Time(now));
    }
    if step.status.phase.is_final() {
        let act = release(observed);
        return Next {
            status: step.status,
            look_after: act.map(|_| LOOK),
            act,
        };
    }
    let Some(instance) = &observed.instance else {
        let name = &restore.spec.instance;
        if step.status.phase == RestorePhase::Pending {
            let message = format!("there is no GoDbInstance {name}");
            return step.waits(reason::WAITING, message, PENDING, None);
        }
        return step.fails(
            reason::INSTANCE_GONE,
            format!("the instance {name} is gone"),
        );
    };
    let asked = step.status.instance_uid.as_deref();
    if asked.is_some_and(|asked| asked != instance.uid) {
        return step.fails(reason::INSTANCE_GONE, "another instance has its name now");
    }
    match step.status.phase {
        RestorePhase::Pending => pending(step, observed, instance),
        RestorePhase::Locked => locked(step, instance),
        RestorePhase::Copying => copying(step, observed, instance),
        _ => starting(step, observed, instance),
    }
}

/// What is left to do so that the instance is free again.
pub fn release(observed: &Observed) -> Option<Act> {
    let instance = observed.instance.as_ref()?;
    if instance.lock != Lock::Mine {
        return None;
    }
    if observed.workers > 0 || matches!(observed.work, Work::Running(_)) {
        Some(Act::End)
    } else {
        Some(Act::Unlock)
    }
}

fn pending(mut step: Step<'_>, observed: &Observed, instance: &Instance) -> Next {
    if instance.has_wal_volume {
        let message = "its log is on a volume of its own, and data and log cannot change in one step: restore into a new instance whose log is not";
        return step.fails(reason::SPEC_INVALID, message);
    }
    let location = match &observed.source {
        Source::There(location) => location.clone(),
        Source::NotYet(why) => return step.waits(reason::WAITING, why, PENDING, None),
        Source::Never(why) => return step.fails(reason::SPEC_INVALID, why),
    };
    if !instance.has_volume {
        let message = "the instance has no volume yet";
        return step.waits(reason::WAITING, message, PENDING, None);
    }
    if instance.is_paused {
        let message = "spec.paused of the instance is set";
        return step.waits(reason::WAITING, message, PENDING, None);
    }
    if let Lock::Other(other) = &instance.lock {
        let message = format!("the restore {other} holds the instance");
        return step.waits(reason::WAITING, message, PENDING, None);
    }
    step.status.location = Some(location);
    step.status.instance_uid = Some(instance.uid.clone());
    let message = "the instance is being stopped";
    step.enters(RestorePhase::Locked, Some(Act::Lock), message)
}

fn locked(step: Step<'_>, instance: &Instance) -> Next {
    match &instance.lock {
        Lock::Other(other) => {
            let message = format!("the restore {other} holds the instance");
            step.waits(reason::WAITING, message, LOCKED, None)
        }
        Lock::Free => {
            let message = "the instance is being stopped";
            step.waits(reason::UNDER_WAY, message, LOCKED, Some(Act::Lock))
        }
        Lock::Mine if instance.is_down => {
            let message = "a Job makes the database beside the old one";
            step.enters(RestorePhase::Copying, Some(Act::Copy), message)
        }
        Lock::Mine => {
            let message = "the instance is being stopped";
            step.waits(reason::UNDER_WAY, message, LOCKED, None)
        }
    }
}

fn copying(step: Step<'_>, observed: &Observed, instance: &Instance) -> Next {
    if instance.lock != Lock::Mine {
        let message = "somebody took the lock from the instance's status";
        return step.fails(reason::LOCK_LOST, message);
    }
    match &observed.work {
        Work::Done => {
            let message = "the node starts with the restored database";
            step.enters(RestorePhase::Starting, None, message)
        }
        Work::Failed(word) => step.fails(reason::RESTORE_FAILED, word),
        Work::Running(trouble) => {
            let message = trouble
                .clone()
                .unwrap_or_else(|| "a Job makes the database beside the old one".to_owned());
            step.waits(reason::UNDER_WAY, message, WORKING, None)
        }
        // A pod that runs means no second volume mount: the Job comes when it is gone.
        Work::Absent if instance.is_down => {
            let message = "the Job is being made";
            step.waits(reason::UNDER_WAY, message, WORKING, Some(Act::Copy))
        }
        Work::Absent => {
            let message = "the instance is being stopped";
            step.waits(reason::UNDER_WAY, message, WORKING, None)
        }
    }
}

fn starting(step: Step<'_>, observed: &Observed, instance: &Instance) -> Next {
    if let Some(act) = release(observed) {
        let message = "the node starts with the restored database";
        return step.waits(reason::UNDER_WAY, message, STARTING, Some(act));
    }
    if instance.is_ready || instance.is_stopped {
        let name = step.status.location.clone().unwrap_or_default().name;
        let message = format!("the instance is as the snapshot {name} was");
        return step.ends(
            RestorePhase::Succeeded,
            "True",
            reason::AS_EXPECTED,
            message,
        );
    }
    let message = "the node starts with the restored database";
    step.waits(reason::UNDER_WAY, message, STARTING, None)
}

#[cfg(test)]
mod tests;
