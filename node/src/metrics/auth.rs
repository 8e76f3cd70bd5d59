//! Tokens: what was refused, and whether the file in force is the file on disk.

use prometheus::{IntCounter, IntGauge, Result};

use super::Maker;

/// A listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Documents.
    Documents,
    /// Metrics, probes, administration.
    Admin,
}

/// Why a request was not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It had no token.
    Missing,
    /// Nobody has that token.
    Wrong,
    /// The token's role is not enough.
    Role,
    /// One more wrong token of an address that sent too many.
    TooMany,
}

const PORTS: [(Port, &str); 2] = [(Port::Documents, "documents"), (Port::Admin, "admin")];
const REFUSALS: [(Refusal, &str); 4] = [
    (Refusal::Missing, "missing"),
    (Refusal::Wrong, "wrong"),
    (Refusal::Role, "role"),
    (Refusal::TooMany, "too_many"),
];

/// Counters with their handles resolved.
pub struct AuthMetrics {
    refused: Vec<(Port, Refusal, IntCounter)>,
    tokens: IntGauge,
    reloaded: IntCounter,
    reload_failed: IntCounter,
    stale: IntGauge,
}

impl AuthMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Result<Self> {
        let refused = make.counters(
            "godb_auth_refused_total",
            "Requests that were not let through, by listener and reason: no token (missing), an unknown one (wrong), one whose role is not enough (role); too_many are those of wrong that were answered with 429.",
            &["listener", "reason"],
        )?;
        let reloads = make.counters(
            "godb_auth_reloads_total",
            "Changes of the tokens that were taken over (done) or could not be (failed).",
            &["outcome"],
        )?;
        let pairs = PORTS
            .iter()
            .flat_map(|port| REFUSALS.iter().map(move |refusal| (port, refusal)));
        Ok(Self {
            refused: pairs
                .map(|((port, listener), (refusal, reason))| {
                    let counter = refused.with_label_values(&[*listener, *reason]);
                    (*port, *refusal, counter)
                })
                .collect(),
            tokens: make.gauge(
                "godb_auth_tokens",
                "Tokens in force; 0 if none are asked for.",
            )?,
            reloaded: reloads.with_label_values(&["done"]),
            reload_failed: reloads.with_label_values(&["failed"]),
            stale: make.gauge(
                "godb_auth_tokens_stale",
                "1 if the tokens on disk cannot be used, so that older ones are in force.",
            )?,
        })
    }

    /// A request was not let through.
    pub fn refused(&self, port: Port, refusal: Refusal) {
        let same = |row: &&(Port, Refusal, IntCounter)| row.0 == port && row.1 == refusal;
        if let Some((.., counter)) = self.refused.iter().find(same) {
            counter.inc();
        }
    }

    /// So many tokens are in force.
    pub fn set_tokens(&self, tokens: usize) {
        self.tokens.set(i64::try_from(tokens).unwrap_or(i64::MAX));
    }

    /// New tokens are in force.
    pub fn reloaded(&self, tokens: usize) {
        self.reloaded.inc();
        self.set_tokens(tokens);
    }

    /// The tokens changed to what cannot be used.
    pub fn reload_failed(&self) {
        self.reload_failed.inc();
    }

    /// Whether that is so still.
    pub fn set_stale(&self, stale: bool) {
        self.stale.set(i64::from(stale));
    }
}
