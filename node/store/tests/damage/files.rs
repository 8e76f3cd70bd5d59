//! Damaged, missing and exchanged files: a start either names the file it cannot trust, or
//! everything that was proven durable is there. Never silence, never a panic.

use std::path::{Path, PathBuf};
use std::time::Duration;

use godb_store::disk::sim::{Image, LossVariant};
use godb_store::disk::{Disk, SimDisk};
use godb_store::{Durability, StoreError};

use crate::alone;
use crate::harness::{Draw, batch, key, on, open_with, put, rounds, small};
use crate::oracle::{Oracle, Promised, contents, value};

/// A store at `full` with tables of several levels and a log of several segments, crashed.
pub struct Crashed {
    image: Image,
    /// Of the same store, some transactions before.
    pub earlier: Vec<Image>,
    pub oracle: Oracle,
    pub promised: Promised,
}

/// With `proven`, the log fell idle before the crash, so its last group has its proof too.
pub fn crashed(proven: bool) -> Crashed {
    let disk = SimDisk::new();
    let oracle = Oracle::default();
    let store = open_with(&on(&disk), &small(Durability::Full)).unwrap();
    let mut draw = Draw(9);
    let mut earlier = Vec::new();
    for n in 0..60u64 {
        let length = if n > 40 { 40_000 } else { 400 };
        let writes = |id| batch(&mut draw, id, 2, 30, length);
        oracle
            .commit(&store, writes, Durability::Full, None)
            .unwrap();
        match n {
            12 | 24 => drop(store.checkpoint().unwrap()),
            25 => store.compact().unwrap(),
            32 => drop(store.checkpoint().unwrap()),
            _ => {}
        }
        if matches!(n, 20 | 28 | 36 | 50) {
            earlier.push(disk.image());
        }
    }
    if proven {
        std::thread::sleep(Duration::from_millis(350));
    }
    let image = disk.image();
    let promised = oracle.promised();
    drop(store);
    Crashed {
        image,
        earlier,
        oracle,
        promised,
    }
}

impl Crashed {
    pub fn disk(&self) -> SimDisk {
        self.image.survive(LossVariant::LoseUnsynced, 1)
    }

    fn files(&self, dir: &str, part: &str) -> Vec<PathBuf> {
        let mut names = self.disk().list(Path::new(dir)).unwrap();
        names.sort();
        names.retain(|name| name.contains(part));
        names.iter().map(|name| Path::new(dir).join(name)).collect()
    }

    /// Opens `disk`, whose files `damaged` are not as they were. Whether the damage was noticed.
    fn noticed(&self, disk: &SimDisk, damaged: &[&Path], what: &str) -> bool {
        let names = |message: &str| {
            damaged
                .iter()
                .any(|path| message.contains(&*path.file_name().unwrap().to_string_lossy()))
        };
        let store = match open_with(&on(disk), &small(Durability::Full)) {
            Ok(store) => store,
            Err(error) => {
                assert!(
                    matches!(
                        error,
                        StoreError::Corrupt { .. }
                            | StoreError::NewerFormat { .. }
                            | StoreError::Mismatch { .. }
                    ),
                    "{what}: {error:?}"
                );
                assert!(names(&error.to_string()), "{what}: {error}");
                return true;
            }
        };
        if let Err(error) = contents(&store) {
            assert!(
                error.contains("corrupt") && names(&error),
                "{what}: {error}"
            );
            return true;
        }
        let state = self
            .oracle
            .check(&store, &self.promised, LossVariant::LoseUnsynced);
        assert!(state.is_ok(), "silent, {what}: {state:?}");
        false
    }
}

pub fn bytes_in_use(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1)
}

