//! How many wrong tokens an address may send.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Wrong tokens per address and window that are answered with 401.
pub(super) const MAX_FAILURES: u64 = 20;
const WINDOW_SECONDS: u64 = 10;
/// Addresses may share a place: then they share its failures, which harms no right token.
const PLACES: usize = 1024;
const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// Counts of wrong tokens in bounded memory. A place holds the number of its window and the count.
pub(super) struct FailureLimit {
    places: Box<[AtomicU64]>,
    // Keyed, so that nobody chooses addresses that fall on the place of another.
    keys: RandomState,
    epoch: Instant,
}

impl FailureLimit {
    pub(super) fn new() -> Self {
        Self {
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            keys: RandomState::new(),
            epoch: Instant::now(),
        }
    }

    /// Counts one more, and tells whether it is within the limit.
    pub(super) fn allow(&self, peer: IpAddr) -> bool {
        self.allow_in(peer, self.epoch.elapsed().as_secs() / WINDOW_SECONDS)
    }

    pub(super) fn allow_in(&self, peer: IpAddr, window: u64) -> bool {
        let places = u64::try_from(self.places.len()).unwrap_or(u64::MAX).max(1);
        let place = self.keys.hash_one(network(peer)) % places;
        let Some(place) = usize::try_from(place)
            .ok()
            .and_then(|at| self.places.get(at))
        else {
            return false;
        };
        let next = |seen: u64| {
            let before = if seen >> COUNT_BITS == window {
                seen & COUNT_MASK
            } else {
                0
            };
            (window << COUNT_BITS) | before.saturating_add(1).min(COUNT_MASK)
        };
        let before = place
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seen| {
                Some(next(seen))
            })
            .unwrap_or_else(|seen| seen);
        next(before) & COUNT_MASK <= MAX_FAILURES
    }
}

/// What one owner holds: an IPv4 address, or an IPv6 network of 64 bits.
fn network(peer: IpAddr) -> u64 {
    match peer.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => u64::try_from(address.to_bits() >> 64).unwrap_or(u64::MAX),
    }
}
