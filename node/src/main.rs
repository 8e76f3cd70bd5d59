//! The `godb` binary.
fn main() {}
