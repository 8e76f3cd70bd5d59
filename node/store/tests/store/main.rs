//! Tests of the whole store, by area.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]
#![allow(clippy::panic)]

mod damage;
mod faults;
mod harness;
mod lifecycle;
mod log;
mod model;
mod mutation;
mod oracle;
mod powercut;
