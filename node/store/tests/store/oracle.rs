//! What a store must hold after it was cut off: an expected-state oracle.
//!
//! Every transaction of a workload goes through [`Oracle::commit`]. Besides its own writes it puts
//! a marker key that nothing else ever writes and adds to a counter, so a recovered store tells by
//! itself which transactions it holds and at which LSN. From those the whole state follows, and
//! is compared key by key, value by value, LSN by LSN.
//!
//! Promises, by level: what `full` acknowledged, or a flush or checkpoint covered, survives
//! everything; what `os` acknowledged survives the kill of the process; at every level the state is
//! a prefix of the LSN order, a transaction is whole or absent, counters agree, and an LSN that
//! was shown never means another thing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use godb_store::disk::sim::LossVariant;
use godb_store::{Direction, Durability, Io, KeyRange, Lsn, Result, Store, StoreError};

/// The counter that every transaction moves.
pub const COUNTER: u64 = 7;

pub type Writes = Vec<(Bytes, Option<Bytes>)>;

struct Sent {
    writes: Writes,
    delta: i64,
    /// Known once the commit returned.
    lsn: Option<Lsn>,
}

#[derive(Default)]
struct History {
    sent: Vec<Sent>,
    promised: Promised,
    /// Transactions that an earlier reopen did not find: none may come back.
    lost: BTreeSet<usize>,
}

/// What was promised up to a moment.
#[derive(Clone, Debug, Default)]
pub struct Promised {
    acknowledged: BTreeMap<usize, Durability>,
    /// A flush or checkpoint covered everything up to this LSN.
    covered: Lsn,
    /// The newest LSN that somebody was shown.
    shown: Lsn,
}

/// See the module. Clones are the same oracle.
#[derive(Clone, Default)]
pub struct Oracle(Arc<Mutex<History>>);

/// Bytes that neither compress nor repeat, and tell what they belong to.
pub fn value(id: usize, part: usize, length: usize) -> Bytes {
    let mut state = (id as u64) << 20 | part as u64;
    let mut bytes = format!("{id}/{part}:").into_bytes();
    while bytes.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(99);
        bytes.extend_from_slice(&(state >> 24).to_le_bytes()[..5]);
    }
    bytes.truncate(length.max(1));
    Bytes::from(bytes)
}

fn marker(id: usize) -> Bytes {
    Bytes::from(format!("~{id:08}"))
}

fn marked(key: &[u8]) -> Option<usize> {
    std::str::from_utf8(key.strip_prefix(b"~")?)
        .ok()?
        .parse()
        .ok()
}

/// Every key with LSN and value, after both directions of the scan were found to agree.
pub fn contents(store: &Store) -> Result<BTreeMap<Bytes, (Lsn, Bytes)>, String> {
    let whole = KeyRange {
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
    };
    let point = store.snapshot_read();
    let read = |direction| -> Result<Vec<_>, String> {
        point
            .scan(whole.clone(), direction, Io::Allow)
            .map(|entry| entry.map(|(key, entry)| (key, (entry.lsn, entry.value))))
            .collect::<Result<_>>()
            .map_err(|error| format!("a scan failed: {error}"))
    };
    let up = read(Direction::Ascending)?;
    let mut down = read(Direction::Descending)?;
    down.reverse();
    if up != down {
        return Err("the two directions of a scan differ".to_owned());
    }
    let count = up.len();
    let map: BTreeMap<_, _> = up.into_iter().collect();
    if map.len() != count {
        return Err("a scan gave a key twice".to_owned());
    }
    Ok(map)
}

impl Oracle {
    fn history(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap()
    }

    /// What was promised so far. Take it before the image it is compared with.
    pub fn promised(&self) -> Promised {
        self.history().promised.clone()
    }

    /// Transactions sent so far.
    pub fn sent(&self) -> usize {
        self.history().sent.len()
    }

    /// A reader was shown this LSN.
    pub fn saw(&self, lsn: Lsn) {
        let mut history = self.history();
        history.promised.shown = history.promised.shown.max(lsn);
    }

