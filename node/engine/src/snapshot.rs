//! Snapshots of a database: those of the store, and beside each what it holds, collection by
//! collection. So a copy can be held against its original by what users see of it, documents, and
//! not by its checksums only.

mod contents;

use std::time::{Duration, Instant, SystemTime};

use godb_store::{Direction, Io, ReadPoint, SnapshotInfo, Snapshots, StoreError};
use sha2::{Digest as _, Sha256};

pub use contents::{CollectionContents, Contents};

use crate::catalog::Catalog;
use crate::check;
use crate::error::{EngineError, Result};
use crate::key;
use crate::storage_engine::StorageEngine;

/// A snapshot and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What the store knows of it.
    pub info: SnapshotInfo,
    /// What it holds; `None` if a crash or a full disk kept that from being written down.
    /// [`StorageEngine::create_snapshot`] of the same name does it.
    pub contents: Option<Contents>,
    /// Whether it goes when nobody wants it any more.
    pub is_leased: bool,
}

/// How a snapshot is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// It is there for a reader that says when it is done, and goes with that one's lease.
    pub is_leased: bool,
}

impl StorageEngine {
    /// Takes a snapshot of everything appended before the call, while writers and readers go on,
    /// and writes down what it holds. Of an existing name, it is the existing one and `false`
    /// stands beside it. When this returns, it is durable.
    ///
    /// # Errors
    /// Those of [`godb_store::Store::create_snapshot`]: there is no snapshot then. A failure to
    /// read it leaves it there without its contents; a second call goes on.
    pub fn create_snapshot(
        &self,
        name: &str,
        options: SnapshotOptions,
    ) -> Result<(Snapshot, bool)> {
        let (began, created_at) = (Instant::now(), SystemTime::now());
        let (info, is_new) = if options.is_leased {
            self.store().create_leased_snapshot(name)?
        } else {
            self.store().create_snapshot(name)?
        };
        let took = began.elapsed();
        let snapshots = self.store().snapshots();
        let mut found = snapshot(&snapshots, name)?;
        if is_new || found.contents.is_none() {
            let created = is_new.then_some((created_at, took));
            let contents = Contents::of(&snapshots.read(name)?, created, &mut |_| {})?;
            // Of two calls at once, the one that took it knows when that was.
            let store = self.store();
            if store.describe_snapshot(name, &contents.encode(), is_new)? {
                found.contents = Some(contents);
            } else {
                found = snapshot(&snapshots, name)?;
            }
        }
        found.info = info;
        Ok((found, is_new))
    }

    /// The snapshots of this database, for reading.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        self.store().snapshots()
    }

    /// Removes a snapshot and what only it needed. Returns whether it was there.
    ///
    /// # Errors
    /// Those of the disk; a second call goes on.
    pub fn delete_snapshot(&self, name: &str) -> Result<bool> {
        Ok(self.store().delete_snapshot(name)?)
    }

    /// The snapshot with the highest LSN, of those that can be read.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn newest_snapshot(&self) -> Result<Option<Snapshot>> {
        let snapshots = self.store().snapshots();
        let list = snapshots.list()?.into_iter();
        let newest = list
            .filter_map(|(name, found)| Some((found.ok()?.lsn, name)))
            .max();
        // One that is removed at this moment is none.
        Ok(newest.and_then(|(_, name)| snapshot(&snapshots, &name).ok()))
    }

    /// What the snapshots of this database take.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn snapshot_usage(&self) -> Result<godb_store::SnapshotUsage> {
        Ok(self.store().snapshot_usage()?)
    }
}

/// The snapshot `name` of a directory of snapshots.
///
/// # Errors
/// There is none of this name; damage of its manifest or of what is written down beside it.
pub fn snapshot(snapshots: &Snapshots, name: &str) -> Result<Snapshot> {
    let info = snapshots.info(name)?;
    let path = snapshots.dir().join(Snapshots::description_name(name));
    let contents = snapshots
        .description(name)?
        .map(|bytes| Contents::decode(&bytes, &path))
        .transpose()?;
    Ok(Snapshot {
        info,
        contents,
        is_leased: snapshots.is_leased(name)?,
    })
}

