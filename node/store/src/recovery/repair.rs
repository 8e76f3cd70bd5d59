//! Making a damaged store usable again: offline, asked for, and without touching the originals.
//!
//! ```text
//! examine        read everything; what is provable is kept, what is not is listed   (reads only)
//! keep_originals the files as they are, in a folder beside the directory
//! stage          what is kept becomes a store of its own in `repairing` folders
//!                (the layer above opens it and makes its own records agree)
//! adopt          its tables move over, then its manifest replaces the old one
//! ```
//!
//! Replacing the manifest is the one step that counts: a repair that is killed before it leaves the
//! store as it was, one that is killed after it leaves the repaired one. Log segments are copied
//! and not linked, because a segment may be used again in place.
//!
//! Provable is: a block of a table that matches its checksum, which covers number and offset; a
//! frame that matches its checksum, with the salt of its segment, in a part of the log that no
//! later recovery had cut off. What is in neither is lost, and is told with file, offset and the
//! keys or LSNs it can have held. New transactions go on above every LSN that may have been given
//! out.

mod adopt;
mod log;
mod tables;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Disk, Lock};
use crate::error::{Result, StoreError};
use crate::limits;
use crate::lsn::Lsn;
use crate::manifest::{self, Manifest};
use crate::memtable::Memtable;
use crate::read::merge::VisibleScan;
use crate::read::{Direction, KeyRange, Source};
use crate::recovery::{self, identity, verify};
use crate::settings::Settings;
use crate::table;
use crate::wal::segment;

/// LSNs that may have been given out above the highest that is found, when no manifest says how
/// many were reserved: a log as long as it may get, in the smallest transactions.
const LSNS_WITHOUT_MANIFEST: u64 = 4 * limits::LSN_RESERVATION;

/// Something that cannot be had any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The file it was in.
    pub file: PathBuf,
    /// Where the damage begins.
    pub offset: u64,
    /// Bytes that are left out.
    pub bytes: u64,
    /// What was there.
    pub what: Lost,
}

/// What a lost part held, as far as anything tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Versions of keys. Older versions of them may still be there, and so may keys whose
    /// deletion was in the lost part.
    Keys {
        /// No lost key is below; `None` if nothing tells.
        from: Option<Bytes>,
        /// No lost key is above; `None` if nothing tells.
        to: Option<Bytes>,
        /// Versions that are lost, where it is known.
        entries: Option<u64>,
        /// None of them is newer.
        newest: Option<Lsn>,
    },
    /// Transactions.
    Transactions {
        /// The first that is lost.
        first: Lsn,
        /// The last that can be lost.
        last: Lsn,
    },
    /// The end of the log: an unfinished write that nobody was told of, or transactions.
    Tail {
        /// The last transaction that is kept.
        after: Lsn,
    },
    /// The manifest: which of the tables counted, and what was counted.
    Manifest,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, offset, bytes) = (self.file.display(), self.offset, self.bytes);
        write!(f, "{file} at byte {offset} ({bytes} bytes): ")?;
        match &self.what {
            Lost::Keys {
                entries, newest, ..
            } => {
                match entries {
                    Some(entries) => write!(f, "{entries} versions of keys")?,
                    None => f.write_str("versions of keys")?,
                }
                newest.map_or(Ok(()), |newest| {
                    write!(f, " from transactions up to LSN {newest}")
                })
            }
            Lost::Transactions { first, last } if first == last => {
                write!(f, "the transaction with LSN {first}")
            }
            Lost::Transactions { first, last } => {
                write!(f, "the transactions from LSN {first} to {last}")
            }
            Lost::Tail { after } => write!(
                f,
                "no whole frame: an unfinished write, or transactions after LSN {after}"
            ),
            Lost::Manifest => f.write_str("which of the tables counted"),
        }
    }
}

/// One key that is kept, with the LSN and the value of its newest version.
pub type KeptEntries = Box<dyn Iterator<Item = Result<(Bytes, Lsn, Bytes)>> + Send>;

/// A store that is being repaired. Nobody else can open it meanwhile.
pub struct Repair {
    settings: Settings,
    disk: Arc<dyn Disk>,
    locks: Vec<Box<dyn Lock>>,
    manifest: Option<Manifest>,
    store_id: u128,
    faults: Vec<StoreError>,
    losses: Vec<Loss>,
    notes: Vec<String>,
    tables: Vec<Arc<tables::Salvaged>>,
    log: Arc<Memtable>,
    transactions: u64,
    /// No LSN above it was ever given out.
    ceiling: Lsn,
    next_table: u64,
    next_segment: u64,
}