    /// Those of them that were acknowledged.
    #[allow(dead_code, reason = "the tests of damage use it")]
    pub fn ids(&self) -> Vec<usize> {
        self.history()
            .promised
            .acknowledged
            .keys()
            .copied()
            .collect()
    }

    /// Commits `writes` as one transaction and waits for it. The instance runs at least at
    /// `level`, which is what it is acknowledged at, or stronger.
    pub fn commit(
        &self,
        store: &Store,
        writes: impl FnOnce(usize) -> Writes,
        level: Durability,
        ack: Option<Durability>,
    ) -> Result<Lsn> {
        let (id, writes, delta) = {
            let mut history = self.history();
            let id = history.sent.len();
            let mut writes = writes(id);
            writes.push((marker(id), Some(value(id, 0, 12))));
            let delta = 1 + id as i64 % 5;
            history.sent.push(Sent {
                writes: writes.clone(),
                delta,
                lsn: None,
            });
            (id, writes, delta)
        };
        let ticket = loop {
            let mut transaction = store.begin();
            for (key, value) in writes.clone() {
                match value {
                    Some(value) => transaction.put(key, value),
                    None => transaction.delete(key),
                }
            }
            transaction.count(COUNTER, delta);
            match transaction.commit(ack, None) {
                Err(StoreError::Busy { .. }) => godb_store::block_on(store.writable())?,
                other => break other?,
            }
        };
        let lsn = ticket.lsn();
        self.history().sent[id].lsn = Some(lsn);
        let acknowledged = ticket.wait()?;
        assert_eq!(acknowledged, lsn);
        let mut history = self.history();
        let promised = &mut history.promised;
        let level = ack.map_or(level, |ack| ack.max(level));
        promised.acknowledged.insert(id, level);
        promised.shown = promised.shown.max(lsn);
        Ok(lsn)
    }

    /// Flushes the store, after which everything that was sent before must survive everything.
    pub fn flush(&self, store: &Store) -> Result<()> {
        let covered = store.flush()?;
        self.cover(covered);
        Ok(())
    }

    /// Notes that everything up to `covered` was made durable.
    pub fn cover(&self, covered: Lsn) {
        let mut history = self.history();
        history.promised.covered = history.promised.covered.max(covered);
    }

    /// Compares a reopened store with what was promised and sent. Returns the transactions that it
    /// holds, or what is wrong.
    pub fn check(
        &self,
        store: &Store,
        promised: &Promised,
        variant: LossVariant,
    ) -> Result<BTreeSet<usize>, String> {
        let found = contents(store)?;
        let history = self.history();
        let held: BTreeMap<usize, Lsn> = found
            .iter()
            .filter_map(|(key, (lsn, _))| marked(key).map(|id| (id, *lsn)))
            .collect();
        let mut newest_held = Lsn::ZERO;
        for (id, lsn) in &held {
            let sent = history.sent.get(*id);
            let sent = sent.ok_or_else(|| format!("transaction {id} was never sent"))?;
            if sent.lsn.is_some_and(|known| known != *lsn) {
                return Err(format!("transaction {id} had {:?}, now {lsn}", sent.lsn));
            }
            if history.lost.contains(id) {
                return Err(format!("transaction {id} was gone and has come back"));
            }
            newest_held = newest_held.max(*lsn);
        }
        for (id, sent) in history.sent.iter().enumerate() {
            if held.contains_key(&id) || history.lost.contains(&id) {
                continue;
            }
            let at = sent.lsn;
            if at.is_some_and(|lsn| lsn <= newest_held) {
                return Err(format!(
                    "no prefix: transaction {id} at {at:?} is missing below {newest_held}"
                ));
            }
            if at.is_some_and(|lsn| lsn <= promised.covered) {
                return Err(format!(
                    "lost: transaction {id} at {at:?} was covered by a flush up to {}",
                    promised.covered
                ));
            }
            let survives = match promised.acknowledged.get(&id) {
                Some(Durability::Full) => true,
                Some(Durability::Os) => !variant.is_power_cut(),
                _ => false,
            };
            if survives {
                return Err(format!(
                    "lost: transaction {id} at {at:?} was acknowledged at {:?}",
                    promised.acknowledged.get(&id)
                ));
            }
        }
        self.compare(store, &history, &held, &found)?;
        Ok(held.into_keys().collect())
    }

