//! What follows for a snapshot from what is there (pure). Each phase is in the status before
//! anything is done for it, and what was done is seen by looking, so the operator can be killed
//! between any two calls.
//!
//! ```text
//! Pending ──► Cutting ──┬────────── own volume ──────────► Succeeded
//!    │           │      └► Carrying ──► Verifying ──┬────►
//!    └───────────┴────────────┴────────────┴────────┴────► Failed
//! ```

use std::time::Duration;

use godb_crds::conditions::{self as kind, reason};
use godb_crds::snapshot::{GoDbSnapshotStatus, SnapshotLocation, SnapshotPhase};
use godb_crds::{DeletionPolicy, GoDbSnapshot};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::job::directory;
use crate::conditions::{say, set};
use crate::names::FINALIZER;
use crate::node_client::CutAnswer;

/// How long a snapshot waits for its instance.
const PENDING: Duration = Duration::from_secs(3600);
/// How long a node may take for a cut.
const CUTTING: Duration = Duration::from_secs(600);
/// How long a copy may take, and how long reading it back may.
pub const WORKING: Duration = Duration::from_secs(6 * 3600);
/// How long a target may refuse to remove a snapshot.
const REMOVING: Duration = Duration::from_secs(600);
/// An instance that is not there yet is looked for this often.
const LOOK_WAITING: Duration = Duration::from_secs(10);
/// A node that works is asked this often.
const LOOK_WORKING: Duration = Duration::from_secs(2);
/// A Job wakes us when it ends; what its node does meanwhile is looked at this often.
const LOOK_JOB: Duration = Duration::from_secs(15);

/// The instance of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instance {
    /// There is none of this name.
    Missing,
    /// `spec.paused` is set.
    Paused(String),
    /// `spec.stopped` is set.
    Stopped(String),
    /// No container of it runs.
    Down(String),
    /// Its container runs.
    Up {
        /// Its UID.
        uid: String,
        /// The version that runs.
        version: String,
    },
}

impl Instance {
    fn uid(&self) -> Option<&str> {
        match self {
            Self::Missing => None,
            Self::Paused(uid) | Self::Stopped(uid) | Self::Down(uid) | Self::Up { uid, .. } => {
                Some(uid)
            }
        }
    }
}

/// Where a snapshot goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The instance's own volume.
    OwnVolume,
    /// A claim that is there: its name.
    Claim(String),
    /// A bucket.
    Bucket,
    /// A claim that is not there.
    NoClaim(String),
    /// A claim that an instance runs on.
    DataClaim(String),
    /// The spec names none.
    Nowhere,
}

/// How far the Job of the phase is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// It is not there.
    Absent,
    /// It runs, or is about to; with what stands in its way.
    Running(Option<String>),
    /// It went through.
    Done,
    /// It gave up: its last word.
    Failed(String),
}

/// What is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The instance.
    pub instance: Instance,
    /// What its node says of the cut, or why it said nothing.
    pub cut: Result<CutAnswer, String>,
    /// Where the snapshot goes.
    pub target: Target,
    /// The Job of the present phase.
    pub work: Work,
    /// The snapshot that is being written to the same claim, or removed from it.
    pub busy: Option<String>,
}

/// What is to be done, after the status was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Have the node make the cut.
    Cut,
    /// Make the Job that copies it.
    Carry,
    /// Make the Job that reads the copy.
    Verify,
    /// Have the node drop the cut, which nobody needs any more.
    DropCut,
    /// The same, and end the Job that copies.
    Abandon,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    /// The status that should be there.
    pub status: GoDbSnapshotStatus,
    /// What is to be done.
    pub act: Option<Act>,
    /// When to look again; never, for what has ended.
    pub look_after: Option<Duration>,
}

/// Name of the cut on the node. Another object of the same name has another UID: it must not find
/// the snapshot of the one before and call it its own.
pub fn cut_name(snapshot: &GoDbSnapshot) -> String {
    format!(
        "{}.{}",
        snapshot.name_any(),
        snapshot.uid().unwrap_or_default()
    )
}

