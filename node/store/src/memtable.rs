//! Recent writes in memory: an ordered map from (key, LSN descending) to a value or a tombstone.
//!
//! Readers need no lock. Only the commit section and recovery insert, and never the same
//! (key, LSN) twice: replacing an entry of this skip list is not atomic for readers.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Atomic};

use bytes::Bytes;
use crossbeam_epoch::{self as epoch, Guard};
use crossbeam_skiplist::base as epoch_list;

use crate::lsn::Lsn;
use crate::read::{Direction, KeyRange, VersionedEntry};
use crate::sync::{Mutex, lock};

/// What the skip list and the allocator add to key and value, in bytes: node with its tower, two
/// `Bytes`, and rounding. Measured with small documents.
const ENTRY_OVERHEAD_BYTES: u64 = 144;

/// A memtable. Sealed ones are no longer written to.
pub(crate) struct Memtable {
    // Not the map above it, which counts references to each entry that it hands out: cores would
    // wait for each other at the counts of those that many read. Nothing is ever removed.
    map: epoch_list::SkipList<VersionedKey, Option<Bytes>>,
    bytes: AtomicU64,
    entries: AtomicU64,
    last_lsn: AtomicU64,
    /// What the transactions of this memtable added to each counter.
    counts: Mutex<BTreeMap<u64, i64>>,
}

struct VersionedKey {
    key: Bytes,
    lsn: Lsn,
}

/// Lets the map be searched by a borrowed key, without an allocation per look.
trait Versioned {
    fn parts(&self) -> (&[u8], Lsn);
}

impl Versioned for VersionedKey {
    fn parts(&self) -> (&[u8], Lsn) {
        (&self.key, self.lsn)
    }
}

struct Probe<'a>(&'a [u8], Lsn);

impl Versioned for Probe<'_> {
    fn parts(&self) -> (&[u8], Lsn) {
        (self.0, self.1)
    }
}

fn order(a: (&[u8], Lsn), b: (&[u8], Lsn)) -> Ordering {
    a.0.cmp(b.0).then(b.1.cmp(&a.1))
}

impl PartialEq for dyn Versioned + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}
impl Eq for dyn Versioned + '_ {}
impl PartialOrd for dyn Versioned + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for dyn Versioned + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        order(self.parts(), other.parts())
    }
}
impl PartialEq for VersionedKey {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}
impl Eq for VersionedKey {}
impl PartialOrd for VersionedKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for VersionedKey {
    fn cmp(&self, other: &Self) -> Ordering {
        order(self.parts(), other.parts())
    }
}
impl<'a> Borrow<dyn Versioned + 'a> for VersionedKey {
    fn borrow(&self) -> &(dyn Versioned + 'a) {
        self
    }
}

impl Memtable {
    pub(crate) fn new() -> Self {
        Self {
            map: epoch_list::SkipList::new(epoch::default_collector().clone()),
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            last_lsn: AtomicU64::new(0),
            counts: Mutex::new(BTreeMap::new()),
        }
    }

    /// Adds one version. Nobody ever repeats (key, LSN), and nobody reads it before its LSN is visible.
    pub(crate) fn insert(&self, key: Bytes, lsn: Lsn, value: Option<Bytes>) {
        let payload = key.len() + value.as_ref().map_or(0, Bytes::len);
        let guard = epoch::pin();
        let entry = self.map.insert(VersionedKey { key, lsn }, value, &guard);
        entry.release(&guard);
        self.bytes
            .fetch_add(payload as u64 + ENTRY_OVERHEAD_BYTES, Atomic::Relaxed);
        self.entries.fetch_add(1, Atomic::Relaxed);
    }

    /// Notes that everything of the transaction `lsn` is in.
    pub(crate) fn applied(&self, lsn: Lsn, counts: &[(u64, i64)]) {
        self.last_lsn.store(lsn.0, Atomic::Release);
        if !counts.is_empty() {
            let mut sums = lock(&self.counts);
            for (counter, delta) in counts {
                *sums.entry(*counter).or_default() += delta;
            }
        }
    }

    /// The newest version of `key` at or below `lsn`.
    pub(crate) fn get(&self, key: &[u8], lsn: Lsn) -> Option<(Lsn, Option<Bytes>)> {
        let probe = Probe(key, lsn);
        let guard = epoch::pin();
        let entry = self
            .map
            .lower_bound(Bound::Included(&probe as &dyn Versioned), &guard)?;
        let found = entry.key();
        (found.key == key).then(|| (found.lsn, entry.value().clone()))
    }

