//! Documents of a collection: each operation is one transaction over the documents, their index
//! entries and the counter of their collection.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::sync::Arc;

use bytes::Bytes;
use godb_store::{Lsn, Transaction};

use crate::catalog::Collection;
use crate::document::{self, Document, Incoming};
use crate::error::{EngineError, Result};
use crate::index::entries;
use crate::key;
use crate::limits::{MAX_BATCH_ITEMS, MAX_REQUEST_BYTES};
use crate::pending::Pending;
use crate::write::{Replace, Staged, Writer};
use crate::{id, name, patch};

impl Writer<'_> {
    pub(crate) fn create_collection(&self, collection: &str) -> Result<Pending<()>> {
        name::check_collection(collection)?;
        self.transact(|transaction| {
            let catalog = self.catalog;
            catalog.within_or_new(transaction, collection, self.how.io)?;
            Ok(Ok(()))
        })
    }

    pub(crate) fn insert(&self, collection: &str, document: &[u8]) -> Result<Pending<Document>> {
        name::check_collection(collection)?;
        let incoming = Incoming::new(document)?;
        self.transact(|transaction| {
            let collection = self.within_or_new(transaction, collection)?;
            self.stage_new(transaction, &collection, &incoming)
        })
    }

    pub(crate) fn batch_insert(
        &self,
        collection: &str,
        documents: &[&[u8]],
    ) -> Result<Pending<Vec<Document>>> {
        name::check_collection(collection)?;
        check_batch("documents", documents.len())?;
        let mut incoming = Vec::with_capacity(documents.len());
        let mut size = RequestSize::default();
        for (position, document) in documents.iter().enumerate() {
            let document = Incoming::new(document).map_err(|error| in_batch(position, error))?;
            size.add(document.json.len())?;
            incoming.push(document);
        }
        check_distinct(&incoming)?;
        self.transact(|transaction| {
            let collection = self.within_or_new(transaction, collection)?;
            let stage = |document| self.stage_new(transaction, &collection, document);
            incoming.iter().map(stage).collect()
        })
    }

    pub(crate) fn update(
        &self,
        collection: &str,
        id: &str,
        fields: &[u8],
    ) -> Result<Pending<Document>> {
        name::check_collection(collection)?;
        id::check(id)?;
        let fields = document::incoming_fields(id, fields)?;
        self.transact(|transaction| {
            let Some(collection) = self.within(transaction, collection)? else {
                return Ok(Err(not_found(id)));
            };
            let Some(old) = self.read(transaction, &collection, id)? else {
                return Ok(Err(not_found(id)));
            };
            let merged = patch::merge(&old, &fields);
            if let Err(refusal) = document::check_size("document", merged.len()) {
                return Ok(Err(refusal));
            }
            let new = document::own_memory(merged);
            Ok(Ok(stage(
                transaction,
                &collection,
                id.as_bytes(),
                Some(&old),
                new,
            )))
        })
    }

    pub(crate) fn replace(
        &self,
        collection: &str,
        id: &str,
        document: &[u8],
        mode: Replace,
    ) -> Result<Pending<Document>> {
        name::check_collection(collection)?;
        id::check(id)?;
        let incoming = Incoming::replacing(id, document)?;
        self.transact(|transaction| {
            let collection = match mode {
                Replace::Existing => match self.within(transaction, collection)? {
                    Some(collection) => collection,
                    None => return Ok(Err(not_found(id))),
                },
                Replace::CreateOnly | Replace::Upsert => {
                    self.within_or_new(transaction, collection)?
                }
            };
            let old = self.read(transaction, &collection, id)?;
            match mode {
                Replace::Existing if old.is_none() => return Ok(Err(not_found(id))),
                Replace::CreateOnly if old.is_some() => {
                    return Ok(Err(EngineError::PreconditionFailed { id: id.to_owned() }));
                }
                _ => {}
            }
            let json = incoming.json.clone();
            Ok(Ok(stage(
                transaction,
                &collection,
                id.as_bytes(),
                old.as_ref(),
                json,
            )))
        })
    }

    pub(crate) fn batch_update(
        &self,
        collection: &str,
        operations: &[(&str, &[u8])],
    ) -> Result<Pending<Vec<Document>>> {
        name::check_collection(collection)?;
        check_batch("operations", operations.len())?;
        let mut changes = Vec::with_capacity(operations.len());
        for (position, (id, fields)) in operations.iter().enumerate() {
            let fields = id::check(id).and_then(|()| document::incoming_fields(id, fields));
            changes.push((*id, fields.map_err(|error| in_batch(position, error))?));
        }
        self.transact(|transaction| {
            let Some(collection) = self.within(transaction, collection)? else {
                let missing = changes.first().map_or("", |(id, _)| *id);
                return Ok(Err(not_found(missing)));
            };
            self.stage_updates(transaction, &collection, &changes)
        })
    }

    pub(crate) fn delete(&self, collection: &str, id: &str) -> Result<Pending<()>> {
        name::check_collection(collection)?;
        id::check(id)?;
        self.transact(|transaction| {
            let Some(collection) = self.within(transaction, collection)? else {
                return Ok(Err(not_found(id)));
            };
            let Some(old) = self.read(transaction, &collection, id)? else {
                return Ok(Err(not_found(id)));
            };
            let key = key::document(collection.number, id.as_bytes());
            stage_entries(transaction, &collection, id.as_bytes(), Some(&old), None);
            transaction.delete(Bytes::copy_from_slice(key.as_ref()));
            transaction.count(collection.counter(), -1);
            Ok(Ok(()))
        })
    }

    fn within(
        &self,
        transaction: &mut Transaction,
        collection: &str,
    ) -> Result<Option<Arc<Collection>>> {
        self.catalog.within(transaction, collection, self.how.io)
    }

    fn within_or_new(
        &self,
        transaction: &mut Transaction,
        collection: &str,
    ) -> Result<Arc<Collection>> {
        self.catalog
            .within_or_new(transaction, collection, self.how.io)
    }

    fn read(
        &self,
        transaction: &mut Transaction,
        collection: &Collection,
        id: &str,
    ) -> Result<Option<Bytes>> {
        let key = key::document(collection.number, id.as_bytes());
        let found = transaction.get(key.as_ref(), self.how.io)?;
        Ok(found.map(|entry| entry.value))
    }

    /// Stages a document that must not be there yet.
    fn stage_new(
        &self,
        transaction: &mut Transaction,
        collection: &Collection,
        incoming: &Incoming,
    ) -> Staged<Document> {
        let key = key::document(collection.number, &incoming.id);
        if transaction.get(key.as_ref(), self.how.io)?.is_some() {
            let id = String::from_utf8_lossy(&incoming.id).into_owned();
            return Ok(Err(EngineError::AlreadyExists { id }));
        }
        let json = incoming.json.clone();
        Ok(Ok(stage(transaction, collection, &incoming.id, None, json)))
    }

    /// Stages merges in their order; several of one document build on each other. Each is
    /// answered with the document as it stood after it.
    fn stage_updates(
        &self,
        transaction: &mut Transaction,
        collection: &Collection,
        changes: &[(&str, Vec<u8>)],
    ) -> Staged<Vec<Document>> {
        let mut states: HashMap<&str, (Bytes, Bytes)> = HashMap::with_capacity(changes.len());
        let mut documents = Vec::with_capacity(changes.len());
        let mut size = RequestSize::default();
        for (id, fields) in changes {
            let state = match states.entry(id) {
                MapEntry::Occupied(known) => known.into_mut(),
                MapEntry::Vacant(place) => match self.read(transaction, collection, id)? {
                    Some(old) => place.insert((old.clone(), old)),
                    None => return Ok(Err(not_found(id))),
                },
            };
            let merged = patch::merge(&state.1, fields);
            let checked = document::check_size("document", merged.len());
            if let Err(refusal) = checked.and_then(|()| size.add(merged.len())) {
                return Ok(Err(refusal));
            }
            state.1 = document::own_memory(merged);
            documents.push(Document {
                id: Bytes::copy_from_slice(id.as_bytes()),
                lsn: Lsn::ZERO,
                json: state.1.clone(),
            });
        }
        for (id, (old, new)) in states {
            stage(transaction, collection, id.as_bytes(), Some(&old), new);
        }
        Ok(Ok(documents))
    }
}

