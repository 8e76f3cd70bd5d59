//! The frame: one group of transactions in the log. Encode and decode, pure and bounded.
//!
//! All integers are little-endian. A frame starts right where the one before it ends.
//!
//! ```text
//!  offset  size  field
//!       0     4  magic "GDBF"
//!       4     1  version, 1
//!       5     1  flags: 0x01 body is LZ4, 0x02 body is AES-GCM (both reserved, refused today)
//!       6     1  kind: 1 data, 2 heartbeat (no transactions), 3 seal (last frame of a segment)
//!       7     1  zero
//!       8     4  body length in bytes
//!      12     4  number of transactions
//!      16     8  LSN of the first of them; for the other kinds the last LSN before the frame
//!      24     8  durable LSN: everything up to it was synced before this frame was written
//!      32     8  term, 0 until there is replication
//!      40     8  salt of the segment
//!      48     4  chain: crc32 field of the frame before, or of the segment header
//!      52     4  crc32 over bytes 0..52 and the body
//!      56     n  body
//!  56 + n     1  end mark 0xED: the last byte of a frame is never zero, so a hole shows
//! ```
//!
//! Body of a data frame: its records one after another.
//!
//! ```text
//!       0     4  length of what follows in this record
//!       4     1  record kind: 1 transaction (2 vote, 3 membership, 4 no-op: reserved, refused)
//!       5     …  operations until the record ends, each:
//!                1 put     kind u8, key length u32, value length u32, key, value
//!                2 delete  kind u8, key length u32, key
//!                3 count   kind u8, counter u64, delta i64
//! ```
//!
//! The n-th record has the LSN `first + n`. Body of a seal frame: number u64 and salt u64 of the
//! segment that follows. A heartbeat has no body: it is written when the log falls idle, so that
//! the last group has the proof of its durability too.
//!
//! What a crash can leave: any prefix of a frame, and, on a power cut, any mix of old and new
//! sectors in what was not synced. The salt keeps the old bytes of a recycled segment from ever
//! looking valid, the chain keeps a frame from being replayed without the one before it.

use bytes::{Bytes, BytesMut};

use crate::limits;
use crate::lsn::Lsn;

/// Bytes before the body.
pub(crate) const HEADER_BYTES: usize = 56;
/// Bytes after the body.
pub(crate) const TRAILER_BYTES: usize = 1;
/// Bytes of a frame around its body.
pub(crate) const OVERHEAD_BYTES: usize = HEADER_BYTES + TRAILER_BYTES;
/// Length of a seal frame.
pub(crate) const SEAL_BYTES: usize = OVERHEAD_BYTES + 16;
/// Largest body: the largest transaction with its record header.
pub(crate) const MAX_BODY_BYTES: usize = limits::MAX_TRANSACTION_BYTES;

pub(crate) const MAGIC: [u8; 4] = *b"GDBF";
const VERSION: u8 = 1;
const END_MARK: u8 = 0xED;
const RECORD_TRANSACTION: u8 = 1;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Data,
    Heartbeat,
    Seal,
}

/// The header of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    pub(crate) body_bytes: u32,
    pub(crate) count: u32,
    pub(crate) first_lsn: Lsn,
    pub(crate) durable_lsn: Lsn,
    pub(crate) salt: u64,
    pub(crate) chain: u32,
    pub(crate) crc: u32,
}

/// Why bytes are not a frame of this segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameFault {
    #[error("the bytes end before the frame does")]
    Short,
    #[error("no frame starts here")]
    NoMagic,
    #[error("frame version {0} is newer than 1")]
    NewerVersion(u8),
    #[error("the frame belongs to an earlier use of the segment")]
    ForeignSalt,
    #[error("a field of the frame header is out of its range")]
    BadField,
    #[error("the frame does not match its checksum")]
    BadChecksum,
}

/// Why a body that matched its checksum cannot be read: it was written by a newer version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyFault {
    #[error("a record ends beyond its frame")]
    Short,
    #[error("record kind {0} is not known to this version")]
    UnknownRecord(u8),
    #[error("operation kind {0} is not known to this version")]
    UnknownOperation(u8),
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Put { key: Bytes, value: Bytes },
    Delete { key: Bytes },
    Count { counter: u64, delta: i64 },
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes
        .get(offset..offset.checked_add(4)?)?
        .try_into()
        .ok()
        .map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes
        .get(offset..offset.checked_add(8)?)?
        .try_into()
        .ok()
        .map(u64::from_le_bytes)
}

impl FrameHeader {
    /// Last LSN of the frame.
    pub(crate) fn last_lsn(&self) -> Lsn {
        match self.kind {
            FrameKind::Data => Lsn(self.first_lsn.0 + u64::from(self.count) - 1),
            FrameKind::Heartbeat | FrameKind::Seal => self.first_lsn,
        }
    }

    /// Length of the whole frame.
    pub(crate) fn frame_bytes(&self) -> u64 {
        u64::from(self.body_bytes) + OVERHEAD_BYTES as u64
    }
}

