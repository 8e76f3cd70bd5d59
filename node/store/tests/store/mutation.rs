//! Each sync that the store makes, switched off: the oracle must notice. A proof that cannot fail
//! proves nothing.

use std::time::Duration;

use godb_store::Durability;
use godb_store::disk::sim::LossVariant;
use godb_store::disk::{CallKind, SimDisk};

use crate::harness::{key, open_with};
use crate::oracle::{Oracle, value};
use crate::powercut::{Cuts, failures, on, rounds, small};
use crate::workloads::{Run, batches_with_checkpoints};

/// Runs the workload at `full` with the syncs of `kind` on `path` doing nothing.
fn must_go_red(kind: CallKind, path: &str) {
    let (_, seed) = rounds();
    let settings = small(Durability::Full);
    let disk = SimDisk::new();
    disk.ignore_syncs(kind, path);
    let oracle = Oracle::default();
    let cuts = Cuts::watch(&disk, &oracle);
    let store = open_with(&on(&disk), &settings).unwrap();
    batches_with_checkpoints(&Run::new(&store, &oracle), seed);
    store.close().unwrap();
    disk.clear_hook();
    assert!(
        disk.ignored_syncs() > 0,
        "{kind:?} on {path} was never called"
    );
    let wrong = failures(&cuts, &oracle, &settings, 300, 1, seed);
    let first = wrong.first().unwrap_or_else(|| {
        panic!("without {kind:?} on {path} nothing was lost: the oracle proves nothing of it")
    });
    eprintln!(
        "without {kind:?} on {path}: {}",
        first.lines().next().unwrap()
    );
}

#[test]
fn without_the_sync_of_segments_the_oracle_goes_red() {
    must_go_red(CallKind::SyncData, "/wal-");
}

#[test]
fn without_the_sync_of_tables_the_oracle_goes_red() {
    must_go_red(CallKind::SyncData, "/table-");
}

#[test]
fn without_the_sync_of_the_manifest_the_oracle_goes_red() {
    must_go_red(CallKind::SyncData, "MANIFEST");
}

#[test]
fn without_the_sync_of_the_log_directory_the_oracle_goes_red() {
    must_go_red(CallKind::SyncDir, "/volume/wal");
}

#[test]
fn without_the_sync_of_the_table_directory_the_oracle_goes_red() {
    must_go_red(CallKind::SyncDir, "/volume/tables");
}

#[test]
fn without_the_sync_of_the_data_directory_the_oracle_goes_red() {
    must_go_red(CallKind::SyncDir, "/volume/data");
}

/// Writes a little at `level` on `disk`, with ready segments, so that only syncs of frames follow.
fn little(disk: &SimDisk, level: Durability, before: impl FnOnce()) -> Oracle {
    let oracle = Oracle::default();
    let store = open_with(&on(disk), &small(level)).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    before();
    for _ in 0..5 {
        let writes = |id| vec![(key(id as u64), Some(value(id, 0, 200)))];
        oracle.commit(&store, writes, level, None).unwrap();
    }
    // What is left of the store goes on with an image.
    std::mem::forget(store);
    oracle
}

fn lost_after_a_power_cut(disk: &SimDisk, oracle: &Oracle) -> String {
    let promised = oracle.promised();
    let left = disk.image().survive(LossVariant::LoseUnsynced, 1);
    let store = open_with(&on(&left), &small(Durability::Full)).unwrap();
    oracle
        .check(&store, &promised, LossVariant::LoseUnsynced)
        .expect_err("nothing was lost: the oracle proves nothing")
}

#[test]
fn without_the_sync_of_commits_the_oracle_goes_red() {
    let disk = SimDisk::new();
    let ignore = || disk.ignore_syncs(CallKind::SyncData, "/wal-");
    let oracle = little(&disk, Durability::Full, ignore);
    let wrong = lost_after_a_power_cut(&disk, &oracle);
    assert!(wrong.contains("was acknowledged at Some(Full)"), "{wrong}");
}

#[test]
fn without_the_sync_of_what_recovery_copies_the_oracle_goes_red() {
    for ignored in [false, true] {
        let disk = SimDisk::new();
        let oracle = little(&disk, Durability::Os, || {});
        let promised = oracle.promised();
        let killed = disk.image().survive(LossVariant::KeepAll, 1);
        if ignored {
            killed.ignore_syncs(CallKind::SyncData, "/wal-");
        }
        let store = open_with(&on(&killed), &small(Durability::Os)).unwrap();
        let held = oracle
            .check(&store, &promised, LossVariant::KeepAll)
            .unwrap();
        let served = oracle.after(&held, &promised);
        let left = killed.image().survive(LossVariant::LoseUnsynced, 1);
        match open_with(&on(&left), &small(Durability::Os)) {
            Ok(store) => {
                let state = served.check(&store, &served.promised(), LossVariant::LoseUnsynced);
                assert_eq!(state.is_err(), ignored, "{state:?}");
            }
            Err(error) => assert!(ignored, "{error}"),
        }
    }
}

#[test]
fn without_the_sync_of_the_store_id_the_oracle_goes_red() {
    must_go_red(CallKind::SyncData, "STORE-ID");
}
