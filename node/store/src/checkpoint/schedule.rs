//! When a checkpoint runs, and the watch over the disk's free space.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::checkpoint::Checkpointer;
use crate::limits;
use crate::txn::gate::Hold;

/// How often free space is looked at.
const SPACE_CHECK: Duration = Duration::from_millis(100);
/// Pause after a failed checkpoint.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Largest reserve of a disk.
const LARGEST_RESERVE_BYTES: u64 = 256 * 1024 * 1024;
/// The reserve is one part in this many of the file system, on small ones.
const RESERVE_PARTS: u64 = 8;

impl Checkpointer {
    /// The body of the checkpoint thread.
    pub(crate) fn run_schedule(&self) {
        let mut last = Instant::now();
        let mut not_before = Instant::now();
        while !self.stop.load(Ordering::Acquire) {
            self.watch_space();
            self.raise_reservation();
            let starving = self.supply.is_starving();
            if !starving {
                self.pipeline.gate.set(Hold::Segment, false);
            }
            // Two judgements at once can end with the older one in force.
            self.judge_runs();
            let interval = self.live_settings().checkpoint_interval;
            let wanted = self.pipeline.trigger.wait(SPACE_CHECK.min(interval));
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            // A hold that outlived its request would else last for an interval.
            let held = self.pipeline.gate.is_set(Hold::Memory);
            // Segments that are given back can be used again without any new space.
            let starves = starving && self.something_to_write();
            let due = wanted
                || held
                || starves
                || (last.elapsed() >= interval && self.something_to_write());
            if !due {
                continue;
            }
            if Instant::now() < not_before {
                std::thread::sleep(SPACE_CHECK);
                continue;
            }
            if self.checkpoint().is_err() {
                not_before = Instant::now() + RETRY_PAUSE;
                if self.pipeline.poison.cause().is_some() {
                    return;
                }
            }
            last = Instant::now();
        }
    }

    fn something_to_write(&self) -> bool {
        self.pipeline.marks.appended() > self.pipeline.marks.checkpointed()
    }

    /// Before LSNs run out, their reservation is raised.
    fn raise_reservation(&self) {
        let reserved = self.pipeline.reservation.load(Ordering::Acquire);
        let appended = self.pipeline.marks.appended().0;
        // A writer can set the hold after the raise that should have lifted it.
        let held = self.pipeline.gate.is_set(Hold::Reservation);
        if (held || reserved.saturating_sub(appended) < limits::LSN_RESERVATION / 2)
            && let Err(error) = self.commit_manifest_fields(|_| {})
        {
            self.observer.warning(&format!(
                "the reservation of LSNs could not be raised: {error}"
            ));
        }
    }

    /// Refuses writes before the disk is full, and takes them again once there is space.
    pub(crate) fn watch_space(&self) {
        let pipeline = &self.pipeline;
        let spaces = [&self.wal_dir, &self.checkpoint_dir, &self.data_dir]
            .into_iter()
            .filter_map(|dir| self.disk.space(dir).ok());
        let Some(space) = spaces.min_by_key(|space| space.free_bytes) else {
            return;
        };
        pipeline
            .free_bytes
            .store(space.free_bytes, Ordering::Relaxed);
        let reserve = LARGEST_RESERVE_BYTES.min(space.total_bytes / RESERVE_PARTS);
        let first = pipeline.disk_reserve_bytes.swap(reserve, Ordering::AcqRel) != reserve;
        let refusing = pipeline.refusing_free_bytes.load(Ordering::Acquire) != u64::MAX;
        // A little more than the reserve must be free before writes come back, so that the
        // answer does not flicker.
        let enough = if refusing {
            reserve + reserve / 4
        } else {
            reserve
        };
        let state = if space.free_bytes < enough {
            space.free_bytes
        } else {
            u64::MAX
        };
        pipeline.refusing_free_bytes.store(state, Ordering::Release);
        if refusing != (state != u64::MAX) {
            self.observer.warning(&if refusing {
                format!("the disk has {} bytes free again: writes are taken", space.free_bytes)
            } else {
                format!(
                    "the disk has only {} bytes free, {reserve} are held in reserve: writes are refused, reads and deletes go on",
                    space.free_bytes
                )
            });
        }
        if first {
            self.replan_memory();
        }
    }
}
