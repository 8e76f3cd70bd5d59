//! What can go wrong, by what the caller can do about it.

use godb_store::StoreError;

use crate::json::JsonError;

/// Result of an engine operation.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// An error of the engine. Each variant is one thing that a caller can act on; the message is for
/// people and is not part of the interface.
///
/// Unless the variant says otherwise, nothing was written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// The bytes are not one JSON object.
    #[error("invalid JSON: {reason} at line {line} column {column}")]
    InvalidJson {
        /// Line of the offending byte, from 1.
        line: usize,
        /// Column of it in characters, from 1.
        column: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// A collection name or field path that cannot be one.
    #[error("invalid {what} `{name}`: {reason}")]
    InvalidName {
        /// "collection name" or "field".
        what: &'static str,
        /// The name as given.
        name: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// An id that cannot be one.
    #[error("invalid id: {reason}")]
    InvalidId {
        /// The rule it breaks.
        reason: &'static str,
    },
    /// A JSON object that cannot be stored as this document.
    #[error("invalid document: {reason}")]
    InvalidDocument {
        /// Why not.
        reason: String,
    },
    /// A query that makes no sense.
    #[error("invalid query: {reason}")]
    InvalidQuery {
        /// Why.
        reason: String,
    },
    /// A cursor that this collection never gave out.
    #[error("invalid cursor")]
    InvalidCursor,
    /// A document or request is larger than its limit.
    #[error("{what} of {bytes} bytes is larger than the limit of {limit_bytes}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// More items than one request may have, or none where there must be one.
    #[error("{count} {what}: there must be 1 to {limit}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// There is no document of this id.
    #[error("document with id {id} not found")]
    NotFound {
        /// The id.
        id: String,
    },
    /// There is a document of this id already.
    #[error("document with id {id} already exists")]
    AlreadyExists {
        /// The id.
        id: String,
    },
    /// Two documents of a batch have the same id.
    #[error("document with id {id} is in the batch twice")]
    DuplicateInBatch {
        /// The id.
        id: String,
    },
    /// What the caller made the write depend on does not hold.
    #[error("document with id {id}: the precondition does not hold")]
    PreconditionFailed {
        /// The id.
        id: String,
    },
    /// A whole database can be loaded only into an empty one.
    #[error("the database is not empty: it holds {collections} collections")]
    NotEmpty {
        /// How many.
        collections: usize,
    },
    /// A file to be loaded is damaged, cut off, or none of this program's.
    #[error("cannot load {path} at byte {offset}: {reason}")]
    InvalidFile {
        /// The file.
        path: String,
        /// Where the fault was noticed.
        offset: u64,
        /// What was expected there.
        reason: &'static str,
    },
    /// Writers are held back for a moment. Wait for [`crate::StorageEngine::writable`].
    #[error("writers are held back: {reason}")]
    Busy {
        /// Which bound was reached.
        reason: &'static str,
    },
    /// The disk is nearly full; reads and deletes go on.
    #[error("the disk is nearly full: {free_bytes} bytes free, {reserve_bytes} in reserve")]
    DiskFull {
        /// Bytes the file system has left.
        free_bytes: u64,
        /// Bytes that only deletes and maintenance may use.
        reserve_bytes: u64,
    },
    /// The write may or may not have happened: the log failed while it was in flight.
    #[error("the outcome of the write is unknown: {cause}")]
    OutcomeUnknown {
        /// Why.
        cause: String,
    },
    /// The answer needs a disk read or much work, and the caller asked for neither. Ask again with
    /// [`crate::Io::Allow`] where blocking is fine.
    #[error("the answer needs a disk read")]
    WouldBlock,
    /// A stream was held for too long and the state it reads is gone. Start again.
    #[error("the view was held too long and has expired")]
    ViewExpired,
    /// Anything else that the store reports: damage, a failed disk, closed, misconfigured.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy { reason } => EngineError::Busy { reason },
            StoreError::DiskFull {
                free_bytes,
                reserve_bytes,
            } => EngineError::DiskFull {
                free_bytes,
                reserve_bytes,
            },
            StoreError::TooLarge {
                what,
                bytes,
                limit_bytes,
            } => EngineError::TooLarge {
                what,
                bytes,
                limit_bytes,
            },
            StoreError::WouldBlock => EngineError::WouldBlock,
            StoreError::ViewExpired { .. } => EngineError::ViewExpired,
            other => EngineError::Store(other),
        }
    }
}

impl From<JsonError> for EngineError {
    fn from(error: JsonError) -> Self {
        EngineError::InvalidJson {
            line: error.line,
            column: error.column,
            reason: error.reason,
        }
    }
}
