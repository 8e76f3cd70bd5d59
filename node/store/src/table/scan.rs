//! Iteration over the entries of one table, in both directions.
//!
//! A reader's scan takes its blocks through the cache and adds them to it, but only the first
//! [`MAX_FILLS`]: a scan of a whole collection must not push out what lookups need. From there on,
//! and for compaction from the start, blocks are read past the cache, many in one read.

use std::fmt;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;

use super::block::Block;
use super::index::BlockHandle;
use super::reader::Table;
use crate::error::{Result, StoreError};
use crate::lsn::Lsn;
use crate::read::{Direction, Io, KeyRange, VersionedEntry};

/// Blocks that one scan puts into the cache at most.
pub(crate) const MAX_FILLS: usize = 64;
/// Bytes of one read past the cache; a larger block is read alone.
const READ_AHEAD_BYTES: u64 = 256 * 1024;

#[derive(Clone, Copy, Debug)]
enum Blocks {
    /// Through the cache, while `fills` lasts also into it.
    Cached { io: Io, fills: usize },
    /// Past the cache.
    Sequential,
}

/// The entries of a range of one table: keys in the order of the direction, and the versions of a
/// key newest first in [`Direction::Ascending`], oldest first in [`Direction::Descending`]. After
/// an error it ends.
pub(crate) struct TableScan {
    table: Arc<Table>,
    range: KeyRange,
    direction: Direction,
    source: Blocks,
    /// Blocks still to be loaded; the first and the last one of all may hold keys outside.
    blocks: Range<usize>,
    edges: (usize, usize),
    current: Option<CurrentBlock>,
    /// What an interval still yields, the next one last.
    entries: Vec<VersionedEntry>,
    /// Bytes read ahead and their offset in the file.
    ahead: (u64, Bytes),
    failed: bool,
}

struct CurrentBlock {
    handle: BlockHandle,
    block: Block,
    /// Intervals still to be decoded.
    intervals: Range<usize>,
    at_edge: bool,
}

impl Table {
    /// The versions of the keys in `range`.
    pub(crate) fn scan(
        self: &Arc<Self>,
        range: KeyRange,
        direction: Direction,
        io: Io,
    ) -> TableScan {
        let source = Blocks::Cached {
            io,
            fills: MAX_FILLS,
        };
        TableScan::new(Arc::clone(self), range, direction, source)
    }

    /// Everything, ascending, past the cache: for compaction and verification.
    pub(crate) fn scan_all(self: &Arc<Self>) -> TableScan {
        let range = KeyRange {
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
        };
        let source = Blocks::Sequential;
        TableScan::new(Arc::clone(self), range, Direction::Ascending, source)
    }
}

impl TableScan {
    fn new(table: Arc<Table>, range: KeyRange, direction: Direction, source: Blocks) -> Self {
        // The versions of a bound's key may go on over several blocks: an edge is the block where
        // what is inside of the range meets what is outside.
        let index = table.index();
        let first = match &range.lower {
            Bound::Unbounded => 0,
            Bound::Included(key) => index.find(key, Lsn::MAX),
            Bound::Excluded(key) => index.find(key, Lsn::ZERO),
        };
        let last = match &range.upper {
            Bound::Unbounded => index.len().saturating_sub(1),
            Bound::Included(key) => index.find(key, Lsn::ZERO),
            Bound::Excluded(key) => index.find(key, Lsn::MAX),
        };
        Self {
            table,
            range,
            direction,
            source,
            blocks: first..last + 1,
            edges: (first, last),
            current: None,
            entries: Vec::new(),
            ahead: (0, Bytes::new()),
            failed: false,
        }
    }

    /// Decodes the next interval that holds entries of the range; false at the end.
    fn refill(&mut self) -> Result<bool> {
        while self.entries.is_empty() {
            let Some(current) = &mut self.current else {
                if !self.next_block()? {
                    return Ok(false);
                }
                continue;
            };
            let interval = match self.direction {
                Direction::Ascending => current.intervals.next(),
                Direction::Descending => current.intervals.next_back(),
            };
            let Some(interval) = interval else {
                self.current = None;
                continue;
            };
            current
                .block
                .decode_interval(interval, &mut self.entries)
                .map_err(|error| self.table.bad_block(current.handle, error))?;
            if current.at_edge {
                let bounds = (self.range.lower.as_ref(), self.range.upper.as_ref());
                self.entries
                    .retain(|entry| RangeBounds::<Bytes>::contains(&bounds, &entry.key));
            }
            if self.direction == Direction::Ascending {
                self.entries.reverse();
            }
        }
        Ok(true)
    }

