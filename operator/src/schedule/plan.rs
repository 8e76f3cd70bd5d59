//! What a schedule asks for at a moment (pure): the snapshot of the newest time that was not dealt
//! with, and what retention lets go.

use std::collections::BTreeMap;
use std::time::Duration;

use godb_crds::conditions::{self as kind, reason};
use godb_crds::schedule::{
    ConcurrencyPolicy, GoDbSnapshotSchedule, GoDbSnapshotScheduleStatus, RetentionSpec,
};
use godb_crds::snapshot::{GoDbSnapshot, GoDbSnapshotSpec, SnapshotPhase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::cron::Cron;
use crate::conditions::{say, set};
use crate::names::{OPERATOR_LABEL, SCHEDULE_LABEL};

/// Longest time between two looks: a clock that jumps forward is noticed within it.
const LOOK: Duration = Duration::from_secs(60);
/// The clock may be so far behind the newest time that was dealt with before that time is
/// forgotten: it was set back.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(60);
/// Failed snapshots that stay, for people to look at.
const FAILED_KEPT: usize = 3;

/// The instance of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instance {
    /// There is none.
    Missing,
    /// `spec.stopped` is set.
    Stopped,
    /// `spec.paused` is set: nothing is written for it.
    Paused,
    /// It runs, or is about to.
    There,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The snapshot to make; one that is there already is fine.
    pub make: Option<GoDbSnapshot>,
    /// Snapshots to delete.
    pub delete: Vec<GoDbSnapshot>,
    /// The status that should be there afterwards.
    pub status: GoDbSnapshotScheduleStatus,
    /// Why a time was skipped.
    pub skipped: Option<String>,
    /// When to look again.
    pub look_after: Duration,
}

/// See the module. `children` are the snapshots that carry the schedule's label.
pub fn plan(
    schedule: &GoDbSnapshotSchedule,
    children: &[GoDbSnapshot],
    instance: Instance,
    release: &str,
    now: Timestamp,
) -> Plan {
    let generation = schedule.metadata.generation;
    let before = schedule.status.clone().unwrap_or_default();
    let mut plan = Plan {
        make: None,
        delete: Vec::new(),
        status: GoDbSnapshotScheduleStatus {
            observed_generation: generation,
            ..before.clone()
        },
        skipped: None,
        look_after: LOOK,
    };
    let was_suspended = before
        .conditions
        .iter()
        .any(|found| found.type_ == kind::SCHEDULED && found.reason == reason::SUSPENDED);
    let said = match Cron::parse(&schedule.spec.schedule) {
        Err(fault) => say("False", reason::SPEC_INVALID, fault),
        Ok(_) if schedule.spec.suspend => say("False", reason::SUSPENDED, "spec.suspend is set"),
        Ok(cron) => {
            let slot = due(&cron, schedule, &before, now);
            if was_suspended || is_ahead(&before, now) {
                // What passed meanwhile is not made up for.
                plan.status.last_slot = cron.last_until(now).map(Time).or(before.last_slot);
            } else if let Some(slot) = slot {
                at_slot(&mut plan, schedule, children, instance, release, slot);
            }
            plan.look_after = until(&cron, now);
            say(
                "True",
                reason::AS_EXPECTED,
                "snapshots are made at their times",
            )
        }
    };
    set(
        &mut plan.status.conditions,
        kind::SCHEDULED,
        said,
        generation,
        now,
    );
    if instance != Instance::Paused {
        plan.delete = surplus(children, &schedule.spec.retention, now);
    }
    plan
}

/// The newest time that was not dealt with.
fn due(
    cron: &Cron,
    schedule: &GoDbSnapshotSchedule,
    status: &GoDbSnapshotScheduleStatus,
    now: Timestamp,
) -> Option<Timestamp> {
    let created = schedule.metadata.creation_timestamp.as_ref();
    let since = status.last_slot.as_ref().or(created);
    let since = since.map_or(now, |time| time.0);
    cron.last_until(now).filter(|slot| *slot > since)
}

/// Whether the clock was far ahead and was set back: that must not silence the schedule until
/// then. Names keep a time from being served twice.
fn is_ahead(status: &GoDbSnapshotScheduleStatus, now: Timestamp) -> bool {
    let last = status.last_slot.as_ref();
    last.is_some_and(|last| last.0.duration_since(now) > TOLERANCE)
}

