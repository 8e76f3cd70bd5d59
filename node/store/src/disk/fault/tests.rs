use std::io::ErrorKind;
use std::time::Instant;

use super::*;
use crate::disk::conformance;
use crate::disk::sim::LossVariant;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn disk() -> (SimDisk, FaultDisk) {
    let sim = SimDisk::new();
    let fault = FaultDisk::over_sim(sim.clone());
    (sim, fault)
}

#[test]
fn conforms_without_rules() {
    conformance::run(&FaultDisk::new(Arc::new(SimDisk::new())), Path::new("/"));
    conformance::run(&disk().1, Path::new("/"));
}

#[test]
fn the_nth_call_on_a_path_fails_and_no_other() {
    let (_, disk) = disk();
    let wal = disk.open(Path::new("wal-1"), OpenMode::Create).unwrap();
    let table = disk.open(Path::new("table-1"), OpenMode::Create).unwrap();
    let rule = disk.add(
        Rule::on(CallKind::Write)
            .path("wal")
            .nth(2)
            .fail(Failure::Eio),
    );
    wal.write_all_at(b"1", 0).unwrap();
    table.write_all_at(b"1", 0).unwrap();
    let error = wal.write_all_at(b"2", 1).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(EIO));
    wal.write_all_at(b"3", 1).unwrap();
    assert_eq!(disk.picked(rule), 1);
    assert_eq!(conformance::get(&disk, Path::new("wal-1")), b"13");
}

#[test]
fn a_rule_holds_until_it_is_removed() {
    let (_, disk) = disk();
    let file = disk.open(Path::new("f"), OpenMode::Create).unwrap();
    let rule = disk.add(
        Rule::any()
            .from_nth(2)
            .fail(Failure::Kind(ErrorKind::PermissionDenied)),
    );
    file.len().unwrap();
    assert_eq!(file.len().unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert!(disk.space(Path::new("/")).is_err());
    disk.remove_rule(rule);
    file.len().unwrap();
    disk.add(Rule::on(CallKind::Len).fail(Failure::Os(EIO)));
    assert_eq!(file.len().unwrap_err().raw_os_error(), Some(EIO));
    disk.clear();
    file.len().unwrap();
}

#[test]
fn every_kind_of_call_can_fail() {
    let (sim, disk) = disk();
    let (f, g, d) = (Path::new("/f"), Path::new("/g"), Path::new("/d"));
    let file = disk.open(f, OpenMode::Create).unwrap();
    file.write_all_at(b"x", 0).unwrap();
    let before = sim.dump();
    type Call<'a> = Box<dyn Fn() -> io::Result<()> + 'a>;
    let calls: [(CallKind, Call<'_>); 15] = [
        (
            CallKind::Open,
            Box::new(|| disk.open(f, OpenMode::Read).map(drop)),
        ),
        (
            CallKind::Create,
            Box::new(|| disk.open(g, OpenMode::Create).map(drop)),
        ),
        (CallKind::CreateDir, Box::new(|| disk.create_dir(d))),
        (
            CallKind::List,
            Box::new(|| disk.list(Path::new("/")).map(drop)),
        ),
        (CallKind::Rename, Box::new(|| disk.rename(f, g))),
        (CallKind::Remove, Box::new(|| disk.remove(f))),
        (CallKind::Link, Box::new(|| disk.link(f, g))),
        (
            CallKind::SyncDir,
            Box::new(|| disk.sync_dir(Path::new("/"))),
        ),
        (
            CallKind::Space,
            Box::new(|| disk.space(Path::new("/")).map(drop)),
        ),
        (CallKind::Lock, Box::new(|| disk.lock(g).map(drop))),
        (CallKind::Read, Box::new(|| file.read_exact_at(&mut [0], 0))),
        (CallKind::Write, Box::new(|| file.write_all_at(b"yy", 0))),
        (CallKind::SyncData, Box::new(|| file.sync_data())),
        (CallKind::Truncate, Box::new(|| file.truncate(9))),
        (CallKind::Len, Box::new(|| file.len().map(drop))),
    ];
    for (kind, call) in calls {
        let rule = disk.add(Rule::on(kind).fail(Failure::Enospc));
        let error = call().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(ENOSPC), "{kind:?}");
        assert_eq!(disk.picked(rule), 1, "{kind:?}");
        disk.remove_rule(rule);
        assert_eq!(sim.dump(), before, "{kind:?} without effect");
    }
}

#[test]
fn a_short_write_leaves_its_first_bytes() {
    let (_, disk) = disk();
    let path = Path::new("f");
    let file = disk.open(path, OpenMode::Create).unwrap();
    disk.add(
        Rule::on(CallKind::Write)
            .after_bytes(3)
            .fail(Failure::Enospc),
    );
    let error = file.write_all_at(b"abcdef", 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(conformance::get(&disk, path), b"abc");
}

#[test]
fn a_failure_after_the_effect_leaves_the_effect() {
    let (_, disk) = disk();
    conformance::put(&disk, Path::new("tmp"), b"x");
    disk.add(
        Rule::on(CallKind::Rename)
            .path("final")
            .after_effect()
            .fail(Failure::Eio),
    );
    disk.rename(Path::new("tmp"), Path::new("final"))
        .unwrap_err();
    assert_eq!(conformance::get(&disk, Path::new("final")), b"x");
}

#[test]
fn bytes_of_a_failed_sync_are_gone_although_a_later_sync_succeeds() {
    let (sim, disk) = disk();
    let path = Path::new("log");
    let file = disk.open(path, OpenMode::Create).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file.write_all_at(b"aaaa", 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(b"bb", 0).unwrap();
    // The file is known by another name by now, as a recycled segment is.
    disk.rename(path, Path::new("log2")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let rule = disk.add(
        Rule::on(CallKind::SyncData)
            .after_effect()
            .fail(Failure::Eio),
    );
    file.sync_data().unwrap_err();
    disk.remove_rule(rule);
    file.write_all_at(b"cc", 2).unwrap();
    file.sync_data().unwrap();
    assert_eq!(
        conformance::get(&disk, Path::new("log2")),
        b"bbcc",
        "the cache still has them"
    );
    let left = sim.image().survive(LossVariant::KeepPrefix, 1);
    assert_eq!(
        left.read(Path::new("log2")).unwrap(),
        b"aacc",
        "the drive never got them"
    );
}

#[test]
fn a_late_call_is_late_and_does_its_work() {
    let (_, disk) = disk();
    let file = disk.open(Path::new("f"), OpenMode::Create).unwrap();
    disk.add(Rule::on(CallKind::SyncData).delay(Duration::from_millis(20)));
    let start = Instant::now();
    file.sync_data().unwrap();
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert!(
        format!("{disk:?}").contains("SyncData"),
        "rules are shown in messages"
    );
}
