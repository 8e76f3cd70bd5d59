//! Building an index while its collection is written to.
//!
//! 1. One commit adds the index to the catalogue record as *building*, and its number to the
//!    unfinished ones. The record is in every write's read set, so each write is either ordered
//!    before this commit, or knows of the index and maintains it.
//! 2. All documents get their entries in small transactions, each of which depends on the
//!    documents it read: were one changed or deleted meanwhile, the entry of what it was would
//!    come back to life. Newer documents are not left out: a write that leaves the value as it
//!    was writes no entry, because it takes it to be there.
//! 3. One commit makes it *ready*. Readers go by the record at the LSN they read at, so one that
//!    looks at an older state does not use it.
//!
//! A crash or an error in between leaves the number unfinished. The index is then removed from
//! the record, and its entries are swept: it is complete or it is not there.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::Bytes;
use godb_store::{Direction, Durability, Io, Lsn, Store, Transaction};

use super::entries;
use crate::catalog::{self, Catalog, Index, IndexState};
use crate::error::{EngineError, Result};
use crate::key::{self, CollectionNumber, IndexNumber};
use crate::limits::MAX_INDEXES;
use crate::query::walk::Span;
use crate::sweep;
use crate::write::{Staged, Stamp, Write, Writer};

/// Documents of one backfill transaction.
const BACKFILL_DOCUMENTS: usize = 64;

/// Builds that are under way, so that a second request for the same index waits for the first.
#[derive(Default)]
pub(crate) struct Builds {
    running: Mutex<HashMap<(String, String), Arc<Build>>>,
}

#[derive(Default)]
struct Build {
    outcome: Mutex<Option<Result<bool>>>,
    finished: Condvar,
}

impl Builds {
    /// Runs `build`, or waits for the one of the same index that is running. Only who built can
    /// have made it.
    pub(crate) fn run(
        &self,
        collection: &str,
        field: &str,
        build: impl FnOnce() -> Result<bool>,
    ) -> Result<bool> {
        let name = (collection.to_owned(), field.to_owned());
        let (shared, mine) = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            match running.get(&name) {
                Some(other) => (Arc::clone(other), false),
                None => {
                    let own = Arc::new(Build::default());
                    running.insert(name.clone(), Arc::clone(&own));
                    (own, true)
                }
            }
        };
        if !mine {
            return shared.wait().map(|_| false);
        }
        // Given on also if the build panics, or who waits would wait for ever.
        let mut announce = Announce {
            builds: self,
            name,
            shared,
            outcome: Err(EngineError::OutcomeUnknown {
                cause: "the index build broke off".to_owned(),
            }),
        };
        announce.outcome = build();
        announce.outcome.clone()
    }
}

struct Announce<'a> {
    builds: &'a Builds,
    name: (String, String),
    shared: Arc<Build>,
    outcome: Result<bool>,
}

impl Drop for Announce<'_> {
    fn drop(&mut self) {
        let mut running = self
            .builds
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        running.remove(&self.name);
        drop(running);
        let mut outcome = self
            .shared
            .outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *outcome = Some(self.outcome.clone());
        drop(outcome);
        self.shared.finished.notify_all();
    }
}

