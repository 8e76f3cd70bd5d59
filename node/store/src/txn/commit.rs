//! The commit pipeline: one short section, then the wait for the level, then publication.
//!
//! Invariants:
//! 1. LSNs are dense and follow log order: LSN, log record and memtable entries are made in one
//!    section, so whoever reads at the appended LSN sees exactly the log's prefix.
//! 2. `visible` moves here and in `publish` only, in LSN order, and at `os` and `full` only after what would be
//!    shown has been written or synced. So no reader sees what a crash of the kind that the level
//!    guards against can take back.
//! 3. A failed write or sync of the log is final: the latch is set, nothing later is published.
//!
//! ```text
//! commit ──► section: validate reads ► LSN ► log buffer ► memtable ► waiter      (no I/O)
//! drive  ──► take the buffer ► write ► [sync] ► visible, counters ► wake          (log lock)
//! ```
//!
//! The section's lock is not held during I/O (but for reads of a transaction that lost three races
//! and runs inside it, where its caller allows them), and the log's lock never during validation, so a
//! group gathers while the one before it is synced: group commit without a timer. Parsing,
//! encoding and hashing happen before the section; the obvious single lock around everything was
//! slower by the number of writers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;

use crate::error::{Result, StoreError};
use crate::limits;
use crate::lsn::{Lsn, Watermarks};
use crate::memtable::Memtable;
use crate::observer::Observer;
use crate::poison::PoisonLatch;
use crate::read::version::{ReadPoint, Version, Versions};
use crate::settings::{Durability, WhoSyncs};
use crate::sync::{Condvar, Mutex, lock};
use crate::txn::conflict::{ConflictSlots, KeyHash, KeyHasher};
use crate::txn::counters::Counters;
use crate::txn::gate::{Gate, Hold};
use crate::txn::readers::Readers;
use crate::txn::syncer::Syncer;
use crate::txn::ticket::{Duty, Need, Ticket};
use crate::txn::trigger::Trigger;
use crate::wal::buffer::LogBuffer;
use crate::wal::frame;
use crate::wal::supply::Supply;
use crate::wal::writer::Log;

/// A transaction ready for the section.
pub(crate) struct Prepared {
    pub(crate) read_lsn: Lsn,
    pub(crate) reads: Vec<KeyHash>,
    pub(crate) writes: Vec<(Bytes, Option<Bytes>)>,
    pub(crate) counts: Vec<(u64, i64)>,
    /// Encoded outside the section; empty while no log is kept.
    pub(crate) record: Bytes,
    /// Its size, exactly: it is allocated once.
    pub(crate) record_bytes: usize,
}

/// What the section did with a transaction.
struct Appended {
    lsn: Lsn,
    need: Need,
    /// Its group is for one of those who wait for it.
    by_committer: bool,
    wake_log_thread: bool,
}

/// Someone who waits for an LSN.
pub(super) struct Waiting {
    pub(super) lsn: Lsn,
    pub(super) need: Need,
    pub(super) waker: Waker,
}

/// What the lock of the commit section guards.
pub(crate) struct Section {
    pub(crate) next_lsn: Lsn,
    pub(crate) active: Arc<Memtable>,
    pub(crate) buffer: LogBuffer,
    /// Whether transactions go to the log (not at `none`).
    pub(crate) logging: bool,
    slots: ConflictSlots,
    pub(super) waiting: Vec<Waiting>,
    pub(super) deltas: Vec<(Lsn, u64, i64)>,
    /// Someone waits for a level stronger than the instance's.
    pub(crate) urgent: bool,
    pub(crate) log_thread_sleeps: bool,
    /// It does, for longer than an idle log may stay without its proof.
    pub(crate) log_thread_sleeps_long: bool,
    /// What the records that are not written yet take in the log at most.
    pub(crate) unwritten_bytes: u64,
    /// What the current log segment takes beside what it was told of.
    pub(crate) room_bytes: u64,
    /// What is in the buffer was left to the log thread, whatever the strategy.
    pub(crate) handed_over: bool,
    pub(crate) closed: bool,
    /// When the oldest record in the buffer was put there.
    pub(crate) oldest_record: Option<Instant>,
}

/// What the log's lock guards.
pub(crate) struct LogState {
    /// `None` at `none`.
    pub(crate) log: Option<Log>,
    /// Waiters of groups that are written but not yet as far as they need.
    pub(super) waiting: Vec<Waiting>,
    /// Counter changes of LSNs that are not visible yet.
    pub(super) deltas: Vec<(Lsn, u64, i64)>,
    /// Who is to be woken when the log's lock is given back.
    pub(super) done: Vec<Waker>,
    /// When the log was last written to.
    pub(crate) last_write: Instant,
}