impl Repair {
    /// Reads the store of `settings` and finds out what of it can be kept. Nothing is changed.
    ///
    /// # Errors
    /// No store there, [`StoreError::Locked`], [`StoreError::NewerFormat`],
    /// [`StoreError::Mismatch`] where directories do not belong together, I/O errors of
    /// directories. Files that cannot be read are damage, not an error.
    pub fn examine(settings: &Settings, disk: &Arc<dyn Disk>) -> Result<Self> {
        let files = files_of(settings, &**disk)?;
        let dirs: Vec<&Path> = files.iter().map(|(dir, _)| dir.as_path()).collect();
        let locks = recovery::lock_dirs(&**disk, &dirs)?;
        let mut faults = Vec::new();
        let mut losses = Vec::new();
        let manifest = match Manifest::load(&**disk, &settings.data_dir) {
            Ok(manifest) => manifest,
            Err(error @ StoreError::NewerFormat { .. }) => return Err(error),
            Err(error) => {
                faults.push(error);
                None
            }
        };
        if manifest.is_none() {
            let file = settings.data_dir.join(manifest::FILE_NAME);
            if faults.is_empty() {
                faults.push(StoreError::corrupt(&file, 0, "the manifest is missing"));
            }
            losses.push(Loss {
                file,
                offset: 0,
                bytes: 0,
                what: Lost::Manifest,
            });
        }
        let ids = identities(settings, &**disk, manifest.as_ref())?;
        if let Some(manifest) = &manifest {
            let report = verify::inspect(settings, disk, manifest, &mut |_, _| {})?;
            faults.extend(report.faults);
        }
        if let Some(newer) = faults
            .iter()
            .find(|fault| matches!(fault, StoreError::NewerFormat { .. }))
        {
            return Err(newer.clone());
        }
        let mut repair = Self {
            settings: settings.clone(),
            disk: Arc::clone(disk),
            locks,
            store_id: ids.unwrap_or_default(),
            manifest,
            faults,
            losses,
            notes: Vec::new(),
            tables: Vec::new(),
            log: Arc::new(Memtable::new()),
            transactions: 0,
            ceiling: Lsn::ZERO,
            next_table: 1,
            next_segment: 1,
        };
        if repair.is_needed() {
            repair.salvage()?;
        }
        Ok(repair)
    }

