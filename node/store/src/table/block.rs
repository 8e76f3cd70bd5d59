//! The content of a data block: entries in order, prefix-compressed, with restart points.
//!
//! ```text
//! entry, entry, …            ordered by key ascending, then by LSN descending
//! u32 × intervals            offset of the first entry of each interval; the first is 0
//! u32                        number of intervals, at least 1
//!
//! entry:
//!   varint  shared           bytes of the key taken from the key of the entry before; always the
//!                            longest common prefix, and 0 at the first entry of an interval
//!   varint  unshared         bytes of the key that follow here
//!   u8      kind             0 = tombstone, 1 = put
//!   varint  lsn
//!   varint  value length     only of a put
//!   bytes   key suffix, value
//! ```
//!
//! An interval holds 1 to 16 entries. That "shared" is the *longest* common prefix is what lets a
//! lookup compare keys without putting them together: an entry that shares more with its
//! predecessor than the wanted key does is on the same side as the predecessor, one that shares
//! less is beyond the wanted key.

use std::cmp::{Ordering, Reverse};

use bytes::Bytes;

use crate::codec::{self, DecodeError, Reader};
use crate::limits::{MAX_BLOCK_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES};
use crate::lsn::Lsn;
use crate::read::VersionedEntry;

#[cfg(test)]
mod tests;

/// Most entries of an interval.
pub(crate) const INTERVAL_ENTRIES: usize = 16;
/// Most bytes an entry takes beside its key suffix and value: four varints of which three are
/// lengths, the kind, and a restart offset.
pub(crate) const ENTRY_OVERHEAD_BYTES: usize = 3 * 5 + 1 + codec::MAX_VARINT_BYTES + 4;
const KIND_TOMBSTONE: u8 = 0;
const KIND_PUT: u8 = 1;
const OFFSET_BYTES: usize = 4;

const _: () =
    assert!(MAX_KEY_BYTES + MAX_VALUE_BYTES + ENTRY_OVERHEAD_BYTES + 4 <= MAX_BLOCK_BYTES);
const _: () = assert!(MAX_BLOCK_BYTES < u32::MAX as usize);

/// Length of the longest common prefix.
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Builds block after block.
#[derive(Debug, Default)]
pub(crate) struct BlockBuilder {
    bytes: Vec<u8>,
    restarts: Vec<u32>,
    in_interval: usize,
    last_key: Vec<u8>,
}

impl BlockBuilder {
    pub(crate) fn is_empty(&self) -> bool {
        self.restarts.is_empty()
    }

    /// Length of the finished block.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + (self.restarts.len() + 1) * OFFSET_BYTES
    }

    /// Adds an entry, which must come after the one before. The caller keeps the block below
    /// [`MAX_BLOCK_BYTES`].
    pub(crate) fn add(&mut self, key: &[u8], lsn: Lsn, value: Option<&[u8]>) {
        let shared = if self.in_interval == INTERVAL_ENTRIES || self.is_empty() {
            self.in_interval = 0;
            // Below 4 GiB, see the const assertion.
            self.restarts
                .push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
            0
        } else {
            common_prefix(&self.last_key, key)
        };
        self.in_interval += 1;
        let suffix = key.get(shared..).unwrap_or_default();
        codec::put_varint_len(&mut self.bytes, shared);
        codec::put_varint_len(&mut self.bytes, suffix.len());
        match value {
            None => {
                self.bytes.push(KIND_TOMBSTONE);
                codec::put_varint(&mut self.bytes, lsn.0);
                self.bytes.extend_from_slice(suffix);
            }
            Some(value) => {
                self.bytes.push(KIND_PUT);
                codec::put_varint(&mut self.bytes, lsn.0);
                codec::put_varint_len(&mut self.bytes, value.len());
                self.bytes.extend_from_slice(suffix);
                self.bytes.extend_from_slice(value);
            }
        }
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(suffix);
    }

    /// Closes the block and hands its bytes to `write`; the builder is empty afterwards.
    pub(crate) fn finish<T>(&mut self, write: impl FnOnce(&[u8]) -> T) -> T {
        for restart in &self.restarts {
            codec::put_u32(&mut self.bytes, *restart);
        }
        let intervals = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        codec::put_u32(&mut self.bytes, intervals);
        let result = write(&self.bytes);
        self.bytes.clear();
        self.restarts.clear();
        self.in_interval = 0;
        result
    }
}

