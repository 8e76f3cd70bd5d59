//! Tests of the whole store, by area.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]
#![allow(clippy::panic, clippy::cast_possible_truncation)]

mod harness;
mod lifecycle;
mod log;
mod oracle;
mod powercut;
