use std::collections::BTreeSet;
use std::sync::mpsc;

use super::*;
use crate::disk::conformance::{get, put};
use crate::disk::sim::Moment;
use crate::disk::sim::tests::{SEEDS, list, path, with_file};
use crate::disk::{CallKind, Disk, OpenMode};

#[test]
fn a_rename_is_old_or_new_and_both_happen() {
    let (disk, _) = with_file(b"old");
    put(&disk, path("/tmp"), b"new");
    disk.open(path("/tmp"), OpenMode::Write)
        .unwrap()
        .sync_data()
        .unwrap();
    disk.rename(path("/tmp"), path("/f")).unwrap();
    let image = disk.image();
    let (mut old, mut new) = (0, 0);
    for variant in [
        LossVariant::KeepPrefix,
        LossVariant::RandomSectors,
        LossVariant::TearLast,
    ] {
        for seed in 0..SEEDS {
            let left = image.survive(variant, seed);
            match get(&left, path("/f")).as_slice() {
                b"old" => old += 1,
                b"new" => {
                    new += 1;
                    assert_eq!(
                        list(&left, "/"),
                        ["f"],
                        "{variant:?} {seed}: a name too many"
                    );
                }
                other => panic!("{variant:?} {seed}: {other:?}"),
            }
        }
    }
    assert!(old > 10 && new > 10, "{old} old, {new} new");
}

#[test]
fn a_kill_inside_a_write_stops_it_between_pages() {
    let (disk, file) = with_file(&[1; 20_000]);
    let (send, images) = mpsc::channel();
    disk.on_call(move |call| {
        if call.kind == CallKind::Write {
            send.send((call.moment, call.image())).unwrap();
        }
    });
    file.write_all_at(&[2; 10_000], 1000).unwrap();
    let (moment, before) = images.recv().unwrap();
    assert_eq!(moment, Moment::Before);
    assert_eq!(
        get(&before.survive(LossVariant::KillInWrite, 0), path("/f")),
        [1; 20_000]
    );
    let (moment, inside) = images.recv().unwrap();
    assert_eq!(moment, Moment::After);
    let mut ends = BTreeSet::new();
    for seed in 0..SEEDS {
        let left = inside.survive(LossVariant::KillInWrite, seed);
        assert_eq!(left.boot_id(), disk.boot_id());
        let bytes = get(&left, path("/f"));
        let end = 1000 + bytes.iter().filter(|b| **b == 2).count();
        let mut expected = vec![1; 20_000];
        expected[1000..end].fill(2);
        assert_eq!(bytes, expected, "seed {seed}");
        let synced = left.open(path("/f"), OpenMode::Read).unwrap();
        synced.sync_data().unwrap();
        let cut = left.image().survive(LossVariant::LoseUnsynced, 0);
        assert_eq!(
            get(&cut, path("/f")),
            expected,
            "a later sync covers what was kept"
        );
        let cut = inside.survive(LossVariant::KillInWrite, seed).image();
        let cut = cut.survive(LossVariant::LoseUnsynced, 0);
        assert_eq!(get(&cut, path("/f")), [1; 20_000]);
        ends.insert(end);
    }
    assert_eq!(ends, BTreeSet::from([1000, 4096, 8192, 11_000]));
    let mut expected = vec![1; 20_000];
    expected[1000..11_000].fill(2);
    for seed in 0..SEEDS {
        let left = disk.image().survive(LossVariant::KillInWrite, seed);
        assert_eq!(
            get(&left, path("/f")),
            expected,
            "a write that returned is whole"
        );
    }
}

#[test]
fn a_prefix_never_keeps_a_later_change_without_an_earlier_one() {
    let disk = SimDisk::new();
    for name in ["/a", "/b", "/c"] {
        put(&disk, path(name), name.as_bytes());
    }
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let left = disk.image().survive(LossVariant::KeepPrefix, seed);
        let files: Vec<_> = list(&left, "/")
            .iter()
            .map(|n| get(&left, &path("/").join(n)).len())
            .collect();
        seen.insert(files);
    }
    let wanted: [&[usize]; 7] = [&[], &[0], &[2], &[2, 0], &[2, 2], &[2, 2, 0], &[2, 2, 2]];
    assert_eq!(seen, wanted.iter().map(|files| files.to_vec()).collect());
}

