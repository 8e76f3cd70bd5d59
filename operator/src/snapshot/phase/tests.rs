mod claims;

use super::*;
use crate::node_client::Cut;

const UID: &str = "instance-1";
const BOOT: &str = "boot-1";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn snapshot() -> GoDbSnapshot {
    let mut snapshot = godb_crds::examples::snapshot("monday", "people", None);
    snapshot.metadata.namespace = Some("ns".to_owned());
    snapshot.metadata.uid = Some("uid-1".to_owned());
    snapshot.metadata.generation = Some(1);
    snapshot
}

fn up() -> Instance {
    Instance::Up {
        uid: UID.to_owned(),
        version: "0.1.0".to_owned(),
    }
}

fn answer(boot_id: &str, lsn: Option<i64>) -> Result<CutAnswer, String> {
    Ok(CutAnswer {
        boot_id: boot_id.to_owned(),
        cut: lsn.map(|lsn| Cut {
            lsn,
            size_bytes: 4096,
            documents: Some(3),
        }),
    })
}

fn observed(instance: Instance, cut: Result<CutAnswer, String>) -> Observed {
    Observed {
        instance,
        cut,
        target: Target::OwnVolume,
        work: Work::Absent,
        busy: None,
    }
}

/// The snapshot after a step, at second 0.
fn after(snapshot: &GoDbSnapshot, observed: &Observed, second: i64) -> (GoDbSnapshot, Next) {
    let next = next(snapshot, observed, at(second));
    let mut stepped = snapshot.clone();
    stepped.status = Some(next.status.clone());
    (stepped, next)
}

fn cutting_since_0() -> GoDbSnapshot {
    let (snapshot, next) = after(&snapshot(), &observed(up(), answer(BOOT, None)), 0);
    assert_eq!(next.act, Some(Act::Cut));
    snapshot
}

fn says(status: &GoDbSnapshotStatus) -> (&str, &str) {
    let said = &status.conditions[0];
    assert_eq!(said.type_, kind::SUCCEEDED);
    (&said.status, &said.reason)
}

/// Phase, condition and act of a snapshot that `first` led to and `then` is seen of.
#[track_caller]
fn check(
    first: &GoDbSnapshot,
    then: Observed,
    second: i64,
    phase: SnapshotPhase,
    said: (&str, &str),
    act: Option<Act>,
) {
    let next = next(first, &then, at(second));
    assert_eq!(next.status.phase, phase, "{then:?}");
    assert_eq!(says(&next.status), said, "{then:?}");
    assert_eq!(next.act, act, "{then:?}");
    assert_eq!(
        next.look_after.is_none(),
        phase.is_final(),
        "what goes on is looked at again, what has ended is not"
    );
    assert_eq!(next.status.completed_at.is_some(), phase.is_final());
}

#[test]
fn the_life_that_is_asked_is_known_before_anything_is_asked() {
    let snapshot = cutting_since_0();
    let status = snapshot.status.unwrap();
    assert_eq!(status.phase, SnapshotPhase::Cutting);
    assert_eq!(status.boot_id.as_deref(), Some(BOOT));
    assert_eq!(status.instance_uid.as_deref(), Some(UID));
    assert_eq!(status.location.unwrap().name, "monday.uid-1");
}

#[test]
fn it_waits_for_its_instance_and_not_for_ever() {
    let silent = || Err("no answer".to_owned());
    let uid = || UID.to_owned();
    for instance in [
        Instance::Missing,
        Instance::Paused(uid()),
        Instance::Stopped(uid()),
        Instance::Down(uid()),
        up(),
    ] {
        let seen = observed(instance, silent());
        let (waiting, _) = after(&snapshot(), &seen, 0);
        check(
            &waiting,
            seen.clone(),
            3599,
            SnapshotPhase::Pending,
            ("Unknown", reason::WAITING),
            None,
        );
        check(
            &waiting,
            seen,
            3600,
            SnapshotPhase::Failed,
            ("False", reason::DEADLINE_EXCEEDED),
            None,
        );
    }
}

#[test]
fn nothing_is_asked_of_an_instance_that_is_paused() {
    let paused = observed(Instance::Paused(UID.to_owned()), answer(BOOT, None));
    let (_, next) = after(&snapshot(), &paused, 0);
    assert_eq!(
        (next.act, next.status.phase),
        (None, SnapshotPhase::Pending)
    );
    let (_, next) = after(&cutting_since_0(), &paused, 1);
    assert_eq!(
        (next.act, next.status.phase),
        (None, SnapshotPhase::Cutting)
    );
}

