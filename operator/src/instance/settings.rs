//! Settings that change without a restart: the ConfigMap is the truth, the admin port makes it
//! quick. What is in force is asked on every reconcile, and a difference is put back.

use std::collections::BTreeMap;

use godb_crds::{EngineStatus, quantity};

use super::validate::LiveSettings;
use crate::node_client::{self, InForce, NodeError};

/// What became of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The node has them.
    Applied {
        /// What it said.
        in_force: InForce,
        /// Which were put right by this reconcile.
        changed: Vec<String>,
    },
    /// The node refused them; the message is its answer.
    Refused(String),
    /// Nobody answered; the message says why.
    Unknown(String),
    /// There is no pod to ask.
    NoPod,
}

/// Only asks.
pub async fn look(address: &str, token: &str, wanted: &LiveSettings) -> Outcome {
    match node_client::settings(address, token).await {
        Ok(in_force) => {
            let left = differing(&in_force.live, wanted);
            if left.is_empty() {
                Outcome::Applied {
                    in_force,
                    changed: Vec::new(),
                }
            } else {
                Outcome::Unknown(format!("paused: {} differ", left.join(", ")))
            }
        }
        Err(error) => Outcome::Unknown(error.to_string()),
    }
}

/// Asks the node and puts right what differs.
pub async fn apply(address: &str, token: &str, wanted: &LiveSettings) -> Outcome {
    let in_force = match node_client::settings(address, token).await {
        Ok(in_force) => in_force,
        Err(error) => return Outcome::Unknown(error.to_string()),
    };
    let changed = differing(&in_force.live, wanted);
    if changed.is_empty() {
        return Outcome::Applied { in_force, changed };
    }
    match node_client::change(address, token, wanted).await {
        Ok(in_force) => {
            let left = differing(&in_force.live, wanted);
            if left.is_empty() {
                Outcome::Applied { in_force, changed }
            } else {
                Outcome::Refused(format!("the node kept its own {}", left.join(", ")))
            }
        }
        Err(NodeError::Refused {
            status, message, ..
        }) if status.is_client_error() => Outcome::Refused(message),
        Err(error) => Outcome::Unknown(error.to_string()),
    }
}

/// Settings whose value in force is another one.
pub fn differing(in_force: &BTreeMap<String, String>, wanted: &LiveSettings) -> Vec<String> {
    wanted
        .iter()
        .filter(|(key, value)| !in_force.get(**key).is_some_and(|found| same(found, value)))
        .map(|(key, _)| (*key).to_owned())
        .collect()
}

/// The same value, however it is written: `32MiB` is `32Mi`, `60s` is `1m`.
fn same(a: &str, b: &str) -> bool {
    let bytes = |text: &str| quantity::bytes(text.strip_suffix('B').unwrap_or(text));
    a == b
        || bytes(a).is_some_and(|value| Some(value) == bytes(b))
        || milliseconds(a).is_some_and(|value| Some(value) == milliseconds(b))
}

/// A duration such as `1h30m` in milliseconds.
fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit)?;
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = tail;
    }
    Some(total)
}

/// What the status says of them.
pub fn shown(in_force: &InForce) -> EngineStatus {
    let value = |key: &str| in_force.live.get(key).cloned().unwrap_or_default();
    EngineStatus {
        durability: value("durability"),
        checkpoint_interval: value("checkpoint_interval"),
        max_wal_size: value("max_wal_size"),
        max_memory: value("max_memory"),
        log_level: value("log_level"),
        boot_id: in_force.boot_id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_and_not_spellings() {
        for (a, b) in [
            ("32MiB", "32Mi"),
            ("1GiB", "1024Mi"),
            ("64MB", "64M"),
            ("60s", "1m"),
            ("90m", "1h30m"),
            ("full", "full"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("32MiB", "33Mi"),
            ("60s", "61s"),
            ("full", "os"),
            ("", "1s"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn a_missing_setting_differs() {
        let wanted = LiveSettings::from([("durability", "full".to_owned())]);
        assert_eq!(differing(&BTreeMap::new(), &wanted), ["durability"]);
        let found = BTreeMap::from([("durability".to_owned(), "full".to_owned())]);
        assert!(differing(&found, &wanted).is_empty());
    }
}
