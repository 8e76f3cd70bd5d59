//! A snapshot that comes to a place which is written by other means than a [`Disk`]: what may come
//! there, and whether what came is whole.
//!
//! [`Disk`]: crate::disk::Disk

use std::sync::Arc;

use super::{CACHE_BYTES, SnapshotFile, SnapshotInfo, Snapshots, info, table_name};
use crate::error::{Result, StoreError};
use crate::manifest::Manifest;
use crate::table::{BlockCache, Table, TableMeta};

/// A snapshot that may come; made by [`Snapshots::arrive`].
pub struct Arriving {
    snapshots: Snapshots,
    name: String,
    manifest: Manifest,
    is_there: bool,
}

impl Snapshots {
    /// Whether the snapshot `name`, whose manifest is `manifest`, may come here.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`]; damage of the manifest; [`StoreError::Mismatch`] if another
    /// snapshot has the name, or there are snapshots of another store here; I/O errors.
    pub fn arrive(&self, name: &str, manifest: &[u8]) -> Result<Arriving> {
        super::check_name(name)?;
        let manifest = Manifest::decode(manifest, &self.path(name))?;
        Ok(Arriving {
            is_there: self.admits(name, &manifest)?,
            snapshots: self.clone(),
            name: name.to_owned(),
            manifest,
        })
    }

    /// Whether this very snapshot is here already.
    pub(super) fn admits(&self, name: &str, manifest: &Manifest) -> Result<bool> {
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
        if is_there && self.manifest(name)? != *manifest {
            return Err(StoreError::Mismatch {
                path: self.path(name),
                detail: "another snapshot of this name is here already".to_owned(),
            });
        }
        Ok(is_there)
    }
}

impl Arriving {
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

    /// Its tables.
    #[must_use]
    pub fn tables(&self) -> Vec<SnapshotFile> {
        let file = |meta: &TableMeta| SnapshotFile {
            name: table_name(meta),
            bytes: meta.bytes,
        };
        self.manifest.levels.iter().flatten().map(file).collect()
    }

    /// Reads every byte of one of its tables, where it came to.
    ///
    /// # Errors
    /// Damage; [`StoreError::Mismatch`] if the snapshot has no such table; I/O errors.
    pub fn verify(&self, file: &str) -> Result<()> {
        let mut metas = self.manifest.levels.iter().flatten();
        let meta =
            metas
                .find(|meta| table_name(meta) == file)
                .ok_or_else(|| StoreError::Mismatch {
                    path: self.snapshots.dir.join(file),
                    detail: format!("no table of snapshot `{}`", self.name),
                })?;
        let cache = Arc::new(BlockCache::new(CACHE_BYTES));
        let path = self.snapshots.dir.join(file);
        Table::open_file(&self.snapshots.disk, path, meta, cache)?.verify()
    }
}
