//! Documents over a store.

pub mod error;
pub mod id;
mod index;
pub mod json;
mod key;
pub mod limits;
pub mod name;
mod patch;
mod query;

pub use error::{EngineError, Result};
pub use query::cursor::Cursor;
pub use query::parse::Filter;
