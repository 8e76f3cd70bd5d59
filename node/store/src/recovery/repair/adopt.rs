//! The steps of a repair that write: keep the originals, build the new store, put it in place.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{Repair, files_of};
use crate::disk::{Disk, OpenMode};
use crate::error::{Result, StoreError};
use crate::limits;
use crate::lsn::Lsn;
use crate::manifest::{Manifest, StoreFailure};
use crate::read::VersionedEntry;
use crate::recovery::{self, identity};
use crate::settings::{Durability, Settings};
use crate::table::{self, TableBuilder, TableMeta, TableOptions};
use crate::wal::segment;

/// Name of the folders in which the new store is built.
const STAGING: &str = "repairing";
/// Bytes that are copied at once.
const COPY_BYTES: u64 = 1024 * 1024;
/// Folders for originals that one directory may have.
const MOST_KEPT: u32 = 10_000;

impl Repair {
    /// Puts every file of the store, as it is, into a folder of its own beside the directory
    /// (`<data dir>.before-repair-1`, or the next number that is free), or into `folder`. Tables
    /// are linked where the file system can, everything else is copied. Returns the folders.
    ///
    /// # Errors
    /// I/O errors: no space for the copies, no right to make the folder, or it is not empty.
    pub fn keep_originals(&self, folder: Option<&Path>) -> Result<Vec<PathBuf>> {
        let disk = &*self.disk;
        let data_dir = &self.settings.data_dir;
        let root = match folder {
            Some(folder) => folder.to_path_buf(),
            None => self.free_folder(data_dir)?,
        };
        if disk.list(&root).is_ok_and(|names| !names.is_empty()) {
            return Err(StoreError::Mismatch {
                path: root,
                detail: "the folder for the originals is not empty; name another".to_owned(),
            });
        }
        let mut kept: Vec<PathBuf> = Vec::new();
        for (dir, names) in files_of(&self.settings, disk)? {
            let target = match dir.strip_prefix(data_dir) {
                Ok(below) => root.components().chain(below.components()).collect(),
                Err(_) if folder.is_some() => root.join(dir.file_name().unwrap_or_default()),
                Err(_) => self.free_folder(&dir)?,
            };
            recovery::prepare_dir(disk, &target)?;
            for name in names {
                let (from, to) = (dir.join(&name), target.join(&name));
                let is_table = table::parse_file_name(&name).is_some();
                if !is_table || disk.link(&from, &to).is_err() {
                    copy(disk, &from, &to)?;
                }
            }
            disk.sync_dir(&target)
                .map_err(|error| StoreError::io("sync the directory", &target, &error))?;
            if !kept.iter().any(|folder| target.starts_with(folder)) {
                kept.push(target);
            }
        }
        Ok(kept)
    }

    fn free_folder(&self, dir: &Path) -> Result<PathBuf> {
        (1..=MOST_KEPT)
            .map(|n| {
                let mut name = dir.as_os_str().to_owned();
                name.push(format!(".before-repair-{n}"));
                PathBuf::from(name)
            })
            .find(|folder| self.disk.list(folder).is_err())
            .ok_or_else(|| StoreError::Mismatch {
                path: dir.to_path_buf(),
                detail: format!("there are {MOST_KEPT} folders of earlier repairs beside it"),
            })
    }

    fn staged(&self) -> Settings {
        let data_dir = self.settings.data_dir.join(STAGING);
        Settings {
            wal_dir: data_dir.join("wal"),
            checkpoint_dir: self.settings.checkpoint_dir.join(STAGING),
            data_dir,
            ..self.settings.clone()
        }
    }

    /// Builds a store of what is kept and `wanted`, whose LSNs go on above
    /// [`Repair::ceiling`], and returns the settings to open it with. Its counters are those of
    /// [`Repair::counters`].
    ///
    /// # Errors
    /// I/O errors; the damaged store is as it was then.
    pub fn stage(&self, wanted: &mut dyn FnMut(&[u8]) -> bool) -> Result<Settings> {
        let staged = self.staged();
        let disk = &self.disk;
        let dirs = [&staged.data_dir, &staged.wal_dir, &staged.checkpoint_dir];
        for dir in dirs {
            recovery::prepare_dir(&**disk, dir)?;
        }
        self.clear_staging(&staged)?;
        for dir in [&staged.wal_dir, &staged.checkpoint_dir] {
            identity::write(&**disk, dir, self.store_id)?;
        }
        let mut next_table = self.next_table;
        let mut tables: Vec<TableMeta> = Vec::new();
        let mut building: Option<TableBuilder> = None;
        for kept in self.kept() {
            let (key, lsn, value) = kept?;
            if !wanted(&key) {
                continue;
            }
            if let Some(full) =
                building.take_if(|table| table.estimated_bytes() >= limits::TABLE_TARGET_BYTES)
            {
                tables.extend(full.finish()?);
            }
            let table = match &mut building {
                Some(table) => table,
                None => {
                    let options = TableOptions::default();
                    let new = TableBuilder::new(disk, &staged.checkpoint_dir, next_table, options)?;
                    next_table += 1;
                    building.insert(new)
                }
            };
            let value: Option<Bytes> = Some(value);
            table.add(&VersionedEntry { key, lsn, value })?;
        }
        if let Some(last) = building {
            tables.extend(last.finish()?);
        }
        disk.sync_dir(&staged.checkpoint_dir).map_err(|error| {
            StoreError::io("sync the directory", &staged.checkpoint_dir, &error)
        })?;
        let before = self.manifest.as_ref();
        let manifest = Manifest {
            generation: before.map_or(1, |manifest| manifest.generation),
            // Above the first, beside which a directory need not say whose it is.
            number: before.map_or(1, |manifest| manifest.number) + 1,
            checkpoint: self.ceiling,
            durable: self.ceiling,
            reservation: self.ceiling.next(),
            next_table,
            next_segment: self.next_segment,
            counters: self.counters(),
            levels: vec![Vec::new(), tables],
            ..Manifest::empty(self.store_id, Durability::Full)
        };
        store_manifest(&manifest, &**disk, &staged.data_dir)?;
        Ok(staged)
    }

