//! Taking a snapshot of a store that goes on.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;

use super::{DIR_NAME, SnapshotInfo, Snapshots, check_name, info, table_name};
use crate::checkpoint::Checkpointer;
use crate::error::{Result, StoreError};
use crate::manifest::Manifest;
use crate::recovery;
use crate::sync::lock;

/// What the snapshots of a store hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotUsage {
    /// How many there are.
    pub snapshots: u64,
    /// Size of their tables, each counted once.
    pub bytes: u64,
    /// Part of it that the store itself has no use for any more: what deleting all of them frees.
    pub pinned_bytes: u64,
}

impl Checkpointer {
    pub(crate) fn snapshots(&self) -> Snapshots {
        Snapshots::new(
            std::sync::Arc::clone(&self.disk),
            self.data_dir.join(DIR_NAME),
        )
    }

    /// Takes a snapshot of everything appended before the call, or finds the one that has the
    /// name already. Writers and readers go on: a checkpoint, then one hard link for each table.
    pub(crate) fn cut_snapshot(&self, name: &str, leased: bool) -> Result<(SnapshotInfo, bool)> {
        check_name(name)?;
        let _one_at_a_time = lock(&self.snapshotting);
        let snapshots = self.snapshots();
        if snapshots.contains(name)? {
            return Ok((snapshots.info(name)?, false));
        }
        self.checkpoint()?;
        self.check_owned()?;
        // Tables that are held stay on the disk, whatever a compaction does meanwhile.
        let (manifest, levels) = {
            let current = lock(&self.manifest);
            let levels = std::sync::Arc::clone(&self.pipeline.versions.load().levels);
            (current.clone(), levels)
        };
        recovery::prepare_dir(&*self.disk, &snapshots.dir)?;
        snapshots.sweep()?;
        if leased {
            snapshots.mark_leased(name)?;
        }
        for table in levels.tables() {
            let from = table.meta().path(&self.checkpoint_dir);
            let to = snapshots.dir.join(table_name(table.meta()));
            match self.disk.link(&from, &to) {
                Ok(()) => {}
                // Shared with another snapshot: names tell content.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                    return Err(StoreError::Mismatch {
                        path: self.checkpoint_dir.clone(),
                        detail: format!(
                            "snapshots are hard links, but the tables lie on another volume than {}; put both on one volume",
                            snapshots.dir.display()
                        ),
                    });
                }
                Err(error) => return Err(StoreError::io("link", &to, &error)),
            }
        }
        snapshots.sync()?;
        let manifest = Manifest {
            clean: true,
            log_start: None,
            log_through: None,
            ..manifest
        };
        snapshots.publish(name, &manifest)?;
        Ok((info(name, &manifest), true))
    }

    /// Removes a snapshot; see [`Snapshots::delete`].
    pub(crate) fn delete_snapshot(&self, name: &str) -> Result<bool> {
        let _one_at_a_time = lock(&self.snapshotting);
        self.check_owned()?;
        self.snapshots().delete(name)
    }

    /// See [`crate::Store::describe_snapshot`].
    pub(crate) fn describe_snapshot(
        &self,
        name: &str,
        description: &[u8],
        replace: bool,
    ) -> Result<bool> {
        let _one_at_a_time = lock(&self.snapshotting);
        self.check_owned()?;
        let snapshots = self.snapshots();
        if !snapshots.contains(name)? || (!replace && snapshots.description(name)?.is_some()) {
            return Ok(false);
        }
        snapshots.describe(name, description)?;
        Ok(true)
    }

    /// See [`crate::Store::snapshot_usage`].
    pub(crate) fn snapshot_usage(&self) -> Result<SnapshotUsage> {
        let snapshots = self.snapshots();
        let (mut count, mut held) = (0, HashMap::new());
        for (name, found) in snapshots.list()? {
            // Damaged, or removed since it was listed.
            if let Ok(files) = found.and_then(|_| snapshots.files(&name)) {
                count += 1;
                held.extend(files.into_iter().map(|file| (file.name, file.bytes)));
            }
        }
        let live: HashSet<String> = {
            let manifest = lock(&self.manifest);
            manifest.levels.iter().flatten().map(table_name).collect()
        };
        Ok(SnapshotUsage {
            snapshots: count,
            bytes: held.values().sum(),
            pinned_bytes: held
                .iter()
                .filter(|(name, _)| !live.contains(*name))
                .map(|(_, bytes)| bytes)
                .sum(),
        })
    }
}
