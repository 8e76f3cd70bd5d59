//! The store's metrics: what its observer counts, and what a scrape asks for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use godb_store::Lsn;
use prometheus::{Gauge, Histogram, IntCounter, IntGauge, Result};

use super::Maker;
use crate::lifecycle::RecoveryProgress;

/// Sizes of commit groups.
const GROUP_SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Handles of the store's metrics.
pub struct StoreMetrics {
    pub(super) start_time: Gauge,
    pub(super) wal_sync: Histogram,
    pub(super) wal_errors: IntCounter,
    pub(super) segments_recycled: IntCounter,
    pub(super) segments_created: IntCounter,
    pub(super) conflicts: IntCounter,
    pub(super) checkpoints_failed: IntCounter,
    pub(super) compactions_failed: IntCounter,
    wal_records: IntCounter,
    wal_bytes: IntCounter,
    wal_write: Histogram,
    wal_group: Histogram,
    checkpoints_ok: IntCounter,
    checkpoint_duration: Histogram,
    checkpoint_bytes: IntCounter,
    checkpoint_time: Gauge,
    checkpoint_lsn: IntGauge,
    compactions_ok: IntCounter,
    compaction_duration: Histogram,
    compaction_read: IntCounter,
    compaction_written: IntCounter,
    recovery_lsn: IntGauge,
    recovery_bytes_read: IntGauge,
    recovery_bytes: IntGauge,
}

impl StoreMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Result<Self> {
        let segments = make.counters(
            "godb_wal_segments_prepared_total",
            "Log segments made ready: recycled from an old one, or created.",
            &["origin"],
        )?;
        let checkpoints = make.counters(
            "godb_checkpoints_total",
            "Checkpoints that ended.",
            &["outcome"],
        )?;
        let compactions = make.counters(
            "godb_compactions_total",
            "Compactions that ended.",
            &["outcome"],
        )?;
        Ok(Self {
            start_time: make.seconds_gauge(
                "godb_start_time_seconds",
                "When the process started, in seconds since 1970.",
            )?,
            wal_sync: make.durations(
                "godb_wal_fsync_duration_seconds",
                "Syncs of the log.",
            )?,
            wal_errors: make.counter(
                "godb_wal_fsync_errors_total",
                "Writes or syncs of the log that failed; one is final.",
            )?,
            segments_recycled: segments.with_label_values(&["recycled"]),
            segments_created: segments.with_label_values(&["created"]),
            conflicts: make.counter(
                "godb_transaction_conflicts_total",
                "Transactions that lost their validation and were tried again or refused.",
            )?,
            checkpoints_failed: checkpoints.with_label_values(&["failed"]),
            compactions_failed: compactions.with_label_values(&["failed"]),
            wal_records: make.counter(
                "godb_wal_appended_records_total",
                "Transactions written to the log.",
            )?,
            wal_bytes: make.counter("godb_wal_appended_bytes_total", "Bytes written to the log.")?,
            wal_write: make.durations("godb_wal_write_duration_seconds", "Writes of the log.")?,
            wal_group: make.histogram(
                "godb_wal_group_transactions",
                "Transactions that were written together.",
                GROUP_SIZES.to_vec(),
            )?,
            checkpoints_ok: checkpoints.with_label_values(&["ok"]),
            checkpoint_duration: make.durations(
                "godb_checkpoint_duration_seconds",
                "Checkpoints that ended well.",
            )?,
            checkpoint_bytes: make.counter(
                "godb_checkpoint_written_bytes_total",
                "Bytes of tables that checkpoints wrote.",
            )?,
            checkpoint_time: make.seconds_gauge(
                "godb_checkpoint_last_success_timestamp_seconds",
                "When the last checkpoint ended well, in seconds since 1970.",
            )?,
            checkpoint_lsn: make.gauge(
                "godb_checkpoint_last_success_lsn",
                "LSN of the last checkpoint that ended well.",
            )?,
            compactions_ok: compactions.with_label_values(&["ok"]),
            compaction_duration: make.durations(
                "godb_compaction_duration_seconds",
                "Compactions that ended well.",
            )?,
            compaction_read: make.counter(
                "godb_compaction_read_bytes_total",
                "Bytes that compactions read.",
            )?,
            compaction_written: make.counter(
                "godb_compaction_written_bytes_total",
                "Bytes that compactions wrote.",
            )?,
            recovery_lsn: make.gauge("godb_recovery_lsn", "The last LSN that recovery replayed.")?,
            recovery_bytes_read: make.gauge(
                "godb_recovery_log_read_bytes",
                "Bytes of log that recovery has read.",
            )?,
            recovery_bytes: make.gauge(
                "godb_recovery_log_size_bytes",
                "Bytes of log that recovery has to read.",
            )?,
        })
    }

    pub(super) fn log_written(&self, transactions: u64, bytes: u64, took: Duration) {
        self.wal_records.inc_by(transactions);
        self.wal_bytes.inc_by(bytes);
        self.wal_write.observe(took.as_secs_f64());
        if transactions > 0 {
            // Group sizes are far below 2^52.
            #[expect(clippy::cast_precision_loss, reason = "a group holds at most a few thousand")]
            self.wal_group.observe(transactions as f64);
        }
    }

    pub(super) fn checkpoint_done(&self, lsn: Lsn, bytes: u64, took: Duration) {
        self.checkpoints_ok.inc();
        self.checkpoint_bytes.inc_by(bytes);
        self.checkpoint_duration.observe(took.as_secs_f64());
        self.checkpoint_lsn.set(signed(lsn.0));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.checkpoint_time.set(now.as_secs_f64());
    }

    pub(super) fn compaction_done(&self, read: u64, written: u64, took: Duration) {
        self.compactions_ok.inc();
        self.compaction_read.inc_by(read);
        self.compaction_written.inc_by(written);
        self.compaction_duration.observe(took.as_secs_f64());
    }

    pub(super) fn set_recovery_progress(&self, progress: RecoveryProgress) {
        self.recovery_lsn.set(signed(progress.lsn));
        self.recovery_bytes_read.set(signed(progress.bytes_done));
        self.recovery_bytes.set(signed(progress.bytes_total));
    }
}

/// Gauges are signed; what is counted here stays far below the bound.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
