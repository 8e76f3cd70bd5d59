//! What every disk does, as one suite. Each case gets a fresh directory.

use std::io::ErrorKind;
use std::path::Path;
use std::thread;

use super::{Disk, OpenMode};

type Case = fn(&dyn Disk, &Path);

/// Runs all cases below `dir`, which exists.
pub(super) fn run(disk: &dyn Disk, dir: &Path) {
    let cases: [(&str, Case); 13] = [
        ("open_modes", open_modes),
        ("reads_and_writes", reads_and_writes),
        ("lengths", lengths),
        ("directories", directories),
        ("renames", renames),
        ("renames_of_directories", renames_of_directories),
        ("links", links),
        ("removals", removals),
        ("syncs", syncs),
        ("locks", locks),
        ("space", space),
        ("threads", threads),
        ("read_only_handles", read_only_handles),
    ];
    for (name, case) in cases {
        let dir = dir.join(name);
        disk.create_dir(&dir).unwrap();
        case(disk, &dir);
    }
}

/// Makes a file that holds `bytes`.
pub(super) fn put(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    disk.open(path, OpenMode::Create)
        .unwrap()
        .write_all_at(bytes, 0)
        .unwrap();
}

/// All bytes of a file, through the seam.
pub(super) fn get(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0xee; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn names(disk: &dyn Disk, dir: &Path) -> Vec<String> {
    let mut names = disk.list(dir).unwrap();
    names.sort();
    names
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("succeeded"),
        Err(error) => error.kind(),
    }
}

fn open_modes(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("file");
    assert_eq!(kind(disk.open(&path, OpenMode::Read)), ErrorKind::NotFound);
    assert_eq!(kind(disk.open(&path, OpenMode::Write)), ErrorKind::NotFound);
    let made = disk.open(&path, OpenMode::Create).unwrap();
    assert!(made.is_empty().unwrap());
    assert_eq!(
        kind(disk.open(&path, OpenMode::Create)),
        ErrorKind::AlreadyExists
    );
    made.write_all_at(b"abc", 0).unwrap();
    let writer = disk.open(&path, OpenMode::Write).unwrap();
    writer.write_all_at(b"X", 1).unwrap();
    assert_eq!(get(disk, &path), b"aXc");
    assert_eq!(
        kind(disk.open(dir, OpenMode::Read)),
        ErrorKind::IsADirectory
    );
    assert_eq!(
        kind(disk.open(dir, OpenMode::Write)),
        ErrorKind::IsADirectory
    );
    let missing = dir.join("missing").join("file");
    assert_eq!(
        kind(disk.open(&missing, OpenMode::Create)),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(disk.open(&path.join("x"), OpenMode::Create)),
        ErrorKind::NotADirectory
    );
}

fn reads_and_writes(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("file");
    let file = disk.open(&path, OpenMode::Create).unwrap();
    file.write_all_at(b"tail", 10_000).unwrap();
    let mut expected = vec![0; 10_000];
    expected.extend_from_slice(b"tail");
    assert_eq!(get(disk, &path), expected, "a hole reads as zeros");
    file.write_all_at(&[5; 5000], 4000).unwrap();
    expected[4000..9000].fill(5);
    assert_eq!(get(disk, &path), expected);
    let mut part = [0; 6];
    file.read_exact_at(&mut part, 9998).unwrap();
    assert_eq!(&part, b"\0\0tail");
    assert_eq!(
        kind(file.read_exact_at(&mut part, 9999)),
        ErrorKind::UnexpectedEof
    );
    assert_eq!(
        kind(file.read_exact_at(&mut part, 20_000)),
        ErrorKind::UnexpectedEof
    );
    file.read_exact_at(&mut [], 20_000).unwrap();
    file.write_all_at(&[], 50_000).unwrap();
    assert_eq!(
        file.len().unwrap(),
        10_004,
        "writing nothing changes nothing"
    );
}

fn lengths(disk: &dyn Disk, dir: &Path) {
    let file = disk.open(&dir.join("file"), OpenMode::Create).unwrap();
    file.write_all_at(&[7; 9000], 0).unwrap();
    file.truncate(5000).unwrap();
    assert_eq!(file.len().unwrap(), 5000);
    file.truncate(9000).unwrap();
    assert_eq!(file.len().unwrap(), 9000);
    let bytes = get(disk, &dir.join("file"));
    assert!(bytes[..5000].iter().all(|b| *b == 7));
    assert!(
        bytes[5000..].iter().all(|b| *b == 0),
        "cut bytes do not come back"
    );
    file.truncate(0).unwrap();
    assert!(file.is_empty().unwrap());
}

