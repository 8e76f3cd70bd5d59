//! The block index of a table, held in memory while the table is open.
//!
//! ```text
//! varint  number of data blocks, at least 1
//! for each block:
//!   varint  length of its section; it begins where the one before ends, the first at 0
//!   varint  LSN of the separator plus 1, or 0 for "all versions of the key"
//!   varint  length of the key, then the key of the separator
//! varint  length of the largest key of the table, then that key
//! ```
//!
//! The separator of a block is at or before its first entry and after the last entry of the block
//! before (in the order of entries: key ascending, LSN descending). It is the shortest prefix of
//! the first key that is after the last key of the block before; only where a key's versions go on
//! from one block to the next is it that key with the LSN of the first entry. The separator of the
//! first block is the smallest key of the table.

use std::cmp::Reverse;

use bytes::Bytes;

use super::block::common_prefix;
use super::section;
use crate::codec::{self, DecodeError, Reader};
use crate::limits::{MAX_BLOCK_BYTES, MAX_KEY_BYTES};
use crate::lsn::Lsn;

/// Least bytes of an encoded block: three varints.
const MIN_BLOCK_BYTES: usize = 3;

/// Gathers blocks.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    blocks: Vec<u8>,
    count: u64,
    separator: Vec<u8>,
    separator_lsn: Lsn,
}

impl IndexBuilder {
    /// Notes that a block begins with `first`; `last_key` is the last key of the block before.
    pub(crate) fn begin(&mut self, last_key: Option<&[u8]>, first: (&[u8], Lsn)) {
        let (key, lsn) = first;
        self.separator.clear();
        self.separator_lsn = Lsn::MAX;
        match last_key {
            None => self.separator.extend_from_slice(key),
            Some(last) if last == key => {
                self.separator.extend_from_slice(key);
                self.separator_lsn = lsn;
            }
            Some(last) => {
                let len = common_prefix(last, key) + 1;
                self.separator
                    .extend_from_slice(key.get(..len).unwrap_or(key));
            }
        }
    }

    /// Notes that the block begun last became a section of `section_bytes`.
    pub(crate) fn end(&mut self, section_bytes: u32) {
        self.count += 1;
        codec::put_varint(&mut self.blocks, u64::from(section_bytes));
        codec::put_varint(&mut self.blocks, self.separator_lsn.0.wrapping_add(1));
        codec::put_length_prefixed(&mut self.blocks, &self.separator);
    }

    /// About the length of the encoded index.
    pub(crate) fn encoded_bytes(&self) -> usize {
        self.blocks.len() + 2 * codec::MAX_VARINT_BYTES
    }

    pub(crate) fn encode(&self, largest: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_bytes() + largest.len());
        codec::put_varint(&mut out, self.count);
        out.extend_from_slice(&self.blocks);
        codec::put_length_prefixed(&mut out, largest);
        out
    }
}

/// Where a data block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHandle {
    /// Offset of its section in the file.
    pub(crate) offset: u64,
    /// Length of its section.
    pub(crate) bytes: u32,
}

#[derive(Clone, Copy, Debug)]
struct IndexEntry {
    offset: u64,
    bytes: u32,
    key_start: u32,
    key_len: u32,
    lsn: Lsn,
}

/// The index in memory.
#[derive(Debug)]
pub(crate) struct Index {
    content: Bytes,
    entries: Vec<IndexEntry>,
    largest: Bytes,
}

impl Index {
    /// Decodes an index; the sections it names must fill the file up to `data_end` exactly.
    pub(crate) fn decode(content: &Bytes, data_end: u64) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(content);
        let count = reader.count(MIN_BLOCK_BYTES)?;
        if count == 0 {
            return Err(reader.error("an index names no block"));
        }
        let mut index = Self {
            content: content.clone(),
            entries: Vec::with_capacity(count),
            largest: Bytes::new(),
        };
        let mut offset = 0u64;
        for _ in 0..count {
            let start = reader.clone();
            let bytes =
                u32::try_from(reader.varint_usize(MAX_BLOCK_BYTES + section::HEADER_BYTES)?)
                    .unwrap_or(u32::MAX);
            let lsn = Lsn(reader.varint()?.wrapping_sub(1));
            let key = reader.length_prefixed(MAX_KEY_BYTES)?;
            let too_long = start.error("an index is longer than its limit");
            let key_end = u32::try_from(reader.offset()).map_err(|_| too_long)?;
            let key_len = u32::try_from(key.len()).map_err(|_| too_long)?;
            if let Some(last) = index.entries.last()
                && (index.key_of(last), Reverse(last.lsn)) >= (key, Reverse(lsn))
            {
                return Err(start.error("the blocks of an index are not in order"));
            }
            index.entries.push(IndexEntry {
                offset,
                bytes,
                key_start: key_end - key_len,
                key_len,
                lsn,
            });
            offset += u64::from(bytes);
            if offset > data_end {
                return Err(start.error("a block lies outside the data of the file"));
            }
        }
        let largest = reader.length_prefixed(MAX_KEY_BYTES)?;
        index.largest = content.slice_ref(largest);
        if offset != data_end {
            return Err(reader.error("the blocks of an index do not fill the data of the file"));
        }
        reader.finish()?;
        Ok(index)
    }

    fn key_of(&self, entry: &IndexEntry) -> &[u8] {
        let start = usize::try_from(entry.key_start).unwrap_or(usize::MAX);
        let len = usize::try_from(entry.key_len).unwrap_or(usize::MAX);
        self.content
            .get(start..start.saturating_add(len))
            .unwrap_or_default()
    }

    /// Number of data blocks, at least 1.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Where a block is; `None` behind the last one.
    pub(crate) fn handle(&self, block: usize) -> Option<BlockHandle> {
        self.entries.get(block).map(|entry| BlockHandle {
            offset: entry.offset,
            bytes: entry.bytes,
        })
    }

    /// The only block that may hold the first entry at or after (`key`, `lsn`), unless that entry
    /// is the first of the block that follows; the first block if all entries are after it.
    pub(crate) fn find(&self, key: &[u8], lsn: Lsn) -> usize {
        self.entries
            .partition_point(|entry| {
                (self.key_of(entry), Reverse(entry.lsn)) <= (key, Reverse(lsn))
            })
            .saturating_sub(1)
    }

    /// Whether a block begins with a further version of `key`.
    pub(crate) fn continues(&self, block: usize, key: &[u8]) -> bool {
        self.entries
            .get(block)
            .is_some_and(|entry| entry.lsn != Lsn::MAX && self.key_of(entry) == key)
    }

    pub(crate) fn smallest(&self) -> &[u8] {
        self.entries.first().map_or(&[], |entry| self.key_of(entry))
    }

    pub(crate) fn largest(&self) -> &[u8] {
        &self.largest
    }

    /// Bytes of memory it holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.content.len() + self.entries.capacity() * size_of::<IndexEntry>()
    }
}
