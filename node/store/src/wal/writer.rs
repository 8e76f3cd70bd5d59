//! The writing end of the log: frames to the current segment, rotation, retention.
//!
//! A failed write or sync is final, whichever thread it hit: nothing is written behind a frame that
//! may be torn, and no sync is tried after one that failed, as it would report success for bytes
//! that the kernel has dropped. So syncs come one at a time, each after a look at the one before.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::disk::File;
use crate::error::{Result, StoreError};
use crate::limits;
use crate::lsn::Lsn;
use crate::observer::Observer;
use crate::sync::{Mutex, lock};
use crate::wal::buffer::Chunk;
use crate::wal::frame::{self, FrameKind};
use crate::wal::segment::{FRAMES_OFFSET, Segment};
use crate::wal::supply::Supply;

/// A segment that is no longer written to.
#[derive(Clone, Debug)]
pub(crate) struct SealedSegment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) capacity: u64,
    /// Nothing in it is above this LSN.
    pub(crate) last_lsn: Lsn,
}

/// What an append did besides writing.
pub(crate) struct Appended {
    /// Everything up to this LSN was synced, because a segment was left behind.
    pub(crate) synced_to: Option<Lsn>,
}

/// The first failure of the log, and the turn to sync.
#[derive(Default)]
struct Failure {
    first: OnceLock<StoreError>,
    syncing: Mutex<()>,
}

impl Failure {
    fn check(&self) -> Result<()> {
        self.first.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn note(&self, op: &'static str, path: &Path, error: &std::io::Error) -> StoreError {
        let error = StoreError::io(op, path, error);
        self.first.get_or_init(|| error).clone()
    }

    fn sync(&self, file: &dyn File, path: &Path) -> Result<()> {
        let _one_at_a_time = lock(&self.syncing);
        self.check()?;
        file.sync_data()
            .map_err(|error| self.note("sync", path, &error))
    }
}

/// For a sync outside the log's lock: segments before the one it was taken at are synced already.
pub(crate) struct SyncHandle {
    file: Arc<dyn File>,
    path: PathBuf,
    failure: Arc<Failure>,
}

impl SyncHandle {
    /// Makes everything durable that had been written when the handle was taken.
    pub(crate) fn sync(&self) -> Result<()> {
        self.failure.sync(&*self.file, &self.path)
    }
}

/// See the module. One thread at a time.
pub(crate) struct Log {
    supply: Arc<Supply>,
    segment: Segment,
    offset: u64,
    chain: u32,
    last_lsn: Lsn,
    sealed: VecDeque<SealedSegment>,
    promised: Lsn,
    written_bytes: u64,
    failure: Arc<Failure>,
}

impl Log {
    /// A log that goes on in `segment`, a fresh one that may hold copied frames up to `offset`,
    /// the last of them with the crc32 field `chain`.
    pub(crate) fn new(
        supply: Arc<Supply>,
        segment: Segment,
        offset: u64,
        chain: u32,
        last_lsn: Lsn,
        sealed: VecDeque<SealedSegment>,
    ) -> Self {
        Self {
            supply,
            segment,
            offset,
            chain,
            last_lsn,
            sealed,
            promised: Lsn::ZERO,
            written_bytes: offset - FRAMES_OFFSET,
            failure: Arc::default(),
        }
    }

    /// Writes the chunks, each as one frame that promises `durable`, changing segments as needed.
    ///
    /// # Errors
    /// All are final: how much was written is unknown.
    pub(crate) fn append(
        &mut self,
        chunks: &mut [Chunk],
        durable: Lsn,
        observer: &dyn Observer,
        patience: &dyn Fn() -> bool,
    ) -> Result<Appended> {
        let mut appended = Appended { synced_to: None };
        for chunk in chunks {
            let frame_bytes = (chunk.frame.len() + frame::TRAILER_BYTES) as u64;
            if self.offset + frame_bytes + frame::SEAL_BYTES as u64 > self.segment.capacity {
                self.rotate(frame_bytes, durable, observer, patience)?;
                appended.synced_to = Some(self.last_lsn);
            }
            let durable = appended
                .synced_to
                .map_or(durable, |synced| synced.max(durable));
            self.chain = frame::seal_frame(
                &mut chunk.frame,
                FrameKind::Data,
                chunk.count,
                chunk.first_lsn,
                durable,
                self.segment.header.salt,
                self.chain,
            );
            self.promised = durable;
            let started = Instant::now();
            self.write(&chunk.frame)?;
            self.last_lsn = chunk.last_lsn();
            observer.log_written(u64::from(chunk.count), frame_bytes, started.elapsed());
        }
        Ok(appended)
    }

