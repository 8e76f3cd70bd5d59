//! What the sweeps run: under power cuts, where no step may fail, and under failing calls, where
//! what follows a failed step is tried all the same.

use std::sync::Mutex;

use godb_store::{Durability, LiveSettings, Result, Store, StoreError};

use crate::harness::{Draw, batch};
use crate::oracle::{Oracle, Writes};

/// A store under a workload, what it promises, and which steps failed.
pub struct Run<'a> {
    pub store: &'a Store,
    pub oracle: &'a Oracle,
    failed: Mutex<Vec<StoreError>>,
}

impl<'a> Run<'a> {
    pub fn new(store: &'a Store, oracle: &'a Oracle) -> Self {
        Self {
            store,
            oracle,
            failed: Mutex::default(),
        }
    }

    /// What went wrong so far.
    pub fn failed(&self) -> Vec<StoreError> {
        self.failed.lock().unwrap().clone()
    }

    fn note<T>(&self, outcome: Result<T>) -> Option<T> {
        outcome
            .map_err(|error| self.failed.lock().unwrap().push(error))
            .ok()
    }

    pub fn commit(
        &self,
        writes: impl FnOnce(usize) -> Writes,
        level: Durability,
        ack: Option<Durability>,
    ) {
        self.note(self.oracle.commit(self.store, writes, level, ack));
    }

    pub fn checkpoint(&self) {
        if let Some(report) = self.note(self.store.checkpoint()) {
            self.oracle.cover(report.lsn);
        }
    }

    fn flush(&self) {
        self.note(self.oracle.flush(self.store));
    }

    fn compact(&self) {
        self.note(self.store.compact());
    }

    /// Whether the store took the level.
    fn set_level(&self, durability: Durability) -> bool {
        let live = LiveSettings {
            durability,
            ..self.store.live_settings()
        };
        self.note(self.store.reconfigure(live)).is_some()
    }
}

pub fn batches_with_checkpoints(run: &Run, seed: u64) {
    let level = run.store.live_settings().durability;
    let mut draw = Draw(seed);
    for n in 0..60u64 {
        let parts = 1 + draw.below(4);
        let length = 20_000 + draw.below(40_000) as usize;
        run.commit(|id| batch(&mut draw, id, parts, 100, length), level, None);
        match n % 20 {
            9 => run.checkpoint(),
            15 => run.flush(),
            _ => {}
        }
    }
}

pub fn overwrites_and_deletes_with_compaction(run: &Run, seed: u64) {
    let mut draw = Draw(seed);
    for n in 0..48u64 {
        let parts = 1 + draw.below(5);
        let writes = |id| batch(&mut draw, id, parts, 20, 900);
        run.commit(writes, Durability::Full, None);
        if n % 6 == 5 {
            run.checkpoint();
        }
        if n % 24 == 23 {
            run.compact();
        }
    }
}

pub fn writers_of_hot_keys(run: &Run, seed: u64) {
    let level = run.store.live_settings().durability;
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            scope.spawn(move || {
                let mut draw = Draw(seed * 4 + thread);
                for n in 0..25 {
                    let ack = (n % 5 == 0).then_some(Durability::Full);
                    run.commit(|id| batch(&mut draw, id, 3, 8, 400), level, ack);
                    if thread == 0 && n % 10 == 9 {
                        run.checkpoint();
                    }
                }
            });
        }
    });
}

pub fn changes_of_level(run: &Run, seed: u64) {
    let mut draw = Draw(seed);
    let mut current = run.store.live_settings().durability;
    let pairs = Durability::ALL
        .into_iter()
        .flat_map(|from| Durability::ALL.map(|to| [from, to]));
    for next in pairs.flatten() {
        // What is written during the change has the promise of the weaker level.
        let weaker = current.min(next);
        std::thread::scope(|scope| {
            let changed = scope.spawn(|| run.set_level(next));
            for _ in 0..20 {
                run.commit(|id| batch(&mut draw, id, 2, 12, 200), weaker, None);
                if changed.is_finished() {
                    break;
                }
            }
            // A change that failed may be half done.
            current = if changed.join().unwrap() {
                next
            } else {
                weaker
            };
        });
        for _ in 0..2 {
            run.commit(|id| batch(&mut draw, id, 2, 12, 200), current, None);
        }
    }
}
