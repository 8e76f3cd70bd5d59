//! Running a plan: candidates in the order of their ids, from any place, in either direction, and
//! able to go on later from where it stopped.

use std::ops::{Bound, ControlFlow};

use bytes::{Buf, Bytes};
use godb_store::{Direction, Entry, Io, KeyRange, ReadPoint, Scan, StoreError};

use super::parse::Filter;
use super::plan::Plan;
use crate::document::Document;
use crate::error::{EngineError, Result};
use crate::key::{self, CollectionNumber};

/// The part of a collection, by id, that is still to be looked at.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) lower: Bound<Bytes>,
    pub(crate) upper: Bound<Bytes>,
}

impl Span {
    /// All of it.
    pub(crate) const ALL: Span = Span {
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
    };

    /// Leaves out `id` and everything before it in `direction`.
    pub(crate) fn pass(&mut self, id: Bytes, direction: Direction) {
        match direction {
            Direction::Ascending => self.lower = Bound::Excluded(id),
            Direction::Descending => self.upper = Bound::Excluded(id),
        }
    }

    fn contains(&self, id: &[u8]) -> bool {
        let above = match &self.lower {
            Bound::Included(lower) => id >= lower,
            Bound::Excluded(lower) => id > lower,
            Bound::Unbounded => true,
        };
        let below = match &self.upper {
            Bound::Included(upper) => id <= upper,
            Bound::Excluded(upper) => id < upper,
            Bound::Unbounded => true,
        };
        above && below
    }

    /// The keys `prefix` + id for the ids of this span.
    pub(crate) fn keys(&self, prefix: &[u8]) -> KeyRange {
        let key = |id: &Bytes| Bytes::from([prefix, id].concat());
        KeyRange {
            lower: match &self.lower {
                Bound::Unbounded => Bound::Included(Bytes::copy_from_slice(prefix)),
                Bound::Included(id) => Bound::Included(key(id)),
                Bound::Excluded(id) => Bound::Excluded(key(id)),
            },
            upper: match &self.upper {
                Bound::Unbounded => key::prefix_end(prefix),
                Bound::Included(id) => Bound::Included(key(id)),
                Bound::Excluded(id) => Bound::Excluded(key(id)),
            },
        }
    }
}

/// A query over one collection.
#[derive(Clone, Copy)]
pub(crate) struct Walk<'q> {
    pub(crate) collection: CollectionNumber,
    pub(crate) filter: &'q Filter,
    pub(crate) plan: &'q Plan,
    pub(crate) direction: Direction,
    pub(crate) io: Io,
}

/// Why a walk came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The span has been walked through.
    Done,
    /// The visitor had enough.
    Stopped,
    /// The budget is used up; the span says where to go on.
    Paused,
}

/// A document that matches.
pub(crate) struct Match {
    pub(crate) id: Bytes,
    /// Read already, unless the index alone said that it matches: a plan reads all or none.
    entry: Option<Entry>,
}

impl Match {
    /// The document, or the id if it was not read.
    pub(crate) fn document(self) -> std::result::Result<Document, Bytes> {
        match self.entry {
            Some(Entry { lsn, value }) => Ok(Document {
                id: self.id,
                lsn,
                json: value,
            }),
            None => Err(self.id),
        }
    }
}

impl Walk<'_> {
    /// Visits the matches of `span` at `point`, looking at no more than `budget` candidates, and
    /// narrows the span by those it has looked at if it pauses; who stops it knows where.
    pub(crate) fn run(
        &self,
        point: &ReadPoint,
        span: &mut Span,
        budget: &mut usize,
        visit: &mut dyn FnMut(Match) -> Result<ControlFlow<()>>,
    ) -> Result<Progress> {
        let mut candidates = self.candidates(point, span);
        loop {
            if *budget == 0 {
                return Ok(Progress::Paused);
            }
            *budget -= 1;
            let Some((id, entry)) = candidates.next(self.direction)? else {
                return Ok(Progress::Done);
            };
            if *budget == 0 {
                span.pass(id.clone(), self.direction);
            }
            let Some(found) = self.look_at(point, id, entry)? else {
                continue;
            };
            if visit(found)?.is_break() {
                return Ok(Progress::Stopped);
            }
        }
    }

    /// The candidate, if it matches.
    fn look_at(&self, point: &ReadPoint, id: Bytes, entry: Option<Entry>) -> Result<Option<Match>> {
        let entry = match (self.plan, entry) {
            (Plan::Index { certain: true, .. }, entry) => return Ok(Some(Match { id, entry })),
            (_, Some(entry)) => entry,
            (Plan::Ids(_), None) => match self.entry(point, &id)? {
                Some(entry) => entry,
                None => return Ok(None),
            },
            (_, None) => self.indexed_entry(point, &id)?,
        };
        let matches = self.filter.is_all() || self.filter.matches(&entry.value);
        Ok(matches.then_some(Match {
            id,
            entry: Some(entry),
        }))
    }

    /// The document of a match.
    pub(crate) fn document(&self, point: &ReadPoint, found: Match) -> Result<Document> {
        found.document().or_else(|id| {
            let Entry { lsn, value } = self.indexed_entry(point, &id)?;
            Ok(Document {
                id,
                lsn,
                json: value,
            })
        })
    }

    /// The documents of matches that only the index knows, in turn to `visit`.
    pub(crate) fn documents(
        &self,
        point: &ReadPoint,
        ids: Vec<Bytes>,
        mut visit: impl FnMut(Document) -> Result<()>,
    ) -> Result<()> {
        let keys: Vec<_> = ids
            .iter()
            .map(|id| key::document(self.collection, id))
            .collect();
        let mut ids = ids.into_iter();
        point.get_each(keys, self.io, |entry| {
            let Some(id) = ids.next() else {
                return Ok(());
            };
            let Entry { lsn, value } = entry.ok_or_else(|| self.missing(point, &id))?;
            visit(Document {
                id,
                lsn,
                json: value,
            })
        })
    }

    fn entry(&self, point: &ReadPoint, id: &[u8]) -> Result<Option<Entry>> {
        Ok(point.get(key::document(self.collection, id).as_ref(), self.io)?)
    }

    /// The document that an index entry names.
    fn indexed_entry(&self, point: &ReadPoint, id: &[u8]) -> Result<Entry> {
        self.entry(point, id)?
            .ok_or_else(|| self.missing(point, id))
    }

    /// An index entry without a document is damage: both are written in the same transactions.
    fn missing(&self, point: &ReadPoint, id: &[u8]) -> EngineError {
        EngineError::Store(StoreError::Corrupt {
            file: format!("an index of collection {}", self.collection.0).into(),
            offset: 0,
            lsn: Some(point.lsn()),
            detail: format!(
                "it names the document `{}`, which does not exist",
                String::from_utf8_lossy(id)
            ),
        })
    }

    fn candidates<'p>(&'p self, point: &ReadPoint, span: &Span) -> Candidates<'p> {
        let scan = |prefix: &[u8]| point.scan(span.keys(prefix), self.direction, self.io);
        match self.plan {
            Plan::Ids(ids) => {
                // Sorted, so those of the span stand together.
                let first = ids.partition_point(|id| !span.contains(id) && before(span, id));
                let ids = ids.get(first..).unwrap_or_default();
                let count = ids.partition_point(|id| span.contains(id));
                Candidates::Ids(ids.get(..count).unwrap_or_default())
            }
            Plan::Index { prefixes, .. } => Candidates::Entries(
                prefixes
                    .iter()
                    .map(|prefix| Entries {
                        prefix_bytes: prefix.len(),
                        scan: scan(prefix),
                        next: None,
                        ended: false,
                    })
                    .collect(),
            ),
            Plan::Scan => Candidates::Documents(scan(&key::documents_prefix(self.collection))),
        }
    }
}

