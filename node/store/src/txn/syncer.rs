//! Who takes a group from the log buffer to the disk: the log thread, or one of its committers.
//!
//! A hop to the log thread and back costs two switches of threads and, with many waiters, a queue
//! that all threads share; where a sync is as short as that, the committer does it himself. It then
//! sits in the sync, and so do the reads that the same thread would serve. So at `full` it depends on
//! the moving average of a sync, in both directions; at `os`, where a group costs one write, it is
//! always a committer, but a sync or a change of segments on a slow disk is left to the log thread.
//!
//! One of those who wait for a group *claims* it. A claim stands for what is in the buffer, so it ends
//! when that is taken, by whomever. There is at most one, and never one on an empty buffer; whoever
//! drops his claim hands the group to the log thread. What may be shown is decided in `publish` and
//! nowhere else, and everything runs under the log's lock, whoever holds it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use crate::settings::{Durability, WhoSyncs};
use crate::sync::{Mutex, lock};

/// A sync this short is done by committers…
const FAST: Duration = Duration::from_micros(150);
/// …until the average exceeds this.
const SLOW: Duration = Duration::from_micros(250);
/// One sync counts as at most this, so that a single late one does not change who syncs.
const MOST: Duration = Duration::from_micros(1000);

/// Whether the committer's thread may stand still for a sync.
const SYNC_IS_SLOW: u8 = 0;
const SYNC_IS_FAST: u8 = 1;

/// Names a claim. Zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claim(u64);

/// See the module.
pub(crate) struct Syncer {
    who: WhoSyncs,
    fast: AtomicU8,
    average_nanos: AtomicU64,
    last_group: AtomicU64,
    /// The standing claim; changed inside the section only.
    claim: AtomicU64,
    claims: AtomicU64,
    /// Who holds a claim and found the log's lock taken.
    claimant: Mutex<Option<(Claim, Waker)>>,
}

impl Syncer {
    pub(crate) fn new(who: WhoSyncs) -> Self {
        Self {
            who,
            fast: AtomicU8::new(SYNC_IS_SLOW),
            average_nanos: AtomicU64::new(0),
            last_group: AtomicU64::new(0),
            claim: AtomicU64::new(0),
            claims: AtomicU64::new(0),
            claimant: Mutex::new(None),
        }
    }

    /// Whether groups at `level` are for their committers.
    pub(crate) fn by_committer(&self, level: Durability) -> bool {
        match level {
            Durability::None | Durability::Memory => false,
            Durability::Os => self.who != WhoSyncs::LogThread,
            Durability::Full => self.committer_may_sync(),
        }
    }

    /// Whether a committer may stand still for a sync.
    pub(crate) fn committer_may_sync(&self) -> bool {
        match self.who {
            WhoSyncs::LogThread => false,
            WhoSyncs::Committer => true,
            WhoSyncs::Adaptive => self.fast.load(Ordering::Relaxed) == SYNC_IS_FAST,
        }
    }

    /// A sync took this long. Called under the log's lock.
    pub(crate) fn synced(&self, took: Duration) {
        let nanos = u64::try_from(took.min(MOST).as_nanos()).unwrap_or(u64::MAX);
        let average = match self.average_nanos.load(Ordering::Relaxed) {
            0 => nanos,
            before => before - before / 8 + nanos / 8,
        };
        self.average_nanos.store(average, Ordering::Relaxed);
        let average = Duration::from_nanos(average);
        if average < FAST {
            self.fast.store(SYNC_IS_FAST, Ordering::Relaxed);
        } else if average > SLOW {
            self.fast.store(SYNC_IS_SLOW, Ordering::Relaxed);
        }
    }

    /// A group of so many transactions was taken. Called inside the section: the claim on it ends.
    pub(crate) fn taken(&self, transactions: u64) {
        self.claim.store(0, Ordering::Release);
        if transactions > 0 {
            self.last_group.store(transactions, Ordering::Relaxed);
        }
    }

    /// How many transactions are worth waiting for, and how long at most: half of the last group,
    /// for one sync.
    pub(crate) fn gathering(&self) -> (u64, Duration) {
        let nanos = self.average_nanos.load(Ordering::Relaxed);
        let wanted = self.last_group.load(Ordering::Relaxed) / 2;
        (wanted, Duration::from_nanos(nanos))
    }

    /// Whether someone claimed what is in the buffer. Without the section it can only err for a
    /// group that has been taken meanwhile.
    pub(crate) fn is_claimed(&self) -> bool {
        self.claim.load(Ordering::Acquire) != 0
    }

    /// Whether this claim stands.
    pub(crate) fn stands(&self, claim: Claim) -> bool {
        self.claim.load(Ordering::Acquire) == claim.0
    }

    /// A claim on what is in the buffer. Called inside the section, when nobody else has one.
    pub(crate) fn claim(&self) -> Claim {
        let claim = Claim(self.claims.fetch_add(1, Ordering::Relaxed) + 1);
        self.claim.store(claim.0, Ordering::Release);
        claim
    }

    /// Who holds `claim` wants to be woken when the log's lock is free.
    pub(crate) fn await_turn(&self, claim: Claim, waker: &Waker) {
        let mut claimant = lock(&self.claimant);
        // One whose claim was ended meanwhile must not displace the next one.
        if claimant.as_ref().is_none_or(|(other, _)| *other <= claim) {
            *claimant = Some((claim, waker.clone()));
        }
    }

    /// Who waits for the log's lock, to be woken after it was given back.
    pub(crate) fn next_turn(&self) -> Option<Waker> {
        if !self.is_claimed() {
            return None;
        }
        lock(&self.claimant).take().map(|(_, waker)| waker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committers_sync_while_the_average_is_short_and_only_then() {
        let syncer = Syncer::new(WhoSyncs::Adaptive);
        assert!(!syncer.by_committer(Durability::Full), "nothing is known");
        assert!(syncer.by_committer(Durability::Os));
        syncer.synced(Duration::from_micros(60));
        assert!(syncer.by_committer(Durability::Full));
        syncer.synced(Duration::from_millis(5));
        assert!(syncer.by_committer(Durability::Full), "a single late one");
        syncer.synced(Duration::from_millis(5));
        assert!(!syncer.by_committer(Durability::Full), "a slow disk");
        let fast_ones = (1..200)
            .find(|_| {
                syncer.synced(Duration::from_micros(60));
                syncer.by_committer(Durability::Full)
            })
            .unwrap();
        assert!(
            (3..100).contains(&fast_ones),
            "back after {fast_ones} fast ones"
        );
        for level in [Durability::None, Durability::Memory] {
            assert!(!syncer.by_committer(level));
        }
    }

    #[test]
    fn an_ended_claim_does_not_displace_the_next_claimant() {
        use std::sync::Arc;
        use std::sync::atomic::AtomicUsize;
        #[derive(Default)]
        struct Counts(AtomicUsize);
        impl std::task::Wake for Counts {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let syncer = Syncer::new(WhoSyncs::Committer);
        let (old, new) = (Arc::<Counts>::default(), Arc::<Counts>::default());
        let first = syncer.claim();
        syncer.taken(1);
        let second = syncer.claim();
        assert!(!syncer.stands(first) && syncer.stands(second));
        syncer.await_turn(second, &Arc::clone(&new).into());
        syncer.await_turn(first, &Arc::clone(&old).into());
        syncer.next_turn().unwrap().wake();
        assert_eq!(
            (old.0.load(Ordering::Relaxed), new.0.load(Ordering::Relaxed)),
            (0, 1)
        );
    }
}
