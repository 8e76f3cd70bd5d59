//! Tests of the whole store, by area.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests: to panic is how they fail, and their counts are small"
)]

mod carried;
mod every_call;
mod failing_disk;
mod faults;
mod harness;
mod levels;
mod lifecycle;
mod log;
mod model;
mod mutation;
mod oracle;
mod powercut;
mod snapshots;
mod syncer;
mod workloads;
