use super::*;

const DAY: i64 = 86_400;

fn time(text: &str) -> Timestamp {
    format!("{text}Z").parse().unwrap()
}

fn schedule(cron: &str) -> GoDbSnapshotSchedule {
    let mut schedule = godb_crds::examples::schedule("nightly", "people", "backups");
    schedule.spec.schedule = cron.to_owned();
    schedule.metadata.namespace = Some("ns".to_owned());
    schedule.metadata.generation = Some(1);
    schedule.metadata.creation_timestamp = Some(Time(time("2026-11-01T00:00:00")));
    schedule
}

fn snapshot(name: &str, phase: SnapshotPhase, made: Timestamp) -> GoDbSnapshot {
    let mut one = godb_crds::examples::snapshot(name, "people", Some("backups"));
    one.metadata.creation_timestamp = Some(Time(made));
    one.status = Some(godb_crds::GoDbSnapshotStatus {
        phase,
        ..godb_crds::GoDbSnapshotStatus::default()
    });
    one
}

fn planned(schedule: &GoDbSnapshotSchedule, children: &[GoDbSnapshot], now: &str) -> Plan {
    plan(schedule, children, Instance::There, "ns.godb", time(now))
}

fn made(plan: &Plan) -> Option<String> {
    plan.make.as_ref().map(ResourceExt::name_any)
}

/// The schedule after what was planned was done.
fn after(schedule: &GoDbSnapshotSchedule, plan: &Plan) -> GoDbSnapshotSchedule {
    let mut next = schedule.clone();
    next.status = Some(plan.status.clone());
    next
}

#[test]
fn each_time_is_one_snapshot() {
    let first = schedule("0 3 * * *");
    let plan = planned(&first, &[], "2026-11-02T03:00:00.2");
    assert_eq!(made(&plan).as_deref(), Some("nightly-202611020300"));
    let child = plan.make.clone().unwrap();
    assert_eq!(child.spec.instance, "people");
    assert_eq!(child.labels()[SCHEDULE_LABEL], "nightly");
    assert_eq!(
        child.metadata.owner_references, None,
        "it stays when the schedule goes"
    );
    let second = after(&first, &plan);
    for now in ["2026-11-02T03:00:01", "2026-11-02T23:59:59"] {
        assert_eq!(made(&planned(&second, &[], now)), None, "{now}");
    }
    let plan = planned(&second, &[], "2026-11-03T03:00:00");
    assert_eq!(made(&plan).as_deref(), Some("nightly-202611030300"));
}

#[test]
fn times_before_the_schedule_was_made_are_past() {
    let new = schedule("0 3 * * *");
    assert_eq!(made(&planned(&new, &[], "2026-11-01T02:59:59")), None);
    // A time of year that has passed already.
    let past = schedule("0 0 1 1 *");
    assert_eq!(made(&planned(&past, &[], "2026-12-31T23:59:59")), None);
}

#[test]
fn an_operator_that_was_away_for_a_week_makes_up_for_one() {
    let every_minute = schedule("* * * * *");
    let plan = planned(&every_minute, &[], "2026-11-08T12:34:56");
    assert_eq!(made(&plan).as_deref(), Some("nightly-202611081234"));
    let next = after(&every_minute, &plan);
    assert_eq!(made(&planned(&next, &[], "2026-11-08T12:34:59")), None);
}

#[test]
fn killed_before_the_status_was_written_it_makes_the_same_one() {
    let nightly = schedule("0 3 * * *");
    let once = planned(&nightly, &[], "2026-11-02T03:00:01");
    let again = planned(&nightly, &[], "2026-11-02T03:00:09");
    assert_eq!(made(&once), made(&again));
}

#[test]
fn a_clock_that_is_set_back_makes_none_twice_and_silences_nothing() {
    let nightly = schedule("0 3 * * *");
    // A year ahead for a moment.
    let ahead = after(&nightly, &planned(&nightly, &[], "2027-11-02T03:00:01"));
    let back = planned(&ahead, &[], "2026-11-02T12:00:00");
    assert_eq!(made(&back), None);
    let next = planned(&after(&ahead, &back), &[], "2026-11-03T03:00:01");
    assert_eq!(made(&next).as_deref(), Some("nightly-202611030300"));
    // Seconds behind, as clocks are.
    let done = after(&nightly, &planned(&nightly, &[], "2026-11-02T03:00:00.1"));
    assert_eq!(made(&planned(&done, &[], "2026-11-02T02:59:30")), None);
    assert_eq!(made(&planned(&done, &[], "2026-11-02T03:00:00.1")), None);
}