    /// For many lookups; `guard` is that of [`crossbeam_epoch::pin`].
    pub(crate) fn finger<'a: 'g, 'g>(&'a self, guard: &'g Guard) -> Finger<'a, 'g> {
        Finger {
            memtable: self,
            guard,
            last: None,
            steps: FINGER_STEPS,
        }
    }

    /// All versions of the keys in `range`.
    pub(crate) fn scan(self: &Arc<Self>, range: &KeyRange, direction: Direction) -> MemtableScan {
        self.scan_from(range, direction, None)
    }

    /// The newest version at or below `lsn` of each key in `range`, so that a key with many
    /// versions costs a reader one step.
    pub(crate) fn scan_at(
        self: &Arc<Self>,
        range: &KeyRange,
        direction: Direction,
        lsn: Lsn,
    ) -> MemtableScan {
        self.scan_from(range, direction, Some(lsn))
    }

    fn scan_from(
        self: &Arc<Self>,
        range: &KeyRange,
        direction: Direction,
        at: Option<Lsn>,
    ) -> MemtableScan {
        MemtableScan {
            memtable: Arc::clone(self),
            lower: match &range.lower {
                Bound::Included(key) => Bound::Included((key.clone(), Lsn::MAX)),
                Bound::Excluded(key) => Bound::Excluded((key.clone(), Lsn::ZERO)),
                Bound::Unbounded => Bound::Unbounded,
            },
            upper: match &range.upper {
                Bound::Included(key) => Bound::Included((key.clone(), Lsn::ZERO)),
                Bound::Excluded(key) => Bound::Excluded((key.clone(), Lsn::MAX)),
                Bound::Unbounded => Bound::Unbounded,
            },
            direction,
            at,
            batch: VecDeque::new(),
            batch_entries: FIRST_BATCH_ENTRIES,
            done: false,
        }
    }

    /// Memory held, in bytes, by an estimate per entry.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Atomic::Relaxed)
    }

    /// Number of versions.
    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Atomic::Relaxed)
    }

    /// The newest transaction that is in, zero if none.
    pub(crate) fn last_lsn(&self) -> Lsn {
        Lsn(self.last_lsn.load(Atomic::Acquire))
    }

    /// What its transactions added to each counter.
    pub(crate) fn counts(&self) -> BTreeMap<u64, i64> {
        lock(&self.counts).clone()
    }
}

const FIRST_BATCH_ENTRIES: usize = 16;
const LARGEST_BATCH_ENTRIES: usize = 256;
/// Entries that a lookup tries before it searches from the top.
const FINGER_STEPS: usize = 4;
/// Versions that are stepped over before the next key is searched for instead.
const MOST_STEPS: usize = 8;

/// A scan that owns its memtable: it takes entries in batches, since the map's own iterator
/// borrows it. Batches grow, so that a short scan stays cheap.
pub(crate) struct MemtableScan {
    memtable: Arc<Memtable>,
    lower: Bound<(Bytes, Lsn)>,
    upper: Bound<(Bytes, Lsn)>,
    direction: Direction,
    /// Only the newest version at or below this LSN of each key.
    at: Option<Lsn>,
    batch: VecDeque<VersionedEntry>,
    batch_entries: usize,
    done: bool,
}

impl MemtableScan {
    fn refill(&mut self) {
        let wanted = self.batch_entries;
        self.batch_entries = (wanted * 2).min(LARGEST_BATCH_ENTRIES);
        while self.batch.len() < wanted && !self.done {
            self.walk(wanted);
        }
    }

    /// Takes entries until there are `wanted`, the range ends, or it is cheaper to search for the
    /// next one than to step there; the bounds then say where to go on.
    fn walk(&mut self, wanted: usize) {
        if bounds_are_empty(&self.lower, &self.upper) {
            self.done = true;
            return;
        }
        let memtable = Arc::clone(&self.memtable);
        let guard = epoch::pin();
        let (resume, ended) = self.walk_pinned(&memtable, wanted, &guard);
        self.done = ended;
        if let Some(resume) = resume {
            let resume = resume.map(|Position(key, lsn)| (key.clone(), lsn));
            match self.direction {
                Direction::Ascending => self.lower = resume,
                Direction::Descending => self.upper = resume,
            }
        }
    }

