//! Bloom filter over the keys of a table, so that a lookup does not read a block of a table that
//! does not hold the key.
//!
//! ```text
//! u8                    probes: bits set for each key
//! u32                   number of lines, at least 1
//! 64 bytes × lines      bits; bit n of a line is bit n % 8 of its byte n / 8
//! ```
//!
//! All bits of a key lie in one line of 64 bytes, so that a probe touches one cache line. The hash
//! is part of the format: FNV-1a (64 bits, offset basis 0xcbf29ce484222325, prime 0x100000001b3)
//! over the key, then the finalizer of MurmurHash3 (`fmix64`), because FNV-1a alone leaves the
//! high bits of short keys poorly mixed. The line is `(high 32 bits × lines) >> 32`. The bits come
//! from the low 32 bits `x`: `x >> 23`, then `x = x × 0x9e3779b9 mod 2^32`, once a probe.

use bytes::Bytes;

use crate::codec::{DecodeError, Reader};

const LINE_BYTES: usize = 64;
const HEADER_BYTES: usize = 5;
const LOW_32: u64 = 0xffff_ffff;
/// More probes than any filter is written with.
const MAX_PROBES: u8 = 16;

/// The hash of a key, computed once for all tables that are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyHash(u64);

impl KeyHash {
    pub(crate) fn of(key: &[u8]) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in key {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        Self(hash ^ (hash >> 33))
    }

    fn line(self, lines: u32) -> usize {
        // Below `lines`, so it fits.
        usize::try_from(((self.0 >> 32) * u64::from(lines)) >> 32).unwrap_or(0)
    }

    /// Byte in the line and mask of the bit, once a probe.
    fn bits(self, probes: u8) -> impl Iterator<Item = (usize, u8)> {
        let mut x = self.0 & LOW_32;
        (0..probes).map(move |_| {
            let bit = x >> 23;
            x = (x * 0x9e37_79b9) & LOW_32;
            // Nine bits: a byte of 64 and a bit of 8.
            (usize::try_from(bit >> 3).unwrap_or(0), 1u8 << (bit & 7))
        })
    }
}

/// Gathers keys.
#[derive(Debug)]
pub(crate) struct FilterBuilder {
    hashes: Vec<KeyHash>,
    bits_per_key: u32,
}

impl FilterBuilder {
    pub(crate) fn new(bits_per_key: u32) -> Self {
        Self {
            hashes: Vec::new(),
            bits_per_key,
        }
    }

    /// Adds a key; the caller leaves out the further versions of one key.
    pub(crate) fn add(&mut self, key: &[u8]) {
        self.hashes.push(KeyHash::of(key));
    }

    fn lines(&self) -> u32 {
        let keys = u64::try_from(self.hashes.len()).unwrap_or(u64::MAX);
        let bits = keys.saturating_mul(u64::from(self.bits_per_key));
        u32::try_from(bits.div_ceil(LINE_BYTES as u64 * 8).max(1)).unwrap_or(u32::MAX)
    }

    /// Length of the encoded filter.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.lines()) * LINE_BYTES as u64
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let lines = self.lines();
        // ln 2 × bits per key is the best number of probes; one fewer costs a line little.
        let probes = u8::try_from(self.bits_per_key * 6 / 10)
            .unwrap_or(MAX_PROBES)
            .clamp(1, MAX_PROBES);
        let bytes = usize::try_from(self.encoded_bytes()).unwrap_or(usize::MAX);
        let mut out = vec![0; bytes];
        if let Some((first, rest)) = out.split_first_mut()
            && let Some((count, bits)) = rest.split_first_chunk_mut()
        {
            *first = probes;
            *count = lines.to_le_bytes();
            let (bits, _) = bits.as_chunks_mut::<LINE_BYTES>();
            for hash in &self.hashes {
                if let Some(line) = bits.get_mut(hash.line(lines)) {
                    for (byte, mask) in hash.bits(probes) {
                        if let Some(byte) = line.get_mut(byte) {
                            *byte |= mask;
                        }
                    }
                }
            }
        }
        out
    }
}

/// A filter in memory.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    bits: Bytes,
    lines: u32,
    probes: u8,
}

impl Filter {
    pub(crate) fn decode(content: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(content);
        let probes = reader.u8()?;
        if probes == 0 || probes > MAX_PROBES {
            return Err(reader.error("a filter has an impossible number of probes"));
        }
        let lines = reader.u32()?;
        let bytes = usize::try_from(lines)
            .ok()
            .and_then(|lines| lines.checked_mul(LINE_BYTES));
        if lines == 0 || bytes != Some(reader.remaining()) {
            return Err(reader.error("a filter does not have the length it names"));
        }
        Ok(Self {
            bits: content.slice(HEADER_BYTES..),
            lines,
            probes,
        })
    }

    /// False if the key was certainly not added.
    pub(crate) fn may_contain(&self, hash: KeyHash) -> bool {
        let start = hash.line(self.lines) * LINE_BYTES;
        let Some(line) = self.bits.get(start..start + LINE_BYTES) else {
            return true;
        };
        hash.bits(self.probes)
            .all(|(byte, mask)| line.get(byte).is_none_or(|byte| byte & mask != 0))
    }

    /// Bytes of memory it holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bits.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(keys: impl Iterator<Item = Vec<u8>>) -> Filter {
        let mut builder = FilterBuilder::new(10);
        for key in keys {
            builder.add(&key);
        }
        let encoded = builder.encode();
        assert_eq!(encoded.len() as u64, builder.encoded_bytes());
        Filter::decode(&Bytes::from(encoded)).unwrap()
    }

    /// The hash is part of the format: these values must never change.
    #[test]
    fn the_hash_is_stable() {
        assert_eq!(KeyHash::of(b""), KeyHash(0xefd0_1f60_ba99_2926));
        assert_eq!(KeyHash::of(b"a"), KeyHash(0x82a2_a958_a9be_ce5b));
        assert_eq!(KeyHash::of(b"document"), KeyHash(0x263c_5efc_a3eb_e341));
    }

    #[test]
    fn no_added_key_is_denied() {
        for count in [0u64, 1, 2, 51, 52, 5000] {
            let filter = filter((0..count).map(|n| n.to_be_bytes().to_vec()));
            for n in 0..count {
                assert!(filter.may_contain(KeyHash::of(&n.to_be_bytes())));
            }
        }
    }

    #[test]
    fn few_other_keys_pass() {
        let kinds: [fn(u64) -> Vec<u8>; 3] = [
            |n| n.to_be_bytes().to_vec(),
            |n| format!("user-{n}").into_bytes(),
            |n| format!("0198c5a1-7b1f-7000-8000-{n:012x}").into_bytes(),
        ];
        for key in kinds {
            let filter = filter((0..20_000).map(key));
            let passed = (20_000..120_000)
                .filter(|n| filter.may_contain(KeyHash::of(&key(*n))))
                .count();
            assert!(passed < 2_000, "{passed} of 100000 false positives");
        }
    }

    #[test]
    fn impossible_filters_are_refused() {
        let good = FilterBuilder::new(10).encode();
        assert!(Filter::decode(&Bytes::copy_from_slice(&good)).is_ok());
        for len in 0..good.len() {
            assert!(Filter::decode(&Bytes::copy_from_slice(&good[..len])).is_err());
        }
        for (at, byte) in [(0, 0), (0, 200), (1, 0), (1, 2), (4, 255)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(Filter::decode(&Bytes::from(bad)).is_err());
        }
    }
}
