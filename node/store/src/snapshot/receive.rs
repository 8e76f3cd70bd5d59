//! A snapshot that comes from elsewhere: tables first, each verified as it lands, the manifest
//! last. Until then there is no snapshot of that name, and what has landed is not fetched again.

use std::sync::Arc;

use super::{CACHE_BYTES, SnapshotFile, SnapshotInfo, Snapshots, info, table_name};
use crate::disk::{File, Lock, OpenMode};
use crate::error::{Result, StoreError};
use crate::manifest::Manifest;
use crate::recovery;
use crate::table::{BlockCache, Table, TableMeta};

/// Name of the file that keeps two from writing to one directory of snapshots.
const LOCK_NAME: &str = "LOCK";

/// A snapshot on its way into a directory; made by [`Snapshots::receive`].
pub struct Receiver {
    snapshots: Snapshots,
    name: String,
    manifest: Manifest,
    is_there: bool,
    _lock: Box<dyn Lock>,
}

/// A table on its way; made by [`Receiver::begin`].
pub struct IncomingTable<'r> {
    receiver: &'r Receiver,
    meta: &'r TableMeta,
    file: Arc<dyn File>,
    written_bytes: u64,
    is_named: bool,
}

impl Drop for IncomingTable<'_> {
    fn drop(&mut self) {
        if !self.is_named {
            // A full disk gets its space back at once; otherwise the next try takes it away.
            let _ = self
                .receiver
                .snapshots
                .remove(&self.receiver.staging(self.meta));
        }
    }
}

impl Snapshots {
    /// Begins to receive the snapshot `name`, whose manifest is `manifest`; the directory is made
    /// if it is missing, and is locked until the receiver goes.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`]; damage of the manifest; [`StoreError::Locked`];
    /// [`StoreError::Mismatch`] if another snapshot has the name, or the directory holds snapshots
    /// of another store; I/O errors.
    pub fn receive(&self, name: &str, manifest: &[u8]) -> Result<Receiver> {
        super::check_name(name)?;
        let path = self.path(name);
        let manifest = Manifest::decode(manifest, &path)?;
        recovery::prepare_dir(&*self.disk, &self.dir)?;
        let lock = self.lock()?;
        for (other, found) in self.list()? {
            if found.is_ok_and(|found| found.store_id != manifest.store_id) {
                return Err(StoreError::Mismatch {
                    path: self.dir.clone(),
                    detail: format!(
                        "`{other}` here is a snapshot of another database; use a directory for each"
                    ),
                });
            }
        }
        let is_there = self.contains(name)?;
        if is_there && self.manifest(name)? != manifest {
            return Err(StoreError::Mismatch {
                path,
                detail: "another snapshot of this name is here already".to_owned(),
            });
        }
        Ok(Receiver {
            snapshots: self.clone(),
            name: name.to_owned(),
            manifest,
            is_there,
            _lock: lock,
        })
    }

    /// Keeps other processes from changing this directory, which exists.
    ///
    /// # Errors
    /// [`StoreError::Locked`], I/O errors.
    pub fn lock(&self) -> Result<Box<dyn Lock>> {
        let path = self.dir.join(LOCK_NAME);
        self.disk.lock(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => StoreError::Locked { path },
            _ => StoreError::io("lock", path, &error),
        })
    }
}

impl Receiver {
    /// Whether the very same snapshot was there already.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.is_there
    }

    /// What the snapshot is.
    #[must_use]
    pub fn info(&self) -> SnapshotInfo {
        info(&self.name, &self.manifest)
    }

    /// The tables that are not there yet, or not whole.
    ///
    /// # Errors
    /// I/O errors other than damage.
    pub fn missing(&self) -> Result<Vec<SnapshotFile>> {
        let cache = Arc::new(BlockCache::new(CACHE_BYTES));
        let mut missing = Vec::new();
        for meta in self.manifest.levels.iter().flatten() {
            let path = self.snapshots.dir.join(table_name(meta));
            match Table::open_file(&self.snapshots.disk, path, meta, Arc::clone(&cache)) {
                Ok(_) => {}
                Err(StoreError::Corrupt { .. }) => missing.push(SnapshotFile {
                    name: table_name(meta),
                    bytes: meta.bytes,
                }),
                Err(error) => return Err(error),
            }
        }
        Ok(missing)
    }

    /// Begins to write a table of [`Receiver::missing`].
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] if the snapshot has no such table, I/O errors.
    pub fn begin(&self, file: &str) -> Result<IncomingTable<'_>> {
        let meta = self
            .manifest
            .levels
            .iter()
            .flatten()
            .find(|meta| table_name(meta) == file)
            .ok_or_else(|| StoreError::Mismatch {
                path: self.snapshots.dir.join(file),
                detail: format!("no table of snapshot `{}`", self.name),
            })?;
        let staging = self.staging(meta);
        self.snapshots.remove(&staging)?;
        let opened = self.snapshots.disk.open(&staging, OpenMode::Create);
        Ok(IncomingTable {
            receiver: self,
            meta,
            file: opened.map_err(|error| StoreError::io("create", &staging, &error))?,
            written_bytes: 0,
            is_named: false,
        })
    }

    fn staging(&self, meta: &TableMeta) -> std::path::PathBuf {
        let name = format!("{}{}", table_name(meta), super::STAGING_SUFFIX);
        self.snapshots.dir.join(name)
    }

    /// Makes it a snapshot, with `description` beside it. When it returns, it is durable.
    ///
    /// # Errors
    /// Damage, if a table is missing or not whole; I/O errors. There is no snapshot then.
    pub fn finish(self, description: Option<&[u8]>) -> Result<SnapshotInfo> {
        let cache = Arc::new(BlockCache::new(CACHE_BYTES));
        self.snapshots.open_tables(&self.manifest, &cache)?;
        if let Some(description) = description {
            self.snapshots.describe(&self.name, description)?;
        }
        self.snapshots.sync()?;
        if !self.is_there {
            self.snapshots.publish(&self.name, &self.manifest)?;
        }
        Ok(self.info())
    }
}

impl IncomingTable<'_> {
    /// Bytes that were written.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Adds to the end.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for more than the table's size, I/O errors.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let path = || self.receiver.staging(self.meta);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let end = self.written_bytes.saturating_add(length);
        if end > self.meta.bytes {
            let detail = format!("more than the {} bytes of the table", self.meta.bytes);
            return Err(StoreError::corrupt(path(), self.meta.bytes, detail));
        }
        self.file
            .write_all_at(bytes, self.written_bytes)
            .map_err(|error| StoreError::io("write", path(), &error))?;
        self.written_bytes = end;
        Ok(())
    }

    /// Makes what was written durable, reads every byte of it back, and gives it its name.
    ///
    /// # Errors
    /// Damage: what came is not the table. I/O errors.
    pub fn finish(mut self) -> Result<()> {
        let staging = self.receiver.staging(self.meta);
        let io = |op| {
            let staging = staging.clone();
            move |error: std::io::Error| StoreError::io(op, staging, &error)
        };
        self.file.sync_data().map_err(io("sync"))?;
        let disk = &self.receiver.snapshots.disk;
        let cache = Arc::new(BlockCache::new(CACHE_BYTES));
        Table::open_file(disk, staging.clone(), self.meta, cache)?.verify()?;
        let path = self.receiver.snapshots.dir.join(table_name(self.meta));
        disk.rename(&staging, &path).map_err(io("rename"))?;
        self.is_named = true;
        Ok(())
    }
}