    /// Where to go on, unless nothing was passed, and whether the range has ended.
    fn walk_pinned<'g>(
        &mut self,
        memtable: &'g Memtable,
        wanted: usize,
        guard: &'g Guard,
    ) -> (Option<Bound<Position<'g>>>, bool) {
        let (from, to) = (self.lower.clone(), self.upper.clone());
        let lower = from.as_ref().map(|(key, lsn)| Probe(key, *lsn));
        let upper = to.as_ref().map(|(key, lsn)| Probe(key, *lsn));
        let bounds: (Bound<&dyn Versioned>, Bound<&dyn Versioned>) = (
            lower.as_ref().map(|probe| probe as &dyn Versioned),
            upper.as_ref().map(|probe| probe as &dyn Versioned),
        );
        let mut entries = memtable.map.range::<dyn Versioned, _>(bounds, guard);
        // Behind all versions of a key, in the direction of the scan.
        let past_key = match self.direction {
            Direction::Ascending => Lsn::ZERO,
            Direction::Descending => Lsn::MAX,
        };
        let mut resume = None;
        // The key of which no other version is wanted.
        let mut decided: Option<&Bytes> = None;
        let mut stepped_over = 0;
        while self.batch.len() < wanted {
            let next = match self.direction {
                Direction::Ascending => entries.next(),
                Direction::Descending => entries.next_back(),
            };
            let Some(entry) = next else {
                return (resume, true);
            };
            let found = entry.key();
            let version = match (self.at, self.direction) {
                (None, _) => {
                    resume = Some(Bound::Excluded(Position(&found.key, found.lsn)));
                    Some((found.lsn, entry.value().clone()))
                }
                (Some(_), _) if decided == Some(&found.key) => None,
                (Some(at), Direction::Ascending) if found.lsn > at => {
                    // Seek to the first version that may be seen.
                    resume = Some(Bound::Included(Position(&found.key, at)));
                    None
                }
                (Some(at), direction) => {
                    decided = Some(&found.key);
                    resume = Some(Bound::Excluded(Position(&found.key, past_key)));
                    match direction {
                        Direction::Ascending => Some((found.lsn, entry.value().clone())),
                        // The oldest version comes first here, so the right one is looked up.
                        Direction::Descending => memtable.get(&found.key, at),
                    }
                }
            };
            if let Some((lsn, value)) = version {
                self.batch.push_back(VersionedEntry {
                    key: found.key.clone(),
                    lsn,
                    value,
                });
                stepped_over = 0;
            } else {
                stepped_over += 1;
                if stepped_over > MOST_STEPS {
                    break;
                }
            }
        }
        (resume, false)
    }
}

/// A place in a memtable, borrowed from it.
struct Position<'g>(&'g Bytes, Lsn);

/// Lookups of keys one after the other, in ascending order at best: from one it steps to the next
/// where that is near.
pub(crate) struct Finger<'a: 'g, 'g> {
    memtable: &'a Memtable,
    guard: &'g Guard,
    last: Option<epoch_list::Entry<'a, 'g, VersionedKey, Option<Bytes>>>,
    /// Steps that a lookup tries before it searches; fewer after each that was for nothing.
    steps: usize,
}

impl<'a: 'g, 'g> Finger<'a, 'g> {
    /// As [`Memtable::get`].
    pub(crate) fn get(&mut self, key: &[u8], lsn: Lsn) -> Option<(Lsn, Option<Bytes>)> {
        if let Some(near) = self.step_to(key, lsn) {
            self.last = Some(near);
        } else {
            let probe = Probe(key, lsn);
            let bound = Bound::Included(&probe as &dyn Versioned);
            self.last = self.memtable.map.lower_bound(bound, self.guard);
        }
        let entry = self.last.as_ref()?;
        let found = entry.key();
        (found.key == key).then(|| (found.lsn, entry.value().clone()))
    }

    /// The first entry at or behind the place, if a few steps lead to it.
    fn step_to(
        &mut self,
        key: &[u8],
        lsn: Lsn,
    ) -> Option<epoch_list::Entry<'a, 'g, VersionedKey, Option<Bytes>>> {
        let mut near = self.last.clone()?;
        if self.steps == 0 || order(near.key().parts(), (key, lsn)).is_ge() {
            return None;
        }
        for _ in 0..self.steps {
            near = near.next()?;
            if order(near.key().parts(), (key, lsn)).is_ge() {
                self.steps = FINGER_STEPS;
                return Some(near);
            }
        }
        self.steps /= 2;
        None
    }
}

fn bounds_are_empty(lower: &Bound<(Bytes, Lsn)>, upper: &Bound<(Bytes, Lsn)>) -> bool {
    match (lower, upper) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(l), Bound::Included(u)) => order((&l.0, l.1), (&u.0, u.1)).is_gt(),
        (Bound::Included(l) | Bound::Excluded(l), Bound::Included(u) | Bound::Excluded(u)) => {
            order((&l.0, l.1), (&u.0, u.1)).is_ge()
        }
    }
}

impl Iterator for MemtableScan {
    type Item = VersionedEntry;