/// Flips `flips` bits spread over what is in use of each file, and a little behind it.
fn flip(crashed: &Crashed, files: &[PathBuf], flips: usize, seed: u64) -> (usize, usize) {
    let mut draw = Draw(seed);
    let (mut noticed, mut tried) = (0, 0);
    for path in files {
        let used = bytes_in_use(&crashed.disk().read(path).unwrap()) + 64;
        for n in 0..flips.min(used) {
            let from = n * used / flips.min(used);
            let to = (n + 1) * used / flips.min(used);
            // The first bytes of a file hold its header: every one of them gets its turn.
            let byte = if n < flips / 3 {
                n
            } else {
                from + draw.below((to - from) as u64) as usize
            };
            let bit = draw.below(8);
            let disk = crashed.disk();
            disk.corrupt(path, |bytes| {
                if let Some(byte) = bytes.get_mut(byte) {
                    *byte ^= 1 << bit;
                }
            })
            .unwrap();
            let what = format!("{} byte {byte} bit {bit} seed {seed}", path.display());
            tried += 1;
            noticed += usize::from(crashed.noticed(&disk, &[path.as_path()], &what));
        }
    }
    (noticed, tried)
}

#[test]
fn a_flipped_bit_is_named_or_changes_nothing() {
    let _alone = alone();
    let (_, seed) = rounds();
    let crashed = crashed(true);
    let manifest = crashed.files("/volume/data", "MANIFEST");
    let (noticed, tried) = flip(&crashed, &manifest, 120, seed);
    eprintln!("manifest: {noticed} of {tried}");
    assert!(noticed + 64 >= tried, "the manifest is verified whole");
    let segments = crashed.files("/volume/wal", ".wal");
    assert!(segments.len() > 2, "{segments:?}");
    let (noticed, tried) = flip(&crashed, &segments, 90, seed);
    eprintln!("segments: {noticed} of {tried}");
    assert!(noticed > tried / 4);
    let tables = crashed.files("/volume/tables", "table-");
    assert!(tables.len() > 1, "{tables:?}");
    let (noticed, tried) = flip(&crashed, &tables, 90, seed);
    eprintln!("tables: {noticed} of {tried}");
    assert!(noticed > tried * 9 / 10);
}

#[test]
fn only_the_last_group_without_its_proof_may_be_taken_for_a_torn_tail() {
    let _alone = alone();
    for proven in [false, true] {
        let crashed = crashed(proven);
        let last = *crashed.oracle.ids().last().unwrap();
        let segments = crashed.files("/volume/wal", ".wal");
        let (path, at) = segments
            .iter()
            .find_map(|path| {
                let bytes = crashed.disk().read(path).unwrap();
                let marker = format!("~{last:08}");
                let at = bytes
                    .windows(9)
                    .position(|window| window == marker.as_bytes());
                at.map(|at| (path, at))
            })
            .unwrap();
        let disk = crashed.disk();
        disk.corrupt(path, |bytes| bytes[at] ^= 1).unwrap();
        match open_with(&on(&disk), &small(Durability::Full)) {
            Err(error) => {
                assert!(proven, "{error}");
                assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
            }
            Ok(store) => {
                assert!(!proven, "100 ms later it has its proof");
                let lost = crashed
                    .oracle
                    .check(&store, &crashed.promised, LossVariant::LoseUnsynced)
                    .unwrap_err();
                assert!(lost.contains(&format!("transaction {last} ")), "{lost}");
                assert!(store.recovery_report().bytes_cut > 0, "and it is reported");
            }
        }
    }
}

#[test]
fn truncated_and_grown_files_are_named_or_change_nothing() {
    let _alone = alone();
    let crashed = crashed(true);
    let files = [
        ("/volume/data", "MANIFEST"),
        ("/volume/wal", ".wal"),
        ("/volume/tables", "table-"),
    ];
    for (dir, part) in files {
        let mut noticed = 0;
        for path in crashed.files(dir, part) {
            let length = crashed.disk().read(&path).unwrap().len();
            let used = bytes_in_use(&crashed.disk().read(&path).unwrap());
            for cut in [
                0,
                1,
                8,
                60,
                119,
                120,
                4096,
                used / 2,
                used - 1,
                used,
                length - 1,
            ] {
                let disk = crashed.disk();
                disk.corrupt(&path, |bytes| bytes.truncate(cut)).unwrap();
                let what = format!("{} cut to {cut} of {length}", path.display());
                noticed += usize::from(crashed.noticed(&disk, &[&path], &what));
            }
            for garbage in [
                vec![0u8; 3],
                vec![0xAB; 700],
                b"GDBF\x01\x00\x01\x00".repeat(40),
            ] {
                let disk = crashed.disk();
                disk.corrupt(&path, |bytes| bytes.extend(&garbage)).unwrap();
                let what = format!("{} grown by {}", path.display(), garbage.len());
                noticed += usize::from(crashed.noticed(&disk, &[&path], &what));
            }
        }
        eprintln!("{part}: {noticed} noticed");
        assert!(noticed > 8, "{part}");
    }
}

