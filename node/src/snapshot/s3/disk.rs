//! A bucket as a disk: its files can be listed, read and removed. All other paths are those of the
//! file system, so that a database is restored from the one to the other.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use godb_store::disk::{Disk, File, Lock, OpenMode, RealDisk, Space};

use super::bucket::{Bucket, Object};
use super::{PUSHING, SWEEP, unique};

/// Bytes that are fetched at once; files are mostly read from their beginning to their end.
const AHEAD_BYTES: u64 = 4 * 1024 * 1024;
/// How long after it last looked a sweep may remove what it saw.
pub const SWEEP_WINDOW: Duration = Duration::from_secs(60);
/// How old a push object is that nobody minds any more; a push writes its own anew more often.
const PUSH_IS_DEAD: Duration = Duration::from_secs(24 * 3600);
/// Largest push object that is read.
const MAX_PUSHING_BYTES: u64 = 64 * 1024 * 1024;

/// The bucket at one path, the file system at all others.
pub struct BucketDisk {
    bucket: Arc<Bucket>,
    root: PathBuf,
    inner: RealDisk,
    sweep: Arc<Mutex<Option<Sweep>>>,
}

/// This process looks for what can go.
struct Sweep {
    name: String,
    looks: u64,
    looked_at: Instant,
}

impl BucketDisk {
    /// The bucket at `root`.
    pub fn new(bucket: Arc<Bucket>, root: &Path) -> Self {
        Self {
            bucket,
            root: root.to_path_buf(),
            inner: RealDisk::new(),
            sweep: Arc::default(),
        }
    }

    /// The object of a path of the bucket.
    fn name<'p>(&self, path: &'p Path) -> Option<&'p str> {
        path.strip_prefix(&self.root).ok()?.to_str()
    }

    fn is_here(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }

    /// Says that this sweep looks anew, before it does; and leaves the tables of pushes unseen.
    fn list_for_sweep(&self, sweep: &mut Sweep) -> io::Result<Vec<Object>> {
        sweep.looks += 1;
        sweep.looked_at = Instant::now();
        let say = format!("{}\n", sweep.looks).into_bytes();
        self.bucket.put(&sweep.name, say)?;
        let objects = self.bucket.list()?;
        let own = objects.iter().find(|object| object.name == sweep.name);
        let now = own.map_or(i64::MIN, |object| object.changed_at);
        let dead_before = now.saturating_sub_unsigned(PUSH_IS_DEAD.as_secs());
        let mut wanted = HashSet::new();
        for object in &objects {
            if object.name.ends_with(PUSHING) && object.changed_at >= dead_before {
                wanted.extend(tables_of(&self.bucket, object)?);
            }
        }
        Ok(objects
            .into_iter()
            .filter(|object| !wanted.contains(&object.name))
            .collect())
    }
}

/// The tables that a push will refer to; none if it has ended meanwhile.
fn tables_of(bucket: &Bucket, object: &Object) -> io::Result<Vec<String>> {
    if object.bytes == 0 || object.bytes > MAX_PUSHING_BYTES {
        return Ok(Vec::new());
    }
    match bucket.read(&object.name, 0..object.bytes) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            Ok(text.lines().map(str::to_owned).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn unsupported() -> io::Error {
    io::Error::new(
        ErrorKind::Unsupported,
        "a bucket takes snapshots only by `godb snapshot pull --to`",
    )
}

impl Disk for BucketDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        if !self.is_here(path) {
            return self.inner.open(path, mode);
        }
        let name = self.name(path).ok_or_else(unsupported)?;
        if mode != OpenMode::Read {
            return Err(unsupported());
        }
        Ok(Arc::new(BucketFile {
            bytes: self.bucket.size(name)?,
            bucket: Arc::clone(&self.bucket),
            name: name.to_owned(),
            ahead: Mutex::default(),
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if self.is_here(path) {
            return Ok(());
        }
        self.inner.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        if !self.is_here(dir) {
            return self.inner.list(dir);
        }
        let mut sweep = self.sweep.lock().unwrap_or_else(PoisonError::into_inner);
        let objects = match &mut *sweep {
            Some(sweep) => self.list_for_sweep(sweep)?,
            None => self.bucket.list()?,
        };
        Ok(objects.into_iter().map(|object| object.name).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.is_here(from) || self.is_here(to) {
            return Err(unsupported());
        }
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if !self.is_here(path) {
            return self.inner.remove(path);
        }
        let name = self.name(path).ok_or_else(unsupported)?;
        let sweep = self.sweep.lock().unwrap_or_else(PoisonError::into_inner);
        match &*sweep {
            Some(sweep) if sweep.looked_at.elapsed() < SWEEP_WINDOW => self.bucket.remove(name),
            _ => Err(io::Error::new(
                ErrorKind::TimedOut,
                "it took long to remove what nobody needs; the same command goes on with it",
            )),
        }
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        if self.is_here(dir) {
            return Err(unsupported());
        }
        self.inner.remove_dir(dir)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.is_here(from) || self.is_here(to) {
            return Err(unsupported());
        }
        self.inner.link(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.is_here(dir) {
            // What a bucket has acknowledged, it has.
            return Ok(());
        }
        self.inner.sync_dir(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        if self.is_here(dir) {
            return Err(unsupported());
        }
        self.inner.space(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        if !self.is_here(path) {
            return self.inner.lock(path);
        }
        let unique = unique().map_err(|failure| io::Error::other(failure.message))?;
        let name = format!("{}{unique}{}", SWEEP.0, SWEEP.1);
        *self.sweep.lock().unwrap_or_else(PoisonError::into_inner) = Some(Sweep {
            name: name.clone(),
            looks: 0,
            looked_at: Instant::now(),
        });
        Ok(Box::new(SweepLock {
            bucket: Arc::clone(&self.bucket),
            sweep: Arc::clone(&self.sweep),
            name,
        }))
    }

    fn boot_id(&self) -> u128 {
        self.inner.boot_id()
    }
}

/// Ends the sweep when it goes.
struct SweepLock {
    bucket: Arc<Bucket>,
    sweep: Arc<Mutex<Option<Sweep>>>,
    name: String,
}

impl Lock for SweepLock {}

impl Drop for SweepLock {
    fn drop(&mut self) {
        *self.sweep.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // If it stays, pushes wait for a while and then pass it over.
        self.bucket.remove(&self.name).ok();
    }
}

/// An object that is read.
struct BucketFile {
    bucket: Arc<Bucket>,
    name: String,
    bytes: u64,
    /// Where the piece that was fetched last begins, and the piece.
    ahead: Mutex<(u64, Bytes)>,
}

impl File for BucketFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = buf;
        let mut at = offset;
        while !left.is_empty() {
            let skip = at.checked_sub(ahead.0).map(usize::try_from);
            let have = match skip {
                Some(Ok(skip)) => ahead.1.get(skip..).unwrap_or_default(),
                _ => &[],
            };
            let step = have.len().min(left.len());
            if let Some(from) = have.get(..step)
                && step > 0
            {
                let (to, rest) = std::mem::take(&mut left).split_at_mut(step);
                to.copy_from_slice(from);
                left = rest;
                at += u64::try_from(step).unwrap_or(0);
                continue;
            }
            let end = at.saturating_add(AHEAD_BYTES).min(self.bytes);
            if at >= end {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let fetched = self.bucket.read(&self.name, at..end)?;
            if fetched.is_empty() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            *ahead = (at, fetched);
        }
        Ok(())
    }

    fn write_all_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
        Err(unsupported())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(unsupported())
    }

    fn truncate(&self, _len: u64) -> io::Result<()> {
        Err(unsupported())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }
}
