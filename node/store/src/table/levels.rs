//! All tables of one state of the store, by level.
//!
//! Level 0 holds what checkpoints wrote, newest first; its tables overlap. From level 1 on the
//! tables of a level are in key order and no key is in two of them. For one key, every version in
//! a newer table of level 0 is newer than those in an older one, and every version in a level is
//! newer than those in a deeper one: so a lookup may stop at the first table that answers.

use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::Bytes;

use super::filter::KeyHash;
use super::reader::{RecentBlock, Table};
use super::scan::TableScan;
use crate::error::Result;
use crate::lsn::Lsn;
use crate::read::{Direction, Io, KeyRange, Source, VersionedEntry};

/// Most levels. The deepest one has no target size.
pub(crate) const MAX_LEVELS: usize = 7;

/// Tables that cannot form levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LevelsError {
    /// There are more than [`MAX_LEVELS`].
    #[error("there are {found} levels, more than {MAX_LEVELS}")]
    TooManyLevels {
        /// How many.
        found: usize,
    },
    /// A table that was compacted is not there any more.
    #[error("table {number} is not among the levels")]
    Gone {
        /// Number of the table.
        number: u64,
    },
    /// Two neighbours of a level from 1 on overlap, or are in the wrong order.
    #[error("tables {left} and {right} of level {level} overlap")]
    Overlap {
        /// The level.
        level: usize,
        /// Number of a table.
        left: u64,
        /// Number of the table after it.
        right: u64,
    },
}

/// The tables, by level. Immutable: a change makes a new one that shares the tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Levels {
    levels: Vec<Vec<Arc<Table>>>,
}

impl Levels {
    /// Checks and takes levels: level 0 newest first, the others in key order.
    pub(crate) fn new(mut levels: Vec<Vec<Arc<Table>>>) -> Result<Self, LevelsError> {
        while levels.last().is_some_and(Vec::is_empty) {
            levels.pop();
        }
        if levels.len() > MAX_LEVELS {
            let found = levels.len();
            return Err(LevelsError::TooManyLevels { found });
        }
        for (level, tables) in levels.iter().enumerate().skip(1) {
            for (left, right) in tables.iter().zip(tables.iter().skip(1)) {
                if left.meta().largest >= right.meta().smallest {
                    return Err(LevelsError::Overlap {
                        level,
                        left: left.number(),
                        right: right.number(),
                    });
                }
            }
        }
        Ok(Self { levels })
    }

    /// The same with `table`, written by a checkpoint and newer than all others, in level 0.
    #[must_use]
    pub(crate) fn with_checkpoint(&self, table: Arc<Table>) -> Self {
        let mut levels = self.levels.clone();
        match levels.first_mut() {
            Some(newest_first) => newest_first.insert(0, table),
            None => levels.push(vec![table]),
        }
        Self { levels }
    }

    /// The tables of a level; none for a level that does not exist.
    pub(crate) fn level(&self, level: usize) -> &[Arc<Table>] {
        self.levels.get(level).map_or(&[], Vec::as_slice)
    }

    /// Number of levels down to the deepest one that holds a table.
    pub(crate) fn len(&self) -> usize {
        self.levels.len()
    }

