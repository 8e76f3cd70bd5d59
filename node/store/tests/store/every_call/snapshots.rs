//! Calls of making, deleting and restoring snapshots: a snapshot is whole or absent, what was
//! acknowledged as made is there and what was acknowledged as deleted is not, and a restore that
//! failed can be repeated.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::Path;

use bytes::Bytes;
use godb_store::disk::SimDisk;
use godb_store::{Direction, Io, KeyRange, ReadPoint, Result, Snapshots};

use super::*;
use crate::harness::{delete, put, settings};
use crate::powercut::on;

const DIR: &str = "/data/snapshots";

type Content = BTreeMap<Bytes, (u64, Bytes)>;

fn content(point: &ReadPoint) -> Result<Content> {
    let whole = KeyRange {
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
    };
    point
        .scan(whole, Direction::Ascending, Io::Allow)
        .map(|found| found.map(|(key, entry)| (key, (entry.lsn.0, entry.value))))
        .collect()
}

/// What was done to snapshots.
#[derive(Default)]
struct Done {
    made: BTreeMap<String, Content>,
    deleted: BTreeSet<String>,
    errors: Vec<StoreError>,
}

impl Done {
    fn note<T>(&mut self, outcome: Result<T>) -> Option<T> {
        outcome.map_err(|error| self.errors.push(error)).ok()
    }

    fn workload(&mut self, store: &Store) {
        for round in 0..3u64 {
            for n in round * 20..round * 20 + 20 {
                let text = format!("value {n} {}", "x".repeat(200));
                self.note(put(store, &key(n % 31), &text));
                if n % 7 == 0 {
                    self.note(delete(store, &key((n + 3) % 31)));
                }
            }
            let name = format!("s{round}");
            let now = self.note(content(&store.snapshot_read()));
            let made = self.note(store.create_snapshot(&name)).is_some();
            if let (Some(now), true) = (now, made) {
                self.made.insert(name, now);
            }
            if round == 1 {
                self.made.remove("s0");
                if self.note(store.delete_snapshot("s0")).is_some() {
                    self.deleted.insert("s0".to_owned());
                }
            }
        }
    }
}

/// Opens what is left, compares every snapshot, restores the last, and removes them all.
fn agrees(left: &SimDisk, done: &Done) {
    let store = open_with(&on(left), &settings("/data", Durability::Full)).unwrap();
    for (name, info) in store.snapshots().list().unwrap() {
        assert!(info.is_ok(), "{name}: {info:?}");
        store.snapshots().verify(&name, &mut |_, _| {}).unwrap();
        assert!(!done.deleted.contains(&name), "{name} is back");
    }
    for (name, expected) in &done.made {
        let point = store.snapshots().read(name);
        let point = point.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(&content(&point).unwrap(), expected, "{name}");
    }
    store.create_snapshot("next").unwrap();
    for (name, _) in store.snapshots().list().unwrap() {
        store.delete_snapshot(&name).unwrap();
    }
    assert_eq!(left.list(Path::new(DIR)).unwrap(), [] as [&str; 0]);
}

fn making_and_deleting(rule: Rule, call: u64, seed: u64) -> Outcome {
    let (sim, fault, disk) = faulty();
    let rule = fault.add(rule);
    let mut done = Done::default();
    let mut fate = Fate::Refused;
    match open_with(&disk, &settings("/data", Durability::Full)) {
        Err(error) => done.errors.push(error),
        Ok(store) => {
            done.workload(&store);
            fate = if store.stats().poisoned.is_some() {
                Fate::Stopped
            } else {
                Fate::WentOn
            };
        }
    }
    for error in &done.errors {
        assert!(is_of_the_disk(error), "{error:?}");
    }
    let picked = fault.picked(rule);
    fault.clear();
    agrees(&sim.image().survive(LossVariant::KeepAll, seed), &done);
    let variant = LossVariant::ALL[(call + seed) as usize % LossVariant::ALL.len()];
    agrees(&sim.image().survive(variant, seed), &done);
    (picked, fate)
}

#[test]
fn of_snapshots_made_and_deleted() {
    sweep("snapshots", "of_snapshots", making_and_deleting);
}

fn restoring(rule: Rule, call: u64, seed: u64) -> Outcome {
    let (sim, fault, disk) = faulty();
    let store = open_with(&disk, &settings("/data", Durability::Full)).unwrap();
    let mut done = Done::default();
    done.workload(&store);
    store.close().unwrap();
    drop(store);
    let target = settings("/restored", Durability::Full);
    let rule = fault.add(rule);
    let outcome = Snapshots::new(disk, DIR).restore("s2", &target, &mut |_, _| {});
    let picked = fault.picked(rule);
    fault.clear();
    if let Err(error) = &outcome {
        assert!(is_of_the_disk(error), "{error:?}");
    }
    let variant = LossVariant::ALL[(call + seed) as usize % LossVariant::ALL.len()];
    for variant in [LossVariant::KeepAll, variant] {
        let left = sim.image().survive(variant, seed);
        let again = Snapshots::new(on(&left), DIR).restore("s2", &target, &mut |_, _| {});
        if outcome.is_ok() {
            assert!(again.is_err(), "{variant:?}: restored over a store");
        }
        let store = open_with(&on(&left), &target)
            .unwrap_or_else(|error| panic!("{variant:?}: {error} after {again:?}"));
        let found = content(&store.snapshot_read()).unwrap();
        assert_eq!(found, done.made["s2"], "{variant:?}");
    }
    let fate = if outcome.is_ok() {
        Fate::WentOn
    } else {
        Fate::Refused
    };
    (picked, fate)
}

#[test]
fn of_restores() {
    sweep("restores", "of_restores", restoring);
}
