//! Answers that exist but may not be given yet.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use godb_store::{Lsn, StoreError, Ticket};

use crate::error::{EngineError, Result};

/// The answer to a write, to be given once what it was computed from can no longer be lost.
///
/// That holds for refusals too: "there is such a document already" may rest on a write that is
/// still on its way to the disk. Await it or [`Pending::wait`] for it. Dropping it undoes nothing.
#[must_use = "a write is acknowledged by waiting for its answer"]
pub struct Pending<T> {
    ticket: Ticket,
    /// Taken when it is given.
    outcome: Option<Result<T>>,
}

/// Nothing in it is pinned in place.
impl<T> Unpin for Pending<T> {}

impl<T> Pending<T> {
    pub(crate) fn new(ticket: Ticket, outcome: Result<T>) -> Self {
        Self {
            ticket,
            outcome: Some(outcome),
        }
    }

    /// The LSN that must be visible, and durable as asked for, before the answer is given.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.ticket.lsn()
    }

    /// Blocks the calling thread until the answer may be given.
    ///
    /// # Errors
    /// The refusal, if it is one; [`EngineError::OutcomeUnknown`] if the log failed meanwhile.
    pub fn wait(self) -> Result<T> {
        let Self { ticket, outcome } = self;
        ticket.wait().map_err(outcome_unknown)?;
        // Only a caller that was given it by a poll finds none here.
        outcome.unwrap_or(Err(EngineError::Store(StoreError::Closed)))
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        match Pin::new(&mut self.ticket).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(outcome_unknown(error))),
            Poll::Ready(Ok(_)) => self.outcome.take().map_or(Poll::Pending, Poll::Ready),
        }
    }
}

/// What a failed wait means: the write is in the log order, but nobody knows how far it came.
pub(crate) fn outcome_unknown(error: StoreError) -> EngineError {
    EngineError::OutcomeUnknown {
        cause: match error {
            StoreError::Poisoned { cause } => cause,
            other => other.to_string(),
        },
    }
}
