//! The supply of ready segments: one is made ahead of need, away from the commit path, from an
//! old segment if there is one.
//!
//! The log takes segments in the order of their numbers, always: recovery and retention tell an
//! earlier segment from a later one by number. So once one was made out of turn (for a large
//! transaction, or where a log starts), one that was made ready before it is not used.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::disk::Disk;
use crate::error::{Result, StoreError};
use crate::observer::Observer;
use crate::sync::{Condvar, Mutex, lock};
use crate::wal::segment::{self, FRAMES_OFFSET, Origin, Segment, SegmentHeader, SegmentPlan};

/// Old segments that wait to be used again, at most; the others are removed.
const MOST_RETIRED: usize = 2;
/// How long the supplier waits after a failure before it tries again.
const RETRY: Duration = Duration::from_millis(100);

/// See the module. Shared by the log and the supplier's thread.
pub(crate) struct Supply {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) store_id: u128,
    pub(crate) segment_bytes: u64,
    /// No segment is ready and the disk has no space for one.
    starving: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    next_number: u64,
    /// Below the number of the newest segment that went into the log nothing may follow it.
    least_number: u64,
    ready: Option<Segment>,
    retired: VecDeque<PathBuf>,
    last_error: Option<StoreError>,
    /// The supplier's thread runs.
    running: bool,
    stop: bool,
}

impl Supply {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        store_id: u128,
        segment_bytes: u64,
        next_number: u64,
    ) -> Self {
        let state = State {
            next_number,
            least_number: 0,
            ready: None,
            retired: VecDeque::new(),
            last_error: None,
            running: false,
            stop: false,
        };
        Self {
            disk,
            dir,
            store_id,
            segment_bytes,
            starving: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Makes a segment now, on the calling thread, for use as the log's next one.
    pub(crate) fn make(
        &self,
        origin: Origin,
        content: &dyn Fn(&SegmentHeader) -> Vec<u8>,
        least_capacity: u64,
        observer: &dyn Observer,
    ) -> Result<Segment> {
        let segment = self.prepare(origin, content, least_capacity, observer)?;
        let passed = {
            let mut state = lock(&self.state);
            state.least_number = state.least_number.max(segment.header.number);
            let least = state.least_number;
            let passed = state.ready.take_if(|ready| ready.header.number < least);
            self.changed.notify_all();
            passed
        };
        self.retire(
            passed
                .map(|old| (old.path, old.capacity))
                .into_iter()
                .collect(),
        );
        Ok(segment)
    }

    fn prepare(
        &self,
        origin: Origin,
        content: &dyn Fn(&SegmentHeader) -> Vec<u8>,
        least_capacity: u64,
        observer: &dyn Observer,
    ) -> Result<Segment> {
        let capacity = least_capacity.max(self.segment_bytes);
        let ordinary = capacity == self.segment_bytes;
        let (number, reuse) = {
            let mut state = lock(&self.state);
            let number = state.next_number;
            state.next_number += 1;
            (
                number,
                if ordinary {
                    state.retired.pop_front()
                } else {
                    None
                },
            )
        };
        let header = SegmentHeader {
            store_id: self.store_id,
            number,
            salt: random_u64()?,
            boot_id: self.disk.boot_id(),
            capacity,
            origin,
        };
        let content = content(&header);
        observer.segment_prepared(reuse.is_some());
        let plan = SegmentPlan {
            dir: &self.dir,
            header,
            reuse,
            content: &content,
        };
        segment::create(&*self.disk, &plan)
    }

    /// The next segment, with room for a frame of `frame_bytes` and a seal: the ready one, or one
    /// made now. While the disk has no space it waits for as long as `patience` says.
    pub(crate) fn take(
        &self,
        frame_bytes: u64,
        observer: &dyn Observer,
        patience: &dyn Fn() -> bool,
    ) -> Result<Segment> {
        let needed = FRAMES_OFFSET + frame_bytes + super::frame::SEAL_BYTES as u64;
        if needed > self.segment_bytes {
            return self.make(Origin::Continuation, &|_| Vec::new(), needed, observer);
        }
        let mut state = lock(&self.state);
        loop {
            if let Some(ready) = state.ready.take() {
                self.changed.notify_all();
                return Ok(ready);
            }
            match &state.last_error {
                Some(error) if !error.is_no_space() => return Err(error.clone()),
                Some(error) if !patience() => return Err(error.clone()),
                _ if !state.running => {
                    drop(state);
                    return self.make(Origin::Continuation, &|_| Vec::new(), 0, observer);
                }
                _ => {}
            }
            let waited = self.changed.wait_timeout(state, RETRY);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    /// Whether no segment is ready because the disk has no space for one.
    pub(crate) fn is_starving(&self) -> bool {
        self.starving.load(Ordering::Acquire)
    }

    /// Takes segments that nothing needs any more. All but a few are removed.
    pub(crate) fn retire(&self, old: Vec<(PathBuf, u64)>) {
        let mut surplus = Vec::new();
        {
            let mut state = lock(&self.state);
            for (path, capacity) in old {
                if capacity == self.segment_bytes && state.retired.len() < MOST_RETIRED {
                    state.retired.push_back(path);
                } else {
                    surplus.push(path);
                }
            }
            self.changed.notify_all();
        }
        for path in surplus {
            // A file that stays is found and retired again at the next start.
            let _ = self.disk.remove(&path);
        }
    }

    /// Keeps one segment ready until [`Supply::stop`]; the body of the supplier's thread.
    pub(crate) fn run(&self, observer: &dyn Observer) {
        let mut state = lock(&self.state);
        state.running = true;
        while !state.stop {
            if state.ready.is_some() {
                let woken = self.changed.wait(state);
                state = woken.unwrap_or_else(std::sync::PoisonError::into_inner);
                continue;
            }
            drop(state);
            let made = self.prepare(Origin::Continuation, &|_| Vec::new(), 0, observer);
            state = lock(&self.state);
            match made {
                Ok(passed) if passed.header.number < state.least_number => {
                    drop(state);
                    self.retire(vec![(passed.path, passed.capacity)]);
                    state = lock(&self.state);
                }
                Ok(segment) => {
                    state.ready = Some(segment);
                    state.last_error = None;
                    self.starving.store(false, Ordering::Release);
                    self.changed.notify_all();
                }
                Err(error) => {
                    self.starving.store(error.is_no_space(), Ordering::Release);
                    state.last_error = Some(error);
                    self.changed.notify_all();
                    let waited = self.changed.wait_timeout(state, RETRY);
                    state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
                }
            }
        }
        state.running = false;
    }

    /// Ends [`Supply::run`].
    pub(crate) fn stop(&self) {
        lock(&self.state).stop = true;
        self.changed.notify_all();
    }

    /// A number above all that were given out.
    pub(crate) fn next_number(&self) -> u64 {
        lock(&self.state).next_number
    }
}

/// Random bits from the operating system.
pub(crate) fn random_u64() -> Result<u64> {
    getrandom::u64().map_err(|error| {
        StoreError::io(
            "read random bits for",
            "the store",
            &std::io::Error::other(error),
        )
    })
}
