//! Black-box tests of the `godb` binary over real sockets and real files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs,
    reason = "tests: to panic is how they fail"
)]

mod admin;
mod archive;
mod auth;
mod contract;
mod damage;
mod disk_full;
mod isolation;
mod kill9;
mod kind;
mod load;
mod memory;
mod mount;
mod readme;
mod reference;
mod s3;
#[path = "../../node/engine/tests/scripts/script.rs"]
mod script;
mod shared;
mod shutdown;
mod slow;
mod snapshots;
mod snapshots_admin;
mod snapshots_crash;
mod start;
mod transfer;
