//! The last 96 bytes of a table.
//!
//! ```text
//! offset size
//!      0    8  number of the table
//!      8    8  entries
//!     16    8  tombstones among them
//!     24    8  distinct keys
//!     32    8  smallest LSN
//!     40    8  largest LSN
//!     48    8  offset of the filter section = end of the data blocks
//!     56    8  offset of the index section = end of the filter section
//!     64    8  length of the file
//!     72    4  zeros, reserved
//!     76    4  crc32 of every byte of the file before the footer
//!     80    8  magic: "godbtabl"
//!     88    4  version: 1
//!     92    4  crc32 of bytes 0..92
//! ```
//!
//! Every later version keeps the length of the footer and its last sixteen bytes as they are, so
//! that a newer file is recognised and is not called corrupt.

use std::path::Path;

use crate::codec::{self, DecodeError, Reader};
use crate::error::{Result, StoreError};
use crate::lsn::Lsn;

/// Length of the footer.
pub(crate) const FOOTER_BYTES: usize = 96;
/// The version this program writes and the newest it reads.
pub(crate) const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"godbtabl";
const RESERVED: [u8; 4] = [0; 4];
const CHECKSUM_AT: usize = FOOTER_BYTES - 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) number: u64,
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
    pub(crate) keys: u64,
    pub(crate) min_lsn: Lsn,
    pub(crate) max_lsn: Lsn,
    pub(crate) filter_offset: u64,
    pub(crate) index_offset: u64,
    pub(crate) file_bytes: u64,
    pub(crate) body_checksum: u32,
}

impl Footer {
    /// Appends the footer to `out` and returns its checksum.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> u32 {
        let start = out.len();
        codec::put_u64(out, self.number);
        codec::put_u64(out, self.entries);
        codec::put_u64(out, self.tombstones);
        codec::put_u64(out, self.keys);
        codec::put_u64(out, self.min_lsn.0);
        codec::put_u64(out, self.max_lsn.0);
        codec::put_u64(out, self.filter_offset);
        codec::put_u64(out, self.index_offset);
        codec::put_u64(out, self.file_bytes);
        out.extend_from_slice(&RESERVED);
        codec::put_u32(out, self.body_checksum);
        out.extend_from_slice(MAGIC);
        codec::put_u32(out, VERSION);
        let checksum = crc32fast::hash(out.get(start..).unwrap_or_default());
        codec::put_u32(out, checksum);
        checksum
    }

    /// Checks and decodes the footer `bytes` of the file `path`, and returns its checksum too.
    pub(crate) fn decode(bytes: &[u8], path: &Path, offset: u64) -> Result<(Self, u32)> {
        let in_file = |error: DecodeError| error.in_file(path, offset);
        let mut reader = Reader::new(bytes);
        let covered = reader.take(CHECKSUM_AT).map_err(in_file)?;
        let checksum = reader.u32().map_err(in_file)?;
        reader.finish().map_err(in_file)?;
        let mut reader = Reader::new(covered);
        let start = reader.clone();
        if crc32fast::hash(covered) != checksum {
            return Err(in_file(
                start.error("the checksum of the footer does not match"),
            ));
        }
        let body = reader.take(CHECKSUM_AT - 12).map_err(in_file)?;
        if reader.take(MAGIC.len()).map_err(in_file)? != MAGIC {
            return Err(in_file(start.error("the footer is not that of a table")));
        }
        let version = reader.u32().map_err(in_file)?;
        if version > VERSION {
            return Err(StoreError::NewerFormat {
                path: path.to_path_buf(),
                found: version,
                supported: VERSION,
            });
        }
        let footer = Self::decode_body(&mut Reader::new(body)).map_err(in_file)?;
        if version != VERSION {
            return Err(in_file(start.error("the footer has an unknown version")));
        }
        Ok((footer, checksum))
    }

    fn decode_body(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let footer = Self {
            number: reader.u64()?,
            entries: reader.u64()?,
            tombstones: reader.u64()?,
            keys: reader.u64()?,
            min_lsn: Lsn(reader.u64()?),
            max_lsn: Lsn(reader.u64()?),
            filter_offset: reader.u64()?,
            index_offset: reader.u64()?,
            file_bytes: reader.u64()?,
            body_checksum: {
                if reader.take(RESERVED.len())? != RESERVED {
                    return Err(reader.error("the reserved bytes of the footer are not zero"));
                }
                reader.u32()?
            },
        };
        reader.finish()?;
        let index_end = footer.file_bytes.checked_sub(FOOTER_BYTES as u64);
        if footer.filter_offset > footer.index_offset || Some(footer.index_offset) > index_end {
            return Err(reader.error("the sections that the footer names do not fit into the file"));
        }
        Ok(footer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> Footer {
        Footer {
            number: 17,
            entries: 5,
            tombstones: 1,
            keys: 4,
            min_lsn: Lsn(3),
            max_lsn: Lsn(9),
            filter_offset: 100,
            index_offset: 200,
            file_bytes: 400,
            body_checksum: 0x0102_0304,
        }
    }

    fn decode(bytes: &[u8]) -> Result<(Footer, u32)> {
        Footer::decode(bytes, Path::new("t"), 304)
    }

    #[test]
    fn a_footer_comes_back_and_no_bit_may_change() {
        let mut bytes = vec![1, 2, 3];
        let checksum = footer().encode(&mut bytes);
        let bytes = &bytes[3..];
        assert_eq!(bytes.len(), FOOTER_BYTES);
        assert_eq!(decode(bytes).unwrap(), (footer(), checksum));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(&damaged), Err(StoreError::Corrupt { .. })));
        }
        for len in 0..bytes.len() {
            assert!(matches!(
                decode(&bytes[..len]),
                Err(StoreError::Corrupt { .. })
            ));
        }
    }

    #[test]
    fn sections_outside_the_file_are_refused() {
        for (filter, index, file) in [(201, 200, 400), (100, 305, 400), (0, 0, 95)] {
            let mut bytes = Vec::new();
            Footer {
                filter_offset: filter,
                index_offset: index,
                file_bytes: file,
                ..footer()
            }
            .encode(&mut bytes);
            assert!(matches!(decode(&bytes), Err(StoreError::Corrupt { .. })));
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = Vec::new();
        footer().encode(&mut bytes);
        bytes[88] = 2;
        let checksum = crc32fast::hash(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        assert!(matches!(
            decode(&bytes),
            Err(StoreError::NewerFormat {
                found: 2,
                supported: 1,
                ..
            })
        ));
    }
}
