//! Failing calls: the store stops or refuses as designed, nobody waits for ever, and what was
//! acknowledged is there after a restart.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use godb_store::disk::fault::{Failure, Rule};
use godb_store::disk::sim::LossVariant;
use godb_store::disk::{CallKind, Disk, FaultDisk, SimDisk, Space};
use godb_store::{Durability, Io, Store, StoreError, WhoSyncs};

use crate::harness::{get, key, open_with, put};
use crate::oracle::{Oracle, value};
use crate::powercut::{Draw, batch, on, rounds, small};

/// Longest time any test here may take.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Runs `body`, and ends the whole run if it hangs.
pub fn watched<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, done) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let value = body();
        let _ = sender.send(());
        value
    });
    if done.recv_timeout(WATCHDOG) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("something hangs");
    }
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

pub fn faulty() -> (SimDisk, FaultDisk, Arc<dyn Disk>) {
    let sim = SimDisk::new();
    let fault = FaultDisk::over_sim(sim.clone());
    (sim, fault.clone(), Arc::new(fault))
}

/// Restarts on what is left and compares; then cuts the power, which shows what the restart had
/// only from the page cache, and compares again.
pub fn restarted(
    sim: &SimDisk,
    oracle: &Oracle,
    level: Durability,
    variant: LossVariant,
    seed: u64,
) {
    let promised = oracle.promised();
    let left = sim.image().survive(variant, seed);
    let store = open_with(&on(&left), &small(level))
        .unwrap_or_else(|error| panic!("{variant:?}: {error}\n{}", left.dump()));
    let held = oracle
        .check(&store, &promised, variant)
        .unwrap_or_else(|error| panic!("{variant:?}: {error}"));
    let served = oracle.after(&held, &promised);
    let cut = left.image().survive(LossVariant::LoseUnsynced, seed);
    drop(store);
    let store = open_with(&on(&cut), &small(level))
        .unwrap_or_else(|error| panic!("{variant:?}, power cut: {error}\n{}", cut.dump()));
    served
        .check(&store, &served.promised(), LossVariant::LoseUnsynced)
        .unwrap_or_else(|error| panic!("{variant:?}, power cut: {error}"));
    store.close().unwrap();
}

#[test]
fn after_a_failed_sync_no_later_one_proves_anything() {
    watched(|| {
        let (sim, fault, disk) = faulty();
        let store = open_with(&disk, &small(Durability::Os)).unwrap();
        std::thread::sleep(Duration::from_millis(250));
        let rule = fault.add(
            Rule::on(CallKind::SyncData)
                .path("/wal-")
                .nth(1)
                .fail(Failure::Eio),
        );
        let mut transaction = store.begin();
        transaction.put(key(1), value(1, 0, 100));
        let ticket = transaction.commit(Some(Durability::Full), None).unwrap();
        // A commit at os writes for both and runs into the failure.
        let _ = put(&store, &key(2), "x");
        // Time for the log thread to sync what it takes for unsynced.
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(fault.picked(rule), 1);
        let left = sim.image().survive(LossVariant::LoseUnsynced, 1);
        let outcome = ticket.wait();
        let again = open_with(&on(&left), &small(Durability::Os)).unwrap();
        assert!(
            outcome.is_err() || get(&again, &key(1)).is_some(),
            "acknowledged at full after a failed sync, and gone"
        );
        assert!(
            matches!(outcome, Err(StoreError::Poisoned { .. })),
            "{outcome:?}"
        );
        assert!(matches!(
            put(&store, &key(3), "y"),
            Err(StoreError::Poisoned { .. })
        ));
        assert!(store.stats().poisoned.is_some());
    });
}

