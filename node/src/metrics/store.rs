//! The store's metrics: what its observer counts, and what a scrape asks for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use godb_engine::StorageEngine;
use godb_store::{Durability, Lsn, RecoveryReport, StoreStats};
use prometheus::{Gauge, Histogram, IntCounter, IntGauge, IntGaugeVec, Result};

use super::Maker;
use crate::lifecycle::RecoveryProgress;

/// Sizes of commit groups.
const GROUP_SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Collections with a series of their own; the documents of the others are counted together.
const MAX_COLLECTIONS: usize = 100;
/// The label of the others. Not a legal collection name.
const OTHER_COLLECTIONS: &str = "(others)";
/// Levels of tables with a series from the start.
const LEVELS: usize = 7;

/// Handles of the store's metrics.
pub struct StoreMetrics {
    pub(super) start_time: Gauge,
    pub(super) wal_sync: Histogram,
    pub(super) write_delay: Histogram,
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
    recovery: RecoveryMetrics,
    watermarks: Vec<IntGauge>,
    segments: IntGauge,
    log_bytes: IntGauge,
    memory: Vec<IntGauge>,
    memory_limit: IntGauge,
    sealed_memtables: IntGauge,
    cache_hits: IntCounter,
    cache_misses: IntCounter,
    tables: IntGaugeVec,
    tables_bytes: IntGauge,
    disk_free: IntGauge,
    disk_size: IntGauge,
    refusing_writes: IntGauge,
    views: IntGauge,
    durability: IntGaugeVec,
    documents: IntGaugeVec,
    collections: IntGauge,
    snapshots: SnapshotMetrics,
}

/// Snapshots that are there.
struct SnapshotMetrics {
    count: IntGauge,
    bytes: IntGauge,
    pinned_bytes: IntGauge,
    newest: Gauge,
    newest_took: Gauge,
    ok: IntCounter,
    failed: IntCounter,
}