    fn compare(
        &self,
        store: &Store,
        history: &History,
        held: &BTreeMap<usize, Lsn>,
        found: &BTreeMap<Bytes, (Lsn, Bytes)>,
    ) -> Result<(), String> {
        let by_lsn: BTreeMap<Lsn, usize> = held.iter().map(|(id, lsn)| (*lsn, *id)).collect();
        if by_lsn.len() != held.len() {
            return Err("two transactions share an LSN".to_owned());
        }
        let mut expected: BTreeMap<Bytes, (Lsn, Bytes)> = BTreeMap::new();
        let mut sum = 0;
        for (lsn, id) in &by_lsn {
            let sent = &history.sent[*id];
            sum += sent.delta;
            for (key, value) in &sent.writes {
                match value {
                    Some(value) => expected.insert(key.clone(), (*lsn, value.clone())),
                    None => expected.remove(key),
                };
            }
        }
        if *found != expected {
            let keys: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
            let short = |entry: Option<&(Lsn, Bytes)>| {
                entry.map(|(lsn, v)| format!("{lsn}: {:?}", v.slice(..v.len().min(12))))
            };
            let wrong = keys
                .into_iter()
                .find(|key| found.get(*key) != expected.get(*key))
                .unwrap();
            return Err(format!(
                "key {wrong:?} holds {:?}, expected {:?}",
                short(found.get(wrong)),
                short(expected.get(wrong))
            ));
        }
        for (key, (lsn, value)) in expected.iter().step_by(1 + expected.len() / 16) {
            let got = store.snapshot_read().get(key, Io::Allow);
            match got {
                Ok(Some(entry)) if entry.lsn == *lsn && entry.value == *value => {}
                other => return Err(format!("a get of {key:?} gave {other:?}")),
            }
        }
        let counter = store.counter(COUNTER);
        if counter != sum {
            return Err(format!(
                "the counter is {counter}, the transactions sum to {sum}"
            ));
        }
        Ok(())
    }

    /// An oracle for what goes on after a reopen that held exactly `held`: an open makes everything
    /// durable that it serves, and nothing that was lost may come back.
    pub fn after(&self, held: &BTreeSet<usize>, promised: &Promised) -> Oracle {
        let history = self.history();
        let sent = history.sent.iter().map(|sent| Sent {
            writes: sent.writes.clone(),
            delta: sent.delta,
            lsn: sent.lsn,
        });
        let next = History {
            lost: (0..history.sent.len())
                .filter(|id| !held.contains(id))
                .collect(),
            sent: sent.collect(),
            promised: Promised {
                acknowledged: held.iter().map(|id| (*id, Durability::Full)).collect(),
                covered: Lsn::ZERO,
                shown: promised.shown,
            },
        };
        Oracle(Arc::new(Mutex::new(next)))
    }

    /// Goes on with what `next` holds, in this oracle.
    pub fn replace(&self, next: &Oracle) {
        let mut next = next.history();
        *self.history() = std::mem::take(&mut *next);
    }

    /// Commits one more transaction, whose LSN must be above all that were ever shown.
    pub fn commit_above(&self, store: &Store, level: Durability) -> Result<(), String> {
        let shown = self.promised().shown;
        let writes = |id| vec![(Bytes::from(format!("more-{id}")), Some(value(id, 1, 300)))];
        let lsn = self
            .commit(store, writes, level, None)
            .map_err(|error| format!("a write after the reopen failed: {error}"))?;
        if lsn <= shown {
            return Err(format!(
                "LSN {lsn} was given out anew, {shown} had been shown"
            ));
        }
        Ok(())
    }
}
