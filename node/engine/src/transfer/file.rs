//! The bytes of a saved database; drawn in [`super`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use godb_store::disk::{Disk, File, OpenMode};
use godb_store::{Lsn, StoreError};

use crate::error::{EngineError, Result};
use crate::json::{self, Limits};
use crate::limits::{MAX_DOCUMENT_BYTES, MAX_INDEXES};
use crate::{id, name};

const MAGIC: &[u8; 8] = b"godbsave";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 8 + 4 + 8 + 4;
const BLOCK_HEADER_BYTES: usize = 4 + 4;
/// A block is closed once it holds this much.
const BLOCK_TARGET_BYTES: usize = 256 * 1024;
/// Largest block: a target's worth and one more record.
const MAX_BLOCK_BYTES: usize = BLOCK_TARGET_BYTES + MAX_DOCUMENT_BYTES + 64 * 1024;

const COLLECTION: u8 = 1;
const DOCUMENT: u8 = 2;
const END: u8 = 3;

/// One record of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Collection { name: &'a str, fields: Vec<&'a str> },
    Document { id: &'a [u8], json: &'a [u8] },
    End { collections: u64, documents: u64 },
}

fn io_error(op: &'static str, path: &Path) -> impl Fn(io::Error) -> EngineError {
    move |error| EngineError::Store(StoreError::io(op, path, &error))
}

/// Writes a file under a temporary name; [`FileWriter::finish`] gives it its own.
pub(super) struct FileWriter<'d> {
    disk: &'d dyn Disk,
    file: Arc<dyn File>,
    path: PathBuf,
    partial: PathBuf,
    /// Where the next block goes.
    offset: u64,
    block: Vec<u8>,
    block_number: u64,
    finished: bool,
}

impl<'d> FileWriter<'d> {
    /// A file that already exists is not touched: `AlreadyExists`.
    pub(super) fn create(disk: &'d dyn Disk, path: &Path, lsn: Lsn) -> Result<Self> {
        if disk.open(path, OpenMode::Read).is_ok() {
            let taken = io::Error::new(io::ErrorKind::AlreadyExists, "the file exists");
            return Err(io_error("create", path)(taken));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = match disk.open(&partial, OpenMode::Create) {
            // What a save that was broken off left behind.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(&partial)
                    .map_err(io_error("remove", &partial))?;
                disk.open(&partial, OpenMode::Create)
            }
            other => other,
        };
        let file = file.map_err(io_error("create", &partial))?;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend(lsn.0.to_le_bytes());
        header.extend(crc32fast::hash(&header).to_le_bytes());
        let mut writer = Self {
            disk,
            file,
            path: path.to_owned(),
            partial,
            offset: 0,
            block: Vec::new(),
            block_number: 0,
            finished: false,
        };
        writer.write(&header)?;
        writer.start_block();
        Ok(writer)
    }

    pub(super) fn written_bytes(&self) -> u64 {
        self.offset
    }

    pub(super) fn put(&mut self, record: &Record<'_>) -> Result<()> {
        match record {
            Record::Collection { name, fields } => {
                self.block.push(COLLECTION);
                self.put_short(name.as_bytes());
                let count = u16::try_from(fields.len()).unwrap_or(u16::MAX);
                self.block.extend(count.to_le_bytes());
                for field in fields {
                    self.put_short(field.as_bytes());
                }
            }
            Record::Document { id, json } => {
                self.block.push(DOCUMENT);
                self.put_short(id);
                let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
                self.block.extend(length.to_le_bytes());
                self.block.extend_from_slice(json);
            }
            Record::End {
                collections,
                documents,
            } => {
                self.block.push(END);
                self.block.extend(collections.to_le_bytes());
                self.block.extend(documents.to_le_bytes());
            }
        }
        if self.block.len() >= BLOCK_TARGET_BYTES {
            self.flush_block()?;
        }
        Ok(())
    }

