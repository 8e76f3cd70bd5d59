//! Ordered bytes on a write-ahead log: transactions, views, tables, recovery.
//!
//! ```text
//! write:  Transaction ─► commit section ─► log + memtable ─► durable by level ─► visible
//!                                                └─► checkpoint ─► table + manifest
//! read:   ReadPoint / View ─► memtables, newest first ─► tables, level by level
//! start:  lock ─► manifest ─► tables ─► log ─► verdict on its tail ─► fresh segment
//! ```
//!
//! What is durable when is decided by [`Durability`]; every answer waits for its level through a
//! [`Ticket`]. There is no JSON, no async runtime and no metrics library here: futures use
//! `std::task` alone, and [`observer::Observer`] is told what happens.

mod checkpoint;
mod codec;
#[cfg(feature = "fuzz")]
pub mod decoders;
pub mod disk;
mod error;
pub mod limits;
mod lsn;
mod manifest;
mod memory;
mod memtable;
pub mod observer;
mod poison;
mod read;
mod recovery;
mod settings;
mod snapshot;
mod stats;
mod store;
mod sync;
mod table;
mod txn;
mod wal;

pub use checkpoint::flush::CheckpointReport;
pub use error::{Result, StoreError};
pub use lsn::Lsn;
pub use read::version::{ReadPoint, Scan};
pub use read::view::View;
pub use read::{Direction, Entry, Io, KeyRange, VersionedEntry};
pub use recovery::RecoveryReport;
pub use recovery::repair::{KeptEntries, Loss, Lost, Repair};
pub use recovery::verify::{VerifyReport, verify};
pub use settings::{Components, Durability, LiveSettings, Settings, WhoSyncs};
pub use snapshot::{
    DIR_NAME as SNAPSHOTS_DIR_NAME, IncomingTable, MAX_NAME_BYTES as MAX_SNAPSHOT_NAME_BYTES,
    Receiver, SnapshotFile, SnapshotInfo, SnapshotReader, SnapshotUsage, Snapshots,
    check_name as check_snapshot_name,
};
pub use stats::StoreStats;
pub use store::Store;
pub use txn::Transaction;
pub use txn::gate::Writable;
pub use txn::ticket::{Ticket, block_on};