/// Finishes a frame in place: `frame` is [`HEADER_BYTES`] of room and then the body. Returns the
/// crc32 field, which the next frame carries as its chain.
pub(crate) fn seal_frame(
    frame: &mut Vec<u8>,
    kind: FrameKind,
    count: u32,
    first_lsn: Lsn,
    durable_lsn: Lsn,
    salt: u64,
    chain: u32,
) -> u32 {
    debug_assert!(frame.len() >= HEADER_BYTES);
    let body_bytes = u32::try_from(frame.len() - HEADER_BYTES).unwrap_or(u32::MAX);
    debug_assert!(body_bytes as usize <= MAX_BODY_BYTES + limits::FRAME_TARGET_BYTES);
    let kind = match kind {
        FrameKind::Data => 1,
        FrameKind::Heartbeat => 2,
        FrameKind::Seal => 3,
    };
    let (head, body) = frame.split_at_mut(HEADER_BYTES);
    let (covered, crc_field) = head.split_at_mut(HEADER_BYTES - 4);
    let mut rest = &mut *covered;
    let mut put = |bytes: &[u8]| {
        let (field, tail) = std::mem::take(&mut rest).split_at_mut(bytes.len());
        field.copy_from_slice(bytes);
        rest = tail;
    };
    put(&MAGIC);
    put(&[VERSION, 0, kind, 0]);
    put(&body_bytes.to_le_bytes());
    put(&count.to_le_bytes());
    put(&first_lsn.0.to_le_bytes());
    put(&durable_lsn.0.to_le_bytes());
    put(&0u64.to_le_bytes());
    put(&salt.to_le_bytes());
    put(&chain.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(covered);
    hasher.update(body);
    let crc = hasher.finalize();
    crc_field.copy_from_slice(&crc.to_le_bytes());
    frame.push(END_MARK);
    crc
}

/// Reads the frame header at the start of `bytes` and checks the whole frame against its
/// checksum. The chain is for the caller to judge.
pub(crate) fn check_frame(bytes: &[u8], salt: u64) -> Result<FrameHeader, FrameFault> {
    let magic = bytes.get(..4).ok_or(FrameFault::Short)?;
    if magic != MAGIC {
        return Err(FrameFault::NoMagic);
    }
    let header = bytes.get(..HEADER_BYTES).ok_or(FrameFault::Short)?;
    let field = |offset| u32_at(header, offset).ok_or(FrameFault::Short);
    let wide = |offset| u64_at(header, offset).ok_or(FrameFault::Short);
    if wide(40)? != salt {
        return Err(FrameFault::ForeignSalt);
    }
    let body_bytes = field(8)?;
    let body_end = (body_bytes as usize)
        .checked_add(HEADER_BYTES)
        .filter(|_| body_bytes as usize <= MAX_BODY_BYTES + limits::FRAME_TARGET_BYTES)
        .ok_or(FrameFault::BadField)?;
    let body = bytes.get(HEADER_BYTES..body_end).ok_or(FrameFault::Short)?;
    let end_mark = bytes.get(body_end).ok_or(FrameFault::Short)?;
    let crc = field(52)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header.get(..HEADER_BYTES - 4).ok_or(FrameFault::Short)?);
    hasher.update(body);
    if hasher.finalize() != crc || *end_mark != END_MARK {
        return Err(FrameFault::BadChecksum);
    }
    let [version, flags, kind, _] = field(4)?.to_le_bytes();
    if version != VERSION || flags != 0 {
        return Err(FrameFault::NewerVersion(version));
    }
    let kind = match kind {
        1 => FrameKind::Data,
        2 => FrameKind::Heartbeat,
        3 => FrameKind::Seal,
        _ => return Err(FrameFault::BadField),
    };
    let count = field(12)?;
    let first_lsn = Lsn(wide(16)?);
    if (kind == FrameKind::Data) != (count > 0)
        || first_lsn.0.checked_add(u64::from(count)).is_none()
        || (kind == FrameKind::Data && first_lsn == Lsn::ZERO)
    {
        return Err(FrameFault::BadField);
    }
    Ok(FrameHeader {
        kind,
        body_bytes,
        count,
        first_lsn,
        durable_lsn: Lsn(wide(24)?),
        salt,
        chain: field(48)?,
        crc,
    })
}

/// The salt that a frame at the start of `bytes` says it was written with.
pub(crate) fn salt_of(bytes: &[u8]) -> Option<u64> {
    u64_at(bytes, 40).filter(|_| bytes.starts_with(&MAGIC))
}

/// Body of a seal frame.
pub(crate) fn encode_successor(frame: &mut Vec<u8>, number: u64, salt: u64) {
    frame.extend_from_slice(&number.to_le_bytes());
    frame.extend_from_slice(&salt.to_le_bytes());
}

/// Number and salt of the segment that a seal frame names.
pub(crate) fn decode_successor(body: &[u8]) -> Option<(u64, u64)> {
    Some((u64_at(body, 0)?, u64_at(body, 8)?)).filter(|_| body.len() == 16)
}

/// Length of the fields before the key of a put, and of a delete.
const PUT_FIELDS_BYTES: usize = 9;
const DELETE_FIELDS_BYTES: usize = 5;
/// Length of the fields before the first operation of a record.
const RECORD_FIELDS_BYTES: usize = 5;

