//! The power is cut at every I/O call, in every way, and the store opened on what is left.
//!
//! `GODB_POWERCUT_ROUNDS` repeats everything with other seeds and tries more cuts of each round;
//! `GODB_POWERCUT_SEED` gives the first seed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use godb_store::disk::sim::{Image, LossVariant, Moment};
use godb_store::disk::{CallKind, SimDisk};
use godb_store::{Durability, Settings, Store};

use crate::harness::open_with;
pub use crate::harness::{Draw, batch, on, rounds, small};
use crate::oracle::{Oracle, Promised};
use crate::workloads::{
    Run, batches_with_checkpoints, changes_of_level, overwrites_and_deletes_with_compaction,
    writers_of_hot_keys,
};

/// Reopened cuts of one workload and round in the quick set.
pub const QUICK_CUTS: usize = 150;
/// Every call of the workload, before and after it, in every variant.
const EVERY_CUT: usize = usize::MAX;
/// Failures after which a workload is not tried further.
const ENOUGH: usize = 5;

/// The state of a moment, and what had been promised by then.
#[derive(Clone)]
pub struct Cut {
    pub image: Image,
    promised: Promised,
    at: String,
}

/// Cuts of a run, and which calls it made.
#[derive(Clone, Default)]
pub struct Cuts {
    cuts: Arc<Mutex<Vec<Cut>>>,
    calls: Arc<Mutex<BTreeMap<String, usize>>>,
    /// What its readers see at a cut counts as shown.
    readers: Arc<OnceLock<Store>>,
}

/// A call by what it means to the store.
fn meaning(kind: CallKind, path: &str, to: Option<&str>) -> String {
    let file = if path.contains("MANIFEST") {
        "manifest"
    } else if path.contains("/table-") {
        "table"
    } else if path.contains("/wal-") {
        "segment"
    } else if path.ends_with("/wal") {
        "log directory"
    } else if path.ends_with("/tables") {
        "table directory"
    } else {
        "other"
    };
    let recycled = file == "segment" && to.is_some_and(|to| to.ends_with(".tmp"));
    format!(
        "{kind:?} {file}{}",
        if recycled { " for reuse" } else { "" }
    )
}

impl Cuts {
    /// Takes an image before and after every call on `disk` that changes something.
    pub fn watch(disk: &SimDisk, oracle: &Oracle) -> Cuts {
        let taken = Cuts::default();
        let (cuts, oracle) = (taken.clone(), oracle.clone());
        disk.on_call(move |call| {
            if call.moment == Moment::Before {
                let to = call.to.map(|to| to.to_string_lossy());
                let what = meaning(call.kind, &call.path.to_string_lossy(), to.as_deref());
                *cuts.calls.lock().unwrap().entry(what).or_default() += 1;
            }
            if let Some(store) = cuts.readers.get() {
                oracle.saw(store.snapshot_read().lsn());
            }
            let promised = oracle.promised();
            let at = format!(
                "{:?} call {} {:?} {}",
                call.moment,
                call.index,
                call.kind,
                call.path.display()
            );
            let image = call.image();
            cuts.cuts.lock().unwrap().push(Cut {
                image,
                promised,
                at,
            });
        });
        taken
    }

    fn called(&self, what: &str) -> usize {
        self.calls.lock().unwrap().get(what).copied().unwrap_or(0)
    }

    /// At most `most` of the cuts, evenly spread, shifted by the seed.
    fn sample(&self, most: usize, seed: u64) -> Vec<Cut> {
        let cuts = self.cuts.lock().unwrap();
        let step = cuts.len().div_ceil(most.max(1)).max(1);
        cuts.iter()
            .skip(seed as usize % step)
            .step_by(step)
            .cloned()
            .collect()
    }

    pub fn count(&self) -> usize {
        self.cuts.lock().unwrap().len()
    }
}

/// Opens what is left of `cut`, compares, writes, ends in some way, and so on, at changing levels:
/// what one start leaves is what the next one finds.
pub fn survives(
    cut: &Cut,
    oracle: &Oracle,
    settings: &Settings,
    variant: LossVariant,
    seed: u64,
) -> Result<(), String> {
    survives_as(cut, oracle, settings, variant, variant, seed)
}

