use std::io::ErrorKind;
use std::sync::mpsc;

use super::*;
use crate::disk::conformance::{self, get, put};

pub(super) const SEEDS: u64 = 200;

pub(super) fn path(text: &str) -> &Path {
    Path::new(text)
}

/// A disk with one durable file `/f` that holds `bytes`, and the file.
pub(super) fn with_file(bytes: &[u8]) -> (SimDisk, Arc<dyn File>) {
    let disk = SimDisk::new();
    let file = disk.open(path("/f"), OpenMode::Create).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(path("/")).unwrap();
    (disk, file)
}

pub(super) fn list(disk: &SimDisk, dir: &str) -> Vec<String> {
    disk.list(path(dir)).unwrap()
}

#[test]
fn conforms() {
    let disk = SimDisk::new();
    conformance::run(&disk, path("/"));
    let calls = disk.calls();
    assert!(
        calls.of(CallKind::Write) > 0 && calls.changes() > 0,
        "{calls}"
    );
}

#[test]
fn only_synced_bytes_are_sure() {
    let (disk, file) = with_file(b"old");
    file.write_all_at(b"newer", 0).unwrap();
    let before = disk.image();
    assert_eq!(before.unsynced_changes(), 1);
    file.sync_data().unwrap();
    file.write_all_at(b"last!", 0).unwrap();
    let left = before.survive(LossVariant::LoseUnsynced, 0);
    assert_eq!(
        get(&left, path("/f")),
        b"old",
        "an image does not change afterwards"
    );
    for variant in LossVariant::ALL
        .into_iter()
        .filter(|v| *v != LossVariant::TearLast)
    {
        let left = get(&disk.image().survive(variant, 7), path("/f"));
        assert!(
            left == b"newer" || left == b"last!",
            "{variant:?}: {left:?}"
        );
    }
    let left = disk.image().survive(LossVariant::LoseUnsynced, 0);
    assert_eq!(get(&left, path("/f")), b"newer");
    assert_eq!(
        left.image().unsynced_changes(),
        0,
        "what a restart finds is durable"
    );
}

#[test]
fn a_sync_covers_its_own_file_only() {
    let disk = SimDisk::new();
    let one = disk.open(path("/1"), OpenMode::Create).unwrap();
    let two = disk.open(path("/2"), OpenMode::Create).unwrap();
    one.write_all_at(b"1", 0).unwrap();
    two.write_all_at(b"2", 0).unwrap();
    disk.sync_dir(path("/")).unwrap();
    two.sync_data().unwrap();
    let left = disk.image().survive(LossVariant::LoseUnsynced, 0);
    assert_eq!(
        get(&left, path("/1")),
        b"",
        "the name is durable, the bytes are not"
    );
    assert_eq!(get(&left, path("/2")), b"2");
}

#[test]
fn names_are_lost_until_their_directory_is_synced() {
    let disk = SimDisk::new();
    disk.create_dir(path("/a/b")).unwrap();
    put(&disk, path("/a/b/f"), b"x");
    disk.open(path("/a/b/f"), OpenMode::Read)
        .unwrap()
        .sync_data()
        .unwrap();
    let cut = || disk.image().survive(LossVariant::LoseUnsynced, 0);
    disk.sync_dir(path("/a/b")).unwrap();
    assert!(
        list(&cut(), "/").is_empty(),
        "the directories themselves are not durable"
    );
    disk.sync_dir(path("/")).unwrap();
    assert!(list(&cut(), "/a").is_empty());
    disk.sync_dir(path("/a")).unwrap();
    assert_eq!(get(&cut(), path("/a/b/f")), b"x");
    disk.remove(path("/a/b/f")).unwrap();
    assert_eq!(
        get(&cut(), path("/a/b/f")),
        b"x",
        "an unsynced removal comes back"
    );
    disk.sync_dir(path("/a/b")).unwrap();
    assert!(list(&cut(), "/a/b").is_empty());
    assert!(!disk.dump().contains("name unsynced"), "{}", disk.dump());
}

