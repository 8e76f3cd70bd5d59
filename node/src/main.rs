//! The `godb` binary.
#![allow(dead_code)]

mod bridge;
mod cli;
mod config;
mod exit;
mod http;
mod lifecycle;
mod log;
mod metrics;
mod server;
mod tools;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {}