    fn next_block(&mut self) -> Result<bool> {
        let number = match self.direction {
            Direction::Ascending => self.blocks.next(),
            Direction::Descending => self.blocks.next_back(),
        };
        let Some((number, handle)) =
            number.and_then(|number| Some((number, self.table.index().handle(number)?)))
        else {
            return Ok(false);
        };
        let block = self.load(number, handle)?;
        let bad_block = |error| self.table.bad_block(handle, error);
        let (first, last) = self.edges;
        let start = match &self.range.lower {
            Bound::Included(key) | Bound::Excluded(key) if number == first => {
                block.interval_before(key).map_err(bad_block)?
            }
            _ => 0,
        };
        let end = match &self.range.upper {
            Bound::Included(key) | Bound::Excluded(key) if number == last => {
                block.interval_up_to(key).map_err(bad_block)? + 1
            }
            _ => block.intervals(),
        };
        self.current = Some(CurrentBlock {
            handle,
            block,
            intervals: start..end,
            at_edge: number == first || number == last,
        });
        Ok(true)
    }

    fn load(&mut self, number: usize, handle: BlockHandle) -> Result<Block> {
        match &mut self.source {
            Blocks::Cached { io, fills } if *fills > 0 => {
                *fills -= 1;
                return self.table.block(handle, *io);
            }
            Blocks::Cached { io, .. } => {
                if let Some(block) = self.table.cached_block(handle) {
                    return Ok(block);
                }
                if *io == Io::MemoryOnly {
                    return Err(StoreError::WouldBlock);
                }
            }
            Blocks::Sequential => {}
        }
        let stored = match self.read_ahead(handle) {
            Some(stored) => stored,
            None => {
                let (from, to) = self.window(number, handle);
                self.ahead = (from, self.table.read(from, to - from)?);
                self.read_ahead(handle).unwrap_or_default()
            }
        };
        self.table.decode_block(handle, &stored)
    }

    /// The section at `handle`, if it was read ahead.
    fn read_ahead(&self, handle: BlockHandle) -> Option<Bytes> {
        let (offset, bytes) = &self.ahead;
        let start = usize::try_from(handle.offset.checked_sub(*offset)?).ok()?;
        let end = start.checked_add(usize::try_from(handle.bytes).ok()?)?;
        (end <= bytes.len()).then(|| bytes.slice(start..end))
    }

    /// The bytes of the file to read for `handle` and, in the direction of the scan, for the
    /// blocks that it comes to after that.
    fn window(&self, number: usize, handle: BlockHandle) -> (u64, u64) {
        let end_of = |handle: BlockHandle| handle.offset + u64::from(handle.bytes);
        let (mut from, mut to) = (handle.offset, end_of(handle));
        let (first, last) = self.edges;
        let mut step = number;
        loop {
            let next = match self.direction {
                Direction::Ascending if step < last => step + 1,
                Direction::Descending if step > first => step - 1,
                _ => return (from, to),
            };
            let Some(handle) = self.table.index().handle(next) else {
                return (from, to);
            };
            let (wider_from, wider_to) = (from.min(handle.offset), to.max(end_of(handle)));
            if wider_to - wider_from > READ_AHEAD_BYTES {
                return (from, to);
            }
            (from, to, step) = (wider_from, wider_to, next);
        }
    }
}

impl Iterator for TableScan {
    type Item = Result<VersionedEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.entries.pop() {
            return Some(Ok(entry));
        }
        if self.failed {
            return None;
        }
        match self.refill() {
            Ok(_) => self.entries.pop().map(Ok),
            Err(error) => {
                self.failed = true;
                self.entries.clear();
                Some(Err(error))
            }
        }
    }
}

impl fmt::Debug for TableScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableScan")
            .field("table", &self.table.number())
            .field("range", &self.range)
            .field("direction", &self.direction)
            .finish_non_exhaustive()
    }
}