/// What a pipeline starts with of the log.
pub(crate) struct LogParts {
    /// `None` at `none`.
    pub(crate) log: Option<Log>,
    pub(crate) supply: Arc<Supply>,
    pub(crate) who_syncs: WhoSyncs,
}

/// See the module. Shared by everything that commits, reads or maintains.
pub(crate) struct Pipeline {
    pub(crate) marks: Watermarks,
    pub(crate) poison: PoisonLatch,
    pub(crate) gate: Gate,
    pub(crate) readers: Arc<Readers>,
    pub(crate) versions: Versions,
    pub(crate) hasher: KeyHasher,
    pub(crate) section: Mutex<Section>,
    pub(crate) log: Mutex<LogState>,
    pub(crate) syncer: Syncer,
    pub(crate) supply: Arc<Supply>,
    /// Wakes the log thread; goes with `section`.
    pub(crate) work: Condvar,
    pub(crate) observer: Arc<dyn Observer>,
    /// LSNs at or above this one may not be given out yet.
    pub(crate) reservation: AtomicU64,
    /// Free bytes when writes are refused for lack of space, else `u64::MAX`.
    pub(crate) refusing_free_bytes: AtomicU64,
    pub(crate) disk_reserve_bytes: AtomicU64,
    /// Free bytes as of the last look.
    pub(crate) free_bytes: AtomicU64,
    /// What asks for a checkpoint from the write path.
    pub(crate) trigger: Trigger,
    level: AtomicU8,
    pub(super) late: Mutex<Vec<Waiting>>,
    pub(crate) counters: Counters,
}

impl Pipeline {
    pub(crate) fn new(
        level: Durability,
        last_lsn: Lsn,
        version: Version,
        counters: BTreeMap<u64, i64>,
        log: LogParts,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let now = Instant::now();
        let LogParts {
            log,
            supply,
            who_syncs,
        } = log;
        Self {
            marks: Watermarks::default(),
            poison: PoisonLatch::default(),
            gate: Gate::default(),
            readers: Arc::new(Readers::default()),
            hasher: KeyHasher::default(),
            section: Mutex::new(Section {
                next_lsn: last_lsn.next(),
                active: Arc::clone(&version.active),
                buffer: LogBuffer::default(),
                logging: level != Durability::None,
                slots: ConflictSlots::new(),
                waiting: Vec::new(),
                deltas: Vec::new(),
                urgent: false,
                log_thread_sleeps: false,
                log_thread_sleeps_long: false,
                handed_over: false,
                unwritten_bytes: 0,
                room_bytes: log.as_ref().map_or(0, Log::room),
                closed: false,
                oldest_record: None,
            }),
            versions: Versions::new(version),
            log: Mutex::new(LogState {
                log,
                waiting: Vec::new(),
                deltas: Vec::new(),
                done: Vec::new(),
                last_write: now,
            }),
            syncer: Syncer::new(who_syncs),
            supply,
            work: Condvar::new(),
            observer,
            reservation: AtomicU64::new(0),
            refusing_free_bytes: AtomicU64::new(u64::MAX),
            disk_reserve_bytes: AtomicU64::new(0),
            free_bytes: AtomicU64::new(u64::MAX),
            trigger: Trigger::default(),
            level: AtomicU8::new(level as u8),
            late: Mutex::new(Vec::new()),
            counters: Counters::new(counters),
        }
    }

    /// The level in force for new commits.
    pub(crate) fn level(&self) -> Durability {
        Durability::from_u8(self.level.load(Ordering::Acquire)).unwrap_or(Durability::Full)
    }

    pub(crate) fn set_level(&self, level: Durability) {
        self.level.store(level as u8, Ordering::Release);
    }

    /// Fails once the store is closed or poisoned.
    pub(crate) fn alive(&self) -> Result<()> {
        self.poison.check()?;
        if lock(&self.section).closed {
            Err(StoreError::Closed)
        } else {
            Ok(())
        }
    }

    /// A read point at the newest appended state.
    pub(crate) fn read_appended(&self) -> ReadPoint {
        self.versions.read_at(|| self.marks.appended())
    }

    /// A read point at the visible LSN.
    pub(crate) fn read_visible(&self) -> ReadPoint {
        self.versions.read_at(|| self.marks.visible())
    }

    /// Refuses before anything is appended: closed, poisoned, held back, no space.
    fn admit(&self, prepared: &Prepared) -> Result<()> {
        self.poison.check()?;
        self.gate.check()?;
        let reserve_bytes = self.disk_reserve_bytes.load(Ordering::Acquire);
        let refusing = self.refusing_free_bytes.load(Ordering::Acquire);
        if refusing != u64::MAX && prepared.writes.iter().any(|(_, value)| value.is_some()) {
            return Err(StoreError::DiskFull {
                free_bytes: refusing,
                reserve_bytes,
            });
        }
        // A segment of its own is made for it when it is written, which must not fail then.
        let free_bytes = self.free_bytes.load(Ordering::Relaxed);
        let record_bytes = prepared.record.len() as u64;
        if record_bytes > self.supply.segment_bytes
            && free_bytes < record_bytes.saturating_add(reserve_bytes)
        {
            return Err(StoreError::DiskFull {
                free_bytes,
                reserve_bytes,
            });
        }
        Ok(())
    }

