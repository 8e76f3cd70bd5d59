//! Registry of open views: which old versions are still needed.
//!
//! A view registers under the same lock under which the oldest needed LSN is computed, and reads
//! the visible LSN inside it. So an LSN that is dropped is below every registered view and below
//! every view that registers later.
//!
//! A view may be held for its lease, and each read renews it: one that makes progress does not end
//! in the middle, one that stands still ends after one lease, and none is held for longer than
//! [`MAX_LEASES`] of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Result, StoreError};
use crate::lsn::{Lsn, Watermarks};
use crate::sync::{Mutex, lock};

/// Leases that a view may have one after the other: a day, at the default of 10 minutes.
pub(crate) const MAX_LEASES: u32 = 144;

/// See the module.
#[derive(Default)]
pub(crate) struct Readers {
    open: Mutex<BTreeMap<(Lsn, u64), Held>>,
    next: std::sync::atomic::AtomicU64,
}

/// Until when a view may be held.
struct Held {
    /// Unless it is renewed.
    expires: Instant,
    /// In any case.
    last: Instant,
    lease: Duration,
}

/// A place in the registry, given back on drop.
pub(crate) struct Registration {
    readers: Arc<Readers>,
    key: (Lsn, u64),
}

impl Readers {
    /// Registers a view at the visible LSN; it may be held for `lease` from its last read.
    pub(crate) fn register(self: &Arc<Self>, marks: &Watermarks, lease: Duration) -> Registration {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut open = lock(&self.open);
        let key = (marks.visible(), id);
        let now = Instant::now();
        let held = Held {
            expires: now + lease,
            last: now + lease * MAX_LEASES,
            lease,
        };
        open.insert(key, held);
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
        open.retain(|_, held| held.expires > now);
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

    /// Renews the lease; fails once it has run out and versions may have been dropped.
    pub(crate) fn renew(&self) -> Result<()> {
        let now = Instant::now();
        match lock(&self.readers.open).get_mut(&self.key) {
            Some(held) if held.expires > now => {
                held.expires = (now + held.lease).min(held.last);
                Ok(())
            }
            _ => Err(StoreError::ViewExpired { lsn: self.key.0 }),
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
        assert!(first.renew().is_ok());
        assert!(matches!(
            second.renew(),
            Err(StoreError::ViewExpired { lsn: Lsn(9) })
        ));
        drop(first);
        assert_eq!(readers.oldest_needed(&marks), Lsn(9));
        assert_eq!(readers.count(), 0, "an expired view is forgotten");
    }

    #[test]
    fn a_read_renews_the_lease_up_to_a_bound_and_standing_still_ends_it() {
        let (readers, marks) = (Arc::new(Readers::default()), Watermarks::default());
        marks.start(Lsn(5), Lsn(0));
        let view = readers.register(&marks, Duration::from_secs(60));
        let expires = |view: &Registration| lock(&readers.open)[&view.key].expires;
        let registered = expires(&view);
        std::thread::sleep(Duration::from_millis(2));
        view.renew().unwrap();
        assert!(expires(&view) > registered);
        let last = {
            let mut open = lock(&readers.open);
            let held = open.get_mut(&view.key).unwrap();
            assert_eq!(held.last - registered, held.lease * (MAX_LEASES - 1));
            held.last = Instant::now() + Duration::from_secs(1);
            held.last
        };
        view.renew().unwrap();
        assert_eq!(expires(&view), last, "never beyond the bound");
        lock(&readers.open).get_mut(&view.key).unwrap().expires = Instant::now();
        assert!(view.renew().is_err());
        assert_eq!(readers.oldest_needed(&marks), Lsn(5));
        assert_eq!(readers.count(), 0);
    }
}
