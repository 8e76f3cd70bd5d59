//! The store against a map with versions, under random operations.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use godb_store::disk::SimDisk;
use godb_store::disk::sim::LossVariant;
use godb_store::{Direction, Durability, Io, KeyRange, Lsn, ReadPoint, Store, StoreError, View};
use proptest::prelude::*;

use crate::harness::open_with;
use crate::powercut::{on, small};

const COUNTER: u64 = 3;
const KEYS: u8 = 12;

#[derive(Clone, Debug)]
enum Step {
    /// Writes of one transaction, and what it adds to the counter.
    Commit(Vec<(u8, Option<u16>)>, i8),
    /// Reads a key, then writes another one, with a write of the first in between if told so.
    ReadThenWrite(u8, u8, bool),
    Exclusive(u8),
    Scan(u8, u8, bool),
    TakeView,
    DropView(u8),
    Checkpoint,
    Compact,
    Flush,
    Reopen,
    Crash(u8, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let writes = prop::collection::vec((0..KEYS, prop::option::weighted(0.7, any::<u16>())), 1..5);
    let step = prop_oneof![
        12 => (writes, any::<i8>()).prop_map(|(writes, delta)| Step::Commit(writes, delta)),
        3 => (0..KEYS, 0..KEYS, any::<bool>()).prop_map(|(a, b, c)| Step::ReadThenWrite(a, b, c)),
        1 => (0..KEYS).prop_map(Step::Exclusive),
        3 => (0..KEYS, 0..KEYS + 2, any::<bool>()).prop_map(|(a, b, c)| Step::Scan(a, b, c)),
        2 => Just(Step::TakeView),
        1 => any::<u8>().prop_map(Step::DropView),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Compact),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => (0u8..6, any::<u64>()).prop_map(|(variant, seed)| Step::Crash(variant, seed)),
    ];
    prop::collection::vec(step, 1..60)
}

type State = BTreeMap<Bytes, (Lsn, Bytes)>;

fn key(n: u8) -> Bytes {
    Bytes::from(format!("key-{n:02}"))
}

/// Some values are long enough for blocks of their own.
fn value(n: u16) -> Bytes {
    let length = if n.is_multiple_of(50) {
        20_000
    } else {
        usize::from(n % 40)
    };
    Bytes::from(
        format!("{n}:")
            .into_bytes()
            .into_iter()
            .cycle()
            .take(length)
            .collect::<Vec<_>>(),
    )
}

struct Model {
    disk: SimDisk,
    store: Store,
    level: Durability,
    state: State,
    counter: i64,
    /// The newest LSN seen.
    newest: Lsn,
    views: Vec<(View, State)>,
}

impl Model {
    fn new(level: Durability) -> Model {
        let disk = SimDisk::new();
        let store = open_with(&on(&disk), &small(level)).unwrap();
        Model {
            disk,
            store,
            level,
            state: State::new(),
            counter: 0,
            newest: Lsn::ZERO,
            views: Vec::new(),
        }
    }

    fn committed(&mut self, lsn: Lsn, writes: &[(Bytes, Option<Bytes>)]) {
        assert!(lsn > self.newest, "{lsn} is not above {}", self.newest);
        self.newest = lsn;
        for (key, value) in writes {
            match value {
                Some(value) => self.state.insert(key.clone(), (lsn, value.clone())),
                None => self.state.remove(key),
            };
        }
    }

