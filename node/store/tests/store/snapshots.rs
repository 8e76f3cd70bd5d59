//! Snapshots: exactly the state of their LSN, whole or absent after a power cut, refused when
//! damaged, and a restore that makes a store of them or nothing.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use godb_store::disk::sim::{Image, LossVariant, Moment};
use godb_store::disk::{Disk, SimDisk};
use godb_store::{
    Direction, Durability, Io, KeyRange, ReadPoint, Settings, Snapshots, Store, StoreError,
};

use crate::harness::{delete, get, key, open_with, put, settings};
use crate::powercut::{on, rounds};

const DIR: &str = "/data/snapshots";

fn data() -> Settings {
    settings("/data", Durability::Full)
}

pub(crate) fn open(disk: &SimDisk) -> Store {
    open_with(&on(disk), &data()).unwrap()
}

fn snapshots(disk: &SimDisk) -> Snapshots {
    Snapshots::new(on(disk), DIR)
}

pub(crate) type Content = BTreeMap<Bytes, (u64, Bytes)>;

pub(crate) fn content(point: &ReadPoint) -> Content {
    let whole = KeyRange {
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
    };
    point
        .scan(whole, Direction::Ascending, Io::Allow)
        .map(|found| {
            let (key, entry) = found.unwrap();
            (key, (entry.lsn.0, entry.value))
        })
        .collect()
}

pub(crate) fn fill(store: &Store, from: u64, to: u64) {
    for n in from..to {
        put(
            store,
            &key(n % 90),
            &format!("value {n} {}", "x".repeat(200)),
        )
        .unwrap();
        if n % 7 == 0 {
            delete(store, &key((n + 3) % 90)).unwrap();
        }
    }
}

fn restored(disk: &SimDisk, name: &str, dir: &str) -> Result<Store, StoreError> {
    let settings = settings(dir, Durability::Full);
    snapshots(disk).restore(name, &settings, &mut |_, _| {})?;
    open_with(&on(disk), &settings)
}

#[test]
fn a_snapshot_is_the_state_of_its_lsn_whatever_comes_after() {
    let disk = SimDisk::new();
    let store = open(&disk);
    fill(&store, 0, 200);
    let before = content(&store.snapshot_read());
    let (info, made) = store.create_snapshot("first").unwrap();
    assert!(made);
    assert_eq!(info.lsn, store.snapshot_read().lsn());
    fill(&store, 200, 500);
    store.checkpoint().unwrap();
    store.compact().unwrap();
    assert_ne!(content(&store.snapshot_read()), before);
    assert_eq!(content(&store.snapshots().read("first").unwrap()), before);
    let last = store.snapshot_read().lsn();
    store.close().unwrap();

    let store = restored(&disk, "first", "/restored").unwrap();
    assert_eq!(content(&store.snapshot_read()), before);
    let lsn = put(&store, &key(1), "new").unwrap();
    assert!(lsn > last, "{lsn:?} was shown already, up to {last:?}");
    store.close().unwrap();
    drop(store);
    let store = open_with(&on(&disk), &settings("/restored", Durability::Full)).unwrap();
    assert_eq!(get(&store, &key(1)).as_deref(), Some("new"));
}

#[test]
fn a_name_stands_for_one_snapshot_and_tables_are_shared() {
    let disk = SimDisk::new();
    let store = open(&disk);
    fill(&store, 0, 100);
    let (first, _) = store.create_snapshot("a").unwrap();
    fill(&store, 100, 110);
    let (again, made) = store.create_snapshot("a").unwrap();
    assert!(!made);
    assert_eq!(first, again);
    let (second, _) = store.create_snapshot("b").unwrap();
    assert!(second.lsn > first.lsn);
    let files = |name| store.snapshots().files(name).unwrap();
    assert!(files("a").iter().all(|file| files("b").contains(file)));
    assert!(store.delete_snapshot("b").unwrap());
    assert!(!store.delete_snapshot("b").unwrap());
    assert_eq!(
        store.snapshots().verify("a", &mut |_, _| {}).unwrap(),
        first
    );
    assert!(store.delete_snapshot("a").unwrap());
    assert_eq!(disk.list(Path::new(DIR)).unwrap(), [] as [&str; 0]);
    for name in ["", ".", "../x", "a/b", "-a", &"a".repeat(129), "ä"] {
        assert!(
            matches!(
                store.create_snapshot(name),
                Err(StoreError::InvalidName { .. })
            ),
            "{name}"
        );
    }
}

#[test]
fn an_empty_store_has_a_snapshot_too() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let (info, _) = store.create_snapshot("empty").unwrap();
    assert_eq!((info.lsn.0, info.tables), (0, 0));
    store.close().unwrap();
    let store = restored(&disk, "empty", "/restored").unwrap();
    assert!(content(&store.snapshot_read()).is_empty());
}

