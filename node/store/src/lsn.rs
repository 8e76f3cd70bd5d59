//! Log sequence numbers and the watermarks that are ordered by them.

use std::fmt;

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
