//! Writers are slowed down smoothly before a bound stops them (`gate`).
//!
//! The delay before a write grows with the debt: ten times for each quarter of the way from where it
//! begins to the bound. So the rate of the writers settles where checkpoints and compactions keep up,
//! whatever that rate is, and no single write waits for long.

use std::time::Duration;

/// Share of a bound at which the delay begins, in thousandths: memory swings below it while all is
/// well, as one memtable fills while others are flushed.
const MEMORY_BEGINS: u64 = 700;
/// Tables of level 0 at which the delay begins.
const RUNS_BEGIN: u64 = 12;
/// Tables of level 0 at which writers wait: each of them is one more place to look for a read.
pub(crate) const MOST_RUNS: u64 = 24;
/// The least delay.
const LEAST: Duration = Duration::from_micros(100);
/// The delay at a bound. A fraction of what a writer waits before he is refused.
const MOST: Duration = Duration::from_secs(1);

/// How far `value` is from `begins` to `bound`, in thousandths.
fn debt(value: u64, begins: u64, bound: u64) -> u64 {
    let way = bound.saturating_sub(begins).max(1);
    (value.saturating_sub(begins).saturating_mul(1000) / way).min(1000)
}

/// How long a writer waits before his next write.
pub(crate) fn delay(memtable_bytes: u64, hold_bytes: u64, runs: u64) -> Duration {
    let memory = debt(
        memtable_bytes,
        hold_bytes / 1000 * MEMORY_BEGINS,
        hold_bytes,
    );
    let debt = memory.max(debt(runs, RUNS_BEGIN, MOST_RUNS));
    match u32::try_from(debt) {
        Ok(debt @ 1..) => {
            let powers = MOST.as_secs_f64() / LEAST.as_secs_f64();
            LEAST
                .mul_f64(powers.powf(f64::from(debt) / 1000.0))
                .min(MOST)
        }
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_by_steps_of_no_more_than_double_up_to_the_bound() {
        let hold = 256 << 20;
        assert_eq!(delay(hold / 2, hold, RUNS_BEGIN), Duration::ZERO);
        let mut before = LEAST / 2;
        for percent in 71..=100 {
            let now = delay(hold / 100 * percent, hold, 0);
            assert!(
                now > before && now < before * 3,
                "{percent}: {before:?} {now:?}"
            );
            before = now;
        }
        assert!(before > MOST * 9 / 10 && delay(2 * hold, hold, 0) <= MOST);
        let by_runs: Vec<_> = (RUNS_BEGIN..=MOST_RUNS)
            .map(|n| delay(0, hold, n))
            .collect();
        assert!(by_runs.is_sorted() && by_runs.first() == Some(&Duration::ZERO));
        assert!(by_runs.last() > Some(&(MOST * 9 / 10)));
    }
}