#[test]
fn missing_exchanged_and_stale_files_are_named_or_change_nothing() {
    let _alone = alone();
    let crashed = crashed(true);
    let files = [
        ("/volume/data", "MANIFEST"),
        ("/volume/wal", ".wal"),
        ("/volume/tables", "table-"),
    ];
    for (dir, part) in files {
        let paths = crashed.files(dir, part);
        let mut noticed = 0;
        for path in &paths {
            let disk = crashed.disk();
            disk.remove(path).unwrap();
            // Of a store without a manifest its directory is named.
            let named = [path.as_path(), Path::new("/volume/data")];
            noticed += usize::from(crashed.noticed(&disk, &named, "missing"));
            for other in paths.iter().filter(|other| *other != path) {
                let disk = crashed.disk();
                let (a, b) = (disk.read(path).unwrap(), disk.read(other).unwrap());
                disk.corrupt(path, |bytes| *bytes = b.clone()).unwrap();
                let what = format!("{} holds a copy of {}", path.display(), other.display());
                noticed += usize::from(crashed.noticed(&disk, &[path, other], &what));
                let disk = crashed.disk();
                disk.corrupt(path, |bytes| *bytes = b).unwrap();
                disk.corrupt(other, |bytes| *bytes = a).unwrap();
                noticed += usize::from(crashed.noticed(&disk, &[path, other], "exchanged"));
            }
        }
        eprintln!("{part}: {noticed} noticed");
        assert!(noticed > 0, "{part}");
    }
}

#[test]
fn directories_of_two_stores_are_not_mixed_and_nothing_of_either_is_lost() {
    let _alone = alone();
    for (level, with_tables) in [
        (Durability::None, false),
        (Durability::Os, false),
        (Durability::Full, true),
    ] {
        for part in ["wal", "tables"] {
            let disk = SimDisk::new();
            let mut mine = small(level);
            mine.data_dir = "/mine/data".into();
            mine.wal_dir = "/mine/wal".into();
            mine.checkpoint_dir = "/mine/tables".into();
            let store = open_with(&on(&disk), &mine).unwrap();
            if with_tables {
                put(&store, &key(1), "mine").unwrap();
            }
            store.close().unwrap();
            drop(store);
            let oracle = Oracle::default();
            let theirs = small(Durability::Full);
            let store = open_with(&on(&disk), &theirs).unwrap();
            for n in 0..20 {
                let writes = |id| vec![(key(n), Some(value(id, 0, 100)))];
                oracle
                    .commit(&store, writes, Durability::Full, None)
                    .unwrap();
                if n == 10 {
                    store.checkpoint().unwrap();
                }
            }
            drop(store);
            let mut mixed = mine.clone();
            match part {
                "wal" => mixed.wal_dir = theirs.wal_dir.clone(),
                _ => mixed.checkpoint_dir = theirs.checkpoint_dir.clone(),
            }
            let outcome = open_with(&on(&disk), &mixed).map(|_| "opened");
            let what = format!("{level} with the {part} of another store");
            assert!(
                matches!(outcome, Err(StoreError::Mismatch { .. })),
                "{what}: {outcome:?}"
            );
            let store = open_with(&on(&disk), &theirs).unwrap_or_else(|e| panic!("{what}: {e}"));
            let promised = oracle.promised();
            oracle
                .check(&store, &promised, LossVariant::KeepAll)
                .unwrap();
            drop(store);
            open_with(&on(&disk), &mine).unwrap_or_else(|e| panic!("{what}: {e}"));
        }
    }
}