/// Time since `since`; none if the clock was set back.
pub fn elapsed(since: Option<&Time>, now: Timestamp) -> Duration {
    since
        .map(|since| now.duration_since(since.0))
        .and_then(|passed| Duration::try_from(passed).ok())
        .unwrap_or_default()
}

struct Step<'a> {
    snapshot: &'a GoDbSnapshot,
    status: GoDbSnapshotStatus,
    now: Timestamp,
}

impl Step<'_> {
    fn enter(&mut self, phase: SnapshotPhase) {
        self.status.phase = phase;
        self.status.phase_since = Some(Time(self.now));
    }

    fn said(mut self, status: &'static str, reason: &'static str, message: String) -> Self {
        let generation = self.snapshot.metadata.generation;
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

    fn ends(mut self, phase: SnapshotPhase) -> Next {
        let act = match self.status.phase {
            SnapshotPhase::Carrying => Some(Act::Abandon),
            SnapshotPhase::Verifying => Some(Act::DropCut),
            _ => None,
        };
        self.enter(phase);
        self.status.completed_at = Some(Time(self.now));
        Next {
            status: self.status,
            act,
            look_after: None,
        }
    }

    fn fails(self, reason: &'static str, message: impl Into<String>) -> Next {
        self.said("False", reason, message.into())
            .ends(SnapshotPhase::Failed)
    }

    fn goes_on(mut self, phase: SnapshotPhase, act: Act, message: &str, look: Duration) -> Next {
        self.enter(phase);
        let step = self.said("Unknown", reason::UNDER_WAY, message.to_owned());
        Next {
            status: step.status,
            act: Some(act),
            look_after: Some(look),
        }
    }

    /// Goes on looking, if the phase may last longer.
    fn waits(
        self,
        reason: &'static str,
        message: impl Into<String>,
        limit: Duration,
        look_after: Duration,
    ) -> Next {
        let message: String = message.into();
        if elapsed(self.status.phase_since.as_ref(), self.now) >= limit {
            let phase = self.status.phase.as_str();
            let message = format!("{phase} for more than {} s: {message}", limit.as_secs());
            return self.fails(reason::DEADLINE_EXCEEDED, message);
        }
        let step = self.said("Unknown", reason, message);
        Next {
            status: step.status,
            act: None,
            look_after: Some(look_after),
        }
    }
}

/// See the module.
pub fn next(snapshot: &GoDbSnapshot, observed: &Observed, now: Timestamp) -> Next {
    let mut step = Step {
        snapshot,
        status: snapshot.status.clone().unwrap_or_default(),
        now,
    };
    if step.status.phase_since.is_none() {
        step.enter(SnapshotPhase::Pending);
    }
    match step.status.phase {
        SnapshotPhase::Pending => pending(step, observed),
        SnapshotPhase::Cutting => cutting(step, observed),
        SnapshotPhase::Carrying => carrying(step, observed),
        SnapshotPhase::Verifying => verifying(step, observed),
        SnapshotPhase::Succeeded | SnapshotPhase::Failed => Next {
            status: step.status,
            act: None,
            look_after: None,
        },
    }
}

/// Why nothing can be asked of the instance, or its UID, version and the node's answer.
fn reachable<'a>(
    observed: &'a Observed,
    name: &str,
) -> Result<(&'a str, &'a str, &'a CutAnswer), String> {
    match (&observed.instance, &observed.cut) {
        (Instance::Missing, _) => Err(format!("there is no GoDbInstance {name}")),
        (Instance::Paused(_), _) => Err(format!(
            "spec.paused of {name} is set: nothing is written for it"
        )),
        (Instance::Stopped(_), _) => Err(format!("spec.stopped of {name} is set: no node runs")),
        (Instance::Down(_), _) => Err(format!("the node of {name} does not run")),
        (Instance::Up { .. }, Err(silent)) => Err(silent.clone()),
        (Instance::Up { uid, version }, Ok(answer)) => Ok((uid, version, answer)),
    }
}

