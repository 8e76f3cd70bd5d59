//! The second half of the commit pipeline: from the log buffer to disk, to readers, to waiters.
//! Whoever holds the log's lock drives it; the invariants stand at the module `commit`.

use std::ops::{Deref, DerefMut};
use std::sync::{MutexGuard, TryLockError};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::error::{Result, StoreError};
use crate::lsn::Lsn;
use crate::settings::Durability;
use crate::sync::lock;
use crate::txn::commit::{LogState, Pipeline, Waiting};
use crate::txn::gate::Hold;
use crate::wal::buffer::Chunk;

/// How long a written group may wait for the disk to have space for the next segment. The reserve
/// makes it rare; after it, the outcome is unknown and the store stops.
const SPACE_PATIENCE: Duration = Duration::from_secs(30);

/// Whether who drives the log also syncs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncBy {
    /// At once, whatever the level.
    Now,
    /// If the level or a waiter asks for it.
    Need,
    /// Not here: what needs one is left to the log thread.
    LogThread,
}

/// The log's lock. When it is given back, those whose LSN was reached meanwhile are woken, and so
/// is who waits for his turn: not before, as they would find the lock taken.
pub(crate) struct LogGuard<'a> {
    // The order matters: fields are dropped in it.
    state: MutexGuard<'a, LogState>,
    after: After<'a>,
}

struct After<'a> {
    pipeline: &'a Pipeline,
    done: Vec<Waker>,
}

impl Deref for LogGuard<'_> {
    type Target = LogState;
    fn deref(&self) -> &LogState {
        &self.state
    }
}

impl DerefMut for LogGuard<'_> {
    fn deref_mut(&mut self) -> &mut LogState {
        &mut self.state
    }
}

impl Drop for LogGuard<'_> {
    fn drop(&mut self) {
        self.after.done = std::mem::take(&mut self.state.done);
    }
}

impl Drop for After<'_> {
    fn drop(&mut self) {
        if let Some(waker) = self.pipeline.syncer.next_turn() {
            waker.wake();
        }
        for waker in self.done.drain(..) {
            waker.wake();
        }
    }
}

impl Pipeline {
    /// Takes the log's lock.
    pub(crate) fn lock_log(&self) -> LogGuard<'_> {
        self.guard(lock(&self.log))
    }

    /// Takes the log's lock if it is free.
    pub(crate) fn try_lock_log(&self) -> Option<LogGuard<'_>> {
        match self.log.try_lock() {
            Ok(state) => Some(self.guard(state)),
            Err(TryLockError::Poisoned(poisoned)) => Some(self.guard(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn guard<'a>(&'a self, state: MutexGuard<'a, LogState>) -> LogGuard<'a> {
        let after = After {
            pipeline: self,
            done: Vec::new(),
        };
        LogGuard { state, after }
    }

    /// Takes what gathered, writes it, syncs it as `sync` says, publishes. Returns whether there
    /// was anything to do.
    ///
    /// # Errors
    /// Those of the log, after the store was poisoned with them.
    pub(crate) fn drive(&self, state: &mut LogState, sync: SyncBy) -> Result<bool> {
        let outcome = self.drive_log(state, sync);
        if outcome.is_err() {
            self.wake_everyone(state);
        }
        outcome
    }

    fn drive_log(&self, state: &mut LogState, sync: SyncBy) -> Result<bool> {
        let LogState { log: Some(log), .. } = state else {
            return Ok(false);
        };
        self.poison.check()?;
        let (mut chunks, unwritten_bytes, urgent) = {
            let mut section = lock(&self.section);
            state.waiting.append(&mut section.waiting);
            state.deltas.append(&mut section.deltas);
            section.oldest_record = None;
            let urgent = std::mem::take(&mut section.urgent);
            let chunks = section.buffer.take();
            section.handed_over = false;
            self.syncer.taken();
            if section.log_thread_sleeps_long && !chunks.is_empty() {
                // It has to prove this group once the log is idle.
                section.log_thread_sleeps_long = false;
                self.work.notify_one();
            }
            (chunks, section.unwritten_bytes, urgent)
        };
        if self.gate.is_set(Hold::LogBuffer) {
            self.gate.set(Hold::LogBuffer, false);
        }
        let worked = !chunks.is_empty();
        if let Some(last) = chunks.last().map(Chunk::last_lsn) {
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
            let room_bytes = log.room();
            let mut section = lock(&self.section);
            section.unwritten_bytes -= unwritten_bytes;
            section.room_bytes = room_bytes;
            section.buffer.recycle(chunks);
        }
        let level = self.level();
        let wants_sync = sync == SyncBy::Now || urgent || level == Durability::Full;
        let mut wants_sync = wants_sync && self.marks.durable() < self.marks.written();
        if !wants_sync || level <= Durability::Os {
            self.publish(state, level);
        }
        if wants_sync && sync == SyncBy::LogThread {
            lock(&self.section).urgent = true;
            self.work.notify_one();
            wants_sync = false;
        }
        if wants_sync {
            let LogState { log: Some(log), .. } = state else {
                return Ok(worked);
            };
            let (covered, before) = (self.marks.written(), self.marks.durable());
            let started = Instant::now();
            log.sync().map_err(|error| self.fail_stop(error))?;
            let took = started.elapsed();
            self.observer.log_synced(took);
            self.syncer.synced(took);
            self.marks.set_durable(covered);
            self.syncer.in_flight(self.marks.appended().0 - before.0);
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

    /// Moves `visible` as far as the level allows. Who got what he waited for is woken when the
    /// log's lock is given back.
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
        self.counters.apply(state.deltas.drain(..now_visible));
        self.marks.set_visible(visible);
        let LogState { waiting, done, .. } = state;
        let reached = |waiting: &mut Waiting| self.reached(waiting.lsn, waiting.need);
        done.extend(waiting.extract_if(.., reached).map(|one| one.waker));
        let mut late = lock(&self.late);
        done.extend(late.extract_if(.., reached).map(|one| one.waker));
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
        state.done.extend(all.into_iter().map(|one| one.waker));
        self.gate.wake_all();
        self.work.notify_all();
    }
}
