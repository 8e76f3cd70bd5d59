//! Reading: what a source yields, and what a reader may cost.

pub(crate) mod merge;
pub(crate) mod version;
pub(crate) mod view;

use std::ops::Bound;

use bytes::Bytes;

use crate::error::Result;
use crate::lsn::Lsn;

/// One version of one key, as every source (memtable, table, merge) yields it. Sources yield in
/// ascending key order and, within a key, newest first; in [`Direction::Descending`] both are
/// reversed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedEntry {
    /// The key.
    pub key: Bytes,
    /// The LSN of the transaction that wrote it.
    pub lsn: Lsn,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

/// What a reader gets for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The LSN of the transaction that wrote it.
    pub lsn: Lsn,
    /// The value.
    pub value: Bytes,
}

/// Whether a read may go to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// It may, and so may block.
    Allow,
    /// It may not: [`crate::StoreError::WouldBlock`] instead. For threads that must not block.
    MemoryOnly,
}

/// Order of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending by key.
    Ascending,
    /// Descending by key.
    Descending,
}

/// Keys from `lower` to `upper`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// Lower bound.
    pub lower: Bound<Bytes>,
    /// Upper bound.
    pub upper: Bound<Bytes>,
}

/// A sorted source of versions.
pub type Source = Box<dyn Iterator<Item = Result<VersionedEntry>> + Send>;
