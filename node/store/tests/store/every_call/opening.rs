//! Calls of the open itself: recovery that fails at any of them, again and again, is repeated until
//! it succeeds, and serves what was promised before.

use godb_store::disk::FaultDisk;
use godb_store::disk::sim::{Image, LossVariant};

use super::*;
use crate::harness::rounds;
use crate::powercut::on;

/// What a workload leaves that was never closed.
fn left_by_a_kill(level: Durability, seed: u64) -> (Image, Oracle) {
    let sim = godb_store::disk::SimDisk::new();
    let oracle = Oracle::default();
    let store = open_with(&on(&sim), &small(level)).unwrap();
    let run = Run::new(&store, &oracle);
    batches_with_checkpoints(&run, seed);
    for n in 0..12 {
        let writes = |id| vec![(key(n), Some(value(id, 0, 3000)))];
        run.commit(writes, level, None);
    }
    assert!(run.failed().is_empty(), "{:?}", run.failed());
    (sim.image(), oracle)
}

/// How often a recovery fails before it is left alone.
const AGAIN: u64 = 3;

fn opened_again_and_again(
    (image, oracle): &(Image, Oracle),
    level: Durability,
    before: LossVariant,
    rule: &Rule,
    call: u64,
    seed: u64,
) -> Outcome {
    let sim = image.survive(before, seed);
    let mut picked = 0;
    let mut fate = Fate::WentOn;
    for _ in 0..AGAIN {
        let fault = FaultDisk::over_sim(sim.clone());
        let rule = fault.add(rule.clone());
        let disk: Arc<dyn Disk> = Arc::new(fault.clone());
        match open_with(&disk, &small(level)) {
            Err(error) => {
                assert!(is_of_the_disk(&error), "{error:?}");
                fate = Fate::Refused;
            }
            // What its background calls after it is for other tests to fail.
            Ok(store) => drop(store),
        }
        picked += fault.picked(rule);
    }
    restarted(&sim, oracle, level, LossVariant::KeepAll, seed);
    let variant = LossVariant::ALL[(call + seed) as usize % LossVariant::ALL.len()];
    restarted(&sim, oracle, level, variant, seed);
    (picked, fate)
}

#[test]
fn of_recoveries_again_and_again() {
    for (level, before) in [
        (Durability::Full, LossVariant::LoseUnsynced),
        (Durability::Full, LossVariant::TearLast),
        (Durability::Os, LossVariant::KeepAll),
        (Durability::Os, LossVariant::KillInWrite),
        (Durability::None, LossVariant::KeepAll),
    ] {
        let name = format!("recovery at {level} after {before:?}");
        let left = Arc::new(left_by_a_kill(level, rounds().1));
        sweep(&name, "of_recoveries", move |rule, call, seed| {
            opened_again_and_again(&left, level, before, &rule, call, seed)
        });
    }
}
