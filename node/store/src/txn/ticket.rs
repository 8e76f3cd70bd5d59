//! A commit that waits for its level: a future for async callers, a blocking wait for others.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use crate::error::Result;
use crate::lsn::Lsn;
use crate::settings::Durability;
use crate::txn::commit::Pipeline;
use crate::txn::syncer::Claim;

/// What has to have happened to an LSN, besides being visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    Visible,
    Written,
    Durable,
}

impl Need {
    /// What an acknowledgement at `level` needs.
    pub(crate) fn of(level: Durability) -> Self {
        match level {
            Durability::None | Durability::Memory => Need::Visible,
            Durability::Os => Need::Written,
            Durability::Full => Need::Durable,
        }
    }
}

/// What a ticket has to do with getting its group to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Nothing: the log thread knows.
    None,
    /// One of those who wait for the group has to claim it, and nobody was told.
    Owed,
    /// This one does it.
    Claimed(Claim),
}

/// Resolves when its LSN is visible and has the durability that was asked for, to that LSN; to
/// [`crate::StoreError::Poisoned`] when that can no longer be known.
///
/// Whoever waits for it may be the one who writes and syncs the log for all who wait, where a sync
/// is short. Dropping it does not undo the commit.
pub struct Ticket {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) lsn: Lsn,
    pub(crate) need: Need,
    /// The waker that the commit section took, if any.
    pub(crate) registered: Option<Waker>,
    pub(crate) duty: Duty,
}

impl Ticket {
    /// The LSN it waits for.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Whether it would resolve at once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.pipeline.reached(self.lsn, self.need)
    }

    /// Blocks the calling thread until it resolves.
    ///
    /// # Errors
    /// As the future.
    pub fn wait(mut self) -> Result<Lsn> {
        let mut own: Option<Waker> = None;
        loop {
            if let Some(outcome) = self.pipeline.outcome(self.lsn, self.need) {
                return outcome;
            }
            if self.is_for_committers()
                && let Some(claim) = self.pipeline.claim(self.lsn)
            {
                self.duty = Duty::Claimed(claim);
                self.pipeline.gather();
                let mut state = self.pipeline.lock_log();
                if self.pipeline.syncer.stands(claim) {
                    self.pipeline.drive_as_committer(&mut state);
                }
                continue;
            }
            if own.is_none() {
                let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
                self.pipeline
                    .register_late(self.lsn, self.need, waker.clone());
                own = Some(waker);
                // What was reached between the first look and the registration woke nobody.
                continue;
            }
            std::thread::park();
        }
    }

    /// Whether who waits has to get the group written. When the strategy changed since the commit,
    /// the log thread is told.
    fn is_for_committers(&mut self) -> bool {
        if self.pipeline.syncer.by_committer(self.pipeline.level()) {
            return true;
        }
        if self.duty != Duty::None {
            self.duty = Duty::None;
            self.pipeline.hand_over(self.lsn);
        }
        false
    }
}

impl Future for Ticket {
    type Output = Result<Lsn>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Lsn>> {
        if let Some(outcome) = self.pipeline.outcome(self.lsn, self.need) {
            return Poll::Ready(outcome);
        }
        let waker = context.waker();
        let known = self.registered.as_ref();
        if !known.is_some_and(|known| known.will_wake(waker)) {
            self.pipeline
                .register_late(self.lsn, self.need, waker.clone());
            self.registered = Some(waker.clone());
            // What was reached between the first look and the registration woke nobody.
            if let Some(outcome) = self.pipeline.outcome(self.lsn, self.need) {
                return Poll::Ready(outcome);
            }
        }
        if !self.is_for_committers() {
            return Poll::Pending;
        }
        match self.duty {
            Duty::None | Duty::Owed => {
                if let Some(claim) = self.pipeline.claim(self.lsn) {
                    // What else is ready on this thread runs first, and joins the group.
                    self.duty = Duty::Claimed(claim);
                    waker.wake_by_ref();
                }
                Poll::Pending
            }
            Duty::Claimed(claim) => {
                self.pipeline.take_turn(claim, waker);
                let outcome = self.pipeline.outcome(self.lsn, self.need);
                outcome.map_or(Poll::Pending, Poll::Ready)
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.duty != Duty::None && !self.is_ready() {
            // Others may wait for the group that this one would have written.
            self.pipeline.hand_over(self.lsn);
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs one of the store's futures on the calling thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