fn pending(mut step: Step<'_>, observed: &Observed) -> Next {
    let spec = &step.snapshot.spec;
    match &observed.target {
        Target::Nowhere => return step.fails(reason::SPEC_INVALID, "spec.target names nothing"),
        Target::DataClaim(name) => {
            let message = format!("an instance runs on the claim {name}: snapshots need another");
            return step.fails(reason::SPEC_INVALID, message);
        }
        Target::NoClaim(name) => {
            let message = format!("there is no PersistentVolumeClaim {name}");
            return step.waits(reason::WAITING, message, PENDING, LOOK_WAITING);
        }
        Target::OwnVolume | Target::Claim(_) | Target::Bucket => {}
    }
    if let Some(other) = &observed.busy {
        let message = format!("{other} is being written to the same claim, or removed from it");
        return step.waits(reason::WAITS_FOR_TARGET, message, WORKING, LOOK_WAITING);
    }
    let (uid, version, answer) = match reachable(observed, &spec.instance) {
        Ok(found) => found,
        Err(why) => return step.waits(reason::WAITING, why, PENDING, LOOK_WAITING),
    };
    step.status.instance_uid = Some(uid.to_owned());
    step.status.version = Some(version.to_owned());
    step.status.boot_id = Some(answer.boot_id.clone());
    let namespace = step.snapshot.namespace().unwrap_or_default();
    let name = cut_name(step.snapshot);
    let directory = directory(&namespace, uid);
    step.status.location = Some(match (&observed.target, &spec.target.s3) {
        (Target::Claim(claim), _) => SnapshotLocation {
            name,
            claim: Some(claim.clone()),
            path: Some(directory),
            ..SnapshotLocation::default()
        },
        (Target::Bucket, Some(s3)) => SnapshotLocation {
            name,
            s3: Some(s3.clone()),
            path: Some(match &s3.prefix {
                Some(prefix) => format!("{prefix}/{directory}"),
                None => directory,
            }),
            ..SnapshotLocation::default()
        },
        _ => SnapshotLocation {
            name,
            instance: Some(spec.instance.clone()),
            ..SnapshotLocation::default()
        },
    });
    step.goes_on(
        SnapshotPhase::Cutting,
        Act::Cut,
        "the node makes the cut",
        LOOK_WORKING,
    )
}

/// Whether the instance that was asked is still the one of this name.
fn is_gone(status: &GoDbSnapshotStatus, observed: &Observed) -> bool {
    observed.instance.uid() != status.instance_uid.as_deref()
}

fn gone(step: Step<'_>) -> Next {
    let name = &step.snapshot.spec.instance;
    let message = format!("the instance {name} that was asked for the cut is gone");
    step.fails(reason::INSTANCE_GONE, message)
}

fn cutting(mut step: Step<'_>, observed: &Observed) -> Next {
    if is_gone(&step.status, observed) {
        return gone(step);
    }
    let answer = match reachable(observed, &step.snapshot.spec.instance) {
        Ok((_, _, answer)) => answer,
        Err(why) => return step.waits(reason::WAITING, why, CUTTING, LOOK_WORKING),
    };
    if let Some(cut) = &answer.cut {
        step.status.lsn = Some(cut.lsn);
        step.status.size_bytes = Some(cut.size_bytes);
        step.status.documents = cut.documents;
        let location = step.status.location.as_ref();
        if location.is_some_and(SnapshotLocation::is_apart) {
            let message = "a Job copies the cut to its target";
            return step.goes_on(SnapshotPhase::Carrying, Act::Carry, message, LOOK_JOB);
        }
        return succeeds(step, false);
    }
    if step.status.boot_id.as_deref() != Some(&*answer.boot_id) {
        let message =
            "the node restarted while it made the cut, and has none: make another snapshot";
        return step.fails(reason::NODE_RESTARTED, message);
    }
    let next = step.waits(
        reason::UNDER_WAY,
        "the node makes the cut",
        CUTTING,
        LOOK_WORKING,
    );
    Next {
        act: (!next.status.phase.is_final()).then_some(Act::Cut),
        ..next
    }
}

