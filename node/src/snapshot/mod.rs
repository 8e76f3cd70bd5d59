//! `godb snapshot`: taking, listing, verifying, carrying, restoring and removing snapshots.
//!
//! ```text
//! source.rs ─► pull.rs ─► target.rs      a snapshot from where it is to where it shall be too
//!     │                       └ a directory of snapshots
//!     └ a directory of snapshots, or the admin port of a node
//! ```
//! Whatever the way: tables first, those that are there already not again, the manifest last. So a
//! carry that was cut off leaves no snapshot, and is repeated.

mod manage;
mod node;
mod pull;
mod restore;
mod s3;
pub mod show;
mod source;
mod target;
mod verify;

pub use manage::made_name;

use std::path::PathBuf;
use std::sync::Arc;

use godb_store::disk::{Disk, RealDisk};
use godb_store::{Settings, Snapshots};

use crate::exit::{Exit, Failure};
use crate::tools::{Directories, NodeAddress};

/// Where snapshots are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// With a running node, behind its admin port.
    Node(NodeAddress),
    /// With a database that no node is using.
    Database(Directories),
    /// In a directory of their own.
    Folder(PathBuf),
}

/// What `godb snapshot …` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotCommand {
    /// Take one.
    Create {
        /// Its name; one is made of the time if not given.
        name: Option<String>,
        /// Whose.
        place: Place,
    },
    /// List them.
    List {
        /// Where.
        place: Place,
        /// As JSON.
        json: bool,
    },
    /// Read every byte of them.
    Verify {
        /// One of them, or all.
        name: Option<String>,
        /// Where.
        place: Place,
    },
    /// Remove one.
    Delete {
        /// Which.
        name: String,
        /// Where.
        place: Place,
        /// Also while somebody reads it.
        force: bool,
        /// One that is not there is no failure.
        if_exists: bool,
    },
    /// Remove all but the newest.
    Prune {
        /// How many stay.
        keep: usize,
        /// Where.
        place: Place,
    },
    /// Bring one to a directory.
    Pull(PullOptions),
    /// Make a database of one.
    Restore(RestoreOptions),
}

/// What `godb snapshot pull` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullOptions {
    /// Which; one is taken for this, and goes afterwards, if not given.
    pub name: Option<String>,
    /// Where from.
    pub place: Place,
    /// The directory.
    pub to: PathBuf,
}

/// What `godb snapshot restore` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Which; the newest if not given.
    pub name: Option<String>,
    /// The directory of snapshots.
    pub from: PathBuf,
    /// Where the database shall be.
    pub directories: Directories,
    /// In place of the one that is there.
    pub replace: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// What keeps it from being done.
pub fn run(command: &SnapshotCommand) -> Result<Exit, Failure> {
    match command {
        SnapshotCommand::Create { name, place } => manage::create(name.as_deref(), place),
        SnapshotCommand::List { place, json } => manage::list(place, *json),
        SnapshotCommand::Verify { name, place } => verify::run(name.as_deref(), place),
        SnapshotCommand::Delete {
            name,
            place,
            force,
            if_exists,
        } => manage::delete(name, place, *force, *if_exists),
        SnapshotCommand::Prune { keep, place } => manage::prune(*keep, place),
        SnapshotCommand::Pull(options) => pull::run(options),
        SnapshotCommand::Restore(options) => restore::run(options),
    }
}

/// The real one; power cuts are simulated below this package.
fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk::new())
}

/// The snapshots of a directory.
fn folder(dir: impl Into<PathBuf>) -> Snapshots {
    Snapshots::new(disk(), dir)
}

/// The snapshots that lie with a database.
fn of_database(directories: &Directories) -> Snapshots {
    folder(directories.data_dir.join(godb_store::SNAPSHOTS_DIR_NAME))
}

/// The store's settings for these directories.
fn settings(directories: &Directories) -> Settings {
    let mut settings = Settings::new(&directories.data_dir);
    if let Some(dir) = &directories.wal_dir {
        settings.wal_dir.clone_from(dir);
    }
    if let Some(dir) = &directories.checkpoint_dir {
        settings.checkpoint_dir.clone_from(dir);
    }
    settings
}

/// What a person is told when there is no such snapshot.
fn no_such(name: &str, place: &str) -> Failure {
    Failure::new(
        Exit::NoInput,
        format!(
            "there is no snapshot `{name}` in {place}; `godb snapshot list` shows what there is"
        ),
    )
}
