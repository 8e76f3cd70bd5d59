//! Load generator and peers for `make bench`.
fn main() {}