/// Whether an id that is not in the span lies before it.
fn before(span: &Span, id: &[u8]) -> bool {
    match &span.lower {
        Bound::Included(lower) => id < lower,
        Bound::Excluded(lower) => id <= lower,
        Bound::Unbounded => false,
    }
}

/// Ids of what may match, in order, each once.
enum Candidates<'p> {
    Ids(&'p [Bytes]),
    Entries(Vec<Entries>),
    Documents(Scan),
}

/// The entries of one value, which are in the order of their ids.
struct Entries {
    prefix_bytes: usize,
    scan: Scan,
    /// The id that the scan stands at.
    next: Option<Bytes>,
    ended: bool,
}

impl Entries {
    fn peek(&mut self) -> Result<Option<&Bytes>> {
        if self.next.is_none() && !self.ended {
            self.next = match self.scan.next() {
                Some(found) => {
                    let (mut id, _) = found?;
                    id.advance(self.prefix_bytes.min(id.len()));
                    Some(id)
                }
                None => None,
            };
            self.ended = self.next.is_none();
        }
        Ok(self.next.as_ref())
    }
}

impl Candidates<'_> {
    fn next(&mut self, direction: Direction) -> Result<Option<(Bytes, Option<Entry>)>> {
        match self {
            Candidates::Ids(ids) => {
                let split = match direction {
                    Direction::Ascending => ids.split_first(),
                    Direction::Descending => ids.split_last(),
                };
                Ok(split.map(|(id, rest)| {
                    let id = id.clone();
                    *ids = rest;
                    (id, None)
                }))
            }
            Candidates::Documents(scan) => scan.next().transpose()?.map_or(Ok(None), |found| {
                let (mut id, entry) = found;
                id.advance(key::DOCUMENT_PREFIX_BYTES.min(id.len()));
                Ok(Some((id, Some(entry))))
            }),
            Candidates::Entries(sources) if sources.len() == 1 => {
                let Some(source) = sources.first_mut() else {
                    return Ok(None);
                };
                source.peek()?;
                Ok(source.next.take().map(|id| (id, None)))
            }
            Candidates::Entries(sources) => {
                let mut nearest: Option<Bytes> = None;
                for source in sources.iter_mut() {
                    if let Some(id) = source.peek()? {
                        let nearer = nearest.as_ref().is_none_or(|best| match direction {
                            Direction::Ascending => id < best,
                            Direction::Descending => id > best,
                        });
                        if nearer {
                            nearest = Some(id.clone());
                        }
                    }
                }
                // A document may have several of the values.
                for source in sources.iter_mut() {
                    source.next.take_if(|id| nearest.as_ref() == Some(id));
                }
                Ok(nearest.map(|id| (id, None)))
            }
        }
    }
}

/// Bounds from cursors.
impl Span {
    /// Ids behind `id`, with it if `inclusive`.
    pub(crate) fn behind(id: &Bytes, inclusive: bool) -> Self {
        Span {
            lower: if inclusive {
                Bound::Included(id.clone())
            } else {
                Bound::Excluded(id.clone())
            },
            upper: Bound::Unbounded,
        }
    }

    /// Ids before `id`, with it if `inclusive`.
    pub(crate) fn before(id: &Bytes, inclusive: bool) -> Self {
        Span {
            lower: Bound::Unbounded,
            upper: if inclusive {
                Bound::Included(id.clone())
            } else {
                Bound::Excluded(id.clone())
            },
        }
    }
}
