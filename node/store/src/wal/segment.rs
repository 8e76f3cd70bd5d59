//! Segment files: names, header, creation, recycling.
//!
//! A segment is `wal-<number, ten digits>.wal`; numbers never repeat. It is zero-filled (or an old
//! one is used again), its header is written, and file and directory are synced **before** the
//! first commit may use it, away from the commit path. Until it has its name it is called
//! `wal-<number>.wal.tmp`, so a named segment always has a whole header.
//!
//! Header, little-endian; frames begin at byte 4096:
//!
//! ```text
//!  offset  size  field
//!       0     8  magic "GODBWAL\0"
//!       8     4  version, 1
//!      12     4  flags, 0 (log compression and encryption are reserved)
//!      16    16  store id
//!      32     8  number
//!      40     8  salt, random; every frame of the segment carries it
//!      48    16  boot id of the machine when the segment was made ready
//!      64     1  kind: 1 start, 2 continuation, 3 cut
//!      65     7  zero
//!      72     8  cut: number of the segment that it continues
//!      80     8  cut: offset in that segment where what counts of it ends
//!      88     8  start, cut: LSN of the last transaction before this segment
//!      96     8  cut: LSN of the last transaction that recovery copied into this segment
//!     104     8  start, cut: LSN after which new transactions go on; above the field before it
//!                after an unclean stop at a level below `full`, the only place where LSNs jump
//!     112     4  cut: crc32 field of the last frame that counts in the continued segment
//!     116     8  bytes of the file; it never has fewer, so one that was cut short shows
//!     124     4  crc32 over bytes 0..124
//! ```
//!
//! - **start**: the first segment of a log; only the manifest can say that it is in force.
//! - **continuation**: the seal frame of the segment before names it by number and salt.
//! - **cut**: made by recovery. It holds copies of all frames that were not proven durable, was
//!   synced whole before it got its name, and says where the segment before it ends. What comes
//!   after that offset there, and all segments numbered between the two, count no longer.
//!
//! A crash leaves `.tmp` files, which are swept, or a ready segment that nothing names, which
//! holds no frame with its salt.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec;
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Result, StoreError};
use crate::limits;
use crate::lsn::Lsn;

/// Where frames begin.
pub(crate) const FRAMES_OFFSET: u64 = 4096;
const HEADER_BYTES: usize = 128;
const MAGIC: [u8; 8] = *b"GODBWAL\0";
const VERSION: u32 = 1;

/// How a segment follows the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Start {
        resumes_after: Lsn,
    },
    Continuation,
    Cut {
        previous: u64,
        end_offset: u64,
        after: Lsn,
        copied: Lsn,
        resumes_after: Lsn,
        chain: u32,
    },
}