fn succeeds(mut step: Step<'_>, survives_volume_loss: bool) -> Next {
    step.status.survives_volume_loss = survives_volume_loss;
    let lsn = step.status.lsn.unwrap_or_default();
    step.said(
        "True",
        reason::AS_EXPECTED,
        format!("it holds every write up to LSN {lsn}"),
    )
    .ends(SnapshotPhase::Succeeded)
}

fn carrying(step: Step<'_>, observed: &Observed) -> Next {
    match &observed.work {
        Work::Done => {
            let message = "a Job reads every byte of the copy";
            return step.goes_on(SnapshotPhase::Verifying, Act::Verify, message, LOOK_JOB);
        }
        Work::Failed(word) => return step.fails(reason::CARRY_FAILED, word),
        Work::Absent | Work::Running(_) => {}
    }
    if is_gone(&step.status, observed) {
        return gone(step);
    }
    if let Ok((_, _, answer)) = reachable(observed, &step.snapshot.spec.instance)
        && answer.cut.is_none()
    {
        let same_life = step.status.boot_id.as_deref() == Some(&*answer.boot_id);
        let (why, message) = if same_life {
            (
                reason::CUT_DROPPED,
                "the node dropped the cut before it was copied: nobody read it, or its volume was full",
            )
        } else {
            (
                reason::NODE_RESTARTED,
                "the node restarted and has the cut no more: make another snapshot",
            )
        };
        return step.fails(why, message);
    }
    // What is paused is left alone, but for what runs already.
    let paused = matches!(observed.instance, Instance::Paused(_));
    works(step, observed, Act::Carry, paused, "the Job that copies it")
}

fn verifying(step: Step<'_>, observed: &Observed) -> Next {
    match &observed.work {
        Work::Done => succeeds(step, true),
        Work::Failed(word) => step.fails(reason::VERIFY_FAILED, word),
        Work::Absent | Work::Running(_) => {
            let paused = matches!(observed.instance, Instance::Paused(_));
            works(step, observed, Act::Verify, paused, "the Job that reads it")
        }
    }
}

fn works(step: Step<'_>, observed: &Observed, make: Act, paused: bool, what: &str) -> Next {
    let message = match &observed.work {
        Work::Running(Some(trouble)) => format!("{what}: {trouble}"),
        Work::Running(None) => format!("{what} is under way"),
        _ if paused => format!("spec.paused is set: {what} is not made"),
        _ => format!("{what} is being made"),
    };
    let next = step.waits(reason::UNDER_WAY, message, WORKING, LOOK_JOB);
    let absent = observed.work == Work::Absent && !paused;
    Next {
        act: match next.act {
            None if absent && !next.status.phase.is_final() => Some(make),
            act => act,
        },
        ..next
    }
}

/// The status of a snapshot whose cut the node refused for good.
pub fn refused(
    status: &GoDbSnapshotStatus,
    snapshot: &GoDbSnapshot,
    why: &str,
    now: Timestamp,
) -> Next {
    let step = Step {
        snapshot,
        status: status.clone(),
        now,
    };
    step.fails(reason::CUT_REFUSED, why)
}

/// Why another snapshot has to wait until this one is done with its claim.
fn occupies(snapshot: &GoDbSnapshot) -> bool {
    let status = snapshot.status.as_ref();
    let phase = status.map(|status| status.phase).unwrap_or_default();
    matches!(
        phase,
        SnapshotPhase::Cutting | SnapshotPhase::Carrying | SnapshotPhase::Verifying
    )
}

