//! Every I/O call of the workloads of the power cuts fails, one at a time and in each way, from the
//! open to the close: the store refuses or stops for good, its readers see what was promised,
//! nobody waits for ever, and what was acknowledged outlasts a restart, a power cut after it, and
//! a power cut instead of it.
//!
//! The quick set tries an even sample, shifted by `GODB_POWERCUT_SEED`. `GODB_FAULT_ROUNDS` tries
//! every call, in as many rounds with other seeds. A failure prints the command that repeats it:
//! `GODB_FAULT_ONLY` is one way and one call.

mod opening;
mod snapshots;

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use godb_store::disk::fault::{Failure, Rule};
use godb_store::disk::sim::LossVariant;
use godb_store::disk::{CallKind, Disk};
use godb_store::{Durability, Settings, Store, StoreError};

use crate::faults::{faulty, restarted};
use crate::harness::{key, open_with, small};
use crate::oracle::{Oracle, value};
use crate::workloads::{
    Run, batches_with_checkpoints, changes_of_level, overwrites_and_deletes_with_compaction,
    writers_of_hot_keys,
};

/// Calls of each workload and way in the quick set.
const QUICK_CALLS: u64 = 4;
/// Longest time one workload with one failing call may take, on a busy machine too.
const WATCHDOG: Duration = Duration::from_secs(90);
/// A background call may come in one run and not in the next: this many numbers in a row that no
/// call has are the end.
const PAST_THE_END: u64 = 3;
/// Parts of a write that was cut short.
const FIRST_BYTES: [usize; 8] = [0, 1, 17, 64, 511, 512, 4096, 30_000];

/// A way in which a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Without effect: a bad drive. A failed sync also drops what it was for.
    Eio,
    /// Done all the same, which its caller cannot know.
    EioAfterEffect,
    /// A full file system.
    Enospc,
    /// A write that stops on its way.
    ShortWrite,
    /// A full file system that a write notices on its way.
    ShortWriteEnospc,
    /// This sync, of a file or of a directory.
    Sync,
    SyncDir,
    /// A drive that is gone: this call and all after it.
    Dead,
}

impl Way {
    const ALL: [Way; 8] = [
        Way::Eio,
        Way::EioAfterEffect,
        Way::Enospc,
        Way::ShortWrite,
        Way::ShortWriteEnospc,
        Way::Sync,
        Way::SyncDir,
        Way::Dead,
    ];

    /// The rule for the `nth` of some calls, or none if it is not about such.
    fn of(self, calls: Calls, nth: u64) -> Option<Rule> {
        let rule = calls.rule(self.kind())?;
        let bytes = FIRST_BYTES[nth as usize % FIRST_BYTES.len()];
        Some(match self {
            Way::Eio => rule.nth(nth).fail(Failure::Eio),
            Way::EioAfterEffect => rule.nth(nth).fail(Failure::Eio).after_effect(),
            Way::Enospc | Way::Sync | Way::SyncDir => rule.nth(nth).fail(Failure::Enospc),
            Way::ShortWrite => rule.nth(nth).fail(Failure::Eio).after_bytes(bytes),
            Way::ShortWriteEnospc => rule.nth(nth).fail(Failure::Enospc).after_bytes(bytes),
            Way::Dead => rule.from_nth(nth).fail(Failure::Eio),
        })
    }

    /// The only kind of call that it is about.
    fn kind(self) -> Option<CallKind> {
        match self {
            Way::Eio | Way::EioAfterEffect | Way::Enospc | Way::Dead => None,
            Way::ShortWrite | Way::ShortWriteEnospc => Some(CallKind::Write),
            Way::Sync => Some(CallKind::SyncData),
            Way::SyncDir => Some(CallKind::SyncDir),
        }
    }
}

