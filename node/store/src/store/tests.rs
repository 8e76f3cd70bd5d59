//! Interleavings that a caller cannot bring about at will, made from inside.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::disk::SimDisk;
use crate::observer::NoObserver;
use crate::txn::gate::Hold;
use crate::txn::ticket::block_on;

fn open(level: Durability) -> (SimDisk, Store) {
    let disk = SimDisk::new();
    let components = Components {
        disk: Arc::new(disk.clone()),
        observer: Arc::new(NoObserver),
    };
    let mut settings = Settings::new("/db");
    settings.live.durability = level;
    settings.live.max_memory_bytes = 16 << 20;
    (disk, Store::open(&settings, &components).unwrap())
}

fn commit(store: &Store) -> Ticket {
    let mut transaction = store.begin();
    transaction.put("key".into(), "value".into());
    transaction.commit(None, None).unwrap()
}

#[test]
fn a_hold_that_was_set_too_late_is_lifted() {
    for hold in [Hold::Reservation, Hold::Runs] {
        let (_, store) = open(Durability::Os);
        commit(&store).wait().unwrap();
        store.checkpoint().unwrap();
        let gate = &store.0.pipeline.gate;
        gate.set(hold, true);
        let until = Instant::now() + Duration::from_secs(5);
        while gate.is_set(hold) {
            assert!(Instant::now() < until, "{hold:?} stays for ever");
            std::thread::sleep(Duration::from_millis(10));
        }
        block_on(store.writable()).unwrap();
    }
}

#[test]
fn a_commit_beside_a_look_at_the_log_is_written_at_once() {
    let (_, store) = open(Durability::Os);
    commit(&store).wait().unwrap();
    // The log thread has proven the last group and sleeps for long.
    std::thread::sleep(Duration::from_millis(600));
    let ticket = store.0.pipeline.with_log(|_| commit(&store));
    let since = Instant::now();
    ticket.wait().unwrap();
    assert!(
        since.elapsed() < Duration::from_millis(250),
        "{:?}",
        since.elapsed()
    );
}

#[test]
fn a_call_that_waited_for_its_turn_changes_nothing_after_the_close() {
    let (disk, store) = open(Durability::Os);
    commit(&store).wait().unwrap();
    store.checkpoint().unwrap();
    commit(&store).wait().unwrap();
    store.close().unwrap();
    let manifest = || disk.read("/db/MANIFEST".as_ref()).unwrap();
    let before = manifest();
    let checkpointer = &store.0.checkpointer;
    let live = LiveSettings {
        durability: Durability::Full,
        ..checkpointer.live_settings()
    };
    assert!(matches!(
        checkpointer.reconfigure(live),
        Err(StoreError::Closed)
    ));
    assert!(matches!(
        checkpointer.compact_everything(),
        Err(StoreError::Closed)
    ));
    assert!(matches!(checkpointer.checkpoint(), Err(StoreError::Closed)));
    assert_eq!(manifest(), before);
}

#[test]
fn a_flush_that_saw_the_level_before_it_was_lowered_ends() {
    let (_, store) = open(Durability::None);
    let lsn = commit(&store).lsn();
    store.0.pipeline.set_level(Durability::Os);
    // Its checkpoint comes after the change of level, as it would.
    let changing = lock(&store.0.checkpointer.running);
    let (tell, told) = std::sync::mpsc::channel();
    let flushing = store.clone();
    std::thread::spawn(move || tell.send(flushing.flush()).unwrap());
    std::thread::sleep(Duration::from_millis(100));
    store.0.pipeline.set_level(Durability::None);
    drop(changing);
    let flushed = told.recv_timeout(Duration::from_secs(5));
    assert!(
        matches!(flushed, Ok(Ok(covered)) if covered >= lsn),
        "{flushed:?}"
    );
}
