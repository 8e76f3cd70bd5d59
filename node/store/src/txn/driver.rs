//! The log thread: takes what gathered while the last sync ran, writes it, syncs it.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::limits;
use crate::settings::{Durability, LiveSettings};
use crate::sync::lock;
use crate::txn::commit::{Pipeline, Section};
use crate::txn::publish::SyncBy;

/// How long the log must be idle before the proof of its last group is written.
const IDLE: Duration = Duration::from_millis(100);
/// Longest sleep of the log thread.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// How long a group may stay with committers before it is looked after. They are at it at once;
/// this is for those whose executor forgets them.
const COMMITTERS_PATIENCE: Duration = Duration::from_millis(100);

fn due(section: &Section, by_committer: bool, level: Durability, delay: Duration) -> bool {
    section.urgent
        || (!section.buffer.is_empty()
            && ((level >= Durability::Os && !by_committer)
                || section.handed_over
                || section.buffer.bytes() >= limits::FRAME_TARGET_BYTES
                || section
                    .oldest_record
                    .is_none_or(|since| since.elapsed() >= delay)))
}

/// Runs until `stop`; ends early if the log fails.
pub(crate) fn run(pipeline: &Pipeline, live: &dyn Fn() -> LiveSettings, stop: &AtomicBool) {
    let mut last_sync = Instant::now();
    while !stop.load(Ordering::Acquire) {
        let settings = live();
        let level = pipeline.level();
        let by_committer = pipeline.syncer.by_committer(level);
        let delay = if by_committer {
            COMMITTERS_PATIENCE
        } else {
            settings.memory_write_delay
        };
        // Before the section: the log's lock is never taken inside it.
        let unproven_now = unproven(pipeline);
        let mut section = lock(&pipeline.section);
        if !due(&section, by_committer, level, delay) && !stop.load(Ordering::Acquire) {
            let sleep = if section.buffer.is_empty() {
                if unproven_now { IDLE } else { LONGEST_SLEEP }
            } else {
                delay
            };
            section.log_thread_sleeps = true;
            section.log_thread_sleeps_long = sleep > IDLE;
            let woken = pipeline
                .work
                .wait_timeout(section, sleep.max(Duration::from_millis(1)));
            section = woken.unwrap_or_else(PoisonError::into_inner).0;
            section.log_thread_sleeps = false;
            section.log_thread_sleeps_long = false;
        }
        let work = due(&section, by_committer, level, delay);
        drop(section);
        if work {
            pipeline.gather();
            let mut state = pipeline.lock_log();
            let before = pipeline.marks.durable();
            if pipeline.drive(&mut state, SyncBy::Need).is_err() {
                return;
            }
            if pipeline.marks.durable() > before {
                last_sync = Instant::now();
            }
        }
        let idle = pipeline.lock_log().last_write.elapsed() >= IDLE;
        // At `full` nothing is written without being synced by who wrote it.
        let overdue =
            level < Durability::Full && last_sync.elapsed() >= settings.background_sync_interval;
        if (idle || overdue) && unproven(pipeline) {
            last_sync = Instant::now();
            if !prove(pipeline, idle) {
                return;
            }
        }
    }
}

/// Whether something written is not synced, or synced without a frame that says so.
fn unproven(pipeline: &Pipeline) -> bool {
    let marks = &pipeline.marks;
    marks.durable() < marks.written()
        || pipeline
            .lock_log()
            .log
            .as_ref()
            .is_some_and(|log| log.promised() < marks.durable())
}

/// Syncs outside the log's lock, so that writers at `os` go on meanwhile, then lets an empty frame
/// carry the proof when the log is idle. False once the log has failed.
fn prove(pipeline: &Pipeline, idle: bool) -> bool {
    let (handle, covered) = {
        let state = pipeline.lock_log();
        let Some(log) = &state.log else { return true };
        (log.sync_handle(), pipeline.marks.written())
    };
    let sync = || {
        let started = Instant::now();
        let synced = handle.sync();
        pipeline.observer.log_synced(started.elapsed());
        synced
    };
    if pipeline.marks.durable() < covered {
        let synced = sync();
        let mut state = pipeline.lock_log();
        if let Err(error) = synced {
            pipeline.fail_stop(error);
            pipeline.wake_everyone(&mut state);
            return false;
        }
        pipeline.synced_in_background(&mut state, covered);
    }
    if !idle {
        return true;
    }
    let mut state = pipeline.lock_log();
    let durable = pipeline.marks.durable();
    let Some(log) = &mut state.log else {
        return true;
    };
    let proven = log
        .heartbeat(durable)
        .and_then(|wrote| if wrote { log.sync() } else { Ok(()) });
    if let Err(error) = proven {
        pipeline.fail_stop(error);
        pipeline.wake_everyone(&mut state);
        return false;
    }
    true
}