/// What the recovery of this start did.
struct RecoveryMetrics {
    seconds: Gauge,
    transactions: IntGauge,
    cut_bytes: IntGauge,
    unsynced_loss: IntGauge,
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
            wal_sync: make.durations("godb_wal_fsync_duration_seconds", "Syncs of the log.")?,
            write_delay: make.durations(
                "godb_write_delay_seconds",
                "Waits of writers before a write, while checkpoints or compactions do not keep up.",
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
            wal_bytes: make
                .counter("godb_wal_appended_bytes_total", "Bytes written to the log.")?,
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
            recovery_lsn: make
                .gauge("godb_recovery_lsn", "The last LSN that recovery replayed.")?,
            recovery_bytes_read: make.gauge(
                "godb_recovery_log_read_bytes",
                "Bytes of log that recovery has read.",
            )?,
            recovery_bytes: make.gauge(
                "godb_recovery_log_size_bytes",
                "Bytes of log that recovery has to read.",
            )?,
            recovery: RecoveryMetrics {
                seconds: make.seconds_gauge(
                    "godb_recovery_duration_seconds",
                    "How long the recovery of this start took.",
                )?,
                transactions: make.gauge(
                    "godb_recovery_transactions",
                    "Transactions that the recovery of this start replayed.",
                )?,
                cut_bytes: make.gauge(
                    "godb_recovery_cut_bytes",
                    "Bytes of an unfinished or unsynced tail that recovery left out.",
                )?,
                unsynced_loss: make.gauge(
                    "godb_recovery_unsynced_loss",
                    "1 if a stop of the machine took transactions acknowledged below full.",
                )?,
            },
            watermarks: children(
                make.gauges(
                    "godb_wal_lsn",
                    "Newest LSN by how far it has come.",
                    &["mark"],
                )?,
                &["appended", "written", "durable", "visible", "checkpointed"],
            ),
            segments: make.gauge("godb_wal_segments", "Log segments in use.")?,
            log_bytes: make.gauge(
                "godb_wal_size_bytes",
                "Bytes of log that a recovery would read.",
            )?,
            memory: children(
                make.gauges(
                    "godb_memory_bytes",
                    "Bytes held in memory, by part.",
                    &["part"],
                )?,
                &["memtables", "block_cache", "tables"],
            ),
            memory_limit: make
                .gauge("godb_memory_limit_bytes", "Budget for all parts together.")?,
            sealed_memtables: make.gauge(
                "godb_memtables_sealed",
                "Memtables that wait for a checkpoint.",
            )?,
            cache_hits: make.counter("godb_cache_hits_total", "Blocks found in the cache.")?,
            cache_misses: make.counter("godb_cache_misses_total", "Blocks read from the disk.")?,
            tables: make.gauges("godb_tables", "Tables by level.", &["level"])?,
            tables_bytes: make.gauge("godb_tables_size_bytes", "Bytes of all tables.")?,
            disk_free: make.gauge(
                "godb_disk_free_bytes",
                "Bytes free on the file system of the data.",
            )?,
            disk_size: make.gauge(
                "godb_disk_size_bytes",
                "Size of the file system of the data.",
            )?,
            refusing_writes: make.gauge(
                "godb_disk_refusing_writes",
                "1 while writes are refused for lack of space.",
            )?,
            views: make.gauge("godb_views", "Open views: streams, exports, index builds.")?,
            durability: make.gauges(
                "godb_durability",
                "1 for the durability level in force, 0 for the others.",
                &["level"],
            )?,
            documents: make.gauges(
                "godb_collection_documents",
                "Documents by collection.",
                &["collection"],
            )?,
            collections: make.gauge("godb_collections", "Collections.")?,
            snapshots: SnapshotMetrics::new(make)?,
        }
        .with_all_series())
    }

    /// Makes the series that would otherwise appear with their first value.
    fn with_all_series(self) -> Self {
        for level in 0..LEVELS {
            self.tables
                .with_label_values(&[level.to_string().as_str()])
                .set(0);
        }
        for level in Durability::ALL {
            self.durability.with_label_values(&[level.as_str()]).set(0);
        }
        self.documents
            .with_label_values(&[OTHER_COLLECTIONS])
            .set(0);
        self
    }

    /// Brings in what is only known by asking.
    pub fn refresh(&self, engine: &StorageEngine) {
        self.set_stats(&engine.stats());
        match engine.collections() {
            Ok(collections) => {
                let counts = collections
                    .iter()
                    .map(|one| (one.name.as_str(), one.documents));
                self.set_documents(counts);
            }
            Err(error) => tracing::warn!(%error, "collections cannot be counted"),
        }
        if let Err(error) = self.snapshots.refresh(engine) {
            tracing::warn!(%error, "snapshots cannot be counted");
        }
    }

    /// A request for a snapshot ended.
    pub fn snapshot_ended(&self, is_ok: bool) {
        if is_ok {
            self.snapshots.ok.inc();
        } else {
            self.snapshots.failed.inc();
        }
    }

    /// What the recovery of this start did.
    pub fn set_recovery(&self, report: &RecoveryReport) {
        self.recovery.seconds.set(report.took.as_secs_f64());
        self.recovery.transactions.set(signed(report.transactions));
        self.recovery.cut_bytes.set(signed(report.bytes_cut));
        self.recovery
            .unsynced_loss
            .set(i64::from(report.unsynced_loss.is_some()));
    }

    fn set_stats(&self, stats: &StoreStats) {
        let marks = [
            stats.appended_lsn,
            stats.written_lsn,
            stats.durable_lsn,
            stats.visible_lsn,
            stats.checkpoint_lsn,
        ];
        for (gauge, lsn) in self.watermarks.iter().zip(marks) {
            gauge.set(signed(lsn.0));
        }
        let parts = [
            stats.memtable_bytes,
            stats.cache_bytes,
            stats.tables_memory_bytes,
        ];
        for (gauge, bytes) in self.memory.iter().zip(parts) {
            gauge.set(signed(bytes));
        }
        self.memory_limit.set(signed(stats.max_memory_bytes));
        self.sealed_memtables.set(signed(stats.sealed_memtables));
        raise(&self.cache_hits, stats.cache_hits);
        raise(&self.cache_misses, stats.cache_misses);
        for (level, tables) in stats.tables_per_level.iter().enumerate() {
            self.tables
                .with_label_values(&[level.to_string().as_str()])
                .set(signed(*tables));
        }
        self.tables_bytes.set(signed(stats.tables_bytes));
        self.segments.set(signed(stats.segments));
        self.log_bytes.set(signed(stats.log_bytes));
        self.disk_free
            .set(signed(stats.disk_free_bytes.unwrap_or(0)));
        self.disk_size
            .set(signed(stats.disk_total_bytes.unwrap_or(0)));
        self.refusing_writes.set(i64::from(stats.refusing_writes));
        self.views.set(signed(stats.views));
        for level in Durability::ALL {
            self.durability
                .with_label_values(&[level.as_str()])
                .set(i64::from(level == stats.durability));
        }
    }

    fn set_documents<'a>(&self, counts: impl Iterator<Item = (&'a str, u64)>) {
        // Collections can go; their series go with them.
        self.documents.reset();
        let (mut collections, mut others) = (0_i64, 0_u64);
        for (place, (name, documents)) in counts.enumerate() {
            collections += 1;
            if place < MAX_COLLECTIONS {
                self.documents
                    .with_label_values(&[name])
                    .set(signed(documents));
            } else {
                others = others.saturating_add(documents);
            }
        }
        self.documents
            .with_label_values(&[OTHER_COLLECTIONS])
            .set(signed(others));
        self.collections.set(collections);
    }

    pub(super) fn log_written(&self, transactions: u64, bytes: u64, took: Duration) {
        self.wal_records.inc_by(transactions);
        self.wal_bytes.inc_by(bytes);
        self.wal_write.observe(took.as_secs_f64());
        if transactions > 0 {
            // Group sizes are far below 2^52.
            #[expect(
                clippy::cast_precision_loss,
                reason = "a group holds at most a few thousand"
            )]
            self.wal_group.observe(transactions as f64);
        }
    }

    pub(super) fn checkpoint_done(&self, lsn: Lsn, bytes: u64, took: Duration) {
        self.checkpoints_ok.inc();
        self.checkpoint_bytes.inc_by(bytes);
        self.checkpoint_duration.observe(took.as_secs_f64());
        self.checkpoint_lsn.set(signed(lsn.0));
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
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

impl SnapshotMetrics {
    fn new(make: &Maker<'_>) -> Result<Self> {
        let taken = make.counters(
            "godb_snapshots_total",
            "Requests for a snapshot that ended.",
            &["outcome"],
        )?;
        Ok(Self {
            count: make.gauge("godb_snapshots", "Snapshots beside the data.")?,
            bytes: make.gauge(
                "godb_snapshots_size_bytes",
                "Bytes of tables that snapshots name, each table once.",
            )?,
            pinned_bytes: make.gauge(
                "godb_snapshots_pinned_bytes",
                "Bytes that removing all snapshots would free.",
            )?,
            newest: make.seconds_gauge(
                "godb_snapshot_last_success_timestamp_seconds",
                "When the newest snapshot was taken, in seconds since 1970; 0 without one.",
            )?,
            newest_took: make.seconds_gauge(
                "godb_snapshot_last_duration_seconds",
                "How long the newest snapshot took.",
            )?,
            ok: taken.with_label_values(&["ok"]),
            failed: taken.with_label_values(&["failed"]),
        })
    }

    fn refresh(&self, engine: &StorageEngine) -> godb_engine::Result<()> {
        let usage = engine.snapshot_usage()?;
        self.count.set(signed(usage.snapshots));
        self.bytes.set(signed(usage.bytes));
        self.pinned_bytes.set(signed(usage.pinned_bytes));
        let newest = engine.newest_snapshot()?.and_then(|newest| newest.contents);
        let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
        let (at, took) = newest.map_or((0, 0), |newest| (newest.created_at_ms, newest.took_ms));
        self.newest.set(seconds(at));
        self.newest_took.set(seconds(took));
        Ok(())
    }
}

fn children(gauges: IntGaugeVec, labels: &[&str]) -> Vec<IntGauge> {
    labels
        .iter()
        .map(|label| gauges.with_label_values(&[*label]))
        .collect()
}

/// Brings a counter up to a total that is kept elsewhere.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// Gauges are signed; what is counted here stays far below the bound.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
