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

/// Resolves when its LSN is visible and has the durability that was asked for, to that LSN; to
/// [`crate::StoreError::Poisoned`] when that can no longer be known.
///
/// Dropping it does not undo the commit.
pub struct Ticket {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) lsn: Lsn,
    pub(crate) need: Need,
    /// The waker that the commit section took, if any.
    pub(crate) registered: Option<Waker>,
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
    pub fn wait(self) -> Result<Lsn> {
        block_on(self)
    }
}

impl Future for Ticket {
    type Output = Result<Lsn>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Lsn>> {
        if let Some(outcome) = self.pipeline.outcome(self.lsn, self.need) {
            return Poll::Ready(outcome);
        }
        if self
            .registered
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            return Poll::Pending;
        }
        let waker = context.waker().clone();
        self.pipeline
            .register_late(self.lsn, self.need, waker.clone());
        self.registered = Some(waker);
        // What was reached between the first look and the registration woke nobody.
        match self.pipeline.outcome(self.lsn, self.need) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
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
