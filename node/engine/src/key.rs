//! The keyspace: one ordered space of keys for everything in a database.
//!
//! ```text
//! 01 01                               numbers that are next: collection, index (catalog.rs)
//! 01 02 name                          a collection and its indexes (catalog.rs)
//! 02 collection:u32 id                a document; the value is its JSON
//! 03 index:u64 value id               an index entry; no value
//! ```
//! Numbers are big-endian and are never given out twice, so what a dropped collection or an
//! unfinished index left behind can never be taken for something else. `value` is described in
//! [`value`]; it ends itself, so the id behind it needs no length.

pub(crate) mod value;

use std::ops::Bound;

use bytes::Bytes;
use godb_store::KeyRange;

use crate::limits::{MAX_COLLECTION_NAME_BYTES, MAX_ID_BYTES};

const CATALOG: u8 = 1;
const CATALOG_NUMBERS: u8 = 1;
const CATALOG_COLLECTION: u8 = 2;
const DOCUMENT: u8 = 2;
const INDEX_ENTRY: u8 = 3;

/// Number of a collection; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CollectionNumber(pub(crate) u32);

/// Number of an index; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct IndexNumber(pub(crate) u64);

/// A key on the stack, for reads.
#[derive(Clone, Debug)]
pub(crate) struct StackKey<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> StackKey<N> {
    /// The parts one after the other, as far as they fit; callers have checked that they do.
    fn of(parts: [&[u8]; 3]) -> Self {
        let mut key = Self {
            bytes: [0; N],
            len: 0,
        };
        for part in parts {
            let end = key.len + part.len();
            if let Some(place) = key.bytes.get_mut(key.len..end) {
                place.copy_from_slice(part);
                key.len = end;
            }
        }
        key
    }
}

impl<const N: usize> AsRef<[u8]> for StackKey<N> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The record of the numbers that are next.
pub(crate) const NUMBERS: &[u8] = &[CATALOG, CATALOG_NUMBERS];

/// The catalogue record of a collection; `name` has been checked.
pub(crate) fn collection(name: &str) -> StackKey<{ 2 + MAX_COLLECTION_NAME_BYTES }> {
    StackKey::of([&[CATALOG, CATALOG_COLLECTION], name.as_bytes(), &[]])
}

/// All catalogue records of collections.
pub(crate) fn collections() -> KeyRange {
    prefix_range(&[CATALOG, CATALOG_COLLECTION])
}

/// The name in the key of a catalogue record.
pub(crate) fn collection_name(key: &[u8]) -> Option<&str> {
    let name = key.strip_prefix(&[CATALOG, CATALOG_COLLECTION])?;
    std::str::from_utf8(name).ok()
}

/// A document; `id` has been checked.
pub(crate) fn document(number: CollectionNumber, id: &[u8]) -> StackKey<{ 5 + MAX_ID_BYTES }> {
    StackKey::of([&[DOCUMENT], &number.0.to_be_bytes(), id])
}

/// Bytes before the id in the key of a document.
pub(crate) const DOCUMENT_PREFIX_BYTES: usize = 5;

/// What the keys of all documents of a collection begin with.
pub(crate) fn documents_prefix(number: CollectionNumber) -> [u8; DOCUMENT_PREFIX_BYTES] {
    let [a, b, c, d] = number.0.to_be_bytes();
    [DOCUMENT, a, b, c, d]
}

/// What the keys of all entries of an index begin with.
pub(crate) fn index_prefix(number: IndexNumber) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = number.0.to_be_bytes();
    [INDEX_ENTRY, a, b, c, d, e, f, g, h]
}

/// An entry: the encoded value, and the id of the document that has it.
pub(crate) fn index_entry(number: IndexNumber, value: &[u8], id: &[u8]) -> Bytes {
    [&index_prefix(number), value, id].concat().into()
}

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Numbers,
    Collection(&'a str),
    Document(CollectionNumber, &'a [u8]),
    IndexEntry(IndexNumber),
}

/// Reads a key; `None` if it is none of this version's.
pub(crate) fn place(key: &[u8]) -> Option<Place<'_>> {
    if key == NUMBERS {
        return Some(Place::Numbers);
    }
    if let Some(name) = collection_name(key) {
        return Some(Place::Collection(name));
    }
    let (kind, rest) = key.split_first()?;
    match *kind {
        DOCUMENT => {
            let (number, id) = rest.split_first_chunk()?;
            Some(Place::Document(
                CollectionNumber(u32::from_be_bytes(*number)),
                id,
            ))
        }
        INDEX_ENTRY => {
            let (number, _) = rest.split_first_chunk()?;
            Some(Place::IndexEntry(IndexNumber(u64::from_be_bytes(*number))))
        }
        _ => None,
    }
}

/// All keys that begin with `prefix`.
pub(crate) fn prefix_range(prefix: &[u8]) -> KeyRange {
    KeyRange {
        lower: Bound::Included(Bytes::copy_from_slice(prefix)),
        upper: prefix_end(prefix),
    }
}

/// The end of the keys that begin with `prefix`.
pub(crate) fn prefix_end(prefix: &[u8]) -> Bound<Bytes> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Bound::Excluded(end.into());
        }
    }
    Bound::Unbounded
}

#[cfg(test)]
mod tests;
