//! Names of the calls of the I/O seam, for the disks that count, fail or cut them.

use std::collections::BTreeMap;
use std::fmt;

/// One call of [`Disk`](super::Disk) or [`File`](super::File).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// `open` of an existing file.
    Open,
    /// `open` that makes the file.
    Create,
    /// `create_dir`.
    CreateDir,
    /// `list`.
    List,
    /// `rename`.
    Rename,
    /// `remove`.
    Remove,
    /// `link`.
    Link,
    /// `sync_dir`.
    SyncDir,
    /// `space`.
    Space,
    /// `lock`, which makes the file if it is missing.
    Lock,
    /// `read_exact_at`.
    Read,
    /// `write_all_at`.
    Write,
    /// `sync_data`.
    SyncData,
    /// `truncate`.
    Truncate,
    /// `len` and `is_empty`.
    Len,
}

impl CallKind {
    /// Whether the call can change what a power cut leaves: it writes, names or syncs.
    pub fn is_change(self) -> bool {
        match self {
            Self::Create
            | Self::CreateDir
            | Self::Rename
            | Self::Remove
            | Self::Link
            | Self::SyncDir
            | Self::Lock
            | Self::Write
            | Self::SyncData
            | Self::Truncate => true,
            Self::Open | Self::List | Self::Space | Self::Read | Self::Len => false,
        }
    }
}

/// How many calls of each kind were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallCounts(BTreeMap<CallKind, u64>);

impl CallCounts {
    /// Calls of one kind.
    pub fn of(&self, kind: CallKind) -> u64 {
        self.0.get(&kind).copied().unwrap_or(0)
    }

    /// Calls that can change what a power cut leaves, of all kinds.
    pub fn changes(&self) -> u64 {
        self.0
            .iter()
            .filter(|(kind, _)| kind.is_change())
            .map(|(_, count)| count)
            .sum()
    }

    pub(super) fn add(&mut self, kind: CallKind) {
        *self.0.entry(kind).or_insert(0) += 1;
    }
}

impl fmt::Display for CallCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (kind, count) in &self.0 {
            write!(f, "{separator}{kind:?} {count}")?;
            separator = ", ";
        }
        Ok(())
    }
}
