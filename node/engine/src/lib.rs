//! Documents over a store.
