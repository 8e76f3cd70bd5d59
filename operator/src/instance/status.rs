//! What the status says (pure): conditions from what is there and what the writes came to. It is
//! patched only when it differs, so nothing in it may move by itself.

use godb_crds::conditions::{self as kind, reason};
use godb_crds::instance::StorageStatus;
use godb_crds::{GoDbInstance, GoDbInstanceStatus};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use super::apply::Applied;
use super::dereference::Observed;
use super::settings::{self, Outcome};
use super::validate::Valid;
use super::volumes::{self, Resizing};
use crate::conditions::{Say, say, set};
use crate::names::CONTAINER;

/// What a reconcile came to.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The spec cannot be carried out: every fault.
    Invalid(&'a [String]),
    /// A step failed: reason and message.
    Failed(&'static str, String),
    /// It went through, or was skipped as the instance is paused.
    Done {
        /// What the writes came to.
        applied: &'a Applied,
        /// What became of the settings.
        settings: &'a Outcome,
    },
}

/// Whether a pod is ready.
pub fn is_ready(pod: &Pod) -> bool {
    pod_condition(pod, "Ready").is_some_and(|(status, _)| status == "True")
        && pod.metadata.deletion_timestamp.is_none()
}

fn pod_condition<'a>(pod: &'a Pod, wanted: &str) -> Option<(&'a str, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|found| found.type_ == wanted)?;
    Some((&found.status, found.message.as_deref().unwrap_or_default()))
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == CONTAINER)
}

fn last_word(state: Option<&ContainerState>) -> Option<String> {
    let ended = state?.terminated.as_ref()?;
    // A log's end: what the node says of its own end is the last line, and the others have times in
    // them, which would make each restart another message.
    let log = ended.message.as_deref().unwrap_or_default();
    let said = log.trim().lines().next_back().unwrap_or_default();
    let cause = ended.reason.as_deref().unwrap_or("ended");
    Some(format!(
        "the node ended with exit code {} ({cause}){}{said}",
        ended.exit_code,
        if said.is_empty() { "" } else { ": " }
    ))
}

/// Why the pod is not ready, in the words of whoever knows.
fn pod_trouble(observed: &Observed) -> (&'static str, String, bool) {
    let warning = || observed.warning.clone().unwrap_or_default();
    let Some(pod) = &observed.pod else {
        return match &observed.warning {
            Some(warning) => (reason::POD_NOT_CREATED, warning.clone(), true),
            None => (reason::STARTING, "the pod is being made".to_owned(), false),
        };
    };
    if pod.metadata.deletion_timestamp.is_some() {
        return (reason::UPDATING, "the pod is ending".to_owned(), false);
    }
    if let Some(("False", message)) = pod_condition(pod, "PodScheduled") {
        return (reason::UNSCHEDULABLE, message.to_owned(), true);
    }
    let Some(container) = container(pod) else {
        let message = warning();
        let known = !message.is_empty();
        let said = if known {
            message
        } else {
            "the pod is starting".to_owned()
        };
        return (reason::STARTING, said, known);
    };
    if let Some(said) = last_word(container.state.as_ref()) {
        return (reason::NODE_FAILED, said, true);
    }
    let waiting = container
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref());
    if let Some(waiting) = waiting {
        let why = waiting.reason.as_deref().unwrap_or_default();
        if why == "CrashLoopBackOff"
            && let Some(said) = last_word(container.last_state.as_ref())
        {
            return (reason::NODE_FAILED, said, true);
        }
        if why == "ContainerCreating" || why == "PodInitializing" {
            let message = warning();
            let known = !message.is_empty();
            let said = if known {
                message
            } else {
                "the pod is starting".to_owned()
            };
            return (reason::STARTING, said, known);
        }
        let message = waiting.message.as_deref().unwrap_or_default();
        return (reason::CONTAINER_WAITING, format!("{why}: {message}"), true);
    }
    if let Some(said) = last_word(container.last_state.as_ref())
        && container.restart_count > 0
    {
        return (
            reason::NOT_READY,
            format!("the node is starting again; before, {said}"),
            false,
        );
    }
    (
        reason::NOT_READY,
        "the node runs and is not ready: it recovers, drains or is full; see /readyz?verbose on its admin port".to_owned(),
        false,
    )
}

