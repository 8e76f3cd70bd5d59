//! Where a snapshot comes from. Every source gives the same: a list, small files whole, and tables
//! as a stream that can begin anywhere.

use godb_store::{SnapshotFile, Snapshots};

use super::node::Node;
use super::show::Listed;
use super::{Place, folder, no_such, of_database};
use crate::exit::Failure;

/// Bytes that are read at once.
const PIECE_BYTES: u64 = 1024 * 1024;

/// Takes the pieces of a file in their order.
pub type Sink<'s> = dyn FnMut(&[u8]) -> Result<(), Failure> + 's;

/// Where a snapshot comes from.
pub enum Source {
    /// A directory of snapshots.
    Folder(Snapshots),
    /// The admin port of a node.
    Node(Box<Node>),
}

impl Source {
    /// The source at a place.
    pub fn open(place: &Place) -> Result<Self, Failure> {
        Ok(match place {
            Place::Folder(dir) => Source::Folder(folder(dir)),
            Place::Database(directories) => Source::Folder(of_database(directories)),
            Place::Node(address) => Source::Node(Box::new(Node::new(address)?)),
        })
    }

    /// All snapshots, by name.
    pub fn list(&mut self) -> Result<Vec<Listed>, Failure> {
        match self {
            Source::Folder(snapshots) => super::show::list(snapshots),
            Source::Node(node) => node.list(),
        }
    }

    /// The files of the snapshot `name`, tables first, its manifest last. From here on a node
    /// keeps the snapshot until [`Source::release`], or until nothing is read for long.
    pub fn files(&mut self, name: &str) -> Result<Vec<SnapshotFile>, Failure> {
        match self {
            Source::Folder(snapshots) => {
                if !snapshots.contains(name).map_err(store)? {
                    return Err(no_such(name, &snapshots.dir().display().to_string()));
                }
                snapshots.carried_files(name).map_err(store)
            }
            Source::Node(node) => node.files(name),
        }
    }

    /// Reads one of these files.
    pub fn read(
        &mut self,
        name: &str,
        file: &SnapshotFile,
        sink: &mut Sink<'_>,
    ) -> Result<(), Failure> {
        match self {
            Source::Folder(snapshots) => read_local(snapshots, name, file, sink),
            Source::Node(node) => node.read(name, file, sink),
        }
    }

    /// The reader is done with the snapshot `name`.
    pub fn release(&mut self, name: &str) {
        if let Source::Node(node) = self {
            node.release(name);
        }
    }
}

fn read_local(
    snapshots: &Snapshots,
    name: &str,
    file: &SnapshotFile,
    sink: &mut Sink<'_>,
) -> Result<(), Failure> {
    let Some(reader) = snapshots.open_file(name, &file.name).map_err(store)? else {
        return Err(no_such(name, &snapshots.dir().display().to_string()));
    };
    let mut at = 0;
    while at < reader.bytes() {
        let step = PIECE_BYTES.min(reader.bytes() - at);
        // At most PIECE_BYTES, so it fits.
        let mut piece = vec![0; usize::try_from(step).unwrap_or(0)];
        reader.read_at(&mut piece, at).map_err(store)?;
        sink(&piece)?;
        at += step;
    }
    Ok(())
}

/// A store's error as the end of a command.
pub fn store(error: godb_store::StoreError) -> Failure {
    Failure::from(godb_engine::EngineError::from(error))
}
