//! The file system: the only place of the store that names `std::fs`.
//!
//! Fault model: every call can fail with any error, and is then reported, never retried here
//! (`EINTR` aside, which the standard library repeats). A failed [`File::sync_data`] may have
//! dropped the pages it could not write, and a second one may report success for them: the caller
//! must treat the first failure as final. What must never happen: `sync_data` or
//! [`Disk::sync_dir`] returning Ok before the kernel confirmed the flush. What lies below (a drive
//! that acknowledges a flush it did not make) is outside the model.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this file is the seam that keeps std::fs out of everywhere else"
)]

use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

use super::{Disk, File, Lock, OpenMode, Space};

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    /// The file system, seen from this process.
    pub fn new() -> Self {
        Self
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::Create => {
                options.write(true).create_new(true);
            }
        }
        let file = options.open(path)?;
        // Linux opens a directory for reading and fails only at the first read.
        if mode == OpenMode::Read && file.metadata()?.is_dir() {
            return Err(Errno::ISDIR.into());
        }
        Ok(Arc::new(RealFile(file)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name().into_string().map_err(|name| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the name {name:?} in {} is not UTF-8", dir.display()),
                )
            })?;
            names.push(name);
        }
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let directory = fs::File::open(dir)?;
        if !directory.metadata()?.is_dir() {
            return Err(Errno::NOTDIR.into());
        }
        directory.sync_all()
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(Space {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        locked(file)
    }

    fn lock_existing(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        locked(fs::File::open(path)?)
    }

    fn boot_id(&self) -> u128 {
        static BOOT_ID: OnceLock<u128> = OnceLock::new();
        *BOOT_ID.get_or_init(|| {
            fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .ok()
                .and_then(|text| parse_boot_id(&text))
                .unwrap_or_else(unknown_boot_id)
        })
    }
}

fn locked(file: fs::File) -> io::Result<Box<dyn Lock>> {
    match file.try_lock() {
        Ok(()) => Ok(Box::new(RealLock { _file: file })),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The number behind a UUID in text; `None` if the text is anything else.
fn parse_boot_id(text: &str) -> Option<u128> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok()
}

/// Stands in for a boot id that the kernel does not show. It differs in every process, which reads
/// as "the machine may have restarted": then a loss of unsynced bytes is not mistaken for
/// corruption. A constant would read as "it never restarted" and refuse a healthy store.
fn unknown_boot_id() -> u128 {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_ok() {
        return u128::from_le_bytes(bytes);
    }
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos())
}

struct RealFile(fs::File);

impl File for RealFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// The kernel lets go of the lock when the file is closed, also when the process is killed.
struct RealLock {
    _file: fs::File,
}

impl Lock for RealLock {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::conformance;

    #[test]
    fn conforms() {
        let dir = tempfile::tempdir().unwrap();
        conformance::run(&RealDisk::new(), dir.path());
    }

    #[test]
    fn space_is_that_of_the_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let space = RealDisk::new().space(dir.path()).unwrap();
        assert!(
            space.total_bytes >= space.free_bytes && space.total_bytes > 0,
            "{space:?}"
        );
    }

    #[test]
    fn the_boot_id_is_the_kernels() {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert_eq!(Some(RealDisk::new().boot_id()), parse_boot_id(&text));
        assert_eq!(
            parse_boot_id("00000000-0000-0000-0000-0000000001ff\n"),
            Some(0x1ff),
            "a UUID is read as a number"
        );
        assert_eq!(parse_boot_id("+0000000000000000000000000000001"), None);
        assert_eq!(parse_boot_id(""), None);
    }

    #[test]
    fn an_unknown_boot_id_never_repeats() {
        assert_ne!(unknown_boot_id(), unknown_boot_id());
    }
}
