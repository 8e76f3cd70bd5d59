//! The hand-over points of the commit pipeline under every order of steps that a random scheduler
//! comes to: append and publish, the sleep and the waking of the log thread, rotation and the
//! supply of segments, views and what may be dropped. A wake-up that can be missed shows as a
//! deadlock, or as a schedule that takes too many steps.
//!
//! `cargo test -p godb-store --lib --features shuttle interleavings`; `GODB_SHUTTLE_RUNS` is the
//! number of schedules of each test. A failing one is printed and can be replayed.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{future, thread};

use crate::disk::{Disk, SimDisk};
use crate::lsn::{Lsn, Watermarks};
use crate::memtable::Memtable;
use crate::observer::NoObserver;
use crate::read::Io;
use crate::read::version::Version;
use crate::recovery;
use crate::settings::{Durability, LiveSettings, WhoSyncs};
use crate::sync::lock;
use crate::table::Levels;
use crate::txn::commit::{LogParts, Pipeline};
use crate::txn::publish::SyncBy;
use crate::txn::readers::Readers;
use crate::txn::{Transaction, driver};
use crate::wal::segment::Origin;
use crate::wal::supply::Supply;

/// Steps of one schedule.
const MOST_STEPS: usize = 5000;

fn runs(default: usize) -> usize {
    std::env::var("GODB_SHUTTLE_RUNS").map_or(default, |runs| runs.parse().unwrap())
}

fn explore(name: &str, default: usize, body: impl Fn() + Send + Sync + 'static) {
    run(name, RandomScheduler::new(runs(default)), body);
}

/// As [`explore`], but one thread runs until another is let in front of it, at a few points. It comes
/// to what a coin for each step nearly never does: one thread far ahead of the other.
fn explore_far_ahead(name: &str, default: usize, body: impl Fn() + Send + Sync + 'static) {
    run(name, PctScheduler::new(3, runs(default)), body);
}

fn run(
    name: &str,
    scheduler: impl shuttle::scheduler::Scheduler + 'static,
    body: impl Fn() + Send + Sync + 'static,
) {
    let mut config = shuttle::Config::new();
    // Whoever misses a wake-up is woken by the next frame of an idle log, after 100 ms of a log
    // thread that finds nothing to do: far more steps than any of this takes.
    config.max_steps = shuttle::MaxSteps::FailAfter(MOST_STEPS);
    let schedules = shuttle::Runner::new(scheduler, config).run(body);
    eprintln!("{name}: {schedules} schedules");
}

fn supply(segment_bytes: u64) -> Arc<Supply> {
    let disk = SimDisk::new();
    let dir = PathBuf::from("/wal");
    disk.create_dir(&dir).unwrap();
    Arc::new(Supply::new(Arc::new(disk), dir, 7, segment_bytes, 1))
}

fn pipeline(level: Durability, who_syncs: WhoSyncs, supply: &Arc<Supply>) -> Arc<Pipeline> {
    let log = recovery::start_log(
        supply,
        Lsn::ZERO,
        std::collections::VecDeque::new(),
        &NoObserver,
    );
    let version = Version {
        active: Arc::new(Memtable::new()),
        sealed: Vec::new(),
        levels: Arc::new(Levels::default()),
    };
    let observer = Arc::new(NoObserver);
    let counters = BTreeMap::new();
    let log = LogParts {
        log: Some(log.unwrap()),
        supply: Arc::clone(supply),
        who_syncs,
    };
    let pipeline = Pipeline::new(level, Lsn::ZERO, version, counters, log, observer);
    pipeline.reservation.store(1 << 24, Ordering::Release);
    let memory = crate::memory::plan(crate::limits::MIN_MEMORY_BYTES, 0, u64::MAX);
    pipeline.trigger.configure(memory, u64::MAX);
    Arc::new(pipeline)
}

struct LogThread {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl LogThread {
    fn start(pipeline: &Arc<Pipeline>, level: Durability) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (pipeline, told) = (Arc::clone(pipeline), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let live = LiveSettings {
                durability: level,
                memory_write_delay: Duration::ZERO,
                ..LiveSettings::default()
            };
            driver::run(&pipeline, &|| live.clone(), &told);
        });
        Self { stop, thread }
    }

    fn end(self, pipeline: &Pipeline) {
        self.stop.store(true, Ordering::Release);
        drop(lock(&pipeline.section));
        pipeline.work.notify_all();
        self.thread.join().unwrap();
    }
}

/// Writers that commit and wait beside the log thread, and readers of what is visible.
fn committing(
    level: Durability,
    who_syncs: WhoSyncs,
    writers: u64,
    commits: u64,
    value_bytes: usize,
    segment: u64,
) {
    let supply = supply(segment);
    let pipeline = pipeline(level, who_syncs, &supply);
    let log_thread = LogThread::start(&pipeline, level);
    let reader = {
        let pipeline = Arc::clone(&pipeline);
        thread::spawn(move || {
            let mut last = Lsn::ZERO;
            for _ in 0..3 {
                let point = pipeline.read_visible();
                let lsn = point.lsn();
                assert!(lsn >= last, "visible stepped back");
                if level == Durability::Full {
                    assert!(lsn <= pipeline.marks.durable(), "visible before durable");
                }
                last = lsn;
                // Whole transactions only: both keys, of the same one.
                let get = |key: &[u8]| point.get(key, Io::Allow).unwrap().map(|found| found.lsn);
                for writer in 0..writers {
                    let a = get(format!("a{writer}").as_bytes());
                    assert_eq!(a, get(format!("b{writer}").as_bytes()));
                }
            }
        })
    };
    let committers: Vec<_> = (0..writers)
        .map(|writer| {
            let pipeline = Arc::clone(&pipeline);
            thread::spawn(move || {
                for _ in 0..commits {
                    let point = pipeline.read_appended();
                    let mut transaction = Transaction::new(Arc::clone(&pipeline), point);
                    for key in ["a", "b"] {
                        let key = Bytes::from(format!("{key}{writer}"));
                        transaction.put(key, Bytes::from(vec![1; value_bytes]));
                    }
                    let ticket = transaction.commit(None, None).unwrap();
                    let lsn = future::block_on(ticket).unwrap();
                    assert!(pipeline.marks.visible() >= lsn);
                    if level == Durability::Full {
                        assert!(pipeline.marks.durable() >= lsn);
                    }
                }
            })
        })
        .collect();
    for committer in committers {
        committer.join().unwrap();
    }
    reader.join().unwrap();
    log_thread.end(&pipeline);
    assert_eq!(pipeline.marks.appended(), Lsn(writers * commits));
}

