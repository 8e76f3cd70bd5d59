//! Snapshots that go to a claim.

use super::*;

/// A snapshot that goes to a claim.
fn to_claim() -> GoDbSnapshot {
    let mut snapshot = snapshot();
    snapshot.spec = godb_crds::examples::snapshot("monday", "people", Some("backups")).spec;
    snapshot
}

fn claimed(instance: Instance, cut: Result<CutAnswer, String>, work: Work) -> Observed {
    Observed {
        target: Target::Claim("backups".to_owned()),
        work,
        ..observed(instance, cut)
    }
}

fn carrying_since_0() -> GoDbSnapshot {
    let (cutting, _) = after(
        &to_claim(),
        &claimed(up(), answer(BOOT, None), Work::Absent),
        0,
    );
    let seen = claimed(up(), answer(BOOT, Some(7)), Work::Absent);
    let (carrying, next) = after(&cutting, &seen, 0);
    assert_eq!(next.act, Some(Act::Carry));
    assert_eq!(next.status.phase, SnapshotPhase::Carrying);
    carrying
}

fn verifying_since_0() -> GoDbSnapshot {
    let seen = claimed(up(), answer(BOOT, Some(7)), Work::Done);
    let (verifying, next) = after(&carrying_since_0(), &seen, 0);
    assert_eq!(next.act, Some(Act::Verify));
    verifying
}

#[test]
fn what_the_target_is_decides_before_anything_is_asked() {
    let seen = |target| Observed {
        target,
        ..observed(up(), answer(BOOT, None))
    };
    let name = || "backups".to_owned();
    let failed = (SnapshotPhase::Failed, ("False", reason::SPEC_INVALID));
    let pending = (SnapshotPhase::Pending, ("Unknown", reason::WAITING));
    for (target, (phase, said)) in [
        (Target::Nowhere, failed),
        (Target::DataClaim(name()), failed),
        (Target::NoClaim(name()), pending),
    ] {
        check(&to_claim(), seen(target), 0, phase, said, None);
    }
    let busy = Observed {
        busy: Some("sunday".to_owned()),
        ..seen(Target::Claim(name()))
    };
    let (waiting, _) = after(&to_claim(), &busy, 0);
    let said = ("Unknown", reason::WAITS_FOR_TARGET);
    check(
        &waiting,
        busy.clone(),
        4000,
        SnapshotPhase::Pending,
        said,
        None,
    );
    let late = ("False", reason::DEADLINE_EXCEEDED);
    check(&waiting, busy, 21_600, SnapshotPhase::Failed, late, None);
}

#[test]
fn a_cut_is_carried_and_read_back_before_it_counts() {
    let carrying = carrying_since_0();
    let location = carrying.status.as_ref().unwrap().location.clone().unwrap();
    assert_eq!(location.claim.as_deref(), Some("backups"));
    assert_eq!(location.path.as_deref(), Some("ns/instance-1"));
    assert_eq!(location.instance, None);
    let verifying = verifying_since_0();
    let status = verifying.status.as_ref().unwrap();
    assert_eq!(status.phase, SnapshotPhase::Verifying);
    assert!(!status.survives_volume_loss);
    let seen = claimed(up(), answer(BOOT, Some(7)), Work::Done);
    let (done, next) = after(&verifying, &seen, 1);
    assert_eq!(next.act, Some(Act::DropCut));
    let status = done.status.unwrap();
    assert_eq!(status.phase, SnapshotPhase::Succeeded);
    assert!(status.survives_volume_loss);
    assert_eq!((status.lsn, status.documents), (Some(7), Some(3)));
}

#[test]
fn every_way_that_a_carry_ends() {
    let carrying = carrying_since_0();
    let on = SnapshotPhase::Carrying;
    let failed = SnapshotPhase::Failed;
    let there = || answer(BOOT, Some(7));
    let silent = || Err("no answer".to_owned());
    let under_way = ("Unknown", reason::UNDER_WAY);
    let seen = |cut, work| claimed(up(), cut, work);
    // Killed before the Job was made, or while it runs.
    check(
        &carrying,
        seen(there(), Work::Absent),
        1,
        on,
        under_way,
        Some(Act::Carry),
    );
    check(
        &carrying,
        seen(there(), Work::Running(None)),
        1,
        on,
        under_way,
        None,
    );
    // A node that restarts with the cut, or does not answer for a while, ends nothing.
    check(
        &carrying,
        seen(answer("boot-2", Some(7)), Work::Running(None)),
        1,
        on,
        under_way,
        None,
    );
    check(
        &carrying,
        seen(silent(), Work::Running(None)),
        1,
        on,
        under_way,
        None,
    );
    for (cut, work, why) in [
        (
            there(),
            Work::Failed("no space".to_owned()),
            reason::CARRY_FAILED,
        ),
        (answer(BOOT, None), Work::Running(None), reason::CUT_DROPPED),
        (
            answer("boot-2", None),
            Work::Running(None),
            reason::NODE_RESTARTED,
        ),
    ] {
        check(
            &carrying,
            seen(cut, work),
            1,
            failed,
            ("False", why),
            Some(Act::Abandon),
        );
    }
    let late = ("False", reason::DEADLINE_EXCEEDED);
    check(
        &carrying,
        seen(there(), Work::Running(None)),
        21_600,
        failed,
        late,
        Some(Act::Abandon),
    );
    // All of it landed before the cut went: only then does it not matter.
    let landed = next(&carrying, &seen(answer(BOOT, None), Work::Done), at(1));
    assert_eq!(landed.status.phase, SnapshotPhase::Verifying);
    let gone = claimed(Instance::Missing, silent(), Work::Running(None));
    let said = ("False", reason::INSTANCE_GONE);
    check(&carrying, gone, 1, failed, said, Some(Act::Abandon));
    let paused = claimed(Instance::Paused(UID.to_owned()), there(), Work::Absent);
    check(&carrying, paused, 1, on, under_way, None);
}

