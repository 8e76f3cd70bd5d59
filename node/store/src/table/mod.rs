//! Sorted tables: immutable files of versions in key order, written by a checkpoint or a
//! compaction, named by the manifest.
//!
//! ```text
//! table-0000000017.sst
//!
//! section  data block 0         see [`section`] for the frame, [`block`] for the content
//! section  data block 1         …
//! section  filter               see [`filter`]; never compressed
//! section  index                see [`index`]; never compressed
//! 96 bytes footer               see [`footer`]
//! ```
//!
//! Sections follow each other without gaps, so each byte of the file is covered by a checksum: the
//! one of its section, which every read from disk verifies, and the one of the whole body, which
//! [`Table::verify`] checks. The footer's checksum covers the body's, and stands in the manifest
//! ([`TableMeta::checksum`]): a file that is not exactly the one that was written is not opened.
//!
//! A table is written once and never changed. Its name is durable only after the caller synced the
//! directory; until the manifest names it, it is a leftover that recovery sweeps.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::codec::{self, DecodeError, Reader};
use crate::limits::MAX_KEY_BYTES;
use crate::lsn::Lsn;

pub(crate) mod block;
pub(crate) mod builder;
pub(crate) mod cache;
pub(crate) mod filter;
pub(crate) mod footer;
pub(crate) mod index;
pub(crate) mod levels;
pub(crate) mod reader;
pub(crate) mod scan;
pub(crate) mod section;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use builder::{TableBuilder, TableOptions};
pub(crate) use cache::BlockCache;
pub(crate) use levels::Levels;
pub(crate) use reader::{RecentBlock, Table};

/// What the manifest knows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableMeta {
    /// Its number, which never repeats within a store.
    pub(crate) number: u64,
    /// Size of the file.
    pub(crate) bytes: u64,
    /// Checksum of the footer, which contains the checksum of everything before it.
    pub(crate) checksum: u32,
    /// Versions in it, tombstones included; at least one.
    pub(crate) entries: u64,
    /// Tombstones among them.
    pub(crate) tombstones: u64,
    /// Distinct keys; the other entries are older versions.
    pub(crate) keys: u64,
    /// Key of the first entry.
    pub(crate) smallest: Bytes,
    /// Key of the last entry.
    pub(crate) largest: Bytes,
    /// Smallest LSN of an entry.
    pub(crate) min_lsn: Lsn,
    /// Largest LSN of an entry.
    pub(crate) max_lsn: Lsn,
}

impl TableMeta {
    /// Appends the form in which the manifest keeps it, which has no checksum of its own:
    ///
    /// ```text
    /// varint number, varint bytes, u32 checksum, varint entries, varint tombstones,
    /// varint keys, varint min_lsn, varint max_lsn,
    /// (varint length, bytes) smallest, (varint length, bytes) largest
    /// ```
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        codec::put_varint(out, self.number);
        codec::put_varint(out, self.bytes);
        codec::put_u32(out, self.checksum);
        codec::put_varint(out, self.entries);
        codec::put_varint(out, self.tombstones);
        codec::put_varint(out, self.keys);
        codec::put_varint(out, self.min_lsn.0);
        codec::put_varint(out, self.max_lsn.0);
        codec::put_length_prefixed(out, &self.smallest);
        codec::put_length_prefixed(out, &self.largest);
    }

    /// Reads what [`TableMeta::encode`] wrote.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.clone();
        let meta = Self {
            number: reader.varint()?,
            bytes: reader.varint()?,
            checksum: reader.u32()?,
            entries: reader.varint()?,
            tombstones: reader.varint()?,
            keys: reader.varint()?,
            min_lsn: Lsn(reader.varint()?),
            max_lsn: Lsn(reader.varint()?),
            smallest: Bytes::copy_from_slice(reader.length_prefixed(MAX_KEY_BYTES)?),
            largest: Bytes::copy_from_slice(reader.length_prefixed(MAX_KEY_BYTES)?),
        };
        if meta.entries == 0
            || meta.tombstones > meta.entries
            || !(1..=meta.entries).contains(&meta.keys)
            || meta.min_lsn > meta.max_lsn
            || meta.smallest > meta.largest
        {
            return Err(start.error("the description of a table contradicts itself"));
        }
        Ok(meta)
    }

    /// Where the file is.
    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(file_name(self.number))
    }

    /// Whether a key between `smallest` and `largest`, both included, may be in the table.
    pub(crate) fn overlaps(&self, smallest: &[u8], largest: &[u8]) -> bool {
        self.smallest.as_ref() <= largest && smallest <= self.largest.as_ref()
    }
}

/// Name of the file of a table.
pub(crate) fn file_name(number: u64) -> String {
    format!("table-{number:010}.sst")
}

/// The number of the table with this file name; `None` if it is not one.
pub(crate) fn parse_file_name(name: &str) -> Option<u64> {
    let number = name.strip_prefix("table-")?.strip_suffix(".sst")?;
    let number = number.parse().ok()?;
    // One name for a number: no sign, no other zeros.
    (file_name(number) == name).then_some(number)
}
