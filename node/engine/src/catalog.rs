//! The catalogue: which collections and indexes there are, under which numbers.
//!
//! One record per collection, and one for the database. Every write to a collection has its
//! record in the read set, so a change of the record (a new index, say) orders itself against
//! every write: each write knows of it or is made again.
//!
//! ```text
//! collection   version:u8 = 1, number:u32, indexes:u16, then per index
//!              number:u64, state:u8 (1 building, 2 ready), length:u16, field
//! numbers      version:u8 = 1, next collection:u32, next index:u64,
//!              unfinished collections:u32, then number:u32 of each,
//!              unfinished indexes:u32, then number:u64 of each
//! ```
//! Numbers are little-endian here and never given out twice. An *unfinished* number belongs to a
//! build or load that has not been completed: what is stored under it does not count, and is
//! removed when the database is opened.

mod codec;

pub(crate) use codec::{decode_collection, decode_numbers, encode_collection, encode_numbers};

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use godb_store::{Entry, Io, Lsn, ReadPoint, Transaction};

use crate::error::{EngineError, Result};
use crate::key::{self, CollectionNumber, IndexNumber};

/// Decoded records that are kept.
const MAX_CACHED: usize = 16 * 1024;

/// What the catalogue says of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Collection {
    pub(crate) number: CollectionNumber,
    pub(crate) indexes: Vec<Index>,
}

/// What the catalogue says of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) number: IndexNumber,
    pub(crate) state: IndexState,
    /// Dotted path of the field.
    pub(crate) field: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexState {
    /// Written to by every write, but older documents may lack their entries.
    Building,
    /// Complete.
    Ready,
}

/// The numbers that are next, and those that do not count yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) next_collection: u32,
    pub(crate) next_index: u64,
    pub(crate) unfinished_collections: Vec<CollectionNumber>,
    pub(crate) unfinished_indexes: Vec<IndexNumber>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            next_collection: 1,
            next_index: 1,
            unfinished_collections: Vec::new(),
            unfinished_indexes: Vec::new(),
        }
    }
}

impl Numbers {
    pub(crate) fn take_collection(&mut self) -> Result<CollectionNumber> {
        let number = CollectionNumber(self.next_collection);
        self.next_collection = number.0.checked_add(1).ok_or(EngineError::TooMany {
            what: "collections",
            count: usize::try_from(u32::MAX).unwrap_or(usize::MAX),
            limit: usize::try_from(u32::MAX - 1).unwrap_or(usize::MAX),
        })?;
        Ok(number)
    }

    pub(crate) fn take_index(&mut self) -> IndexNumber {
        let number = IndexNumber(self.next_index);
        // One a nanosecond would last for 500 years.
        self.next_index = self.next_index.wrapping_add(1);
        number
    }

    pub(crate) fn finish_collection(&mut self, number: CollectionNumber) {
        self.unfinished_collections.retain(|other| *other != number);
    }

    pub(crate) fn finish_index(&mut self, number: IndexNumber) {
        self.unfinished_indexes.retain(|other| *other != number);
    }
}

impl Collection {
    /// A collection without indexes.
    pub(crate) fn new(number: CollectionNumber) -> Self {
        Self {
            number,
            indexes: Vec::new(),
        }
    }

    /// The counter of its documents.
    pub(crate) fn counter(&self) -> u64 {
        u64::from(self.number.0)
    }

    pub(crate) fn index(&self, field: &str) -> Option<&Index> {
        self.indexes.iter().find(|index| index.field == field)
    }

    /// The index on `field`, if queries may use it.
    pub(crate) fn ready_index(&self, field: &str) -> Option<&Index> {
        self.index(field)
            .filter(|index| index.state == IndexState::Ready)
    }
}

/// The newest version of a record that was decoded, and its LSN.
type Cached = (Lsn, Arc<Collection>);

/// Reads and writes catalogue records, and keeps the decoded ones.
#[derive(Default)]
pub(crate) struct Catalog {
    cached: RwLock<HashMap<Box<str>, Cached>>,
}

impl Catalog {
    /// The collection as `point` sees it.
    pub(crate) fn at(
        &self,
        point: &ReadPoint,
        name: &str,
        io: Io,
    ) -> Result<Option<Arc<Collection>>> {
        let found = point.get(key::collection(name).as_ref(), io)?;
        found.map(|entry| self.decoded(name, &entry)).transpose()
    }

    /// The collection as a transaction sees it, which from then on depends on it.
    pub(crate) fn within(
        &self,
        transaction: &mut Transaction,
        name: &str,
        io: Io,
    ) -> Result<Option<Arc<Collection>>> {
        let found = transaction.get(key::collection(name).as_ref(), io)?;
        found.map(|entry| self.decoded(name, &entry)).transpose()
    }

    /// The same, made in this transaction if it is missing.
    pub(crate) fn within_or_new(
        &self,
        transaction: &mut Transaction,
        name: &str,
        io: Io,
    ) -> Result<Arc<Collection>> {
        if let Some(found) = self.within(transaction, name, io)? {
            return Ok(found);
        }
        let mut numbers = numbers_within(transaction, io)?;
        let collection = Collection::new(numbers.take_collection()?);
        put_numbers(transaction, &numbers);
        put_collection(transaction, name, &collection);
        Ok(Arc::new(collection))
    }

    /// The number of a collection that was seen before. A name never changes its number, so a
    /// read that needs no more than that saves itself the record.
    pub(crate) fn known_number(&self, name: &str) -> Option<CollectionNumber> {
        let cached = self.cached.read().unwrap_or_else(PoisonError::into_inner);
        cached.get(name).map(|(_, collection)| collection.number)
    }

    /// Decodes a record, or finds that this version of it was decoded before.
    pub(crate) fn decoded(&self, name: &str, entry: &Entry) -> Result<Arc<Collection>> {
        {
            let cached = self.cached.read().unwrap_or_else(PoisonError::into_inner);
            if let Some((lsn, collection)) = cached.get(name)
                && *lsn == entry.lsn
            {
                return Ok(Arc::clone(collection));
            }
        }
        let collection = Arc::new(decode_collection(name, &entry.value)?);
        // A transaction's own write has no LSN yet, and an older view must not hide a newer record.
        let mut cached = self.cached.write().unwrap_or_else(PoisonError::into_inner);
        let newest = cached.get(name).map_or(Lsn::ZERO, |(lsn, _)| *lsn);
        if entry.lsn > newest {
            if cached.len() >= MAX_CACHED {
                cached.clear();
            }
            cached.insert(name.into(), (entry.lsn, Arc::clone(&collection)));
        }
        Ok(collection)
    }
}

/// Writes a collection's record.
pub(crate) fn put_collection(transaction: &mut Transaction, name: &str, collection: &Collection) {
    let key = Bytes::copy_from_slice(key::collection(name).as_ref());
    transaction.put(key, encode_collection(collection).into());
}

/// The numbers record as a transaction sees it, which from then on depends on it.
pub(crate) fn numbers_within(transaction: &mut Transaction, io: Io) -> Result<Numbers> {
    match transaction.get(key::NUMBERS, io)? {
        Some(entry) => decode_numbers(&entry.value),
        None => Ok(Numbers::default()),
    }
}

/// Writes the numbers record.
pub(crate) fn put_numbers(transaction: &mut Transaction, numbers: &Numbers) {
    let record = encode_numbers(numbers);
    transaction.put(Bytes::from_static(key::NUMBERS), record.into());
}
