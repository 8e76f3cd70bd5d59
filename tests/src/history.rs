//! The oracle of the crash tests: what must be there after a restart, what may be, what must not.
//!
//! Each writer owns its documents and waits for one answer before it sends the next request, so at
//! a crash at most one of its requests has an unknown outcome. The rules:
//!
//! 1. a write that was acknowledged is there, with exactly its value;
//! 2. the one request without an answer happened as a whole or not at all;
//! 3. nothing is there that was never sent;
//! 4. nothing is there whose deletion was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Documents by id.
pub type State = BTreeMap<String, Value>;

/// What one request would do: a new value for each id, or none where it deletes.
pub type Effect = BTreeMap<String, Option<Value>>;

/// One writer's record.
#[derive(Clone, Debug, Default)]
pub struct History {
    acknowledged: State,
    in_flight: Option<Effect>,
    /// Requests that were acknowledged.
    pub acknowledged_requests: u64,
    /// Requests whose outcome a restart had to show.
    pub unknown_requests: u64,
}

impl History {
    /// Documents as they were last acknowledged.
    pub fn state(&self) -> &State {
        &self.acknowledged
    }

    /// To be called before the first byte of a request goes out.
    pub fn sent(&mut self, effect: Effect) {
        assert!(self.in_flight.is_none(), "one request at a time");
        self.in_flight = Some(effect);
    }

    /// The answer was a success.
    pub fn acknowledged(&mut self) {
        let effect = self.in_flight.take().expect("a request was sent");
        apply(&mut self.acknowledged, effect);
        self.acknowledged_requests += 1;
    }

    /// The answer was a refusal: nothing was written.
    pub fn refused(&mut self) {
        self.in_flight.take().expect("a request was sent");
    }

    /// Whether a request waits for its answer.
    pub fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Compares with what is there after a restart, and goes on from it.
    ///
    /// # Errors
    /// Every broken rule, a line each.
    pub fn settle(&mut self, found: &State) -> Result<(), Vec<String>> {
        let without = self.acknowledged.clone();
        let mut possible = vec![without.clone()];
        if let Some(effect) = self.in_flight.take() {
            self.unknown_requests += 1;
            let mut with = without.clone();
            apply(&mut with, effect);
            possible.push(with);
        }
        if possible.contains(found) {
            self.acknowledged.clone_from(found);
            return Ok(());
        }
        Err(differences(&possible, found))
    }
}

fn apply(state: &mut State, effect: Effect) {
    for (id, value) in effect {
        match value {
            Some(value) => state.insert(id, value),
            None => state.remove(&id),
        };
    }
}

/// In words. `possible[0]` is the state without the request in flight.
fn differences(possible: &[State], found: &State) -> Vec<String> {
    let mut lines = Vec::new();
    let ids: BTreeSet<&String> = possible
        .iter()
        .flat_map(State::keys)
        .chain(found.keys())
        .collect();
    let mut happened = [false; 2];
    for id in ids {
        let allowed: Vec<Option<&Value>> = possible.iter().map(|state| state.get(id)).collect();
        let actual = found.get(id);
        if !allowed.contains(&actual) {
            lines.push(match (allowed[0], actual) {
                (Some(value), None) => format!("LOST {id}: acknowledged {value}"),
                (None, Some(value)) => format!("NEVER SENT OR DELETED {id}: found {value}"),
                (Some(value), Some(other)) => {
                    format!("WRONG {id}: acknowledged {value}, found {other}")
                }
                (None, None) => unreachable!("equal values are allowed"),
            });
        } else if allowed.len() == 2 && allowed[0] != allowed[1] {
            happened[usize::from(actual == allowed[1])] = true;
        }
    }
    if happened == [true, true] {
        lines.push("TORN: the request in flight was applied in part".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn effect(items: &[(&str, Option<i32>)]) -> Effect {
        let value = |n: &Option<i32>| n.map(|n| json!({ "n": n }));
        items
            .iter()
            .map(|(id, n)| ((*id).to_owned(), value(n)))
            .collect()
    }

    fn state(items: &[(&str, i32)]) -> State {
        items
            .iter()
            .map(|(id, n)| ((*id).to_owned(), json!({ "n": n })))
            .collect()
    }

    /// a=1, b=2 acknowledged, c deleted and acknowledged; {a=10, d=4, b gone} in flight.
    fn history() -> History {
        let mut history = History::default();
        for step in [
            effect(&[("a", Some(1)), ("c", Some(3))]),
            effect(&[("b", Some(2))]),
            effect(&[("c", None)]),
        ] {
            history.sent(step);
            history.acknowledged();
        }
        history.sent(effect(&[("a", Some(10)), ("d", Some(4)), ("b", None)]));
        history
    }

    #[test]
    fn both_outcomes_of_the_request_in_flight_are_fine() {
        for found in [state(&[("a", 1), ("b", 2)]), state(&[("a", 10), ("d", 4)])] {
            let mut history = history();
            assert_eq!(history.settle(&found), Ok(()));
            assert_eq!(history.state(), &found);
            assert!(!history.is_in_flight());
            assert_eq!(
                (history.acknowledged_requests, history.unknown_requests),
                (3, 1)
            );
        }
    }

    #[test]
    fn each_broken_rule_is_named() {
        for (found, word) in [
            (state(&[("a", 1)]), "TORN"),
            (state(&[("b", 2)]), "LOST a"),
            (state(&[("a", 7), ("b", 2)]), "WRONG a"),
            (
                state(&[("a", 1), ("b", 2), ("c", 3)]),
                "NEVER SENT OR DELETED c",
            ),
            (
                state(&[("a", 1), ("b", 2), ("x", 0)]),
                "NEVER SENT OR DELETED x",
            ),
            (state(&[("a", 10), ("b", 2), ("d", 4)]), "TORN"),
        ] {
            let lines = history().settle(&found).unwrap_err();
            assert!(
                lines.iter().any(|line| line.starts_with(word)),
                "{word}: {lines:?}"
            );
        }
    }

    #[test]
    fn a_refused_request_must_leave_nothing() {
        let mut history = History::default();
        history.sent(effect(&[("a", Some(1))]));
        history.refused();
        assert!(history.settle(&state(&[("a", 1)])).is_err());
    }
}
