//! What asks for a checkpoint: log size, memory, or a request. Checked on the write path, so no
//! burst can outrun a timer.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::memory::MemoryPlan;
use crate::sync::{Condvar, Mutex, lock};

/// See the module.
#[derive(Default)]
pub(crate) struct Trigger {
    seal_bytes: AtomicU64,
    hold_bytes: AtomicU64,
    /// Bytes of sealed memtables that are not flushed yet.
    sealed_bytes: AtomicU64,
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
        if active_bytes < self.seal_bytes.load(Ordering::Relaxed) {
            return false;
        }
        self.ask();
        let sealed_bytes = self.sealed_bytes.load(Ordering::Relaxed);
        active_bytes + sealed_bytes >= self.hold_bytes.load(Ordering::Relaxed)
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
        self.sealed_bytes.store(0, Ordering::Relaxed);
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
