//! Making a damaged database usable again; [`godb_store::Repair`] says what counts as provable.
//!
//! The store keeps keys; here is what they mean. Of what is kept, documents count, and the
//! catalogue says where they belong. Index entries and counters are not kept: they are made anew
//! from the documents, so they agree with them. Documents whose collection's record is lost come
//! under a made name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use godb_store::disk::Disk;
use godb_store::observer::NoObserver;
use godb_store::{Components, Loss, Lost, Lsn, Repair, Settings, Store, StoreError};

use crate::catalog::{self, Catalog, Collection, IndexState, Numbers};
use crate::check;
use crate::error::{EngineError, Result};
use crate::index::build;
use crate::key::{self, CollectionNumber, Place};

/// What a repair found and did.
#[derive(Clone, Debug, Default)]
pub struct RepairReport {
    /// All damage that was found; without any, nothing was done.
    pub damage: Vec<StoreError>,
    /// What is lost, each in a line with file, offset and the documents or LSNs concerned.
    pub losses: Vec<String>,
    /// What else a person should know.
    pub notes: Vec<String>,
    /// What is kept.
    pub collections: Vec<KeptCollection>,
    /// Transactions that were taken from the log.
    pub transactions: u64,
    /// New transactions have LSNs above this one.
    pub lsn: Lsn,
    /// Folders that hold the files as they were; empty when nothing was changed.
    pub originals: Vec<PathBuf>,
}

/// A collection as it is after a repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptCollection {
    /// Its name; a made one if the name is lost.
    pub name: String,
    /// Documents that are kept.
    pub documents: u64,
    /// Documents that were counted before the damage, where that is known.
    pub counted: Option<u64>,
    /// Documents among the kept of which a newer version, or the deletion, may be lost.
    pub uncertain: u64,
    /// Fields whose index was made anew.
    pub indexes: Vec<String>,
}

/// Repairs the database of `settings`, which nobody uses, or with `dry_run` only finds out what
/// that would do. The files as they are go to `originals`, or to a folder beside the directory.
///
/// # Errors
/// No database there, in use, of a newer version, or of directories that do not belong together;
/// I/O errors. The damaged database is as it was then, unless the message names the last step.
pub fn repair(
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    dry_run: bool,
    originals: Option<&Path>,
) -> Result<RepairReport> {
    let repair = Repair::examine(settings, disk)?;
    let mut report = RepairReport {
        damage: repair.faults().to_vec(),
        notes: repair.notes().to_vec(),
        transactions: repair.transactions(),
        lsn: repair.ceiling(),
        ..RepairReport::default()
    };
    if !repair.is_needed() {
        return Ok(report);
    }
    let plan = Plan::of(&repair)?;
    report.notes.extend(plan.notes.iter().cloned());
    let describe = |loss| plan.describe(loss);
    report.losses = repair.losses().iter().map(describe).collect();
    let counters = repair.counters();
    let is_counted = !repair.losses().iter().any(|l| l.what == Lost::Manifest);
    report.collections = plan.kept(is_counted.then_some(&counters));
    if dry_run {
        return Ok(report);
    }
    report.originals = repair.keep_originals(originals)?;
    let staged = repair.stage(&mut |key| plan.wants(key))?;
    plan.complete(&staged, disk)?;
    repair.adopt()?;
    let after = godb_store::verify(settings, disk, &mut |_, _| {})?;
    match after.faults.into_iter().next() {
        Some(fault) => Err(fault.into()),
        None => Ok(report),
    }
}

/// What the kept keys are.
struct Plan {
    /// By number.
    collections: BTreeMap<u32, Found>,
    numbers: Numbers,
    /// Loads that were never completed; their documents never counted.
    unfinished: BTreeSet<u32>,
    /// Names of catalogue records that cannot be read.
    unreadable: Vec<String>,
    notes: Vec<String>,
}

#[derive(Default)]
struct Found {
    name: Option<String>,
    indexes: Vec<String>,
    documents: u64,
    uncertain: u64,
}

impl Plan {
    fn of(repair: &Repair) -> Result<Self> {
        let mut plan = Self {
            collections: BTreeMap::new(),
            numbers: Numbers::default(),
            unfinished: BTreeSet::new(),
            unreadable: Vec::new(),
            notes: Vec::new(),
        };
        for kept in repair.kept() {
            let (key, lsn, value) = kept?;
            match key::place(&key) {
                Some(Place::Numbers) => plan.numbers(&value),
                Some(Place::Collection(name)) => plan.collection(name, &value),
                Some(Place::Document(number, _)) => {
                    let found = plan.collections.entry(number.0).or_default();
                    found.documents += 1;
                    found.uncertain += u64::from(repair.may_be_stale(&key, lsn));
                }
                Some(Place::IndexEntry(number)) => {
                    let next = number.0.saturating_add(1);
                    plan.numbers.next_index = plan.numbers.next_index.max(next);
                }
                None => {}
            }
        }
        for number in std::mem::take(&mut plan.numbers.unfinished_collections) {
            plan.unfinished.insert(number.0);
            plan.collections.remove(&number.0);
        }
        plan.numbers.unfinished_indexes.clear();
        let next = plan.collections.keys().next_back().map_or(0, |n| n + 1);
        plan.numbers.next_collection = plan.numbers.next_collection.max(next);
        plan.make_names();
        Ok(plan)
    }

