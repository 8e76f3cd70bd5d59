//! Snapshots: copies of the whole store at one LSN, which later writes do not change.
//!
//! A directory of snapshots, by default `snapshots` in the data directory:
//!
//! ```text
//! NAME.snapshot                    a manifest as `manifest` draws it, closed cleanly, without a log
//! table-0000000017-9f3c21ab.sst    table 17 whose footer has checksum 9f3c21ab
//! NAME.contents                    what the layer above says of it, if it did
//! NAME.leased                      empty; the snapshot goes when nobody wants it any more
//! ```
//!
//! Tables are immutable, so on the volume of the store a snapshot takes hard links and no space of
//! its own until compaction lets the originals go; elsewhere it takes copies. Snapshots share the
//! tables they have in common. A table's checksum is part of its name because a restored store
//! gives out table numbers again.
//!
//! Tables first, synced; then the manifest, by rename; so a snapshot exists whole or not at all.
//! What a crash left behind is swept by the next call that changes the directory.

mod cut;
mod files;
mod receive;
pub(crate) mod restore;

pub use cut::SnapshotUsage;
pub use files::SnapshotReader;
pub use receive::{IncomingTable, Receiver};

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, OpenMode};
use crate::error::{Result, StoreError};
use crate::lsn::Lsn;
use crate::manifest::{Manifest, StoreFailure};
use crate::memtable::Memtable;
use crate::read::version::{ReadPoint, Version};
use crate::table::{BlockCache, Levels, Table, TableMeta};

/// Name of the directory below the data directory.
pub const DIR_NAME: &str = "snapshots";
const SUFFIX: &str = ".snapshot";
const CONTENTS_SUFFIX: &str = ".contents";
const LEASED_SUFFIX: &str = ".leased";
const STAGING_SUFFIX: &str = ".tmp";
/// Longest name of a snapshot, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Cache of a snapshot that is read; every block is read once.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes that are copied at once.
const COPY_BYTES: u64 = 1024 * 1024;

/// What a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// The store it was taken of.
    pub store_id: u128,
    /// It holds exactly the transactions at or below this LSN.
    pub lsn: Lsn,
    /// Tables it consists of.
    pub tables: u64,
    /// Their size.
    pub bytes: u64,
    /// Versions of keys in them.
    pub entries: u64,
}

/// One table of a snapshot, as a file of the snapshot directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Its name, which is different for different content.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// A directory of snapshots. Reading is safe at any time; calls that change it must not run
/// beside each other.
#[derive(Clone)]
pub struct Snapshots {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

/// Refuses what is no name of a snapshot.
///
/// # Errors
/// [`StoreError::InvalidName`].
pub fn check_name(name: &str) -> Result<()> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty()
        || name.len() > MAX_NAME_BYTES
        || name.starts_with(['.', '-'])
        || !name.bytes().all(fine)
    {
        return Err(StoreError::InvalidName {
            name: name.chars().take(MAX_NAME_BYTES).collect(),
        });
    }
    Ok(())
}

fn table_name(meta: &TableMeta) -> String {
    format!("table-{:010}-{:08x}.sst", meta.number, meta.checksum)
}

/// Whether a file looks like a table of a snapshot.
fn is_table_name(name: &str) -> bool {
    name.strip_prefix("table-")
        .and_then(|rest| rest.strip_suffix(".sst"))
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(number, checksum)| {
            number.parse::<u64>().is_ok() && u32::from_str_radix(checksum, 16).is_ok()
        })
}

fn info(name: &str, manifest: &Manifest) -> SnapshotInfo {
    let metas = || manifest.levels.iter().flatten();
    SnapshotInfo {
        name: name.to_owned(),
        store_id: manifest.store_id,
        lsn: manifest.checkpoint,
        tables: u64::try_from(metas().count()).unwrap_or(u64::MAX),
        bytes: metas().map(|meta| meta.bytes).sum(),
        entries: metas().map(|meta| meta.entries).sum(),
    }
}

impl Snapshots {
    /// The snapshots in `dir`, which need not exist yet.
    pub fn new(disk: Arc<dyn Disk>, dir: impl Into<PathBuf>) -> Self {
        Self {
            disk,
            dir: dir.into(),
        }
    }

