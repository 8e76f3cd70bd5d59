//! Validation of a read set: one look per key at a fixed array "last LSN by key hash".
//!
//! A slot newer than the read means that the key, or another one of the same slot, was written
//! since. A false hit costs a retry, never a wrong answer.

use std::hash::{BuildHasher, RandomState};

use crate::limits::CONFLICT_SLOTS;
use crate::lsn::Lsn;

/// Hash of a key, keyed at random per store, so that nobody can aim at one slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHash(u64);

/// Makes [`KeyHash`]es.
#[derive(Clone, Default)]
pub(crate) struct KeyHasher(RandomState);

impl KeyHasher {
    pub(crate) fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(self.0.hash_one(key))
    }
}

/// The array. It lives inside the commit section. Plain numbers, because the allocator gives zeroed
/// memory for those without touching it: opening a store does not write 8 MiB.
pub(crate) struct ConflictSlots(Box<[u64]>);

impl ConflictSlots {
    pub(crate) fn new() -> Self {
        Self(vec![0; CONFLICT_SLOTS].into_boxed_slice())
    }

    /// Whether none of the keys was written after `read_lsn`.
    pub(crate) fn unchanged(&self, reads: &[KeyHash], read_lsn: Lsn) -> bool {
        reads.iter().all(|hash| {
            self.0
                .get(slot(*hash))
                .is_some_and(|last| *last <= read_lsn.0)
        })
    }

    /// Notes that a key was written at `lsn`.
    pub(crate) fn note(&mut self, hash: KeyHash, lsn: Lsn) {
        if let Some(last) = self.0.get_mut(slot(hash)) {
            *last = lsn.0;
        }
    }
}

fn slot(hash: KeyHash) -> usize {
    // The mask is below 2^20, so the narrowing keeps every bit of it.
    usize::try_from(hash.0 & (CONFLICT_SLOTS as u64 - 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_write_of_a_read_key_is_seen() {
        let (hasher, mut slots) = (KeyHasher::default(), ConflictSlots::new());
        let key = hasher.hash(b"a");
        assert!(slots.unchanged(&[key], Lsn(0)));
        slots.note(key, Lsn(7));
        assert!(!slots.unchanged(&[key], Lsn(6)));
        assert!(slots.unchanged(&[key], Lsn(7)));
        assert!(slots.unchanged(&[], Lsn(0)));
    }
}