/// Calls that are numbered together. Threads do not share these, so that a number means the same
/// call in the next run too, nearly always.
#[derive(Clone, Copy, Debug)]
enum Calls {
    /// On files whose path has this part.
    On(&'static str),
    /// On directories.
    Of(CallKind),
}

impl Calls {
    /// The last one is all of them: what the others leave out is met there.
    const ALL: [Calls; 11] = [
        Calls::On("MANIFEST"),
        Calls::On("/table-"),
        Calls::On("/wal-"),
        Calls::On("LOCK"),
        Calls::On("STORE-ID"),
        Calls::On("/snapshots/"),
        Calls::Of(CallKind::SyncDir),
        Calls::Of(CallKind::List),
        Calls::Of(CallKind::Space),
        Calls::Of(CallKind::CreateDir),
        Calls::On(""),
    ];

    /// Those of a kind.
    fn rule(self, kind: Option<CallKind>) -> Option<Rule> {
        match (self, kind) {
            (Calls::On(part), None) => Some(Rule::any().path(part)),
            (Calls::On(part), Some(kind)) => Some(Rule::on(kind).path(part)),
            (Calls::Of(own), None) => Some(Rule::on(own)),
            (Calls::Of(own), Some(kind)) => (own == kind).then(|| Rule::on(own)),
        }
    }
}

/// What became of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The open was refused.
    Refused,
    /// The store stopped taking writes.
    Stopped,
    /// The store went on.
    WentOn,
}

/// A run: how many calls the rule picked, and what became of it.
type Outcome = (u64, Fate);

/// Runs `body` and panics with `what` if it hangs.
fn within<T: Send + 'static>(what: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, done) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let value = body();
        let _ = sender.send(());
        value
    });
    let waited = done.recv_timeout(WATCHDOG);
    assert_ne!(
        waited,
        Err(mpsc::RecvTimeoutError::Timeout),
        "something hangs\n{what}"
    );
    let panicked = |_| panic!("it panicked, see above\n{what}");
    thread.join().unwrap_or_else(panicked)
}

