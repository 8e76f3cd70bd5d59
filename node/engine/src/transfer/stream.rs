//! A whole database as one sequence, as of one LSN.

use std::collections::VecDeque;
use std::sync::Arc;
use std::vec;

use godb_store::{Direction, Io, Lsn, Store, View};

use crate::catalog::{Catalog, Collection, IndexState};
use crate::check;
use crate::document::Document;
use crate::error::{EngineError, Result};
use crate::key;
use crate::query::walk::Span;

/// Documents and bytes of them that one chunk holds, the last document left out of account.
const CHUNK_DOCUMENTS: usize = 256;
const CHUNK_BYTES: usize = 1024 * 1024;

/// One step through a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseItem {
    /// A collection begins.
    Collection {
        /// Its name.
        name: String,
        /// The fields of its indexes that were ready.
        indexes: Vec<String>,
    },
    /// A document of the collection that began last.
    Document(Document),
}

/// Every collection in the order of the names, each followed by its documents in the order of
/// their ids, all as of one moment.
///
/// What [`crate::DocumentStream`] says of its pace and its end holds here too.
pub struct DatabaseStream {
    view: View,
    collections: vec::IntoIter<(String, Arc<Collection>)>,
    /// The collection that is read, and what of it is still to come.
    current: Option<(Arc<Collection>, Span)>,
    chunk: VecDeque<Document>,
}

impl DatabaseStream {
    pub(crate) fn new(store: &Store, catalog: &Catalog) -> Result<Self> {
        let view = store.view();
        let collections = check::collections(&view.read()?, catalog)?;
        Ok(Self {
            view,
            collections: collections.into_iter(),
            current: None,
            chunk: VecDeque::new(),
        })
    }

    /// The moment.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.view.lsn()
    }

    fn advance(&mut self) -> Result<Option<DatabaseItem>> {
        loop {
            if let Some(document) = self.chunk.pop_front() {
                return Ok(Some(DatabaseItem::Document(document)));
            }
            if let Some((collection, span)) = &mut self.current {
                if !read_chunk(&self.view, collection, span, &mut self.chunk)? {
                    self.current = None;
                }
                continue;
            }
            let Some((name, collection)) = self.collections.next() else {
                return Ok(None);
            };
            let ready = collection
                .indexes
                .iter()
                .filter(|index| index.state == IndexState::Ready);
            let indexes = ready.map(|index| index.field.clone()).collect();
            self.current = Some((collection, Span::ALL));
            return Ok(Some(DatabaseItem::Collection { name, indexes }));
        }
    }
}

/// The next documents; whether there may be more behind them.
fn read_chunk(
    view: &View,
    collection: &Collection,
    span: &mut Span,
    chunk: &mut VecDeque<Document>,
) -> Result<bool> {
    let point = view.read()?;
    let prefix = key::documents_prefix(collection.number);
    let mut bytes = 0;
    for found in point.scan(span.keys(&prefix), Direction::Ascending, Io::Allow) {
        let (key, entry) = found?;
        bytes += entry.value.len();
        chunk.push_back(Document {
            id: key.slice(prefix.len()..),
            lsn: entry.lsn,
            json: entry.value,
        });
        if bytes >= CHUNK_BYTES || chunk.len() >= CHUNK_DOCUMENTS {
            break;
        }
    }
    match chunk.back() {
        Some(last) => span.pass(last.id.clone(), Direction::Ascending),
        None => return Ok(false),
    }
    Ok(true)
}

impl Iterator for DatabaseStream {
    type Item = Result<DatabaseItem, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        let advanced = self.advance();
        if advanced.is_err() {
            // The error is the last item.
            self.current = None;
            self.collections = Vec::new().into_iter();
            self.chunk.clear();
        }
        advanced.transpose()
    }
}