/// The snapshot that `mine` has to wait for: one carry or removal on a claim at a time. What is
/// removed goes before what is new, in the order in which it was deleted.
pub fn busy(mine: &GoDbSnapshot, all: &[GoDbSnapshot]) -> Option<String> {
    let claim = |one: &GoDbSnapshot| one.spec.target.claim.as_ref().map(|c| c.name.clone());
    let target = claim(mine)?;
    let deleted = |one: &GoDbSnapshot| {
        let held = one.finalizers().iter().any(|held| held == FINALIZER);
        let time = one.metadata.deletion_timestamp.clone()?;
        held.then(|| (time.0, one.name_any()))
    };
    let my_turn = deleted(mine);
    let other = all
        .iter()
        .filter(|one| one.name_any() != mine.name_any() && claim(one).as_ref() == Some(&target))
        .find(|one| match (deleted(one), &my_turn) {
            (Some(theirs), Some(my_turn)) => theirs < *my_turn,
            (Some(_), None) => true,
            (None, _) => occupies(one),
        });
    other.map(ResourceExt::name_any)
}

/// What becomes of the data of a snapshot that is being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// There is nothing to remove, or no more: the object may go.
    Done,
    /// Ask the node to remove it; if it will not, come back.
    AskNode,
    /// Make the Job that removes it from the claim, and end those that write to it.
    Remove,
    /// Wait for what is in the way.
    Wait(String),
    /// Leave it where it is, and say so.
    Leave(String),
}

/// What to do for an object that is being deleted.
pub fn removal(snapshot: &GoDbSnapshot, observed: &Observed, now: Timestamp) -> Removal {
    let status = snapshot.status.clone().unwrap_or_default();
    let Some(location) = &status.location else {
        return Removal::Done;
    };
    if snapshot.spec.deletion_policy == DeletionPolicy::Retain {
        return Removal::Done;
    }
    let left = |why: String| {
        let bucket = location.s3.as_ref().map(|s3| s3.bucket.as_str());
        let claim = location.claim.as_deref().or(bucket);
        let claim = claim.unwrap_or("the instance's volume");
        let path = location.path.as_deref().unwrap_or_default();
        Removal::Leave(format!(
            "{why}: the snapshot {} on {claim} {path} is left behind",
            location.name
        ))
    };
    let outcome = if location.is_apart() {
        from_target(observed)
    } else if is_gone(&status, observed) {
        return left(format!("the instance {} is gone", snapshot.spec.instance));
    } else {
        from_node(observed)
    };
    let deleted = snapshot.metadata.deletion_timestamp.as_ref();
    match outcome {
        Removal::Leave(why) => left(why),
        Removal::Wait(why) if elapsed(deleted, now) >= REMOVING && observed.busy.is_none() => {
            left(why)
        }
        Removal::AskNode if elapsed(deleted, now) >= REMOVING => {
            left("the node does not remove it".to_owned())
        }
        outcome => outcome,
    }
}

fn from_node(observed: &Observed) -> Removal {
    match (&observed.instance, &observed.cut) {
        // Paused is no obstacle: what a person deletes is deleted.
        (Instance::Up { .. } | Instance::Paused(_), Ok(answer)) if answer.cut.is_some() => {
            Removal::AskNode
        }
        (Instance::Up { .. } | Instance::Paused(_), Ok(_)) => Removal::Done,
        (_, Err(silent)) => Removal::Wait(silent.clone()),
        (_, Ok(_)) => Removal::Wait("no node runs".to_owned()),
    }
}

fn from_target(observed: &Observed) -> Removal {
    if !matches!(observed.target, Target::Claim(_) | Target::Bucket) {
        return Removal::Leave("its claim is gone".to_owned());
    }
    match (&observed.work, &observed.busy) {
        (Work::Done, _) => Removal::Done,
        (Work::Failed(word), _) => Removal::Leave(word.clone()),
        (Work::Running(trouble), _) => Removal::Wait(
            trouble
                .clone()
                .unwrap_or_else(|| "the Job that removes it is under way".to_owned()),
        ),
        (Work::Absent, Some(other)) => Removal::Wait(format!("{other} has its turn")),
        (Work::Absent, None) => Removal::Remove,
    }
}

#[cfg(test)]
mod tests;
