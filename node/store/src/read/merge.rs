//! Merging sorted sources, and what a reader sees of the merge.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fmt;

use bytes::Bytes;

use crate::error::Result;
use crate::lsn::Lsn;
use crate::read::{Direction, Source, VersionedEntry};

#[cfg(test)]
mod tests;

/// All entries of several sources as one source. Of two entries with the same key and LSN the one
/// of the earlier source comes first in [`Direction::Ascending`]. After an error it ends.
pub(crate) struct Merge {
    direction: Direction,
    state: State,
}

enum State {
    /// One source needs no comparisons.
    One(Source),
    /// The sources that are not at their end, by their next entry.
    Many(BinaryHeap<Head>),
    /// The first entries are fetched by the first call, not by the constructor, so that making a
    /// scan costs no I/O.
    Unstarted(Vec<Source>),
    Ended,
}

struct Head {
    entry: VersionedEntry,
    /// Position among the sources given.
    rank: usize,
    direction: Direction,
    rest: Source,
}

impl Head {
    fn ascending(&self, other: &Self) -> Ordering {
        let entry = &self.entry;
        (&entry.key, Reverse(entry.lsn), self.rank).cmp(&(
            &other.entry.key,
            Reverse(other.entry.lsn),
            other.rank,
        ))
    }
}

impl Ord for Head {
    /// The heap yields its greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        match self.direction {
            Direction::Ascending => other.ascending(self),
            Direction::Descending => self.ascending(other),
        }
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl Merge {
    /// Merges `sources`, each sorted in `direction`.
    pub(crate) fn new(mut sources: Vec<Source>, direction: Direction) -> Self {
        let state = match sources.len() {
            0 => State::Ended,
            1 => sources.pop().map_or(State::Ended, State::One),
            _ => State::Unstarted(sources),
        };
        Self { direction, state }
    }

    fn start(&mut self, sources: Vec<Source>) -> Result<()> {
        let mut heads = Vec::with_capacity(sources.len());
        for (rank, mut rest) in sources.into_iter().enumerate() {
            if let Some(entry) = rest.next() {
                heads.push(Head {
                    entry: entry?,
                    rank,
                    direction: self.direction,
                    rest,
                });
            }
        }
        self.state = State::Many(BinaryHeap::from(heads));
        Ok(())
    }

    fn step(&mut self) -> Result<Option<VersionedEntry>> {
        match &mut self.state {
            State::One(source) => source.next().transpose(),
            State::Many(heads) => {
                let Some(mut head) = heads.peek_mut() else {
                    return Ok(None);
                };
                match head.rest.next() {
                    Some(next) => Ok(Some(std::mem::replace(&mut head.entry, next?))),
                    None => Ok(Some(PeekMut::pop(head).entry)),
                }
            }
            State::Unstarted(sources) => {
                let sources = std::mem::take(sources);
                self.start(sources)?;
                self.step()
            }
            State::Ended => Ok(None),
        }
    }
}

impl Iterator for Merge {
    type Item = Result<VersionedEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.step().transpose();
        if !matches!(result, Some(Ok(_))) {
            self.state = State::Ended;
        }
        result
    }
}

impl fmt::Debug for Merge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merge")
            .field("direction", &self.direction)
            .finish_non_exhaustive()
    }
}

/// What a reader at `lsn` sees of several sources: of each key the newest version at or below it,
/// and no key where that is a tombstone. After an error it ends.
#[derive(Debug)]
pub(crate) struct VisibleScan {
    merge: Merge,
    lsn: Lsn,
    /// Ascending: the key that was decided, of which older versions follow. Descending: the newest
    /// visible version so far of the key that is being read.
    pending: Option<VersionedEntry>,
}

impl VisibleScan {
    /// Reads `sources`, each sorted in `direction`, the newest first.
    pub(crate) fn new(sources: Vec<Source>, direction: Direction, lsn: Lsn) -> Self {
        Self {
            merge: Merge::new(sources, direction),
            lsn,
            pending: None,
        }
    }

    fn next_ascending(&mut self) -> Result<Option<(Bytes, Lsn, Bytes)>> {
        while let Some(entry) = self.merge.next().transpose()? {
            if entry.lsn > self.lsn
                || self
                    .pending
                    .as_ref()
                    .is_some_and(|decided| decided.key == entry.key)
            {
                continue;
            }
            let VersionedEntry { key, lsn, value } = entry;
            self.pending = Some(VersionedEntry {
                key: key.clone(),
                lsn,
                value: None,
            });
            if let Some(value) = value {
                return Ok(Some((key, lsn, value)));
            }
        }
        Ok(None)
    }

    fn next_descending(&mut self) -> Result<Option<(Bytes, Lsn, Bytes)>> {
        loop {
            let entry = self.merge.next().transpose()?;
            let candidate = match &entry {
                Some(entry) if entry.lsn > self.lsn => continue,
                Some(entry) if self.pending.as_ref().is_some_and(|p| p.key == entry.key) => None,
                // The first of another key, or the end: the candidate stands.
                _ => self.pending.take(),
            };
            let at_end = entry.is_none();
            self.pending = entry;
            if let Some(VersionedEntry {
                key,
                lsn,
                value: Some(value),
            }) = candidate
            {
                return Ok(Some((key, lsn, value)));
            }
            if at_end {
                return Ok(None);
            }
        }
    }
}

impl Iterator for VisibleScan {
    type Item = Result<(Bytes, Lsn, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = match self.merge.direction {
            Direction::Ascending => self.next_ascending(),
            Direction::Descending => self.next_descending(),
        };
        if result.is_err() {
            self.pending = None;
        }
        result.transpose()
    }
}
