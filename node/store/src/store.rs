//! Opening, wiring and closing a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::checkpoint::flush::CheckpointReport;
use crate::checkpoint::{Checkpointer, Wanted};
use crate::disk::{Disk, Lock};
use crate::error::{Result, StoreError};
use crate::lsn::Lsn;
use crate::memory;
use crate::read::version::{ReadPoint, Version};
use crate::read::view::View;
use crate::recovery::{self, Recovered, RecoveryReport};
use crate::settings::{Components, Durability, LiveSettings, Settings};
use crate::snapshot::{SnapshotInfo, SnapshotUsage, Snapshots};
use crate::stats::{self, StoreStats};
use crate::sync::{Mutex, lock};
use crate::table::BlockCache;
use crate::txn::commit::{LogParts, Pipeline};
use crate::txn::gate::Writable;
use crate::txn::publish::SyncBy;
use crate::txn::ticket::Ticket;
use crate::txn::{Transaction, driver};

#[cfg(test)]
mod tests;

/// A store of ordered bytes. Clones share it; the last one closes it like a crash would, safely
/// but without a final checkpoint, so call [`Store::close`].
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    pipeline: Arc<Pipeline>,
    checkpointer: Arc<Checkpointer>,
    report: RecoveryReport,
    stop_log: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    locks: Mutex<Vec<Box<dyn Lock>>>,
}

impl Store {
    /// Opens the store in the directories of `settings`, or makes one, through recovery. When it
    /// returns, everything that was recovered is durable, whatever the level.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Corrupt`], [`StoreError::NewerFormat`],
    /// [`StoreError::Mismatch`], [`StoreError::InvalidSettings`], I/O errors. Nothing that was
    /// there is changed then.
    pub fn open(settings: &Settings, components: &Components) -> Result<Store> {
        settings.live.validate()?;
        let plan = memory::plan(settings.live.max_memory_bytes, 0, u64::MAX);
        let cache = Arc::new(BlockCache::new(plan.cache_bytes));
        let recovered = recovery::open(settings, components, cache)?;
        let inner = Inner::start(settings, components, recovered);
        inner.start_threads()?;
        Ok(Store(Arc::new(inner)))
    }

    /// A transaction that reads at the newest appended state, which may be newer than what is
    /// visible; see [`Transaction::read_lsn`].
    #[must_use]
    pub fn begin(&self) -> Transaction {
        let pipeline = &self.0.pipeline;
        Transaction::new(Arc::clone(pipeline), pipeline.read_appended())
    }

    /// Runs `body` and commits what it wrote, with nothing else committed in between: it never
    /// loses a race. All other writers wait, so it is for a read-modify-write that lost several
    /// races, and `body` must be short and must not use the store otherwise.
    ///
    /// # Errors
    /// Those of `body`, then nothing is written, and those of [`Transaction::commit`] but
    /// [`StoreError::Conflict`].
    pub fn commit_exclusive<T>(
        &self,
        body: impl FnOnce(&mut Transaction) -> Result<T>,
        ack: Option<Durability>,
        waker: Option<&Waker>,
    ) -> Result<(T, Ticket)> {
        let pipeline = &self.0.pipeline;
        pipeline.commit_exclusive(
            |point| {
                let mut transaction = Transaction::new(Arc::clone(pipeline), point);
                let value = body(&mut transaction)?;
                Ok((value, transaction.prepare()?.1))
            },
            ack,
            waker,
        )
    }

    /// A point to read at: the visible state of this moment, without a lock. For short use.
    #[must_use]
    pub fn snapshot_read(&self) -> ReadPoint {
        self.0.pipeline.read_visible()
    }

    /// A view of the visible state of this moment that may be held for long.
    #[must_use]
    pub fn view(&self) -> View {
        let pipeline = Arc::clone(&self.0.pipeline);
        let lease = self.0.checkpointer.live_settings().view_lease;
        let registration = pipeline.readers.register(&pipeline.marks, lease);
        View {
            pipeline,
            registration,
        }
    }

