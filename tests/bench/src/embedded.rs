//! The engine without HTTP: durable commits at so many threads, with the syncs they took.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use godb_engine::{Durability, StorageEngine, Write};
use godb_store::disk::real::RealDisk;
use godb_store::disk::{Disk, File, Lock, OpenMode, Space};

use crate::workload;

/// Commits of one run.
#[derive(Clone, Copy, Debug)]
pub struct Commits {
    /// Acknowledged commits a second.
    pub per_second: f64,
    /// fdatasync calls for each of them.
    pub syncs_per_commit: f64,
}

/// Inserts from so many threads, each waiting for its own commit.
///
/// # Errors
/// When the engine fails.
pub fn commits(
    below: &Path,
    durability: Durability,
    threads: u64,
    measure: Duration,
) -> Result<Commits, Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir_in(below)?;
    let syncs = Arc::new(AtomicU64::new(0));
    let disk = CountingDisk {
        inner: RealDisk::new(),
        syncs: Arc::clone(&syncs),
    };
    let engine = StorageEngine::builder(directory.path().join("data"))
        .durability(durability)
        .disk(Arc::new(disk))
        .open()?;
    let stop = AtomicBool::new(false);
    let before = syncs.load(Ordering::Relaxed);
    let started = Instant::now();
    let count = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..threads)
            .map(|writer| {
                let (engine, stop) = (&engine, &stop);
                scope.spawn(move || write(engine, stop, writer << 40))
            })
            .collect();
        std::thread::sleep(measure);
        stop.store(true, Ordering::Relaxed);
        let mut count = 0;
        for writer in writers {
            count += writer.join().map_err(|_| "a writer panicked")??;
        }
        Ok::<u64, Box<dyn std::error::Error>>(count)
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let used = syncs.load(Ordering::Relaxed) - before;
    engine.close()?;
    Ok(Commits {
        per_second: count as f64 / seconds,
        syncs_per_commit: used as f64 / count.max(1) as f64,
    })
}

fn write(engine: &StorageEngine, stop: &AtomicBool, first: u64) -> Result<u64, String> {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let document = workload::document(first + count);
        let pending = engine.insert("bench", &document, &Write::default());
        pending
            .and_then(|pending| pending.wait())
            .map_err(|error| error.to_string())?;
        count += 1;
    }
    Ok(count)
}

/// The real disk, with its syncs of file contents counted.
struct CountingDisk {
    inner: RealDisk,
    syncs: Arc<AtomicU64>,
}

struct CountingFile {
    inner: Arc<dyn File>,
    syncs: Arc<AtomicU64>,
}

impl Disk for CountingDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(CountingFile {
            inner: self.inner.open(path, mode)?,
            syncs: Arc::clone(&self.syncs),
        }))
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.link(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }
    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.inner.space(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path)
    }
    fn boot_id(&self) -> u128 {
        self.inner.boot_id()
    }
}

impl File for CountingFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_exact_at(buf, offset)
    }
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_all_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.inner.sync_data()
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.inner.truncate(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}