/// Reads every byte of the snapshot `name`, checks it, reads every document, and holds what is
/// there against what was written down when it was taken. The answer has what is there.
/// `progress` is told bytes done and in all.
///
/// # Errors
/// The first damage or difference; as [`snapshot`].
pub fn verify_snapshot(
    snapshots: &Snapshots,
    name: &str,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Snapshot> {
    let total = snapshots.info(name)?.bytes.saturating_mul(2);
    snapshots.verify(name, &mut |done, _| progress(done, total))?;
    let half = total / 2;
    verify_contents(snapshots, name, &mut |done, _| {
        progress(half.saturating_add(done).min(total), total);
    })
}

/// The second half of [`verify_snapshot`]: reads every document, and holds what is there against
/// what was written down.
///
/// # Errors
/// As [`verify_snapshot`]; damage of what no document needs is not noticed.
pub fn verify_contents(
    snapshots: &Snapshots,
    name: &str,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Snapshot> {
    let mut found = snapshot(snapshots, name)?;
    let (mut done, total) = (0_u64, found.info.bytes);
    let actual = Contents::of(&snapshots.read(name)?, None, &mut |bytes| {
        done = done.saturating_add(bytes).min(total);
        progress(done, total);
    })?;
    progress(total, total);
    match &found.contents {
        Some(expected) => expected.compare(&actual).map_err(|difference| {
            let file = snapshots.dir().join(Snapshots::manifest_name(name));
            EngineError::Store(StoreError::corrupt(file, 0, difference))
        })?,
        None => found.contents = Some(actual),
    }
    Ok(found)
}

impl Contents {
    /// What `point` sees; `created` is when it was cut and how long that took, where it is known.
    /// `progress` is told bytes.
    fn of(
        point: &ReadPoint,
        created: Option<(SystemTime, Duration)>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self> {
        let mut collections = Vec::new();
        for (name, collection) in check::collections(point, &Catalog::default())? {
            let mut digest = Sha256::new();
            let (mut documents, mut bytes) = (0, 0);
            let prefix = key::documents_prefix(collection.number);
            let range = key::prefix_range(&prefix);
            for entry in point.scan(range, Direction::Ascending, Io::Allow) {
                let (key, entry) = entry?;
                let id = key.get(prefix.len()..).unwrap_or_default();
                let length = |of: &[u8]| u64::try_from(of.len()).unwrap_or(u64::MAX);
                for part in [id, &entry.value] {
                    digest.update(length(part).to_le_bytes());
                    digest.update(part);
                }
                documents += 1;
                bytes += length(&entry.value);
                progress(length(&key) + length(&entry.value));
            }
            collections.push(CollectionContents {
                name,
                documents,
                bytes,
                sha256: digest.finalize().into(),
            });
        }
        let since_epoch = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH);
        let ms = |of: Duration| u64::try_from(of.as_millis()).unwrap_or(u64::MAX);
        Ok(Self {
            created_at_ms: created.map_or(0, |(at, _)| since_epoch(at).map_or(0, ms)),
            took_ms: created.map_or(0, |(_, took)| ms(took)),
            collections,
        })
    }

    /// The first difference in words, if there is one.
    fn compare(&self, actual: &Self) -> Result<(), String> {
        let (mut ours, mut theirs) = (self.collections.iter(), actual.collections.iter());
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return Ok(()),
                (Some(a), Some(b)) if a == b => {}
                (Some(a), Some(b)) if a.name == b.name => {
                    return Err(format!(
                        "collection `{}` had {} documents with digest {}, and has {} with {}",
                        a.name,
                        a.documents,
                        a.sha256_hex(),
                        b.documents,
                        b.sha256_hex()
                    ));
                }
                (Some(a), _) => return Err(format!("collection `{}` is not there", a.name)),
                (None, Some(b)) => return Err(format!("collection `{}` was not there", b.name)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
