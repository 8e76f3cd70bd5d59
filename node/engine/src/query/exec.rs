//! Pages of a query: what is on them, and what lies before and behind.
//!
//! The order is that of the ids, with an index and without, so pages never overlap or miss a
//! document that does not change. All parts of one page are read at one LSN.

use std::ops::ControlFlow;

use bytes::Bytes;
use godb_store::{Direction, Io, ReadPoint, Store, View};

use super::cursor::{Cursor, Side};
use super::parse::Filter;
use super::plan::{self, Plan};
use super::walk::{Match, Progress, Span, Walk};
use crate::catalog::{Catalog, Collection};
use crate::document::Document;
use crate::error::{EngineError, Result};
use crate::limits::{MAX_PAGE_BYTES, MAX_PAGE_DOCUMENTS};

/// Candidates between two fresh points of a view: memory is not held for longer than this takes.
const CHUNK_CANDIDATES: usize = 2000;
/// Candidates that a caller who must not block may look at.
const MEMORY_ONLY_CANDIDATES: usize = 500;

/// A query for one page.
#[derive(Clone, Debug)]
pub struct Find {
    /// Which documents.
    pub filter: Filter,
    /// Most documents on the page, 1 to 1000.
    pub limit: usize,
    /// Which page.
    pub page: PageStart,
    /// Whether all that match are to be counted; only with [`PageStart::Offset`].
    pub total: bool,
}

/// Which page of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageStart {
    /// The one behind so many matching documents.
    Offset(u64),
    /// The one that follows the cursor.
    After(Cursor),
    /// The one that ends just before the cursor.
    Before(Cursor),
}

/// A page of a result, in the order of the ids.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The documents.
    pub documents: Vec<Document>,
    /// Whether anything that matches lies behind the page.
    pub has_next: bool,
    /// Whether anything that matches lies before the page.
    pub has_prev: bool,
    /// For [`PageStart::After`]; there exactly if `has_next`.
    pub next_cursor: Option<Cursor>,
    /// For [`PageStart::Before`]; there exactly if `has_prev`.
    pub prev_cursor: Option<Cursor>,
    /// How many match in all; there exactly if it was asked for with an offset.
    pub total: Option<u64>,
}

/// Finds one page.
pub(crate) fn find(
    store: &Store,
    catalog: &Catalog,
    collection: &str,
    query: &Find,
    io: Io,
) -> Result<Page> {
    if !(1..=MAX_PAGE_DOCUMENTS).contains(&query.limit) {
        return Err(EngineError::InvalidQuery {
            reason: format!("limit must be between 1 and {MAX_PAGE_DOCUMENTS}"),
        });
    }
    let mut reader = Reader::new(store, io)?;
    let Some(collection) = catalog.at(&reader.point, collection, io)? else {
        return match query.page {
            PageStart::Offset(_) => Ok(Page {
                total: query.total.then_some(0),
                ..Page::default()
            }),
            PageStart::After(_) | PageStart::Before(_) => Err(EngineError::InvalidCursor),
        };
    };
    let plan = plan::plan(&query.filter, &collection);
    let mut finder = Finder {
        store,
        collection: &collection,
        plan: &plan,
        query,
        io,
        reader: &mut reader,
    };
    match &query.page {
        PageStart::Offset(offset) => finder.by_offset(*offset),
        PageStart::After(cursor) => finder.by_cursor(cursor, Direction::Ascending),
        PageStart::Before(cursor) => finder.by_cursor(cursor, Direction::Descending),
    }
}

/// A fixed LSN to read at, for as long as a page takes.
struct Reader {
    point: ReadPoint,
    /// None for who must not block, and is stopped before it would need a second point.
    view: Option<View>,
    budget: usize,
}

impl Reader {
    fn new(store: &Store, io: Io) -> Result<Self> {
        Ok(match io {
            Io::Allow => {
                let view = store.view();
                Self {
                    point: view.read()?,
                    view: Some(view),
                    budget: CHUNK_CANDIDATES,
                }
            }
            Io::MemoryOnly => Self {
                point: store.snapshot_read(),
                view: None,
                budget: MEMORY_ONLY_CANDIDATES,
            },
        })
    }

    /// Goes on with a fresh point, letting go of what the last one held.
    fn refresh(&mut self) -> Result<()> {
        let Some(view) = &self.view else {
            return Err(EngineError::WouldBlock);
        };
        self.point = view.read()?;
        self.budget = CHUNK_CANDIDATES;
        Ok(())
    }
}

struct Finder<'a> {
    store: &'a Store,
    collection: &'a Collection,
    plan: &'a Plan,
    query: &'a Find,
    io: Io,
    reader: &'a mut Reader,
}

/// Documents of a page while it is gathered.
#[derive(Default)]
struct Gathered {
    documents: Vec<Document>,
    /// Ids of those that are still to be read.
    unread: Vec<Bytes>,
    bytes: usize,
}

impl Gathered {
    fn len(&self) -> usize {
        self.documents.len() + self.unread.len()
    }

    fn add(&mut self, found: Match) -> Result<()> {
        match found.document() {
            Ok(document) => self.push(document),
            Err(id) => {
                self.unread.push(id);
                Ok(())
            }
        }
    }

    fn push(&mut self, document: Document) -> Result<()> {
        self.bytes += document.json.len();
        if self.bytes > MAX_PAGE_BYTES && !self.documents.is_empty() {
            return Err(EngineError::TooLarge {
                what: "page",
                bytes: self.bytes as u64,
                limit_bytes: MAX_PAGE_BYTES as u64,
            });
        }
        self.documents.push(document);
        Ok(())
    }
}

