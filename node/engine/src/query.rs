//! Finding documents: filter, plan, walk, pages and streams.

pub(crate) mod cursor;
pub(crate) mod exec;
pub(crate) mod parse;
pub(crate) mod plan;
pub(crate) mod stream;
pub(crate) mod walk;
