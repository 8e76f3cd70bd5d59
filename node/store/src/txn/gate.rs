//! Back-pressure: while a bound is reached, writers are told to wait before anything is appended.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use crate::error::{Result, StoreError};
use crate::sync::{Mutex, lock};
use crate::txn::commit::Pipeline;

/// A bound that holds writers back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Hold {
    /// The log buffer is full: the disk is slower than the writers.
    LogBuffer = 1,
    /// Memtables reached the memory budget: a checkpoint is under way.
    Memory = 2,
    /// Too many sorted runs wait for compaction.
    Runs = 4,
    /// The durable LSN reservation is used up.
    Reservation = 8,
    /// The log's segment is full and the disk has no space for another one.
    Segment = 16,
}

const ALL: [Hold; 5] = [
    Hold::LogBuffer,
    Hold::Memory,
    Hold::Runs,
    Hold::Reservation,
    Hold::Segment,
];

impl Hold {
    /// For [`StoreError::Busy`].
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Hold::LogBuffer => "the log buffer is full",
            Hold::Memory => "memtables reached the memory budget",
            Hold::Runs => "too many sorted runs wait for compaction",
            Hold::Reservation => "the reservation of LSNs is being raised",
            Hold::Segment => "the disk has no space for another log segment",
        }
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Gate {
    holds: AtomicU32,
    waiting: Mutex<Vec<Waker>>,
}

impl Gate {
    /// Fails while any bound is reached.
    pub(crate) fn check(&self) -> Result<()> {
        let holds = self.holds.load(Ordering::Acquire);
        match ALL.into_iter().find(|hold| holds & (*hold as u32) != 0) {
            None => Ok(()),
            Some(hold) => Err(StoreError::Busy {
                reason: hold.reason(),
            }),
        }
    }

    /// Sets or lifts one bound; waiting writers are woken when the last one is lifted.
    pub(crate) fn set(&self, hold: Hold, held: bool) {
        let bit = hold as u32;
        let before = if held {
            self.holds.fetch_or(bit, Ordering::AcqRel)
        } else {
            self.holds.fetch_and(!bit, Ordering::AcqRel)
        };
        if !held && before == bit {
            self.wake_all();
        }
    }

    /// Whether this bound is reached.
    pub(crate) fn is_set(&self, hold: Hold) -> bool {
        self.holds.load(Ordering::Acquire) & (hold as u32) != 0
    }

    /// Wakes everyone who waits, to look again.
    pub(crate) fn wake_all(&self) {
        for waker in std::mem::take(&mut *lock(&self.waiting)) {
            waker.wake();
        }
    }
}

/// Ready when writers are no longer held back; see [`crate::Store::writable`].
pub struct Writable {
    pub(crate) pipeline: Arc<Pipeline>,
}

impl Future for Writable {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let pipeline = &self.pipeline;
        for registered in [false, true] {
            if let Err(error) = pipeline.alive() {
                return Poll::Ready(Err(error));
            }
            if pipeline.gate.check().is_ok() {
                return Poll::Ready(Ok(()));
            }
            if !registered {
                lock(&pipeline.gate.waiting).push(context.waker().clone());
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_reported_until_it_is_lifted() {
        let gate = Gate::default();
        assert!(gate.check().is_ok());
        gate.set(Hold::Memory, true);
        gate.set(Hold::Runs, true);
        assert!(matches!(gate.check(), Err(StoreError::Busy { .. })));
        gate.set(Hold::Memory, false);
        assert!(gate.is_set(Hold::Runs) && gate.check().is_err());
        gate.set(Hold::Runs, false);
        assert!(gate.check().is_ok());
    }
}