#[test]
fn a_rename_across_directories_needs_both_syncs() {
    for (first, second) in [("/a", "/b"), ("/b", "/a")] {
        let disk = SimDisk::new();
        for dir in ["/a", "/b"] {
            disk.create_dir(path(dir)).unwrap();
        }
        put(&disk, path("/a/f"), b"");
        disk.sync_dir(path("/")).unwrap();
        disk.sync_dir(path("/a")).unwrap();
        disk.rename(path("/a/f"), path("/b/g")).unwrap();
        let files = |disk: &SimDisk| (list(disk, "/a").len(), list(disk, "/b").len());
        disk.sync_dir(path(first)).unwrap();
        let image = disk.image();
        assert_eq!(
            files(&image.survive(LossVariant::LoseUnsynced, 0)),
            (1, 0),
            "{first}"
        );
        for seed in 0..SEEDS {
            let (a, b) = files(&image.survive(LossVariant::RandomSectors, seed));
            assert_eq!(a + b, 1, "{first} seed {seed}");
        }
        disk.sync_dir(path(second)).unwrap();
        let left = disk.image().survive(LossVariant::LoseUnsynced, 0);
        assert_eq!(files(&left), (0, 1), "{first}");
    }
}

#[test]
fn a_later_synced_entry_brings_its_earlier_ones() {
    let disk = SimDisk::new();
    for dir in ["/a", "/b"] {
        disk.create_dir(path(dir)).unwrap();
    }
    disk.sync_dir(path("/")).unwrap();
    put(&disk, path("/a/f"), b"");
    disk.rename(path("/a/f"), path("/b/f")).unwrap();
    disk.remove(path("/b/f")).unwrap();
    disk.sync_dir(path("/b")).unwrap();
    disk.sync_dir(path("/a")).unwrap();
    let left = disk.image().survive(LossVariant::LoseUnsynced, 0);
    assert!(
        list(&left, "/a").is_empty() && list(&left, "/b").is_empty(),
        "{}",
        left.dump()
    );
}

#[test]
fn a_kill_keeps_everything_and_a_power_cut_after_it_does_not() {
    let (disk, file) = with_file(b"old");
    file.write_all_at(b"new", 0).unwrap();
    put(&disk, path("/g"), b"g");
    let _lock = disk.lock(path("/LOCK")).unwrap();
    let killed = disk.image().survive(LossVariant::KeepAll, 3);
    assert_eq!(killed.boot_id(), disk.boot_id());
    assert_eq!(get(&killed, path("/f")), b"new");
    assert_eq!(get(&killed, path("/g")), b"g");
    drop(
        killed
            .lock(path("/LOCK"))
            .expect("the lock ended with its process"),
    );
    let cut = killed.image().survive(LossVariant::LoseUnsynced, 3);
    assert_eq!(get(&cut, path("/f")), b"old");
    assert_eq!(list(&cut, "/"), ["f"]);
    file.write_all_at(b"abc", 0).unwrap();
    assert_eq!(
        get(&killed, path("/f")),
        b"new",
        "the dead process writes no more"
    );
}

#[test]
fn every_call_that_changes_something_has_two_moments() {
    let disk = SimDisk::new();
    let (send, seen) = mpsc::channel();
    disk.on_call(move |call| {
        let bytes = call
            .image()
            .survive(LossVariant::KeepAll, 0)
            .read(path("/f"));
        send.send((call.index, call.kind, call.moment, bytes.ok()))
            .unwrap();
    });
    let file = disk.open(path("/f"), OpenMode::Create).unwrap();
    file.len().unwrap();
    file.write_all_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    disk.clear_hook();
    disk.sync_dir(path("/")).unwrap();
    let (empty, full) = (Some(Vec::new()), Some(b"x".to_vec()));
    let expected = [
        (0, CallKind::Create, Moment::Before, None),
        (0, CallKind::Create, Moment::After, empty.clone()),
        (1, CallKind::Write, Moment::Before, empty),
        (1, CallKind::Write, Moment::After, full.clone()),
        (2, CallKind::SyncData, Moment::Before, full.clone()),
        (2, CallKind::SyncData, Moment::After, full),
    ];
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), expected);
    assert_eq!(disk.calls().changes(), 4);
    assert_eq!(
        disk.calls().to_string(),
        "Create 1, SyncDir 1, Write 1, SyncData 1, Len 1"
    );
}

