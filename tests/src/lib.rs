//! The harness of the black-box tests: the real binary as a process, a client that sees every
//! byte of an answer, and an oracle for what must be there after a crash.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test harness: to panic is how it reports a failure"
)]

pub mod checker;
pub mod client;
pub mod history;
pub mod node;
pub mod random;
pub mod readme;

pub use client::{Client, Response};
pub use node::{Node, NodeOptions, run_godb};