    /// Resolves when `lsn` is visible. An answer that was computed from a transaction's reads,
    /// also a refusal, must wait for its [`Transaction::read_lsn`].
    #[must_use]
    pub fn wait_visible(&self, lsn: Lsn) -> Ticket {
        self.0.pipeline.wait_visible(lsn)
    }

    /// The value of a counter as of the visible state.
    #[must_use]
    pub fn counter(&self, id: u64) -> i64 {
        self.0.pipeline.counters.newest(id)
    }

    /// The value of a counter as of the LSN of a view or read point that was taken a moment ago.
    /// None once the counters have moved some thousand times since: count what the view has.
    #[must_use]
    pub fn counter_at(&self, id: u64, lsn: Lsn) -> Option<i64> {
        self.0.pipeline.counters.at(id, lsn)
    }

    /// Ready when writers are not, or no longer, held back. Look again after it: another writer
    /// may have been faster.
    #[must_use]
    pub fn writable(&self) -> Writable {
        Writable {
            pipeline: Arc::clone(&self.0.pipeline),
        }
    }

    /// How long to wait before the next write: zero while checkpoints and compactions keep up, at
    /// most a second. Who does not wait runs into [`StoreError::Busy`] sooner.
    #[must_use]
    pub fn delay(&self) -> Duration {
        let delay = self.0.pipeline.trigger.delay();
        if !delay.is_zero() {
            self.0.pipeline.observer.writer_delayed(delay);
        }
        delay
    }

    /// Blocks until everything appended before the call is durable: by a sync of the log, or by a
    /// checkpoint at `none`. Returns the LSN that is covered.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] and those of the checkpoint.
    pub fn flush(&self) -> Result<Lsn> {
        let pipeline = &self.0.pipeline;
        pipeline.alive()?;
        // Looked at together: what was appended while nothing is logged never comes to the log,
        // whatever the level is by the time of the sync.
        let (logging, lsn) = {
            let section = lock(&pipeline.section);
            (section.logging, Lsn(section.next_lsn.0 - 1))
        };
        if !logging || pipeline.level() == Durability::None {
            return self.checkpoint().map(|report| report.lsn);
        }
        let ticket = pipeline.wait_durable(lsn);
        let synced = pipeline.drive(&mut pipeline.lock_log(), SyncBy::Now);
        pipeline.work.notify_one();
        synced?;
        ticket.wait()
    }

    /// Blocks until everything appended before the call is in tables.
    ///
    /// # Errors
    /// I/O errors; nothing is lost then, and it is tried again by itself.
    pub fn checkpoint(&self) -> Result<CheckpointReport> {
        self.0.pipeline.alive()?;
        self.0.checkpointer.checkpoint()
    }

    /// Blocks until all tables are merged into one sorted run, without what no view needs.
    ///
    /// # Errors
    /// I/O errors and damage found in a table.
    pub fn compact(&self) -> Result<()> {
        self.0.pipeline.alive()?;
        self.0.checkpointer.compact_everything()
    }

    /// Takes a snapshot named `name` of everything appended before the call, in `snapshots` below
    /// the data directory, while writers and readers go on. If there is one of that name already,
    /// that one is the answer and `false` stands beside it. When it returns, it is durable.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`]; [`StoreError::Mismatch`] if tables and data directory are not
    /// on one volume; those of the checkpoint; I/O errors. There is no snapshot then.
    pub fn create_snapshot(&self, name: &str) -> Result<(SnapshotInfo, bool)> {
        self.0.pipeline.alive()?;
        self.0.checkpointer.cut_snapshot(name, false)
    }