    /// Names, fields and ids are at most 512 bytes long.
    fn put_short(&mut self, bytes: &[u8]) {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.block.extend(length.to_le_bytes());
        self.block.extend_from_slice(bytes);
    }

    fn start_block(&mut self) {
        self.block.clear();
        self.block.resize(BLOCK_HEADER_BYTES, 0);
    }

    fn flush_block(&mut self) -> Result<()> {
        let Some((header, payload)) = self.block.split_first_chunk_mut::<BLOCK_HEADER_BYTES>()
        else {
            return Ok(());
        };
        if payload.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let checksum = block_checksum(self.block_number, length, payload);
        *header = block_header(length, checksum);
        self.block_number += 1;
        let block = std::mem::take(&mut self.block);
        self.write(&block)?;
        self.block = block;
        self.start_block();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all_at(bytes, self.offset)
            .map_err(io_error("write", &self.partial))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Syncs the file and gives it its name; returns its size.
    pub(super) fn finish(mut self) -> Result<u64> {
        self.flush_block()?;
        self.file
            .sync_data()
            .map_err(io_error("sync", &self.partial))?;
        self.disk
            .rename(&self.partial, &self.path)
            .map_err(io_error("rename", &self.partial))?;
        self.finished = true;
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        self.disk
            .sync_dir(directory)
            .map_err(io_error("sync", directory))?;
        Ok(self.offset)
    }
}

impl Drop for FileWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // The next save would remove it too.
            let _ = self.disk.remove(&self.partial);
        }
    }
}

fn block_header(length: u32, checksum: u32) -> [u8; BLOCK_HEADER_BYTES] {
    let ([a, b, c, d], [e, f, g, h]) = (length.to_le_bytes(), checksum.to_le_bytes());
    [a, b, c, d, e, f, g, h]
}

fn block_checksum(number: u64, length: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

fn fault(path: &Path, offset: u64, reason: &'static str) -> EngineError {
    EngineError::InvalidFile {
        path: path.display().to_string(),
        offset,
        reason,
    }
}

/// Reads a file block by block.
pub(super) struct FileReader {
    file: Arc<dyn File>,
    path: PathBuf,
    file_bytes: u64,
    offset: u64,
    block_number: u64,
    lsn: Lsn,
}

impl FileReader {
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let file = disk
            .open(path, OpenMode::Read)
            .map_err(io_error("open", path))?;
        let file_bytes = file.len().map_err(io_error("measure", path))?;
        let mut reader = Self {
            file,
            path: path.to_owned(),
            file_bytes,
            offset: 0,
            block_number: 0,
            lsn: Lsn::ZERO,
        };
        let header = reader.take(HEADER_BYTES)?;
        let (body, checksum) = header.split_last_chunk::<4>().unwrap_or((&[], &[0; 4]));
        let Some(rest) = body.strip_prefix(MAGIC) else {
            return Err(fault(path, 0, "it is not a saved database"));
        };
        let (version, lsn) = rest.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
        let version = u32::from_le_bytes(*version);
        if version > VERSION {
            return Err(EngineError::Store(StoreError::NewerFormat {
                path: path.to_owned(),
                found: version,
                supported: VERSION,
            }));
        }
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) || version != VERSION {
            return Err(fault(path, 0, "the header is damaged"));
        }
        let lsn = lsn.first_chunk::<8>().copied().unwrap_or_default();
        reader.lsn = Lsn(u64::from_le_bytes(lsn));
        Ok(reader)
    }

    pub(super) fn lsn(&self) -> Lsn {
        self.lsn
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    pub(super) fn read_bytes(&self) -> u64 {
        self.offset
    }

    /// The next `length` bytes, if the file has them: nothing is allocated for those it lacks.
    fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        if self.file_bytes - self.offset < length as u64 {
            return Err(self.cut_off());
        }
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, self.offset)
            .map_err(io_error("read", &self.path))?;
        self.offset += length as u64;
        Ok(bytes)
    }

    pub(super) fn cut_off(&self) -> EngineError {
        fault(&self.path, self.file_bytes, "it ends too early")
    }

    /// The next block, verified; `None` at the end of the file.
    pub(super) fn next_block(&mut self) -> Result<Option<Block<'_>>> {
        if self.offset == self.file_bytes {
            return Ok(None);
        }
        let start = self.offset;
        let header = self.take(BLOCK_HEADER_BYTES)?;
        let (length, checksum) = header.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
        let length = u32::from_le_bytes(*length);
        let checksum = checksum.first_chunk::<4>().copied().unwrap_or_default();
        let damaged = |reader: &Self| fault(&reader.path, start, "the block is damaged");
        let length_bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if length_bytes > MAX_BLOCK_BYTES {
            return Err(damaged(self));
        }
        let payload = self.take(length_bytes)?;
        let expected = block_checksum(self.block_number, length, &payload);
        if expected != u32::from_le_bytes(checksum) {
            return Err(damaged(self));
        }
        self.block_number += 1;
        Ok(Some(Block {
            path: &self.path,
            start,
            payload,
        }))
    }
}

