//! A snapshot on its way into a bucket.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use godb_store::{Arriving, SnapshotFile, SnapshotInfo, Snapshots};

use super::bucket::{Bucket, Object};
use super::{Address, PUSHING, SWEEP, environment, on, unique};
use crate::exit::{Exit, Failure};
use crate::snapshot::source::{Sink, store};

/// How long a sweep may say nothing new before it counts as killed; it removes nothing for longer
/// than [`super::disk::SWEEP_WINDOW`].
pub const SWEEP_IS_DEAD: Duration = Duration::from_secs(180);
/// How often it is asked whether a sweep is over.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How often a push says that it is still there.
const SAY_EVERY: Duration = Duration::from_secs(3600);

/// A snapshot on its way into a bucket.
pub struct Push {
    bucket: Arc<Bucket>,
    address: PathBuf,
    name: String,
    manifest: Vec<u8>,
    arriving: Arriving,
    /// The object that says so, and when it last did.
    pushing: String,
    said_at: std::cell::Cell<Instant>,
}

impl Push {
    /// Begins to bring the snapshot `name` with this manifest to this address.
    pub fn begin(address: &Path, name: &str, manifest: &[u8]) -> Result<Self, Failure> {
        let bucket = Arc::new(Bucket::open(&Address::of(address, &environment)?)?);
        let snapshots = on(&bucket, address);
        let arriving = snapshots.arrive(name, manifest).map_err(store)?;
        let push = Self {
            pushing: format!("{name}-{}{PUSHING}", unique()?),
            bucket,
            address: address.to_path_buf(),
            name: name.to_owned(),
            manifest: manifest.to_vec(),
            arriving,
            said_at: std::cell::Cell::new(Instant::now()),
        };
        push.say()?;
        push.wait_for_sweeps()?;
        Ok(push)
    }

    fn say(&self) -> Result<(), Failure> {
        let mut tables = String::new();
        for file in self.arriving.tables() {
            tables.push_str(&file.name);
            tables.push('\n');
        }
        self.said_at.set(Instant::now());
        self.bucket
            .put(&self.pushing, tables.into_bytes())
            .map_err(|error| self.failure("write", &self.pushing, &error))
    }

    fn wait_for_sweeps(&self) -> Result<(), Failure> {
        let mut seen: HashMap<String, (String, Instant)> = HashMap::new();
        loop {
            let objects = self.list()?;
            let is_sweep = |object: &&Object| {
                object.name.starts_with(SWEEP.0) && object.name.ends_with(SWEEP.1)
            };
            let mut is_clear = true;
            for sweep in objects.iter().filter(is_sweep) {
                let (tag, since) = seen
                    .entry(sweep.name.clone())
                    .or_insert_with(|| (sweep.tag.clone(), Instant::now()));
                if *tag != sweep.tag {
                    tag.clone_from(&sweep.tag);
                    *since = Instant::now();
                }
                is_clear &= since.elapsed() > SWEEP_IS_DEAD;
            }
            if is_clear {
                return Ok(());
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    fn list(&self) -> Result<Vec<Object>, Failure> {
        let listed = self.bucket.list();
        listed.map_err(|error| self.failure("list", "", &error))
    }

    /// The tables that the bucket has not.
    pub fn missing(&self) -> Result<Vec<SnapshotFile>, Failure> {
        let there: HashMap<String, u64> = self
            .list()?
            .into_iter()
            .map(|object| (object.name, object.bytes))
            .collect();
        let mut tables = self.arriving.tables();
        tables.retain(|file| there.get(&file.name) != Some(&file.bytes));
        Ok(tables)
    }

    /// Sends one of them, and reads all of it back.
    pub fn take(
        &self,
        file: &SnapshotFile,
        fill: impl FnOnce(&mut Sink<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.said_at.get().elapsed() > SAY_EVERY {
            self.say()?;
        }
        let failed = |error: io::Error| self.failure("write", &file.name, &error);
        let mut upload = self.bucket.upload(&file.name, file.bytes).map_err(failed)?;
        let filled = fill(&mut |piece| upload.write(piece).map_err(failed));
        if let Err(failure) = filled {
            upload.abandon();
            return Err(failure);
        }
        upload.finish().map_err(failed)?;
        let verified = self.arriving.verify(&file.name).map_err(store);
        if verified.is_err() {
            // Else the next push would take it for the table.
            self.bucket.remove(&file.name).map_err(failed)?;
        }
        verified
    }

    /// Makes it a snapshot.
    pub fn finish(self, description: Option<&[u8]>) -> Result<SnapshotInfo, Failure> {
        let info = self.arriving.info();
        if !self.arriving.is_there() {
            if let Some(description) = description {
                self.describe(description)?;
            }
            let file = Snapshots::manifest_name(&self.name);
            let put = self.bucket.put_new(&file, self.manifest.clone());
            let is_new = put.map_err(|error| self.failure("write", &file, &error))?;
            // Another push of the same name was faster: it has to be the same snapshot.
            if !is_new {
                on(&self.bucket, &self.address)
                    .arrive(&self.name, &self.manifest)
                    .map_err(store)?;
            }
        }
        Ok(info)
    }

    /// A description belongs to one manifest: of two different pushes of a name the second fails.
    fn describe(&self, description: &[u8]) -> Result<(), Failure> {
        let file = Snapshots::description_name(&self.name);
        let failed = |error: io::Error| self.failure("write", &file, &error);
        if self
            .bucket
            .put_new(&file, description.to_vec())
            .map_err(failed)?
        {
            return Ok(());
        }
        let bytes = self.bucket.size(&file).map_err(failed)?;
        if bytes > 0 && self.bucket.read(&file, 0..bytes).map_err(failed)? == description {
            return Ok(());
        }
        let others = self.list()?.into_iter().any(|object| {
            object.name != self.pushing
                && object.name.ends_with(PUSHING)
                && object.name.starts_with(&format!("{}-", self.name))
        });
        if others {
            return Err(Failure::new(
                Exit::Mismatch,
                format!(
                    "another snapshot called {} is being brought to {}, or was until it was cut off in the last 24 hours; use another name",
                    self.name,
                    self.address.display()
                ),
            ));
        }
        self.bucket.put(&file, description.to_vec()).map_err(failed)
    }

    fn failure(&self, doing: &str, name: &str, error: &io::Error) -> Failure {
        Failure::io(doing, &self.address.join(name), error)
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        // If it stays, the tables that it names stay for a day.
        self.bucket.remove(&self.pushing).ok();
    }
}