#[test]
fn what_passes_while_it_is_suspended_is_not_made_up_for() {
    let mut nightly = schedule("0 3 * * *");
    nightly.spec.suspend = true;
    let plan = planned(&nightly, &[], "2026-11-05T03:00:01");
    assert_eq!(made(&plan), None);
    let same = planned(&after(&nightly, &plan), &[], "2026-11-06T03:00:01");
    assert_eq!(same.status, plan.status, "nothing is written meanwhile");
    let mut resumed = after(&nightly, &plan);
    resumed.spec.suspend = false;
    let plan = planned(&resumed, &[], "2026-11-06T12:00:00");
    assert_eq!(made(&plan), None);
    let plan = planned(&after(&resumed, &plan), &[], "2026-11-07T03:00:00");
    assert_eq!(made(&plan).as_deref(), Some("nightly-202611070300"));
}

#[test]
fn a_time_is_skipped_with_its_cause() {
    let nightly = schedule("0 3 * * *");
    for (instance, word) in [
        (Instance::Missing, "no GoDbInstance"),
        (Instance::Stopped, "stopped"),
        (Instance::Paused, "paused"),
    ] {
        let now = time("2026-11-02T03:00:00");
        let skipped = plan(&nightly, &[], instance, "ns.godb", now);
        assert_eq!(made(&skipped), None);
        assert!(
            skipped.skipped.clone().unwrap().contains(word),
            "{skipped:?}"
        );
        let again = planned(&after(&nightly, &skipped), &[], "2026-11-02T03:00:30");
        assert_eq!((made(&again), again.skipped), (None, None));
    }
    let now = "2026-11-02T03:00:00";
    let running = snapshot("nightly-1", SnapshotPhase::Carrying, time(now));
    let skipped = planned(&nightly, std::slice::from_ref(&running), now);
    assert!(skipped.skipped.unwrap().contains("nightly-1"));
    assert_eq!(skipped.make, None);
    let mut allowed = nightly;
    allowed.spec.concurrency_policy = ConcurrencyPolicy::Allow;
    assert!(planned(&allowed, &[running], now).make.is_some());
}

#[test]
fn it_looks_again_at_the_next_time_and_at_least_every_minute() {
    let nightly = schedule("0 3 * * *");
    let wait = |now| planned(&nightly, &[], now).look_after;
    assert_eq!(wait("2026-11-01T02:59:50"), Duration::from_secs(10));
    assert_eq!(wait("2026-11-01T03:00:00"), LOOK);
    assert!(wait("2026-11-01T02:59:59.99") >= Duration::from_millis(100));
}

#[test]
fn a_schedule_that_cannot_be_read_says_so() {
    let bad = schedule("0 0 30 2 *");
    let plan = planned(&bad, &[], "2026-11-02T03:00:00");
    let said = &plan.status.conditions[0];
    assert_eq!(
        (&*said.status, &*said.reason),
        ("False", reason::SPEC_INVALID)
    );
    assert_eq!(made(&plan), None);
}

/// Names of those that go.
fn gone(children: &[GoDbSnapshot], keep_last: i32, max_age_days: Option<i32>) -> Vec<String> {
    let retention = RetentionSpec {
        keep_last,
        max_age_days,
    };
    let mut names: Vec<String> = surplus(children, &retention, at(10 * DAY))
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    names.sort();
    names
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn the_newest_that_succeeded_stay() {
    let all: Vec<GoDbSnapshot> = (1..=5)
        .map(|day| snapshot(&format!("s{day}"), SnapshotPhase::Succeeded, at(day * DAY)))
        .collect();
    assert_eq!(gone(&all, 3, None), ["s1", "s2"]);
    assert_eq!(gone(&all, 9, None), [""; 0]);
    assert_eq!(gone(&all, 9, Some(7)), ["s1", "s2"]);
    assert_eq!(
        gone(&all, 9, Some(1)),
        ["s1", "s2", "s3", "s4"],
        "never the newest"
    );
    let mut leaving = all.clone();
    leaving[0].metadata.deletion_timestamp = Some(Time(at(DAY)));
    assert_eq!(gone(&leaving, 3, None), ["s2"], "each is deleted once");
}

#[test]
fn failures_do_not_push_out_what_succeeded() {
    let mut all = vec![snapshot("good", SnapshotPhase::Succeeded, at(0))];
    all.extend(
        (1..=5).map(|day| snapshot(&format!("f{day}"), SnapshotPhase::Failed, at(day * DAY))),
    );
    all.push(snapshot("running", SnapshotPhase::Carrying, at(0)));
    assert_eq!(gone(&all, 1, None), ["f1", "f2"]);
    assert_eq!(gone(&all, 1, Some(1)), ["f1", "f2", "f3", "f4", "f5"]);
}

#[test]
fn a_paused_instance_loses_no_snapshot() {
    let all: Vec<GoDbSnapshot> = (1..=9)
        .map(|day| snapshot(&format!("s{day}"), SnapshotPhase::Succeeded, at(day * DAY)))
        .collect();
    let nightly = schedule("0 3 * * *");
    let now = time("2026-11-02T03:00:00");
    let paused = plan(&nightly, &all, Instance::Paused, "ns.godb", now);
    assert_eq!(paused.delete, []);
    assert_eq!(
        planned(&nightly, &all, "2026-11-02T03:00:00").delete.len(),
        2
    );
}
