//! Every bound of the engine in one place, related to each other and to the store's by const
//! assertions.

use godb_store::limits as store;

/// Largest document in its stored form, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 16 * 1024 * 1024;
/// Longest id, in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 512;
/// Longest collection name, in bytes.
pub const MAX_COLLECTION_NAME_BYTES: usize = 128;
/// Longest path of an indexed field, in bytes of UTF-8.
pub const MAX_FIELD_PATH_BYTES: usize = 256;
/// Most items of one batch.
pub const MAX_BATCH_ITEMS: usize = 1000;
/// Most bytes that one request may write.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;
/// Most secondary indexes of one collection.
pub const MAX_INDEXES: usize = 64;
/// Most conditions of one filter, and most values of all of them together.
pub const MAX_FILTER_VALUES: usize = 1024;
/// Most documents of one page.
pub const MAX_PAGE_DOCUMENTS: usize = 1000;
/// Most bytes of documents on one page of more than one document.
pub const MAX_PAGE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of a value that an index key holds; of a number, the digits in pairs.
pub const MAX_INDEXED_BYTES: usize = 256;

const _: () = assert!(MAX_DOCUMENT_BYTES <= store::MAX_VALUE_BYTES);
const _: () = assert!(MAX_REQUEST_BYTES <= store::MAX_TRANSACTION_BYTES);
const _: () = assert!(MAX_DOCUMENT_BYTES <= MAX_REQUEST_BYTES);
// An index key: tag, index number, value (escaped to at most twice its size, and framed), id.
const _: () = assert!(1 + 8 + 2 * MAX_INDEXED_BYTES + 32 + MAX_ID_BYTES <= store::MAX_KEY_BYTES);
