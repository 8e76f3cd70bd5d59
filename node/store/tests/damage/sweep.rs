//! Thousands of damages of every sort to every file. After each one: a check of the whole store,
//! an open and a read of everything give either exactly what was there or a refusal that names a
//! file and a place; what an open or a read notices, the check notices too; nothing panics; and
//! no length that was read makes anybody allocate more than a sound store needs and a little.
//!
//! `GODB_DAMAGE_CASES` and `GODB_DAMAGE_SEED`; a failure names the seed that repeats it alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use godb_store::disk::sim::LossVariant;
use godb_store::disk::{Disk, SimDisk};
use godb_store::{Durability, Repair, StoreError, verify};

use crate::files::{Crashed, bytes_in_use, crashed};
use crate::harness::{Draw, on, open_with, small};
use crate::oracle::contents;
use crate::{ALLOCATED, alone};

/// Bytes that damage may cost on top of what a sound store needs.
const MORE_BYTES: usize = 4 << 20;
/// Cases of which one is repaired.
const REPAIRED: u64 = 10;

const SORTS: [&str; 12] = [
    "one bit",
    "one bit of the first 200 bytes",
    "some bits",
    "a byte",
    "a hole of zeros",
    "cut near the end of what is in use",
    "cut anywhere",
    "garbage at the end",
    "a copy of itself at the end",
    "missing",
    "the content of another file",
    "what it, or one of its kind, held before",
];

struct Case {
    sort: usize,
    path: PathBuf,
    what: String,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn files(disk: &SimDisk) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for dir in ["/volume/data", "/volume/wal", "/volume/tables"] {
        let mut names = disk.list(Path::new(dir)).unwrap();
        names.sort();
        files.extend(names.iter().map(|name| Path::new(dir).join(name)));
    }
    files
}

/// Damages one file of `disk`. What is behind the last proof of the log is left alone: whether it
/// was ever written is what nothing can tell.
fn damage(crashed: &Crashed, disk: &SimDisk, seed: u64) -> Case {
    let mut draw = Draw(seed);
    draw.below(2);
    let all = files(disk);
    let path = all[draw.below(all.len() as u64) as usize].clone();
    let other = all[draw.below(all.len() as u64) as usize].clone();
    let sort = draw.below(SORTS.len() as u64) as usize;
    let used = bytes_in_use(&disk.read(&path).unwrap()).max(1) as u64;
    let mut at = draw.below(used) as usize;
    let bit = 1u8 << draw.below(8);
    let mut told = format!("byte {at} bit {bit}");
    let is_log = path.to_string_lossy().ends_with(".wal");
    match sort {
        0 | 3 => {
            let mask = if sort == 0 { bit } else { 0xA5 };
            disk.corrupt(&path, |bytes| flip(bytes, at, mask)).unwrap();
        }
        1 => {
            at = draw.below(200.min(used)) as usize;
            told = format!("byte {at} bit {bit}");
            disk.corrupt(&path, |bytes| flip(bytes, at, bit)).unwrap();
        }
        2 => {
            for _ in 0..2 + draw.below(30) {
                let at = draw.below(used.saturating_sub(300).max(1)) as usize;
                disk.corrupt(&path, |bytes| flip(bytes, at, bit)).unwrap();
            }
        }
        4 => {
            let end = (at + 1 + draw.below(6000) as usize).min((used as usize).saturating_sub(300));
            told = format!("{at}..{end}");
            disk.corrupt(&path, |bytes| {
                if at < end {
                    bytes[at..end].fill(0);
                }
            })
            .unwrap();
        }
        5 | 6 => {
            let length = if sort == 5 {
                // Every length near the end comes up in turn.
                (used as usize + 40).saturating_sub((seed % 400) as usize)
            } else {
                at
            };
            told = format!("to {length} of {used} in use");
            disk.corrupt(&path, |bytes| bytes.truncate(length)).unwrap();
        }
        7 => {
            let garbage: Vec<u8> = (0..1 + draw.below(3000))
                .map(|_| draw.below(256) as u8)
                .collect();
            told = format!("{} bytes", garbage.len());
            disk.corrupt(&path, |bytes| bytes.extend(&garbage)).unwrap();
        }
        8 => disk
            .corrupt(&path, |bytes| {
                let copy = bytes[..(used as usize).min(100_000).min(bytes.len())].to_vec();
                bytes.extend(copy);
            })
            .unwrap(),
        9 => disk.remove(&path).unwrap(),
        10 => {
            told = format!("{}", other.display());
            let content = disk.read(&other).unwrap();
            disk.corrupt(&path, |bytes| *bytes = content).unwrap();
        }
        _ => {
            let before = crashed.earlier[draw.below(crashed.earlier.len() as u64) as usize]
                .survive(LossVariant::KeepAll, 1);
            let kind = |path: &PathBuf| path.extension().map(|e| e.to_owned());
            // A segment as it was itself before is one that was never written further: its last
            // frames are gone together with the proof that they were there.
            let same = files(&before)
                .into_iter()
                .filter(|p| kind(p) == kind(&path) && (!is_log || *p != path));
            let same: Vec<_> = same.collect();
            if let Some(old) = same.get(draw.below(same.len().max(1) as u64) as usize) {
                told = format!("{} of before", old.display());
                let content = before.read(old).unwrap();
                disk.corrupt(&path, |bytes| *bytes = content).unwrap();
            }
        }
    }
    Case {
        sort,
        what: format!(
            "GODB_DAMAGE_SEED={seed} GODB_DAMAGE_CASES=1: {}: {}, {told}",
            path.display(),
            SORTS[sort]
        ),
        path,
    }
}

