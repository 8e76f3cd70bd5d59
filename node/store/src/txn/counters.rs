//! Counters, as of the newest visible LSN or of one that a reader took a moment ago.
//!
//! A reader takes its LSN without a lock, and by the time it asks for a counter others may have
//! moved it. So the last movements are kept, and those behind the reader's back are taken off again.

use std::collections::{BTreeMap, VecDeque};

use crate::lsn::Lsn;
use crate::sync::{Mutex, lock};

/// Movements that are kept: a reader asks right after it took its LSN, so they have to reach back
/// over the time that a thread may be held up in between. 96 KiB.
const RECENT: usize = 4096;

/// See the module.
pub(crate) struct Counters(Mutex<State>);

struct State {
    values: BTreeMap<u64, i64>,
    /// In the order of LSNs.
    recent: VecDeque<(Lsn, u64, i64)>,
    /// The LSN of the newest movement that is not kept any more.
    forgotten: Lsn,
}

impl Counters {
    /// Counters with these values, which hold at every LSN up to the first movement.
    pub(crate) fn new(values: BTreeMap<u64, i64>) -> Self {
        Self(Mutex::new(State {
            values,
            recent: VecDeque::new(),
            forgotten: Lsn::ZERO,
        }))
    }

    /// Moves them, in the order of LSNs and before these are visible.
    pub(crate) fn apply(&self, movements: impl Iterator<Item = (Lsn, u64, i64)>) {
        let mut movements = movements.peekable();
        if movements.peek().is_none() {
            return;
        }
        let mut state = lock(&self.0);
        for (lsn, id, delta) in movements {
            *state.values.entry(id).or_default() += delta;
            if state.recent.len() == RECENT
                && let Some((oldest, ..)) = state.recent.pop_front()
            {
                state.forgotten = oldest;
            }
            state.recent.push_back((lsn, id, delta));
        }
    }

    /// The newest value.
    pub(crate) fn newest(&self, id: u64) -> i64 {
        lock(&self.0).values.get(&id).copied().unwrap_or(0)
    }

    /// The value as of `lsn`, which was visible a moment ago; none if that moment was too long.
    pub(crate) fn at(&self, id: u64, lsn: Lsn) -> Option<i64> {
        let state = lock(&self.0);
        if lsn < state.forgotten {
            return None;
        }
        let later = state.recent.iter().rev().take_while(|(at, ..)| *at > lsn);
        let moved: i64 = later
            .filter(|(_, moved, _)| *moved == id)
            .map(|(.., delta)| delta)
            .sum();
        Some(state.values.get(&id).copied().unwrap_or(0) - moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_moment_ago() {
        let counters = Counters::new(BTreeMap::from([(7, 100)]));
        assert_eq!(counters.at(7, Lsn::ZERO), Some(100));
        counters.apply([(Lsn(5), 7, 1), (Lsn(5), 8, 1), (Lsn(6), 7, -3)].into_iter());
        counters.apply(std::iter::empty());
        let of = |id| [4, 5, 6, 9].map(|lsn| counters.at(id, Lsn(lsn)));
        assert_eq!(of(7), [Some(100), Some(101), Some(98), Some(98)]);
        assert_eq!(of(8), [Some(0), Some(1), Some(1), Some(1)]);
        assert_eq!(of(9), [Some(0); 4]);
        assert_eq!((counters.newest(7), counters.newest(9)), (98, 0));
    }

    #[test]
    fn what_is_too_long_ago_is_not_guessed() {
        let counters = Counters::new(BTreeMap::new());
        let last = RECENT as u64 + 10;
        counters.apply((1..=last).map(|lsn| (Lsn(lsn), 7, 1)));
        assert_eq!(counters.newest(7), i64::try_from(last).unwrap());
        assert_eq!(counters.at(7, Lsn(9)), None);
        for lsn in [10, 11, last] {
            assert_eq!(counters.at(7, Lsn(lsn)), i64::try_from(lsn).ok());
        }
        assert_eq!(lock(&counters.0).recent.len(), RECENT);
    }
}
