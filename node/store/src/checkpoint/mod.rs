//! From memtables to tables, and from tables to fewer tables.

pub(crate) mod retain;
