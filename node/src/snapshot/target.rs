//! Where a snapshot goes to. Every target can say what it has, takes tables in any order, and makes
//! a snapshot of them with the manifest as the last step.

use std::path::Path;

use godb_store::{Receiver, SnapshotFile, SnapshotInfo};

use super::folder;
use super::source::store;
use crate::exit::Failure;

/// Where a snapshot goes to, opened for one.
pub enum Target {
    /// A directory of snapshots.
    Folder(Receiver),
}

impl Target {
    /// A directory, for the snapshot `name` with this manifest.
    pub fn folder(dir: &Path, name: &str, manifest: &[u8]) -> Result<Self, Failure> {
        let receiver = folder(dir).receive(name, manifest).map_err(store)?;
        Ok(Target::Folder(receiver))
    }

    /// The tables that it has not.
    pub fn missing(&self) -> Result<Vec<SnapshotFile>, Failure> {
        match self {
            Target::Folder(receiver) => receiver.missing().map_err(store),
        }
    }

    /// Takes one of them. `fill` writes all of it into what it is given; the table counts only
    /// once all of it was read back and is whole.
    pub fn take(
        &self,
        file: &SnapshotFile,
        fill: impl FnOnce(&mut super::source::Sink<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match self {
            Target::Folder(receiver) => {
                let mut table = receiver.begin(&file.name).map_err(store)?;
                fill(&mut |piece| table.write(piece).map_err(store))?;
                table.finish().map_err(store)
            }
        }
    }

    /// Makes it a snapshot, durably.
    pub fn finish(self, description: Option<&[u8]>) -> Result<SnapshotInfo, Failure> {
        match self {
            Target::Folder(receiver) => receiver.finish(description).map_err(store),
        }
    }
}
