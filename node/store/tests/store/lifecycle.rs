//! Open, write, close or crash, open again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use godb_store::disk::sim::LossVariant;
use godb_store::disk::{Disk, RealDisk, SimDisk};
use godb_store::{Direction, Durability, Io, KeyRange, Store, StoreError};

use crate::harness::{Draw, batch, delete, get, key, on, open_with, put, settings, small};
use crate::oracle::Oracle;

fn real() -> (Arc<dyn Disk>, tempfile::TempDir) {
    (Arc::new(RealDisk::new()), tempfile::tempdir().unwrap())
}

fn contents(store: &Store) -> Vec<(Bytes, Bytes)> {
    let whole = KeyRange {
        lower: std::ops::Bound::Unbounded,
        upper: std::ops::Bound::Unbounded,
    };
    let mut up: Vec<_> = store
        .snapshot_read()
        .scan(whole.clone(), Direction::Ascending, Io::Allow)
        .map(|entry| entry.map(|(key, entry)| (key, entry.value)).unwrap())
        .collect();
    let down: Vec<_> = store
        .snapshot_read()
        .scan(whole, Direction::Descending, Io::Allow)
        .map(|entry| entry.map(|(key, entry)| (key, entry.value)).unwrap())
        .collect();
    up.reverse();
    assert_eq!(up, down, "both directions agree");
    up.reverse();
    up
}

#[test]
fn what_was_written_is_there_after_a_clean_close_at_every_level() {
    for level in Durability::ALL {
        let (disk, dir) = real();
        let settings = settings(dir.path().join("data").to_str().unwrap(), level);
        let before = {
            let store = open_with(&disk, &settings).unwrap();
            assert!(store.recovery_report().created);
            for n in 0..500 {
                put(&store, &key(n % 300), &format!("value {n}")).unwrap();
            }
            for n in 0..50 {
                delete(&store, &key(n)).unwrap();
            }
            let before = contents(&store);
            assert_eq!(before.len(), 250);
            store.close().unwrap();
            assert!(matches!(
                put(&store, &key(1), "late"),
                Err(StoreError::Closed)
            ));
            before
        };
        let store = open_with(&disk, &settings).unwrap();
        let report = store.recovery_report();
        assert!(
            report.clean && report.transactions == 0,
            "{level}: {report:?}"
        );
        assert_eq!(contents(&store), before, "{level}");
        assert_eq!(get(&store, &key(299)).as_deref(), Some("value 299"));
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash_and_lsns_are_never_used_twice() {
    for level in [Durability::Memory, Durability::Os, Durability::Full] {
        let (disk, dir) = real();
        let settings = settings(dir.path().to_str().unwrap(), level);
        let mut newest = godb_store::Lsn::ZERO;
        for round in 0..4 {
            let store = open_with(&disk, &settings).unwrap();
            for n in 0..round * 100 {
                let expected = format!("{}", n / 100);
                assert_eq!(
                    get(&store, &key(n)),
                    Some(expected),
                    "{level} round {round} key {n}"
                );
            }
            for n in 0..100 {
                let lsn = put(&store, &key(round * 100 + n), &round.to_string()).unwrap();
                assert!(lsn > newest, "{level}");
                newest = lsn;
            }
            if level == Durability::Memory {
                store.flush().unwrap();
            }
            if round == 2 {
                store.checkpoint().unwrap();
            }
        }
    }
}

#[test]
fn crash_after_crash_with_and_without_writes_between_keeps_everything() {
    for level in [
        Durability::None,
        Durability::Memory,
        Durability::Os,
        Durability::Full,
    ] {
        let (disk, dir) = real();
        let settings = settings(dir.path().to_str().unwrap(), level);
        let mut written = 0;
        let mut newest = godb_store::Lsn::ZERO;
        for round in 0..12u64 {
            let store =
                open_with(&disk, &settings).unwrap_or_else(|e| panic!("{level} {round}: {e}"));
            if level >= Durability::Os {
                for n in 0..written {
                    assert!(
                        get(&store, &key(n)).is_some(),
                        "{level} round {round} key {n}"
                    );
                }
            }
            for _ in 0..[3, 0, 0, 1][(round % 4) as usize] {
                let lsn = put(&store, &key(written), "v").unwrap();
                assert!(lsn > newest, "{level} round {round}: {lsn} after {newest}");
                newest = lsn;
                written += 1;
            }
            if round % 5 == 4 {
                // Long enough for the proof of the last group.
                std::thread::sleep(Duration::from_millis(250));
            }
        }
    }
}

#[test]
fn a_second_store_on_the_directory_is_refused() {
    let (disk, dir) = real();
    let settings = settings(dir.path().to_str().unwrap(), Durability::Os);
    let store = open_with(&disk, &settings).unwrap();
    assert!(matches!(
        open_with(&disk, &settings),
        Err(StoreError::Locked { .. })
    ));
    store.close().unwrap();
    open_with(&disk, &settings).unwrap();
}

#[test]
fn a_changed_read_is_a_conflict_and_an_exclusive_commit_never_is() {
    let (disk, dir) = real();
    let store = open_with(
        &disk,
        &settings(dir.path().to_str().unwrap(), Durability::Os),
    )
    .unwrap();
    let mut first = store.begin();
    assert_eq!(first.get(&key(1), Io::Allow).unwrap(), None);
    put(&store, &key(1), "other").unwrap();
    first.put(key(2), Bytes::from_static(b"x"));
    assert!(matches!(
        first.commit(None, None),
        Err(StoreError::Conflict)
    ));
    let add = |_: usize| {
        for _ in 0..200 {
            let body = |t: &mut godb_store::Transaction| {
                let old = t.get(&key(9), Io::Allow)?;
                let n: u64 = old.map_or(0, |e| String::from_utf8_lossy(&e.value).parse().unwrap());
                t.put(key(9), Bytes::from((n + 1).to_string()));
                t.count(3, 1);
                Ok(())
            };
            store
                .commit_exclusive(body, None, None)
                .unwrap()
                .1
                .wait()
                .unwrap();
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || add(thread));
        }
    });
    assert_eq!(get(&store, &key(9)).as_deref(), Some("800"));
    assert_eq!(store.counter(3), 800);
}

