//! What the API server refused lately, so that it is not asked for with every look: nothing tells
//! us when the cause goes (a StorageClass is no object of ours to read), so it is tried again after
//! a while.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a refusal stands.
const STANDS: Duration = Duration::from_secs(120);
/// Refusals that are remembered; more are asked again.
const MAX_REMEMBERED: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<HashMap<String, (Instant, String)>>);

impl Refusals {
    fn all(&self) -> MutexGuard<'_, HashMap<String, (Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer, if `what` was refused lately.
    pub fn recent(&self, what: &str) -> Option<String> {
        self.recent_at(what, Instant::now())
    }

    fn recent_at(&self, what: &str, now: Instant) -> Option<String> {
        let mut all = self.all();
        let (since, message) = all.get(what)?;
        if now.saturating_duration_since(*since) < STANDS {
            return Some(message.clone());
        }
        all.remove(what);
        None
    }

    /// `what` was refused just now.
    pub fn remember(&self, what: String, message: String) {
        let mut all = self.all();
        if all.len() >= MAX_REMEMBERED {
            all.clear();
        }
        all.insert(what, (Instant::now(), message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_stands_for_a_while() {
        let refusals = Refusals::default();
        assert_eq!(refusals.recent("a"), None);
        refusals.remember("a".to_owned(), "no".to_owned());
        assert_eq!(refusals.recent("a").as_deref(), Some("no"));
        assert_eq!(refusals.recent_at("a", Instant::now() + STANDS), None);
    }
}