    /// Whether anything is damaged.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        !self.faults.is_empty()
    }

    /// All damage, as [`crate::verify`] finds it.
    #[must_use]
    pub fn faults(&self) -> &[StoreError] {
        &self.faults
    }

    /// What cannot be kept.
    #[must_use]
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// What else a person should know.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Transactions of the log that are kept.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.transactions
    }

    /// The repaired store gives out LSNs above this one.
    #[must_use]
    pub fn ceiling(&self) -> Lsn {
        self.ceiling
    }

    /// The sums of all counters before the damage, as far as manifest and log still tell.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<u64, i64> {
        let counters = self.manifest.as_ref().map(|manifest| &manifest.counters);
        let mut sums = counters.cloned().unwrap_or_default();
        for (id, delta) in self.log.counts() {
            *sums.entry(id).or_default() += delta;
        }
        sums
    }

    /// Everything that is kept, by key.
    #[must_use]
    pub fn kept(&self) -> KeptEntries {
        let all = KeyRange {
            lower: std::ops::Bound::Unbounded,
            upper: std::ops::Bound::Unbounded,
        };
        let log = self.log.scan(&all, Direction::Ascending).map(Ok);
        let mut sources: Vec<Source> = vec![Box::new(log)];
        for table in &self.tables {
            sources.push(Box::new(tables::SalvagedScan::new(Arc::clone(table))));
        }
        Box::new(VisibleScan::new(sources, Direction::Ascending, Lsn::MAX))
    }

    /// Whether an entry lies where a newer version of it may be lost.
    #[must_use]
    pub fn may_be_stale(&self, key: &[u8], lsn: Lsn) -> bool {
        self.losses.iter().any(|loss| match &loss.what {
            Lost::Keys {
                from, to, newest, ..
            } => {
                from.as_ref().is_none_or(|from| from.as_ref() <= key)
                    && to.as_ref().is_none_or(|to| key <= to.as_ref())
                    && newest.is_none_or(|newest| lsn < newest)
            }
            // Any key may have been written by them; that says nothing of this one.
            Lost::Transactions { .. } | Lost::Tail { .. } | Lost::Manifest => false,
        })
    }

    fn salvage(&mut self) -> Result<()> {
        let settings = self.settings.clone();
        let found = tables::find(&self.disk, &settings.checkpoint_dir)?;
        let mut seen = Lsn::ZERO;
        let outcomes = match &self.manifest {
            Some(manifest) => manifest
                .levels
                .iter()
                .flatten()
                .map(|meta| found.salvage(meta))
                .collect(),
            None => found.salvage_all(),
        };
        for outcome in outcomes {
            self.losses.extend(outcome.losses);
            self.notes.extend(outcome.note);
            if let Some(table) = outcome.table {
                seen = seen.max(table.newest);
                self.tables.push(Arc::new(table));
            }
        }
        let highest = found.highest_number();
        let manifest = self.manifest.as_ref();
        let plan = log::Plan {
            disk: &*self.disk,
            dir: &settings.wal_dir,
            store_id: (self.store_id != 0).then_some(self.store_id),
            manifest,
            // Without a manifest: what is in tables need not be in the log.
            checkpoint: manifest.map_or(seen, |manifest| manifest.checkpoint),
        };
        let log = log::salvage(&plan)?;
        self.ceiling = seen.max(log.highest).max(plan.checkpoint);
        self.ceiling = match manifest {
            Some(manifest) => self
                .ceiling
                .max(manifest.durable)
                .max(Lsn(manifest.reservation.0.saturating_sub(1))),
            None => self.ceiling.plus(LSNS_WITHOUT_MANIFEST),
        };
        self.next_table = manifest.map_or(1, |m| m.next_table).max(highest + 1);
        self.next_segment = manifest
            .map_or(1, |m| m.next_segment)
            .max(log.highest_number + 1);
        self.losses.extend(log.losses);
        self.notes.extend(log.notes);
        self.transactions = log.transactions;
        self.log = log.memtable;
        if self.store_id == 0 {
            self.store_id = match log.store_id {
                Some(id) => id,
                None => recovery::new_store_id()?,
            };
        }
        Ok(())
    }
}

impl fmt::Debug for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repair")
            .field("settings", &self.settings)
            .field("faults", &self.faults)
            .field("losses", &self.losses)
            .field("ceiling", &self.ceiling)
            .field("locks", &self.locks.len())
            .finish_non_exhaustive()
    }
}

/// Whether a file of this name is one of a store.
fn is_ours(name: &str) -> bool {
    name.starts_with(manifest::FILE_NAME)
        || name.starts_with(identity::FILE_NAME)
        || segment::parse_file_name(name).is_some()
        || segment::is_leftover(name)
        || table::parse_file_name(name).is_some()
}

/// The directories that are there, and the store's files in each.
fn files_of(settings: &Settings, disk: &dyn Disk) -> Result<Vec<(PathBuf, Vec<String>)>> {
    let mut found: Vec<(PathBuf, Vec<String>)> = Vec::new();
    for dir in [
        &settings.data_dir,
        &settings.wal_dir,
        &settings.checkpoint_dir,
    ] {
        if found.iter().any(|(other, _)| other == dir) {
            continue;
        }
        match disk.list(dir) {
            Ok(mut names) => {
                names.retain(|name| is_ours(name));
                names.sort();
                found.push((dir.clone(), names));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("list", dir, &error)),
        }
    }
    if found.iter().all(|(_, names)| names.is_empty()) {
        return Err(StoreError::Mismatch {
            path: settings.data_dir.clone(),
            detail: "there is no file of a store here: this is not its data directory".to_owned(),
        });
    }
    Ok(found)
}

/// The id of the store, from its manifest or from what its directories say. Directories of two
/// stores are a wrong setting, not damage.
fn identities(
    settings: &Settings,
    disk: &dyn Disk,
    manifest: Option<&Manifest>,
) -> Result<Option<u128>> {
    let mut id = manifest.map(|manifest| manifest.store_id);
    for dir in [&settings.wal_dir, &settings.checkpoint_dir] {
        let Ok(Some(found)) = identity::read(disk, dir) else {
            continue;
        };
        if *id.get_or_insert(found) != found {
            return Err(StoreError::Mismatch {
                path: dir.clone(),
                detail: "this directory belongs to another store; check the directories given"
                    .to_owned(),
            });
        }
    }
    Ok(id)
}