impl Build {
    fn wait(&self) -> Result<bool> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(outcome) = &*outcome {
                return outcome.clone();
            }
            outcome = self
                .finished
                .wait(outcome)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Creates the index on `field`, complete and durable when this returns; whether it was missing.
pub(crate) fn create(
    store: &Store,
    catalog: &Catalog,
    collection: &str,
    field: &str,
) -> Result<bool> {
    let writer = writer(store, catalog);
    match announce(&writer, collection, field)? {
        Announced::Exists => Ok(false),
        Announced::Ready => durable(store).map(|()| true),
        Announced::Building(number) => {
            let built = backfill(&writer, collection, number)
                .and_then(|()| finish(&writer, collection, number));
            if let Err(error) = built {
                // If even this fails, opening the database again does it.
                let _ = abandon(&writer, collection, number);
                return Err(error);
            }
            durable(store).map(|()| true)
        }
    }
}

/// Without a log only a checkpoint keeps what was answered; with one, the commits waited for it.
fn durable(store: &Store) -> Result<()> {
    if store.live_settings().durability == Durability::None {
        store.flush()?;
    }
    Ok(())
}

fn writer<'a>(store: &'a Store, catalog: &'a Catalog) -> Writer<'a> {
    // Nobody will ask again whether it is durable, so an instance with a log syncs it now.
    let logs = store.live_settings().durability > Durability::None;
    Writer {
        store,
        catalog,
        how: Write {
            ack: logs.then_some(Durability::Full),
            ..Write::default()
        },
    }
}

/// What the first commit found or did.
#[derive(Clone, Copy)]
enum Announced {
    Exists,
    /// The collection was made with it and holds nothing.
    Ready,
    /// Every write that follows maintains it.
    Building(IndexNumber),
}

impl Stamp for Announced {
    fn stamp(&mut self, _: Lsn) {}
}

fn announce(writer: &Writer<'_>, collection: &str, field: &str) -> Result<Announced> {
    let stage = |transaction: &mut Transaction| -> Staged<Announced> {
        let known = writer.catalog.within(transaction, collection, Io::Allow)?;
        let is_new = known.is_none();
        let known = match known {
            Some(known) => known,
            None => writer
                .catalog
                .within_or_new(transaction, collection, Io::Allow)?,
        };
        match known.index(field) {
            Some(index) if index.state == IndexState::Ready => return Ok(Ok(Announced::Exists)),
            // Its build failed and so did its removal. It is maintained, so it can be completed.
            Some(index) => return Ok(Ok(Announced::Building(index.number))),
            None => {}
        }
        if known.indexes.len() >= MAX_INDEXES {
            return Ok(Err(EngineError::TooMany {
                what: "indexes",
                count: known.indexes.len() + 1,
                limit: MAX_INDEXES,
            }));
        }
        let mut numbers = catalog::numbers_within(transaction, Io::Allow)?;
        let number = numbers.take_index();
        let mut changed = (*known).clone();
        changed.indexes.push(Index {
            number,
            state: if is_new {
                IndexState::Ready
            } else {
                numbers.unfinished_indexes.push(number);
                IndexState::Building
            },
            field: field.to_owned(),
        });
        catalog::put_numbers(transaction, &numbers);
        catalog::put_collection(transaction, collection, &changed);
        Ok(Ok(if is_new {
            Announced::Ready
        } else {
            Announced::Building(number)
        }))
    };
    sweep::when_writable(writer.store, || writer.transact(stage))?.wait()
}

/// Gives all documents their entries.
fn backfill(writer: &Writer<'_>, collection: &str, number: IndexNumber) -> Result<()> {
    let store = writer.store;
    let Some(owner) = number_of(writer, collection)? else {
        return Ok(());
    };
    let mut span = Span::ALL;
    loop {
        // Any newer state serves as well: what is inserted from now on has its entries.
        let point = store.snapshot_read();
        let prefix = key::documents_prefix(owner);
        let range = span.keys(&prefix);
        let mut ids: Vec<Bytes> = Vec::new();
        for found in point
            .scan(range, Direction::Ascending, Io::Allow)
            .take(BACKFILL_DOCUMENTS)
        {
            let (key, _) = found?;
            ids.push(key.slice(prefix.len()..));
        }
        drop(point);
        let Some(last) = ids.last().cloned() else {
            return Ok(());
        };
        let stage = |transaction: &mut Transaction| {
            stage_chunk(writer, transaction, collection, number, &ids)
        };
        // Not waited for: the last commit is, and it comes after all of them.
        drop(sweep::when_writable(store, || writer.transact(stage))?);
        span.pass(last, Direction::Ascending);
    }
}

fn number_of(writer: &Writer<'_>, collection: &str) -> Result<Option<CollectionNumber>> {
    let point = writer.store.snapshot_read();
    let found = writer.catalog.at(&point, collection, Io::Allow)?;
    Ok(found.map(|found| found.number))
}

fn stage_chunk(
    writer: &Writer<'_>,
    transaction: &mut Transaction,
    collection: &str,
    number: IndexNumber,
    ids: &[Bytes],
) -> Staged<()> {
    let found = writer.catalog.within(transaction, collection, Io::Allow)?;
    let Some(found) = found else {
        return Ok(Ok(()));
    };
    let Some(index) = found.indexes.iter().find(|index| index.number == number) else {
        return Ok(Ok(()));
    };
    for id in ids {
        let key = key::document(found.number, id);
        let Some(entry) = transaction.get(key.as_ref(), Io::Allow)? else {
            continue;
        };
        for key in entries::keys(number, &index.field, id, &entry.value) {
            transaction.put(key, Bytes::new());
        }
    }
    Ok(Ok(()))
}

fn finish(writer: &Writer<'_>, collection: &str, number: IndexNumber) -> Result<()> {
    let stage = |transaction: &mut Transaction| -> Staged<()> {
        let found = writer.catalog.within(transaction, collection, Io::Allow)?;
        if let Some(found) = found {
            let mut changed = (*found).clone();
            for index in &mut changed.indexes {
                if index.number == number {
                    index.state = IndexState::Ready;
                }
            }
            catalog::put_collection(transaction, collection, &changed);
        }
        let mut numbers = catalog::numbers_within(transaction, Io::Allow)?;
        numbers.finish_index(number);
        catalog::put_numbers(transaction, &numbers);
        Ok(Ok(()))
    };
    sweep::when_writable(writer.store, || writer.transact(stage))?.wait()
}

/// Takes an unfinished index out of the catalogue and removes its entries.
fn abandon(writer: &Writer<'_>, collection: &str, number: IndexNumber) -> Result<()> {
    take_out(writer, collection, number)?;
    sweep::index(writer, number, &sweep::KEEP_ON)
}

/// Takes an unfinished index out of the catalogue; its number stays unfinished until its entries
/// are gone too.
pub(crate) fn take_out(writer: &Writer<'_>, collection: &str, number: IndexNumber) -> Result<()> {
    let stage = |transaction: &mut Transaction| -> Staged<()> {
        let found = writer.catalog.within(transaction, collection, Io::Allow)?;
        if let Some(found) = found {
            let mut changed = (*found).clone();
            changed.indexes.retain(|index| index.number != number);
            catalog::put_collection(transaction, collection, &changed);
        }
        Ok(Ok(()))
    };
    sweep::when_writable(writer.store, || writer.transact(stage))?.wait()
}