/// What a lookup in one block found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The newest version at or below the LSN; `None` is a tombstone.
    Found(Lsn, Option<Bytes>),
    /// There is none in the table: a later key follows.
    Absent,
    /// The block ended before a later key: the next block may begin with the key.
    PastEnd,
}

struct RawEntry<'a> {
    shared: usize,
    suffix: &'a [u8],
    lsn: Lsn,
    /// Offset in the block and the bytes.
    value: Option<(usize, &'a [u8])>,
}

/// A decoded block. A clone shares the memory.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    data: Bytes,
    entries_end: usize,
    intervals: usize,
}

type Decoded<T> = Result<T, DecodeError>;

impl Block {
    /// Checks the frame of the block; entries are checked as they are read.
    pub(crate) fn new(data: Bytes) -> Decoded<Self> {
        let bad = DecodeError {
            offset: 0,
            what: "the restart points of a block do not fit into it",
        };
        let intervals = data
            .split_last_chunk::<OFFSET_BYTES>()
            .map(|(_, count)| u32::from_le_bytes(*count))
            .and_then(|count| usize::try_from(count).ok())
            .ok_or(bad)?;
        let entries_end = intervals
            .checked_add(1)
            .and_then(|offsets| offsets.checked_mul(OFFSET_BYTES))
            .and_then(|bytes| data.len().checked_sub(bytes))
            .ok_or(bad)?;
        let block = Self {
            data,
            entries_end,
            intervals,
        };
        if intervals == 0 || block.restart(0)? != 0 {
            return Err(bad);
        }
        Ok(block)
    }

