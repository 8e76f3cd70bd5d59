//! Ordered bytes on a write-ahead log.

#[allow(dead_code)]
mod checkpoint;
// The log, the manifest and the tables call it; each lands with its own slice.
#[allow(dead_code)]
mod codec;
pub mod disk;
mod error;
pub mod limits;
mod lsn;
pub mod observer;
#[allow(dead_code)]
mod read;
mod settings;
#[allow(dead_code, unused_imports)]
mod table;

pub use error::{Result, StoreError};
pub use lsn::Lsn;
pub use read::{Direction, Io, KeyRange, VersionedEntry};
pub use settings::{Components, Durability, LiveSettings, Settings};
