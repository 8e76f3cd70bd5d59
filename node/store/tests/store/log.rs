//! Corners of the log: large transactions, jumps of the LSN, starts and ends of logging.

use std::sync::Arc;

use bytes::Bytes;
use godb_store::disk::SimDisk;
use godb_store::disk::sim::LossVariant;
use godb_store::{Durability, LiveSettings, Store};

use crate::harness::{get, key, open_with, put};
use crate::oracle::{Oracle, Writes, value};
use crate::powercut::{Cuts, failures, on, small};

/// Crashes the process, opens what is left, and compares.
fn killed(disk: &SimDisk, oracle: &Oracle, store: Store, level: Durability) -> (SimDisk, Store) {
    let promised = oracle.promised();
    let left = disk.image().survive(LossVariant::KeepAll, 1);
    drop(store);
    let store = open_with(&on(&left), &small(level)).unwrap();
    oracle
        .check(&store, &promised, LossVariant::KeepAll)
        .unwrap();
    (left, store)
}

fn large(bytes: usize) -> impl Fn(usize) -> Writes {
    move |id| vec![(key(id as u64), Some(value(id, 0, bytes)))]
}

#[test]
fn a_transaction_larger_than_a_segment_keeps_segments_in_order() {
    for level in [Durability::Os, Durability::Full] {
        let disk = SimDisk::new();
        let oracle = Oracle::default();
        let store = open_with(&on(&disk), &small(level)).unwrap();
        for bytes in [
            100, 1_500_000, 100, 700_000, 700_000, 2_500_000, 300_000, 900_000, 10,
        ] {
            // Long enough for the next ordinary segment to be ready.
            std::thread::sleep(std::time::Duration::from_millis(20));
            oracle.commit(&store, large(bytes), level, None).unwrap();
        }
        let (_, store) = killed(&disk, &oracle, store, level);
        store.checkpoint().unwrap();
        store.close().unwrap();
    }
}

#[test]
fn a_jump_of_the_lsn_outlasts_a_change_of_segment_right_after_it() {
    let level = Durability::Os;
    let disk = SimDisk::new();
    let oracle = Oracle::default();
    let store = open_with(&on(&disk), &small(level)).unwrap();
    oracle.commit(&store, large(100), level, None).unwrap();
    // Not proven durable, so recovery copies it into a segment that it fills.
    oracle
        .commit(&store, large(1_500_000), level, None)
        .unwrap();
    let (mut disk, mut store) = killed(&disk, &oracle, store, level);
    for bytes in [900_000, 100, 900_000, 1_500_000, 5] {
        oracle.commit(&store, large(bytes), level, None).unwrap();
        (disk, store) = killed(&disk, &oracle, store, level);
    }
    store.close().unwrap();
}

#[test]
fn a_log_that_none_finds_at_its_start_is_safe_until_another_one_is_in_force() {
    let disk = SimDisk::new();
    let oracle = Oracle::default();
    let store = open_with(&on(&disk), &small(Durability::Os)).unwrap();
    for _ in 0..5 {
        oracle
            .commit(&store, large(300_000), Durability::Os, None)
            .unwrap();
    }
    oracle.flush(&store).unwrap();
    drop(store);
    let cuts = Cuts::watch(&disk, &oracle);
    let store = open_with(&on(&disk), &small(Durability::None)).unwrap();
    for _ in 0..5 {
        oracle
            .commit(&store, large(3000), Durability::None, None)
            .unwrap();
    }
    let live = LiveSettings {
        durability: Durability::Full,
        ..store.live_settings()
    };
    store.reconfigure(live).unwrap();
    for _ in 0..5 {
        oracle
            .commit(&store, large(300_000), Durability::Full, None)
            .unwrap();
    }
    store.close().unwrap();
    disk.clear_hook();
    let wrong = failures(&cuts, &oracle, &small(Durability::Full), 120, 1, 3);
    assert!(
        wrong.is_empty(),
        "{} failures, the first: {}",
        wrong.len(),
        wrong[0]
    );
}

#[test]
fn no_log_is_written_at_none_after_a_start_over_a_log() {
    let disk = SimDisk::new();
    let store = open_with(&on(&disk), &small(Durability::Os)).unwrap();
    put(&store, &key(1), "logged").unwrap();
    drop(store);
    let store = open_with(&on(&disk), &small(Durability::None)).unwrap();
    put(&store, &key(2), "not logged").unwrap();
    let stats = store.stats();
    assert!(stats.durability == Durability::None && stats.visible_lsn == stats.appended_lsn);
    let before = disk.image();
    store.checkpoint().unwrap();
    assert_eq!(
        store.stats().segments,
        0,
        "the log is let go by the next checkpoint"
    );
    drop(store);
    for (image, second) in [(before, None), (disk.image(), Some("not logged"))] {
        let left = image.survive(LossVariant::LoseUnsynced, 5);
        let store = open_with(&on(&left), &small(Durability::None)).unwrap();
        assert_eq!(get(&store, &key(1)).as_deref(), Some("logged"));
        assert_eq!(get(&store, &key(2)).as_deref(), second);
    }
}

#[test]
fn a_ticket_that_outlives_its_store_resolves() {
    for level in [Durability::Memory, Durability::Os, Durability::Full] {
        let disk: Arc<dyn godb_store::disk::Disk> = Arc::new(SimDisk::new());
        let store = open_with(&disk, &small(level)).unwrap();
        let (sender, answers) = std::sync::mpsc::channel();
        for n in 0..20 {
            let mut transaction = store.begin();
            transaction.put(key(n), Bytes::from_static(b"x"));
            let ticket = transaction.commit(Some(Durability::Full), None).unwrap();
            let sender = sender.clone();
            std::thread::spawn(move || sender.send(ticket.wait().is_ok()));
        }
        drop(store);
        for n in 0..20 {
            answers
                .recv_timeout(std::time::Duration::from_secs(5))
                .unwrap_or_else(|_| panic!("{level}: {n} of 20 tickets were answered"));
        }
    }
}

#[test]
fn at_memory_a_record_is_written_within_the_bounded_delay() {
    let disk = SimDisk::new();
    let store = open_with(&on(&disk), &small(Durability::Memory)).unwrap();
    // The log thread has nothing to do and sleeps for long.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let lsn = put(&store, &key(1), "x").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert!(store.stats().written_lsn >= lsn, "the delay is 50 ms");
}