fn directories(disk: &dyn Disk, dir: &Path) {
    let deep = dir.join("a").join("b");
    assert_eq!(kind(disk.list(&deep)), ErrorKind::NotFound);
    disk.create_dir(&deep).unwrap();
    disk.create_dir(&deep).unwrap();
    put(disk, &deep.join("file"), b"");
    disk.create_dir(&deep.join("c")).unwrap();
    assert_eq!(names(disk, &deep), ["c", "file"]);
    assert_eq!(names(disk, dir), ["a"]);
    assert_eq!(
        kind(disk.list(&deep.join("file"))),
        ErrorKind::NotADirectory
    );
    assert_eq!(
        kind(disk.create_dir(&deep.join("file"))),
        ErrorKind::AlreadyExists
    );
}

fn renames(disk: &dyn Disk, dir: &Path) {
    let (one, two) = (dir.join("one"), dir.join("two"));
    assert_eq!(kind(disk.rename(&one, &two)), ErrorKind::NotFound);
    put(disk, &one, b"1");
    put(disk, &two, b"2");
    let replaced = disk.open(&two, OpenMode::Read).unwrap();
    let moved = disk.open(&one, OpenMode::Write).unwrap();
    disk.rename(&one, &two).unwrap();
    assert_eq!(names(disk, dir), ["two"]);
    moved.write_all_at(b"!", 1).unwrap();
    assert_eq!(get(disk, &two), b"1!", "a handle follows its file");
    let mut byte = [0];
    replaced.read_exact_at(&mut byte, 0).unwrap();
    assert_eq!(&byte, b"2", "a replaced file lives while it is open");
    disk.rename(&two, &two).unwrap();
    disk.create_dir(&dir.join("sub")).unwrap();
    disk.rename(&two, &dir.join("sub").join("three")).unwrap();
    assert_eq!(names(disk, dir), ["sub"]);
    assert_eq!(get(disk, &dir.join("sub").join("three")), b"1!");
    let nowhere = dir.join("missing").join("three");
    assert_eq!(
        kind(disk.rename(&dir.join("sub").join("three"), &nowhere)),
        ErrorKind::NotFound
    );
}

fn renames_of_directories(disk: &dyn Disk, dir: &Path) {
    let (draft, done) = (dir.join("draft"), dir.join("done"));
    disk.create_dir(&draft).unwrap();
    put(disk, &draft.join("file"), b"x");
    disk.rename(&draft, &done).unwrap();
    assert_eq!(get(disk, &done.join("file")), b"x");
    assert_eq!(names(disk, dir), ["done"]);
    put(disk, &dir.join("plain"), b"");
    assert_eq!(
        kind(disk.rename(&dir.join("plain"), &done)),
        ErrorKind::IsADirectory
    );
    assert_eq!(
        kind(disk.rename(&done, &dir.join("plain"))),
        ErrorKind::NotADirectory
    );
    assert_eq!(
        kind(disk.rename(&done, &done.join("inside"))),
        ErrorKind::InvalidInput
    );
    disk.create_dir(&dir.join("full").join("x")).unwrap();
    assert_eq!(
        kind(disk.rename(&done, &dir.join("full"))),
        ErrorKind::DirectoryNotEmpty
    );
    disk.rename(&done, &dir.join("full").join("x")).unwrap();
    assert_eq!(get(disk, &dir.join("full").join("x").join("file")), b"x");
}

fn links(disk: &dyn Disk, dir: &Path) {
    let (one, two) = (dir.join("one"), dir.join("two"));
    assert_eq!(kind(disk.link(&one, &two)), ErrorKind::NotFound);
    put(disk, &one, b"1");
    disk.link(&one, &two).unwrap();
    assert_eq!(kind(disk.link(&one, &two)), ErrorKind::AlreadyExists);
    disk.open(&one, OpenMode::Write)
        .unwrap()
        .write_all_at(b"2", 0)
        .unwrap();
    assert_eq!(get(disk, &two), b"2", "both names are one file");
    disk.rename(&one, &two).unwrap();
    assert_eq!(names(disk, dir), ["one", "two"], "POSIX: both names stay");
    disk.remove(&one).unwrap();
    assert_eq!(get(disk, &two), b"2");
}

