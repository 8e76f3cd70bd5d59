//! Taking a snapshot of a store that goes on.

use std::io::ErrorKind;

use super::{DIR_NAME, SnapshotInfo, Snapshots, check_name, info, table_name};
use crate::checkpoint::Checkpointer;
use crate::error::{Result, StoreError};
use crate::manifest::Manifest;
use crate::recovery;
use crate::sync::lock;

impl Checkpointer {
    pub(crate) fn snapshots(&self) -> Snapshots {
        Snapshots::new(
            std::sync::Arc::clone(&self.disk),
            self.data_dir.join(DIR_NAME),
        )
    }

    /// Takes a snapshot of everything appended before the call, or finds the one that has the
    /// name already. Writers and readers go on: a checkpoint, then one hard link for each table.
    pub(crate) fn cut_snapshot(&self, name: &str) -> Result<(SnapshotInfo, bool)> {
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
}