/// A verified block.
pub(super) struct Block<'r> {
    path: &'r Path,
    /// Where it begins in the file.
    start: u64,
    payload: Vec<u8>,
}

impl Block<'_> {
    /// What is wrong in this block.
    pub(super) fn fault(&self, reason: &'static str) -> EngineError {
        fault(self.path, self.start, reason)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = Result<Record<'_>>> {
        let mut rest = self.payload.as_slice();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            match parse(&mut rest) {
                Some(record) => Some(Ok(record)),
                None => {
                    rest = &[];
                    Some(Err(self.fault("a record does not decode")))
                }
            }
        })
    }

    /// Fails for a document that a save would not have written.
    pub(super) fn check_document(&self, document_id: &[u8], document: &[u8]) -> Result<()> {
        let invalid = || self.fault("a document is not valid");
        let text = std::str::from_utf8(document_id).map_err(|_| invalid())?;
        id::check(text).map_err(|_| invalid())?;
        let limits = Limits::default();
        let normal = json::normalize_document(document, &limits, 0).map_err(|_| invalid())?;
        let own_id = normal.id.and_then(|range| normal.json.get(range));
        let same_id = own_id.and_then(json::as_str).as_deref() == Some(text);
        if normal.json != document || !same_id || document.len() > MAX_DOCUMENT_BYTES {
            return Err(invalid());
        }
        Ok(())
    }
}

fn parse<'a>(rest: &mut &'a [u8]) -> Option<Record<'a>> {
    match *take(rest, 1)?.first()? {
        COLLECTION => {
            let name = text(rest)?;
            name::check_collection(name).ok()?;
            let count = u16::from_le_bytes(*take(rest, 2)?.first_chunk()?);
            if usize::from(count) > MAX_INDEXES {
                return None;
            }
            let mut fields = Vec::with_capacity(usize::from(count));
            for _ in 0..count {
                let field = text(rest)?;
                name::check_field_path(field).ok()?;
                fields.push(field);
            }
            Some(Record::Collection { name, fields })
        }
        DOCUMENT => {
            let id = short(rest)?;
            let length = u32::from_le_bytes(*take(rest, 4)?.first_chunk()?);
            let json = take(rest, usize::try_from(length).ok()?)?;
            Some(Record::Document { id, json })
        }
        END => Some(Record::End {
            collections: u64::from_le_bytes(*take(rest, 8)?.first_chunk()?),
            documents: u64::from_le_bytes(*take(rest, 8)?.first_chunk()?),
        }),
        _ => None,
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn short<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_le_bytes(*take(rest, 2)?.first_chunk()?);
    take(rest, usize::from(length))
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(short(rest)?).ok()
}