    fn numbers(&mut self, record: &Bytes) {
        match catalog::decode_numbers(record) {
            Ok(numbers) => self.numbers = numbers,
            Err(error) => self.notes.push(error.to_string()),
        }
    }

    fn collection(&mut self, name: &str, record: &Bytes) {
        let collection = match catalog::decode_collection(name, record) {
            Ok(collection) => collection,
            Err(error) => {
                self.notes.push(error.to_string());
                self.unreadable.push(name.to_owned());
                return;
            }
        };
        let found = self.collections.entry(collection.number.0).or_default();
        found.name = Some(name.to_owned());
        for index in &collection.indexes {
            let next = index.number.0.saturating_add(1);
            self.numbers.next_index = self.numbers.next_index.max(next);
            if index.state == IndexState::Ready {
                found.indexes.push(index.field.clone());
            } else {
                self.notes.push(format!(
                    "the index on `{}` of {name} was never completed and is left out",
                    index.field
                ));
            }
        }
    }

    /// Documents whose collection's record is lost get one.
    fn make_names(&mut self) {
        let taken: BTreeSet<String> = self
            .collections
            .values()
            .filter_map(|found| found.name.clone())
            .collect();
        for (number, found) in &mut self.collections {
            if found.name.is_none() {
                let mut name = format!("recovered-{number}");
                while taken.contains(&name) {
                    name.push('-');
                }
                self.notes.push(format!(
                    "the name and the indexes of collection number {number} are lost: its {} documents are in `{name}`",
                    found.documents
                ));
                found.name = Some(name);
            }
        }
    }

    fn kept(&self, counters: Option<&BTreeMap<u64, i64>>) -> Vec<KeptCollection> {
        self.collections
            .iter()
            .map(|(number, found)| KeptCollection {
                name: found.name.clone().unwrap_or_default(),
                documents: found.documents,
                counted: counters.map(|counters| {
                    let counted = counters.get(&u64::from(*number)).copied().unwrap_or(0);
                    u64::try_from(counted).unwrap_or(0)
                }),
                uncertain: found.uncertain,
                indexes: found.indexes.clone(),
            })
            .collect()
    }

    /// Index entries are made anew, and what an unfinished load left never counted.
    fn wants(&self, key: &[u8]) -> bool {
        match key::place(key) {
            Some(Place::Numbers | Place::Collection(_)) => true,
            Some(Place::Document(number, _)) => !self.unfinished.contains(&number.0),
            Some(Place::IndexEntry(_)) | None => false,
        }
    }

    /// Makes the catalogue, the counters and the indexes of the rebuilt store agree with its
    /// documents, and closes it.
    fn complete(&self, staged: &Settings, disk: &Arc<dyn Disk>) -> Result<()> {
        let components = Components {
            disk: Arc::clone(disk),
            observer: Arc::new(NoObserver),
        };
        let store = Store::open(staged, &components)?;
        let catalog = Catalog::default();
        let mut transaction = store.begin();
        for name in &self.unreadable {
            transaction.delete(Bytes::copy_from_slice(key::collection(name).as_ref()));
        }
        for (number, found) in &self.collections {
            let name = found.name.as_deref().unwrap_or_default();
            let collection = Collection::new(CollectionNumber(*number));
            catalog::put_collection(&mut transaction, name, &collection);
            let documents = i64::try_from(found.documents).unwrap_or(i64::MAX);
            let counter = collection.counter();
            let missing = documents.saturating_sub(store.counter(counter));
            if missing != 0 {
                transaction.count(counter, missing);
            }
        }
        catalog::put_numbers(&mut transaction, &self.numbers);
        transaction.commit(None, None)?.wait()?;
        for found in self.collections.values() {
            for field in &found.indexes {
                let name = found.name.as_deref().unwrap_or_default();
                build::create(&store, &catalog, name, field)?;
            }
        }
        let checked = check::check(&store, &catalog)?;
        if let Some(problem) = checked.problems.first() {
            let path = staged.data_dir.clone();
            let detail = format!("the rebuilt store does not agree with itself: {problem}");
            return Err(EngineError::Store(StoreError::Mismatch { path, detail }));
        }
        store.close()?;
        Ok(())
    }

    fn describe(&self, loss: &Loss) -> String {
        let Lost::Keys { from, to, .. } = &loss.what else {
            return loss.to_string();
        };
        let from = from
            .as_ref()
            .map_or("the first key".to_owned(), |key| self.name(key));
        let to = to
            .as_ref()
            .map_or("the last key".to_owned(), |key| self.name(key));
        format!("{loss}, from {from} to {to}")
    }

    fn name(&self, key: &[u8]) -> String {
        match key::place(key) {
            Some(Place::Numbers) => "the catalogue".to_owned(),
            Some(Place::Collection(name)) => format!("the catalogue's record of {name}"),
            Some(Place::Document(number, id)) => {
                let name = self
                    .collections
                    .get(&number.0)
                    .and_then(|found| found.name.clone())
                    .unwrap_or_else(|| format!("collection number {}", number.0));
                format!("document `{}` of {name}", String::from_utf8_lossy(id))
            }
            Some(Place::IndexEntry(number)) => format!("index number {}", number.0),
            None => format!("key {}", key.escape_ascii()),
        }
    }
}
