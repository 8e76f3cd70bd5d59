//! From memtables to tables, and from tables to fewer tables.

pub(crate) mod compact;
pub(crate) mod pick;
pub(crate) mod retain;
