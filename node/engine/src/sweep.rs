//! Removing what unfinished builds and loads left behind.
//!
//! It is found by number: the numbers record lists those that were begun and not completed. They
//! are never given out again, so a sweep disturbs nobody and may be broken off and begun again at
//! any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use godb_store::observer::Observer;
use godb_store::{Direction, Io, KeyRange, Store, StoreError, Transaction, block_on};

use crate::catalog::{self, Catalog};
use crate::error::{EngineError, Result};
use crate::index::build;
use crate::key::{self, CollectionNumber, IndexNumber};
use crate::write::{Staged, Write, Writer};

/// Keys that one transaction removes.
const SWEPT_KEYS: usize = 1000;

/// Runs `write`, and again each time after writers were held back.
pub(crate) fn when_writable<T>(store: &Store, mut write: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        std::thread::sleep(store.delay());
        match write() {
            Err(EngineError::Busy { .. }) => block_on(store.writable())?,
            other => return other,
        }
    }
}

/// For sweeps that nobody interrupts.
pub(crate) static KEEP_ON: AtomicBool = AtomicBool::new(false);

/// The sweep that follows an open, on a thread of its own: there may be much to remove.
#[derive(Default)]
pub(crate) struct Sweeper {
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Sweeper {
    /// Takes indexes whose build was broken off out of the catalogue, then removes what was stored
    /// under unfinished numbers, in the background.
    pub(crate) fn start(
        store: &Store,
        catalog: &Arc<Catalog>,
        observer: &Arc<dyn Observer>,
    ) -> Result<Self> {
        let writer = Writer {
            store,
            catalog,
            how: Write::default(),
        };
        let numbers = catalog::numbers_within(&mut store.begin(), Io::Allow)?;
        let sweeper = Self::default();
        if numbers.unfinished_collections.is_empty() && numbers.unfinished_indexes.is_empty() {
            return Ok(sweeper);
        }
        for (name, number) in building(&writer, &numbers.unfinished_indexes)? {
            if let Err(error) = build::take_out(&writer, &name, number) {
                // A full disk must not keep the database closed. No query uses the index, and
                // creating it again completes it.
                observer.warning(&format!(
                    "the unfinished index {} of {name} could not be removed: {error}",
                    number.0
                ));
                return Ok(sweeper);
            }
        }
        let (store, catalog) = (store.clone(), Arc::clone(catalog));
        let (observer, stop) = (Arc::clone(observer), Arc::clone(&sweeper.stop));
        let body = move || {
            if let Err(error) = numbered(&store, &catalog, &numbers, &stop) {
                observer.warning(&format!(
                    "removing what an unfinished index build or load left stopped: {error}; \
                     it goes on when the database is opened again"
                ));
            }
        };
        let thread = std::thread::Builder::new().name("godb-sweep".to_owned());
        let thread = thread.spawn(body).map_err(|error| {
            EngineError::Store(StoreError::io("start the thread", "godb-sweep", &error))
        })?;
        *sweeper
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(sweeper)
    }

    /// Ends the thread; what is left is removed after the next open.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // Its errors went to the observer.
            let _ = thread.join();
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.stop();
    }
}

fn numbered(
    store: &Store,
    catalog: &Catalog,
    numbers: &catalog::Numbers,
    stop: &AtomicBool,
) -> Result<()> {
    let writer = Writer {
        store,
        catalog,
        how: Write::default(),
    };
    for number in &numbers.unfinished_indexes {
        index(&writer, *number, stop)?;
    }
    for number in &numbers.unfinished_collections {
        collection(&writer, *number, stop)?;
    }
    Ok(())
}

/// The collections that list one of these indexes.
fn building(writer: &Writer<'_>, wanted: &[IndexNumber]) -> Result<Vec<(String, IndexNumber)>> {
    let point = writer.store.begin();
    let mut building = Vec::new();
    for found in point.scan(key::collections(), Direction::Ascending, Io::Allow) {
        let (key, entry) = found?;
        let name = key::collection_name(&key).unwrap_or_default();
        for index in &writer.catalog.decoded(name, &entry)?.indexes {
            if wanted.contains(&index.number) {
                building.push((name.to_owned(), index.number));
            }
        }
    }
    Ok(building)
}

/// Removes the entries of an index that no catalogue record lists, and then its number.
pub(crate) fn index(writer: &Writer<'_>, number: IndexNumber, stop: &AtomicBool) -> Result<()> {
    let keys = key::prefix_range(&key::index_prefix(number));
    if range(writer.store, &keys, stop)? {
        forget(writer, |numbers| numbers.finish_index(number))?;
    }
    Ok(())
}

/// Removes the documents of a collection that has no catalogue record, and then its number.
pub(crate) fn collection(
    writer: &Writer<'_>,
    number: CollectionNumber,
    stop: &AtomicBool,
) -> Result<()> {
    let keys = key::prefix_range(&key::documents_prefix(number));
    if range(writer.store, &keys, stop)? {
        forget(writer, |numbers| numbers.finish_collection(number))?;
    }
    Ok(())
}

fn forget(writer: &Writer<'_>, change: impl Fn(&mut catalog::Numbers)) -> Result<()> {
    let stage = |transaction: &mut Transaction| -> Staged<()> {
        let mut numbers = catalog::numbers_within(transaction, Io::Allow)?;
        change(&mut numbers);
        catalog::put_numbers(transaction, &numbers);
        Ok(Ok(()))
    };
    when_writable(writer.store, || writer.transact(stage))?.wait()
}

/// Removes all keys of a range that nobody writes to; whether it came to the end.
fn range(store: &Store, range: &KeyRange, stop: &AtomicBool) -> Result<bool> {
    while !stop.load(Ordering::Acquire) {
        let mut transaction = store.begin();
        let keys = transaction
            .scan(range.clone(), Direction::Ascending, Io::Allow)
            .take(SWEPT_KEYS)
            .map(|found| found.map(|(key, _)| key))
            .collect::<Result<Vec<Bytes>, _>>()?;
        if keys.is_empty() {
            return Ok(true);
        }
        for key in keys {
            transaction.delete(key);
        }
        match transaction.commit(None, None).map_err(EngineError::from) {
            Ok(_) => {}
            Err(EngineError::Busy { .. }) => block_on(store.writable())?,
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
