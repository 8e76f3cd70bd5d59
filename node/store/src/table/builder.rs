//! Sorted entries in, one synced file out.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::block::{BlockBuilder, ENTRY_OVERHEAD_BYTES};
use super::filter::FilterBuilder;
use super::footer::{FOOTER_BYTES, Footer};
use super::index::IndexBuilder;
use super::section::{Place, Sealer};
use super::{TableMeta, file_name};
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Result, StoreError};
use crate::limits::{BLOCK_TARGET_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES};
use crate::lsn::Lsn;
use crate::read::VersionedEntry;

/// Bytes gathered for one write.
const WRITE_BYTES: usize = 256 * 1024;
/// Bytes written between two syncs. Small steps keep the sync of a large table from holding up the
/// sync of the log, on which committers wait.
const SYNC_STEP_BYTES: u64 = 4 * 1024 * 1024;

/// How a table is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableOptions {
    /// Uncompressed size at which a block is closed.
    pub(crate) block_bytes: usize,
    /// Size of the filter.
    pub(crate) filter_bits_per_key: u32,
    /// Whether blocks that shrink are compressed.
    pub(crate) compress: bool,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            block_bytes: BLOCK_TARGET_BYTES,
            filter_bits_per_key: 10,
            compress: true,
        }
    }
}

/// Builds one table. A builder that is dropped before [`TableBuilder::finish`] returned a table
/// removes its file.
pub(crate) struct TableBuilder {
    disk: Arc<dyn Disk>,
    file: Arc<dyn File>,
    path: PathBuf,
    finished: bool,
    options: TableOptions,
    number: u64,

    block: BlockBuilder,
    index: IndexBuilder,
    filter: FilterBuilder,
    sealer: Sealer,
    /// Not yet written; begins at `written`.
    pending: Vec<u8>,
    written: u64,
    synced: u64,
    body_checksum: crc32fast::Hasher,

    entries: u64,
    tombstones: u64,
    keys: u64,
    smallest: Bytes,
    last_key: Vec<u8>,
    last_lsn: Lsn,
    min_lsn: Lsn,
    max_lsn: Lsn,
}

impl TableBuilder {
    /// Makes the file of table `number` in `dir`.
    pub(crate) fn new(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        number: u64,
        options: TableOptions,
    ) -> Result<Self> {
        let path = dir.join(file_name(number));
        let file = disk
            .open(&path, OpenMode::Create)
            .map_err(|error| StoreError::io("create", &path, &error))?;
        Ok(Self {
            disk: Arc::clone(disk),
            file,
            path,
            finished: false,
            options,
            number,
            block: BlockBuilder::default(),
            index: IndexBuilder::default(),
            filter: FilterBuilder::new(options.filter_bits_per_key),
            sealer: Sealer::new(),
            pending: Vec::new(),
            written: 0,
            synced: 0,
            body_checksum: crc32fast::Hasher::new(),
            entries: 0,
            tombstones: 0,
            keys: 0,
            smallest: Bytes::new(),
            last_key: Vec::new(),
            last_lsn: Lsn::MAX,
            min_lsn: Lsn::MAX,
            max_lsn: Lsn::ZERO,
        })
    }

    /// Adds an entry. Entries come in order: key ascending, then LSN descending; each pair once.
    pub(crate) fn add(&mut self, entry: &VersionedEntry) -> Result<()> {
        let value_bytes = entry.value.as_ref().map_or(0, Bytes::len);
        check_size("key", entry.key.len(), MAX_KEY_BYTES)?;
        check_size("value", value_bytes, MAX_VALUE_BYTES)?;
        let key = entry.key.as_ref();
        let same_key = self.entries > 0 && self.last_key == key;
        if self.entries > 0 {
            let in_order = if same_key {
                self.last_lsn > entry.lsn
            } else {
                self.last_key.as_slice() < key
            };
            if !in_order {
                let detail = "the entries for a new table are not in order";
                return Err(StoreError::corrupt(&self.path, self.offset(), detail));
            }
        } else {
            self.smallest = entry.key.clone();
        }

        // The overhead is an upper bound, so a block ends up at most this large unless it holds
        // one entry only.
        let entry_bytes = key.len() + value_bytes + ENTRY_OVERHEAD_BYTES;
        if !self.block.is_empty() && self.block.len() + entry_bytes > self.options.block_bytes {
            self.end_block()?;
        }
        if self.block.is_empty() {
            let last_key = (self.entries > 0).then_some(self.last_key.as_slice());
            self.index.begin(last_key, (key, entry.lsn));
        }
        self.block.add(key, entry.lsn, entry.value.as_deref());
        if !same_key {
            self.filter.add(key);
            self.keys += 1;
            self.last_key.clear();
            self.last_key.extend_from_slice(key);
        }
        self.last_lsn = entry.lsn;
        self.entries += 1;
        self.tombstones += u64::from(entry.value.is_none());
        self.min_lsn = self.min_lsn.min(entry.lsn);
        self.max_lsn = self.max_lsn.max(entry.lsn);
        Ok(())
    }

