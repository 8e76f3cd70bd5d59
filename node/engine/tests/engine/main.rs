//! The engine through its public face, on a simulated disk.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, also in what its tests share"
)]

mod concurrency;
mod decoders;
mod documents;
mod finding;
mod indexes;
mod model;
mod powercut;
mod repair;
#[path = "../scripts/script.rs"]
mod script;
mod scripts;
mod transfer;

use std::path::Path;
use std::sync::Arc;

use godb_engine::{Document, Durability, Filter, Find, Io, PageStart, StorageEngine, Write};
use godb_store::disk::sim::SimDisk;

/// An engine on a disk of its own.
pub(crate) fn engine() -> StorageEngine {
    open(&SimDisk::new())
}

/// An engine on this disk.
pub(crate) fn open(disk: &SimDisk) -> StorageEngine {
    StorageEngine::builder("/db")
        .disk(Arc::new(disk.clone()))
        .open()
        .unwrap()
}

pub(crate) fn open_at(disk: &SimDisk, level: Durability) -> StorageEngine {
    StorageEngine::builder("/db")
        .disk(Arc::new(disk.clone()))
        .durability(level)
        .max_wal_bytes(2 << 20)
        .open()
        .unwrap()
}

pub(crate) fn write() -> Write<'static> {
    Write::default()
}

pub(crate) fn text(document: &Document) -> &str {
    std::str::from_utf8(&document.json).unwrap()
}

pub(crate) fn insert(engine: &StorageEngine, collection: &str, json: &str) -> Document {
    let pending = engine.insert(collection, json.as_bytes(), &write());
    pending.unwrap().wait().unwrap()
}

pub(crate) fn get(engine: &StorageEngine, collection: &str, id: &str) -> Option<String> {
    let found = engine.get(collection, id, Io::Allow).unwrap();
    found.map(|document| text(&document).to_owned())
}

pub(crate) fn filter(query: &[(&str, &str)]) -> Filter {
    Filter::from_pairs(query.iter().copied()).unwrap()
}

pub(crate) fn find(query: &[(&str, &str)], limit: usize, page: PageStart) -> Find {
    Find {
        filter: filter(query),
        limit,
        total: matches!(page, PageStart::Offset(_)),
        page,
    }
}

/// The ids that a query finds.
pub(crate) fn ids(engine: &StorageEngine, collection: &str, query: &[(&str, &str)]) -> Vec<String> {
    let query = find(query, 1000, PageStart::Offset(0));
    let page = engine.find(collection, &query, Io::Allow).unwrap();
    assert_eq!(page.total, Some(page.documents.len() as u64));
    page.documents.iter().map(id).collect()
}

pub(crate) fn id(document: &Document) -> String {
    String::from_utf8(document.id.to_vec()).unwrap()
}

#[track_caller]
pub(crate) fn check(engine: &StorageEngine) {
    let report = engine.check().unwrap();
    assert!(report.is_clean(), "{:?}", report.problems);
}

pub(crate) fn path(name: &str) -> &Path {
    Path::new(name)
}
