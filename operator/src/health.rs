//! What the operator's own probes ask.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A reconcile that takes longer hangs: each of its calls has a deadline far below.
const HANGS_AFTER: Duration = Duration::from_secs(600);

/// Alive: no reconcile hangs. Ready: this copy acts, or waits for its turn to.
///
/// An API server that is away fails neither: reconciles end with errors then, and restarting the
/// operator would not bring it back.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    running: Mutex<HashMap<String, Instant>>,
    ready: AtomicBool,
}

/// A reconcile that runs.
#[derive(Debug)]
pub struct Running {
    health: Health,
    uid: String,
}

impl Health {
    /// A reconcile of the object begins.
    pub fn began(&self, uid: String) -> Running {
        self.running().insert(uid.clone(), Instant::now());
        Running {
            health: self.clone(),
            uid,
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing hangs.
    pub fn is_alive(&self, now: Instant) -> bool {
        self.running()
            .values()
            .all(|began| now.saturating_duration_since(*began) < HANGS_AFTER)
    }

    /// From now on it acts, or waits for its turn.
    pub fn set_ready(&self) {
        self.0.ready.store(true, Ordering::Release);
    }

    /// Whether it does.
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.health.running().remove(&self.uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reconcile_that_hangs_is_noticed() {
        let health = Health::default();
        let running = health.began("a".to_owned());
        let later = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert!(health.is_alive(later(500)));
        assert!(!health.is_alive(later(700)));
        drop(running);
        assert!(health.is_alive(later(700)));
    }
}