/// Stages a document in place of `old`, with its entries and the count.
fn stage(
    transaction: &mut Transaction,
    collection: &Collection,
    id: &[u8],
    old: Option<&Bytes>,
    json: Bytes,
) -> Document {
    let key = Bytes::copy_from_slice(key::document(collection.number, id).as_ref());
    let document = Document {
        id: key.slice(key.len() - id.len()..),
        lsn: Lsn::ZERO,
        json: json.clone(),
    };
    stage_entries(transaction, collection, id, old, Some(&json));
    transaction.put(key, json);
    if old.is_none() {
        transaction.count(collection.counter(), 1);
    }
    document
}

/// Stages what changes in the indexes, those that are being built included.
fn stage_entries(
    transaction: &mut Transaction,
    collection: &Collection,
    id: &[u8],
    old: Option<&Bytes>,
    new: Option<&Bytes>,
) {
    for index in &collection.indexes {
        let (old, new) = (old.map(Bytes::as_ref), new.map(Bytes::as_ref));
        let changes = entries::changes(index.number, &index.field, id, old, new);
        for key in changes.removed {
            transaction.delete(key);
        }
        for key in changes.added {
            transaction.put(key, Bytes::new());
        }
    }
}

fn not_found(id: &str) -> EngineError {
    EngineError::NotFound { id: id.to_owned() }
}

fn check_batch(what: &'static str, count: usize) -> Result<()> {
    if (1..=MAX_BATCH_ITEMS).contains(&count) {
        return Ok(());
    }
    Err(EngineError::TooMany {
        what,
        count,
        limit: MAX_BATCH_ITEMS,
    })
}

/// Says which item is at fault; line and column inside one item would mislead.
fn in_batch(position: usize, error: EngineError) -> EngineError {
    match error {
        EngineError::InvalidDocument { reason } => EngineError::InvalidDocument {
            reason: format!("item {position}: {reason}"),
        },
        EngineError::InvalidJson { .. } | EngineError::InvalidId { .. } => {
            EngineError::InvalidDocument {
                reason: format!("item {position}: {error}"),
            }
        }
        other => other,
    }
}

fn check_distinct(incoming: &[Incoming]) -> Result<()> {
    let mut ids: Vec<&Bytes> = incoming.iter().map(|document| &document.id).collect();
    ids.sort_unstable();
    match ids.array_windows().find(|[a, b]| a == b) {
        None => Ok(()),
        Some([id, _]) => Err(EngineError::DuplicateInBatch {
            id: String::from_utf8_lossy(id).into_owned(),
        }),
    }
}

/// Bytes of documents that one request writes.
#[derive(Default)]
struct RequestSize(usize);

impl RequestSize {
    fn add(&mut self, bytes: usize) -> Result<()> {
        self.0 += bytes;
        if self.0 <= MAX_REQUEST_BYTES {
            return Ok(());
        }
        Err(EngineError::TooLarge {
            what: "request",
            bytes: self.0 as u64,
            limit_bytes: MAX_REQUEST_BYTES as u64,
        })
    }
}