#[test]
fn growth_past_the_free_space_fails_after_the_part_that_fits() {
    let (disk, file) = with_file(&[1; 4096]);
    disk.set_space(Space {
        free_bytes: 2 * 4096,
        total_bytes: 100 * 4096,
    });
    file.truncate(50 * 4096).unwrap();
    let error = file.write_all_at(&[2; 5 * 4096], 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(disk.space(path("/")).unwrap().free_bytes, 0);
    let bytes = get(&disk, path("/f"));
    assert!(
        bytes[..3 * 4096].iter().all(|b| *b == 2),
        "the part that fits"
    );
    assert!(bytes[3 * 4096..].iter().all(|b| *b == 0));
    file.write_all_at(&[3; 3 * 4096], 0)
        .expect("no growth, no space needed");
    put(&disk, path("/empty"), b"");
    file.truncate(4096).unwrap();
    assert_eq!(disk.space(path("/")).unwrap().free_bytes, 2 * 4096);
    disk.remove(path("/f")).unwrap();
    assert_eq!(
        disk.space(path("/")).unwrap().free_bytes,
        2 * 4096,
        "still open"
    );
    drop(file);
    let space = disk.space(path("/")).unwrap();
    assert_eq!(
        space,
        Space {
            free_bytes: 3 * 4096,
            total_bytes: 100 * 4096
        }
    );
    let left = disk.image().survive(LossVariant::LoseUnsynced, 0);
    assert_eq!(
        left.space(path("/")).unwrap().free_bytes,
        2 * 4096,
        "the removal was not synced"
    );
}

#[test]
fn files_out_of_bounds_are_refused() {
    let (disk, file) = with_file(b"x");
    assert_eq!(
        file.write_all_at(b"x", u64::MAX).unwrap_err().kind(),
        ErrorKind::FileTooLarge
    );
    assert_eq!(
        file.truncate(1 << 60).unwrap_err().kind(),
        ErrorKind::FileTooLarge
    );
    assert_eq!(
        disk.list(path("/../x")).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        disk.remove(path("/")).unwrap_err().kind(),
        ErrorKind::IsADirectory
    );
}

#[test]
fn a_sync_that_is_switched_off_saves_nothing() {
    let (disk, file) = with_file(b"old");
    disk.ignore_syncs(CallKind::SyncData, "f");
    disk.ignore_syncs(CallKind::SyncDir, "/");
    file.write_all_at(b"new", 0).unwrap();
    file.sync_data().unwrap();
    put(&disk, path("/g"), b"g");
    disk.open(path("/g"), OpenMode::Write)
        .unwrap()
        .sync_data()
        .unwrap();
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(disk.ignored_syncs(), 2);
    let left = disk.image().survive(LossVariant::LoseUnsynced, 0);
    assert_eq!(get(&left, path("/f")), b"old");
    assert_eq!(list(&left, "/"), ["f"]);
    left.open(path("/f"), OpenMode::Write)
        .unwrap()
        .sync_data()
        .unwrap();
    assert_eq!(left.ignored_syncs(), 0);
}

#[test]
fn corruption_is_on_the_drive_too() {
    let (disk, file) = with_file(b"abc");
    file.write_all_at(b"x", 3).unwrap();
    disk.corrupt(path("/f"), |bytes| bytes[1] ^= 1).unwrap();
    assert_eq!(get(&disk, path("/f")), b"accx");
    let left = disk.image().survive(LossVariant::LoseUnsynced, 0);
    assert_eq!(get(&left, path("/f")), b"accx");
    disk.corrupt(path("/f"), |bytes| bytes.truncate(1)).unwrap();
    assert_eq!(file.len().unwrap(), 1);
    assert_eq!(
        disk.corrupt(path("/x"), |_| ()).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn a_boot_id_can_be_set_and_a_dump_tells_what_is_unsynced() {
    let (disk, file) = with_file(b"abc");
    disk.set_boot_id(9);
    assert_eq!(disk.boot_id(), 9);
    file.write_all_at(b"x", 3).unwrap();
    disk.create_dir(path("/d")).unwrap();
    assert_eq!(disk.dump(), "/d/, name unsynced\n/f 4 bytes, 1 unsynced\n");
}

#[test]
fn the_oldest_changes_are_written_back_at_the_limit() {
    let (disk, file) = with_file(b"");
    let chunk = vec![5; 1 << 20];
    for step in 0..257 {
        file.write_all_at(&chunk, (step % 4) << 20).unwrap();
    }
    let left = disk.image().survive(LossVariant::LoseUnsynced, 0);
    assert_eq!(get(&left, path("/f")).len(), 4 << 20);
    assert!(disk.image().unsynced_changes() < 200);
}

#[test]
fn dropped_pages_stay_readable_and_never_become_durable() {
    let (disk, file) = with_file(b"aaaa");
    file.write_all_at(b"bb", 0).unwrap();
    disk.drop_unsynced(path("/f")).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(b"c", 3).unwrap();
    file.sync_data().unwrap();
    assert_eq!(get(&disk, path("/f")), b"bbac");
    assert_eq!(
        get(&disk.image().survive(LossVariant::KeepAll, 0), path("/f")),
        b"bbac"
    );
    assert_eq!(
        get(
            &disk.image().survive(LossVariant::LoseUnsynced, 0),
            path("/f")
        ),
        b"aaac"
    );
}