    /// The levels, 0 first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[Arc<Table>]> {
        self.levels.iter().map(Vec::as_slice)
    }

    /// All tables.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.levels.iter().flatten()
    }

    /// Bytes of the files of a level.
    pub(crate) fn level_bytes(&self, level: usize) -> u64 {
        total_bytes(self.level(level))
    }

    /// Bytes of memory that indexes and filters hold.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.tables().map(|table| table.memory_bytes()).sum()
    }

    /// The tables of a level from 1 on that hold keys from `smallest` to `largest`.
    pub(crate) fn overlapping(
        &self,
        level: usize,
        smallest: &[u8],
        largest: &[u8],
    ) -> Range<usize> {
        let tables = self.level(level);
        let start = tables.partition_point(|table| table.meta().largest.as_ref() < smallest);
        let end = tables.partition_point(|table| table.meta().smallest.as_ref() <= largest);
        start..end.max(start)
    }

    /// The tables that may hold `key`, the one with the newest versions first.
    pub(crate) fn candidates<'a>(
        &'a self,
        key: &'a [u8],
    ) -> impl Iterator<Item = &'a Arc<Table>> + 'a {
        let newest = self.level(0).iter();
        let deeper = (1..self.levels.len()).filter_map(move |level| {
            let tables = self.level(level);
            let at = tables.partition_point(|table| table.meta().largest.as_ref() < key);
            tables.get(at)
        });
        newest
            .chain(deeper)
            .filter(move |table| table.meta().overlaps(key, key))
    }

    /// The newest version of `key` at or below `lsn`; its value is `None` if it is a tombstone.
    pub(crate) fn get(&self, key: &[u8], lsn: Lsn, io: Io) -> Result<Option<(Lsn, Option<Bytes>)>> {
        self.get_near(key, lsn, io, &mut None)
    }

    /// The same, by the block that the last lookup ended in if it is in that.
    pub(crate) fn get_near(
        &self,
        key: &[u8],
        lsn: Lsn,
        io: Io,
        recent: &mut Option<RecentBlock>,
    ) -> Result<Option<(Lsn, Option<Bytes>)>> {
        let hash = KeyHash::of(key);
        for table in self.candidates(key) {
            if let Some(found) = table.get(key, hash, lsn, io, recent)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Appends one source for each table of level 0 and one for each other level, newest first.
    pub(crate) fn scan(
        self: &Arc<Self>,
        range: &KeyRange,
        direction: Direction,
        io: Io,
        sources: &mut Vec<Source>,
    ) {
        for table in self.level(0) {
            if in_range(table, range) {
                sources.push(Box::new(table.scan(range.clone(), direction, io)));
            }
        }
        for level in 1..self.levels.len() {
            let tables = self.level(level);
            let start = tables.partition_point(|table| is_before(table, range));
            let end = tables.partition_point(|table| !is_behind(table, range));
            if start < end {
                sources.push(Box::new(LevelScan {
                    levels: Arc::clone(self),
                    level,
                    tables: start..end,
                    range: range.clone(),
                    direction,
                    io,
                    current: None,
                }));
            }
        }
    }
}

/// Bytes of the files of tables.
pub(crate) fn total_bytes(tables: &[Arc<Table>]) -> u64 {
    tables.iter().map(|table| table.meta().bytes).sum()
}

/// Whether all keys of the table are before the range.
fn is_before(table: &Table, range: &KeyRange) -> bool {
    match &range.lower {
        Bound::Unbounded => false,
        Bound::Included(key) => table.meta().largest < key,
        Bound::Excluded(key) => table.meta().largest <= key,
    }
}

/// Whether all keys of the table are behind the range.
fn is_behind(table: &Table, range: &KeyRange) -> bool {
    match &range.upper {
        Bound::Unbounded => false,
        Bound::Included(key) => table.meta().smallest > key,
        Bound::Excluded(key) => table.meta().smallest >= key,
    }
}

fn in_range(table: &Table, range: &KeyRange) -> bool {
    !is_before(table, range) && !is_behind(table, range)
}

/// One level from 1 on, table after table; a table is touched when the scan comes to it.
struct LevelScan {
    levels: Arc<Levels>,
    level: usize,
    tables: Range<usize>,
    range: KeyRange,
    direction: Direction,
    io: Io,
    current: Option<TableScan>,
}

impl Iterator for LevelScan {
    type Item = Result<VersionedEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(current) = &mut self.current {
                match current.next() {
                    None => self.current = None,
                    Some(Err(error)) => {
                        // What follows must not look as if nothing were missing.
                        self.tables = 0..0;
                        self.current = None;
                        return Some(Err(error));
                    }
                    entry => return entry,
                }
            }
            let next = match self.direction {
                Direction::Ascending => self.tables.next(),
                Direction::Descending => self.tables.next_back(),
            };
            let table = self.levels.level(self.level).get(next?)?;
            self.current = Some(table.scan(self.range.clone(), self.direction, self.io));
        }
    }
}