#[test]
fn snapshots_taken_while_others_write_are_states_that_were() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // One key counts the transactions of its writer, so a state is known by its LSN.
        for writer in 0..3u64 {
            let (store, stop) = (&store, &stop);
            scope.spawn(move || {
                let mut n = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    let mut transaction = store.begin();
                    for part in 0..3 {
                        let key = Bytes::from(format!("{writer}-{part}"));
                        transaction.put(key, Bytes::from(n.to_string()));
                    }
                    if let Ok(ticket) = transaction.commit(None, None) {
                        ticket.wait().unwrap();
                    }
                }
            });
        }
        let mut last = 0;
        for n in 0..12 {
            let acknowledged = store.snapshot_read();
            let (info, _) = store.create_snapshot(&format!("s{n}")).unwrap();
            let point = store.snapshots().read(&info.name).unwrap();
            assert!(info.lsn >= acknowledged.lsn() && info.lsn.0 >= last);
            last = info.lsn.0;
            let now = content(&point);
            for writer in 0..3 {
                let value = |part| now.get(format!("{writer}-{part}").as_bytes());
                assert!(
                    value(0) == value(1) && value(1) == value(2),
                    "torn: {now:?}"
                );
            }
            for (key, (lsn, _)) in content(&acknowledged) {
                assert!(now[&key].0 >= lsn, "{key:?} went back");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Images before and after every call of `work`, each with what was done by then.
pub(crate) fn cuts<T: Clone + Send + 'static>(
    disk: &SimDisk,
    done: &Arc<Mutex<T>>,
    work: impl FnOnce(),
) -> Vec<(Image, T, String)> {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let (keep, at) = (Arc::clone(&taken), Arc::clone(done));
    disk.on_call(move |call| {
        let side = if call.moment == Moment::Before {
            "before"
        } else {
            "after"
        };
        let what = format!("{side} {:?} {}", call.kind, call.path.display());
        let done = at.lock().unwrap().clone();
        keep.lock().unwrap().push((call.image(), done, what));
    });
    work();
    disk.clear_hook();
    std::mem::take(&mut *taken.lock().unwrap())
}

/// Content of the snapshots acknowledged as made, and names of those acknowledged as deleted.
type Acknowledged = (BTreeMap<String, Content>, Vec<String>);

#[test]
fn a_power_cut_leaves_snapshots_whole_or_absent() {
    let (_, seed) = rounds();
    let disk = SimDisk::new();
    let store = open(&disk);
    fill(&store, 0, 60);
    let done: Arc<Mutex<Acknowledged>> = Arc::default();
    let taken = cuts(&disk, &done, || {
        for round in 0..3u64 {
            fill(&store, 60 + round * 20, 80 + round * 20);
            let name = format!("s{round}");
            store.create_snapshot(&name).unwrap();
            let now = content(&store.snapshots().read(&name).unwrap());
            done.lock().unwrap().0.insert(name, now);
        }
        // The deletion is under way before it is acknowledged.
        done.lock().unwrap().0.remove("s1");
        store.delete_snapshot("s1").unwrap();
        done.lock().unwrap().1.push("s1".to_owned());
    });
    let interesting: Vec<_> = taken
        .iter()
        .enumerate()
        .filter(|(at, (_, _, what))| what.contains("snapshots") || at % 9 == 0)
        .collect();
    assert!(interesting.len() > 60, "{}", interesting.len());
    let mut cases = 0;
    for (at, (image, (made, deleted), what)) in interesting {
        for variant in LossVariant::ALL {
            let left = image.survive(variant, seed + at as u64);
            let store = open(&left);
            let found = store.snapshots().list().unwrap();
            for (name, info) in &found {
                assert!(info.is_ok(), "{what} {variant:?}: {name}: {info:?}");
                store
                    .snapshots()
                    .verify(name, &mut |_, _| {})
                    .unwrap_or_else(|error| panic!("{what} {variant:?}: {name}: {error}"));
                assert!(
                    !deleted.contains(name),
                    "{what} {variant:?}: {name} is back"
                );
            }
            for (name, expected) in made {
                let point = store.snapshots().read(name);
                let point = point.unwrap_or_else(|error| panic!("{what} {variant:?}: {error}"));
                assert_eq!(&content(&point), expected, "{what} {variant:?}: {name}");
            }
            // The next one sweeps what the cut left half made.
            store.create_snapshot("next").unwrap();
            for (name, _) in store.snapshots().list().unwrap() {
                store.delete_snapshot(&name).unwrap();
            }
            assert_eq!(
                left.list(Path::new(DIR)).unwrap(),
                [] as [&str; 0],
                "{what}"
            );
            cases += 1;
        }
    }
    println!("{cases} cuts of snapshots, seed {seed}");
}

#[test]
fn a_power_cut_during_a_restore_leaves_a_whole_store_or_none() {
    let (_, seed) = rounds();
    let disk = SimDisk::new();
    let store = open(&disk);
    fill(&store, 0, 120);
    store.checkpoint().unwrap();
    fill(&store, 120, 160);
    store.create_snapshot("s").unwrap();
    let expected = content(&store.snapshots().read("s").unwrap());
    store.close().unwrap();
    drop(store);
    let done = Arc::new(Mutex::new(false));
    let taken = cuts(&disk, &done, || {
        let settings = settings("/restored", Durability::Full);
        snapshots(&disk)
            .restore("s", &settings, &mut |_, _| {})
            .unwrap();
        *done.lock().unwrap() = true;
        let store = open_with(&on(&disk), &settings).unwrap();
        store.close().unwrap();
    });
    let mut cases = 0;
    for (at, (image, restored_whole, what)) in taken.iter().enumerate() {
        // Behind the restore lies an ordinary start, which has its own tests.
        if *restored_whole && at % 8 != 0 {
            continue;
        }
        for variant in LossVariant::ALL {
            let left = image.survive(variant, seed + at as u64);
            let settings = settings("/restored", Durability::Full);
            let again = snapshots(&left).restore("s", &settings, &mut |_, _| {});
            if *restored_whole {
                assert!(again.is_err(), "{what} {variant:?}: restored over a store");
            }
            let store = open_with(&on(&left), &settings)
                .unwrap_or_else(|error| panic!("{what} {variant:?}: {error} after {again:?}"));
            assert_eq!(
                content(&store.snapshot_read()),
                expected,
                "{what} {variant:?}"
            );
            assert!(
                !left
                    .list(Path::new("/restored"))
                    .unwrap()
                    .contains(&"RESTORING".to_owned())
            );
            cases += 1;
        }
    }
    println!("{cases} cuts of a restore, seed {seed}");
    assert!(cases > 100, "{cases}");
}

#[test]
fn an_interrupted_restore_is_not_opened_as_an_empty_store() {
    let disk = SimDisk::new();
    let store = open(&disk);
    fill(&store, 0, 50);
    store.create_snapshot("s").unwrap();
    store.close().unwrap();
    drop(store);
    let done = Arc::new(Mutex::new(()));
    let taken = cuts(&disk, &done, || {
        drop(restored(&disk, "s", "/restored").unwrap())
    });
    let mut refused = 0;
    for (image, (), what) in &taken {
        let left = image.survive(LossVariant::KeepAll, 1);
        let names = left.list(Path::new("/restored")).unwrap_or_default();
        if !names.iter().any(|name| name == "RESTORING") || names.iter().any(|n| n == "MANIFEST") {
            continue;
        }
        match open_with(&on(&left), &settings("/restored", Durability::Full)) {
            Err(StoreError::Mismatch { detail, .. }) => {
                assert!(detail.contains("restore was interrupted"), "{detail}");
                refused += 1;
            }
            other => panic!("{what}: {:?}", other.err()),
        }
    }
    assert!(refused > 3, "{refused}");
}

#[test]
fn a_restore_touches_no_store_also_without_its_manifest() {
    let disk = SimDisk::new();
    let store = open(&disk);
    fill(&store, 0, 50);
    store.create_snapshot("s").unwrap();
    fill(&store, 50, 60);
    store.close().unwrap();
    drop(store);
    let refused = |disk: &SimDisk| {
        let before = disk.dump();
        let outcome = snapshots(disk).restore("s", &data(), &mut |_, _| {});
        assert!(
            matches!(outcome, Err(StoreError::Mismatch { .. })),
            "{outcome:?}"
        );
        assert_eq!(disk.dump(), before);
    };
    refused(&disk);
    disk.remove(Path::new("/data/MANIFEST")).unwrap();
    refused(&disk);
}

#[test]
fn damage_of_any_file_is_refused_by_verify_and_restore() {
    let disk = SimDisk::new();
    let store = open(&disk);
    fill(&store, 0, 120);
    store.checkpoint().unwrap();
    fill(&store, 120, 140);
    store.create_snapshot("s").unwrap();
    store.close().unwrap();
    drop(store);
    let image = disk.image();
    let mut cases = 0;
    for name in disk.list(Path::new(DIR)).unwrap() {
        let path = Path::new(DIR).join(&name);
        let bytes = disk.read(&path).unwrap().len();
        // Every byte of what is short, an even sample of the rest, a prime apart.
        let step = if bytes < 600 { 1 } else { 61 };
        for at in (0..bytes).step_by(step) {
            let left = image.survive(LossVariant::KeepAll, 1);
            left.corrupt(&path, |content| content[at] ^= 1 << (at % 8))
                .unwrap();
            let verified = snapshots(&left).verify("s", &mut |_, _| {});
            assert!(verified.is_err(), "{name} byte {at}: verify saw nothing");
            let settings = settings("/restored", Durability::Full);
            let restored = snapshots(&left).restore("s", &settings, &mut |_, _| {});
            assert!(restored.is_err(), "{name} byte {at}: it was restored");
            assert!(
                open_with(&on(&left), &settings).is_err()
                    || left
                        .list(Path::new("/restored/tables"))
                        .unwrap()
                        .iter()
                        .all(|name| !name.starts_with("table-")),
                "{name} byte {at}: half a store opened"
            );
            cases += 1;
        }
        let left = image.survive(LossVariant::KeepAll, 1);
        left.remove(&path).unwrap();
        assert!(
            snapshots(&left).verify("s", &mut |_, _| {}).is_err(),
            "{name} is missing"
        );
    }
    println!("{cases} damaged snapshots");
    assert!(cases > 200, "{cases}");
}
