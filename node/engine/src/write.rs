//! How a write is made: tried optimistically, and made again when another one got in between.
//!
//! After [`OPTIMISTIC_TRIES`] lost races it runs inside the commit section, where there is nobody
//! to lose to, so contention delays a write but never refuses it.

use std::task::Waker;

use godb_store::{Durability, Io, Lsn, Store, StoreError, Transaction};

use crate::catalog::Catalog;
use crate::document::Document;
use crate::error::{EngineError, Result};
use crate::pending::Pending;

/// Lost races before an operation runs inside the commit section.
const OPTIMISTIC_TRIES: usize = 3;

/// How a write is to be made. The default may block on the disk and is acknowledged at the
/// instance's level.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// Whether it may read from the disk.
    pub io: Io,
    /// A level stronger than the instance's; a weaker one is ignored.
    pub ack: Option<Durability>,
    /// Woken when the answer may be given; saves a lock if it is the waker that polls it.
    pub waker: Option<&'a Waker>,
}

impl Default for Write<'_> {
    fn default() -> Self {
        Self {
            io: Io::Allow,
            ack: None,
            waker: None,
        }
    }
}

/// What [`crate::StorageEngine::replace`] does about the document that is or is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// It must be there, else [`EngineError::NotFound`].
    Existing,
    /// It must not be there, else [`EngineError::PreconditionFailed`].
    CreateOnly,
    /// Either way.
    Upsert,
}

/// What writes need of the engine.
pub(crate) struct Writer<'a> {
    pub(crate) store: &'a Store,
    pub(crate) catalog: &'a Catalog,
    pub(crate) how: Write<'a>,
}

/// What an operation staged in its transaction: a value, or a refusal that depends on data and so
/// has to wait like a value.
pub(crate) type Staged<T> = Result<Result<T>>;

/// Values that tell the LSN of the transaction that made them.
pub(crate) trait Stamp {
    fn stamp(&mut self, lsn: Lsn);
}

impl Stamp for () {
    fn stamp(&mut self, _: Lsn) {}
}

impl Stamp for Document {
    fn stamp(&mut self, lsn: Lsn) {
        self.lsn = lsn;
    }
}

impl Stamp for Vec<Document> {
    fn stamp(&mut self, lsn: Lsn) {
        for document in self {
            document.lsn = lsn;
        }
    }
}

impl Writer<'_> {
    /// Runs `body` until its transaction commits or it refuses.
    pub(crate) fn transact<T: Stamp>(
        &self,
        body: impl Fn(&mut Transaction) -> Staged<T>,
    ) -> Result<Pending<T>> {
        for _ in 0..OPTIMISTIC_TRIES {
            let mut transaction = self.store.begin();
            let mut value = match body(&mut transaction)? {
                Ok(value) => value,
                Err(refusal) => return Ok(self.refused(transaction.read_lsn(), refusal)),
            };
            match transaction.commit(self.how.ack, self.how.waker) {
                Ok(ticket) => {
                    value.stamp(ticket.lsn());
                    return Ok(Pending::new(ticket, Ok(value)));
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.transact_exclusive(body)
    }

    fn transact_exclusive<T: Stamp>(
        &self,
        body: impl Fn(&mut Transaction) -> Staged<T>,
    ) -> Result<Pending<T>> {
        let mut not_staged = None;
        let committed = self.store.commit_exclusive(
            |transaction| match body(transaction) {
                Ok(Ok(value)) => Ok(value),
                other => {
                    // Any error makes the store drop what was staged; this one is not looked at.
                    not_staged = Some((transaction.read_lsn(), other));
                    Err(StoreError::Conflict)
                }
            },
            self.how.ack,
            self.how.waker,
        );
        match (committed, not_staged) {
            (Ok((mut value, ticket)), _) => {
                value.stamp(ticket.lsn());
                Ok(Pending::new(ticket, Ok(value)))
            }
            (Err(_), Some((lsn, Ok(Err(refusal))))) => Ok(self.refused(lsn, refusal)),
            (Err(_), Some((_, Err(error)))) => Err(error),
            (Err(error), _) => Err(error.into()),
        }
    }

    fn refused<T>(&self, lsn: Lsn, refusal: EngineError) -> Pending<T> {
        Pending::new(self.store.wait_visible(lsn), Err(refusal))
    }
}