#[test]
fn levels_change_while_writers_go_on() {
    let (disk, dir) = real();
    let mut settings = settings(dir.path().to_str().unwrap(), Durability::Os);
    let levels = [
        Durability::None,
        Durability::Full,
        Durability::Memory,
        Durability::None,
        Durability::Os,
        Durability::Full,
    ];
    {
        let store = open_with(&disk, &settings).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (store, done) = (&store, &done);
            let writers: Vec<_> = (0..3u64)
                .map(|writer| {
                    scope.spawn(move || {
                        let mut n = 0;
                        while !done.load(std::sync::atomic::Ordering::Relaxed) {
                            match put(store, &key(writer * 100_000 + n), "v") {
                                Ok(_) => n += 1,
                                Err(StoreError::Busy { .. }) => {
                                    godb_store::block_on(store.writable()).unwrap();
                                }
                                Err(error) => panic!("{error}"),
                            }
                        }
                        n
                    })
                })
                .collect();
            for level in levels {
                let live = godb_store::LiveSettings {
                    durability: level,
                    ..store.live_settings()
                };
                store.reconfigure(live).unwrap();
                assert_eq!(store.stats().durability, level);
                std::thread::sleep(Duration::from_millis(30));
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            for (writer, written) in writers.into_iter().map(|w| w.join().unwrap()).enumerate() {
                for n in 0..written {
                    assert!(get(store, &key(writer as u64 * 100_000 + n)).is_some());
                }
                put(
                    store,
                    &Bytes::from(format!("count-{writer}")),
                    &written.to_string(),
                )
                .unwrap();
            }
        });
    }
    settings.live.durability = Durability::Full;
    let store = open_with(&disk, &settings).unwrap();
    for writer in 0..3u64 {
        let count: u64 = get(&store, &Bytes::from(format!("count-{writer}")))
            .unwrap()
            .parse()
            .unwrap();
        for n in 0..count {
            assert!(
                get(&store, &key(writer * 100_000 + n)).is_some(),
                "writer {writer} key {n}"
            );
        }
    }
}

/// Longer than what recovery leaves to its calling thread, with keys in many versions and deletes.
#[test]
fn a_long_log_is_replayed_whole() {
    let disk = SimDisk::new();
    let mut settings = small(Durability::Os);
    settings.live.max_memory_bytes = 256 << 20;
    settings.live.max_wal_bytes = 256 << 20;
    settings.live.checkpoint_interval = Duration::from_secs(3600);
    let store = open_with(&on(&disk), &settings).unwrap();
    let oracle = Oracle::default();
    let mut draw = Draw(11);
    for _ in 0..2500 {
        let writes = |id| batch(&mut draw, id, 4, 300, 60);
        oracle.commit(&store, writes, Durability::Os, None).unwrap();
    }
    let left = disk.image().survive(LossVariant::KeepAll, 1);
    drop(store);
    let again = open_with(&on(&left), &settings).unwrap();
    let report = again.recovery_report();
    assert!(report.transactions >= 2500, "all of it is replayed");
    let promised = oracle.promised();
    oracle
        .check(&again, &promised, LossVariant::KeepAll)
        .unwrap();
}