    /// Puts the staged store, closed by then, in the place of the damaged one.
    ///
    /// # Errors
    /// I/O errors, and [`StoreError::Mismatch`] if the staged store was not closed cleanly. The
    /// manifest tells which of the two stores is in place then; repairing again finds out.
    pub fn adopt(self) -> Result<()> {
        let staged = self.staged();
        let disk = &*self.disk;
        let built = Manifest::load(disk, &staged.data_dir)?.filter(|manifest| manifest.clean);
        let mut manifest = built.ok_or_else(|| StoreError::Mismatch {
            path: staged.data_dir.clone(),
            detail: "the rebuilt store was not closed".to_owned(),
        })?;
        let target = &self.settings;
        for dir in [&target.wal_dir, &target.checkpoint_dir] {
            recovery::prepare_dir(disk, dir)?;
        }
        for meta in manifest.levels.iter().flatten() {
            let (from, to) = (
                meta.path(&staged.checkpoint_dir),
                meta.path(&target.checkpoint_dir),
            );
            disk.rename(&from, &to)
                .map_err(|error| StoreError::io("rename", &from, &error))?;
        }
        for dir in [&staged.checkpoint_dir, &target.checkpoint_dir] {
            disk.sync_dir(dir)
                .map_err(|error| StoreError::io("sync the directory", dir, &error))?;
        }
        for dir in [&target.wal_dir, &target.checkpoint_dir] {
            identity::write(disk, dir, self.store_id)?;
        }
        let written = Lsn(manifest.checkpoint.0.max(manifest.durable.0));
        manifest.number += 1;
        manifest.log_start = None;
        manifest.log_through = None;
        manifest.durable = written;
        manifest.level = self
            .manifest
            .as_ref()
            .map_or(Durability::Full, |before| before.level);
        store_manifest(&manifest, disk, &target.data_dir)?;
        // From here on the repaired store is the one that counts; what is left is tidying up, and
        // the next start sweeps what stays.
        self.remove_staging(&staged);
        for (dir, names) in files_of(target, disk).unwrap_or_default() {
            for name in names {
                if dir == target.wal_dir && segment::parse_file_name(&name).is_some() {
                    let _ = disk.remove(&dir.join(name));
                }
            }
        }
        Ok(())
    }

    /// Removes what an earlier repair may have left half built.
    fn clear_staging(&self, staged: &Settings) -> Result<()> {
        let Ok(found) = files_of(staged, &*self.disk) else {
            return Ok(());
        };
        for (dir, names) in found {
            for name in names {
                let path = dir.join(name);
                self.disk
                    .remove(&path)
                    .map_err(|error| StoreError::io("remove", &path, &error))?;
            }
        }
        Ok(())
    }

    /// The staged store has given its tables away: its folders go too, where they are empty.
    fn remove_staging(&self, staged: &Settings) {
        // What cannot be removed disturbs nobody.
        let _ = self.clear_staging(staged);
        for dir in [&staged.wal_dir, &staged.checkpoint_dir, &staged.data_dir] {
            let _ = self.disk.remove(&dir.join("LOCK"));
            let _ = self.disk.remove_dir(dir);
        }
    }
}

fn store_manifest(manifest: &Manifest, disk: &dyn Disk, dir: &Path) -> Result<()> {
    manifest.store(disk, dir).map_err(|failure| match failure {
        StoreFailure::Unchanged(error) => error,
        StoreFailure::Unknown(error) => error,
    })
}

/// Copies a file and syncs the copy.
fn copy(disk: &dyn Disk, from: &Path, to: &Path) -> Result<()> {
    let io = |op, path: &Path| {
        let path = path.to_path_buf();
        move |error: std::io::Error| StoreError::io(op, &path, &error)
    };
    let source = disk.open(from, OpenMode::Read).map_err(io("open", from))?;
    let target = disk.open(to, OpenMode::Create).map_err(io("create", to))?;
    let length = source.len().map_err(io("measure", from))?;
    let mut offset = 0;
    while offset < length {
        let step = COPY_BYTES.min(length - offset);
        let mut bytes = vec![0; usize::try_from(step).unwrap_or(0)];
        source
            .read_exact_at(&mut bytes, offset)
            .map_err(io("read", from))?;
        target
            .write_all_at(&bytes, offset)
            .map_err(io("write", to))?;
        offset += step;
    }
    target.sync_data().map_err(io("sync", to))
}
