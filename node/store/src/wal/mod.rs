//! The write-ahead log: frames in segments, written by one thread at a time.
//!
//! Formats: `frame` and `segment` hold the byte diagrams. Invariants:
//!
//! 1. A frame never spans segments and is never written into a segment of an earlier run.
//! 2. A segment is synced whole before the first frame goes to the one that follows it. So what
//!    is not proven durable lies in the newest segment only, or before it in one that recovery cut.
//! 3. Every frame carries the LSN that was known to be durable when it was written. A damaged
//!    frame below such a promise is corruption, not a torn tail.
//! 4. A segment is used again only after a manifest that no longer needs it is durable.

pub(crate) mod buffer;
pub(crate) mod damage;
pub(crate) mod frame;
pub(crate) mod reader;
pub(crate) mod segment;
pub(crate) mod supply;
pub(crate) mod writer;
