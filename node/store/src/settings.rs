//! What a store is told: settings are data, components are passed in.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::Disk;
use crate::error::{Result, StoreError};
use crate::limits;
use crate::observer::Observer;

/// When a write is acknowledged, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Durability {
    /// In the memtable; no log is written. Survives neither a process kill nor a power loss.
    None = 0,
    /// In the log buffer, written within a bounded delay. A kill loses the last moments.
    Memory = 1,
    /// After write(2): survives a process kill, not a power loss.
    #[default]
    Os = 2,
    /// After fdatasync: survives a power loss.
    Full = 3,
}

impl Durability {
    /// All levels, weakest first.
    pub const ALL: [Durability; 4] = [Self::None, Self::Memory, Self::Os, Self::Full];

    /// The name as it is written in configuration and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Durability::None => "none",
            Durability::Memory => "memory",
            Durability::Os => "os",
            Durability::Full => "full",
        }
    }

    /// The level with this number, as it stands in the manifest.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Durability::None),
            1 => Some(Durability::Memory),
            2 => Some(Durability::Os),
            3 => Some(Durability::Full),
            _ => None,
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| {
                format!("`{text}` is not a durability level: use none, memory, os or full")
            })
    }
}

/// What a store is told at open. [`Settings::new`] gives the defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Holds the manifest and the lock, and by default everything else below it.
    pub data_dir: PathBuf,
    /// Where log segments lie; default `<data_dir>/wal`.
    pub wal_dir: PathBuf,
    /// Where tables lie; default `<data_dir>/tables`.
    pub checkpoint_dir: PathBuf,
    /// What can be changed while the store runs.
    pub live: LiveSettings,
    /// Size of a log segment; lowered to 1/16 of the file system.
    pub segment_bytes: u64,
    /// Who writes and syncs the log.
    pub who_syncs: WhoSyncs,
}

/// Who writes and syncs the log at `os` and `full`. What is promised is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhoSyncs {
    /// A committer where a sync is short, as a moving average tells, and few commit at once; else
    /// the log thread.
    #[default]
    Adaptive,
    /// The log thread, always.
    LogThread,
    /// A committer, always. On a slow disk its thread stands still for as long as a sync takes.
    Committer,
}

/// Settings that [`crate::Store::reconfigure`] changes on a running store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSettings {
    /// The durability level of commits that do not ask for a stronger one.
    pub durability: Durability,
    /// Longest time between two checkpoints while there is something to write.
    pub checkpoint_interval: Duration,
    /// Log size, in bytes, that triggers a checkpoint.
    pub max_wal_bytes: u64,
    /// One budget, in bytes, for memtables, block cache, and table indexes and filters.
    pub max_memory_bytes: u64,
    /// At `memory`, the longest time a record stays in the buffer before it is written.
    pub memory_write_delay: Duration,
    /// At `os` and `memory`, the longest time between two background syncs of the log.
    pub background_sync_interval: Duration,
    /// Longest time a view may be held without reading; it is held for at most 144 of them.
    pub view_lease: Duration,
}

impl Default for LiveSettings {
    fn default() -> Self {
        Self {
            durability: Durability::Os,
            checkpoint_interval: Duration::from_secs(30),
            max_wal_bytes: 32 * 1024 * 1024,
            max_memory_bytes: 512 * 1024 * 1024,
            memory_write_delay: Duration::from_millis(50),
            background_sync_interval: Duration::from_secs(1),
            view_lease: Duration::from_secs(600),
        }
    }
}

impl Settings {
    /// The defaults for a store below `data_dir`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            wal_dir: data_dir.join("wal"),
            checkpoint_dir: data_dir.join("tables"),
            data_dir,
            live: LiveSettings::default(),
            segment_bytes: limits::SEGMENT_BYTES,
            who_syncs: WhoSyncs::default(),
        }
    }
}

impl LiveSettings {
    /// Every fault at once.
    ///
    /// # Errors
    /// [`StoreError::InvalidSettings`] with one sentence per fault.
    pub fn validate(&self) -> Result<()> {
        let mut faults = Vec::new();
        if self.max_memory_bytes < limits::MIN_MEMORY_BYTES {
            faults.push(format!(
                "max_memory of {} bytes is below the least of {}",
                self.max_memory_bytes,
                limits::MIN_MEMORY_BYTES
            ));
        }
        if self.max_wal_bytes < limits::MIN_SEGMENT_BYTES {
            faults.push(format!(
                "max_wal_size of {} bytes is below the least of {}",
                self.max_wal_bytes,
                limits::MIN_SEGMENT_BYTES
            ));
        }
        let interval = self.checkpoint_interval;
        if interval < Duration::from_millis(10) || interval > Duration::from_secs(24 * 3600) {
            faults.push("checkpoint_interval must be between 10 ms and 24 h".to_owned());
        }
        let lease = self.view_lease;
        if lease < Duration::from_secs(1) || lease > Duration::from_secs(24 * 3600) {
            faults.push("view_timeout must be between 1 s and 24 h".to_owned());
        }
        if self.memory_write_delay > Duration::from_secs(10) {
            faults.push("memory_write_delay must be at most 10 s".to_owned());
        }
        if self.background_sync_interval > Duration::from_secs(60) {
            faults.push("background_sync_interval must be at most 60 s".to_owned());
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(StoreError::InvalidSettings { faults })
        }
    }
}

/// What a store works with, so that tests can pass in their own.
#[derive(Clone)]
pub struct Components {
    /// The only way to files.
    pub disk: Arc<dyn Disk>,
    /// Told of what happens, for metrics and logs.
    pub observer: Arc<dyn Observer>,
}
