//! Who takes a group from the log buffer to the disk: the log thread, or one of its committers.
//!
//! A hop to the log thread and back costs two switches of threads and, with many waiters, a queue
//! that all threads share; where a sync is as short as that, the committer does it himself. It then
//! sits in the sync, and so do the reads and commits that the same thread would serve. So at `full` it
//! depends on the moving average of a sync, and on how many commits there are to go on with meanwhile;
//! in both directions. At `os`, where a group costs one write, it is always a committer, but a sync or a
//! change of segments on a slow disk is left to the log thread.
//!
//! One of those who wait for a group *claims* it. A claim stands for what is in the buffer, so it ends
//! when that is taken, by whomever. There is at most one, and never one on an empty buffer; whoever
//! drops his claim hands the group to the log thread. What may be shown is decided in `publish` and
//! nowhere else, and everything runs under the log's lock, whoever holds it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::lsn::Lsn;
use crate::settings::{Durability, WhoSyncs};
use crate::sync::{Mutex, lock};
use crate::txn::commit::{LogState, Pipeline};
use crate::txn::publish::SyncBy;

/// A sync this short is done by committers, however many there are…
const INSTANT: Duration = Duration::from_micros(70);
/// …until the average exceeds this.
const NO_LONGER_INSTANT: Duration = Duration::from_micros(90);
/// One this short is done by committers who are few…
const FAST: Duration = Duration::from_micros(150);
/// …until the average exceeds this.
const SLOW: Duration = Duration::from_micros(250);

/// So many transactions on their way are a crowd, until they are this few again.
const CROWD: u64 = 20;
const NO_LONGER_A_CROWD: u64 = 14;
/// One sync counts as at most this, so that a single late one does not change who syncs.
const MOST: Duration = Duration::from_micros(1000);

/// Who gathers for longer than this leaves the processor to others.
const WORTH_A_SLEEP: Duration = Duration::from_micros(200);

/// For whom a committer's thread may stand still for a sync: for nobody, for a few, for anybody.
const SYNC_IS_SLOW: u8 = 0;
const SYNC_IS_FAST: u8 = 1;
const SYNC_IS_INSTANT: u8 = 2;

/// Names a claim. Zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claim(u64);

