//! What asks for a checkpoint: log size, memory, or a request. Checked on the write path, so no
//! burst can outrun a timer.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::memory::MemoryPlan;
use crate::sync::{Condvar, Mutex, lock};
use crate::txn::pace;

/// See the module.
#[derive(Default)]
pub(crate) struct Trigger {
    seal_bytes: AtomicU64,
    hold_bytes: AtomicU64,
    /// Bytes of sealed memtables that are not flushed yet.
    sealed_bytes: AtomicU64,
    /// Bytes of all memtables as of the last write.
    held_bytes: AtomicU64,
    /// Tables of level 0.
    runs: AtomicU64,
    max_wal_bytes: AtomicU64,
    /// Bytes of log written when the last checkpoint sealed its memtable.
    log_bytes_at_seal: AtomicU64,
    wanted: Mutex<bool>,
    changed: Condvar,
}

impl Trigger {
    pub(crate) fn configure(&self, plan: MemoryPlan, max_wal_bytes: u64) {
        self.seal_bytes.store(plan.seal_bytes, Ordering::Relaxed);
        self.hold_bytes.store(plan.hold_bytes, Ordering::Relaxed);
        self.max_wal_bytes.store(max_wal_bytes, Ordering::Relaxed);
    }

    /// The active memtable holds this much now. True if writers must be held back.
    pub(crate) fn memtable_grew(&self, active_bytes: u64) -> bool {
        let held_bytes = active_bytes + self.sealed_bytes.load(Ordering::Relaxed);
        self.held_bytes.store(held_bytes, Ordering::Relaxed);
        if active_bytes < self.seal_bytes.load(Ordering::Relaxed) {
            return false;
        }
        self.ask();
        held_bytes >= self.hold_bytes.load(Ordering::Relaxed)
    }

    /// There are this many tables of level 0.
    pub(crate) fn set_runs(&self, runs: u64) {
        self.runs.store(runs, Ordering::Relaxed);
    }

    /// How long a writer waits before his next write.
    pub(crate) fn delay(&self) -> Duration {
        pace::delay(
            self.held_bytes.load(Ordering::Relaxed),
            self.hold_bytes.load(Ordering::Relaxed),
            self.runs.load(Ordering::Relaxed),
        )
    }

    /// The log wrote this many bytes so far.
    pub(crate) fn log_grew(&self, written_bytes: u64) {
        let since = written_bytes.saturating_sub(self.log_bytes_at_seal.load(Ordering::Relaxed));
        if since >= self.max_wal_bytes.load(Ordering::Relaxed) {
            self.ask();
        }
    }

    /// A checkpoint has sealed its memtable: sizes count from here.
    pub(crate) fn sealed(&self, sealed_bytes: u64, log_written_bytes: u64) {
        self.sealed_bytes.store(sealed_bytes, Ordering::Relaxed);
        self.log_bytes_at_seal
            .store(log_written_bytes, Ordering::Relaxed);
        *lock(&self.wanted) = false;
    }

    /// The sealed memtables are in tables.
    pub(crate) fn flushed(&self) {
        let sealed_bytes = self.sealed_bytes.swap(0, Ordering::Relaxed);
        let held_bytes = self.held_bytes.load(Ordering::Relaxed);
        let left = held_bytes.saturating_sub(sealed_bytes);
        self.held_bytes.store(left, Ordering::Relaxed);
    }

    /// Asks for a checkpoint soon.
    pub(crate) fn ask(&self) {
        let mut wanted = lock(&self.wanted);
        if !*wanted {
            *wanted = true;
            self.changed.notify_all();
        }
    }

    /// Wakes whoever waits, without asking.
    pub(crate) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Waits until a checkpoint is asked for, at most `longest`. Whether one is.
    pub(crate) fn wait(&self, longest: Duration) -> bool {
        let wanted = lock(&self.wanted);
        if *wanted {
            return true;
        }
        let waited = self.changed.wait_timeout(wanted, longest);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
