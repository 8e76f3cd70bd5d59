//! Transactions: a read set and a write set over one view, validated at commit.
//!
//! Isolation is serializable: every key a transaction read, also one that was absent, is checked
//! in the commit section against what was committed since. Scans are not part of the read set.

pub(crate) mod commit;
pub(crate) mod conflict;
pub(crate) mod counters;
pub(crate) mod driver;
pub(crate) mod gate;
#[cfg(test)]
#[cfg(feature = "shuttle")]
mod interleavings;
pub(crate) mod pace;
pub(crate) mod publish;
pub(crate) mod readers;
pub(crate) mod syncer;
pub(crate) mod ticket;
pub(crate) mod trigger;

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;

use crate::error::{Result, StoreError};
use crate::limits;
use crate::lsn::Lsn;
use crate::read::version::{ReadPoint, Scan};
use crate::read::{Direction, Entry, Io, KeyRange};
use crate::settings::Durability;
use commit::{Pipeline, Prepared};
use conflict::KeyHash;
use ticket::Ticket;

/// From this many writes on, own writes are found by a map instead of a walk.
const WALK_WRITES: usize = 16;

/// A transaction. Dropping it without [`Transaction::commit`] undoes it: nothing was shared.
pub struct Transaction {
    pipeline: Arc<Pipeline>,
    point: ReadPoint,
    reads: Vec<KeyHash>,
    writes: Vec<(Bytes, Option<Bytes>)>,
    places: HashMap<Bytes, usize>,
    counts: Vec<(u64, i64)>,
    payload_bytes: usize,
}

impl Transaction {
    pub(crate) fn new(pipeline: Arc<Pipeline>, point: ReadPoint) -> Self {
        Self {
            pipeline,
            point,
            reads: Vec::new(),
            writes: Vec::new(),
            places: HashMap::new(),
            counts: Vec::new(),
            payload_bytes: 0,
        }
    }

    /// The LSN its reads are made at: the newest appended state when it began. An answer that was
    /// computed from its reads must wait until this LSN is visible, also a refusal.
    #[must_use]
    pub fn read_lsn(&self) -> Lsn {
        self.point.lsn()
    }

    /// The value of `key`: its own write if there is one (with the LSN zero), else what it reads,
    /// which is then validated at commit.
    ///
    /// # Errors
    /// [`StoreError::WouldBlock`] by `io`; damage; I/O errors.
    pub fn get(&mut self, key: &[u8], io: Io) -> Result<Option<Entry>> {
        if let Some(place) = self.place(key)
            && let Some((_, value)) = self.writes.get(place)
        {
            return Ok(value.clone().map(|value| Entry {
                lsn: Lsn::ZERO,
                value,
            }));
        }
        let found = self.point.get(key, io)?;
        self.reads.push(self.pipeline.hasher.hash(key));
        Ok(found)
    }

    /// A scan at the LSN of the transaction. It is not validated and does not see own writes.
    #[must_use]
    pub fn scan(&self, range: KeyRange, direction: Direction, io: Io) -> Scan {
        self.point.scan(range, direction, io)
    }

    /// Writes `value` at `key`; of several writes of one key the last one counts.
    pub fn put(&mut self, key: Bytes, value: Bytes) {
        self.write(key, Some(value));
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: Bytes) {
        self.write(key, None);
    }

    /// Adds `delta` to a counter, visible together with the transaction. Transactions that move
    /// the same counter do not conflict.
    pub fn count(&mut self, counter: u64, delta: i64) {
        match self.counts.iter_mut().find(|(id, _)| *id == counter) {
            Some((_, sum)) => *sum += delta,
            None => self.counts.push((counter, delta)),
        }
    }

    fn place(&self, key: &[u8]) -> Option<usize> {
        if self.writes.len() <= WALK_WRITES {
            self.writes.iter().position(|(own, _)| own == key)
        } else {
            self.places.get(key).copied()
        }
    }

    fn write(&mut self, key: Bytes, value: Option<Bytes>) {
        let value_bytes = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        if let Some(place) = self.place(&key)
            && let Some((_, own)) = self.writes.get_mut(place)
        {
            self.payload_bytes = self.payload_bytes - value_bytes(own) + value_bytes(&value);
            *own = value;
            return;
        }
        self.payload_bytes += key.len() + value_bytes(&value) + WRITE_OVERHEAD_BYTES;
        self.writes.push((key.clone(), value));
        match self.writes.len() {
            0..=WALK_WRITES => {}
            n if n == WALK_WRITES + 1 => {
                let keys = self.writes.iter().enumerate();
                self.places = keys.map(|(place, (key, _))| (key.clone(), place)).collect();
            }
            n => {
                self.places.insert(key, n - 1);
            }
        }
    }

    /// The size of the record, at most.
    fn check_sizes(&self) -> Result<usize> {
        let too_large = |what, bytes: usize, limit: usize| StoreError::TooLarge {
            what,
            bytes: bytes as u64,
            limit_bytes: limit as u64,
        };
        for (key, value) in &self.writes {
            if key.len() > limits::MAX_KEY_BYTES {
                return Err(too_large("key", key.len(), limits::MAX_KEY_BYTES));
            }
            let value_bytes = value.as_ref().map_or(0, Bytes::len);
            if value_bytes > limits::MAX_VALUE_BYTES {
                return Err(too_large("value", value_bytes, limits::MAX_VALUE_BYTES));
            }
        }
        let bytes = self.payload_bytes + self.counts.len() * COUNT_BYTES + RECORD_HEADER_BYTES;
        if bytes > limits::MAX_TRANSACTION_BYTES {
            return Err(too_large(
                "transaction",
                bytes,
                limits::MAX_TRANSACTION_BYTES,
            ));
        }
        Ok(bytes)
    }

    pub(crate) fn prepare(self) -> Result<(Arc<Pipeline>, Prepared)> {
        let record_bytes = self.check_sizes()?;
        let mut prepared = Prepared {
            read_lsn: self.point.lsn(),
            reads: self.reads,
            writes: self.writes,
            counts: self.counts,
            record: Bytes::new(),
            record_bytes,
        };
        if self.pipeline.level() != Durability::None {
            commit::encode_ahead(&mut prepared);
        }
        Ok((self.pipeline, prepared))
    }

    /// Validates and commits. `ack` asks for a stronger level than the instance's for this
    /// transaction (a weaker one is ignored); `waker` is taken inside the commit section, which
    /// saves the ticket's first poll a lock. A transaction without writes waits for the
    /// visibility of what it read.
    ///
    /// # Errors
    /// Nothing was written on any of them: [`StoreError::Conflict`] (begin again),
    /// [`StoreError::Busy`] (wait for [`crate::Store::writable`]), [`StoreError::DiskFull`],
    /// [`StoreError::TooLarge`], [`StoreError::LevelUnavailable`], [`StoreError::Poisoned`],
    /// [`StoreError::Closed`].
    pub fn commit(self, ack: Option<Durability>, waker: Option<&Waker>) -> Result<Ticket> {
        if self.writes.is_empty() && self.counts.is_empty() {
            return Ok(self.pipeline.wait_visible(self.point.lsn()));
        }
        let (pipeline, prepared) = self.prepare()?;
        pipeline.commit(prepared, ack, waker)
    }
}

/// Framing of one write in its record, at most.
const WRITE_OVERHEAD_BYTES: usize = 9;
const COUNT_BYTES: usize = 17;
const RECORD_HEADER_BYTES: usize = 5;
