//! Log sequence numbers and the watermarks that are ordered by them.

use std::fmt;
use std::sync::atomic::Ordering;

use crate::sync::AtomicU64;

/// Log sequence number: one per transaction, the first is 1, dense within a run.
///
/// All writes of a transaction share its LSN, so atomic visibility needs nothing else. Only the
/// commit pipeline makes LSNs. An LSN that was ever shown never means anything else later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first transaction.
    pub const ZERO: Lsn = Lsn(0);
    /// Above every LSN that can be given out: reads the newest version.
    pub const MAX: Lsn = Lsn(u64::MAX);

    /// The LSN that follows this one.
    #[must_use]
    pub const fn next(self) -> Lsn {
        Lsn(self.0.saturating_add(1))
    }

    /// `count` LSNs further on.
    #[must_use]
    pub const fn plus(self, count: u64) -> Lsn {
        Lsn(self.0.saturating_add(count))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far the store is, as LSNs. `appended >= written >= durable >= checkpointed` holds while a
/// log is kept; `visible` is at most `appended` at `none` and `memory`, `written` at `os` and
/// `durable` at `full`. Without a log, written and durable are the checkpoint's LSN.
///
/// None of them ever steps back.
#[derive(Debug, Default)]
pub(crate) struct Watermarks {
    appended: AtomicU64,
    written: AtomicU64,
    durable: AtomicU64,
    visible: AtomicU64,
    checkpointed: AtomicU64,
}

impl Watermarks {
    /// All at `lsn`, but the checkpoint's, after recovery.
    pub(crate) fn start(&self, lsn: Lsn, checkpointed: Lsn) {
        for mark in [&self.appended, &self.written, &self.durable, &self.visible] {
            mark.store(lsn.0, Ordering::Release);
        }
        self.checkpointed.store(checkpointed.0, Ordering::Release);
    }

    pub(crate) fn appended(&self) -> Lsn {
        Lsn(self.appended.load(Ordering::Acquire))
    }
    pub(crate) fn written(&self) -> Lsn {
        Lsn(self.written.load(Ordering::Acquire))
    }
    pub(crate) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }
    pub(crate) fn visible(&self) -> Lsn {
        Lsn(self.visible.load(Ordering::Acquire))
    }
    pub(crate) fn checkpointed(&self) -> Lsn {
        Lsn(self.checkpointed.load(Ordering::Acquire))
    }

    pub(crate) fn set_appended(&self, lsn: Lsn) {
        self.appended.fetch_max(lsn.0, Ordering::AcqRel);
    }
    pub(crate) fn set_written(&self, lsn: Lsn) {
        debug_assert!(lsn <= self.appended());
        self.written.fetch_max(lsn.0, Ordering::AcqRel);
    }
    pub(crate) fn set_durable(&self, lsn: Lsn) {
        debug_assert!(lsn <= self.written());
        self.durable.fetch_max(lsn.0, Ordering::AcqRel);
    }
    pub(crate) fn set_visible(&self, lsn: Lsn) {
        debug_assert!(lsn <= self.appended());
        self.visible.fetch_max(lsn.0, Ordering::AcqRel);
    }
    pub(crate) fn set_checkpointed(&self, lsn: Lsn) {
        debug_assert!(lsn <= self.durable());
        self.checkpointed.fetch_max(lsn.0, Ordering::AcqRel);
    }
}