/// The header of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store_id: u128,
    pub(crate) number: u64,
    pub(crate) salt: u64,
    pub(crate) boot_id: u128,
    /// Bytes the file has.
    pub(crate) capacity: u64,
    pub(crate) origin: Origin,
}

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderFault {
    #[error("the segment header is damaged")]
    Damaged,
    #[error("segment format {0} is newer than 1")]
    Newer(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let (kind, previous, end_offset, after, copied, resumes_after, chain) = match self.origin {
            Origin::Start { resumes_after } => {
                (1, 0, 0, resumes_after, Lsn::ZERO, resumes_after, 0)
            }
            Origin::Continuation => (2, 0, 0, Lsn::ZERO, Lsn::ZERO, Lsn::ZERO, 0),
            Origin::Cut {
                previous,
                end_offset,
                after,
                copied,
                resumes_after,
                chain,
            } => (3, previous, end_offset, after, copied, resumes_after, chain),
        };
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&self.store_id.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&self.boot_id.to_le_bytes());
        out.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
        for field in [previous, end_offset, after.0, copied.0, resumes_after.0] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&chain.to_le_bytes());
        out.extend_from_slice(&self.capacity.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&out);
        header
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let damaged = |_: codec::DecodeError| HeaderFault::Damaged;
        let mut reader = codec::Reader::new(bytes);
        if reader.take(MAGIC.len()).map_err(damaged)? != MAGIC {
            return Err(HeaderFault::Damaged);
        }
        let version = reader.u32().map_err(damaged)?;
        let flags = reader.u32().map_err(damaged)?;
        let covered = bytes.get(..HEADER_BYTES - 4).ok_or(HeaderFault::Damaged)?;
        let store_id = reader.u128().map_err(damaged)?;
        let number = reader.u64().map_err(damaged)?;
        let salt = reader.u64().map_err(damaged)?;
        let boot_id = reader.u128().map_err(damaged)?;
        let kind = reader.u64().map_err(damaged)?;
        let mut field = || reader.u64().map_err(damaged);
        let (previous, end_offset) = (field()?, field()?);
        let (after, copied, resumes_after) = (Lsn(field()?), Lsn(field()?), Lsn(field()?));
        let chain = reader.u32().map_err(damaged)?;
        let capacity = reader.u64().map_err(damaged)?;
        if reader.u32().map_err(damaged)? != crc32fast::hash(covered) {
            return Err(HeaderFault::Damaged);
        }
        if version != VERSION || flags != 0 {
            return Err(HeaderFault::Newer(
                version.max(VERSION + u32::from(flags != 0)),
            ));
        }
        let origin = match kind {
            1 => Origin::Start { resumes_after },
            2 => Origin::Continuation,
            3 => Origin::Cut {
                previous,
                end_offset,
                after,
                copied,
                resumes_after,
                chain,
            },
            _ => return Err(HeaderFault::Damaged),
        };
        Ok(Self {
            store_id,
            number,
            salt,
            boot_id,
            capacity,
            origin,
        })
    }

    /// What the first frame carries as its chain.
    pub(crate) fn chain_seed(&self) -> u32 {
        crc32fast::hash(&self.encode())
    }
}

/// Name of the segment `number`.
pub(crate) fn file_name(number: u64) -> String {
    format!("wal-{number:010}.wal")
}

/// The number in a segment's name, for the exact form that [`file_name`] makes.
pub(crate) fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("wal-")?.strip_suffix(".wal")?;
    let number = digits.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// Whether a crash left this file while a segment was made ready.
pub(crate) fn is_leftover(name: &str) -> bool {
    name.starts_with("wal-") && name.ends_with(".tmp")
}

/// A segment that is ready to be written to.
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    /// Bytes the file has; frames must end within.
    pub(crate) capacity: u64,
}

/// How to make a segment.
pub(crate) struct SegmentPlan<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) header: SegmentHeader,
    /// An old segment whose file may be used again.
    pub(crate) reuse: Option<PathBuf>,
    /// Whole frames to put at its start.
    pub(crate) content: &'a [u8],
}

/// Makes a segment ready: content, header, sync, name, directory sync. When it returns, the
/// segment is durable under its name.
pub(crate) fn create(disk: &dyn Disk, plan: &SegmentPlan<'_>) -> Result<Segment> {
    let path = plan.dir.join(file_name(plan.header.number));
    let staging = plan
        .dir
        .join(format!("{}.tmp", file_name(plan.header.number)));
    let io = |op| {
        let path = path.clone();
        move |error: std::io::Error| StoreError::io(op, &path, &error)
    };
    let capacity = plan.header.capacity;
    let file = match &plan.reuse {
        Some(old) => {
            disk.rename(old, &staging).map_err(io("rename"))?;
            disk.open(&staging, OpenMode::Write).map_err(io("open"))?
        }
        None => disk
            .open(&staging, OpenMode::Create)
            .map_err(io("create"))?,
    };
    let made = (|| {
        if file.len().map_err(io("measure"))? < capacity {
            fill_with_zeros(&*file, capacity).map_err(io("fill"))?;
        }
        file.write_all_at(plan.content, FRAMES_OFFSET)
            .map_err(io("write"))?;
        file.write_all_at(&plan.header.encode(), 0)
            .map_err(io("write"))?;
        file.sync_data().map_err(io("sync"))?;
        disk.rename(&staging, &path).map_err(io("rename"))?;
        disk.sync_dir(plan.dir).map_err(io("sync the directory of"))
    })();
    if let Err(error) = made {
        // Best effort: a leftover is swept at the next start in any case.
        let _ = disk.remove(&staging);
        return Err(error);
    }
    Ok(Segment {
        header: plan.header.clone(),
        path,
        file,
        capacity,
    })
}