impl<'a> Finder<'a> {
    /// Visits the matches of `span`, over as many points of the view as it takes.
    fn visit(
        &mut self,
        direction: Direction,
        mut span: Span,
        mut visit: impl FnMut(Match) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let walk = self.walk(direction);
        loop {
            let Reader { point, budget, .. } = &mut *self.reader;
            let progress = walk.run(point, &mut span, budget, &mut visit)?;
            match progress {
                Progress::Done | Progress::Stopped => return Ok(()),
                Progress::Paused => self.reader.refresh()?,
            }
        }
    }

    fn walk(&self, direction: Direction) -> Walk<'a> {
        Walk {
            collection: self.collection.number,
            filter: &self.query.filter,
            plan: self.plan,
            direction,
            io: self.io,
        }
    }

    /// Reads what is still to be read. All points of a page are of one LSN, so the last one will do.
    fn read(&self, mut gathered: Gathered) -> Result<Vec<Document>> {
        let unread = std::mem::take(&mut gathered.unread);
        let walk = self.walk(Direction::Ascending);
        walk.documents(&self.reader.point, unread, |one| gathered.push(one))?;
        Ok(gathered.documents)
    }

    fn any(&mut self, span: Span) -> Result<bool> {
        let mut any = false;
        self.visit(Direction::Ascending, span, |_| {
            any = true;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(any)
    }

    fn by_offset(&mut self, offset: u64) -> Result<Page> {
        let limit = self.query.limit;
        // Without a filter the counter knows the total, as of the LSN that the page is read at.
        let counted = if self.query.total && self.query.filter.is_all() {
            let counter = self.collection.counter();
            self.store.counter_at(counter, self.reader.point.lsn())
        } else {
            None
        };
        let count_all = self.query.total && counted.is_none();
        let mut matches: u64 = 0;
        let mut gathered = Gathered::default();
        let mut last_skipped: Option<Bytes> = None;
        let mut has_next = false;
        self.visit(Direction::Ascending, Span::ALL, |found| {
            matches += 1;
            if matches <= offset {
                last_skipped = Some(found.id);
            } else if gathered.len() < limit {
                gathered.add(found)?;
            } else {
                has_next = true;
                if !count_all {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let total = match counted {
            Some(counted) => Some(u64::try_from(counted).unwrap_or(0)),
            None => count_all.then_some(matches),
        };
        let documents = self.read(gathered)?;
        let mut page = self.page(documents, last_skipped.is_some(), has_next);
        if let (Some(id), true) = (last_skipped, page.documents.is_empty()) {
            page.prev_cursor = Some(self.cursor(Side::Behind, id));
        }
        page.total = total;
        Ok(page)
    }

    fn by_cursor(&mut self, cursor: &Cursor, direction: Direction) -> Result<Page> {
        if cursor.collection != self.collection.number {
            return Err(EngineError::InvalidCursor);
        }
        // The cursor cuts the collection in two; its own document belongs to neither side when it
        // stands at one, but is then what lies on the other side of the page.
        let id = &cursor.id;
        let (onward, backward) = match direction {
            Direction::Ascending => (
                Span::behind(id, cursor.side == Side::Before),
                Span::before(id, cursor.side != Side::Before),
            ),
            Direction::Descending => (
                Span::before(id, cursor.side == Side::Behind),
                Span::behind(id, cursor.side != Side::Behind),
            ),
        };
        let limit = self.query.limit;
        let mut gathered = Gathered::default();
        let mut more = false;
        self.visit(direction, onward, |found| {
            if gathered.len() == limit {
                more = true;
                return Ok(ControlFlow::Break(()));
            }
            gathered.add(found)?;
            Ok(ControlFlow::Continue(()))
        })?;
        let other_side = self.any(backward)?;
        let mut documents = self.read(gathered)?;
        let is_empty = documents.is_empty();
        let mut page = match direction {
            Direction::Ascending => self.page(documents, other_side, more),
            Direction::Descending => {
                documents.reverse();
                self.page(documents, more, other_side)
            }
        };
        if is_empty && other_side {
            // Turning round at an empty page leads to everything that lies on the other side.
            match direction {
                Direction::Ascending => {
                    let side = if cursor.side == Side::Before {
                        Side::Before
                    } else {
                        Side::Behind
                    };
                    page.prev_cursor = Some(self.cursor(side, id.clone()));
                }
                Direction::Descending => {
                    let side = if cursor.side == Side::Behind {
                        Side::Behind
                    } else {
                        Side::Before
                    };
                    page.next_cursor = Some(self.cursor(side, id.clone()));
                }
            }
        }
        Ok(page)
    }

    fn page(&self, documents: Vec<Document>, has_prev: bool, has_next: bool) -> Page {
        let cursor = |document: &Document| self.cursor(Side::At, document.id.clone());
        Page {
            next_cursor: documents.last().filter(|_| has_next).map(cursor),
            prev_cursor: documents.first().filter(|_| has_prev).map(cursor),
            documents,
            has_next,
            has_prev,
            total: None,
        }
    }

    fn cursor(&self, side: Side, id: Bytes) -> Cursor {
        Cursor {
            collection: self.collection.number,
            side,
            // Not a slice of a key or page, which it would keep in memory.
            id: Bytes::copy_from_slice(&id),
        }
    }
}
