//! Who writes and syncs the log, the log thread or a committer: what is promised is the same.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use godb_store::disk::CallKind;
use godb_store::disk::fault::{Failure, Rule};
use godb_store::disk::sim::LossVariant;
use godb_store::{Durability, LiveSettings, Settings, Store, StoreError, Ticket, WhoSyncs};

use crate::faults::{faulty, restarted, watched};
use crate::harness::{get, key, open_with, put};
use crate::oracle::{Oracle, value};
use crate::powercut::{Draw, LOG, QUICK_CUTS, batch, on, prove, small};
use crate::workloads::batches_with_checkpoints;

const BOTH: [WhoSyncs; 2] = [WhoSyncs::LogThread, WhoSyncs::Committer];

fn forced(level: Durability, who_syncs: WhoSyncs) -> Settings {
    Settings {
        who_syncs,
        ..small(level)
    }
}

fn begin(store: &Store, n: u64, ack: Option<Durability>) -> Ticket {
    let mut transaction = store.begin();
    transaction.put(key(n), "v".into());
    transaction.commit(ack, Some(Waker::noop())).unwrap()
}

#[test]
fn power_cuts_find_what_was_promised_whoever_syncs() {
    for who in BOTH {
        for level in [Durability::Full, Durability::Os] {
            let settings = forced(level, who);
            let name = format!("{who:?} at {level}");
            prove(&name, &LOG, QUICK_CUTS, &settings, batches_with_checkpoints);
            prove(
                &format!("{name}, writers"),
                &LOG[..2],
                QUICK_CUTS,
                &settings,
                |run, seed| {
                    std::thread::scope(|scope| {
                        for thread in 0..4u64 {
                            scope.spawn(move || {
                                let mut draw = Draw(seed * 4 + thread);
                                for n in 0..25 {
                                    let writes = |id| batch(&mut draw, id, 3, 8, 400);
                                    let ack = (n % 5 == 0).then_some(Durability::Full);
                                    run.commit(writes, level, ack);
                                }
                            });
                        }
                    });
                },
            );
        }
    }
}

#[test]
fn a_sync_that_fails_under_concurrent_writers_acknowledges_nothing_whoever_makes_it() {
    watched(|| {
        for (round, who) in BOTH.into_iter().cycle().take(8).enumerate() {
            for level in [Durability::Os, Durability::Full] {
                let (sim, fault, disk) = faulty();
                let store = open_with(&disk, &forced(level, who)).unwrap();
                let oracle = Oracle::default();
                let syncs = || Rule::on(CallKind::SyncData).path("/wal-");
                fault.add(syncs().delay(Duration::from_millis(1)));
                // Every one from there on: a single one may be that of the spare segment, which is
                // made again and stops nobody.
                fault.add(syncs().from_nth(3 + round as u64).fail(Failure::Eio));
                std::thread::scope(|scope| {
                    for thread in 0..6u64 {
                        let (store, oracle) = (&store, &oracle);
                        scope.spawn(move || {
                            let mut draw = Draw(thread);
                            let ack = (thread % 2 == 0).then_some(Durability::Full);
                            let writes = |draw: &mut Draw, id| batch(draw, id, 2, 9, 50);
                            while oracle
                                .commit(store, |id| writes(&mut draw, id), level, ack)
                                .is_ok()
                            {}
                        });
                    }
                });
                assert!(store.stats().poisoned.is_some(), "{who:?} {level}");
                restarted(&sim, &oracle, level, LossVariant::LoseUnsynced, 1);
            }
        }
    });
}

/// A sync outside the log's lock is under way when a commit needs one of its own.
fn beside_a_background_sync(who: WhoSyncs, failure: Option<Failure>) {
    let (sim, fault, disk) = faulty();
    let mut settings = forced(Durability::Os, who);
    settings.live.background_sync_interval = Duration::from_millis(1);
    let store = open_with(&disk, &settings).unwrap();
    put(&store, &key(1), "before").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let late = Rule::on(CallKind::SyncData)
        .path("/wal-")
        .nth(1)
        .delay(Duration::from_millis(400));
    let first = fault.add(match failure {
        Some(failure) => late.fail(failure),
        None => late,
    });
    let all = fault.add(Rule::on(CallKind::SyncData).path("/wal-"));
    put(&store, &key(2), "written, then synced in the background").unwrap();
    while fault.picked(first) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let tickets = [3, 4].map(|n| begin(&store, n, Some(Durability::Full)));
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let waiting = tickets.map(|ticket| scope.spawn(move || ticket.wait()));
        waiting.into_iter().map(|w| w.join().unwrap()).collect()
    });
    let left = sim.image().survive(LossVariant::LoseUnsynced, 1);
    drop(store);
    let again = open_with(&on(&left), &settings).unwrap();
    if failure.is_some() {
        for outcome in outcomes {
            let told = format!("{who:?} {outcome:?}");
            assert!(
                matches!(outcome, Err(StoreError::Poisoned { .. })),
                "{told}"
            );
        }
        assert_eq!(fault.picked(all), 1, "no sync follows one that failed");
    } else {
        assert!(
            fault.picked(all) >= 2,
            "{who:?}: the first one proves nothing of them"
        );
        for (outcome, n) in outcomes.into_iter().zip([3, 4]) {
            outcome.unwrap();
            assert_eq!(get(&again, &key(n)).as_deref(), Some("v"), "{who:?}");
        }
    }
}

