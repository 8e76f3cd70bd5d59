//! Registry of open views: which old versions are still needed.
//!
//! A view registers under the same lock under which the oldest needed LSN is computed, and reads
//! the visible LSN inside it. So an LSN that is dropped is below every registered view and below
//! every view that registers later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Result, StoreError};
use crate::lsn::{Lsn, Watermarks};
use crate::sync::{Mutex, lock};

/// See the module.
#[derive(Default)]
pub(crate) struct Readers {
    open: Mutex<BTreeMap<(Lsn, u64), Instant>>,
    next: std::sync::atomic::AtomicU64,
}

/// A place in the registry, given back on drop.
pub(crate) struct Registration {
    readers: Arc<Readers>,
    key: (Lsn, u64),
}

impl Readers {
    /// Registers a view at the visible LSN; it may be held for `lease`.
    pub(crate) fn register(self: &Arc<Self>, marks: &Watermarks, lease: Duration) -> Registration {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut open = lock(&self.open);
        let key = (marks.visible(), id);
        open.insert(key, Instant::now() + lease);
        drop(open);
        Registration {
            readers: Arc::clone(self),
            key,
        }
    }

    /// Versions below the newest one at or below this LSN are needed by nobody. Views whose lease
    /// has run out are removed first, so one reader cannot keep old versions for ever.
    pub(crate) fn oldest_needed(&self, marks: &Watermarks) -> Lsn {
        let now = Instant::now();
        let mut open = lock(&self.open);
        open.retain(|_, expires| *expires > now);
        let visible = marks.visible();
        open.first_key_value()
            .map_or(visible, |((lsn, _), _)| (*lsn).min(visible))
    }

    /// How many views are open.
    pub(crate) fn count(&self) -> usize {
        lock(&self.open).len()
    }
}

impl Registration {
    /// The LSN of the view.
    pub(crate) fn lsn(&self) -> Lsn {
        self.key.0
    }

    /// Fails once the lease has run out and versions may have been dropped.
    pub(crate) fn check(&self) -> Result<()> {
        let held = lock(&self.readers.open)
            .get(&self.key)
            .is_some_and(|at| *at > Instant::now());
        if held {
            Ok(())
        } else {
            Err(StoreError::ViewExpired { lsn: self.key.0 })
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.readers.open).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_view_holds_versions_until_it_is_dropped_or_its_lease_ends() {
        let (readers, marks) = (Arc::new(Readers::default()), Watermarks::default());
        marks.start(Lsn(5), Lsn(0));
        let first = readers.register(&marks, Duration::from_secs(60));
        marks.start(Lsn(9), Lsn(0));
        let second = readers.register(&marks, Duration::ZERO);
        assert_eq!(
            (first.lsn(), second.lsn(), readers.count()),
            (Lsn(5), Lsn(9), 2)
        );
        assert_eq!(readers.oldest_needed(&marks), Lsn(5));
        assert!(first.check().is_ok());
        assert!(matches!(
            second.check(),
            Err(StoreError::ViewExpired { lsn: Lsn(9) })
        ));
        drop(first);
        assert_eq!(readers.oldest_needed(&marks), Lsn(9));
        assert_eq!(readers.count(), 0, "an expired view is forgotten");
    }
}