#[test]
fn a_cut_ends_well_or_says_why_not() {
    let cutting = cutting_since_0();
    let failed = SnapshotPhase::Failed;
    check(
        &cutting,
        observed(up(), answer(BOOT, Some(7))),
        1,
        SnapshotPhase::Succeeded,
        ("True", reason::AS_EXPECTED),
        None,
    );
    // Made before the node restarted: it is there, and that is what counts.
    check(
        &cutting,
        observed(up(), answer("boot-2", Some(7))),
        1,
        SnapshotPhase::Succeeded,
        ("True", reason::AS_EXPECTED),
        None,
    );
    check(
        &cutting,
        observed(up(), answer(BOOT, None)),
        1,
        SnapshotPhase::Cutting,
        ("Unknown", reason::UNDER_WAY),
        Some(Act::Cut),
    );
    check(
        &cutting,
        observed(up(), answer("boot-2", None)),
        1,
        failed,
        ("False", reason::NODE_RESTARTED),
        None,
    );
    check(
        &cutting,
        observed(up(), Err("no answer".to_owned())),
        599,
        SnapshotPhase::Cutting,
        ("Unknown", reason::WAITING),
        None,
    );
    for late in [answer(BOOT, None), Err("no answer".to_owned())] {
        check(
            &cutting,
            observed(up(), late),
            600,
            failed,
            ("False", reason::DEADLINE_EXCEEDED),
            None,
        );
    }
    check(
        &cutting,
        observed(Instance::Missing, Err("no node".to_owned())),
        1,
        failed,
        ("False", reason::INSTANCE_GONE),
        None,
    );
    let another = Instance::Up {
        uid: "instance-2".to_owned(),
        version: "0.1.0".to_owned(),
    };
    check(
        &cutting,
        observed(another, answer(BOOT, Some(7))),
        1,
        failed,
        ("False", reason::INSTANCE_GONE),
        None,
    );
}

#[test]
fn a_clock_that_was_set_back_ends_nothing() {
    let cutting = cutting_since_0();
    check(
        &cutting,
        observed(up(), answer(BOOT, None)),
        -86_400,
        SnapshotPhase::Cutting,
        ("Unknown", reason::UNDER_WAY),
        Some(Act::Cut),
    );
}

#[test]
fn a_look_that_finds_nothing_new_writes_nothing() {
    let silent = observed(up(), Err("no answer".to_owned()));
    let (waiting, _) = after(&snapshot(), &silent, 0);
    assert_eq!(after(&waiting, &silent, 60).0, waiting);
    let same = observed(up(), answer(BOOT, None));
    let (cutting, _) = after(&cutting_since_0(), &same, 1);
    assert_eq!(after(&cutting, &same, 60).0, cutting);
}

#[test]
fn what_has_ended_stays_as_it_is() {
    let (done, _) = after(
        &cutting_since_0(),
        &observed(up(), answer(BOOT, Some(7))),
        1,
    );
    let status = done.status.as_ref().unwrap();
    assert_eq!((status.lsn, status.size_bytes), (Some(7), Some(4096)));
    assert!(!status.survives_volume_loss);
    let gone = observed(Instance::Missing, Err("no node".to_owned()));
    let (again, next) = after(&done, &gone, 1_000_000);
    assert_eq!(again, done);
    assert_eq!((next.act, next.look_after), (None, None));
    let failed = refused(status, &done, "507: full", at(2));
    assert_eq!(says(&failed.status), ("False", reason::CUT_REFUSED));
}

#[test]
fn another_object_of_the_same_name_is_another_snapshot() {
    let mut again = snapshot();
    again.metadata.uid = Some("uid-2".to_owned());
    assert_ne!(cut_name(&again), cut_name(&snapshot()));
}

#[test]
fn the_data_goes_first_and_wedges_nothing() {
    let mut deleted = cutting_since_0();
    deleted.metadata.deletion_timestamp = Some(Time(at(0)));
    let removal_at =
        |second, instance, cut| removal(&deleted, &observed(instance, cut), at(second));
    let silent = || Err("no answer".to_owned());
    let paused = || Instance::Paused(UID.to_owned());
    assert_eq!(removal_at(1, up(), answer(BOOT, Some(7))), Removal::AskNode);
    assert_eq!(
        removal_at(1, paused(), answer(BOOT, Some(7))),
        Removal::AskNode
    );
    assert_eq!(removal_at(2, up(), answer(BOOT, None)), Removal::Done);
    assert!(matches!(removal_at(1, up(), silent()), Removal::Wait(_)));
    let stopped = || Instance::Stopped(UID.to_owned());
    assert!(matches!(
        removal_at(1, stopped(), silent()),
        Removal::Wait(_)
    ));
    for late in [up(), stopped()] {
        let Removal::Leave(message) = removal_at(600, late, silent()) else {
            panic!("a finalizer must not hold for ever");
        };
        assert!(message.contains("monday.uid-1"), "{message}");
    }
    assert!(matches!(
        removal_at(1, Instance::Missing, silent()),
        Removal::Leave(_)
    ));
    // It is pulled from, or the node cannot: not for ever either.
    let refusing = removal_at(600, up(), answer(BOOT, Some(7)));
    assert!(matches!(refusing, Removal::Leave(_)));
    // Nothing was ever asked for.
    let never = snapshot();
    let seen = observed(up(), silent());
    assert_eq!(removal(&never, &seen, at(0)), Removal::Done);
    let mut kept = deleted.clone();
    kept.spec.deletion_policy = DeletionPolicy::Retain;
    assert_eq!(removal(&kept, &seen, at(0)), Removal::Done);
}
