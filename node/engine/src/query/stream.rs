//! Every document that matches, one after the other, as of one LSN.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use godb_store::{Direction, Io, Store, View};

use super::parse::Filter;
use super::plan::{self, Plan};
use super::walk::{Progress, Span, Walk};
use crate::catalog::{Catalog, Collection};
use crate::document::Document;
use crate::error::{EngineError, Result};

/// Candidates that one chunk looks at.
const CHUNK_CANDIDATES: usize = 1000;
/// Documents and bytes of them that one chunk holds, the last document left out of account.
const CHUNK_DOCUMENTS: usize = 256;
const CHUNK_BYTES: usize = 1024 * 1024;

/// The documents that match a filter, in the order of their ids, as of the moment it was made.
///
/// It reads ahead by one chunk and holds no memory of the store between chunks, so it may be slow;
/// but when it stands still for longer than the view lease, or goes on for 144 of them, it ends with
/// [`crate::EngineError::ViewExpired`]. An error is its last item: it never ends early in silence.
/// It reads from the disk, so it belongs on a thread that may block.
pub struct DocumentStream {
    /// `None` once it has ended.
    source: Option<Source>,
    chunk: VecDeque<Document>,
}

struct Source {
    view: View,
    collection: Arc<Collection>,
    filter: Filter,
    plan: Plan,
    span: Span,
}

impl DocumentStream {
    pub(crate) fn new(
        store: &Store,
        catalog: &Catalog,
        collection: &str,
        filter: &Filter,
    ) -> Result<Self> {
        let view = store.view();
        let found = catalog.at(&view.read()?, collection, Io::Allow)?;
        Ok(Self {
            source: found.map(|collection| Source {
                view,
                plan: plan::plan(filter, &collection),
                collection,
                filter: filter.clone(),
                span: Span::ALL,
            }),
            chunk: VecDeque::new(),
        })
    }
}

impl Source {
    /// The next documents; whether there may be more behind them.
    fn read_chunk(&mut self, chunk: &mut VecDeque<Document>) -> Result<bool> {
        let point = self.view.read()?;
        let walk = Walk {
            collection: self.collection.number,
            filter: &self.filter,
            plan: &self.plan,
            direction: Direction::Ascending,
            io: Io::Allow,
        };
        let mut bytes = 0;
        let mut stopped_at = None;
        let mut budget = CHUNK_CANDIDATES;
        let progress = walk.run(&point, &mut self.span, &mut budget, &mut |found| {
            let document = walk.document(&point, found)?;
            bytes += document.json.len();
            let is_full = bytes >= CHUNK_BYTES || chunk.len() + 1 >= CHUNK_DOCUMENTS;
            if is_full {
                stopped_at = Some(document.id.clone());
            }
            chunk.push_back(document);
            if is_full {
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if let Some(id) = stopped_at {
            self.span.pass(id, Direction::Ascending);
        }
        Ok(progress != Progress::Done)
    }
}

impl Iterator for DocumentStream {
    type Item = Result<Document, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(document) = self.chunk.pop_front() {
                return Some(Ok(document));
            }
            match self.source.as_mut()?.read_chunk(&mut self.chunk) {
                Ok(true) => {}
                Ok(false) => self.source = None,
                Err(error) => {
                    self.source = None;
                    self.chunk.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}
