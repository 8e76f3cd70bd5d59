//! What a reader sees: active and sealed memtables and tables, as one value swapped whole.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::error::{Result, StoreError};
use crate::lsn::Lsn;
use crate::memtable::{Finger, Memtable, MemtableScan};
use crate::read::merge::VisibleScan;
use crate::read::{Direction, Entry, Io, KeyRange, Source, VersionedEntry};
use crate::sync::{Mutex, lock};
use crate::table::{Levels, RecentBlock};

/// One arrangement of memtables and tables. Everything it names stays readable while it is held.
#[derive(Clone)]
pub(crate) struct Version {
    /// Where commits go.
    pub(crate) active: Arc<Memtable>,
    /// Sealed memtables that no table holds yet, newest first.
    pub(crate) sealed: Vec<Arc<Memtable>>,
    /// Tables.
    pub(crate) levels: Arc<Levels>,
}

impl Version {
    /// With `sealed` (the active one so far) behind a fresh active memtable.
    pub(crate) fn with_sealed(&self, sealed: &Arc<Memtable>, fresh: Arc<Memtable>) -> Version {
        let mut all = Vec::with_capacity(self.sealed.len() + 1);
        all.push(Arc::clone(sealed));
        all.extend(self.sealed.iter().cloned());
        Version {
            active: fresh,
            sealed: all,
            levels: Arc::clone(&self.levels),
        }
    }

    /// Bytes of all memtables.
    pub(crate) fn memtable_bytes(&self) -> u64 {
        self.active.bytes() + self.sealed.iter().map(|sealed| sealed.bytes()).sum::<u64>()
    }
}

/// The current version.
pub(crate) struct Versions {
    current: ArcSwap<Version>,
    edits: Mutex<()>,
}

impl Versions {
    pub(crate) fn new(version: Version) -> Self {
        Self {
            current: ArcSwap::from_pointee(version),
            edits: Mutex::new(()),
        }
    }

    pub(crate) fn load(&self) -> Arc<Version> {
        self.current.load_full()
    }

    /// Replaces the current version by what `change` makes of it; one change at a time.
    pub(crate) fn edit(&self, change: impl FnOnce(&Version) -> Version) {
        let _one_at_a_time = lock(&self.edits);
        let next = change(&self.current.load());
        self.current.store(Arc::new(next));
    }

    /// A version together with an LSN that it holds everything for.
    ///
    /// The LSN is read after the version. If the version is still the current one afterwards,
    /// every commit up to that LSN went into its memtables: a seal replaces the version before a
    /// commit may go to the fresh memtable. And what a checkpoint or compaction dropped on the
    /// way to this version was below the visible LSN of that time, so below this one.
    pub(crate) fn read_at(&self, lsn: impl Fn() -> Lsn) -> ReadPoint {
        let mut version = self.current.load_full();
        loop {
            let lsn = lsn();
            let again = self.current.load();
            if Arc::ptr_eq(&version, &again) {
                return ReadPoint { version, lsn };
            }
            version = arc_swap::Guard::into_inner(again);
        }
    }
}

/// Reads at one LSN, without locks. It pins the memtables and tables of its moment, so it is for
/// short use; hold a [`crate::View`] over a longer time.
#[derive(Clone)]
pub struct ReadPoint {
    pub(crate) version: Arc<Version>,
    pub(crate) lsn: Lsn,
}

impl ReadPoint {
    /// It sees exactly the transactions at or below this LSN.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`crate::StoreError::WouldBlock`] if `io` forbids a needed disk read; damage; I/O errors.
    pub fn get(&self, key: &[u8], io: Io) -> Result<Option<Entry>> {
        let live = |(lsn, value): (Lsn, Option<Bytes>)| value.map(|value| Entry { lsn, value });
        // Sources are disjoint in LSN, newest first, so the first hit is the newest version.
        if let Some(found) = self.version.active.get(key, self.lsn) {
            return Ok(live(found));
        }
        for sealed in &self.version.sealed {
            if let Some(found) = sealed.get(key, self.lsn) {
                return Ok(live(found));
            }
        }
        Ok(self.version.levels.get(key, self.lsn, io)?.and_then(live))
    }

    /// What [`ReadPoint::get`] gives, for each of `keys`, in turn to `visit`. Keys that ascend and
    /// lie near each other cost much less than as many lookups.
    ///
    /// # Errors
    /// Those of [`ReadPoint::get`]; the first of `visit`, which ends it.
    pub fn get_each<K: AsRef<[u8]>, E: From<StoreError>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        io: Io,
        mut visit: impl FnMut(Option<Entry>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let guard = crossbeam_epoch::pin();
        let mut fingers: Vec<Finger<'_, '_>> = std::iter::once(&self.version.active)
            .chain(&self.version.sealed)
            .filter(|memtable| memtable.entries() > 0)
            .map(|memtable| memtable.finger(&guard))
            .collect();
        let mut recent = None::<RecentBlock>;
        for key in keys {
            let key = key.as_ref();
            let in_memory = fingers.iter_mut().find_map(|one| one.get(key, self.lsn));
            let found = match in_memory {
                Some(found) => Some(found),
                None => {
                    let levels = &self.version.levels;
                    levels.get_near(key, self.lsn, io, &mut recent)?
                }
            };
            visit(found.and_then(|(lsn, value)| Some(Entry { lsn, value: value? })))?;
        }
        Ok(())
    }

    /// The live keys of `range` with their values.
    #[must_use]
    pub fn scan(&self, range: KeyRange, direction: Direction, io: Io) -> Scan {
        let mut sources: Vec<Source> = Vec::new();
        self.version
            .levels
            .scan(&range, direction, io, &mut sources);
        let mut memtables: Vec<MemtableScan> = std::iter::once(&self.version.active)
            .chain(&self.version.sealed)
            .filter(|memtable| memtable.entries() > 0)
            .map(|memtable| memtable.scan_at(&range, direction, self.lsn))
            .collect();
        if sources.is_empty() && memtables.len() == 1 {
            // It gives one version of each key, so there is nothing to choose from.
            return Scan(memtables.pop().map_or_else(
                || Rest::Merged(VisibleScan::new(Vec::new(), direction, self.lsn)),
                Rest::Memtable,
            ));
        }
        let newest_first = memtables
            .into_iter()
            .map(|one| Box::new(one.map(Ok)) as Source);
        sources.splice(0..0, newest_first);
        Scan(Rest::Merged(VisibleScan::new(sources, direction, self.lsn)))
    }
}

/// Newest visible version of each key of a range, in order.
pub struct Scan(Rest);

enum Rest {
    Memtable(MemtableScan),
    Merged(VisibleScan),
}

impl Iterator for Scan {
    type Item = Result<(Bytes, Entry)>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Rest::Memtable(scan) => loop {
                let VersionedEntry { key, lsn, value } = scan.next()?;
                if let Some(value) = value {
                    return Some(Ok((key, Entry { lsn, value })));
                }
            },
            Rest::Merged(scan) => {
                let next = scan.next()?;
                Some(next.map(|(key, lsn, value)| (key, Entry { lsn, value })))
            }
        }
    }
}