fn removals(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("file");
    assert_eq!(kind(disk.remove(&path)), ErrorKind::NotFound);
    put(disk, &path, b"old");
    let open = disk.open(&path, OpenMode::Write).unwrap();
    disk.remove(&path).unwrap();
    assert!(names(disk, dir).is_empty());
    put(disk, &path, b"new");
    open.write_all_at(b"O", 0).unwrap();
    open.sync_data().unwrap();
    let mut bytes = [0; 3];
    open.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"Old", "a removed file lives while it is open");
    assert_eq!(get(disk, &path), b"new");
    disk.create_dir(&dir.join("sub")).unwrap();
    assert_eq!(kind(disk.remove(&dir.join("sub"))), ErrorKind::IsADirectory);
}

fn syncs(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("file");
    let file = disk.open(&path, OpenMode::Create).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(b"abc", 0).unwrap();
    file.sync_data().unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(dir).unwrap();
    assert_eq!(get(disk, &path), b"abc");
    disk.open(&path, OpenMode::Read)
        .unwrap()
        .sync_data()
        .unwrap();
    assert_eq!(
        kind(disk.sync_dir(&dir.join("missing"))),
        ErrorKind::NotFound
    );
    assert_eq!(kind(disk.sync_dir(&path)), ErrorKind::NotADirectory);
}

fn locks(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("LOCK");
    let held = disk.lock(&path).unwrap();
    assert_eq!(names(disk, dir), ["LOCK"]);
    assert_eq!(kind(disk.lock(&path)), ErrorKind::WouldBlock);
    let other = disk.lock(&dir.join("OTHER")).unwrap();
    drop(held);
    let again = disk.lock(&path).unwrap();
    assert_eq!(kind(disk.lock(&path)), ErrorKind::WouldBlock);
    drop((other, again));
    assert_eq!(
        kind(disk.lock(&dir.join("missing").join("LOCK"))),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(disk.lock_existing(&dir.join("THIRD"))),
        ErrorKind::NotFound
    );
    let mut after = names(disk, dir);
    after.sort();
    assert_eq!(after, ["LOCK", "OTHER"], "nothing is made");
    let held = disk.lock_existing(&path).unwrap();
    assert_eq!(kind(disk.lock(&path)), ErrorKind::WouldBlock);
    assert_eq!(kind(disk.lock_existing(&path)), ErrorKind::WouldBlock);
    drop(held);
    drop(disk.lock(&path).unwrap());
}

fn space(disk: &dyn Disk, dir: &Path) {
    let space = disk.space(dir).unwrap();
    assert!(
        space.free_bytes <= space.total_bytes && space.total_bytes > 0,
        "{space:?}"
    );
    assert_eq!(kind(disk.space(&dir.join("missing"))), ErrorKind::NotFound);
    assert_eq!(disk.boot_id(), disk.boot_id());
}

fn threads(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("file");
    let file = disk.open(&path, OpenMode::Create).unwrap();
    thread::scope(|scope| {
        for part in 0..4u8 {
            let file = &file;
            scope.spawn(move || {
                for step in 0..25 {
                    let at = u64::from(part) * 100_000 + step * 4000;
                    file.write_all_at(&[part + 1; 4000], at).unwrap();
                    let mut seen = [0; 4000];
                    file.read_exact_at(&mut seen, at).unwrap();
                    assert_eq!(seen, [part + 1; 4000], "what was written is read at once");
                }
                file.sync_data().unwrap();
            });
        }
    });
    let bytes = get(disk, &path);
    assert_eq!(bytes.len(), 400_000);
    for (part, bytes) in bytes.chunks(100_000).enumerate() {
        assert!(
            bytes.iter().all(|b| usize::from(*b) == part + 1),
            "part {part}"
        );
    }
}

fn read_only_handles(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("file");
    put(disk, &path, b"abc");
    let file = disk.open(&path, OpenMode::Read).unwrap();
    assert!(file.write_all_at(b"x", 0).is_err());
    assert!(file.truncate(0).is_err());
    assert_eq!(get(disk, &path), b"abc");
}