/// Ready, Progressing and Degraded, and the phase.
fn pod_conditions(valid: &Valid, observed: &Observed) -> ([Say; 3], &'static str) {
    let ok = |message: &str| say("True", reason::AS_EXPECTED, message);
    let no = |message: &str| say("False", reason::AS_EXPECTED, message);
    if let Some(restore) = &valid.held_by {
        let message = format!("the restore {restore} holds it at no pod");
        return (
            [
                say("False", reason::RESTORING, message.clone()),
                say("True", reason::RESTORING, message),
                no("nothing is wrong"),
            ],
            "Restoring",
        );
    }
    if valid.spec.stopped {
        let gone = observed.pod.is_none();
        let progressing = if gone {
            no("nothing is under way")
        } else {
            say("True", reason::STOPPED, "the pod is ending")
        };
        return (
            [
                say(
                    "False",
                    reason::STOPPED,
                    "spec.stopped is set: no pod runs, the volumes are kept",
                ),
                progressing,
                no("nothing is wrong"),
            ],
            if gone { "Stopped" } else { "Stopping" },
        );
    }
    let settled = observed.stateful_set.as_ref().is_some_and(|set| {
        let status = set.status.as_ref();
        let seen = status.and_then(|status| status.observed_generation);
        let same_revision =
            status.is_some_and(|status| status.current_revision == status.update_revision);
        let replicas = set.spec.as_ref().and_then(|spec| spec.replicas);
        seen == set.metadata.generation && same_revision && replicas == Some(1)
    });
    match &observed.pod {
        Some(pod) if is_ready(pod) && settled => (
            [
                ok("the node serves"),
                no("nothing is under way"),
                no("nothing is wrong"),
            ],
            "Ready",
        ),
        Some(pod) if is_ready(pod) => (
            [
                say(
                    "False",
                    reason::UPDATING,
                    "the pod that serves is about to be replaced",
                ),
                say("True", reason::UPDATING, "the pod is being replaced"),
                no("nothing is wrong"),
            ],
            "Updating",
        ),
        _ => {
            let (why, message, degraded) = pod_trouble(observed);
            let wrong = if degraded {
                say("True", why, message.clone())
            } else {
                no("nothing is wrong")
            };
            (
                [
                    say("False", why, message.clone()),
                    say("True", why, message),
                    wrong,
                ],
                if degraded { "Degraded" } else { "Starting" },
            )
        }
    }
}

fn config_condition(valid: &Valid, outcome: &Outcome) -> Say {
    match outcome {
        Outcome::Applied { in_force, .. } => say(
            "True",
            reason::AS_EXPECTED,
            format!("in force in the life {} of the node", in_force.boot_id),
        ),
        Outcome::Refused(message) => say("False", reason::SETTINGS_REFUSED, message),
        Outcome::Unknown(message) => say("Unknown", reason::NODE_UNREACHABLE, message),
        Outcome::NoPod if valid.spec.stopped => say(
            "Unknown",
            reason::STOPPED,
            "no pod runs; the next one reads them at its start",
        ),
        Outcome::NoPod => say("Unknown", reason::STARTING, "no pod answers yet"),
    }
}

fn resizing_condition(valid: &Valid, observed: &Observed, applied: &Applied) -> Say {
    if let Some(message) = &applied.resize_refused {
        return say("False", reason::RESIZE_REFUSED, message);
    }
    match volumes::resizing(valid, observed) {
        Resizing::Done => say(
            "False",
            reason::AS_EXPECTED,
            "the volumes have the size of the spec",
        ),
        Resizing::Larger(message) => say("False", reason::LARGER_THAN_SPEC, message),
        Resizing::Growing(message) => say("True", reason::RESIZING, message),
        Resizing::WaitsForMount(message) => say("True", reason::WAITS_FOR_MOUNT, message),
    }
}

