//! The store's observer: counts, moves the lifecycle, and writes the log lines a person needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use godb_store::Lsn;
use godb_store::observer::Observer;

use super::store::StoreMetrics;
use crate::lifecycle::Lifecycle;

/// Recovery says where it is at most this often.
const RECOVERY_LINE_EVERY: Duration = Duration::from_secs(5);
/// Failed checkpoints are said at most this often.
const FAILED_CHECKPOINT_LINE_EVERY: Duration = Duration::from_secs(30);
/// A checkpoint below this is not worth a line.
const LONG_CHECKPOINT: Duration = Duration::from_secs(1);

/// Receives the store's events.
pub struct NodeObserver {
    metrics: Arc<StoreMetrics>,
    lifecycle: Arc<Lifecycle>,
    recovery_line_ms: AtomicU64,
    checkpoint_line_ms: AtomicU64,
}

impl NodeObserver {
    /// An observer for one store.
    pub fn new(metrics: Arc<StoreMetrics>, lifecycle: Arc<Lifecycle>) -> Self {
        Self {
            metrics,
            lifecycle,
            recovery_line_ms: AtomicU64::new(0),
            checkpoint_line_ms: AtomicU64::new(0),
        }
    }

    /// True at most once in [`RECOVERY_LINE_EVERY`].
    fn recovery_line_is_due(&self) -> bool {
        let now = unix_ms();
        if self.recovery_line_ms.load(Ordering::Relaxed) == 0 {
            // The first call starts the clock: a short recovery says nothing.
            self.recovery_line_ms.store(now, Ordering::Relaxed);
            return false;
        }
        is_due(&self.recovery_line_ms, now, RECOVERY_LINE_EVERY)
    }
}

/// True for one caller once `every` has passed since the last line; that was never for 0.
fn is_due(last_line_ms: &AtomicU64, now_ms: u64, every: Duration) -> bool {
    let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
    let last = last_line_ms.load(Ordering::Relaxed);
    (last == 0 || now_ms.saturating_sub(last) >= every)
        && last_line_ms
            .compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
}

fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Observer for NodeObserver {
    fn log_written(&self, transactions: u64, bytes: u64, took: Duration) {
        self.metrics.log_written(transactions, bytes, took);
    }

    fn log_synced(&self, took: Duration) {
        self.metrics.wal_sync.observe(took.as_secs_f64());
    }

    fn log_failed(&self, cause: &str) {
        self.metrics.wal_errors.inc();
        tracing::error!(
            cause,
            "the log could not be written: writes are refused, the outcome of those in flight is unknown"
        );
        self.lifecycle.fail(cause);
    }

    fn writer_delayed(&self, delay: Duration) {
        self.metrics.write_delay.observe(delay.as_secs_f64());
    }

    fn segment_prepared(&self, recycled: bool) {
        if recycled {
            self.metrics.segments_recycled.inc();
        } else {
            self.metrics.segments_created.inc();
        }
    }

    fn conflict(&self) {
        self.metrics.conflicts.inc();
    }

    fn checkpoint_done(&self, lsn: Lsn, bytes: u64, took: Duration) {
        self.metrics.checkpoint_done(lsn, bytes, took);
        if took >= LONG_CHECKPOINT {
            tracing::info!(lsn = lsn.0, bytes, took_ms = took.as_millis(), "checkpoint");
        } else {
            tracing::debug!(lsn = lsn.0, bytes, took_ms = took.as_millis(), "checkpoint");
        }
    }

    fn checkpoint_failed(&self, cause: &str) {
        self.metrics.checkpoints_failed.inc();
        // On a full disk every try fails. The counter has them all.
        if is_due(
            &self.checkpoint_line_ms,
            unix_ms(),
            FAILED_CHECKPOINT_LINE_EVERY,
        ) {
            tracing::warn!(cause, "a checkpoint failed and will be tried again");
        }
    }

    fn compaction_done(&self, bytes_read: u64, bytes_written: u64, took: Duration) {
        self.metrics
            .compaction_done(bytes_read, bytes_written, took);
    }

    fn compaction_failed(&self, cause: &str) {
        self.metrics.compactions_failed.inc();
        tracing::warn!(cause, "a compaction failed and will be tried again");
    }

    fn recovery_progress(&self, lsn: Lsn, bytes_done: u64, bytes_total: u64) {
        self.lifecycle.recovery_at(lsn, bytes_done, bytes_total);
        if self.recovery_line_is_due() {
            tracing::info!(lsn = lsn.0, bytes_done, bytes_total, "recovering");
        }
    }

    fn warning(&self, message: &str) {
        tracing::warn!("{message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_at_once_and_then_once_in_a_while() {
        let last = AtomicU64::new(0);
        let every = FAILED_CHECKPOINT_LINE_EVERY;
        assert!(is_due(&last, 5_000, every));
        assert!(!is_due(&last, 34_999, every));
        assert!(is_due(&last, 35_000, every));
        assert!(!is_due(&last, 35_000, every));
    }
}
