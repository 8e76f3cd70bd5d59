//! Ordered bytes on a write-ahead log.

pub mod disk;
mod error;
pub mod limits;
mod lsn;
pub mod observer;
mod read;
mod settings;

pub use error::{Result, StoreError};
pub use lsn::Lsn;
pub use read::{Direction, Io, KeyRange, VersionedEntry};
pub use settings::{Components, Durability, LiveSettings, Settings};
