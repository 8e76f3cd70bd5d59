//! The I/O seam: the only way to files for log, tables, manifest and snapshots.
//!
//! Three implementations pass one conformance suite: [`real`] (the file system), `sim` (in memory,
//! with power cuts by seed) and `fault` (a layer over any disk that fails or delays chosen calls).
//!
//! What an implementation promises, and nothing more:
//! - what [`File::write_all_at`] wrote is read back by everyone in this process at once;
//! - it survives a power cut only once [`File::sync_data`] on that file returned Ok after it;
//! - a new name, a rename, a link or a removal survives a power cut only once [`Disk::sync_dir`]
//!   on its directory returned Ok after it; a rename is atomic, before and after;
//! - after a failed sync nothing may be assumed about what was written since the last good one;
//! - calls may come from several threads at once.

#[cfg(any(test, feature = "sim"))]
mod calls;
#[cfg(test)]
mod conformance;
#[cfg(any(test, feature = "sim"))]
pub mod fault;
pub mod real;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

use std::io;
use std::path::Path;
use std::sync::Arc;

#[cfg(any(test, feature = "sim"))]
pub use calls::{CallCounts, CallKind};
#[cfg(any(test, feature = "sim"))]
pub use fault::FaultDisk;
pub use real::RealDisk;
#[cfg(any(test, feature = "sim"))]
pub use sim::SimDisk;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing, for reading.
    Read,
    /// Existing, for reading and writing.
    Write,
    /// Made by this call, for reading and writing; `AlreadyExists` if the name is taken.
    Create,
}

/// Space of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Left for this process.
    pub free_bytes: u64,
    /// In all.
    pub total_bytes: u64,
}

/// A directory tree. Paths are used as given.
pub trait Disk: Send + Sync + 'static {
    /// Opens or makes a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Makes a directory and the ones above it; fine when it exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory (files and directories), without order. `NotFound` if it is missing.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Renames, replacing an existing file of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// A second name for a file; `AlreadyExists` if the name is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Space of the file system that holds `dir`.
    fn space(&self, dir: &Path) -> io::Result<Space>;
    /// Takes the exclusive lock on the file at `path`, made if missing, until the guard is
    /// dropped or the process ends. `WouldBlock` if another holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
    /// As [`Disk::lock`], but nothing is made or written, so that it works where nothing can be:
    /// `NotFound` if the file is missing.
    fn lock_existing(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.open(path, OpenMode::Read)?;
        self.lock(path)
    }
    /// Differs after each restart of the machine, so a file can tell whether the page cache that
    /// took its writes is still the same one.
    fn boot_id(&self) -> u128;
}

/// An open file.
pub trait File: Send + Sync + 'static {
    /// Reads until `buf` is full; `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `buf`; past the end the file grows, and a hole reads as zeros. On an error
    /// any part may have been written.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Returns once everything written to this file before the call is durable (fdatasync,
    /// including a changed length).
    fn sync_data(&self) -> io::Result<()>;
    /// Sets the length; a longer file reads as zeros there.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Current length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Held while a directory is in use.
pub trait Lock: Send + Sync {}
