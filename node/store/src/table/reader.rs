//! An open table: lookups and what scans need. Scans are in [`super::scan`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::block::{Block, Lookup};
use super::filter::{Filter, KeyHash};
use super::footer::{FOOTER_BYTES, Footer};
use super::index::{BlockHandle, Index};
use super::section::{self, Place};
use super::{BlockCache, TableMeta};
use crate::codec::DecodeError;
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Result, StoreError};
use crate::limits::MAX_BLOCK_BYTES;
use crate::lsn::Lsn;
use crate::read::{Io, VersionedEntry};

/// Bytes that [`Table::verify`] reads at once.
const VERIFY_STEP_BYTES: u64 = 256 * 1024;

/// The block that a lookup ended in, for the next one.
#[derive(Debug)]
pub(crate) struct RecentBlock {
    /// Number of the table, offset of the block.
    at: (u64, u64),
    block: Block,
}

/// An open table. Index and filter are in memory, blocks come through the cache.
pub(crate) struct Table {
    disk: Arc<dyn Disk>,
    file: Arc<dyn File>,
    path: PathBuf,
    meta: TableMeta,
    footer: Footer,
    index: Index,
    filter: Filter,
    cache: Arc<BlockCache>,
    obsolete: AtomicBool,
}

impl Table {
    /// Opens the table that `meta` describes and checks everything but its data blocks: size,
    /// footer, filter, index. What does not match is [`StoreError::Corrupt`].
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        meta: &TableMeta,
        cache: Arc<BlockCache>,
    ) -> Result<Arc<Self>> {
        Self::open_file(disk, meta.path(dir), meta, cache)
    }

    /// As [`Table::open`], under another name than the store's own.
    pub(crate) fn open_file(
        disk: &Arc<dyn Disk>,
        path: PathBuf,
        meta: &TableMeta,
        cache: Arc<BlockCache>,
    ) -> Result<Arc<Self>> {
        let file = match disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let detail = "the file is missing, but the manifest names it";
                return Err(StoreError::corrupt(&path, 0, detail));
            }
            Err(error) => return Err(StoreError::io("open", &path, &error)),
        };
        let len = file
            .len()
            .map_err(|error| StoreError::io("measure", &path, &error))?;
        if len != meta.bytes {
            let detail = format!("the file has {len} bytes, the manifest says {}", meta.bytes);
            return Err(StoreError::corrupt(&path, len.min(meta.bytes), detail));
        }
        let Some(footer_at) = len.checked_sub(FOOTER_BYTES as u64) else {
            return Err(StoreError::corrupt(
                &path,
                0,
                "the file is shorter than a footer",
            ));
        };
        let bytes = read(&*file, &path, footer_at, FOOTER_BYTES as u64)?;
        let (footer, checksum) = Footer::decode(&bytes, &path, footer_at)?;
        if checksum != meta.checksum
            || footer.number != meta.number
            || footer.file_bytes != meta.bytes
            || footer.entries != meta.entries
            || footer.tombstones != meta.tombstones
            || footer.keys != meta.keys
            || (footer.min_lsn, footer.max_lsn) != (meta.min_lsn, meta.max_lsn)
        {
            let detail = "the footer is not that of the table that the manifest names";
            return Err(StoreError::corrupt(&path, footer_at, detail));
        }
        let content = |from: u64, to: u64| {
            let stored = read(&*file, &path, from, to - from)?;
            // Filter and index are not compressed, so they are not longer than what was read.
            open_section(&stored, meta.number, from, stored.len())
                .map_err(|error| error.in_file(&path, from))
        };
        let filter = Filter::decode(&content(footer.filter_offset, footer.index_offset)?)
            .map_err(|error| error.in_file(&path, footer.filter_offset))?;
        let index = Index::decode(
            &content(footer.index_offset, footer_at)?,
            footer.filter_offset,
        )
        .map_err(|error| error.in_file(&path, footer.index_offset))?;
        if index.smallest() != meta.smallest || index.largest() != meta.largest {
            let detail = "the keys of the index are not those that the manifest names";
            return Err(StoreError::corrupt(&path, footer.index_offset, detail));
        }
        Ok(Arc::new(Self {
            disk: Arc::clone(disk),
            file,
            path,
            meta: meta.clone(),
            footer,
            index,
            filter,
            cache,
            obsolete: AtomicBool::new(false),
        }))
    }

    pub(crate) fn meta(&self) -> &TableMeta {
        &self.meta
    }

    pub(crate) fn number(&self) -> u64 {
        self.meta.number
    }

    /// Bytes of memory that index and filter hold while the table is open.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let bytes = self.index.memory_bytes() + self.filter.memory_bytes();
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// The newest version of `key` at or below `lsn`; its value is `None` if it is a tombstone.
    /// `hash` is that of the key, computed once for all tables that are asked.
    pub(crate) fn get(
        &self,
        key: &[u8],
        hash: KeyHash,
        lsn: Lsn,
        io: Io,
        recent: &mut Option<RecentBlock>,
    ) -> Result<Option<(Lsn, Option<Bytes>)>> {
        if lsn < self.meta.min_lsn || !self.filter.may_contain(hash) {
            return Ok(None);
        }
        let mut number = self.index.find(key, lsn);
        while let Some(handle) = self.index.handle(number) {
            let at = (self.meta.number, handle.offset);
            let block = match recent.take() {
                Some(recent) if recent.at == at => recent.block,
                _ => self.block(handle, io)?,
            };
            let RecentBlock { block, .. } = recent.insert(RecentBlock { at, block });
            match block
                .get(key, lsn)
                .map_err(|error| self.bad_block(handle, error))?
            {
                Lookup::Found(lsn, value) => return Ok(Some((lsn, value))),
                Lookup::Absent => return Ok(None),
                Lookup::PastEnd => {
                    number += 1;
                    if !self.index.continues(number, key) {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(None)
    }

    /// The block at `handle`, from the cache, or from the disk and then in the cache.
    pub(super) fn block(&self, handle: BlockHandle, io: Io) -> Result<Block> {
        if let Some(block) = self.cached_block(handle) {
            return Ok(block);
        }
        if io == Io::MemoryOnly {
            return Err(StoreError::WouldBlock);
        }
        let stored = self.read(handle.offset, u64::from(handle.bytes))?;
        let block = self.decode_block(handle, &stored)?;
        self.cache
            .insert(self.meta.number, handle.offset, block.clone());
        Ok(block)
    }

    /// Reads bytes of the file as they are.
    pub(super) fn read(&self, offset: u64, len: u64) -> Result<Bytes> {
        read(&*self.file, &self.path, offset, len)
    }

    /// Checks and decodes the section of a block.
    pub(super) fn decode_block(&self, handle: BlockHandle, stored: &Bytes) -> Result<Block> {
        open_section(stored, self.meta.number, handle.offset, MAX_BLOCK_BYTES)
            .and_then(Block::new)
            .map_err(|error| self.bad_block(handle, error))
    }

    pub(super) fn bad_block(&self, handle: BlockHandle, error: DecodeError) -> StoreError {
        // The offset in an uncompressed block says little about the file: name the section.
        let detail = format!("{} ({} bytes into this block)", error.what, error.offset);
        StoreError::corrupt(&self.path, handle.offset, detail)
    }

    /// The block at `handle` if it is in the cache.
    pub(super) fn cached_block(&self, handle: BlockHandle) -> Option<Block> {
        self.cache.get(self.meta.number, handle.offset)
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Reads every byte of the file again, past the cache, and checks it against its checksums and
    /// against the properties that the manifest and the footer name.
    pub(crate) fn verify(self: &Arc<Self>) -> Result<()> {
        let corrupt =
            |offset: u64, detail: &str| Err(StoreError::corrupt(&self.path, offset, detail));
        let footer_at = self.meta.bytes.saturating_sub(FOOTER_BYTES as u64);
        let mut checksum = crc32fast::Hasher::new();
        let mut at = 0;
        while at < footer_at {
            let step = VERIFY_STEP_BYTES.min(footer_at - at);
            checksum.update(&self.read(at, step)?);
            at += step;
        }
        // Opening it once more reads footer, filter and index from the disk again.
        let again = Self::open_file(
            &self.disk,
            self.path.clone(),
            &self.meta,
            Arc::clone(&self.cache),
        )?;
        let mut seen = TableMeta {
            entries: 0,
            tombstones: 0,
            keys: 0,
            min_lsn: Lsn::MAX,
            max_lsn: Lsn::ZERO,
            ..self.meta.clone()
        };
        let mut last: Option<VersionedEntry> = None;
        for entry in again.scan_all() {
            let entry = entry?;
            if !again.filter.may_contain(KeyHash::of(&entry.key)) {
                return corrupt(
                    self.footer.filter_offset,
                    "the filter denies a key of the table",
                );
            }
            if last.as_ref().is_some_and(|last| {
                (&last.key, std::cmp::Reverse(last.lsn))
                    >= (&entry.key, std::cmp::Reverse(entry.lsn))
            }) {
                return corrupt(0, "the entries of the table are not in order");
            }
            seen.keys += u64::from(last.as_ref().is_none_or(|last| last.key != entry.key));
            if last.is_none() {
                seen.smallest = entry.key.clone();
            }
            seen.entries += 1;
            seen.tombstones += u64::from(entry.value.is_none());
            seen.min_lsn = seen.min_lsn.min(entry.lsn);
            seen.max_lsn = seen.max_lsn.max(entry.lsn);
            last = Some(entry);
        }
        if let Some(last) = last {
            seen.largest = last.key;
        }
        if seen != self.meta {
            return corrupt(
                0,
                "the entries of the table are not those that the manifest names",
            );
        }
        if checksum.finalize() != self.footer.body_checksum {
            return corrupt(0, "the checksum of the whole file does not match");
        }
        Ok(())
    }

    /// Has the file removed when the last reader lets go of the table. Call it once no manifest
    /// names the table any more.
    pub(crate) fn mark_obsolete(&self) {
        self.obsolete.store(true, Ordering::Release);
    }
}

fn open_section(
    stored: &Bytes,
    table: u64,
    offset: u64,
    max_content_bytes: usize,
) -> Result<Bytes, DecodeError> {
    section::open(stored, Place { table, offset }, max_content_bytes)
}

/// Reads `len` bytes, which the caller knows to be within the file.
fn read(file: &dyn File, path: &Path, offset: u64, len: u64) -> Result<Bytes> {
    let len = usize::try_from(len)
        .map_err(|_| StoreError::corrupt(path, offset, "a section is larger than memory"))?;
    let mut bytes = vec![0u8; len];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Bytes::from(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(StoreError::corrupt(path, offset, "the file ends too early"))
        }
        Err(error) => Err(StoreError::io("read", path, &error)),
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Acquire) {
            let offsets = (0..self.index.len())
                .filter_map(|block| self.index.handle(block))
                .map(|handle| handle.offset);
            self.cache.remove_table(self.meta.number, offsets);
            // What stays behind when this fails is swept at the next open: no manifest names it.
            let _ = self.disk.remove(&self.path);
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("path", &self.path)
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}