    /// Writes an empty frame that promises `durable`, if nothing has promised that yet. Whether
    /// it wrote one.
    pub(crate) fn heartbeat(&mut self, durable: Lsn) -> Result<bool> {
        let room = self.offset + (frame::OVERHEAD_BYTES + frame::SEAL_BYTES) as u64;
        if durable <= self.promised || room > self.segment.capacity {
            return Ok(false);
        }
        let mut empty = frame::empty_frame(0);
        self.chain = frame::seal_frame(
            &mut empty,
            FrameKind::Heartbeat,
            0,
            self.last_lsn,
            durable,
            self.segment.header.salt,
            self.chain,
        );
        self.promised = durable;
        self.write(&empty)?;
        Ok(true)
    }

    fn write(&mut self, frame: &[u8]) -> Result<()> {
        self.failure.check()?;
        let written = self.segment.file.write_all_at(frame, self.offset);
        written.map_err(|error| self.failure.note("write", &self.segment.path, &error))?;
        self.offset += frame.len() as u64;
        self.written_bytes += frame.len() as u64;
        Ok(())
    }

    /// Seals and syncs the current segment and goes on in the next one.
    fn rotate(
        &mut self,
        frame_bytes: u64,
        durable: Lsn,
        observer: &dyn Observer,
        patience: &dyn Fn() -> bool,
    ) -> Result<()> {
        let next = self.supply.take(frame_bytes, observer, patience)?;
        let mut seal = frame::empty_frame(16);
        frame::encode_successor(&mut seal, next.header.number, next.header.salt);
        self.chain = frame::seal_frame(
            &mut seal,
            FrameKind::Seal,
            0,
            self.last_lsn,
            durable,
            self.segment.header.salt,
            self.chain,
        );
        self.write(&seal)?;
        let started = Instant::now();
        self.sync()?;
        observer.log_synced(started.elapsed());
        self.sealed.push_back(SealedSegment {
            number: self.segment.header.number,
            path: self.segment.path.clone(),
            capacity: self.segment.capacity,
            last_lsn: self.last_lsn,
        });
        self.chain = next.header.chain_seed();
        self.offset = FRAMES_OFFSET;
        self.segment = next;
        Ok(())
    }

    /// Bytes of frames that the current segment still takes.
    pub(crate) fn room(&self) -> u64 {
        let sealed = self.offset + frame::SEAL_BYTES as u64;
        self.segment.capacity.saturating_sub(sealed)
    }

    /// Whether records of so many bytes fit without a change of segments.
    pub(crate) fn has_room(&self, record_bytes: usize) -> bool {
        let frames = record_bytes / limits::FRAME_TARGET_BYTES * 2 + 1;
        let framing = frames * frame::OVERHEAD_BYTES + frame::SEAL_BYTES;
        self.offset + (record_bytes + framing) as u64 <= self.segment.capacity
    }

    /// The newest durable LSN that a frame of this run carries.
    pub(crate) fn promised(&self) -> Lsn {
        self.promised
    }

    /// Bytes of frames written in this run.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Makes everything that was written durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.failure.sync(&*self.segment.file, &self.segment.path)
    }

    /// For a sync outside the log's lock.
    pub(crate) fn sync_handle(&self) -> SyncHandle {
        SyncHandle {
            file: Arc::clone(&self.segment.file),
            path: self.segment.path.clone(),
            failure: Arc::clone(&self.failure),
        }
    }

    /// The first segment that is still needed once everything up to `checkpoint` is in tables.
    pub(crate) fn start_for(&self, checkpoint: Lsn) -> u64 {
        let mut needed = self
            .sealed
            .iter()
            .filter(|sealed| sealed.last_lsn > checkpoint);
        needed
            .next()
            .map_or(self.segment.header.number, |sealed| sealed.number)
    }

    /// Hands the segments before `start` to the supply, after the manifest that names `start` as
    /// the log's start is durable.
    pub(crate) fn retire_before(&mut self, start: u64) -> Vec<(PathBuf, u64)> {
        let mut old = Vec::new();
        while let Some(sealed) = self.sealed.pop_front_if(|sealed| sealed.number < start) {
            old.push((sealed.path, sealed.capacity));
        }
        old
    }

    /// Bytes of log that a recovery would read.
    pub(crate) fn bytes(&self) -> u64 {
        self.offset
            + self
                .sealed
                .iter()
                .map(|sealed| sealed.capacity)
                .sum::<u64>()
    }

    /// Number of segments, the current one included.
    pub(crate) fn segments(&self) -> usize {
        self.sealed.len() + 1
    }

    /// Every segment that is still there, the current one last, with its capacity.
    pub(crate) fn all_segments(&self) -> Vec<(PathBuf, u64)> {
        let sealed = self
            .sealed
            .iter()
            .map(|sealed| (sealed.path.clone(), sealed.capacity));
        let current = (self.segment.path.clone(), self.segment.capacity);
        sealed.chain(std::iter::once(current)).collect()
    }
}
