//! The contract of go-db, route by route and ruling by ruling, against the running binary.

mod batch;
mod bodies;
mod documents;
mod filters;
mod indexes;
mod paging;
mod protocol;
mod routes;
mod stream;
