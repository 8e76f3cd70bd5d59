//! A section: what a table file is made of in front of its footer. One data block, the filter and
//! the index are each one section, so every byte is covered by a checksum that is verified on
//! every read from disk.
//!
//! ```text
//! offset size
//!      0    4  crc32 of: table number (u64), offset of the section in the file (u64), bytes 4..
//!      4    1  flags: bit 0 = the payload is an LZ4 block; bit 1 is reserved for AES-GCM;
//!              a reader refuses every bit it does not know
//!      5    4  length of the content, uncompressed
//!      9    …  payload: the content, or its LZ4 block (up to the end of the section, which the
//!              index or the footer knows)
//! ```
//!
//! Number and offset are in the checksum so that a section that a file system or a copy put into
//! another place, or another file, is not taken for the right one.

use bytes::Bytes;
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use crate::codec::{self, DecodeError, Reader};
use crate::error::{Result, StoreError};

/// Bytes in front of the payload.
pub(crate) const HEADER_BYTES: usize = 9;

const FLAG_LZ4: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
/// Below this there is nothing to gain.
const MIN_COMPRESS_BYTES: usize = 64;

/// Where a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the table.
    pub(crate) table: u64,
    /// Offset in its file.
    pub(crate) offset: u64,
}

impl Place {
    pub(crate) fn checksum(self, bytes: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.table.to_le_bytes());
        crc.update(&self.offset.to_le_bytes());
        crc.update(bytes);
        crc.finalize()
    }
}

/// Writes sections; keeps its scratch memory from one to the next.
pub(crate) struct Sealer {
    table: CompressTable,
    compressed: Vec<u8>,
}

impl Sealer {
    pub(crate) fn new() -> Self {
        Self {
            table: CompressTable::default(),
            compressed: Vec::new(),
        }
    }

    /// Appends `content` as the section at `place` to `out` and returns the section's length. It
    /// is compressed if `compress` is set and that saves at least an eighth.
    pub(crate) fn seal(
        &mut self,
        content: &[u8],
        compress: bool,
        place: Place,
        out: &mut Vec<u8>,
    ) -> Result<u32> {
        let too_large = || StoreError::TooLarge {
            what: "table section",
            bytes: u64::try_from(content.len()).unwrap_or(u64::MAX),
            limit_bytes: u64::from(u32::MAX) - 9,
        };
        let content_len = u32::try_from(content.len()).map_err(|_| too_large())?;
        let compressed = if compress && content.len() >= MIN_COMPRESS_BYTES {
            self.compress(content)
        } else {
            None
        };
        let (flags, payload) = match compressed {
            Some(payload) => (FLAG_LZ4, payload),
            None => (0, content),
        };
        let section_len = payload
            .len()
            .checked_add(HEADER_BYTES)
            .and_then(|len| u32::try_from(len).ok())
            .ok_or_else(too_large)?;
        let mut head = [0u8; HEADER_BYTES - CHECKSUM_BYTES];
        if let Some((first, rest)) = head.split_first_mut() {
            *first = flags;
            rest.copy_from_slice(&content_len.to_le_bytes());
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&place.table.to_le_bytes());
        crc.update(&place.offset.to_le_bytes());
        crc.update(&head);
        crc.update(payload);
        codec::put_u32(out, crc.finalize());
        out.extend_from_slice(&head);
        out.extend_from_slice(payload);
        Ok(section_len)
    }

    fn compress(&mut self, content: &[u8]) -> Option<&[u8]> {
        let most = get_maximum_output_size(content.len());
        if self.compressed.len() < most {
            self.compressed.resize(most, 0);
        }
        let len = compress_into_with_table(content, &mut self.compressed, &mut self.table).ok()?;
        if len > content.len() - content.len() / 8 {
            return None;
        }
        self.compressed.get(..len)
    }
}

/// Checks the section `stored`, read from `place`, and returns its content, of which at most
/// `max_content_bytes` are accepted. A content stored as it is shares memory with `stored`.
pub(crate) fn open(
    stored: &Bytes,
    place: Place,
    max_content_bytes: usize,
) -> Result<Bytes, DecodeError> {
    let mut reader = Reader::new(stored);
    let checksum = reader.u32()?;
    let covered = stored.get(CHECKSUM_BYTES..).unwrap_or_default();
    if place.checksum(covered) != checksum {
        return Err(DecodeError {
            offset: 0,
            what: "the checksum of a section does not match its bytes",
        });
    }
    let flags = reader.u8()?;
    if flags & !FLAG_LZ4 != 0 {
        return Err(reader.error("a section has flags that this version does not know"));
    }
    let content_len = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    if content_len > max_content_bytes {
        return Err(reader.error("a section is larger than its limit"));
    }
    if flags & FLAG_LZ4 == 0 {
        if reader.remaining() != content_len {
            return Err(reader.error("a section does not have the length it names"));
        }
        return Ok(stored.slice(HEADER_BYTES..));
    }
    let payload = reader.take(reader.remaining())?;
    let mut content = vec![0u8; content_len];
    match lz4_flex::block::decompress_into(payload, &mut content) {
        Ok(len) if len == content_len => Ok(Bytes::from(content)),
        _ => Err(DecodeError {
            offset: HEADER_BYTES,
            what: "a compressed section does not decompress to the length it names",
        }),
    }
}