    /// About the size of the file if it were finished now; the open block counts uncompressed.
    pub(crate) fn estimated_bytes(&self) -> u64 {
        let memory = self.block.len() + self.index.encoded_bytes() + FOOTER_BYTES;
        self.offset()
            .saturating_add(u64::try_from(memory).unwrap_or(u64::MAX))
            .saturating_add(self.filter.encoded_bytes())
    }

    /// Writes what is left and syncs the file. `None` if no entry was added: no file is left then.
    ///
    /// The *name* of the file is durable only after the caller synced the directory, which it does
    /// once for all tables of a checkpoint or compaction, before the manifest names them.
    pub(crate) fn finish(mut self) -> Result<Option<TableMeta>> {
        if self.entries == 0 {
            return Ok(None);
        }
        self.end_block()?;
        let filter_offset = self.offset();
        let filter = self.filter.encode();
        self.put_section(&filter, false)?;
        let index_offset = self.offset();
        let index = self.index.encode(&self.last_key);
        self.put_section(&index, false)?;
        let file_bytes = self.offset() + FOOTER_BYTES as u64;
        self.write_pending()?;
        let footer = Footer {
            number: self.number,
            entries: self.entries,
            tombstones: self.tombstones,
            keys: self.keys,
            min_lsn: self.min_lsn,
            max_lsn: self.max_lsn,
            filter_offset,
            index_offset,
            file_bytes,
            body_checksum: self.body_checksum.clone().finalize(),
        };
        let checksum = footer.encode(&mut self.pending);
        self.write_pending()?;
        self.sync()?;
        self.finished = true;
        Ok(Some(TableMeta {
            number: self.number,
            bytes: file_bytes,
            checksum,
            entries: self.entries,
            tombstones: self.tombstones,
            keys: self.keys,
            smallest: self.smallest.clone(),
            largest: Bytes::copy_from_slice(&self.last_key),
            min_lsn: self.min_lsn,
            max_lsn: self.max_lsn,
        }))
    }

    fn offset(&self) -> u64 {
        self.written + u64::try_from(self.pending.len()).unwrap_or(u64::MAX)
    }

    fn place(&self) -> Place {
        Place {
            table: self.number,
            offset: self.offset(),
        }
    }

    fn end_block(&mut self) -> Result<()> {
        let place = self.place();
        let compress = self.options.compress;
        let (sealer, pending) = (&mut self.sealer, &mut self.pending);
        let section_bytes = self
            .block
            .finish(|content| sealer.seal(content, compress, place, pending))?;
        self.index.end(section_bytes);
        self.write_if_full()
    }

    fn put_section(&mut self, content: &[u8], compress: bool) -> Result<()> {
        let place = self.place();
        self.sealer
            .seal(content, compress, place, &mut self.pending)?;
        self.write_if_full()
    }

    fn write_if_full(&mut self) -> Result<()> {
        if self.pending.len() < WRITE_BYTES {
            return Ok(());
        }
        self.write_pending()?;
        if self.written - self.synced >= SYNC_STEP_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    fn write_pending(&mut self) -> Result<()> {
        self.file
            .write_all_at(&self.pending, self.written)
            .map_err(|error| StoreError::io("write", &self.path, &error))?;
        self.body_checksum.update(&self.pending);
        self.written = self.offset();
        self.pending.clear();
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.file
            .sync_data()
            .map_err(|error| StoreError::io("sync", &self.path, &error))?;
        self.synced = self.written;
        Ok(())
    }
}

fn check_size(what: &'static str, bytes: usize, limit: usize) -> Result<()> {
    if bytes <= limit {
        return Ok(());
    }
    Err(StoreError::TooLarge {
        what,
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        limit_bytes: u64::try_from(limit).unwrap_or(u64::MAX),
    })
}

impl Drop for TableBuilder {
    fn drop(&mut self) {
        if !self.finished {
            // What stays behind when this fails is swept at the next open: no manifest names it.
            let _ = self.disk.remove(&self.path);
        }
    }
}

impl fmt::Debug for TableBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableBuilder")
            .field("path", &self.path)
            .field("entries", &self.entries)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}