#[test]
fn each_sector_survives_by_itself_in_one_of_its_states() {
    let (disk, file) = with_file(&[1; 4096]);
    file.write_all_at(&[2; 2048], 0).unwrap();
    file.write_all_at(&[3; 1024], 512).unwrap();
    let mut states = vec![BTreeSet::new(); 8];
    let mut unordered = false;
    for seed in 0..SEEDS {
        let bytes = get(
            &disk.image().survive(LossVariant::RandomSectors, seed),
            path("/f"),
        );
        assert_eq!(bytes.len(), 4096);
        for (sector, states) in bytes.chunks(512).zip(&mut states) {
            assert!(
                sector.iter().all(|b| *b == sector[0]),
                "seed {seed}: a torn sector"
            );
            states.insert(sector[0]);
        }
        unordered |= bytes[0] == 1 && bytes[1536] == 2;
    }
    let of = |values: &[u8]| values.iter().copied().collect::<BTreeSet<u8>>();
    assert_eq!(states[0], of(&[1, 2]));
    assert_eq!(states[1], of(&[1, 2, 3]));
    assert_eq!(states[3], of(&[1, 2]));
    assert_eq!(
        states[4],
        of(&[1]),
        "a synced sector that nobody wrote stays"
    );
    assert!(unordered, "a later sector without an earlier one");
}

#[test]
fn the_length_survives_apart_from_the_bytes() {
    let (disk, file) = with_file(&[1; 512]);
    file.write_all_at(&[2; 1024], 512).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let bytes = get(
            &disk.image().survive(LossVariant::RandomSectors, seed),
            path("/f"),
        );
        assert_eq!(bytes[..512], [1; 512]);
        seen.insert(
            bytes[512..]
                .chunks(512)
                .map(|sector| sector[0])
                .collect::<Vec<u8>>(),
        );
    }
    let wanted: [&[u8]; 7] = [&[], &[0], &[2], &[0, 0], &[0, 2], &[2, 0], &[2, 2]];
    assert_eq!(
        seen,
        wanted.iter().map(|sectors| sectors.to_vec()).collect()
    );
}

#[test]
fn an_unsynced_cut_comes_back_or_stays() {
    let (disk, file) = with_file(&[1; 2048]);
    file.truncate(700).unwrap();
    file.write_all_at(&[2; 100], 800).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let bytes = get(
            &disk.image().survive(LossVariant::RandomSectors, seed),
            path("/f"),
        );
        assert_eq!(bytes[..700], [1; 700], "seed {seed}");
        if let Some(gap) = bytes.get(700..800) {
            assert!(gap == [0; 100] || gap == [1; 100], "seed {seed}: {gap:?}");
            if bytes.contains(&2) {
                assert_eq!(gap, [0; 100], "seed {seed}: one sector in two states");
            }
        }
        seen.insert((bytes.len(), bytes.contains(&2)));
    }
    assert!(
        seen.contains(&(2048, false)) && seen.contains(&(700, false)),
        "{seen:?}"
    );
    assert!(seen.contains(&(900, true)), "{seen:?}");
}