/// Least and most bytes that the payload of a section can have whose first [`HEADER_BYTES`] are
/// `head`; `None` if it is no section of at most `max_content_bytes`.
pub(crate) fn payload_bounds(head: &[u8], max_content_bytes: usize) -> Option<(usize, usize)> {
    let mut reader = Reader::new(head);
    reader.u32().ok()?;
    let flags = reader.u8().ok()?;
    let content_len = usize::try_from(reader.u32().ok()?).ok()?;
    if content_len > max_content_bytes {
        return None;
    }
    match flags {
        0 => Some((content_len, content_len)),
        // See `Sealer::compress`.
        FLAG_LZ4 => Some((1, content_len - content_len / 8)),
        _ => None,
    }
}

/// The first length from `least` on at which `stored`, a section and perhaps what follows it,
/// matches its checksum.
pub(crate) fn payload_length(stored: &[u8], place: Place, least: usize) -> Option<usize> {
    let wanted = Reader::new(stored).u32().ok()?;
    let (head, payload) = stored.split_at_checked(HEADER_BYTES)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&place.table.to_le_bytes());
    crc.update(&place.offset.to_le_bytes());
    crc.update(head.get(CHECKSUM_BYTES..)?);
    crc.update(payload.get(..least)?);
    let mut length = least;
    loop {
        if crc.clone().finalize() == wanted {
            return Some(length);
        }
        crc.update(payload.get(length..=length)?);
        length += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        table: 7,
        offset: 4096,
    };

    fn sealed(content: &[u8], compress: bool) -> Bytes {
        let mut out = Vec::new();
        let len = Sealer::new()
            .seal(content, compress, PLACE, &mut out)
            .unwrap();
        assert_eq!(len as usize, out.len());
        Bytes::from(out)
    }

    #[test]
    fn content_comes_back_compressed_or_not() {
        let repetitive = b"abcdefgh".repeat(500);
        for content in [&b""[..], b"x", &repetitive] {
            for compress in [false, true] {
                let stored = sealed(content, compress);
                assert_eq!(open(&stored, PLACE, 4000).unwrap(), content);
            }
        }
        assert!(sealed(&repetitive, true).len() < 200);
        assert_eq!(sealed(&repetitive, false).len(), 4000 + HEADER_BYTES);
    }

    #[test]
    fn what_does_not_shrink_is_stored_as_it_is() {
        let mut state = 1u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_le_bytes()[3]
        })
        .take(1000)
        .collect();
        assert_eq!(sealed(&noise, true).len(), 1000 + HEADER_BYTES);
    }

    #[test]
    fn a_section_in_another_place_is_refused() {
        let stored = sealed(b"content", true);
        let elsewhere = Place {
            offset: 4097,
            ..PLACE
        };
        let other_file = Place { table: 8, ..PLACE };
        assert!(open(&stored, elsewhere, 100).is_err());
        assert!(open(&stored, other_file, 100).is_err());
    }

    #[test]
    fn every_bit_and_every_length_is_checked() {
        for stored in [sealed(b"some content", false), sealed(&[7; 300], true)] {
            for bit in 0..stored.len() * 8 {
                let mut damaged = stored.to_vec();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(open(&Bytes::from(damaged), PLACE, 300).is_err());
            }
            for len in 0..stored.len() {
                assert!(open(&stored.slice(..len), PLACE, 300).is_err());
            }
        }
    }

    /// The length is bounded before memory is taken for it, also when the checksum is right.
    #[test]
    fn a_huge_announced_length_is_refused() {
        let mut damaged = sealed(&[7; 300], true)[CHECKSUM_BYTES..].to_vec();
        damaged[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
        let mut stored = PLACE.checksum(&damaged).to_le_bytes().to_vec();
        stored.extend_from_slice(&damaged);
        let error = open(&Bytes::from(stored), PLACE, 300).unwrap_err();
        assert_eq!(error.what, "a section is larger than its limit");
    }
}