/// The status that should be there. Times of conditions that did not change stay.
pub fn status(
    instance: &GoDbInstance,
    valid: Option<&Valid>,
    observed: &Observed,
    progress: &Progress<'_>,
    now: Timestamp,
) -> GoDbInstanceStatus {
    let before = instance.status.clone().unwrap_or_default();
    let generation = instance.metadata.generation;
    let mut status = GoDbInstanceStatus {
        observed_generation: generation,
        ..before.clone()
    };
    let mut said: Vec<(&str, Say)> = Vec::new();
    let paused = if instance.spec.paused {
        say(
            "True",
            reason::PAUSED,
            "spec.paused is set: nothing is written but this status",
        )
    } else {
        say("False", reason::AS_EXPECTED, "the operator looks after it")
    };
    said.push((kind::RECONCILIATION_PAUSED, paused));
    let valid_or_not = match progress {
        Progress::Invalid(faults) => say("False", reason::APPLY_REFUSED, faults.join("; ")),
        _ => say("True", reason::AS_EXPECTED, "the spec can be carried out"),
    };
    said.push((kind::SPEC_VALID, valid_or_not));
    match (progress, valid) {
        (Progress::Done { applied, settings }, Some(valid)) => {
            let ([ready, progressing, degraded], phase) = pod_conditions(valid, observed);
            let degraded = match (&applied.resize_refused, settings) {
                _ if degraded.status == "True" => degraded,
                (Some(message), _) => say("True", reason::RESIZE_REFUSED, message),
                (None, Outcome::Refused(message)) => say("True", reason::SETTINGS_REFUSED, message),
                _ => degraded,
            };
            status.phase = Some(phase.to_owned());
            said.extend([
                (kind::READY, ready),
                (kind::PROGRESSING, progressing),
                (kind::DEGRADED, degraded),
                (kind::CONFIG_APPLIED, config_condition(valid, settings)),
                (
                    kind::STORAGE_RESIZING,
                    resizing_condition(valid, observed, applied),
                ),
                (kind::UPDATE_PENDING, update_pending(applied)),
            ]);
            if let Outcome::Applied { in_force, .. } = settings {
                status.engine = Some(settings::shown(in_force));
            }
        }
        (Progress::Failed(why, message), _) => {
            status.phase = Some("Degraded".to_owned());
            said.extend([
                (kind::READY, say("False", why, message)),
                (kind::DEGRADED, say("True", why, message)),
            ]);
        }
        _ => {
            status.phase = Some("Invalid".to_owned());
            said.push((
                kind::READY,
                say(
                    "False",
                    reason::APPLY_REFUSED,
                    "the spec cannot be carried out",
                ),
            ));
        }
    }
    if let Some(valid) = valid {
        status.endpoint = Some(valid.names.url());
        status.deletion_policy = Some(volumes::policy_in_force(valid, observed));
        status.version = Some(valid.spec.version.clone());
        let of = |wanted: &str| {
            let claim = observed.claims.iter().find(|(volume, _)| *volume == wanted);
            claim.and_then(|(_, claim)| volumes::capacity(claim).map(str::to_owned))
        };
        status.storage = Some(StorageStatus {
            capacity: of("data"),
            wal_capacity: of("wal"),
        });
    }
    for (kind, said) in said {
        set(&mut status.conditions, kind, said, generation, now);
    }
    status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    status
}

/// The condition that an event should tell of: something became wrong, in another way than before
/// or for another spec. What lasts is told once.
pub fn got_worse<'a>(
    before: Option<&GoDbInstanceStatus>,
    now: &'a GoDbInstanceStatus,
) -> Option<&'a Condition> {
    let wrong = |condition: &Condition| {
        matches!(
            (&*condition.type_, &*condition.status),
            (kind::DEGRADED, "True") | (kind::SPEC_VALID, "False")
        )
    };
    let told = |condition: &Condition| {
        let conditions = before.into_iter().flat_map(|before| &before.conditions);
        let mut same = conditions.filter(|old| {
            old.type_ == condition.type_
                && old.status == condition.status
                && old.reason == condition.reason
                && old.observed_generation == condition.observed_generation
        });
        same.next().is_some()
    };
    let mut found = now.conditions.iter();
    found.find(|condition| {
        wrong(condition)
            && condition.observed_generation == now.observed_generation
            && !told(condition)
    })
}

fn update_pending(applied: &Applied) -> Say {
    match &applied.pending {
        Some(path) => say(
            "True",
            reason::OPERATOR_CHANGED,
            format!(
                "this operator renders another pod ({path}); it goes in with the next restart that you cause, or with: kubectl annotate godbinstance NAME godb.dev/restart-at=\"$(date)\" --overwrite"
            ),
        ),
        None => say(
            "False",
            reason::AS_EXPECTED,
            "the pod is the one that this operator renders",
        ),
    }
}

#[cfg(test)]
mod tests;