/// As [`survives`], where what was lost before the cut makes it count as `worst`.
fn survives_as(
    cut: &Cut,
    oracle: &Oracle,
    settings: &Settings,
    variant: LossVariant,
    worst: LossVariant,
    seed: u64,
) -> Result<(), String> {
    let mut draw = Draw(seed);
    let mut settings = settings.clone();
    let mut disk = cut.image.survive(variant, seed);
    let mut oracle = oracle.clone();
    let mut promised = cut.promised.clone();
    let mut variant = worst;
    for start in 1..=3 {
        let wrong = |what: &str, error: String| format!("{what} of start {start}: {error}");
        let store = open_with(&on(&disk), &settings)
            .map_err(|error| wrong("open", format!("{error}\n{}", disk.dump())))?;
        let held = oracle
            .check(&store, &promised, variant)
            .map_err(|error| wrong(&format!("{variant:?}, state"), error))?;
        oracle = oracle.after(&held, &promised);
        let level = settings.live.durability;
        if draw.below(4) > 0 {
            oracle
                .commit_above(&store, level)
                .map_err(|error| wrong("write", error))?;
        }
        match draw.below(3) {
            0 => {
                variant = LossVariant::LoseUnsynced;
                store.close().map_err(|e| wrong("close", e.to_string()))?;
                oracle.cover(store.stats().appended_lsn);
                promised = oracle.promised();
            }
            _ => {
                variant = LossVariant::ALL[draw.below(6) as usize];
                promised = oracle.promised();
                disk = disk.image().survive(variant, draw.below(1 << 30));
            }
        }
        if draw.below(2) == 0 {
            settings.live.durability = Durability::ALL[draw.below(4) as usize];
        }
    }
    Ok(())
}