    /// Bytes of memory it holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.data.len()
    }

    /// Number of intervals, at least 1.
    pub(crate) fn intervals(&self) -> usize {
        self.intervals
    }

    fn restart(&self, interval: usize) -> Decoded<usize> {
        let at = self.entries_end + interval * OFFSET_BYTES;
        let mut reader = Reader::new(&self.data);
        reader.take(at)?;
        let offset = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        if offset >= self.entries_end {
            return Err(reader.error("a restart point lies outside the entries"));
        }
        Ok(offset)
    }

    fn entries_from(&self, offset: usize, end: usize) -> Decoded<Reader<'_>> {
        let mut reader = Reader::new(self.data.get(..end).unwrap_or_default());
        reader.take(offset)?;
        Ok(reader)
    }

    fn entry<'a>(reader: &mut Reader<'a>) -> Decoded<RawEntry<'a>> {
        let shared = reader.varint_usize(MAX_KEY_BYTES)?;
        let unshared = reader.varint_usize(MAX_KEY_BYTES)?;
        if shared + unshared > MAX_KEY_BYTES {
            return Err(reader.error("a key is longer than its limit"));
        }
        let kind = reader.u8()?;
        let lsn = Lsn(reader.varint()?);
        let (suffix, value) = match kind {
            KIND_TOMBSTONE => (reader.take(unshared)?, None),
            KIND_PUT => {
                let len = reader.varint_usize(MAX_VALUE_BYTES)?;
                let suffix = reader.take(unshared)?;
                let offset = reader.offset();
                (suffix, Some((offset, reader.take(len)?)))
            }
            _ => return Err(reader.error("an entry is of a kind that this version does not know")),
        };
        Ok(RawEntry {
            shared,
            suffix,
            lsn,
            value,
        })
    }

    fn value(&self, raw: Option<(usize, &[u8])>) -> Option<Bytes> {
        // The range was taken out of these very bytes by a bounded reader.
        raw.map(|(offset, value)| self.data.slice(offset..offset + value.len()))
    }

    /// The last interval whose first entry satisfies `before`, which holds for a prefix of the
    /// intervals; the first interval if it holds for none.
    fn last_interval(&self, before: impl Fn(&[u8], Lsn) -> bool) -> Decoded<usize> {
        let (mut low, mut high) = (0, self.intervals);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut reader = self.entries_from(self.restart(middle)?, self.entries_end)?;
            let entry = Self::entry(&mut reader)?;
            if entry.shared != 0 {
                return Err(reader.error("the first entry of an interval shares a prefix"));
            }
            if before(entry.suffix, entry.lsn) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.saturating_sub(1))
    }

    /// The newest version of `key` at or below `lsn`.
    pub(crate) fn get(&self, key: &[u8], lsn: Lsn) -> Decoded<Lookup> {
        let interval = self.last_interval(|first_key, first_lsn| {
            (first_key, Reverse(first_lsn)) <= (key, Reverse(lsn))
        })?;
        let mut reader = self.entries_from(self.restart(interval)?, self.entries_end)?;
        // How much of `key` the entry before has in common with it; that entry is before the
        // wanted one.
        let mut matched = 0;
        while !reader.is_empty() {
            let entry = Self::entry(&mut reader)?;
            let order = if entry.shared == 0 {
                // Perhaps a new interval, where 0 says nothing about the common prefix.
                matched = common_prefix(entry.suffix, key);
                entry.suffix.cmp(key)
            } else {
                match entry.shared.cmp(&matched) {
                    Ordering::Greater => Ordering::Less,
                    Ordering::Less => Ordering::Greater,
                    Ordering::Equal => {
                        let rest = key.get(matched..).unwrap_or_default();
                        matched += common_prefix(entry.suffix, rest);
                        entry.suffix.cmp(rest)
                    }
                }
            };
            match order {
                Ordering::Less => {}
                Ordering::Greater => return Ok(Lookup::Absent),
                Ordering::Equal if entry.lsn <= lsn => {
                    return Ok(Lookup::Found(entry.lsn, self.value(entry.value)));
                }
                Ordering::Equal => {}
            }
        }
        Ok(Lookup::PastEnd)
    }

    /// The interval in which the first entry whose key is at or after `key` may be; if it is not
    /// there, it is the first of the next interval.
    pub(crate) fn interval_before(&self, key: &[u8]) -> Decoded<usize> {
        self.last_interval(|first, _| first < key)
    }

    /// The interval that holds the last entry whose key is at or before `key`, if there is one.
    pub(crate) fn interval_up_to(&self, key: &[u8]) -> Decoded<usize> {
        self.last_interval(|first, _| first <= key)
    }

    /// Replaces `entries` by the entries of an interval, ascending. Their keys share one
    /// allocation, their values are slices of the block.
    pub(crate) fn decode_interval(
        &self,
        interval: usize,
        entries: &mut Vec<VersionedEntry>,
    ) -> Decoded<()> {
        entries.clear();
        let start = self.restart(interval)?;
        let end = if interval + 1 < self.intervals {
            self.restart(interval + 1)?
        } else {
            self.entries_end
        };
        let mut reader = self.entries_from(start, end)?;
        let mut keys: Vec<u8> = Vec::new();
        let mut ranges = [(0usize, 0usize); INTERVAL_ENTRIES];
        let (mut last_start, mut last_end) = (0, 0);
        for range in &mut ranges {
            if reader.is_empty() {
                break;
            }
            let before = reader.clone();
            let entry = Self::entry(&mut reader)?;
            let last_key = keys.get(last_start..last_end).unwrap_or_default();
            let first = entries.is_empty();
            // In order, and sharing all there is to share: what lookups rely on.
            let in_order = match (last_key.get(entry.shared), entry.suffix.first()) {
                _ if first => entry.shared == 0,
                (_, _) if entry.shared > last_key.len() => false,
                (None, None) => entries.last().is_some_and(|last| last.lsn > entry.lsn),
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (Some(last), Some(next)) => last < next,
            };
            if !in_order {
                return Err(before.error("the entries of a block are not in order"));
            }
            // A further version of the same key shares its bytes.
            if first || !entry.suffix.is_empty() || entry.shared != last_key.len() {
                let key_start = keys.len();
                keys.extend_from_within(last_start..last_start + entry.shared);
                keys.extend_from_slice(entry.suffix);
                (last_start, last_end) = (key_start, keys.len());
            }
            *range = (last_start, last_end);
            entries.push(VersionedEntry {
                key: Bytes::new(),
                lsn: entry.lsn,
                value: self.value(entry.value),
            });
        }
        if !reader.is_empty() || entries.is_empty() {
            return Err(reader.error("an interval of a block has too many entries, or none"));
        }
        let keys = Bytes::from(keys);
        for (entry, (start, end)) in entries.iter_mut().zip(ranges) {
            entry.key = keys.slice(start..end);
        }
        Ok(())
    }
}