#[test]
fn a_torn_write_ends_inside_a_sector() {
    let (disk, file) = with_file(&[1; 4096]);
    file.write_all_at(&[2; 2048], 1024).unwrap();
    let (mut torn, mut unordered) = (0, 0);
    for seed in 0..SEEDS {
        let bytes = get(
            &disk.image().survive(LossVariant::TearLast, seed),
            path("/f"),
        );
        assert!(
            bytes[..1024].iter().chain(&bytes[3072..]).all(|b| *b == 1),
            "seed {seed}"
        );
        let new: Vec<usize> = bytes[1024..3072]
            .chunks(512)
            .map(|sector| {
                let new = sector.iter().take_while(|b| **b == 2).count();
                assert!(
                    sector[new..].iter().all(|b| *b == 1),
                    "seed {seed}: a new tail"
                );
                new
            })
            .collect();
        let partial = new.iter().filter(|n| **n > 0 && **n < 512).count();
        assert!(partial <= 1, "seed {seed}: {new:?}");
        torn += partial;
        unordered += usize::from(new.windows(2).any(|w| w[0] < w[1]));
        assert!(new.iter().sum::<usize>() < 2048, "seed {seed}: not torn");
    }
    assert!(
        torn > 50 && unordered > 10,
        "{torn} torn, {unordered} out of order"
    );
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let (disk, file) = with_file(&[1; 40_000]);
    file.write_all_at(&[2; 30_000], 3_333).unwrap();
    put(&disk, path("/g"), &[3; 9000]);
    disk.rename(path("/g"), path("/h")).unwrap();
    let image = disk.image();
    let outcome = |variant, seed| {
        let left = image.survive(variant, seed);
        let names = list(&left, "/");
        let bytes: Vec<_> = names
            .iter()
            .map(|name| get(&left, &path("/").join(name)))
            .collect();
        (left.boot_id(), names, bytes)
    };
    for variant in LossVariant::ALL {
        let outcomes: BTreeSet<_> = (0..20)
            .map(|seed| {
                assert_eq!(
                    outcome(variant, seed),
                    outcome(variant, seed),
                    "{variant:?} {seed}"
                );
                let (_, names, bytes) = outcome(variant, seed);
                (names, bytes)
            })
            .collect();
        let by_seed = !matches!(
            variant,
            LossVariant::LoseUnsynced | LossVariant::KeepAll | LossVariant::KillInWrite
        );
        assert_eq!(outcomes.len() > 1, by_seed, "{variant:?}");
        let restarted = outcome(variant, 1).0 != disk.boot_id();
        assert_eq!(restarted, variant.is_power_cut(), "{variant:?}");
    }
}

/// A file under random writes, cuts and syncs: whatever survives, each byte has a value that it had
/// since the last sync (or the zero of a hole), and the length is one that lies between those it
/// had. A byte that was not touched since the last sync has one value, so it is never lost.
#[test]
fn nothing_synced_is_lost_and_nothing_is_made_up() {
    for seed in 0..60 {
        let mut draw = Draw(seed);
        let (disk, file) = with_file(&[0; 1500]);
        let mut now = vec![0u8; 1500];
        let mut values: Vec<BTreeSet<u8>> = vec![BTreeSet::from([0]); 6000];
        let mut lengths = BTreeSet::from([1500]);
        for step in 1..40u8 {
            let at = as_usize(draw.below(3000));
            match draw.below(8) {
                0 => {
                    file.truncate(u64::try_from(at).unwrap()).unwrap();
                    now.resize(at, 0);
                    values.iter_mut().skip(at).for_each(|values| {
                        values.insert(0);
                    });
                    lengths.insert(at);
                }
                1 => {
                    file.sync_data().unwrap();
                    for (at, values) in values.iter_mut().enumerate() {
                        *values = BTreeSet::from([now.get(at).copied().unwrap_or(0)]);
                    }
                    lengths = BTreeSet::from([now.len()]);
                }
                _ => {
                    let len = as_usize(1 + draw.below(1200));
                    file.write_all_at(&vec![step; len], u64::try_from(at).unwrap())
                        .unwrap();
                    now.resize(now.len().max(at + len), 0);
                    now[at..at + len].fill(step);
                    values[at..at + len].iter_mut().for_each(|values| {
                        values.insert(step);
                    });
                    lengths.insert(now.len());
                }
            }
            let image = disk.image();
            assert_eq!(get(&disk, path("/f")), now, "seed {seed} step {step}");
            for variant in LossVariant::ALL {
                let bytes = get(&image.survive(variant, draw.below(u64::MAX)), path("/f"));
                let context = format!("seed {seed} step {step} {variant:?}");
                let (least, most) = (*lengths.first().unwrap(), *lengths.last().unwrap());
                assert!(
                    (least..=most).contains(&bytes.len()),
                    "{context}: {}",
                    bytes.len()
                );
                for (at, (byte, values)) in bytes.iter().zip(&values).enumerate() {
                    assert!(
                        values.contains(byte) || *byte == 0 && at >= least,
                        "{context} at {at}"
                    );
                }
            }
        }
    }
}

