//! From a snapshot to the directories of a store that opens.

use std::sync::Arc;

use super::{CACHE_BYTES, SnapshotInfo, Snapshots, copy_file, info, table_name};
use crate::disk::OpenMode;
use crate::error::{Result, StoreError};
use crate::lsn::Lsn;
use crate::manifest::{self, Manifest, StoreFailure};
use crate::recovery::{self, identity};
use crate::settings::Settings;
use crate::table::{self, BlockCache, Table};
use crate::wal::segment;

/// In the data directory from before the first table of a restore until a store was made of it.
pub(crate) const MARKER: &str = "RESTORING";

impl Snapshots {
    /// Copies the snapshot `name` into the directories of `settings`, which hold no store, checks
    /// every byte of the copy, and makes it a store with the manifest as the last step: a call
    /// that was interrupted leaves no store, and is repeated. LSNs go on above everything that the
    /// store had reserved when the snapshot was taken. `progress` gets bytes done and in all; each
    /// byte is copied and then read back.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] if there is a store already or no such snapshot, damage of the
    /// snapshot, I/O errors. Files of the snapshot are never changed.
    pub fn restore(
        &self,
        name: &str,
        settings: &Settings,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<SnapshotInfo> {
        let source = self.manifest(name)?;
        let info = info(name, &source);
        let disk = &*self.disk;
        let dirs = [
            &*settings.data_dir,
            &*settings.wal_dir,
            &*settings.checkpoint_dir,
        ];
        for dir in dirs {
            recovery::prepare_dir(disk, dir)?;
        }
        let _locks = recovery::lock_dirs(disk, &dirs)?;
        self.clear(settings, &source)?;
        let total = info.bytes.saturating_mul(2);
        let mut done = 0;
        let cache = Arc::new(BlockCache::new(CACHE_BYTES));
        for meta in source.levels.iter().flatten() {
            let to = meta.path(&settings.checkpoint_dir);
            copy_file(
                &self.disk,
                &self.dir.join(table_name(meta)),
                &to,
                &mut |step| {
                    done += step;
                    progress(done, total);
                },
            )?;
            let copy = Table::open(
                &self.disk,
                &settings.checkpoint_dir,
                meta,
                Arc::clone(&cache),
            )?;
            copy.verify()?;
            done += meta.bytes;
            progress(done, total);
        }
        for dir in [&settings.wal_dir, &settings.checkpoint_dir] {
            identity::write(disk, dir, source.store_id)?;
        }
        let restored = Manifest {
            number: source.number + 1,
            // Up to there LSNs may have been shown, and must not come to mean another thing.
            durable: Lsn(source.reservation.0.saturating_sub(1)).max(source.checkpoint),
            ..source
        };
        restored
            .store(disk, &settings.data_dir)
            .map_err(|failure| match failure {
                StoreFailure::Unchanged(error) | StoreFailure::Unknown(error) => error,
            })?;
        self.remove(&settings.data_dir.join(MARKER))?;
        progress(total, total);
        Ok(info)
    }

    /// Refuses directories with a store in them, also one whose manifest is lost; marks them, and
    /// removes what an interrupted restore of this store left.
    fn clear(&self, settings: &Settings, source: &Manifest) -> Result<()> {
        let list = |dir| {
            self.disk
                .list(dir)
                .map_err(|error| StoreError::io("list", dir, &error))
        };
        let refused = |dir: &std::path::Path, name: &str| StoreError::Mismatch {
            path: dir.to_path_buf(),
            detail: format!(
                "{name} lies here: a restore needs directories without a database; move it away, or restore elsewhere"
            ),
        };
        if list(&settings.data_dir)?
            .iter()
            .any(|name| name == manifest::FILE_NAME)
        {
            return Err(refused(&settings.data_dir, manifest::FILE_NAME));
        }
        if let Some(name) = list(&settings.wal_dir)?
            .iter()
            .find(|name| segment::parse_file_name(name).is_some())
        {
            return Err(refused(&settings.wal_dir, name));
        }
        let ours = |name: &str| {
            source
                .levels
                .iter()
                .flatten()
                .any(|meta| table::file_name(meta.number) == name)
        };
        let marker = settings.data_dir.join(MARKER);
        let interrupted = list(&settings.data_dir)?.iter().any(|name| name == MARKER);
        let present = list(&settings.checkpoint_dir)?;
        let tables = || {
            present
                .iter()
                .filter(|name| table::parse_file_name(name).is_some())
        };
        if let Some(name) = tables().find(|name| !interrupted || !ours(name)) {
            return Err(refused(&settings.checkpoint_dir, name));
        }
        if !interrupted {
            self.disk
                .open(&marker, OpenMode::Create)
                .map_err(|error| StoreError::io("create", &marker, &error))?;
            self.disk.sync_dir(&settings.data_dir).map_err(|error| {
                StoreError::io("sync the directory", &settings.data_dir, &error)
            })?;
        }
        for name in tables() {
            self.remove(&settings.checkpoint_dir.join(name))?;
        }
        Ok(())
    }
}