/// Until the next time, but not longer than [`LOOK`].
fn until(cron: &Cron, now: Timestamp) -> Duration {
    let next = cron.next_after(now).map(|next| next.duration_since(now));
    next.and_then(|wait| Duration::try_from(wait).ok())
        .map_or(LOOK, |wait| wait.min(LOOK))
        .max(Duration::from_millis(100))
}

fn at_slot(
    plan: &mut Plan,
    schedule: &GoDbSnapshotSchedule,
    children: &[GoDbSnapshot],
    instance: Instance,
    release: &str,
    slot: Timestamp,
) {
    plan.status.last_slot = Some(Time(slot));
    let name = &schedule.spec.template.instance;
    let running = children
        .iter()
        .find(|child| !phase(child).is_final() && child.metadata.deletion_timestamp.is_none());
    let why = match (instance, running) {
        (Instance::Missing, _) => Some(format!("there is no GoDbInstance {name}")),
        (Instance::Stopped, _) => Some(format!("{name} is stopped")),
        (Instance::Paused, _) => Some(format!("{name} is paused")),
        (Instance::There, Some(running))
            if schedule.spec.concurrency_policy == ConcurrencyPolicy::Forbid =>
        {
            Some(format!("{} is still under way", running.name_any()))
        }
        (Instance::There, _) => None,
    };
    match why {
        Some(why) => plan.skipped = Some(format!("the snapshot of {slot} is skipped: {why}")),
        None => {
            let snapshot = child(schedule, release, slot);
            plan.status.last_snapshot = Some(snapshot.name_any());
            plan.make = Some(snapshot);
        }
    }
}

fn phase(snapshot: &GoDbSnapshot) -> SnapshotPhase {
    let status = snapshot.status.as_ref();
    status.map(|status| status.phase).unwrap_or_default()
}

/// The snapshot of a time. It is not owned by the schedule: snapshots stay when that goes.
fn child(schedule: &GoDbSnapshotSchedule, release: &str, slot: Timestamp) -> GoDbSnapshot {
    let template = schedule.spec.template.clone();
    let time = TimeZone::UTC.to_datetime(slot);
    let name = format!(
        "{}-{:04}{:02}{:02}{:02}{:02}",
        schedule.name_any(),
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute()
    );
    let spec = GoDbSnapshotSpec {
        instance: template.instance,
        target: template.target,
        deletion_policy: template.deletion_policy,
        resources: template.resources,
    };
    let mut snapshot = GoDbSnapshot::new(&name, spec);
    snapshot.metadata.namespace = schedule.namespace();
    snapshot.metadata.labels = Some(BTreeMap::from([
        (SCHEDULE_LABEL.to_owned(), schedule.name_any()),
        (OPERATOR_LABEL.to_owned(), release.to_owned()),
    ]));
    snapshot
}

/// What retention lets go. Never the newest that succeeded, and none that is under way.
pub fn surplus(
    children: &[GoDbSnapshot],
    retention: &RetentionSpec,
    now: Timestamp,
) -> Vec<GoDbSnapshot> {
    let made = |child: &GoDbSnapshot| {
        let created = child.metadata.creation_timestamp.as_ref();
        created.map_or(now, |time| time.0)
    };
    let is_old = |child: &GoDbSnapshot| {
        let limit = retention
            .max_age_days
            .map(|days| SignedDuration::from_hours(24 * i64::from(days)));
        limit.is_some_and(|limit| now.duration_since(made(child)) > limit)
    };
    let of_phase = |wanted: SnapshotPhase| {
        let mut found: Vec<&GoDbSnapshot> = children
            .iter()
            .filter(|child| phase(child) == wanted)
            .filter(|child| child.metadata.deletion_timestamp.is_none())
            .collect();
        found.sort_by_key(|child| std::cmp::Reverse((made(child), child.name_any())));
        found
    };
    let keep = usize::try_from(retention.keep_last).unwrap_or(1).max(1);
    let succeeded = of_phase(SnapshotPhase::Succeeded)
        .into_iter()
        .enumerate()
        .filter(|(at, child)| *at >= keep || (*at > 0 && is_old(child)));
    let failed = of_phase(SnapshotPhase::Failed)
        .into_iter()
        .enumerate()
        .filter(|(at, child)| *at >= FAILED_KEPT || is_old(child));
    succeeded
        .chain(failed)
        .map(|(_, child)| child.clone())
        .collect()
}

#[cfg(test)]
mod tests;