/// Names under random creations, renames, links and removals in two directories: whatever survives,
/// each entry is in a state that it had since the last sync of its directory, and a file that was
/// only renamed since then still has a name.
#[test]
fn entries_survive_in_a_state_they_had() {
    for seed in 0..60 {
        let mut draw = Draw(seed);
        let disk = SimDisk::new();
        for dir in ["/0", "/1"] {
            disk.create_dir(path(dir)).unwrap();
        }
        disk.sync_dir(path("/")).unwrap();
        // Entry n is the name n % 4 in the directory n / 4; what it names is told by its content.
        let at = |entry: usize| {
            path("/")
                .join((entry / 4).to_string())
                .join(entry.to_string())
        };
        let look = |disk: &SimDisk| -> Vec<Option<Vec<u8>>> {
            (0..8).map(|entry| disk.read(&at(entry)).ok()).collect()
        };
        let mut states = vec![BTreeSet::from([None]); 8];
        // Files that were there at the last sync and only renamed since, by directory.
        let mut kept = [BTreeSet::new(), BTreeSet::new()];
        for step in 0..60u8 {
            let dir = as_usize(draw.below(2));
            let one = dir * 4 + as_usize(draw.below(4));
            let two = dir * 4 + as_usize(draw.below(4));
            let mut synced = false;
            // Many of these fail, for want of a name or because one is taken.
            match draw.below(6) {
                0 | 1 => {
                    if let Ok(file) = disk.open(&at(one), OpenMode::Create) {
                        file.write_all_at(&[step], 0).unwrap();
                        file.sync_data().unwrap();
                    }
                }
                2 => drop(disk.remove(&at(one))),
                3 => {
                    // A new name and the removal of the old one are apart: both may be lost.
                    if disk.link(&at(one), &at(two)).is_ok() {
                        kept[dir].remove(&disk.read(&at(one)).unwrap());
                    }
                }
                4 => drop(disk.rename(&at(one), &at(two))),
                _ => {
                    disk.sync_dir(at(one).parent().unwrap()).unwrap();
                    synced = true;
                }
            }
            let now = look(&disk);
            let here = |names: &[Option<Vec<u8>>]| -> BTreeSet<Vec<u8>> {
                names
                    .iter()
                    .skip(dir * 4)
                    .take(4)
                    .flatten()
                    .cloned()
                    .collect()
            };
            if synced {
                states[dir * 4..][..4].iter_mut().for_each(BTreeSet::clear);
                kept[dir] = here(&now);
            }
            kept[dir] = kept[dir].intersection(&here(&now)).cloned().collect();
            for (states, now) in states.iter_mut().zip(&now) {
                states.insert(now.clone());
            }
            let image = disk.image();
            for variant in LossVariant::ALL {
                let left = look(&image.survive(variant, draw.next()));
                let context = format!("seed {seed} step {step} {variant:?}");
                if !variant.is_power_cut() {
                    assert_eq!(left, now, "{context}");
                }
                for (entry, (left, states)) in left.iter().zip(&states).enumerate() {
                    assert!(states.contains(left), "{context} entry {entry}: {left:?}");
                }
                for (dir, kept) in kept.iter().enumerate() {
                    for file in kept {
                        let found = left[dir * 4..][..4].iter().flatten().any(|f| f == file);
                        assert!(found, "{context}: file {file:?} has no name left");
                    }
                }
            }
        }
    }
}
