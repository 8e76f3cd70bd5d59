//! Documents, collections and secondary indexes over [`godb_store`].
//!
//! ```no_run
//! use godb_engine::{Io, StorageEngine, Write};
//!
//! let engine = StorageEngine::builder("data").open()?;
//! let made = engine.insert("users", br#"{"name":"Ada"}"#, &Write::default())?.wait()?;
//! let id = std::str::from_utf8(&made.id).unwrap_or_default();
//! assert_eq!(engine.get("users", id, Io::Allow)?, Some(made.clone()));
//! engine.close()?;
//! # Ok::<(), godb_engine::EngineError>(())
//! ```
//!
//! A document is a JSON object of at most 16 MiB with a string `_id`. It is kept and returned as
//! the bytes that were sent, with whitespace and repeated keys removed: numbers of any size come
//! back as they were written. The folder `examples` has a program for each family of operations.
//!
//! ```text
//! write:  bytes ─► json, document ─► write, collection ─► one transaction: document, index
//!         entries, count ─► Pending ─► the answer
//! read:   query/parse ─► query/plan ─► query/walk over one view ─► Page or DocumentStream
//! ```
//!
//! What holds throughout:
//! - No document is ever turned into a tree; everything reads and changes bytes.
//! - Every write depends on the catalogue record of its collection, so a change of the catalogue is
//!   ordered against every write.
//! - Index entries are written in the transaction of their document, so an index never disagrees
//!   with a scan of the same view. [`StorageEngine::check`] proves it.
//! - Answers are computed at once and given when they are safe: [`Pending`].

mod builder;
mod catalog;
mod check;
mod collection;
#[cfg(feature = "fuzz")]
pub mod decoders;
mod document;
mod error;
pub mod id;
mod index;
pub mod json;
mod key;
pub mod limits;
pub mod name;
mod patch;
mod pending;
mod query;
mod repair;
mod snapshot;
mod storage_engine;
mod sweep;
mod transfer;
mod write;

pub use builder::Builder;
pub use check::CheckReport;
pub use document::Document;
pub use error::{EngineError, Result};
pub use godb_store::{
    CheckpointReport, Durability, Io, LiveSettings, Lsn, RecoveryReport, StoreError, StoreStats,
};
pub use pending::Pending;
pub use query::cursor::Cursor;
pub use query::exec::{Find, Page, PageStart};
pub use query::parse::Filter;
pub use query::stream::DocumentStream;
pub use repair::{KeptCollection, RepairReport, repair};
pub use snapshot::{
    CollectionContents, Contents, Snapshot, SnapshotOptions, snapshot, verify_contents,
    verify_snapshot,
};
pub use storage_engine::{CollectionInfo, IndexInfo, MemoryStats, StorageEngine};
pub use transfer::TransferReport;
pub use transfer::stream::{DatabaseItem, DatabaseStream};
pub use write::{Replace, Write};