    fn next(&mut self) -> Option<VersionedEntry> {
        if self.batch.is_empty() && !self.done {
            self.refill();
        }
        self.batch.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Arc<Memtable> {
        let memtable = Arc::new(Memtable::new());
        for n in 1..=600u64 {
            let key = Bytes::from(format!("k{:03}", n % 200));
            let value = (n % 7 != 0).then(|| Bytes::from(n.to_string()));
            memtable.insert(key, Lsn(n), value);
            memtable.applied(Lsn(n), &[(1, 1), (2, -2)]);
        }
        memtable
    }

    fn whole() -> KeyRange {
        KeyRange {
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
        }
    }

    #[test]
    fn get_returns_the_newest_version_at_or_below_the_lsn() {
        let memtable = filled();
        assert_eq!(
            memtable.get(b"k001", Lsn::MAX),
            Some((Lsn(401), Some(Bytes::from("401"))))
        );
        assert_eq!(
            memtable.get(b"k001", Lsn(400)),
            Some((Lsn(201), Some(Bytes::from("201"))))
        );
        assert_eq!(
            memtable.get(b"k001", Lsn(200)),
            Some((Lsn(1), Some(Bytes::from("1"))))
        );
        assert_eq!(memtable.get(b"k001", Lsn(0)), None);
        assert_eq!(
            memtable.get(b"k007", Lsn(100)),
            Some((Lsn(7), None)),
            "a tombstone is a version"
        );
        assert_eq!(memtable.get(b"k", Lsn::MAX), None);
        assert_eq!(memtable.get(b"z", Lsn::MAX), None);
    }

    #[test]
    fn scans_go_both_ways_through_every_version_and_respect_bounds() {
        let memtable = filled();
        let up: Vec<_> = memtable.scan(&whole(), Direction::Ascending).collect();
        assert_eq!(up.len(), 600);
        assert!(up.is_sorted_by(|a, b| order((&a.key, a.lsn), (&b.key, b.lsn)).is_lt()));
        let mut down: Vec<_> = memtable.scan(&whole(), Direction::Descending).collect();
        down.reverse();
        assert_eq!(up, down);
        let range = KeyRange {
            lower: Bound::Excluded(Bytes::from("k010")),
            upper: Bound::Included(Bytes::from("k012")),
        };
        for direction in [Direction::Ascending, Direction::Descending] {
            let mut keys: Vec<_> = memtable.scan(&range, direction).map(|e| e.key).collect();
            keys.dedup();
            keys.sort();
            assert_eq!(keys, [Bytes::from("k011"), Bytes::from("k012")]);
        }
        let inverted = KeyRange {
            lower: Bound::Included(Bytes::from("k012")),
            upper: Bound::Excluded(Bytes::from("k012")),
        };
        assert_eq!(memtable.scan(&inverted, Direction::Ascending).count(), 0);
    }

    #[test]
    fn a_scan_at_an_lsn_yields_one_version_of_each_key_that_has_one() {
        let memtable = filled();
        for n in 601..=900u64 {
            memtable.insert(
                Bytes::from("k005"),
                Lsn(n),
                Some(Bytes::from(n.to_string())),
            );
        }
        for at in [0, 1, 5, 150, 205, 400, 599, 600, 750, 900, u64::MAX] {
            let mut expected = Vec::new();
            for n in 0..200 {
                let key = Bytes::from(format!("k{n:03}"));
                if let Some((lsn, value)) = memtable.get(&key, Lsn(at)) {
                    expected.push(VersionedEntry { key, lsn, value });
                }
            }
            for direction in [Direction::Ascending, Direction::Descending] {
                let found: Vec<_> = memtable.scan_at(&whole(), direction, Lsn(at)).collect();
                assert_eq!(found, expected, "at {at}, {direction:?}");
                expected.reverse();
            }
        }
    }

    #[test]
    fn a_finger_finds_what_a_lookup_finds_in_any_order() {
        let memtable = filled();
        let guard = epoch::pin();
        let mut finger = memtable.finger(&guard);
        let keys = |step: usize| (0..200).map(move |n| format!("k{:03}", n * step % 200));
        let orders = keys(1).chain(keys(3)).chain(keys(7)).chain(keys(199));
        let strange = ["", "k", "k0015", "z", "k199", "k199"].map(str::to_owned);
        for (turn, key) in orders.chain(strange).enumerate() {
            let lsn = Lsn([u64::MAX, 300, 90][turn % 3]);
            let expected = memtable.get(key.as_bytes(), lsn);
            assert_eq!(finger.get(key.as_bytes(), lsn), expected, "{key} {lsn:?}");
        }
    }

    #[test]
    fn it_counts_what_it_holds() {
        let memtable = filled();
        assert_eq!(memtable.entries(), 600);
        assert_eq!(memtable.last_lsn(), Lsn(600));
        assert!(memtable.bytes() > 600 * ENTRY_OVERHEAD_BYTES);
        assert_eq!(memtable.counts(), BTreeMap::from([(1, 600), (2, -1200)]));
    }
}
