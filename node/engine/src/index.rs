//! Secondary indexes: ordered keys that are written in the transaction of their document.

pub(crate) mod build;
pub(crate) mod entries;
