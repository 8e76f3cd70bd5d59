//! Leader election by a Lease, with the rules of client-go's `leaderelection` package: every write
//! carries the resource version that was read, and a lease has expired when *this* process saw it
//! unchanged for its whole duration, whatever clocks say.
//!
//! Correctness never rests on it: deletes carry UIDs, creates meet 409, applies are idempotent. It
//! keeps two copies from doing the same work.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::error::status_is;

/// How long a lease holds without being renewed.
const DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for so long gives up, well before others may take over.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two tries.
const RETRY: Duration = Duration::from_secs(2);

/// A candidate.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    namespace: String,
    identity: String,
    /// The lease as it was seen last, and since when it has been like this.
    seen: Option<(LeaseSpec, Instant)>,
}

/// What to do after a look at the lease (pure).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// It is ours: renew it.
    Renew,
    /// It is nobody's or has expired: take it.
    Take,
    /// Somebody holds it.
    Wait,
}

fn decide(spec: &LeaseSpec, identity: &str, unchanged_for: Duration) -> Move {
    match spec.holder_identity.as_deref() {
        Some(holder) if holder == identity => Move::Renew,
        None | Some("") => Move::Take,
        Some(_) if unchanged_for >= DURATION => Move::Take,
        Some(_) => Move::Wait,
    }
}

impl Candidate {
    /// `identity` is different for every process.
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            identity,
            seen: None,
        }
    }

    /// Returns when the lease is ours.
    pub async fn acquire(&mut self) {
        loop {
            match tokio::time::timeout(RENEW_DEADLINE, self.attempt()).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the lease cannot be read or written"),
                Err(_) => tracing::warn!("the API server does not answer; the lease is not ours"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Renews it until it is lost, and returns then: what acts as the leader must end.
    pub async fn hold(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RETRY).await;
            let attempt = tokio::time::timeout(RENEW_DEADLINE, self.attempt()).await;
            match attempt {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(%error, "the lease was not renewed"),
                Err(_) => {
                    tracing::warn!("the API server does not answer; the lease was not renewed")
                }
            }
            if renewed.elapsed() >= RENEW_DEADLINE {
                return;
            }
        }
    }

    /// Gives it back, so that another copy need not wait.
    pub async fn release(&self) {
        let released = async {
            let mut lease = self.api.get(&self.name).await?;
            if let Some(spec) = &mut lease.spec
                && spec.holder_identity.as_deref() == Some(&*self.identity)
            {
                spec.holder_identity = Some(String::new());
                self.api
                    .replace(&self.name, &PostParams::default(), &lease)
                    .await?;
            }
            Ok::<_, kube::Error>(())
        };
        if let Ok(Err(error)) = tokio::time::timeout(RETRY, released).await {
            tracing::info!(%error, "the lease was not given back");
        }
    }

    /// One look and at most one write. Whether the lease is ours afterwards.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let now = MicroTime(Timestamp::now());
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    namespace: Some(self.namespace.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(LeaseSpec {
                    acquire_time: Some(now.clone()),
                    ..self.spec(now, 0)
                }),
            };
            return match self.api.create(&PostParams::default(), &lease).await {
                Ok(_) => Ok(true),
                Err(error) if status_is(&error, 409) => Ok(false),
                Err(error) => Err(error),
            };
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == spec => *since,
            _ => Instant::now(),
        };
        self.seen = Some((spec.clone(), since));
        let transitions = spec.lease_transitions.unwrap_or_default();
        let next = match decide(&spec, &self.identity, since.elapsed()) {
            Move::Wait => return Ok(false),
            Move::Renew => LeaseSpec {
                acquire_time: spec.acquire_time.clone(),
                ..self.spec(now, transitions)
            },
            Move::Take => LeaseSpec {
                acquire_time: Some(now.clone()),
                ..self.spec(now, transitions.saturating_add(1))
            },
        };
        lease.spec = Some(next);
        match self
            .api
            .replace(&self.name, &PostParams::default(), &lease)
            .await
        {
            Ok(_) => Ok(true),
            // Somebody wrote it since it was read.
            Err(error) if status_is(&error, 409) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn spec(&self, now: MicroTime, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            lease_transitions: Some(transitions),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_when_it_stood_still_for_its_duration() {
        let held = |by: &str| LeaseSpec {
            holder_identity: Some(by.to_owned()),
            ..LeaseSpec::default()
        };
        let second = Duration::from_secs(1);
        assert_eq!(decide(&held("me"), "me", DURATION * 9), Move::Renew);
        assert_eq!(decide(&held("you"), "me", DURATION - second), Move::Wait);
        assert_eq!(decide(&held("you"), "me", DURATION), Move::Take);
        assert_eq!(decide(&held(""), "me", Duration::ZERO), Move::Take);
        assert_eq!(
            decide(&LeaseSpec::default(), "me", Duration::ZERO),
            Move::Take
        );
        const { assert!(RENEW_DEADLINE.as_secs() < DURATION.as_secs()) };
    }
}
