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
use crate::settings::Durability;
use crate::sync::{Condvar, Mutex, lock};
use crate::txn::conflict::{ConflictSlots, KeyHash, KeyHasher};
use crate::txn::counters::Counters;
use crate::txn::gate::{Gate, Hold};
use crate::txn::publish::SyncBy;
use crate::txn::readers::Readers;
use crate::txn::syncer::{Claim, Syncer};
use crate::txn::ticket::{Duty, Need, Ticket};
use crate::txn::trigger::Trigger;
use crate::wal::buffer::LogBuffer;
use crate::wal::frame;
use crate::wal::writer::Log;

/// A transaction ready for the section.
pub(crate) struct Prepared {
    pub(crate) read_lsn: Lsn,
    pub(crate) reads: Vec<KeyHash>,
    pub(crate) writes: Vec<(Bytes, Option<Bytes>)>,
    pub(crate) counts: Vec<(u64, i64)>,
    /// Encoded outside the section; empty while no log is kept.
    pub(crate) record: Vec<u8>,
    pub(crate) payload_bytes: usize,
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
    /// Wakes the log thread; goes with `section`.
    pub(crate) work: Condvar,
    pub(crate) observer: Arc<dyn Observer>,
    /// LSNs at or above this one may not be given out yet.
    pub(crate) reservation: AtomicU64,
    /// Free bytes when writes are refused for lack of space, else `u64::MAX`.
    pub(crate) refusing_free_bytes: AtomicU64,
    pub(crate) disk_reserve_bytes: AtomicU64,
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
        log: Option<Log>,
        syncer: Syncer,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let now = Instant::now();
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
            syncer,
            work: Condvar::new(),
            observer,
            reservation: AtomicU64::new(0),
            refusing_free_bytes: AtomicU64::new(u64::MAX),
            disk_reserve_bytes: AtomicU64::new(0),
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
        let free_bytes = self.refusing_free_bytes.load(Ordering::Acquire);
        if free_bytes != u64::MAX && prepared.writes.iter().any(|(_, value)| value.is_some()) {
            return Err(StoreError::DiskFull {
                free_bytes,
                reserve_bytes: self.disk_reserve_bytes.load(Ordering::Acquire),
            });
        }
        Ok(())
    }

    /// Commits in the section. On success everything of the transaction has its place in the log
    /// order; the ticket says when it may be acknowledged.
    pub(crate) fn commit(
        self: &Arc<Self>,
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
        Ok((value, self.ticket(appended, waker)))
    }

    fn ticket(self: &Arc<Self>, appended: Appended, waker: Option<&Waker>) -> Ticket {
        if appended.wake_log_thread {
            self.work.notify_one();
        }
        Ticket {
            pipeline: Arc::clone(self),
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

    /// Claims what is in the buffer for who waits for `lsn`, unless that is not in it, or someone
    /// else has claimed it.
    pub(crate) fn claim(&self, lsn: Lsn) -> Option<Claim> {
        if self.syncer.is_claimed() {
            return None;
        }
        let section = lock(&self.section);
        let in_buffer = section.buffer.first_lsn().is_some_and(|first| first <= lsn);
        (in_buffer && !self.syncer.is_claimed()).then(|| self.syncer.claim())
    }

    /// Leaves what is in the buffer to the log thread, if `lsn` is still there.
    pub(crate) fn hand_over(&self, lsn: Lsn) {
        let mut section = lock(&self.section);
        if section.buffer.first_lsn().is_some_and(|first| first <= lsn) {
            section.handed_over = true;
            self.work.notify_one();
        }
    }

    /// The turn of who claimed the group. It writes and syncs it if the log's lock is free, else
    /// `waker` is woken when it is. A failure reaches everyone by their tickets.
    pub(crate) fn take_turn(&self, claim: Claim, waker: &Waker) {
        if !self.syncer.stands(claim) {
            return;
        }
        self.syncer.await_turn(claim, waker);
        if let Some(mut state) = self.try_lock_log()
            && self.syncer.stands(claim)
        {
            self.drive_as_committer(&mut state);
        }
    }

    /// What a committer does of [`Pipeline::drive`]: neither a slow sync nor a change of segments
    /// that has to wait for one.
    pub(crate) fn drive_as_committer(&self, state: &mut LogState) {
        let may_sync = self.syncer.committer_may_sync();
        let waits = lock(&self.section).buffer.bytes();
        let rotates = state.log.as_ref().is_some_and(|log| !log.has_room(waits));
        if rotates && !may_sync {
            self.hand_over(self.marks.appended());
            return;
        }
        let sync = if may_sync {
            SyncBy::Need
        } else {
            SyncBy::LogThread
        };
        // Everyone learns of it by the latch that it set.
        let _ = self.drive(state, sync);
    }

    /// Lets a group gather, for half of the last one and at most one sync time, so never when
    /// writers come one at a time.
    pub(crate) fn gather(&self) {
        let (wanted, longest) = self.syncer.gathering();
        if wanted < 2 || self.level() != Durability::Full {
            return;
        }
        let since = Instant::now();
        let gathered = || self.marks.appended().0 - self.marks.written().0;
        while gathered() < wanted && since.elapsed() < longest {
            std::thread::yield_now();
        }
    }

    /// Looks at the log, or changes it, without writing.
    pub(crate) fn with_log<T>(&self, look: impl FnOnce(&mut LogState) -> T) -> T {
        look(&mut self.lock_log())
    }

    fn append(
        &self,
        section: &mut Section,
        prepared: Prepared,
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
        let effective = ack.map_or(level, |asked| asked.max(level));
        let need = Need::of(effective);
        section.next_lsn = lsn.next();
        let first_record = section.logging && section.buffer.is_empty();
        if section.logging {
            if prepared.record.is_empty() {
                let record = encode(&prepared);
                section.buffer.push(lsn, &record);
            } else {
                section.buffer.push(lsn, &prepared.record);
            }
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

/// The log record of a transaction.
pub(crate) fn encode(prepared: &Prepared) -> Vec<u8> {
    frame::encode_transaction(
        prepared
            .writes
            .iter()
            .map(|(key, value)| (key, value.as_ref())),
        &prepared.counts,
        prepared.payload_bytes,
    )
}