#[test]
fn every_way_that_reading_back_ends() {
    let verifying = verifying_since_0();
    let failed = SnapshotPhase::Failed;
    let under_way = ("Unknown", reason::UNDER_WAY);
    // The instance is not needed any more.
    let seen = |work| claimed(Instance::Missing, Err("no node".to_owned()), work);
    let on = SnapshotPhase::Verifying;
    check(
        &verifying,
        seen(Work::Absent),
        1,
        on,
        under_way,
        Some(Act::Verify),
    );
    check(
        &verifying,
        seen(Work::Running(None)),
        1,
        on,
        under_way,
        None,
    );
    let damaged = Work::Failed("checksum".to_owned());
    let said = ("False", reason::VERIFY_FAILED);
    check(
        &verifying,
        seen(damaged),
        1,
        failed,
        said,
        Some(Act::DropCut),
    );
    let late = ("False", reason::DEADLINE_EXCEEDED);
    check(
        &verifying,
        seen(Work::Running(None)),
        21_600,
        failed,
        late,
        Some(Act::DropCut),
    );
    let done = next(&verifying, &seen(Work::Done), at(1));
    assert_eq!(done.status.phase, SnapshotPhase::Succeeded);
}

#[test]
fn what_stands_in_the_way_of_a_job_is_said() {
    let trouble = Work::Running(Some("exceeded quota".to_owned()));
    let seen = claimed(up(), answer(BOOT, Some(7)), trouble);
    let (carrying, _) = after(&carrying_since_0(), &seen, 1);
    let message = &carrying.status.as_ref().unwrap().conditions[0].message;
    assert!(message.contains("exceeded quota"), "{message}");
    assert_eq!(after(&carrying, &seen, 60).0, carrying, "said once");
}

#[test]
fn one_at_a_time_writes_to_a_claim() {
    let named = |name: &str, claim: Option<&str>| {
        let mut one = godb_crds::examples::snapshot(name, "people", claim);
        one.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        one
    };
    let in_phase = |name: &str, claim, phase| {
        let mut one = named(name, claim);
        one.status = Some(GoDbSnapshotStatus {
            phase,
            ..GoDbSnapshotStatus::default()
        });
        one
    };
    let deleted = |name: &str, second| {
        let mut one = in_phase(name, Some("backups"), SnapshotPhase::Succeeded);
        one.metadata.deletion_timestamp = Some(Time(at(second)));
        one
    };
    let mine = named("mine", Some("backups"));
    let here = Some("backups");
    for phase in [
        SnapshotPhase::Cutting,
        SnapshotPhase::Carrying,
        SnapshotPhase::Verifying,
    ] {
        let other = in_phase("other", here, phase);
        assert_eq!(busy(&mine, &[other]).as_deref(), Some("other"), "{phase:?}");
        let elsewhere = in_phase("other", Some("elsewhere"), phase);
        assert_eq!(
            busy(&mine, &[elsewhere, in_phase("own", None, phase)]),
            None
        );
        assert_eq!(busy(&mine, &[in_phase("mine", here, phase)]), None);
    }
    for phase in [
        SnapshotPhase::Pending,
        SnapshotPhase::Succeeded,
        SnapshotPhase::Failed,
    ] {
        assert_eq!(busy(&mine, &[in_phase("other", here, phase)]), None);
    }
    let all = [deleted("a", 2), deleted("b", 1), mine.clone()];
    assert_eq!(busy(&mine, &all).as_deref(), Some("a"));
    assert_eq!(busy(&all[0], &all).as_deref(), Some("b"));
    assert_eq!(busy(&all[1], &all), None, "one of them always goes on");
}

#[test]
fn data_on_a_claim_is_removed_by_a_job_or_named() {
    let mut deleted = verifying_since_0();
    deleted.metadata.deletion_timestamp = Some(Time(at(0)));
    let gone = |work| claimed(Instance::Missing, Err("no node".to_owned()), work);
    assert_eq!(
        removal(&deleted, &gone(Work::Absent), at(1)),
        Removal::Remove
    );
    assert_eq!(removal(&deleted, &gone(Work::Done), at(1)), Removal::Done);
    let running = gone(Work::Running(None));
    assert!(matches!(
        removal(&deleted, &running, at(1)),
        Removal::Wait(_)
    ));
    for (seen, second) in [
        (running, 600),
        (gone(Work::Failed("read-only".to_owned())), 1),
        (
            Observed {
                target: Target::NoClaim("backups".to_owned()),
                ..gone(Work::Absent)
            },
            1,
        ),
    ] {
        let Removal::Leave(message) = removal(&deleted, &seen, at(second)) else {
            panic!("a finalizer must not hold for ever: {seen:?}");
        };
        assert!(message.contains("backups ns/instance-1"), "{message}");
    }
    // Another one's turn is no refusal.
    let busy = Observed {
        busy: Some("other".to_owned()),
        ..gone(Work::Absent)
    };
    assert!(matches!(
        removal(&deleted, &busy, at(9000)),
        Removal::Wait(_)
    ));
}