    /// As [`Store::create_snapshot`], marked as one that whoever runs the store removes when nobody
    /// wants it any more; the mark, which [`Snapshots::is_leased`] tells, survives restarts.
    ///
    /// # Errors
    /// As [`Store::create_snapshot`].
    pub fn create_leased_snapshot(&self, name: &str) -> Result<(SnapshotInfo, bool)> {
        self.0.pipeline.alive()?;
        self.0.checkpointer.cut_snapshot(name, true)
    }

    /// Puts a description beside the snapshot `name`, as [`Snapshots::describe`] does, but not
    /// beside one that was removed meanwhile, and with `replace` unset not in place of a description
    /// that is there. Returns whether it was written.
    ///
    /// # Errors
    /// I/O errors.
    pub fn describe_snapshot(&self, name: &str, description: &[u8], replace: bool) -> Result<bool> {
        let checkpointer = &self.0.checkpointer;
        checkpointer.describe_snapshot(name, description, replace)
    }

    /// What snapshots hold.
    ///
    /// # Errors
    /// I/O errors. Snapshots that cannot be read are not counted.
    pub fn snapshot_usage(&self) -> Result<SnapshotUsage> {
        self.0.checkpointer.snapshot_usage()
    }

    /// Removes a snapshot and what only it needed. Returns whether it was there.
    ///
    /// # Errors
    /// I/O errors; a second call goes on.
    pub fn delete_snapshot(&self, name: &str) -> Result<bool> {
        self.0.checkpointer.delete_snapshot(name)
    }

    /// The snapshots below the data directory, for reading.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        self.0.checkpointer.snapshots()
    }

    /// Puts new live settings in force and returns when they are. A change of the durability
    /// level is crash-safe at every moment.
    ///
    /// # Errors
    /// [`StoreError::InvalidSettings`], I/O errors; the settings are as before then, but for a
    /// level that was already lowered or raised in part, which the next call repeats.
    pub fn reconfigure(&self, live: LiveSettings) -> Result<()> {
        self.0.pipeline.alive()?;
        self.0.checkpointer.reconfigure(live)
    }

    /// The live settings in force.
    #[must_use]
    pub fn live_settings(&self) -> LiveSettings {
        self.0.checkpointer.live_settings()
    }

    /// What the last open found.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.0.report
    }

    /// Figures of this moment.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        stats::collect(&self.0.pipeline, &self.0.checkpointer)
    }

    /// The disk the store works on.
    #[must_use]
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.0.checkpointer.disk)
    }

    /// Takes no more writes, makes everything durable, writes a final checkpoint, ends the threads
    /// and gives the directories back. A second call does nothing.
    ///
    /// # Errors
    /// Those of the last sync and the checkpoint. If only the checkpoint fails, the next open
    /// replays the log.
    pub fn close(&self) -> Result<()> {
        self.0.close(true)
    }
}

impl Inner {
    fn start(settings: &Settings, components: &Components, recovered: Recovered) -> Self {
        let Recovered {
            manifest,
            levels,
            cache,
            memtable,
            log,
            supply,
            report,
            locks,
        } = recovered;
        let counters = recovery::counters(&manifest, &memtable);
        let version = Version {
            active: memtable,
            sealed: Vec::new(),
            levels: Arc::new(levels),
        };
        let pipeline = Arc::new(Pipeline::new(
            manifest.level,
            report.resumes_after,
            version,
            counters,
            LogParts {
                log,
                supply: Arc::clone(&supply),
                who_syncs: settings.who_syncs,
            },
            Arc::clone(&components.observer),
        ));
        pipeline
            .marks
            .start(report.resumes_after, manifest.checkpoint);
        pipeline
            .reservation
            .store(manifest.reservation.0, Ordering::Release);
        if let (Some(start), Some(log)) = (manifest.log_start, &mut pipeline.lock_log().log) {
            supply.retire(log.retire_before(start));
        }
        let checkpointer = Arc::new(Checkpointer {
            pipeline: Arc::clone(&pipeline),
            disk: Arc::clone(&components.disk),
            observer: Arc::clone(&components.observer),
            data_dir: settings.data_dir.clone(),
            wal_dir: settings.wal_dir.clone(),
            checkpoint_dir: settings.checkpoint_dir.clone(),
            cache,
            supply,
            next_table: AtomicU64::new(manifest.next_table),
            manifest: Mutex::new(manifest),
            live: Mutex::new(settings.live.clone()),
            stop: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            running: Mutex::new(()),
            compacting: Mutex::new(()),
            compaction_wanted: Wanted::default(),
            snapshotting: Mutex::new(()),
        });
        checkpointer.watch_space();
        checkpointer.replan_memory();
        if !lock(&pipeline.section).logging {
            // Lets go of a log that an earlier level left.
            pipeline.trigger.ask();
        }
        Inner {
            pipeline,
            checkpointer,
            report,
            stop_log: Arc::new(AtomicBool::new(false)),
            threads: Mutex::new(Vec::new()),
            locks: Mutex::new(locks),
        }
    }

