//! Bounded little-endian reads and writes over byte slices, for every on-disk format.
//!
//! Nothing here panics or allocates from a length that was read: a [`Reader`] hands out sub-slices
//! of what is there, and an error carries the offset at which the bytes stopped making sense.

use std::path::Path;

use crate::error::StoreError;

#[cfg(test)]
mod tests;

/// Most bytes a varint takes.
pub(crate) const MAX_VARINT_BYTES: usize = 10;

/// Bytes that do not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub(crate) struct DecodeError {
    /// Offset in the slice that the reader was given.
    pub(crate) offset: usize,
    /// What was expected there.
    pub(crate) what: &'static str,
}

impl DecodeError {
    /// The same as corruption of `file`, where the slice began at `base` of it.
    pub(crate) fn in_file(self, file: &Path, base: u64) -> StoreError {
        let offset = u64::try_from(self.offset).unwrap_or(u64::MAX);
        StoreError::corrupt(file, base.saturating_add(offset), self.what)
    }
}

type Decoded<T> = Result<T, DecodeError>;

/// Reads front to back.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            offset: 0,
        }
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes left.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// An error at the current offset.
    pub(crate) fn error(&self, what: &'static str) -> DecodeError {
        DecodeError {
            offset: self.offset,
            what,
        }
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Decoded<&'a [u8]> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.error("the bytes end too early"));
        };
        self.rest = rest;
        self.offset += len;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.error("the bytes end too early"));
        };
        self.rest = rest;
        self.offset += N;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Decoded<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(crate) fn u32(&mut self) -> Decoded<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Decoded<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Decoded<u128> {
        self.array().map(u128::from_le_bytes)
    }

    /// LEB128: seven bits a byte, lowest first. A number has one encoding only: one with a
    /// needless last byte is refused.
    pub(crate) fn varint(&mut self) -> Decoded<u64> {
        let start = self.clone();
        let mut value = 0u64;
        let mut shift = 0u32;
        loop {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(start.error("a varint is larger than 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(start.error("a varint is longer than it needs to be"));
                }
                return Ok(value);
            }
            shift += 7;
            if shift > 63 {
                return Err(start.error("a varint is larger than 64 bits"));
            }
        }
    }

    /// A varint that counts bytes or items in memory and is at most `max`.
    pub(crate) fn varint_usize(&mut self, max: usize) -> Decoded<usize> {
        let start = self.clone();
        let value = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if value > max {
            return Err(start.error("a length is over its limit"));
        }
        Ok(value)
    }

    /// A varint length of at most `max`, then that many bytes.
    pub(crate) fn length_prefixed(&mut self, max: usize) -> Decoded<&'a [u8]> {
        let len = self.varint_usize(max)?;
        self.take(len)
    }

    /// A varint number of items of at least `min_item_bytes` each: more than fit into what is left
    /// are refused, so that room for them can be reserved.
    pub(crate) fn count(&mut self, min_item_bytes: usize) -> Decoded<usize> {
        let start = self.clone();
        let count = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if count > self.remaining() / min_item_bytes.max(1) {
            return Err(start.error("more items are announced than there are bytes for"));
        }
        Ok(count)
    }

    /// Fails if anything is left.
    pub(crate) fn finish(&self) -> Decoded<()> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.error("bytes are left over at the end"))
        }
    }
}

pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u128(out: &mut Vec<u8>, value: u128) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes what [`Reader::varint`] reads.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Writes a length as a varint.
pub(crate) fn put_varint_len(out: &mut Vec<u8>, len: usize) {
    // A usize has at most 64 bits on every target Rust has.
    put_varint(out, u64::try_from(len).unwrap_or(u64::MAX));
}

/// Writes what [`Reader::length_prefixed`] reads.
pub(crate) fn put_length_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint_len(out, bytes.len());
    out.extend_from_slice(bytes);
}
