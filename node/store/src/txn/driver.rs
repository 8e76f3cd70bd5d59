//! The log thread: takes what gathered while the last sync ran, writes it, syncs it.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::limits;
use crate::settings::{Durability, LiveSettings};
use crate::sync::{lock, yield_now};
use crate::txn::commit::{Pipeline, Section};

/// How long the log must be idle before the proof of its last group is written.
const IDLE: Duration = Duration::from_millis(100);
/// Longest sleep of the log thread.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

fn due(section: &Section, level: Durability, delay: Duration) -> bool {
    section.urgent
        || (!section.buffer.is_empty()
            && (level >= Durability::Os
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
        // Before the section: the log's lock is never taken inside it.
        let unproven_now = unproven(pipeline);
        let mut section = lock(&pipeline.section);
        if !due(&section, level, settings.memory_write_delay) && !stop.load(Ordering::Acquire) {
            let sleep = if section.buffer.is_empty() {
                if unproven_now { IDLE } else { LONGEST_SLEEP }
            } else {
                settings.memory_write_delay
            };
            section.log_thread_sleeps = true;
            let woken = pipeline
                .work
                .wait_timeout(section, sleep.max(Duration::from_millis(1)));
            section = woken.unwrap_or_else(PoisonError::into_inner).0;
            section.log_thread_sleeps = false;
        }
        let work = due(&section, level, settings.memory_write_delay);
        drop(section);
        if work {
            gather(pipeline, level);
            let mut state = lock(&pipeline.log);
            let before = pipeline.marks.durable();
            if pipeline.drive(&mut state, false).is_err() {
                return;
            }
            if pipeline.marks.durable() > before {
                last_sync = Instant::now();
            }
        }
        let idle = lock(&pipeline.log).last_write.elapsed() >= IDLE;
        if (idle || last_sync.elapsed() >= settings.background_sync_interval) && unproven(pipeline)
        {
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
        || lock(&pipeline.log)
            .log
            .as_ref()
            .is_some_and(|log| log.promised() < marks.durable())
}

/// Lets a group gather: at `full`, for half of the last group, at most one sync time, and never
/// when writers come one at a time.
fn gather(pipeline: &Pipeline, level: Durability) {
    if level != Durability::Full {
        return;
    }
    let (wanted, longest) = {
        let state = lock(&pipeline.log);
        (state.last_group / 2, Duration::from_nanos(state.sync_nanos))
    };
    if wanted < 2 {
        return;
    }
    let since = Instant::now();
    while lock(&pipeline.section).gathered() < wanted && since.elapsed() < longest {
        yield_now();
    }
}

/// Syncs outside the log's lock, so that writers at `os` go on meanwhile, then lets an empty frame
/// carry the proof when the log is idle. False once the log has failed.
fn prove(pipeline: &Pipeline, idle: bool) -> bool {
    let (handle, covered) = {
        let state = lock(&pipeline.log);
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
        let mut state = lock(&pipeline.log);
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
    let mut state = lock(&pipeline.log);
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
