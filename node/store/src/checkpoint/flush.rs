//! A checkpoint: sealed memtables become a table of level 0, the manifest names it, the log
//! behind it is let go. Writers and readers go on throughout.
//!
//! Order, and why: (1) the memtable is sealed at LSN S; (2) the log is made durable up to S, so no
//! table ever holds what the log could still lose; (3) the table is written and synced; (4) the
//! manifest with checkpoint S is made durable; (5) readers get the new version; (6) segments at or
//! below S are used again. A crash before (4) leaves the old state and a file that is swept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::checkpoint::Checkpointer;
use crate::checkpoint::retain::Retain;
use crate::error::{Result, StoreError};
use crate::limits;
use crate::lsn::Lsn;
use crate::manifest::{Manifest, StoreFailure};
use crate::memtable::Memtable;
use crate::read::version::Version;
use crate::read::{Direction, KeyRange};
use crate::settings::Durability;
use crate::sync::lock;
use crate::table::{Levels, Table, TableBuilder, TableMeta, TableOptions};
use crate::txn::gate::Hold;
use crate::txn::publish::SyncBy;

/// What a checkpoint did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointReport {
    /// Everything up to this LSN is in tables.
    pub lsn: Lsn,
    /// Bytes of tables written.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
}

impl Checkpointer {
    /// Brings everything appended before the call into tables. One at a time; a call that finds
    /// another one at work waits for it and then does its own.
    ///
    /// # Errors
    /// On an I/O error nothing is lost and it can be repeated: memtables and log are still there.
    pub(crate) fn checkpoint(&self) -> Result<CheckpointReport> {
        let _one_at_a_time = lock(&self.running);
        self.check_owned()?;
        self.checkpoint_locked()
    }

    pub(crate) fn checkpoint_locked(&self) -> Result<CheckpointReport> {
        let started = Instant::now();
        let outcome = self.flush_sealed(started);
        match &outcome {
            Ok(report) if report.bytes > 0 => {
                self.observer
                    .checkpoint_done(report.lsn, report.bytes, report.took);
            }
            Ok(_) => {}
            Err(error) => {
                self.observer.checkpoint_failed(&error.to_string());
                // Asked again, after the pause that the caller makes.
                self.pipeline.trigger.ask();
            }
        }
        outcome
    }

    fn flush_sealed(&self, started: Instant) -> Result<CheckpointReport> {
        let pipeline = &self.pipeline;
        let mut upto = Lsn::ZERO;
        pipeline.seal(|section| upto = Lsn(section.next_lsn.0 - 1));
        let version = pipeline.versions.load();
        let sealed_bytes = version.sealed.iter().map(|sealed| sealed.bytes()).sum();
        let logging = lock(&pipeline.section).logging;
        let (log_bytes, left_behind) = pipeline.with_log(|state| {
            let bytes = state.log.as_ref().map_or(0, |log| log.written_bytes());
            (bytes, state.log.is_some() && !logging)
        });
        pipeline.trigger.sealed(sealed_bytes, log_bytes);
        let covered = upto <= lock(&self.manifest).checkpoint;
        if version.sealed.is_empty() && covered && !left_behind {
            return Ok(CheckpointReport {
                lsn: upto,
                ..Default::default()
            });
        }
        self.make_log_durable(upto)?;
        let tables = self.build_tables(&version)?;
        let bytes = tables.iter().map(|table| table.meta().bytes).sum();
        let counts = sum_counts(&version.sealed);
        let log_start = pipeline.with_log(|state| {
            let log = state.log.as_ref().filter(|_| logging);
            log.map(|log| log.start_for(upto))
        });
        let committed = self.commit_manifest(
            |manifest, levels| {
                manifest.checkpoint = manifest.checkpoint.max(upto);
                manifest.log_start = log_start;
                if log_start.is_none() {
                    manifest.log_through = None;
                    manifest.durable = manifest.durable.max(upto);
                }
                for (id, delta) in &counts {
                    *manifest.counters.entry(*id).or_default() += delta;
                }
                Ok(tables.iter().fold(levels.clone(), |levels, table| {
                    levels.with_checkpoint(Arc::clone(table))
                }))
            },
            |version, levels| {
                let flushed = &version.sealed;
                let keep = |memtable: &&Arc<Memtable>| memtable.last_lsn() > upto;
                Version {
                    active: Arc::clone(&version.active),
                    sealed: flushed.iter().filter(keep).cloned().collect(),
                    levels,
                }
            },
        );
        committed.inspect_err(|_| self.discard(&tables))?;
        pipeline.trigger.flushed();
        pipeline.gate.set(Hold::Memory, false);
        self.let_log_go(upto, log_start, logging);
        self.replan_memory();
        self.judge_runs();
        self.compaction_wanted.ask();
        Ok(CheckpointReport {
            lsn: upto,
            bytes,
            took: started.elapsed(),
        })
    }

    /// A table must not hold what the log could still lose.
    fn make_log_durable(&self, upto: Lsn) -> Result<()> {
        let pipeline = &self.pipeline;
        let mut state = pipeline.lock_log();
        if state.log.is_some() && pipeline.marks.durable() < upto {
            pipeline.drive(&mut state, SyncBy::Now)?;
        }
        drop(state);
        // Whoever came meanwhile and found the log's lock taken counts on another look.
        pipeline.work.notify_one();
        pipeline.poison.check()
    }

