//! Where a page ends, as an opaque text: a position by key, so that it stays right while others
//! write, and a deleted document at it changes nothing.
//!
//! ```text
//! text       lower-case hex of the bytes
//! bytes      version:u8 = 1, side:u8, collection:u32 LE, id (1..=512 bytes), crc32:u32 LE of all before
//! side       0 at the id | 1 just before it | 2 just behind it
//! ```
//! The collection is named by its number, so a cursor of another collection, or of one that was
//! dropped and made again, is refused. It does not name the filter: the order is the same under
//! every filter.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::error::EngineError;
use crate::key::CollectionNumber;
use crate::limits::MAX_ID_BYTES;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 1 + 4;
const CHECKSUM_BYTES: usize = 4;

/// A position in a collection, opaque to clients. [`fmt::Display`] gives its text, [`FromStr`]
/// takes it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) collection: CollectionNumber,
    pub(crate) side: Side,
    pub(crate) id: Bytes,
}

/// Where a cursor is in relation to its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// At it: neither the page after nor the page before has it.
    At,
    /// Between it and what comes before. Given out by an empty page, which has no document to
    /// stand at.
    Before,
    /// Between it and what comes behind.
    Behind,
}

impl Side {
    const ALL: [Side; 3] = [Side::At, Side::Before, Side::Behind];

    const fn number(self) -> u8 {
        match self {
            Side::At => 0,
            Side::Before => 1,
            Side::Behind => 2,
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.id.len() + CHECKSUM_BYTES);
        bytes.extend([VERSION, self.side.number()]);
        bytes.extend(self.collection.0.to_le_bytes());
        bytes.extend_from_slice(&self.id);
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Cursor {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        decode(text.as_bytes()).ok_or(EngineError::InvalidCursor)
    }
}

fn decode(text: &[u8]) -> Option<Cursor> {
    if text.len() > 2 * (HEADER_BYTES + MAX_ID_BYTES + CHECKSUM_BYTES) {
        return None;
    }
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    let bytes: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
    let (body, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let ([version, side], body) = body.split_first_chunk::<2>()?;
    let (collection, id) = body.split_first_chunk::<4>()?;
    if *version != VERSION || id.is_empty() || std::str::from_utf8(id).is_err() {
        return None;
    }
    Some(Cursor {
        collection: CollectionNumber(u32::from_le_bytes(*collection)),
        side: Side::ALL
            .into_iter()
            .find(|known| known.number() == *side)?,
        id: Bytes::copy_from_slice(id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(side: Side, id: &str) -> Cursor {
        Cursor {
            collection: CollectionNumber(0x0102_0304),
            side,
            id: Bytes::copy_from_slice(id.as_bytes()),
        }
    }

    #[test]
    fn golden() {
        let text = cursor(Side::Behind, "aß").to_string();
        assert_eq!(text, "01020403020161c39f67ce82ca");
        assert_eq!(text.parse::<Cursor>().unwrap(), cursor(Side::Behind, "aß"));
    }

    #[test]
    fn comes_back() {
        for side in Side::ALL {
            for id in ["x", "\0", &"ü".repeat(256)] {
                let original = cursor(side, id);
                assert_eq!(original.to_string().parse::<Cursor>().unwrap(), original);
            }
        }
    }

    #[test]
    fn any_other_text_is_refused() {
        let text = cursor(Side::At, "some-id").to_string();
        for at in 0..text.len() {
            assert!(text[..at].parse::<Cursor>().is_err(), "cut at {at}");
            for other in ["0", "f", "g", "A", " "] {
                let mut changed = text.clone();
                changed.replace_range(at..=at, other);
                if changed != text {
                    assert!(changed.parse::<Cursor>().is_err(), "{changed}");
                }
            }
        }
        for bad in ["", "00", "ä", "zz", &"00".repeat(10_000)] {
            assert!(bad.parse::<Cursor>().is_err());
        }
    }
}
