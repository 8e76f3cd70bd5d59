//! What the store says, and keeps, when calls of the disk fail or are late.

use std::sync::Arc;
use std::time::{Duration, Instant};

use godb_store::disk::fault::{Failure, Rule};
use godb_store::disk::{CallKind, Disk, FaultDisk, SimDisk};
use godb_store::{Durability, StoreError};

use crate::harness::{get, key, open_with, put, settings};

fn faulty() -> (FaultDisk, Arc<dyn Disk>) {
    let faults = FaultDisk::over_sim(SimDisk::new());
    (faults.clone(), Arc::new(faults))
}

/// Linux reports a failed write-back to one of two syncs that run at once; the other one succeeds.
#[test]
fn a_sync_beside_one_that_fails_proves_nothing() {
    let (faults, disk) = faulty();
    let store = open_with(&disk, &settings("/db", Durability::Os)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let on_log = || Rule::on(CallKind::SyncData).path("wal-");
    let first = faults.add(
        on_log()
            .nth(1)
            .delay(Duration::from_millis(300))
            .fail(Failure::Eio),
    );
    faults.add(on_log().nth(2).delay(Duration::from_millis(600)));
    put(&store, &key(1), "v").unwrap();
    while faults.picked(first) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let flushed = store.flush();
    assert!(
        matches!(
            flushed,
            Err(StoreError::Io { .. } | StoreError::Poisoned { .. })
        ),
        "{flushed:?}"
    );
}

#[test]
fn a_ticket_is_answered_when_the_store_goes_before_its_sync() {
    let (faults, disk) = faulty();
    let store = open_with(&disk, &settings("/db", Durability::Full)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let slow = Rule::on(CallKind::SyncData)
        .path("wal-")
        .delay(Duration::from_millis(300));
    let slow = faults.add(slow);
    let commit = |n| {
        let mut transaction = store.begin();
        transaction.put(key(n), "v".into());
        transaction.commit(None, None).unwrap()
    };
    let first = commit(1);
    while faults.picked(slow) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = commit(2);
    drop(store);
    assert!(first.wait().is_ok());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(second.wait()).unwrap());
    let answer = told.recv_timeout(Duration::from_secs(5));
    assert!(
        matches!(answer, Ok(Ok(_) | Err(StoreError::Poisoned { .. }))),
        "{answer:?}"
    );
}

#[test]
fn tables_that_no_manifest_came_to_name_give_their_space_back() {
    let (faults, disk) = faulty();
    let settings = settings("/db", Durability::Os);
    let store = open_with(&disk, &settings).unwrap();
    let tables = || {
        let names = disk.list(&settings.checkpoint_dir).unwrap();
        names
            .iter()
            .filter(|name| name.starts_with("table-"))
            .count()
    };
    // The background tries too, and has a table for a moment.
    let come_to_what_counts = || {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let counting: u64 = store.stats().tables_per_level.iter().sum();
            if tables() as u64 == counting {
                return;
            }
            assert!(Instant::now() < until, "{} for {counting}", tables());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    for n in 0..3 {
        put(&store, &key(n), "v").unwrap();
        store.checkpoint().unwrap();
    }
    faults.add(
        Rule::on(CallKind::Rename)
            .path("MANIFEST")
            .fail(Failure::Enospc),
    );
    put(&store, &key(9), "v").unwrap();
    for _ in 0..3 {
        assert!(store.checkpoint().is_err());
        assert!(store.compact().is_err());
    }
    come_to_what_counts();
    faults.clear();
    store.checkpoint().unwrap();
    store.compact().unwrap();
    come_to_what_counts();
}

/// It names tables that may not be given back, and the one before it may not be counted on.
#[test]
fn a_manifest_whose_rename_failed_and_was_done_stops_the_store_and_keeps_its_tables() {
    for with_log in [true, false] {
        let (faults, disk) = faulty();
        let level = if with_log {
            Durability::Full
        } else {
            Durability::None
        };
        let settings = settings("/db", level);
        let store = open_with(&disk, &settings).unwrap();
        put(&store, &key(1), "v").unwrap();
        faults.add(
            Rule::on(CallKind::Rename)
                .path("MANIFEST")
                .nth(1)
                .fail(Failure::Eio)
                .after_effect(),
        );
        assert!(store.checkpoint().is_err());
        faults.clear();
        let refused = put(&store, &key(2), "v");
        assert!(
            matches!(refused, Err(StoreError::Poisoned { .. })),
            "{refused:?}"
        );
        drop(store);
        let store = open_with(&disk, &settings).unwrap();
        assert_eq!(get(&store, &key(1)).as_deref(), Some("v"));
    }
}
