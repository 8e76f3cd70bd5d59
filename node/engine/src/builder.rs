//! Opening an engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use godb_store::disk::Disk;
use godb_store::disk::real::RealDisk;
use godb_store::observer::{NoObserver, Observer};
use godb_store::{Components, Durability, LiveSettings, Settings};

use crate::error::Result;
use crate::storage_engine::StorageEngine;

/// How an engine is opened; made by [`StorageEngine::builder`]. What is not set has the default of
/// [`Settings`] and [`LiveSettings`].
#[must_use = "nothing is opened before `open`"]
pub struct Builder {
    settings: Settings,
    components: Components,
}

impl Builder {
    pub(crate) fn new(data_dir: PathBuf) -> Self {
        Self {
            settings: Settings::new(data_dir),
            components: Components {
                disk: Arc::new(RealDisk::new()),
                observer: Arc::new(NoObserver),
            },
        }
    }

    /// Where the log lies; default `<data_dir>/wal`.
    pub fn wal_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.wal_dir = path.into();
        self
    }

    /// Where tables lie; default `<data_dir>/tables`.
    pub fn checkpoint_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.checkpoint_dir = path.into();
        self
    }

    /// When a write is acknowledged; default [`Durability::Os`].
    pub fn durability(mut self, level: Durability) -> Self {
        self.settings.live.durability = level;
        self
    }

    /// Longest time between two checkpoints while there is something to write.
    pub fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.settings.live.checkpoint_interval = interval;
        self
    }

    /// Size of the log that triggers a checkpoint.
    pub fn max_wal_bytes(mut self, bytes: u64) -> Self {
        self.settings.live.max_wal_bytes = bytes;
        self
    }

    /// One budget for everything that is kept in memory. Data may be many times larger.
    pub fn max_memory_bytes(mut self, bytes: u64) -> Self {
        self.settings.live.max_memory_bytes = bytes;
        self
    }

    /// All settings that can also be changed later, at once.
    pub fn live(mut self, live: LiveSettings) -> Self {
        self.settings.live = live;
        self
    }

    /// The disk to work on; default the file system.
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.components.disk = disk;
        self
    }

    /// Who is told what happens; default nobody.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.components.observer = observer;
        self
    }

    /// Opens the database, or makes a new one. When it returns, everything that was recovered is
    /// durable and readable.
    ///
    /// # Errors
    /// Those of [`godb_store::Store::open`]: the directory is in use, damaged, of a newer version,
    /// or a setting is out of range. Nothing that was there is changed then.
    pub fn open(self) -> Result<StorageEngine> {
        StorageEngine::open(&self.settings, &self.components)
    }
}
