//! Finding documents: filter, plan, execution, paging.

pub(crate) mod cursor;
pub(crate) mod parse;
