//! Conditions of every kind (pure). The time of one that says the same stays, so a status that did
//! not change is equal to the one before.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Longest quote of somebody else's words, in characters.
const MAX_QUOTE: usize = 1000;

/// What a condition says.
pub struct Say {
    /// True, False or Unknown.
    pub status: &'static str,
    /// One word, on which alerts match.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// It, with a message of bounded length.
pub fn say(status: &'static str, reason: &'static str, message: impl Into<String>) -> Say {
    let message: String = message.into();
    Say {
        status,
        reason,
        message: message.chars().take(MAX_QUOTE).collect(),
    }
}

/// Puts it among the conditions.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: &str,
    said: Say,
    generation: Option<i64>,
    now: Timestamp,
) {
    let found = conditions.iter().position(|found| found.type_ == kind);
    let time = found
        .and_then(|at| conditions.get(at))
        .filter(|found| found.status == said.status)
        .map_or(Time(now), |found| found.last_transition_time.clone());
    let condition = Condition {
        type_: kind.to_owned(),
        status: said.status.to_owned(),
        reason: said.reason.to_owned(),
        message: said.message,
        observed_generation: generation,
        last_transition_time: time,
    };
    match found.and_then(|at| conditions.get_mut(at)) {
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
}
