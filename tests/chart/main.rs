//! The chart without a cluster: what it renders under Helm 3 and 4, the rights it asks for, and that
//! everything generated from it is fresh. `scripts/chart.sh` runs it; `lifecycle.sh` beside it is the
//! part that needs a cluster.
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

mod generated;
mod helm;
mod render;
mod rights;
mod schema;