    /// Commits in the section. On success everything of the transaction has its place in the log
    /// order; the ticket says when it may be acknowledged.
    pub(crate) fn commit(
        self: Arc<Self>,
        prepared: Prepared,
        ack: Option<Durability>,
        waker: Option<&Waker>,
    ) -> Result<Ticket> {
        self.admit(&prepared)?;
        let hashes: Vec<KeyHash> = prepared
            .writes
            .iter()
            .map(|(key, _)| self.hasher.hash(key))
            .collect();
        let mut section = lock(&self.section);
        if !section.slots.unchanged(&prepared.reads, prepared.read_lsn) {
            drop(section);
            self.observer.conflict();
            return Err(StoreError::Conflict);
        }
        let appended = self.append(&mut section, prepared, &hashes, ack, waker)?;
        drop(section);
        Ok(self.ticket(appended, waker))
    }

    /// Runs `body` inside the section, where its reads cannot be overtaken, and commits what it
    /// prepared there.
    pub(crate) fn commit_exclusive<T>(
        self: &Arc<Self>,
        body: impl FnOnce(ReadPoint) -> Result<(T, Prepared)>,
        ack: Option<Durability>,
        waker: Option<&Waker>,
    ) -> Result<(T, Ticket)> {
        let mut section = lock(&self.section);
        let (value, prepared) = body(self.read_appended())?;
        if prepared.writes.is_empty() && prepared.counts.is_empty() {
            let lsn = self.marks.appended();
            drop(section);
            return Ok((value, self.wait_visible(lsn)));
        }
        self.admit(&prepared)?;
        let hashes: Vec<KeyHash> = prepared
            .writes
            .iter()
            .map(|(key, _)| self.hasher.hash(key))
            .collect();
        let appended = self.append(&mut section, prepared, &hashes, ack, waker)?;
        drop(section);
        Ok((value, Arc::clone(self).ticket(appended, waker)))
    }

    fn ticket(self: Arc<Self>, appended: Appended, waker: Option<&Waker>) -> Ticket {
        if appended.wake_log_thread {
            self.work.notify_one();
        }
        Ticket {
            pipeline: self,
            lsn: appended.lsn,
            need: appended.need,
            registered: waker.cloned(),
            duty: if appended.by_committer {
                Duty::Owed
            } else {
                Duty::None
            },
        }
    }

    /// Looks at the log, or changes it, without writing.
    pub(crate) fn with_log<T>(&self, look: impl FnOnce(&mut LogState) -> T) -> T {
        look(&mut self.lock_log())
    }

    fn append(
        &self,
        section: &mut Section,
        mut prepared: Prepared,
        hashes: &[KeyHash],
        ack: Option<Durability>,
        waker: Option<&Waker>,
    ) -> Result<Appended> {
        if section.closed {
            return Err(StoreError::Closed);
        }
        self.poison.check()?;
        let lsn = section.next_lsn;
        if lsn.0 >= self.reservation.load(Ordering::Acquire) {
            self.gate.set(Hold::Reservation, true);
            return Err(StoreError::Busy {
                reason: Hold::Reservation.reason(),
            });
        }
        let level = self.level();
        if let Some(asked) = ack
            && asked > level
            && level == Durability::None
        {
            return Err(StoreError::LevelUnavailable { asked });
        }
        if section.logging && prepared.record.is_empty() {
            prepared.record = encode(&prepared).into();
        }
        let log_bytes = (prepared.record.len() + frame::OVERHEAD_BYTES) as u64;
        if section.logging
            && self.supply.is_starving()
            && section.unwritten_bytes + log_bytes > section.room_bytes
        {
            // Before it is appended: what the log has taken must be written, or nobody can go on,
            // not even the checkpoint that would give segments back.
            self.gate.set(Hold::Segment, true);
            return Err(StoreError::Busy {
                reason: Hold::Segment.reason(),
            });
        }
        let effective = ack.map_or(level, |asked| asked.max(level));
        let need = Need::of(effective);
        section.next_lsn = lsn.next();
        let first_record = section.logging && section.buffer.is_empty();
        if section.logging {
            section.buffer.push(lsn, &prepared.record);
            section.unwritten_bytes += log_bytes;
            if section.oldest_record.is_none() {
                section.oldest_record = Some(Instant::now());
            }
            if section.buffer.bytes() > limits::LOG_BUFFER_BYTES {
                self.gate.set(Hold::LogBuffer, true);
            }
        }
        for ((key, value), hash) in prepared.writes.into_iter().zip(hashes) {
            section.active.insert(key, lsn, value);
            section.slots.note(*hash, lsn);
        }
        section.active.applied(lsn, &prepared.counts);
        if self.trigger.memtable_grew(section.active.bytes()) {
            self.gate.set(Hold::Memory, true);
        }
        self.marks.set_appended(lsn);
        if level <= Durability::Memory {
            let counts = prepared.counts.iter();
            self.counters
                .apply(counts.map(|(id, delta)| (lsn, *id, *delta)));
            self.marks.set_visible(lsn);
        } else {
            section
                .deltas
                .extend(prepared.counts.iter().map(|(id, delta)| (lsn, *id, *delta)));
        }
        if need > Need::Visible || level > Durability::Memory {
            if let Some(waker) = waker {
                section.waiting.push(Waiting {
                    lsn,
                    need,
                    waker: waker.clone(),
                });
            }
            section.urgent |= effective > level;
        }
        let by_committer = section.logging
            && self.syncer.by_committer(level)
            && (!section.urgent || self.syncer.committer_may_sync())
            && !section.handed_over;
        // At `memory` the first record wakes the log thread too, to start the bounded delay.
        let due = section.logging
            && (first_record
                || level >= Durability::Os
                || section.urgent
                || section.buffer.bytes() >= limits::FRAME_TARGET_BYTES);
        Ok(Appended {
            lsn,
            need,
            by_committer,
            wake_log_thread: due && !by_committer && section.log_thread_sleeps,
        })
    }