    fn start_threads(&self) -> Result<()> {
        let mut threads = lock(&self.threads);
        let mut spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(body);
            threads.push(thread.map_err(|error| StoreError::io("start the thread", name, &error))?);
            Ok::<(), StoreError>(())
        };
        let (pipeline, stop) = (Arc::clone(&self.pipeline), Arc::clone(&self.stop_log));
        let checkpointer = Arc::clone(&self.checkpointer);
        spawn(
            "godb-log",
            Box::new(move || driver::run(&pipeline, &|| checkpointer.live_settings(), &stop)),
        )?;
        let checkpointer = Arc::clone(&self.checkpointer);
        spawn(
            "godb-checkpoint",
            Box::new(move || checkpointer.run_schedule()),
        )?;
        let checkpointer = Arc::clone(&self.checkpointer);
        spawn(
            "godb-compact",
            Box::new(move || checkpointer.run_compaction()),
        )?;
        let checkpointer = Arc::clone(&self.checkpointer);
        spawn(
            "godb-segments",
            Box::new(move || checkpointer.supply.run(&*checkpointer.observer)),
        )
    }

    fn close(&self, checkpoint: bool) -> Result<()> {
        let pipeline = &self.pipeline;
        if std::mem::replace(&mut lock(&pipeline.section).closed, true) {
            return Ok(());
        }
        let mut outcome = Ok(());
        if checkpoint {
            outcome = pipeline
                .drive(&mut pipeline.lock_log(), SyncBy::Now)
                .map(drop);
        }
        self.checkpointer.stop.store(true, Ordering::Release);
        if checkpoint && outcome.is_ok() {
            outcome = self.checkpointer.checkpoint().and_then(|_| {
                let durable = pipeline.marks.appended();
                self.checkpointer.commit_manifest_fields(|manifest| {
                    manifest.clean = true;
                    manifest.durable = durable;
                })
            });
        }
        self.stop_threads();
        if pipeline.marks.durable() < pipeline.marks.appended() {
            // Nobody is left to write it: whoever still waits for it must not wait for ever.
            pipeline
                .poison
                .set("the store was closed before everything was written".to_owned());
        }
        pipeline.wake_everyone(&mut pipeline.lock_log());
        self.checkpointer.finish();
        lock(&self.locks).clear();
        outcome
    }

    fn stop_threads(&self) {
        self.checkpointer.stop.store(true, Ordering::Release);
        self.stop_log.store(true, Ordering::Release);
        self.checkpointer.supply.stop();
        self.checkpointer.wake_threads();
        // The log thread looks at the flag inside the section before it sleeps.
        drop(lock(&self.pipeline.section));
        self.pipeline.work.notify_all();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // A thread that panicked has nothing more to end; the store's own latch tells why.
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // As after a crash: nothing is promised beyond what was acknowledged. Errors have no one
        // to go to.
        let _ = self.close(false);
    }
}