    /// Where they are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}{SUFFIX}"))
    }

    fn names(&self) -> Result<Vec<String>> {
        match self.disk.list(&self.dir) {
            Ok(names) => Ok(names),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(StoreError::io("list", &self.dir, &error)),
        }
    }

    fn manifest(&self, name: &str) -> Result<Manifest> {
        check_name(name)?;
        let path = self.path(name);
        Manifest::load_file(&*self.disk, &path)?.ok_or_else(|| StoreError::Mismatch {
            path: self.dir.clone(),
            detail: format!("there is no snapshot `{name}` here"),
        })
    }

    /// Whether there is one of this name.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`], I/O errors.
    pub fn contains(&self, name: &str) -> Result<bool> {
        check_name(name)?;
        let wanted = format!("{name}{SUFFIX}");
        Ok(self.names()?.contains(&wanted))
    }

    /// All of them by name, each one or why it cannot be read.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn list(&self) -> Result<Vec<(String, Result<SnapshotInfo>)>> {
        let mut found: Vec<_> = self
            .names()?
            .iter()
            .filter_map(|file| file.strip_suffix(SUFFIX))
            .filter(|name| check_name(name).is_ok())
            .map(|name| (name.to_owned(), self.info(name)))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// What the snapshot `name` is.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] if there is none, damage of its manifest, I/O errors.
    pub fn info(&self, name: &str) -> Result<SnapshotInfo> {
        Ok(info(name, &self.manifest(name)?))
    }

    /// The tables of the snapshot `name`.
    ///
    /// # Errors
    /// As [`Snapshots::info`].
    pub fn files(&self, name: &str) -> Result<Vec<SnapshotFile>> {
        let manifest = self.manifest(name)?;
        let file = |meta: &TableMeta| SnapshotFile {
            name: table_name(meta),
            bytes: meta.bytes,
        };
        Ok(manifest.levels.iter().flatten().map(file).collect())
    }

    /// Opens the snapshot `name` for reading.
    ///
    /// # Errors
    /// As [`Snapshots::info`], and damage of a table's frame. Damage of a block shows when the
    /// block is read.
    pub fn read(&self, name: &str) -> Result<ReadPoint> {
        let manifest = self.manifest(name)?;
        let cache = Arc::new(BlockCache::new(CACHE_BYTES));
        let levels = self.open_tables(&manifest, &cache)?;
        Ok(ReadPoint {
            version: Arc::new(Version {
                active: Arc::new(Memtable::new()),
                sealed: Vec::new(),
                levels: Arc::new(levels),
            }),
            lsn: manifest.checkpoint,
        })
    }

    fn open_tables(&self, manifest: &Manifest, cache: &Arc<BlockCache>) -> Result<Levels> {
        let open = |meta: &TableMeta| {
            let path = self.dir.join(table_name(meta));
            Table::open_file(&self.disk, path, meta, Arc::clone(cache))
        };
        let levels: Result<Vec<Vec<_>>> = manifest
            .levels
            .iter()
            .map(|level| level.iter().map(open).collect())
            .collect();
        Levels::new(levels?).map_err(|error| StoreError::corrupt(&self.dir, 0, error.to_string()))
    }

    /// Reads every byte of the snapshot `name` and checks it. `progress` gets bytes done and in
    /// all.
    ///
    /// # Errors
    /// The first damage found; as [`Snapshots::info`].
    pub fn verify(&self, name: &str, progress: &mut dyn FnMut(u64, u64)) -> Result<SnapshotInfo> {
        let manifest = self.manifest(name)?;
        let info = info(name, &manifest);
        let cache = Arc::new(BlockCache::new(CACHE_BYTES));
        let levels = self.open_tables(&manifest, &cache)?;
        let mut done = 0;
        for table in levels.tables() {
            table.verify()?;
            done += table.meta().bytes;
            progress(done, info.bytes);
        }
        Ok(info)
    }

    /// Removes the snapshot `name`, and the tables that no other one names. Returns whether it was
    /// there. When it returns, it is gone durably.
    ///
    /// # Errors
    /// I/O errors; a second call goes on.
    pub fn delete(&self, name: &str) -> Result<bool> {
        let there = self.contains(name)?;
        if there {
            self.remove(&self.path(name))?;
            // What is beside it must never come to describe another one of its name.
            self.sync()?;
        }
        self.sweep()?;
        Ok(there)
    }

    /// Removes tables that no snapshot names and files that were never finished. Does nothing
    /// while a snapshot cannot be read: what it needs is not known then.
    fn sweep(&self) -> Result<()> {
        let names = self.names()?;
        let mut needed = HashSet::new();
        for (_, found) in self.list()? {
            let Ok(found) = found else {
                return Ok(());
            };
            needed.extend(self.files(&found.name)?.into_iter().map(|file| file.name));
        }
        let is_alone = |name: &str| {
            [CONTENTS_SUFFIX, LEASED_SUFFIX]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .any(|owner| !names.contains(&format!("{owner}{SUFFIX}")))
        };
        for name in &names {
            if name.ends_with(STAGING_SUFFIX)
                || (is_table_name(name) && !needed.contains(name))
                || is_alone(name)
            {
                self.remove(&self.dir.join(name))?;
            }
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", path, &error))
            }
            _ => Ok(()),
        }
    }

    fn sync(&self) -> Result<()> {
        self.disk
            .sync_dir(&self.dir)
            .map_err(|error| StoreError::io("sync the directory", &self.dir, &error))
    }

    /// Makes `manifest` the snapshot `name`: its tables are there and synced.
    fn publish(&self, name: &str, manifest: &Manifest) -> Result<()> {
        let file = format!("{name}{SUFFIX}");
        let staging = format!("{file}{STAGING_SUFFIX}");
        manifest
            .store_as(&*self.disk, &self.dir, &file, &staging)
            .map_err(|failure| match failure {
                // Nothing relies on a snapshot before this call said that it is there.
                StoreFailure::Unchanged(error) | StoreFailure::Unknown(error) => error,
            })
    }
}

/// Copies a file and makes the copy's content durable; its name is made durable by the caller.
/// `progress` gets the bytes of each step.
fn copy_file(
    disk: &Arc<dyn Disk>,
    from: &Path,
    to: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let io = |op, path: &Path| {
        let path = path.to_path_buf();
        move |error: std::io::Error| StoreError::io(op, path, &error)
    };
    let source = disk.open(from, OpenMode::Read).map_err(io("open", from))?;
    let bytes = source.len().map_err(io("measure", from))?;
    let target = disk.open(to, OpenMode::Create).map_err(io("create", to))?;
    let mut at = 0;
    while at < bytes {
        let step = COPY_BYTES.min(bytes - at);
        // At most COPY_BYTES, so it fits.
        let mut buffer = vec![0; usize::try_from(step).unwrap_or(0)];
        source
            .read_exact_at(&mut buffer, at)
            .map_err(io("read", from))?;
        target.write_all_at(&buffer, at).map_err(io("write", to))?;
        at += step;
        progress(step);
    }
    target.sync_data().map_err(io("sync", to))
}