/// Tries `one` with a rule for each call in each way. `test` names the test in what repeats a
/// failure.
fn sweep(name: &str, test: &str, one: impl Fn(Rule, u64, u64) -> Outcome + Clone + Send + 'static) {
    let rounds: Option<u64> = std::env::var("GODB_FAULT_ROUNDS")
        .ok()
        .map(|rounds| rounds.parse().unwrap());
    let only = std::env::var("GODB_FAULT_ONLY").ok();
    let is_quick = rounds.is_none() && only.is_none();
    let first = crate::harness::rounds().1;
    let started = Instant::now();
    let (mut failed, mut fates) = (0, BTreeMap::<String, u64>::new());
    for seed in first..first + rounds.unwrap_or(1) {
        let tried = |at: &str, nth, rule| {
            let what = format!(
                "{name}, {at}\nagain: GODB_FAULT_ONLY='{at}' GODB_POWERCUT_SEED={seed} cargo test -p godb-store --test store {test}"
            );
            let one = one.clone();
            within(&what, move || one(rule, nth, seed))
        };
        let all = tried("no call", 0, Rule::any()).0;
        let mut counted = 0;
        for calls in Calls::ALL {
            let is_met = calls
                .rule(None)
                .map_or(0, |rule| tried("no call", 0, rule).0);
            counted += is_met;
            for way in Way::ALL {
                let mut nth = 1;
                let mut step = 1;
                if is_quick {
                    step = (all / QUICK_CALLS).max(1);
                    nth = 1 + (seed + counted + way as u64) % step;
                }
                let mut missed = 0;
                while is_met > 0 && missed < if is_quick { 1 } else { PAST_THE_END } {
                    let at = format!("{way:?} {calls:?} {nth}");
                    let Some(rule) = way.of(calls, nth) else {
                        break;
                    };
                    if only.as_ref().is_some_and(|only| *only != at) {
                        missed += u64::from(nth > is_met + PAST_THE_END);
                    } else if is_quick && nth > is_met {
                        break;
                    } else {
                        let (picked, fate) = tried(&at, nth, rule);
                        missed = if picked == 0 { missed + 1 } else { 0 };
                        if picked > 0 {
                            failed += 1;
                            *fates.entry(format!("{fate:?}")).or_default() += 1;
                        }
                    }
                    nth += step;
                }
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = failed as f64 / seconds;
    eprintln!(
        "failing calls of {name}: seed {first}, {failed} calls in {seconds:.1} s, {rate:.0}/s, {fates:?}"
    );
    assert!(
        failed > 0 || only.is_some(),
        "no call failed: it proves nothing"
    );
}

/// What no step may say: that files are damaged, or that it is anybody's fault but the disk's.
fn is_of_the_disk(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Io { .. } | StoreError::Poisoned { .. } | StoreError::DiskFull { .. }
    )
}

/// Runs `workload` on a new disk with `rule`, then looks at what is served, ends the store, and
/// starts it again on what a kill leaves, and on what a power cut leaves.
fn one(settings: &Settings, workload: fn(&Run, u64), rule: Rule, call: u64, seed: u64) -> Outcome {
    let (sim, fault, disk) = faulty();
    let rule = fault.add(rule);
    let oracle = Oracle::default();
    let level = settings.live.durability;
    let (picked, fate) = match open_with(&disk, settings) {
        Err(error) => {
            assert!(is_of_the_disk(&error), "{error:?}");
            (fault.picked(rule), Fate::Refused)
        }
        Ok(store) => {
            let run = Run::new(&store, &oracle);
            workload(&run, seed);
            for error in run.failed() {
                assert!(is_of_the_disk(&error), "{error:?}");
            }
            let mut picked = fault.picked(rule);
            if picked > 0 {
                fault.clear();
                served(&store, &oracle);
            }
            if store.close().is_ok() {
                oracle.cover(store.stats().appended_lsn);
            }
            picked = picked.max(fault.picked(rule));
            let fate = if store.stats().poisoned.is_some() {
                Fate::Stopped
            } else {
                Fate::WentOn
            };
            (picked, fate)
        }
    };
    fault.clear();
    restarted(&sim, &oracle, level, LossVariant::KeepAll, seed);
    let variant = LossVariant::ALL[(call + seed) as usize % LossVariant::ALL.len()];
    restarted(&sim, &oracle, level, variant, seed);
    (picked, fate)
}

/// The disk works again, and the store serves what it promised: it stopped and says so to every
/// writer, or it takes writes.
fn served(store: &Store, oracle: &Oracle) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let outcome = oracle.commit(
            store,
            |id| vec![(key(id as u64), Some(value(id, 0, 100)))],
            Durability::None,
            None,
        );
        match (outcome, store.stats().poisoned) {
            (Ok(_), None) | (Err(StoreError::Poisoned { .. }), Some(_)) => break,
            // The background looks for space from time to time.
            (Err(error), _) => {
                assert!(
                    Instant::now() < until && is_of_the_disk(&error),
                    "{error:?}"
                );
                std::thread::sleep(Duration::from_millis(5));
            }
            // It stopped behind the commit.
            (Ok(_), Some(_)) => {}
        }
    }
    let promised = oracle.promised();
    oracle
        .check(store, &promised, LossVariant::KeepAll)
        .unwrap_or_else(|error| panic!("what is served: {error}"));
}

fn sweep_of(name: &str, test: &str, level: Durability, workload: fn(&Run, u64)) {
    sweep(
        &format!("{name} at {level}"),
        test,
        move |rule, call, seed| one(&small(level), workload, rule, call, seed),
    );
}

#[test]
fn of_batches_with_checkpoints() {
    for level in Durability::ALL {
        sweep_of("batches", "of_batches", level, batches_with_checkpoints);
    }
}

#[test]
fn of_overwrites_and_deletes_with_compaction() {
    let workload = overwrites_and_deletes_with_compaction;
    sweep_of("compaction", "of_overwrites", Durability::Full, workload);
}

#[test]
fn of_concurrent_writers_of_hot_keys() {
    for level in [Durability::Full, Durability::Os] {
        sweep_of("writers", "of_concurrent", level, writers_of_hot_keys);
    }
}

#[test]
fn of_every_change_of_level() {
    sweep_of(
        "levels",
        "of_every_change",
        Durability::Os,
        changes_of_level,
    );
}
