//! Ids of documents: what they may be, and new ones.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::fmt::Hyphenated;

use crate::error::{EngineError, Result};
use crate::limits::MAX_ID_BYTES;

/// Checks an id: 1 to 512 bytes of UTF-8.
///
/// # Errors
/// [`EngineError::InvalidId`] with the rule that is broken.
pub fn check(id: &str) -> Result<()> {
    let reason = if id.is_empty() {
        "it is empty"
    } else if id.len() > MAX_ID_BYTES {
        "it is longer than 512 bytes"
    } else {
        return Ok(());
    };
    Err(EngineError::InvalidId { reason })
}

/// Length of a generated id.
pub(crate) const GENERATED_BYTES: usize = Hyphenated::LENGTH;

/// A new id: a version 7 UUID as text. Ids made by one process are in ascending order, whatever
/// its clock does; those of different processes are ordered by their clocks.
pub(crate) fn generate() -> [u8; GENERATED_BYTES] {
    static GENERATOR: OnceLock<Mutex<Generator>> = OnceLock::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
    let generator = GENERATOR.get_or_init(|| Mutex::new(Generator::seeded()));
    // A panic cannot leave the generator in a state that is not one.
    let mut generator = generator.lock().unwrap_or_else(PoisonError::into_inner);
    let (millis, tail) = generator.next(now_ms);
    drop(generator);
    let bytes: [u8; 16] = tail.to_be_bytes();
    let counter = bytes.last_chunk::<10>().copied().unwrap_or_default();
    let mut text = [0; GENERATED_BYTES];
    uuid::Builder::from_unix_timestamp_millis(millis, &counter)
        .into_uuid()
        .hyphenated()
        .encode_lower(&mut text);
    text
}

/// Milliseconds and the 74 bits behind them, together ever ascending. The crate's own generator
/// asks the system for random bytes on every call; this one only at the start.
struct Generator {
    last_ms: u64,
    /// 80 bits as the UUID builder takes them; version and variant overwrite six of them.
    tail: u128,
    random: u64,
}

/// The 80 bits of a tail without the places of version (4 at the top) and variant (2 further on).
const VERSION_SHIFT: u32 = 76;
const VARIANT_SHIFT: u32 = 62;
const LOW_MASK: u128 = (1 << VARIANT_SHIFT) - 1;
const HIGH_MASK: u128 = (1 << 12) - 1;

impl Generator {
    fn seeded() -> Self {
        Self {
            last_ms: 0,
            tail: 0,
            random: RandomState::new().build_hasher().finish(),
        }
    }

    /// splitmix64: uniqueness comes from the seed and the counter, secrecy is not promised.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// The next milliseconds and tail for a clock that says `now_ms`.
    fn next(&mut self, now_ms: u64) -> (u64, u128) {
        if now_ms > self.last_ms {
            self.last_ms = now_ms;
            // The top bit stays free, so that a millisecond never runs out of numbers.
            let counter = u128::from(self.random()) << 9 | u128::from(self.random() & 0x1FF);
            self.tail = counter & ((1 << 73) - 1);
        } else {
            self.tail += 1 + u128::from(self.random() & 0xFFFF_FFFF);
            if self.tail >> 74 != 0 {
                self.tail = 0;
                self.last_ms += 1;
            }
        }
        let high = (self.tail >> VARIANT_SHIFT) & HIGH_MASK;
        let version_and_variant = 7 << VERSION_SHIFT | 2 << VARIANT_SHIFT;
        let spread = high << (VARIANT_SHIFT + 2) | self.tail & LOW_MASK;
        (self.last_ms, version_and_variant | spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        assert!(check("x").is_ok());
        assert!(check(&"ü".repeat(256)).is_ok());
        assert!(check("").is_err());
        assert!(check(&"x".repeat(513)).is_err());
    }

    #[test]
    fn generated_ids_ascend_and_are_version_7() {
        let ids: Vec<_> = (0..10_000).map(|_| generate()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        for id in ids {
            let text = std::str::from_utf8(&id).unwrap();
            let uuid = uuid::Uuid::parse_str(text).unwrap();
            assert_eq!(uuid.get_version_num(), 7, "{text}");
            assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122, "{text}");
        }
    }

    #[test]
    fn ascends_when_the_clock_steps_back_and_when_a_millisecond_is_used_up() {
        let mut generator = Generator::seeded();
        let first = generator.next(1_000);
        let second = generator.next(900);
        assert!(second > first && second.0 == 1_000);
        generator.tail = (1 << 74) - 1;
        let third = generator.next(1_000);
        assert!(third > second && third.0 == 1_001);
        assert!(generator.next(1_001) > third);
    }
}
