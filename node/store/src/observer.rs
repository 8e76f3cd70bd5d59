//! What the store tells the outside of its work, for metrics and logs. It knows no metrics
//! library; every method has an empty default.

use std::time::Duration;

use crate::lsn::Lsn;

/// Receives events. Called from the store's own threads and from committers, so it must not block
/// and must not call back into the store.
pub trait Observer: Send + Sync + 'static {
    /// A group of `transactions` was written to the log: `bytes` in `took`.
    fn log_written(&self, transactions: u64, bytes: u64, took: Duration) {
        let _ = (transactions, bytes, took);
    }
    /// The log was synced in `took`.
    fn log_synced(&self, took: Duration) {
        let _ = took;
    }
    /// A write or sync of the log failed; the store is poisoned.
    fn log_failed(&self, cause: &str) {
        let _ = cause;
    }
    /// A segment was made ready; `recycled` tells whether an old file was used.
    fn segment_prepared(&self, recycled: bool) {
        let _ = recycled;
    }
    /// A transaction lost its validation.
    fn conflict(&self) {}
    /// A writer was told to wait this long before a write.
    fn writer_delayed(&self, delay: Duration) {
        let _ = delay;
    }
    /// A checkpoint ended well at `lsn`, having written `bytes` of tables.
    fn checkpoint_done(&self, lsn: Lsn, bytes: u64, took: Duration) {
        let _ = (lsn, bytes, took);
    }
    /// A checkpoint failed and will be tried again.
    fn checkpoint_failed(&self, cause: &str) {
        let _ = cause;
    }
    /// A compaction read and wrote this many bytes.
    fn compaction_done(&self, bytes_read: u64, bytes_written: u64, took: Duration) {
        let _ = (bytes_read, bytes_written, took);
    }
    /// A compaction failed and will be tried again.
    fn compaction_failed(&self, cause: &str) {
        let _ = cause;
    }
    /// Recovery is at `lsn`, `bytes_done` of `bytes_total` of the log read.
    fn recovery_progress(&self, lsn: Lsn, bytes_done: u64, bytes_total: u64) {
        let _ = (lsn, bytes_done, bytes_total);
    }
    /// Something a person should read once, at warning level.
    fn warning(&self, message: &str) {
        let _ = message;
    }
}

/// Ignores everything.
#[derive(Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}
