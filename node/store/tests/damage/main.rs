//! Damaged files. A binary of its own because it counts every byte that is allocated.
#![allow(
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests: to panic is how they fail, their counts are small, and not all of the shared part is used here"
)]

mod files;
#[path = "../store/harness.rs"]
mod harness;
#[path = "../store/oracle.rs"]
mod oracle;
mod sweep;

use std::sync::{Mutex, MutexGuard, PoisonError};

#[global_allocator]
static ALLOCATED: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

static ALONE: Mutex<()> = Mutex::new(());

/// The allocator counts what the whole process holds, so that one test at a time may run.
fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