#[test]
fn a_background_sync_that_fails_while_a_commit_syncs_acknowledges_nothing() {
    watched(|| {
        for round in 0..4 {
            let (sim, fault, disk) = faulty();
            let mut settings = small(Durability::Os);
            settings.live.background_sync_interval = Duration::from_millis(1);
            let store = open_with(&disk, &settings).unwrap();
            let oracle = Oracle::default();
            std::thread::sleep(Duration::from_millis(150));
            fault.add(
                Rule::on(CallKind::SyncData)
                    .path("/wal-")
                    .delay(Duration::from_millis(2)),
            );
            fault.add(
                Rule::on(CallKind::SyncData)
                    .path("/wal-")
                    .nth(7 + round)
                    .fail(Failure::Eio),
            );
            std::thread::scope(|scope| {
                for thread in 0..3u64 {
                    let (store, oracle) = (&store, &oracle);
                    scope.spawn(move || {
                        let mut draw = Draw(thread);
                        let ack = (thread > 0).then_some(Durability::Full);
                        let writes = |draw: &mut Draw, id| batch(draw, id, 2, 9, 50);
                        while oracle
                            .commit(store, |id| writes(&mut draw, id), Durability::Os, ack)
                            .is_ok()
                        {}
                    });
                }
            });
            restarted(&sim, &oracle, Durability::Os, LossVariant::LoseUnsynced, 1);
        }
    });
}

#[test]
fn a_failed_write_leaves_a_log_that_opens() {
    watched(|| {
        for bytes in [0, 1, 30, 70, 4000] {
            for level in [Durability::Os, Durability::Full, Durability::Memory] {
                let (sim, fault, disk) = faulty();
                let store = open_with(&disk, &small(level)).unwrap();
                let oracle = Oracle::default();
                let write = |n| {
                    let writes = |id| vec![(key(n), Some(value(id, 0, 5000)))];
                    oracle.commit(&store, writes, level, None)
                };
                write(1).unwrap();
                // By then the next segment is ready, and the writes that follow are frames.
                std::thread::sleep(Duration::from_millis(70));
                let rule = Rule::on(CallKind::Write).path("/wal-").nth(1);
                let rule = fault.add(rule.fail(Failure::Eio).after_bytes(bytes));
                let outcome = write(2);
                assert_eq!(outcome.is_ok(), level == Durability::Memory, "{outcome:?}");
                std::thread::sleep(Duration::from_millis(250));
                let third = write(3);
                let told = format!("{level} {bytes} {third:?} picked {}", fault.picked(rule));
                assert!(matches!(third, Err(StoreError::Poisoned { .. })), "{told}");
                assert!(
                    store
                        .snapshot_read()
                        .get(&key(1), Io::Allow)
                        .unwrap()
                        .is_some()
                );
                for variant in LossVariant::ALL {
                    restarted(&sim, &oracle, level, variant, 3);
                }
            }
        }
    });
}

fn workload(store: &Store, oracle: &Oracle, level: Durability) -> usize {
    let mut draw = Draw(5);
    let mut failed = 0;
    for n in 0..16 {
        let ack = (n % 3 == 0).then_some(Durability::Full);
        let writes = |id| batch(&mut draw, id, 2, 20, 60_000);
        failed += usize::from(oracle.commit(store, writes, level, ack).is_err());
        if n % 5 == 4
            && let Ok(report) = store.checkpoint()
        {
            oracle.cover(report.lsn);
        }
    }
    let _ = store.compact();
    if store.close().is_ok() {
        oracle.cover(store.stats().appended_lsn);
    } else {
        failed += 1;
    }
    failed
}

/// One call of each kind on each sort of path fails, in turn.
fn every_call(failures: &'static [(Failure, Option<usize>)]) {
    watched(move || {
        let (_, seed) = rounds();
        let kinds = [
            (CallKind::Create, ""),
            (CallKind::Write, "/wal-"),
            (CallKind::Write, "/table-"),
            (CallKind::Write, "MANIFEST"),
            (CallKind::SyncData, "/wal-"),
            (CallKind::SyncData, "/table-"),
            (CallKind::SyncData, "MANIFEST"),
            (CallKind::SyncDir, ""),
            (CallKind::Rename, ""),
            (CallKind::Remove, ""),
            (CallKind::Open, ""),
            (CallKind::Read, ""),
            (CallKind::Len, ""),
            (CallKind::Space, ""),
        ];
        let mut hits = 0;
        for (kind, path) in kinds {
            for &(failure, part) in failures {
                for nth in [1, 2, 3, 5, 8, 13] {
                    let (sim, fault, disk) = faulty();
                    let mut rule = Rule::on(kind).path(path).nth(nth).fail(failure);
                    if let Some(bytes) = part {
                        rule = rule.after_bytes(bytes);
                    }
                    if nth % 2 == 0 && part.is_none() {
                        rule = rule.after_effect();
                    }
                    let rule = fault.add(rule);
                    let level = if nth % 3 == 0 {
                        Durability::Os
                    } else {
                        Durability::Full
                    };
                    let oracle = Oracle::default();
                    if let Ok(store) = open_with(&disk, &small(level)) {
                        workload(&store, &oracle, level);
                    }
                    hits += fault.picked(rule);
                    let variant = LossVariant::ALL[nth as usize % 6];
                    eprintln!("{kind:?} {path} {failure:?} {part:?} nth {nth}");
                    restarted(&sim, &oracle, level, variant, seed);
                }
            }
        }
        eprintln!("{hits} calls failed, as {failures:?}");
        assert!(hits > 40);
    });
}