#[test]
fn a_commit_beside_a_background_sync_waits_for_one_of_its_own() {
    watched(|| BOTH.map(|who| beside_a_background_sync(who, None)));
}

#[test]
fn a_commit_beside_a_background_sync_that_fails_fails_too() {
    watched(|| BOTH.map(|who| beside_a_background_sync(who, Some(Failure::Eio))));
}

/// The longest poll of each of some commits, as the median over them.
fn longest_poll(store: &Store, commits: u64) -> Duration {
    let mut of_each = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    for n in 0..commits {
        let mut longest = Duration::ZERO;
        let mut ticket = pin!(begin(store, n, None));
        loop {
            let since = Instant::now();
            let polled = ticket.as_mut().poll(&mut context);
            longest = longest.max(since.elapsed());
            match polled {
                Poll::Pending => std::thread::sleep(Duration::from_micros(100)),
                Poll::Ready(outcome) => {
                    outcome.unwrap();
                    break;
                }
            }
        }
        of_each.push(longest);
    }
    of_each.sort();
    of_each[of_each.len() / 2]
}

/// The fastest of some tries: the machine may be slow once, but not every time.
fn fastest(mut one: impl FnMut() -> Duration) -> Duration {
    (0..8).map(|_| one()).min().unwrap_or_default()
}

#[test]
fn on_a_slow_disk_no_poll_waits_for_a_sync() {
    watched(|| {
        let (_, fault, disk) = faulty();
        let delay = Duration::from_millis(40);
        let store = open_with(&disk, &forced(Durability::Full, WhoSyncs::Adaptive)).unwrap();
        longest_poll(&store, 50);
        fault.add(Rule::on(CallKind::SyncData).path("/wal-").delay(delay));
        longest_poll(&store, 5);
        let longest = longest_poll(&store, 20);
        assert!(longest < delay / 2, "a poll took {longest:?}");
        store.close().unwrap();

        let store = open_with(&disk, &forced(Durability::Full, WhoSyncs::Committer)).unwrap();
        let longest = longest_poll(&store, 3);
        assert!(longest >= delay, "who is told to syncs itself: {longest:?}");
    });
}

#[test]
fn who_claims_a_group_and_goes_away_leaves_it_to_the_log_thread() {
    watched(|| {
        for level in [Durability::Os, Durability::Full] {
            let (_, _, disk) = faulty();
            let store = open_with(&disk, &forced(level, WhoSyncs::Committer)).unwrap();
            put(&store, &key(0), "v").unwrap();
            std::thread::sleep(Duration::from_millis(300));
            for polls in 0..2 {
                let took = fastest(|| {
                    let mut claims = begin(&store, 1, None);
                    let mut context = Context::from_waker(Waker::noop());
                    for _ in 0..polls {
                        assert!(Pin::new(&mut claims).poll(&mut context).is_pending());
                    }
                    let other = begin(&store, 2, None);
                    drop(claims);
                    let since = Instant::now();
                    other.wait().unwrap();
                    since.elapsed()
                });
                let told = format!("{level} {polls} {took:?}");
                assert!(took < Duration::from_millis(50), "{told}");
            }
        }
    });
}

#[test]
fn a_ticket_that_nobody_waits_for_holds_nobody_up() {
    watched(|| {
        for level in [Durability::Os, Durability::Full] {
            let (_, _, disk) = faulty();
            let store = open_with(&disk, &forced(level, WhoSyncs::Committer)).unwrap();
            let took = fastest(|| {
                let kept = begin(&store, 1, None);
                let since = Instant::now();
                begin(&store, 2, None).wait().unwrap();
                assert!(kept.is_ready());
                since.elapsed()
            });
            assert!(took < Duration::from_millis(50), "{took:?}");
            let since = Instant::now();
            let forgotten = begin(&store, 3, None);
            while !forgotten.is_ready() {
                assert!(since.elapsed() < Duration::from_secs(5), "never written");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
}

#[test]
fn levels_change_under_writers_whoever_syncs() {
    watched(|| {
        for who in BOTH {
            let (_, _, disk) = faulty();
            let store = open_with(&disk, &forced(Durability::Full, who)).unwrap();
            let oracle = Oracle::default();
            std::thread::scope(|scope| {
                for thread in 0..3u64 {
                    let (store, oracle) = (&store, &oracle);
                    scope.spawn(move || {
                        for n in 0..150 {
                            let writes =
                                |id| vec![(key(thread * 1000 + n), Some(value(id, 0, 60)))];
                            oracle
                                .commit(store, writes, Durability::None, None)
                                .unwrap();
                        }
                    });
                }
                for durability in Durability::ALL.into_iter().cycle().take(12) {
                    let live = LiveSettings {
                        durability,
                        ..store.live_settings()
                    };
                    store.reconfigure(live).unwrap();
                }
            });
            store.close().unwrap();
        }
    });
}
