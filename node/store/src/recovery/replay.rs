//! From the log to a memtable, on all cores: the calling thread reads and checks frames in their
//! order, and others insert what they hold. Most of the time goes into the memtable's searches.
//!
//! The order of insertions does not matter, as every version is inserted once under its own LSN and
//! nobody reads before all of them are in. Counters are added up by the calling thread.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle, available_parallelism};

use bytes::Bytes;

use crate::error::Result;
use crate::lsn::Lsn;
use crate::memtable::Memtable;
use crate::wal::frame::Operation;
use crate::wal::reader::{self, LogEnd, ReadPlan};

/// Versions that are inserted by the calling thread before others are started: most logs are short.
const ALONE: usize = 4096;
/// Versions that change threads at once.
const BATCH: usize = 256;
/// Batches that may wait for one thread.
const QUEUE: usize = 8;
/// More threads than this only wait for the one that reads.
const MOST_THREADS: usize = 4;

type Version = (Bytes, Lsn, Option<Bytes>);

/// Reads the log of `plan` into `memtable`.
///
/// # Errors
/// Those of [`reader::read_log`]; the memtable is of no use then.
pub(crate) fn replay(
    plan: &ReadPlan<'_>,
    memtable: &Memtable,
    progress: &mut dyn FnMut(Lsn, u64, u64),
) -> Result<LogEnd> {
    std::thread::scope(|scope| {
        let mut inserters = Inserters::new(scope, memtable);
        let mut apply = |lsn, operation| match operation {
            Operation::Put { key, value } => inserters.insert((key, lsn, Some(value))),
            Operation::Delete { key } => inserters.insert((key, lsn, None)),
            Operation::Count { counter, delta } => memtable.applied(lsn, &[(counter, delta)]),
        };
        let end = reader::read_log(plan, &mut apply, progress);
        inserters.finish();
        end
    })
}

struct Inserter<'scope> {
    queue: SyncSender<Vec<Version>>,
    thread: ScopedJoinHandle<'scope, ()>,
}

struct Inserters<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    memtable: &'env Memtable,
    alone: usize,
    batch: Vec<Version>,
    others: Vec<Inserter<'scope>>,
    next: usize,
}

impl<'scope, 'env> Inserters<'scope, 'env> {
    fn new(scope: &'scope Scope<'scope, 'env>, memtable: &'env Memtable) -> Self {
        Self {
            scope,
            memtable,
            alone: 0,
            batch: Vec::new(),
            others: Vec::new(),
            next: 0,
        }
    }

    fn insert(&mut self, version: Version) {
        if self.alone < ALONE {
            self.alone += 1;
            insert(self.memtable, version);
            if self.alone == ALONE {
                self.start();
            }
            return;
        }
        self.batch.push(version);
        if self.batch.len() == BATCH {
            self.hand_over();
        }
    }

    /// One thread for each core. Without any, everything stays with the calling thread.
    fn start(&mut self) {
        let cores = available_parallelism().map_or(1, NonZero::get);
        let wanted = if cores == 1 { 0 } else { cores };
        let memtable = self.memtable;
        for _ in 0..wanted.min(MOST_THREADS) {
            let (queue, batches) = sync_channel(QUEUE);
            let work = move || insert_all(memtable, &batches);
            let builder = Builder::new().name("godb-replay".to_owned());
            let Ok(thread) = builder.spawn_scoped(self.scope, work) else {
                return;
            };
            self.others.push(Inserter { queue, thread });
        }
    }

    fn hand_over(&mut self) {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        self.next = (self.next + 1) % self.others.len().max(1);
        match self.others.get(self.next) {
            // A thread that is gone has panicked, which `finish` hands on.
            Some(other) => drop(other.queue.send(batch)),
            None => batch
                .into_iter()
                .for_each(|version| insert(self.memtable, version)),
        }
    }

    /// Returns when everything is in.
    fn finish(&mut self) {
        self.hand_over();
        for Inserter { queue, thread } in std::mem::take(&mut self.others) {
            drop(queue);
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn insert_all(memtable: &Memtable, batches: &Receiver<Vec<Version>>) {
    for batch in batches {
        batch
            .into_iter()
            .for_each(|version| insert(memtable, version));
    }
}

fn insert(memtable: &Memtable, (key, lsn, value): Version) {
    memtable.insert(key, lsn, value);
}