#[test]
fn io_errors_at_every_call_lose_nothing_that_was_acknowledged() {
    every_call(&[(Failure::Eio, None)]);
}

#[test]
fn no_space_and_short_writes_at_every_call_lose_nothing_that_was_acknowledged() {
    every_call(&[(Failure::Enospc, None), (Failure::Eio, Some(700))]);
}

#[test]
fn everyone_who_waits_is_told_of_the_failure() {
    watched(|| {
        let (_, fault, disk) = faulty();
        let store = open_with(&disk, &small(Durability::Full)).unwrap();
        let slow = Rule::on(CallKind::SyncData)
            .path("/wal-")
            .delay(Duration::from_millis(60));
        fault.add(slow);
        fault.add(
            Rule::on(CallKind::SyncData)
                .path("/wal-")
                .from_nth(2)
                .fail(Failure::Eio),
        );
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..16)
                .map(|n| {
                    let store = &store;
                    scope.spawn(move || {
                        (0..40).find_map(|m| put(store, &key(n * 40 + m), "v").err())
                    })
                })
                .collect();
            writers
                .into_iter()
                .map(|writer| writer.join().unwrap())
                .collect()
        });
        for outcome in outcomes {
            assert!(
                matches!(outcome, Some(StoreError::Poisoned { .. })),
                "{outcome:?}"
            );
        }
        assert!(store.flush().is_err() && store.checkpoint().is_err());
        assert!(store.close().is_err());
    });
}