    fn build_tables(&self, version: &Version) -> Result<Vec<Arc<Table>>> {
        let mut tables = Vec::new();
        let built = self.build_into(&mut tables, version);
        built.inspect_err(|_| self.discard(&tables))?;
        Ok(tables)
    }

    fn build_into(&self, tables: &mut Vec<Arc<Table>>, version: &Version) -> Result<()> {
        let oldest_needed = self.pipeline.readers.oldest_needed(&self.pipeline.marks);
        let whole = KeyRange {
            lower: std::ops::Bound::Unbounded,
            upper: std::ops::Bound::Unbounded,
        };
        let mut bottom = version.levels.len() == 0;
        // Oldest first, so that each table of level 0 is newer than those behind it.
        for sealed in version.sealed.iter().rev() {
            let number = self.next_table.fetch_add(1, Ordering::Relaxed);
            let options = TableOptions::default();
            let mut builder = TableBuilder::new(&self.disk, &self.checkpoint_dir, number, options)?;
            let source = sealed.scan(&whole, Direction::Ascending).map(Ok);
            for entry in Retain::new(source, oldest_needed, bottom) {
                builder.add(&entry?)?;
            }
            if let Some(meta) = builder.finish()? {
                tables.push(self.open_table(&meta)?);
                bottom = false;
            }
        }
        self.sync_tables()
    }

    /// Gives back the space of tables that no manifest came to name: while the disk is full, each
    /// new attempt would else take more of the reserve. If a manifest's fate is unknown it may name
    /// them, and they stay.
    pub(crate) fn discard(&self, tables: &[Arc<Table>]) {
        if self.pipeline.poison.cause().is_none() {
            for table in tables {
                table.mark_obsolete();
            }
        }
    }

    pub(crate) fn open_table(&self, meta: &TableMeta) -> Result<Arc<Table>> {
        Table::open(
            &self.disk,
            &self.checkpoint_dir,
            meta,
            Arc::clone(&self.cache),
        )
    }

    pub(crate) fn sync_tables(&self) -> Result<()> {
        let dir = &self.checkpoint_dir;
        self.disk
            .sync_dir(dir)
            .map_err(|error| StoreError::io("sync the directory", dir, &error))
    }

    /// Changes manifest and tables together: the manifest is made durable, then readers get the
    /// version that `edit` makes of theirs.
    ///
    /// # Errors
    /// If the new manifest's fate is unknown, the store is poisoned too.
    pub(crate) fn commit_manifest(
        &self,
        change: impl FnOnce(&mut Manifest, &Levels) -> Result<Levels>,
        edit: impl FnOnce(&Version, Arc<Levels>) -> Version,
    ) -> Result<()> {
        let pipeline = &self.pipeline;
        let mut current = lock(&self.manifest);
        let mut next = current.clone();
        let levels = change(&mut next, &pipeline.versions.load().levels)?;
        next.levels = levels
            .iter()
            .map(|level| level.iter().map(|t| t.meta().clone()).collect())
            .collect();
        next.number += 1;
        next.next_table = self.next_table.load(Ordering::Relaxed);
        next.next_segment = next.next_segment.max(self.supply.next_number());
        next.durable = next.durable.max(pipeline.marks.durable());
        next.reservation = next
            .reservation
            .max(pipeline.marks.appended().plus(limits::LSN_RESERVATION));
        match next.store(&*self.disk, &self.data_dir) {
            Ok(()) => {}
            Err(StoreFailure::Unchanged(error)) => return Err(error),
            Err(StoreFailure::Unknown(error)) => {
                let error = pipeline.fail_stop(error);
                drop(current);
                pipeline.wake_everyone(&mut pipeline.lock_log());
                return Err(error);
            }
        }
        pipeline
            .reservation
            .store(next.reservation.0, Ordering::Release);
        pipeline.gate.set(Hold::Reservation, false);
        let checkpoint = next.checkpoint;
        *current = next;
        let levels = Arc::new(levels);
        pipeline
            .versions
            .edit(|version| edit(version, Arc::clone(&levels)));
        if pipeline.level() == Durability::None {
            // Without a log, what is written and durable is what is in tables.
            pipeline.marks.set_written(checkpoint);
            pipeline.marks.set_durable(checkpoint);
        }
        pipeline.marks.set_checkpointed(checkpoint);
        Ok(())
    }

    /// A manifest commit that leaves the tables as they are.
    pub(crate) fn commit_manifest_fields(&self, change: impl FnOnce(&mut Manifest)) -> Result<()> {
        self.commit_manifest(
            |manifest, levels| {
                change(manifest);
                Ok(levels.clone())
            },
            |version, levels| Version {
                levels,
                ..version.clone()
            },
        )
    }

    /// Segments that the durable manifest no longer needs are used again; a log that is no longer
    /// kept goes whole.
    fn let_log_go(&self, upto: Lsn, log_start: Option<u64>, logging: bool) {
        let pipeline = &self.pipeline;
        let old = pipeline.with_log(|state| match (&mut state.log, log_start) {
            (Some(log), Some(start)) => log.retire_before(start),
            (Some(log), None) if !logging && pipeline.marks.appended() >= upto => {
                let all = log.all_segments();
                state.log = None;
                all
            }
            _ => Vec::new(),
        });
        self.supply.retire(old);
    }
}

fn sum_counts(sealed: &[Arc<Memtable>]) -> BTreeMap<u64, i64> {
    let mut sums = BTreeMap::new();
    for (id, delta) in sealed.iter().flat_map(|memtable| memtable.counts()) {
        *sums.entry(id).or_default() += delta;
    }
    sums
}
