//! Compaction in the background: keeps the number of sorted runs small, and holds writers back
//! when it cannot keep up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::checkpoint::Checkpointer;
use crate::checkpoint::compact;
use crate::checkpoint::pick::{Compaction, CompactionOptions, pick};
use crate::error::{Result, StoreError};
use crate::read::version::Version;
use crate::sync::lock;
use crate::txn::gate::Hold;
use crate::txn::pace::MOST_RUNS;

/// How often the compactor looks for work that nobody told it of.
const LOOK: Duration = Duration::from_millis(500);
/// Pause after a failed compaction.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

impl Checkpointer {
    /// The body of the compaction thread.
    pub(crate) fn run_compaction(&self) {
        let mut failed_before = false;
        while !self.stop.load(Ordering::Acquire) {
            let pause = if failed_before { RETRY_PAUSE } else { LOOK };
            self.compaction_wanted.wait(pause, failed_before);
            failed_before = false;
            loop {
                if self.stop.load(Ordering::Acquire) || self.pipeline.poison.cause().is_some() {
                    return;
                }
                match self.compact_once() {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        if !self.stop.load(Ordering::Acquire) {
                            self.observer.compaction_failed(&error.to_string());
                        }
                        failed_before = true;
                        break;
                    }
                }
            }
        }
    }

    /// One compaction if the shape of the levels asks for one. Whether it did something.
    pub(crate) fn compact_once(&self) -> Result<bool> {
        let _one_at_a_time = lock(&self.compacting);
        self.check_owned()?;
        let levels = Arc::clone(&self.pipeline.versions.load().levels);
        let oldest_needed = self.pipeline.readers.oldest_needed(&self.pipeline.marks);
        let options = CompactionOptions::default();
        let Some(compaction) = pick(&levels, &options, oldest_needed) else {
            return Ok(false);
        };
        self.run_one(&compaction, &options)?;
        Ok(true)
    }

    /// All tables into one sorted run, without what no view needs.
    pub(crate) fn compact_everything(&self) -> Result<()> {
        let _one_at_a_time = lock(&self.compacting);
        self.check_owned()?;
        let levels = Arc::clone(&self.pipeline.versions.load().levels);
        match Compaction::everything(&levels) {
            Some(compaction) => self.run_one(&compaction, &CompactionOptions::default()),
            None => Ok(()),
        }
    }

    fn run_one(&self, compaction: &Compaction, options: &CompactionOptions) -> Result<()> {
        let started = Instant::now();
        let mut outputs = Vec::new();
        if !compaction.trivial_move {
            let oldest_needed = self.pipeline.readers.oldest_needed(&self.pipeline.marks);
            let metas = compact::run(
                compaction,
                options,
                &self.disk,
                &self.checkpoint_dir,
                &mut || self.next_table.fetch_add(1, Ordering::Relaxed),
                oldest_needed,
                &|| self.stop.load(Ordering::Acquire),
            )?;
            for meta in &metas {
                outputs.push(self.open_table(meta)?);
            }
            let synced = self.sync_tables();
            synced.inspect_err(|_| self.discard(&outputs))?;
        }
        let bytes_written = outputs.iter().map(|table| table.meta().bytes).sum();
        let committed = self.commit_manifest(
            |_, levels| {
                compaction
                    .apply(levels, outputs.clone())
                    .map_err(|error| StoreError::Mismatch {
                        path: self.checkpoint_dir.clone(),
                        detail: format!("a compaction does not fit the tables: {error}"),
                    })
            },
            |version, levels| Version {
                levels,
                ..version.clone()
            },
        );
        committed.inspect_err(|_| self.discard(&outputs))?;
        if !compaction.trivial_move {
            for table in compaction.tables() {
                table.mark_obsolete();
            }
            let bytes_read = compaction.input_bytes();
            self.observer
                .compaction_done(bytes_read, bytes_written, started.elapsed());
        }
        self.judge_runs();
        self.replan_memory();
        Ok(())
    }

    /// Holds writers back while too many tables overlap.
    pub(crate) fn judge_runs(&self) {
        let runs = self.pipeline.versions.load().levels.level(0).len() as u64;
        self.pipeline.trigger.set_runs(runs);
        self.pipeline.gate.set(Hold::Runs, runs >= MOST_RUNS);
    }
}