/// See the module.
pub(crate) struct Syncer {
    who: WhoSyncs,
    pace: AtomicU8,
    average_nanos: AtomicU64,
    crowded: AtomicBool,
    /// Transactions on their way when the last group was acknowledged, itself included.
    in_flight: AtomicU64,
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
            pace: AtomicU8::new(SYNC_IS_SLOW),
            average_nanos: AtomicU64::new(0),
            crowded: AtomicBool::new(false),
            in_flight: AtomicU64::new(0),
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
            WhoSyncs::Adaptive => match self.pace.load(Ordering::Relaxed) {
                SYNC_IS_INSTANT => true,
                SYNC_IS_FAST => !self.crowded.load(Ordering::Relaxed),
                _ => false,
            },
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
        let pace = pace(
            self.pace.load(Ordering::Relaxed),
            Duration::from_nanos(average),
        );
        self.pace.store(pace, Ordering::Relaxed);
    }

    /// The group was taken. Called inside the section: the claim on it ends.
    pub(crate) fn taken(&self) {
        self.claim.store(0, Ordering::Release);
    }

    /// So many transactions are on their way, those that are acknowledged now included.
    pub(crate) fn in_flight(&self, transactions: u64) {
        self.in_flight.store(transactions, Ordering::Relaxed);
        let crowded = if self.crowded.load(Ordering::Relaxed) {
            transactions >= NO_LONGER_A_CROWD
        } else {
            transactions >= CROWD
        };
        self.crowded.store(crowded, Ordering::Relaxed);
    }

    /// How many transactions are worth waiting for, and how long at most: most of those that were
    /// on their way, as whoever was just answered is soon back, and half of a sync.
    pub(crate) fn gathering(&self) -> (u64, Duration) {
        let nanos = self.average_nanos.load(Ordering::Relaxed);
        let wanted = self.in_flight.load(Ordering::Relaxed) * 7 / 8;
        (wanted, Duration::from_nanos(nanos / 2))
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

/// What to make of syncs that take this long on average, after `before` was made of them.
fn pace(before: u8, average: Duration) -> u8 {
    let was_instant = before == SYNC_IS_INSTANT;
    if average < INSTANT || (was_instant && average < NO_LONGER_INSTANT) {
        SYNC_IS_INSTANT
    } else if average < FAST {
        SYNC_IS_FAST
    } else if average > SLOW {
        SYNC_IS_SLOW
    } else {
        before.min(SYNC_IS_FAST)
    }
}

impl Pipeline {
    /// Claims what is in the buffer for who waits for `lsn`, unless that is not in it, or someone
    /// else has claimed it.
    pub(crate) fn claim(&self, lsn: Lsn) -> Option<Claim> {
        if self.syncer.is_claimed() {
            return None;
        }
        let section = lock(&self.section);
        let in_buffer = section.buffer.first_lsn().is_some_and(|first| first <= lsn);
        (in_buffer && !self.syncer.is_claimed()).then(|| self.syncer.claim())
    }

    /// Leaves what is in the buffer to the log thread, if `lsn` is still there.
    pub(crate) fn hand_over(&self, lsn: Lsn) {
        let mut section = lock(&self.section);
        if section.buffer.first_lsn().is_some_and(|first| first <= lsn) {
            section.handed_over = true;
            self.work.notify_one();
        }
    }

    /// The turn of who claimed the group. It writes and syncs it if the log's lock is free, else
    /// `waker` is woken when it is. A failure reaches everyone by their tickets.
    pub(crate) fn take_turn(&self, claim: Claim, waker: &Waker) {
        if !self.syncer.stands(claim) {
            return;
        }
        self.syncer.await_turn(claim, waker);
        if let Some(mut state) = self.try_lock_log()
            && self.syncer.stands(claim)
        {
            self.drive_as_committer(&mut state);
        }
    }

    /// What a committer does of [`Pipeline::drive`]: neither a slow sync nor a change of segments
    /// that has to wait for one.
    pub(crate) fn drive_as_committer(&self, state: &mut LogState) {
        let may_sync = self.syncer.committer_may_sync();
        let waits = lock(&self.section).buffer.bytes();
        let rotates = state.log.as_ref().is_some_and(|log| !log.has_room(waits));
        if rotates && !may_sync {
            self.hand_over(self.marks.appended());
            return;
        }
        let sync = if may_sync {
            SyncBy::Need
        } else {
            SyncBy::LogThread
        };
        // Everyone learns of it by the latch that it set.
        let _ = self.drive(state, sync);
    }

    /// Lets a group gather, so never when writers come one at a time.
    pub(crate) fn gather(&self) {
        let (wanted, longest) = self.syncer.gathering();
        if wanted < 2 || self.level() != Durability::Full {
            return;
        }
        let since = Instant::now();
        let gathered = || self.marks.appended().0 - self.marks.written().0;
        while gathered() < wanted && since.elapsed() < longest {
            if longest > WORTH_A_SLEEP {
                std::thread::sleep(WORTH_A_SLEEP / 4);
            } else {
                crate::sync::yield_now();
            }
        }
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
    fn a_crowd_leaves_its_syncs_to_the_log_thread_unless_they_are_instant() {
        let syncer = Syncer::new(WhoSyncs::Adaptive);
        let sync =
            |micros: u64| (0..100).for_each(|_| syncer.synced(Duration::from_micros(micros)));
        let by_committer = |transactions| {
            syncer.in_flight(transactions);
            syncer.by_committer(Durability::Full)
        };
        sync(140);
        assert!(by_committer(8));
        assert!(!by_committer(64));
        assert!(!by_committer(CROWD - 1), "it does not swing");
        assert!(by_committer(8));
        sync(200);
        assert!(by_committer(8), "no longer so fast, and not slow yet");
        assert!(!by_committer(64));
        sync(60);
        assert!(by_committer(64));
        sync(80);
        assert!(by_committer(64), "it does not swing");
        sync(140);
        assert!(!by_committer(64));
        sync(300);
        assert!(!by_committer(1));
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
        syncer.taken();
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