#[test]
fn who_commits_is_woken_once_it_is_durable() {
    for who in [WhoSyncs::LogThread, WhoSyncs::Committer] {
        explore("full", 1000, move || {
            committing(Durability::Full, who, 2, 2, 10, 1 << 16);
        });
    }
}

#[test]
fn who_commits_is_woken_once_it_is_written() {
    explore("os", 1000, || {
        committing(Durability::Os, WhoSyncs::LogThread, 2, 2, 10, 1 << 16);
    });
}

/// One commit whose group is published before, while or after its waiter registers. Nothing comes
/// after it that would wake who was missed: that is a deadlock.
fn waits_late(level: Durability, ack: Option<Durability>, polled_before: bool) {
    let supply = supply(1 << 16);
    let pipeline = pipeline(level, WhoSyncs::LogThread, &supply);
    let point = pipeline.read_appended();
    let mut transaction = Transaction::new(Arc::clone(&pipeline), point);
    transaction.put(Bytes::from("a"), Bytes::from("v"));
    let mut ticket = transaction.commit(ack, None).unwrap();
    let publisher = {
        let pipeline = Arc::clone(&pipeline);
        thread::spawn(move || {
            let mut state = pipeline.lock_log();
            pipeline.drive(&mut state, SyncBy::Now).unwrap();
        })
    };
    // Another task polled it, and handed it on.
    let polled = polled_before.then(|| {
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(&mut ticket).poll(&mut context)
    });
    let lsn = match polled {
        Some(Poll::Ready(outcome)) => outcome,
        Some(Poll::Pending) | None => future::block_on(ticket),
    };
    assert_eq!(lsn.unwrap(), Lsn(1));
    publisher.join().unwrap();
}

#[test]
fn who_waits_for_what_was_published_meanwhile_is_ready_or_woken() {
    for (level, ack) in [
        (Durability::Full, None),
        (Durability::Os, None),
        (Durability::Os, Some(Durability::Full)),
    ] {
        for polled_before in [false, true] {
            explore_far_ahead("late waiter", 1000, move || {
                waits_late(level, ack, polled_before);
            });
        }
    }
}

#[test]
fn commits_go_on_over_rotations() {
    // Two frames fill a segment.
    for who in [WhoSyncs::LogThread, WhoSyncs::Committer] {
        explore("rotation", 600, move || {
            committing(Durability::Full, who, 2, 3, 900, 4096 + 4200);
        });
    }
}

#[test]
fn nothing_is_dropped_that_a_view_needs() {
    explore("views", 20_000, || {
        let readers = Arc::new(Readers::default());
        let marks = Arc::new(Watermarks::default());
        marks.start(Lsn(5), Lsn::ZERO);
        let dropped = Arc::new(crate::sync::Mutex::new(Lsn::ZERO));
        let publisher = {
            let marks = Arc::clone(&marks);
            thread::spawn(move || {
                for lsn in 6..9 {
                    marks.set_appended(Lsn(lsn));
                    marks.set_visible(Lsn(lsn));
                }
            })
        };
        let compactor = {
            let (readers, marks, dropped) = (
                Arc::clone(&readers),
                Arc::clone(&marks),
                Arc::clone(&dropped),
            );
            thread::spawn(move || {
                for _ in 0..2 {
                    let oldest = readers.oldest_needed(&marks);
                    *lock(&dropped) = oldest;
                }
            })
        };
        let viewer = thread::spawn(move || {
            for _ in 0..2 {
                let view = readers.register(&marks, Duration::from_secs(600));
                thread::yield_now();
                let dropped = *lock(&dropped);
                assert!(
                    dropped <= view.lsn(),
                    "{dropped} was dropped, {} is read",
                    view.lsn()
                );
            }
        });
        for thread in [publisher, compactor, viewer] {
            thread.join().unwrap();
        }
    });
}

#[test]
fn segments_come_in_the_order_of_their_numbers() {
    explore("supply", 2000, || {
        let supply = supply(8192);
        let maker = {
            let supply = Arc::clone(&supply);
            thread::spawn(move || supply.run(&NoObserver))
        };
        let mut last = 0;
        for n in 0..5 {
            let segment = if n == 2 {
                // Out of turn, for a large transaction.
                supply.make(Origin::Continuation, &|_| Vec::new(), 20_000, &NoObserver)
            } else {
                supply.take(100, &NoObserver, &|| true)
            };
            let segment = segment.unwrap();
            assert!(segment.header.number > last);
            last = segment.header.number;
            supply.retire(vec![(segment.path.clone(), segment.capacity)]);
        }
        supply.stop();
        maker.join().unwrap();
    });
}
