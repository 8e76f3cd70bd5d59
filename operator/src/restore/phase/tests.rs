use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn restore() -> GoDbRestore {
    let mut restore = godb_crds::examples::restore("undo", "people", "monday");
    restore.metadata.namespace = Some("ns".to_owned());
    restore.metadata.uid = Some("uid-1".to_owned());
    restore
}

fn location() -> SnapshotLocation {
    SnapshotLocation {
        name: "monday.uid-7".to_owned(),
        claim: Some("backups".to_owned()),
        path: Some("ns/instance-1".to_owned()),
        instance: None,
        s3: None,
    }
}

fn instance(lock: Lock) -> Instance {
    Instance {
        uid: "instance-1".to_owned(),
        is_paused: false,
        is_stopped: false,
        has_wal_volume: false,
        has_volume: true,
        is_down: false,
        is_ready: false,
        lock,
    }
}

fn observed(instance: Instance, work: Work) -> Observed {
    Observed {
        source: Source::There(location()),
        instance: Some(instance),
        work,
        workers: 0,
    }
}

fn in_phase(phase: RestorePhase) -> GoDbRestore {
    let mut restore = restore();
    restore.status = Some(GoDbRestoreStatus {
        phase,
        phase_since: Some(Time(at(0))),
        instance_uid: Some("instance-1".to_owned()),
        location: Some(location()),
        ..GoDbRestoreStatus::default()
    });
    restore
}

#[track_caller]
fn check(
    first: &GoDbRestore,
    then: &Observed,
    second: i64,
    phase: RestorePhase,
    why: &str,
    act: Option<Act>,
) {
    let next = next(first, then, at(second));
    assert_eq!(next.status.phase, phase, "{then:?}");
    assert_eq!(next.status.conditions[0].reason, why, "{then:?}");
    assert_eq!(next.act, act, "{then:?}");
    assert!(
        next.look_after.is_some(),
        "what has ended has a lock to give back"
    );
}

#[test]
fn it_goes_from_lock_to_lock() {
    let free = observed(instance(Lock::Free), Work::Absent);
    check(
        &restore(),
        &free,
        0,
        RestorePhase::Locked,
        reason::UNDER_WAY,
        Some(Act::Lock),
    );
    let locked = in_phase(RestorePhase::Locked);
    check(
        &locked,
        &free,
        1,
        RestorePhase::Locked,
        reason::UNDER_WAY,
        Some(Act::Lock),
    );
    let mine = observed(instance(Lock::Mine), Work::Absent);
    check(
        &locked,
        &mine,
        1,
        RestorePhase::Locked,
        reason::UNDER_WAY,
        None,
    );
    let down = |work| {
        let down = Instance {
            is_down: true,
            ..instance(Lock::Mine)
        };
        observed(down, work)
    };
    let gone = down(Work::Absent);
    check(
        &locked,
        &gone,
        1,
        RestorePhase::Copying,
        reason::UNDER_WAY,
        Some(Act::Copy),
    );
    let copying = in_phase(RestorePhase::Copying);
    check(
        &copying,
        &gone,
        1,
        RestorePhase::Copying,
        reason::UNDER_WAY,
        Some(Act::Copy),
    );
    let runs = down(Work::Running(None));
    check(
        &copying,
        &runs,
        1,
        RestorePhase::Copying,
        reason::UNDER_WAY,
        None,
    );
    let done = down(Work::Done);
    check(
        &copying,
        &done,
        1,
        RestorePhase::Starting,
        reason::UNDER_WAY,
        None,
    );
    let starting = in_phase(RestorePhase::Starting);
    check(
        &starting,
        &done,
        1,
        RestorePhase::Starting,
        reason::UNDER_WAY,
        Some(Act::Unlock),
    );
    let ready = observed(
        Instance {
            is_ready: true,
            ..instance(Lock::Free)
        },
        Work::Done,
    );
    check(
        &starting,
        &ready,
        1,
        RestorePhase::Succeeded,
        reason::AS_EXPECTED,
        None,
    );
    let stopped = observed(
        Instance {
            is_stopped: true,
            ..instance(Lock::Free)
        },
        Work::Done,
    );
    check(
        &starting,
        &stopped,
        1,
        RestorePhase::Succeeded,
        reason::AS_EXPECTED,
        None,
    );
    let over = next(&in_phase(RestorePhase::Succeeded), &ready, at(9));
    assert_eq!((over.act, over.look_after), (None, None));
}

#[test]
fn no_job_comes_while_a_pod_may_use_the_volume() {
    let up = observed(instance(Lock::Mine), Work::Absent);
    for phase in [RestorePhase::Locked, RestorePhase::Copying] {
        assert_eq!(next(&in_phase(phase), &up, at(1)).act, None, "{phase:?}");
    }
}