/// Page by page: a file system with large folios caches the file in pieces of the size that it was
/// written in, and a sync writes the whole piece in which a few bytes changed. Filled by 256 KiB, a
/// sync of 300 bytes writes 256 KiB (ext4, Linux 6.18); filled by 4 KiB, it writes 4.
fn fill_with_zeros(file: &dyn File, length: u64) -> std::io::Result<()> {
    const STEP: usize = 4 * 1024;
    let zeros = vec![0u8; STEP];
    let mut offset = 0u64;
    while offset < length {
        let step = (length - offset).min(STEP as u64);
        let step_bytes = usize::try_from(step).unwrap_or(STEP);
        file.write_all_at(zeros.get(..step_bytes).unwrap_or(&zeros), offset)?;
        offset += step;
    }
    Ok(())
}

/// Largest segment file that is read: the largest transaction, what recovery may copy, and room.
const MAX_SEGMENT_BYTES: u64 =
    2 * limits::MAX_TRANSACTION_BYTES as u64 + 4 * limits::SEGMENT_BYTES + FRAMES_OFFSET;

/// Numbers and lengths of the segment files in a directory.
pub(crate) fn list_segments(disk: &dyn Disk, dir: &Path) -> Result<BTreeMap<u64, u64>> {
    let names = disk
        .list(dir)
        .map_err(|error| StoreError::io("list", dir, &error))?;
    let mut segments = BTreeMap::new();
    for number in names.iter().filter_map(|name| parse_file_name(name)) {
        let path = dir.join(file_name(number));
        let io = |op| {
            let path = path.clone();
            move |error: std::io::Error| StoreError::io(op, &path, &error)
        };
        let file = disk.open(&path, OpenMode::Read).map_err(io("open"))?;
        segments.insert(number, file.len().map_err(io("measure"))?);
    }
    Ok(segments)
}

/// Reads a segment's bytes, its header first.
pub(crate) fn read_segment(
    disk: &dyn Disk,
    path: &Path,
    length: u64,
) -> Result<(Vec<u8>, Result<SegmentHeader, HeaderFault>)> {
    if length > MAX_SEGMENT_BYTES {
        return Err(StoreError::corrupt(
            path,
            0,
            format!("{length} bytes are no segment's size"),
        ));
    }
    let io = |op| move |error: std::io::Error| StoreError::io(op, path, &error);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let file = disk.open(path, OpenMode::Read).map_err(io("open"))?;
    file.read_exact_at(&mut bytes, 0).map_err(io("read"))?;
    let header = SegmentHeader::decode(&bytes);
    Ok((bytes, header))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            store_id: 0x0102_0304_0506_0708_090A_0B0C_0D0E_0F10,
            number: 17,
            salt: 0xFEED,
            boot_id: 99,
            capacity: 1 << 24,
            origin: Origin::Cut {
                previous: 16,
                end_offset: 5000,
                after: Lsn(70),
                copied: Lsn(75),
                resumes_after: Lsn(1000),
                chain: 0xABCD,
            },
        }
    }

    #[test]
    fn a_header_comes_back_and_every_flipped_bit_is_noticed() {
        for origin in [
            header().origin,
            Origin::Continuation,
            Origin::Start {
                resumes_after: Lsn(4),
            },
        ] {
            let header = SegmentHeader { origin, ..header() };
            assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        }
        let bytes = header().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                SegmentHeader::decode(&damaged),
                Err(HeaderFault::Damaged),
                "bit {bit}"
            );
        }
        for length in 0..bytes.len() {
            assert!(SegmentHeader::decode(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn the_bytes_are_those_of_version_1() {
        let expected = include_str!("../../testdata/segment-header-v1.hex");
        let actual: String = header()
            .encode()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(
            actual,
            expected.trim(),
            "a changed format needs a new version"
        );
    }

    #[test]
    fn names_are_exact() {
        assert_eq!(file_name(17), "wal-0000000017.wal");
        assert_eq!(parse_file_name("wal-0000000017.wal"), Some(17));
        for other in [
            "wal-17.wal",
            "wal-0000000017.wal.tmp",
            "wal-+000000017.wal",
            "x",
        ] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
        assert!(is_leftover("wal-0000000017.wal.tmp"));
    }
}