#[test]
fn a_disk_that_fills_refuses_writes_takes_deletes_and_comes_back() {
    watched(|| {
        let sim = SimDisk::new();
        let total_bytes = 64 << 20;
        let free = |free_bytes| {
            sim.set_space(Space {
                free_bytes,
                total_bytes,
            })
        };
        free(total_bytes);
        let store = open_with(&on(&sim), &small(Durability::Full)).unwrap();
        put(&store, &key(1), "before").unwrap();
        free(7 << 20);
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while put(&store, &key(2), "filling").is_ok() {
            assert!(std::time::Instant::now() < deadline, "never refused");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(matches!(
            put(&store, &key(2), "x"),
            Err(StoreError::DiskFull { .. })
        ));
        assert_eq!(get(&store, &key(1)).as_deref(), Some("before"));
        crate::harness::delete(&store, &key(2)).unwrap();
        store.checkpoint().unwrap();
        free(32 << 20);
        while put(&store, &key(3), "after").is_err() {
            assert!(std::time::Instant::now() < deadline, "never taken again");
            std::thread::sleep(Duration::from_millis(20));
        }
        store.close().unwrap();
        let store = open_with(&on(&sim), &small(Durability::Full)).unwrap();
        assert_eq!(get(&store, &key(2)), None);
        assert_eq!(get(&store, &key(3)).as_deref(), Some("after"));
    });
}

/// Table syncs are so late that writers would run into a bound at once.
#[test]
fn writers_slow_down_before_a_bound_stops_them() {
    watched(|| {
        let (_, fault, disk) = faulty();
        let store = open_with(&disk, &small(Durability::Os)).unwrap();
        let late = Rule::on(CallKind::SyncData).path("/table-");
        fault.add(late.delay(Duration::from_millis(700)));
        let until = std::time::Instant::now() + Duration::from_secs(5);
        let mut busy = 0;
        let mut waits = Vec::new();
        for n in 0.. {
            let since = std::time::Instant::now();
            if since > until {
                break;
            }
            let delay = store.delay();
            std::thread::sleep(delay);
            let mut transaction = store.begin();
            transaction.put(key(n), vec![7; 20_000].into());
            match transaction.commit(None, None) {
                Ok(ticket) => assert!(ticket.wait().is_ok()),
                Err(StoreError::Busy { .. }) => {
                    busy += 1;
                    godb_store::block_on(store.writable()).unwrap();
                }
                Err(error) => panic!("{error}"),
            }
            waits.push((delay, since.elapsed()));
        }
        let longest = waits.iter().map(|(_, took)| *took).max().unwrap();
        let between = |least, most| {
            let (least, most) = (Duration::from_micros(least), Duration::from_micros(most));
            waits
                .iter()
                .filter(|(delay, _)| (least..most).contains(delay))
                .count()
        };
        let steps = [
            between(0, 1),
            between(100, 1000),
            between(1000, 10_000),
            between(10_000, 100_000),
        ];
        let told = format!("{steps:?}, busy {busy}, longest {longest:?}");
        assert!(
            steps.iter().all(|writes| *writes > 0),
            "not gradual: {told}"
        );
        assert!(
            busy <= waits.len() / 100,
            "stopped and not slowed down: {told}"
        );
        assert!(longest < Duration::from_secs(10), "{told}");
    });
}

#[test]
fn a_checkpoint_gives_segments_back_while_the_log_finds_no_space() {
    watched(|| {
        for who_syncs in [WhoSyncs::LogThread, WhoSyncs::Committer] {
            let (sim, fault, disk) = faulty();
            let mut settings = small(Durability::Full);
            settings.who_syncs = who_syncs;
            // Only what the test asks for, or the lack of segments.
            settings.live.max_wal_bytes = 1 << 30;
            settings.live.max_memory_bytes = 1 << 30;
            let store = open_with(&disk, &settings).unwrap();
            let oracle = Oracle::default();
            let write = || {
                let writes = |id| vec![(key(id as u64), Some(value(id, 0, 200_000)))];
                oracle.commit(&store, writes, Durability::Full, None)
            };
            write().unwrap();
            let create = Rule::on(CallKind::Create).path("/wal-");
            let rule = fault.add(create.fail(Failure::Enospc));
            std::thread::scope(|scope| {
                let writer = scope.spawn(|| (0..40).map(|_| write()).collect::<Vec<_>>());
                let since = std::time::Instant::now();
                let checkpoint = scope.spawn(|| {
                    while fault.picked(rule) < 3 {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    store.checkpoint()
                });
                checkpoint.join().unwrap().unwrap();
                for outcome in writer.join().unwrap() {
                    outcome.unwrap();
                }
                let took = since.elapsed();
                assert!(took < Duration::from_secs(20), "{who_syncs:?} {took:?}");
            });
            restarted(
                &sim,
                &oracle,
                Durability::Full,
                LossVariant::LoseUnsynced,
                1,
            );
        }
    });
}

#[test]
fn a_log_that_finds_no_space_goes_on_when_there_is_some() {
    watched(|| {
        let (sim, fault, disk) = faulty();
        let store = open_with(&disk, &small(Durability::Full)).unwrap();
        let oracle = Oracle::default();
        let write = |bytes| {
            let writes = move |id| vec![(key(id as u64), Some(value(id, 0, bytes)))];
            oracle.commit(&store, writes, Durability::Full, None)
        };
        write(700_000).unwrap();
        let rule = fault.add(
            Rule::on(CallKind::Write)
                .path("/wal-")
                .fail(Failure::Enospc),
        );
        fault.remove_rule(rule);
        // No new segment can be made; frames in the one at hand can be written.
        let rule = fault.add(
            Rule::on(CallKind::Create)
                .path("/wal-")
                .fail(Failure::Enospc),
        );
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (0..6).map(|_| write(700_000)).collect::<Vec<_>>());
            std::thread::sleep(Duration::from_millis(800));
            fault.remove_rule(rule);
            for outcome in writer.join().unwrap() {
                outcome.unwrap();
            }
        });
        restarted(
            &sim,
            &oracle,
            Durability::Full,
            LossVariant::LoseUnsynced,
            1,
        );
    });
}