#[test]
fn the_lock_stays_until_the_last_worker_is_gone() {
    for phase in [RestorePhase::Failed, RestorePhase::Succeeded] {
        let ended = in_phase(phase);
        let mut seen = observed(instance(Lock::Mine), Work::Failed("x".to_owned()));
        seen.workers = 1;
        assert_eq!(next(&ended, &seen, at(1)).act, Some(Act::End));
        seen.workers = 0;
        assert_eq!(next(&ended, &seen, at(1)).act, Some(Act::Unlock));
        seen.work = Work::Running(None);
        assert_eq!(next(&ended, &seen, at(1)).act, Some(Act::End));
        let free = observed(instance(Lock::Free), Work::Absent);
        assert_eq!(next(&ended, &free, at(1)).act, None);
        let theirs = observed(instance(Lock::Other("b".to_owned())), Work::Absent);
        assert_eq!(
            next(&ended, &theirs, at(1)).act,
            None,
            "not ours to give back"
        );
    }
    assert_eq!(release(&observed(instance(Lock::Free), Work::Absent)), None);
}

#[test]
fn what_cannot_be_restored_changes_nothing() {
    let free = || observed(instance(Lock::Free), Work::Absent);
    let with = |instance: Instance| Observed {
        instance: Some(instance),
        ..free()
    };
    let failed = RestorePhase::Failed;
    let wal = with(Instance {
        has_wal_volume: true,
        ..instance(Lock::Free)
    });
    check(&restore(), &wal, 0, failed, reason::SPEC_INVALID, None);
    let never = Observed {
        source: Source::Never("it failed".to_owned()),
        ..free()
    };
    check(&restore(), &never, 0, failed, reason::SPEC_INVALID, None);
    let waiting = [
        Observed {
            source: Source::NotYet("it is Carrying".to_owned()),
            ..free()
        },
        Observed {
            instance: None,
            ..free()
        },
        with(Instance {
            is_paused: true,
            ..instance(Lock::Free)
        }),
        with(Instance {
            has_volume: false,
            ..instance(Lock::Free)
        }),
        with(instance(Lock::Other("b".to_owned()))),
    ];
    let mut first = restore();
    first.status = Some(next(&first, &waiting[0], at(0)).status);
    for seen in waiting {
        check(
            &first,
            &seen,
            3599,
            RestorePhase::Pending,
            reason::WAITING,
            None,
        );
        check(&first, &seen, 3600, failed, reason::DEADLINE_EXCEEDED, None);
    }
}

#[test]
fn every_phase_ends_and_says_which_database_is_in_place() {
    let mine = |work| observed(instance(Lock::Mine), work);
    for (phase, seen, second, why, word) in [
        (
            RestorePhase::Locked,
            mine(Work::Absent),
            5400,
            reason::DEADLINE_EXCEEDED,
            "nothing was changed",
        ),
        (
            RestorePhase::Copying,
            mine(Work::Running(None)),
            21_600,
            reason::DEADLINE_EXCEEDED,
            "the old database",
        ),
        (
            RestorePhase::Copying,
            mine(Work::Failed("no space".to_owned())),
            1,
            reason::RESTORE_FAILED,
            "the old database",
        ),
        (
            RestorePhase::Copying,
            observed(instance(Lock::Free), Work::Running(None)),
            1,
            reason::LOCK_LOST,
            "the old database",
        ),
        (
            RestorePhase::Starting,
            observed(instance(Lock::Free), Work::Done),
            3600,
            reason::DEADLINE_EXCEEDED,
            "the restored database",
        ),
    ] {
        let next = next(&in_phase(phase), &seen, at(second));
        assert_eq!(next.status.phase, RestorePhase::Failed, "{phase:?}");
        let said = &next.status.conditions[0];
        assert_eq!(said.reason, why, "{phase:?}");
        assert!(said.message.contains(word), "{}", said.message);
    }
    let gone = Observed {
        instance: None,
        ..mine(Work::Absent)
    };
    let copying = in_phase(RestorePhase::Copying);
    check(
        &copying,
        &gone,
        1,
        RestorePhase::Failed,
        reason::INSTANCE_GONE,
        None,
    );
    let mut another = instance(Lock::Free);
    another.uid = "instance-2".to_owned();
    let another = observed(another, Work::Absent);
    check(
        &copying,
        &another,
        1,
        RestorePhase::Failed,
        reason::INSTANCE_GONE,
        None,
    );
}

#[test]
fn a_look_that_finds_nothing_new_writes_nothing() {
    let seen = observed(instance(Lock::Mine), Work::Running(None));
    let mut copying = in_phase(RestorePhase::Copying);
    copying.status = Some(next(&copying, &seen, at(1)).status);
    assert_eq!(Some(next(&copying, &seen, at(60)).status), copying.status);
}
