//! Changing the durability level of a running store. At every moment of a change a crash leaves
//! what the weaker of the two levels promises, and the stronger one is promised only once the
//! change has been answered.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::checkpoint::Checkpointer;
use crate::error::Result;
use crate::lsn::Lsn;
use crate::settings::{Durability, LiveSettings};
use crate::sync::lock;
use crate::txn::publish::SyncBy;
use crate::wal::segment::{FRAMES_OFFSET, Origin};
use crate::wal::writer::Log;

impl Checkpointer {
    /// Puts `next` in force; returns when it is, durably.
    pub(crate) fn reconfigure(&self, next: LiveSettings) -> Result<()> {
        next.validate()?;
        let _one_at_a_time = lock(&self.running);
        self.check_owned()?;
        self.pipeline.poison.check()?;
        let current = self.pipeline.level();
        if next.durability < current {
            self.lower(next.durability)?;
        } else if current == Durability::None && next.durability > Durability::None {
            self.start_logging(next.durability)?;
        } else if next.durability > lock(&self.manifest).level {
            // Also when an earlier attempt raised all but what the manifest says.
            self.raise(next.durability)?;
        }
        *lock(&self.live) = next;
        self.replan_memory();
        self.pipeline.work.notify_all();
        self.pipeline.trigger.wake();
        Ok(())
    }

    /// The manifest says the weaker level before the first commit under it.
    fn lower(&self, level: Durability) -> Result<()> {
        self.commit_manifest_fields(|manifest| manifest.level = level)?;
        if level == Durability::None {
            let mut section = lock(&self.pipeline.section);
            section.logging = false;
            self.pipeline.set_level(level);
            drop(section);
            // What is in the buffer belongs to the log; the rest is for the next checkpoint.
            let mut state = self.pipeline.lock_log();
            self.pipeline.drive(&mut state, SyncBy::Now)?;
            self.pipeline.publish(&mut state, level);
            drop(state);
            self.pipeline.trigger.ask();
        } else {
            self.pipeline.set_level(level);
            let mut state = self.pipeline.lock_log();
            self.pipeline.drive(&mut state, SyncBy::Need)?;
            self.pipeline.publish(&mut state, level);
        }
        Ok(())
    }

    /// New commits wait for the stronger level at once; the manifest says it when everything
    /// before is as safe.
    fn raise(&self, level: Durability) -> Result<()> {
        self.pipeline.set_level(level);
        let mut state = self.pipeline.lock_log();
        self.pipeline.drive(&mut state, SyncBy::Now)?;
        drop(state);
        self.pipeline.work.notify_one();
        self.commit_manifest_fields(|manifest| manifest.level = level)
    }

    /// Up from `none`: from LSN S + 1 on transactions go to a fresh segment, everything up to S
    /// goes to tables, and the manifest that says both puts the log in force. Until then a crash
    /// finds the manifest of `none`, which ignores that segment. A failed attempt leaves the log on
    /// and the level at `none`; the next one goes on with that log.
    fn start_logging(&self, level: Durability) -> Result<()> {
        // A log that `none` left behind must be in tables before another one begins.
        self.checkpoint_locked()?;
        let logging = lock(&self.pipeline.section).logging;
        if !logging {
            self.begin_log()?;
        }
        // Acknowledgements are still those of `none`. The checkpoint below covers S and names
        // the segment as the log's start; what it says of the level comes after it.
        self.checkpoint_locked()?;
        let checkpoint = lock(&self.manifest).checkpoint;
        let log_start = {
            let state = self.pipeline.lock_log();
            state.log.as_ref().map(|log| log.start_for(checkpoint))
        };
        self.commit_manifest_fields(|manifest| {
            manifest.log_start = manifest.log_start.or(log_start);
        })?;
        self.pipeline
            .drive(&mut self.pipeline.lock_log(), SyncBy::Now)?;
        self.pipeline.set_level(level);
        let mut state = self.pipeline.lock_log();
        self.pipeline.drive(&mut state, SyncBy::Now)?;
        drop(state);
        self.pipeline.work.notify_one();
        self.commit_manifest_fields(|manifest| manifest.level = level)
    }

    /// Transactions go to a fresh log from here on. One that an earlier attempt began is never
    /// replaced: a manifest may name it.
    fn begin_log(&self) -> Result<()> {
        let segment =
            self.supply
                .make(Origin::Continuation, &|_| Vec::new(), 0, &*self.observer)?;
        let mut state = self.pipeline.lock_log();
        let mut section = lock(&self.pipeline.section);
        let last = Lsn(section.next_lsn.0 - 1);
        let chain = segment.header.chain_seed();
        section.room_bytes = segment.capacity - FRAMES_OFFSET;
        state.log = Some(Log::new(
            Arc::clone(&self.supply),
            segment,
            FRAMES_OFFSET,
            chain,
            last,
            VecDeque::new(),
        ));
        section.logging = true;
        Ok(())
    }
}