/// What is wrong with a sample of the cuts, until there are `enough` failures.
pub fn failures(
    cuts: &Cuts,
    oracle: &Oracle,
    settings: &Settings,
    most: usize,
    enough: usize,
    seed: u64,
) -> Vec<String> {
    let variants = LossVariant::ALL;
    let sample = cuts.sample(most.div_ceil(variants.len()), seed);
    let mut failures = Vec::new();
    let mut tried = 0u32;
    let started = Instant::now();
    for (n, cut) in sample.iter().enumerate() {
        for variant in variants {
            if failures.len() == enough {
                break;
            }
            tried += 1;
            let seed = seed
                .wrapping_mul(31)
                .wrapping_add(n as u64 * 7 + variant as u64);
            if let Err(error) = survives(cut, oracle, settings, variant, seed) {
                failures.push(format!("{} {variant:?} seed {seed}: {error}", cut.at));
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    eprintln!(
        "power cuts: {} places, {} tried in every variant, {tried} cuts in {seconds:.1} s, {:.0}/s",
        cuts.count(),
        sample.len(),
        f64::from(tried) / seconds
    );
    failures
}

pub fn prove(
    name: &str,
    crossed: &[&str],
    cuts_per_round: usize,
    settings: &Settings,
    workload: impl Fn(&Run, u64),
) {
    let (rounds, seed) = rounds();
    for seed in seed..seed + rounds {
        let disk = SimDisk::new();
        let oracle = Oracle::default();
        let cuts = Cuts::watch(&disk, &oracle);
        let store = open_with(&on(&disk), settings).unwrap();
        assert!(cuts.readers.set(store.clone()).is_ok());
        let run = Run::new(&store, &oracle);
        workload(&run, seed);
        assert!(run.failed().is_empty(), "{name}: {:?}", run.failed());
        store.close().unwrap();
        disk.clear_hook();
        let calls = cuts.calls.lock().unwrap().clone();
        eprintln!(
            "{name}: seed {seed}, {} transactions, calls {calls:?}",
            oracle.sent()
        );
        for what in crossed {
            assert!(
                cuts.called(what) > 0,
                "{name} crossed no `{what}`: it proves nothing"
            );
        }
        let most = cuts_per_round.saturating_mul(if rounds > 1 { 4 } else { 1 });
        let failures = failures(&cuts, &oracle, settings, most, ENOUGH, seed);
        assert!(
            failures.is_empty(),
            "{name}: {} failures\nagain: GODB_POWERCUT_SEED={seed} cargo test -p godb-store --test store powercut\n{}",
            failures.len(),
            failures.join("\n")
        );
    }
}

pub const LOG: [&str; 5] = [
    "Write segment",
    "SyncData segment",
    "Rename segment for reuse",
    "SyncDir log directory",
    "Rename manifest",
];

#[test]
fn batches_over_rotation_and_recycling_survive_at_full() {
    prove(
        "batches at full",
        &LOG,
        EVERY_CUT,
        &small(Durability::Full),
        batches_with_checkpoints,
    );
}

#[test]
fn batches_over_rotation_and_recycling_survive_at_os() {
    prove(
        "batches at os",
        &LOG,
        QUICK_CUTS,
        &small(Durability::Os),
        batches_with_checkpoints,
    );
}

#[test]
fn batches_over_rotation_and_recycling_are_a_prefix_at_memory() {
    prove(
        "batches at memory",
        &LOG,
        QUICK_CUTS,
        &small(Durability::Memory),
        batches_with_checkpoints,
    );
}

#[test]
fn batches_are_a_prefix_at_none() {
    let crossed = ["Create table", "Rename manifest"];
    prove(
        "batches at none",
        &crossed,
        QUICK_CUTS,
        &small(Durability::None),
        batches_with_checkpoints,
    );
}

#[test]
fn recovery_that_is_cut_off_again_and_again_survives() {
    let (rounds, seed) = rounds();
    for level in [Durability::Full, Durability::Os, Durability::Memory] {
        let settings = small(level);
        let mut tried = 0;
        for seed in seed..seed + rounds {
            let mut draw = Draw(seed);
            let oracle = Oracle::default();
            let mut disk = SimDisk::new();
            let mut variant = LossVariant::KeepAll;
            for start in 0..6 {
                let cuts = Cuts::watch(&disk, &oracle);
                let store = open_with(&on(&disk), &settings)
                    .unwrap_or_else(|e| panic!("{level} seed {seed} start {start}: {e}"));
                disk.clear_hook();
                // A cut inside the open promises what was promised before it, in the way in which
                // the run before it ended.
                let before = cuts.sample(usize::MAX, 0).first().unwrap().promised.clone();
                for (n, cut) in cuts.sample(5, seed).into_iter().enumerate() {
                    for next in LossVariant::ALL {
                        let worst = if variant.is_power_cut() {
                            variant
                        } else {
                            next
                        };
                        tried += 1;
                        survives_as(&cut, &oracle, &settings, next, worst, seed + n as u64)
                            .unwrap_or_else(|e| {
                                panic!("{level} seed {seed} start {start} {variant:?}, then {} {next:?}: {e}", cut.at)
                            });
                    }
                }
                let held = oracle.check(&store, &before, variant).unwrap();
                let next = oracle.after(&held, &before);
                oracle.replace(&next);
                for n in 0..6 {
                    let length = if n == 3 { 400_000 } else { 3000 };
                    let writes = |id| batch(&mut draw, id, 3, 30, length);
                    oracle.commit(&store, writes, level, None).unwrap();
                }
                if start == 3 {
                    oracle.cover(store.checkpoint().unwrap().lsn);
                }
                variant = LossVariant::ALL[draw.below(6) as usize];
                disk = disk.image().survive(variant, seed + start);
            }
        }
        eprintln!("recoveries cut at {level}: {tried}, seed {seed}");
    }
}

#[test]
fn overwrites_and_deletes_survive_compaction() {
    let crossed = [
        "Create table",
        "Remove table",
        "SyncDir table directory",
        "Rename manifest",
    ];
    prove(
        "compaction",
        &crossed,
        EVERY_CUT,
        &small(Durability::Full),
        overwrites_and_deletes_with_compaction,
    );
}

#[test]
fn concurrent_writers_of_hot_keys_survive() {
    for level in [Durability::Full, Durability::Os] {
        prove(
            &format!("writers at {level}"),
            &LOG[..2],
            QUICK_CUTS,
            &small(level),
            writers_of_hot_keys,
        );
    }
}

#[test]
fn every_change_of_level_survives_while_writing() {
    let crossed = ["Rename manifest", "SyncData segment", "Create table"];
    prove(
        "levels",
        &crossed,
        EVERY_CUT,
        &small(Durability::Os),
        changes_of_level,
    );
}
