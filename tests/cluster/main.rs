//! End to end, on a real Kubernetes: our images, our chart under its own rights, our operator, and a
//! node on a volume that can be full, grow and fail. `scripts/cluster-test.sh` runs it.
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

mod audit;
mod bucket;
mod kube;
mod load;
mod proxy;

mod faults;
mod images;
mod instance;
mod release;
mod rules;

mod kills;
mod lifecycle;
mod operator;
mod outside;
mod policies;
mod quiet;
mod readme;
mod recovery;
mod settings;
mod snapshots;
mod stopped;
mod upgrades;
mod volumes;
