//! The second half of the commit pipeline: from the log buffer to disk, to readers, to waiters.
//! Whoever holds the log's lock drives it; the invariants stand at the module `commit`.

use std::time::{Duration, Instant};

use crate::error::{Result, StoreError};
use crate::lsn::Lsn;
use crate::settings::Durability;
use crate::sync::lock;
use crate::txn::commit::{LogState, Pipeline};
use crate::txn::gate::Hold;
use crate::wal::buffer::Chunk;

/// How long a written group may wait for the disk to have space for the next segment. The reserve
/// makes it rare; after it, the outcome is unknown and the store stops.
const SPACE_PATIENCE: Duration = Duration::from_secs(30);

impl Pipeline {
    /// Takes what gathered, writes it, syncs it if the level or a waiter asks for it, publishes.
    /// Returns whether there was anything to do.
    ///
    /// # Errors
    /// Those of the log, after the store was poisoned with them.
    pub(crate) fn drive(&self, state: &mut LogState, force_sync: bool) -> Result<bool> {
        let outcome = self.drive_log(state, force_sync);
        if outcome.is_err() {
            self.wake_everyone(state);
        }
        outcome
    }

    fn drive_log(&self, state: &mut LogState, force_sync: bool) -> Result<bool> {
        let LogState { log: Some(log), .. } = state else {
            return Ok(false);
        };
        self.poison.check()?;
        let (mut chunks, urgent) = {
            let mut section = lock(&self.section);
            state.waiting.append(&mut section.waiting);
            state.deltas.append(&mut section.deltas);
            section.oldest_record = None;
            let urgent = std::mem::take(&mut section.urgent);
            let chunks = section.buffer.take();
            (chunks, urgent)
        };
        if self.gate.is_set(Hold::LogBuffer) {
            self.gate.set(Hold::LogBuffer, false);
        }
        let worked = !chunks.is_empty();
        if let Some(last) = chunks.last().map(Chunk::last_lsn) {
            state.last_group = chunks.iter().map(|chunk| chunk.count as usize).sum();
            state.last_write = Instant::now();
            let appended = log
                .append(&mut chunks, self.marks.durable(), &*self.observer, &|| {
                    state.last_write.elapsed() < SPACE_PATIENCE
                })
                .map_err(|error| self.fail_stop(error))?;
            self.marks.set_written(last);
            if let Some(synced) = appended.synced_to {
                self.marks.set_durable(synced);
            }
            self.trigger.log_grew(log.written_bytes());
            lock(&self.section).buffer.recycle(chunks);
        }
        let level = self.level();
        let wants_sync = force_sync || urgent || level == Durability::Full;
        let wants_sync = wants_sync && self.marks.durable() < self.marks.written();
        if !wants_sync || level <= Durability::Os {
            self.publish(state, level);
        }
        if wants_sync {
            let LogState { log: Some(log), .. } = state else {
                return Ok(worked);
            };
            let covered = self.marks.written();
            let started = Instant::now();
            log.sync().map_err(|error| self.fail_stop(error))?;
            let took = started.elapsed();
            self.observer.log_synced(took);
            let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            state.sync_nanos = (state.sync_nanos.saturating_mul(7) / 8).saturating_add(nanos / 8);
            self.marks.set_durable(covered);
            self.publish(state, level);
        }
        Ok(worked || wants_sync)
    }

    /// Notes that a sync outside the log's lock covered everything up to `covered`.
    pub(crate) fn synced_in_background(&self, state: &mut LogState, covered: Lsn) {
        self.marks.set_durable(covered);
        let level = self.level();
        self.publish(state, level);
    }

    /// Moves `visible` as far as the level allows, then wakes whoever got what he waited for.
    pub(crate) fn publish(&self, state: &mut LogState, level: Durability) {
        let visible = match level {
            Durability::None | Durability::Memory => self.marks.appended(),
            Durability::Os => self.marks.written(),
            Durability::Full => self.marks.durable(),
        };
        let now_visible = state
            .deltas
            .iter()
            .take_while(|(lsn, ..)| *lsn <= visible)
            .count();
        self.apply_counts(
            state
                .deltas
                .drain(..now_visible)
                .map(|(_, id, delta)| (id, delta)),
        );
        self.marks.set_visible(visible);
        for list in [&mut state.waiting, &mut *lock(&self.late)] {
            list.retain_mut(|waiting| {
                let done = self.reached(waiting.lsn, waiting.need);
                if done {
                    waiting.waker.wake_by_ref();
                }
                !done
            });
        }
    }

    /// Sets the latch; [`Pipeline::wake_everyone`] must follow.
    pub(crate) fn fail_stop(&self, error: StoreError) -> StoreError {
        let cause = error.to_string();
        if self.poison.set(cause.clone()) {
            self.observer.log_failed(&cause);
        }
        error
    }

    /// After a fail-stop or at close: wakes everyone, so that nobody waits for what cannot come.
    pub(crate) fn wake_everyone(&self, state: &mut LogState) {
        let mut all = std::mem::take(&mut state.waiting);
        all.append(&mut lock(&self.section).waiting);
        all.append(&mut lock(&self.late));
        for waiting in all {
            waiting.waker.wake();
        }
        self.gate.wake_all();
        self.work.notify_all();
    }
}
