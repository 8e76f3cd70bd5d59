//! What can go wrong, by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::lsn::Lsn;

/// Result of a store operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// An error of the store. Each variant is one thing that a caller can act on; the message is for
/// people and is not part of the interface.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed. On the log this poisons the store; elsewhere it fails the
    /// operation alone.
    #[error("{op} {}: {message}", path.display())]
    Io {
        /// What was attempted, as a verb: "open", "write", "sync", …
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kind of the operating system's error.
        kind: io::ErrorKind,
        /// The operating system's message.
        message: String,
    },
    /// Bytes on disk are not what was written. Nothing was changed; keep a copy of the directory,
    /// then restore it from a backup.
    #[error("corrupt: {} at byte {offset}{}: {detail}", file.display(), lsn.map(|l| format!(" (LSN {l})")).unwrap_or_default())]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where the damage was noticed, in bytes from the start of the file.
        offset: u64,
        /// The first LSN that cannot be read, when it is known.
        lsn: Option<Lsn>,
        /// What was expected and what was found.
        detail: String,
    },
    /// A key that this transaction read has changed since. Read again and retry.
    #[error("a key this transaction read was changed by a newer one")]
    Conflict,
    /// Writers are held back for a moment; nothing was written. Wait for `Store::writable`.
    #[error("writers are held back: {reason}")]
    Busy {
        /// Which bound was reached.
        reason: &'static str,
    },
    /// The disk is nearly full; nothing was written. Reads and deletes go on.
    #[error(
        "the disk is nearly full: {free_bytes} bytes free, {reserve_bytes} are held in reserve; free space or grow the volume"
    )]
    DiskFull {
        /// Bytes the file system has left.
        free_bytes: u64,
        /// Bytes that only deletes, checkpoints and compaction may use.
        reserve_bytes: u64,
    },
    /// The log can no longer be written, so durability cannot be promised: the store is read-only
    /// until it is opened again. What was in flight has an unknown outcome.
    #[error("the store stopped taking writes after an error: {cause}; restart the node")]
    Poisoned {
        /// The error that did it.
        cause: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A key, value or transaction is larger than its limit; nothing was written.
    #[error("{what} of {bytes} bytes is larger than the limit of {limit_bytes}")]
    TooLarge {
        /// "key", "value" or "transaction".
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The answer is not in memory and the caller asked for no disk reads. Nothing was done; ask
    /// again with [`crate::Io::Allow`] where blocking is fine.
    #[error("the answer needs a disk read")]
    WouldBlock,
    /// A view was held for longer than its lease and its versions may be gone. Start again.
    #[error("the view at LSN {lsn} was held too long and has expired")]
    ViewExpired {
        /// The LSN of the view.
        lsn: Lsn,
    },
    /// The instance's durability level cannot give what the caller asked for.
    #[error("durability `{asked}` was asked for, but the instance runs at `none` and keeps no log")]
    LevelUnavailable {
        /// The level that was asked for.
        asked: crate::Durability,
    },
    /// Another process, or another store of this one, holds the directory.
    #[error("{} is in use by another process; stop it first, or use another directory", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file was written by a newer version of the program.
    #[error("{} has format version {found}, newer than {supported} that this program reads; use a newer godb", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version this program reads.
        supported: u32,
    },
    /// Directories that do not belong together, or an empty one where content is expected.
    #[error("{}: {detail}", path.display())]
    Mismatch {
        /// The directory at fault.
        path: PathBuf,
        /// What was expected and what to do.
        detail: String,
    },
    /// A snapshot cannot have this name.
    #[error(
        "`{name}` is no name of a snapshot: 1 to 128 letters, digits, `.`, `_` or `-`, the first one a letter, digit or `_`"
    )]
    InvalidName {
        /// The name, at most its first 128 characters.
        name: String,
    },
    /// A setting is out of its range; all faults at once.
    #[error("invalid settings: {}", faults.join("; "))]
    InvalidSettings {
        /// One sentence per fault.
        faults: Vec<String>,
    },
}

impl StoreError {
    /// An I/O error with the operation and the path it happened on.
    pub fn io(op: &'static str, path: impl AsRef<Path>, source: &io::Error) -> Self {
        StoreError::Io {
            op,
            path: path.as_ref().to_path_buf(),
            kind: source.kind(),
            message: source.to_string(),
        }
    }

    /// Damage at `offset` of `file`.
    pub fn corrupt(file: impl AsRef<Path>, offset: u64, detail: impl Into<String>) -> Self {
        StoreError::Corrupt {
            file: file.as_ref().to_path_buf(),
            offset,
            lsn: None,
            detail: detail.into(),
        }
    }

    /// Whether this is the file system saying that it has no space left.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(
            self,
            StoreError::Io {
                kind: io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded,
                ..
            }
        )
    }
}