    fn commit(&mut self, writes: &[(Bytes, Option<Bytes>)], delta: i64) {
        let mut transaction = self.store.begin();
        for (key, value) in writes.iter().cloned() {
            match value {
                Some(value) => transaction.put(key, value),
                None => transaction.delete(key),
            }
        }
        for (key, value) in last_writes(writes) {
            let own = transaction.get(&key, Io::Allow).unwrap();
            assert_eq!(
                own.map(|entry| entry.value),
                value,
                "it reads its own writes"
            );
        }
        transaction.count(COUNTER, delta);
        let lsn = transaction.commit(None, None).unwrap().wait().unwrap();
        self.counter += delta;
        self.committed(lsn, writes);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Commit(writes, delta) => {
                let writes: Vec<_> = writes
                    .iter()
                    .map(|(n, written)| (key(*n), written.map(value)))
                    .collect();
                self.commit(&writes, i64::from(*delta));
            }
            Step::ReadThenWrite(read, written, disturbed) => {
                let mut transaction = self.store.begin();
                let found = transaction.get(&key(*read), Io::Allow).unwrap();
                let expected = self.state.get(&key(*read));
                assert_eq!(found.map(|e| (e.lsn, e.value)).as_ref(), expected);
                if *disturbed {
                    self.commit(&[(key(*read), Some(value(7)))], 0);
                }
                transaction.put(key(*written), value(8));
                match transaction.commit(None, None) {
                    Err(StoreError::Conflict) => assert!(disturbed),
                    outcome => {
                        let lsn = outcome.unwrap().wait().unwrap();
                        assert!(!disturbed, "a lost race was not noticed");
                        self.committed(lsn, &[(key(*written), Some(value(8)))]);
                    }
                }
            }
            Step::Exclusive(n) => {
                let body = |transaction: &mut godb_store::Transaction| {
                    let old = transaction.get(&key(*n), Io::Allow)?;
                    let new = old.map_or(value(1), |e| e.value.slice(..e.value.len() / 2));
                    transaction.put(key(*n), new.clone());
                    Ok(new)
                };
                let (new, ticket) = self.store.commit_exclusive(body, None, None).unwrap();
                let lsn = ticket.wait().unwrap();
                self.committed(lsn, &[(key(*n), Some(new))]);
            }
            Step::Scan(from, to, descending) => {
                agree(
                    &self.store.snapshot_read(),
                    &self.state,
                    *from,
                    *to,
                    *descending,
                );
                for (view, state) in &self.views {
                    agree(&view.read().unwrap(), state, *from, *to, *descending);
                }
            }
            Step::TakeView => {
                let view = self.store.view();
                assert!(view.lsn() >= self.newest);
                self.views.push((view, self.state.clone()));
            }
            Step::DropView(n) => {
                if !self.views.is_empty() {
                    self.views.swap_remove(usize::from(*n) % self.views.len());
                }
            }
            Step::Checkpoint => drop(self.store.checkpoint().unwrap()),
            Step::Compact => self.store.compact().unwrap(),
            Step::Flush => drop(self.store.flush().unwrap()),
            Step::Reopen => {
                self.views.clear();
                self.store.close().unwrap();
                self.open();
            }
            Step::Crash(variant, seed) => {
                // Without a log only what is in tables survives, at `os` what was synced.
                let variant = match self.level {
                    Durability::Full => LossVariant::ALL[usize::from(*variant)],
                    Durability::Os => {
                        [LossVariant::KeepAll, LossVariant::KillInWrite][usize::from(*variant % 2)]
                    }
                    Durability::Memory | Durability::None => {
                        self.store.flush().unwrap();
                        LossVariant::ALL[usize::from(*variant)]
                    }
                };
                self.views.clear();
                self.disk = self.disk.image().survive(variant, *seed);
                self.open();
            }
        }
    }

    fn open(&mut self) {
        self.store = open_with(&on(&self.disk), &small(self.level)).unwrap();
        agree(&self.store.snapshot_read(), &self.state, 0, KEYS, false);
        assert_eq!(self.store.counter(COUNTER), self.counter);
    }

    fn end(mut self) {
        for descending in [false, true] {
            agree(
                &self.store.snapshot_read(),
                &self.state,
                0,
                KEYS,
                descending,
            );
            for (view, state) in &self.views {
                agree(&view.read().unwrap(), state, 0, KEYS, descending);
            }
        }
        assert_eq!(self.store.counter(COUNTER), self.counter);
        self.step(&Step::Reopen);
    }
}

fn last_writes(writes: &[(Bytes, Option<Bytes>)]) -> BTreeMap<Bytes, Option<Bytes>> {
    writes.iter().cloned().collect()
}

/// Compares a scan from one key to another, and a get of every key, with the model.
fn agree(point: &ReadPoint, state: &State, from: u8, to: u8, descending: bool) {
    let (lower, upper) = (key(from.min(to)), key(from.max(to)));
    let range = KeyRange {
        lower: Bound::Included(lower.clone()),
        upper: Bound::Excluded(upper.clone()),
    };
    let direction = if descending {
        Direction::Descending
    } else {
        Direction::Ascending
    };
    let found: Vec<_> = point
        .scan(range, direction, Io::Allow)
        .map(|entry| {
            entry
                .map(|(key, entry)| (key, (entry.lsn, entry.value)))
                .unwrap()
        })
        .collect();
    let mut expected: Vec<_> = state
        .range(lower..upper)
        .map(|(key, entry)| (key.clone(), entry.clone()))
        .collect();
    if descending {
        expected.reverse();
    }
    assert_eq!(found, expected);
    for n in 0..KEYS {
        let got = point.get(&key(n), Io::Allow).unwrap();
        assert_eq!(
            got.map(|e| (e.lsn, e.value)).as_ref(),
            state.get(&key(n)),
            "key {n}"
        );
    }
}

proptest! {
    // More by PROPTEST_CASES.
    #![proptest_config(match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(48),
    })]

    #[test]
    fn the_store_agrees_with_a_map(steps in steps(), level in 0u8..4) {
        let mut model = Model::new(Durability::from_u8(level).unwrap());
        for step in &steps {
            model.step(step);
        }
        model.end();
    }
}