    /// A ticket for an answer that was computed from the state at `lsn`.
    pub(crate) fn wait_visible(self: &Arc<Self>, lsn: Lsn) -> Ticket {
        Ticket {
            pipeline: Arc::clone(self),
            lsn,
            need: Need::Visible,
            registered: None,
            duty: Duty::None,
        }
    }

    /// A ticket for the durability of everything up to `lsn`.
    pub(crate) fn wait_durable(self: &Arc<Self>, lsn: Lsn) -> Ticket {
        Ticket {
            pipeline: Arc::clone(self),
            lsn,
            need: Need::Durable,
            registered: None,
            duty: Duty::None,
        }
    }

    pub(crate) fn reached(&self, lsn: Lsn, need: Need) -> bool {
        let mark = match need {
            Need::Visible => self.marks.visible(),
            Need::Written => self.marks.written(),
            Need::Durable => self.marks.durable(),
        };
        mark >= lsn && self.marks.visible() >= lsn
    }

    /// What to tell whoever waits for `lsn`, once there is something to tell.
    pub(crate) fn outcome(&self, lsn: Lsn, need: Need) -> Option<Result<Lsn>> {
        if self.reached(lsn, need) {
            return Some(Ok(lsn));
        }
        self.poison.check().err().map(Err)
    }

    pub(crate) fn register_late(&self, lsn: Lsn, need: Need, waker: Waker) {
        lock(&self.late).push(Waiting { lsn, need, waker });
        if need > Need::of(self.level()) {
            lock(&self.section).urgent = true;
            self.work.notify_one();
        }
    }

    /// Replaces the active memtable by an empty one and returns it, with its last LSN, if it held
    /// anything. `in_section` runs inside the same section.
    pub(crate) fn seal(&self, in_section: impl FnOnce(&mut Section)) -> Option<Arc<Memtable>> {
        let mut section = lock(&self.section);
        let sealed = (section.active.entries() > 0 || !section.active.counts().is_empty())
            .then(|| Arc::clone(&section.active));
        if let Some(sealed) = &sealed {
            let fresh = Arc::new(Memtable::new());
            section.active = Arc::clone(&fresh);
            self.versions
                .edit(|version| version.with_sealed(sealed, fresh));
        }
        in_section(&mut section);
        sealed
    }
}

/// Keys and values of a record up to this size stay in memory as slices of it. Those of a larger one
/// stay as they are, as the last of them to go would keep all of it.
const SHARED_RECORD_BYTES: usize = 1024 * 1024;

/// Makes the log record of a transaction, before the section.
pub(crate) fn encode_ahead(prepared: &mut Prepared) {
    prepared.record = encode(prepared).into();
    if prepared.record.len() <= SHARED_RECORD_BYTES {
        frame::share_record(&prepared.record, &mut prepared.writes);
    }
}

/// The log record of a transaction.
fn encode(prepared: &Prepared) -> Vec<u8> {
    frame::encode_transaction(
        prepared
            .writes
            .iter()
            .map(|(key, value)| (key, value.as_ref())),
        &prepared.counts,
        prepared.record_bytes,
    )
}
