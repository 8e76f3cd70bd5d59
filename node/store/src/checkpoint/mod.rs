//! From memtables to tables, and from tables to fewer tables: the checkpoint manager.
//!
//! A checkpoint is triggered by interval, log size, memory, request and shutdown.

pub(crate) mod compact;
pub(crate) mod compactor;
pub(crate) mod flush;
pub(crate) mod level;
pub(crate) mod pick;
pub(crate) mod retain;
pub(crate) mod schedule;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::disk::Disk;
use crate::error::{Result, StoreError};
use crate::manifest::Manifest;
use crate::memory;
use crate::observer::Observer;
use crate::settings::LiveSettings;
use crate::sync::{Condvar, Mutex, lock};
use crate::table::BlockCache;
use crate::txn::commit::Pipeline;
use crate::wal::supply::Supply;

/// Owner of manifest and tables. Lock order: `snapshotting`, then `compacting`, then `running`, then the log, then
/// the section; the manifest's lock is taken while neither log nor section is held.
pub(crate) struct Checkpointer {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) data_dir: PathBuf,
    pub(crate) wal_dir: PathBuf,
    pub(crate) checkpoint_dir: PathBuf,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) supply: Arc<Supply>,
    pub(crate) manifest: Mutex<Manifest>,
    pub(crate) next_table: AtomicU64,
    pub(crate) live: Mutex<LiveSettings>,
    pub(crate) stop: AtomicBool,
    /// The directories were given back: another process may own them.
    pub(crate) finished: AtomicBool,
    /// Held by a checkpoint or a change of level.
    pub(crate) running: Mutex<()>,
    /// Held by a compaction from its choice to its commit.
    pub(crate) compacting: Mutex<()>,
    pub(crate) compaction_wanted: Wanted,
    /// Held by whoever changes the directory of snapshots.
    pub(crate) snapshotting: Mutex<()>,
}

/// A request that a thread waits for.
#[derive(Default)]
pub(crate) struct Wanted {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Wanted {
    /// Asks.
    pub(crate) fn ask(&self) {
        *lock(&self.asked) = true;
        self.changed.notify_all();
    }

    /// Waits until somebody asks, at most `longest`; with `ignore_earlier`, not for what was asked
    /// before.
    pub(crate) fn wait(&self, longest: Duration, ignore_earlier: bool) {
        let mut asked = lock(&self.asked);
        if ignore_earlier {
            *asked = false;
        }
        if !*asked {
            let waited = self.changed.wait_timeout(asked, longest);
            asked = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *asked = false;
    }
}

impl Checkpointer {
    pub(crate) fn live_settings(&self) -> LiveSettings {
        lock(&self.live).clone()
    }

    /// Wakes the threads so that they see the stop flag.
    pub(crate) fn wake_threads(&self) {
        self.pipeline.trigger.ask();
        self.compaction_wanted.ask();
    }

    /// Waits for whoever is at work on the files, and lets nobody begin again.
    pub(crate) fn finish(&self) {
        let _compacting = lock(&self.compacting);
        let _running = lock(&self.running);
        self.finished.store(true, Ordering::Release);
    }

    /// Asked by everyone who took `running` or `compacting`: a call can have waited for it while
    /// the store was closed.
    pub(crate) fn check_owned(&self) -> Result<()> {
        if self.finished.load(Ordering::Acquire) {
            Err(StoreError::Closed)
        } else {
            Ok(())
        }
    }

    /// Divides the memory budget anew: tables may hold more or less of it than before.
    pub(crate) fn replan_memory(&self) {
        let live = self.live_settings();
        let tables = self.pipeline.versions.load().levels.memory_bytes();
        let reserve = self.pipeline.disk_reserve_bytes.load(Ordering::Relaxed);
        let flushable = if reserve == 0 { u64::MAX } else { reserve / 2 };
        let plan = memory::plan(live.max_memory_bytes, tables, flushable);
        self.cache.set_capacity(plan.cache_bytes);
        self.pipeline.trigger.configure(plan, live.max_wal_bytes);
    }
}