fn flip(bytes: &mut [u8], at: usize, mask: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= mask;
    }
}

/// A refusal says which file, or which directory, and where in it.
fn is_clear(error: &StoreError) -> bool {
    match error {
        StoreError::Corrupt { file, detail, .. } => {
            file.components().count() > 1 && !detail.is_empty()
        }
        StoreError::NewerFormat { .. } | StoreError::Mismatch { .. } => true,
        _ => false,
    }
}

/// Whether the damage was noticed, and by whom.
fn look(crashed: &Crashed, disk: &SimDisk, what: &str) -> bool {
    let settings = small(Durability::Full);
    let checked = match verify(&settings, &on(disk), &mut |_, _| {}) {
        Ok(report) => report.faults.into_iter().next(),
        Err(error) => Some(error),
    };
    if let Some(error) = &checked {
        assert!(is_clear(error), "{what}: {error:?}");
    }
    let noticed = match open_with(&on(disk), &settings) {
        Err(error) => {
            assert!(is_clear(&error), "{what}: {error:?}");
            true
        }
        Ok(store) => match contents(&store) {
            Err(error) => {
                assert!(error.contains("corrupt"), "{what}: {error}");
                true
            }
            Ok(_) => {
                let state =
                    crashed
                        .oracle
                        .check(&store, &crashed.promised, LossVariant::LoseUnsynced);
                assert!(state.is_ok(), "silent, {what}: {state:?}\n{}", disk.dump());
                false
            }
        },
    };
    assert!(
        checked.is_some() || !noticed,
        "verify found nothing, {what}"
    );
    checked.is_some()
}

/// What a repair leaves opens, is sound and can be read.
fn repair(disk: &SimDisk, what: &str) -> bool {
    let settings = small(Durability::Full);
    let repair = match Repair::examine(&settings, &on(disk)) {
        Ok(repair) => repair,
        // The identity of another store in the place of one's own is a wrong setting.
        Err(error @ (StoreError::Mismatch { .. } | StoreError::NewerFormat { .. })) => {
            eprintln!("{what}: {error}");
            return false;
        }
        Err(error) => panic!("{what}: {error}"),
    };
    if !repair.is_needed() {
        return false;
    }
    let told = |error: StoreError| -> StoreError { panic!("{what}: {error}") };
    repair.keep_originals(None).map_err(told).unwrap();
    let staged = repair.stage(&mut |_| true).map_err(told).unwrap();
    let store = open_with(&on(disk), &staged).map_err(told).unwrap();
    store.close().map_err(told).unwrap();
    drop(store);
    repair.adopt().map_err(told).unwrap();
    let report = verify(&settings, &on(disk), &mut |_, _| {})
        .map_err(told)
        .unwrap();
    assert!(report.faults.is_empty(), "{what}: {:?}", report.faults);
    let store = open_with(&on(disk), &settings).map_err(told).unwrap();
    contents(&store).unwrap_or_else(|error| panic!("{what}: {error}"));
    true
}

#[test]
fn damage_is_never_silent_never_a_panic_never_a_huge_allocation() {
    let _alone = alone();
    let crashed = Arc::new(crashed(true));
    let cases = number("GODB_DAMAGE_CASES", 900);
    let seed = number("GODB_DAMAGE_SEED", 20_263);
    let sound = crashed.disk();
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    assert!(!look(&crashed, &sound, "sound"));
    let needed = ALLOCATED.peak_usage().saturating_sub(before);
    drop(sound);
    let mut noticed = [0; SORTS.len()];
    let mut tried = [0; SORTS.len()];
    let (mut repaired, mut most) = (0, 0);
    for seed in seed..seed + cases {
        let disk = crashed.disk();
        let case = damage(&crashed, &disk, seed);
        let left = disk.image();
        let before = ALLOCATED.current_usage();
        ALLOCATED.reset_peak_usage();
        noticed[case.sort] += u64::from(look(&crashed, &disk, &case.what));
        let used = ALLOCATED.peak_usage().saturating_sub(before);
        most = most.max(used);
        assert!(
            used <= needed + MORE_BYTES,
            "{}: {used} bytes allocated, a sound store needs {needed}",
            case.what
        );
        tried[case.sort] += 1;
        if seed % REPAIRED == 0 && !case.path.ends_with("LOCK") {
            let disk = left.survive(LossVariant::KeepAll, 1);
            repaired += u64::from(repair(&disk, &case.what));
        }
    }
    eprintln!(
        "{cases} cases from seed {seed}, 0 silent; {repaired} repaired; a sound store needs {needed} bytes, the most was {most}"
    );
    for (sort, what) in SORTS.iter().enumerate() {
        eprintln!("{:>6} of {:>6} noticed: {what}", noticed[sort], tried[sort]);
    }
    assert!(noticed.iter().sum::<u64>() * 2 > cases || cases < 100);
}