/// Makes keys and values slices of their own `record`, so that what stays in memory of a transaction
/// is one allocation. `record` is what [`encode_transaction`] made of the same `writes`.
pub(crate) fn share_record(record: &Bytes, writes: &mut [(Bytes, Option<Bytes>)]) {
    let mut offset = RECORD_FIELDS_BYTES;
    let mut next = |bytes: &mut Bytes, fields: usize| {
        let from = offset + fields;
        offset = from + bytes.len();
        *bytes = record.slice(from..offset);
    };
    for (key, value) in writes {
        match value {
            Some(value) => {
                next(key, PUT_FIELDS_BYTES);
                next(value, 0);
            }
            None => next(key, DELETE_FIELDS_BYTES),
        }
    }
}

/// Encodes a transaction as a record.
pub(crate) fn encode_transaction<'a>(
    writes: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>)>,
    counts: &[(u64, i64)],
    capacity: usize,
) -> Vec<u8> {
    let mut record = Vec::with_capacity(capacity);
    record.extend_from_slice(&[0, 0, 0, 0, RECORD_TRANSACTION]);
    // Key and value lengths were checked against their limits, which fit in 32 bits.
    let length = |bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    for (key, value) in writes {
        match value {
            Some(value) => {
                record.push(1);
                record.extend_from_slice(&length(key));
                record.extend_from_slice(&length(value));
                record.extend_from_slice(key);
                record.extend_from_slice(value);
            }
            None => {
                record.push(2);
                record.extend_from_slice(&length(key));
                record.extend_from_slice(key);
            }
        }
    }
    for (counter, delta) in counts {
        record.push(3);
        record.extend_from_slice(&counter.to_le_bytes());
        record.extend_from_slice(&delta.to_le_bytes());
    }
    let payload = u32::try_from(record.len() - 4)
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    if let Some(field) = record.get_mut(..4) {
        field.copy_from_slice(&payload);
    }
    record
}

/// Hands each operation of a data frame's body to `apply`, with the LSN of its transaction, in
/// log order. Keys and values are slices of `body`.
pub(crate) fn decode_body(
    body: &Bytes,
    first_lsn: Lsn,
    mut apply: impl FnMut(Lsn, Operation),
) -> Result<u32, BodyFault> {
    let mut rest = body.clone();
    let mut records = 0u32;
    while !rest.is_empty() {
        let length = take_u32(&mut rest)? as usize;
        let mut record = take(&mut rest, length)?;
        match take(&mut record, 1)?.first() {
            Some(&RECORD_TRANSACTION) => {}
            other => return Err(BodyFault::UnknownRecord(other.copied().unwrap_or(0))),
        }
        let lsn = first_lsn.plus(u64::from(records));
        while !record.is_empty() {
            apply(lsn, decode_operation(&mut record)?);
        }
        records = records.checked_add(1).ok_or(BodyFault::Short)?;
    }
    Ok(records)
}

fn decode_operation(record: &mut Bytes) -> Result<Operation, BodyFault> {
    match take(record, 1)?.first() {
        Some(1) => {
            let key_bytes = take_u32(record)? as usize;
            let value_bytes = take_u32(record)? as usize;
            let key = take(record, key_bytes)?;
            let value = take(record, value_bytes)?;
            Ok(Operation::Put { key, value })
        }
        Some(2) => {
            let key_bytes = take_u32(record)? as usize;
            Ok(Operation::Delete {
                key: take(record, key_bytes)?,
            })
        }
        Some(3) => {
            let counter = take_u64(record)?;
            let delta = take_u64(record)?.cast_signed();
            Ok(Operation::Count { counter, delta })
        }
        other => Err(BodyFault::UnknownOperation(other.copied().unwrap_or(0))),
    }
}

fn take(bytes: &mut Bytes, length: usize) -> Result<Bytes, BodyFault> {
    if bytes.len() < length {
        Err(BodyFault::Short)
    } else {
        Ok(bytes.split_to(length))
    }
}

fn take_u32(bytes: &mut Bytes) -> Result<u32, BodyFault> {
    u32_at(&take(bytes, 4)?, 0).ok_or(BodyFault::Short)
}

fn take_u64(bytes: &mut Bytes) -> Result<u64, BodyFault> {
    u64_at(&take(bytes, 8)?, 0).ok_or(BodyFault::Short)
}

/// A frame buffer with room for the header.
pub(crate) fn empty_frame(capacity: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(capacity + OVERHEAD_BYTES);
    frame.resize(HEADER_BYTES, 0);
    frame
}

/// The body of a frame that [`check_frame`] accepted, in memory of its own.
pub(crate) fn body_of(bytes: &[u8], header: &FrameHeader) -> Bytes {
    let end = HEADER_BYTES + header.body_bytes as usize;
    let mut body = BytesMut::with_capacity(header.body_bytes as usize);
    body.extend_from_slice(bytes.get(HEADER_BYTES..end).unwrap_or_default());
    body.freeze()
}

#[cfg(test)]
mod tests;
