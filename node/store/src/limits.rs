//! Every bound of the store in one place, related to each other by const assertions.

/// Largest key, in bytes.
pub const MAX_KEY_BYTES: usize = 4 * 1024;
/// Largest value, in bytes: a document of 16 MiB and room for what a layer above puts around it.
pub const MAX_VALUE_BYTES: usize = 17 * 1024 * 1024;
/// Most bytes one transaction may write (its encoded record).
pub const MAX_TRANSACTION_BYTES: usize = 64 * 1024 * 1024;
/// A frame is closed once it holds this much; only a single larger transaction exceeds it.
pub const FRAME_TARGET_BYTES: usize = 1024 * 1024;
/// Bytes that may wait in the log buffer before writers are held back.
pub const LOG_BUFFER_BYTES: usize = 32 * 1024 * 1024;
/// Size of an ordinary log segment.
pub const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// Smallest log segment, on very small file systems.
pub const MIN_SEGMENT_BYTES: u64 = 1024 * 1024;
/// LSNs are reserved durably in steps of this many.
pub const LSN_RESERVATION: u64 = 1 << 24;
/// Slots of the array that remembers the last LSN by key hash.
pub const CONFLICT_SLOTS: usize = 1 << 20;
/// Uncompressed size at which a table block is closed; one larger entry gets a block of its own.
pub const BLOCK_TARGET_BYTES: usize = 8 * 1024;
/// Largest block a reader accepts, uncompressed: one largest entry and its framing.
pub const MAX_BLOCK_BYTES: usize = MAX_VALUE_BYTES + MAX_KEY_BYTES + 1024;
/// File size at which a compaction output table is closed.
pub const TABLE_TARGET_BYTES: u64 = 32 * 1024 * 1024;
/// Smallest memory budget that is accepted.
pub const MIN_MEMORY_BYTES: u64 = 16 * 1024 * 1024;

const _: () = assert!(MAX_VALUE_BYTES + MAX_KEY_BYTES < MAX_TRANSACTION_BYTES);
const _: () = assert!(FRAME_TARGET_BYTES as u64 <= MIN_SEGMENT_BYTES);
const _: () = assert!(MIN_SEGMENT_BYTES <= SEGMENT_BYTES);
const _: () = assert!(BLOCK_TARGET_BYTES < MAX_BLOCK_BYTES);
const _: () = assert!(CONFLICT_SLOTS.is_power_of_two());
const _: () = assert!(LOG_BUFFER_BYTES < MAX_TRANSACTION_BYTES * 2);
