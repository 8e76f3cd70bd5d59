//! Checking the indexes against the documents, both ways.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use godb_store::{Direction, Io, ReadPoint, Store, View};

use crate::catalog::{Catalog, Collection, Index, IndexState};
use crate::error::Result;
use crate::index::entries;
use crate::key;
use crate::query::walk::Span;

/// Entries or documents looked at between two fresh points of the view.
const CHUNK: usize = 1000;
/// Problems that are described; more are only counted.
const MAX_DESCRIBED: usize = 100;

/// What [`crate::StorageEngine::check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Collections looked at.
    pub collections: u64,
    /// Documents looked at.
    pub documents: u64,
    /// Index entries looked at.
    pub entries: u64,
    /// Disagreements found.
    pub problem_count: u64,
    /// The first 100 of them in words.
    pub problems: Vec<String>,
}

impl CheckReport {
    /// Whether everything agrees.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problem_count == 0
    }

    fn problem(&mut self, describe: impl FnOnce() -> String) {
        self.problem_count += 1;
        if self.problems.len() < MAX_DESCRIBED {
            self.problems.push(describe());
        }
    }
}

/// Checks one moment of the database.
pub(crate) fn check(store: &Store, catalog: &Catalog) -> Result<CheckReport> {
    let mut report = CheckReport::default();
    let view = store.view();
    for (name, collection) in collections(&view.read()?, catalog)? {
        report.collections += 1;
        let documents = check_documents(&view, &name, &collection, &mut report)?;
        report.documents += documents;
        check_count(store, &view, &name, &collection, documents, &mut report);
        for index in &collection.indexes {
            check_entries(&view, &name, &collection, index, &mut report)?;
        }
    }
    Ok(report)
}

/// All collections that `point` sees, by name.
pub(crate) fn collections(
    point: &ReadPoint,
    catalog: &Catalog,
) -> Result<Vec<(String, Arc<Collection>)>> {
    let mut collections = Vec::new();
    for found in point.scan(key::collections(), Direction::Ascending, Io::Allow) {
        let (key, entry) = found?;
        let name = key::collection_name(&key).unwrap_or_default().to_owned();
        let collection = catalog.decoded(&name, &entry)?;
        collections.push((name, collection));
    }
    Ok(collections)
}

/// Told of a key (behind its prefix) and its value, at the point they were read at.
pub(crate) type Visit<'v> = dyn FnMut(&ReadPoint, Bytes, Bytes) -> Result<ControlFlow<()>> + 'v;

/// Visits every key with a prefix, over as many points of the view as it takes.
pub(crate) fn for_each(view: &View, prefix: &[u8], visit: &mut Visit<'_>) -> Result<()> {
    let mut span = Span::ALL;
    loop {
        let point = view.read()?;
        let mut last = None;
        let scan = point.scan(span.keys(prefix), Direction::Ascending, Io::Allow);
        for found in scan.take(CHUNK) {
            let (key, entry) = found?;
            let rest = key.slice(prefix.len()..);
            last = Some(rest.clone());
            if visit(&point, rest, entry.value)?.is_break() {
                return Ok(());
            }
        }
        match last {
            Some(last) => span.pass(last, Direction::Ascending),
            None => return Ok(()),
        }
    }
}

/// Every document has its id and all its entries; how many there are.
fn check_documents(
    view: &View,
    name: &str,
    collection: &Collection,
    report: &mut CheckReport,
) -> Result<u64> {
    let mut documents = 0;
    let prefix = key::documents_prefix(collection.number);
    for_each(view, &prefix, &mut |point, id, json| {
        documents += 1;
        let shown = String::from_utf8_lossy(&id);
        let own_id = crate::json::members(&json)
            .find(|(key, _)| key.is("_id"))
            .and_then(|(_, raw)| crate::json::as_str(raw));
        if own_id.as_deref() != std::str::from_utf8(&id).ok() {
            report.problem(|| format!("{name}: the document `{shown}` has another `_id`"));
        }
        for index in &collection.indexes {
            if index.state != IndexState::Ready {
                continue;
            }
            for entry in entries::keys(index.number, &index.field, &id, &json) {
                if point.get(&entry, Io::Allow)?.is_none() {
                    report.problem(|| {
                        format!("{name}: the index on `{}` lacks `{shown}`", index.field)
                    });
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(documents)
}

/// The counter can only be held against the view while nobody writes.
fn check_count(
    store: &Store,
    view: &View,
    name: &str,
    collection: &Collection,
    documents: u64,
    report: &mut CheckReport,
) {
    let is_newest = || store.begin().read_lsn() == view.lsn();
    let before = is_newest();
    let counted = store.counter(collection.counter());
    let unchanged = before && is_newest();
    if unchanged && u64::try_from(counted) != Ok(documents) {
        report.problem(|| format!("{name}: {documents} documents, but the counter says {counted}"));
    }
}

/// Every entry belongs to a document that has its value.
fn check_entries(
    view: &View,
    name: &str,
    collection: &Collection,
    index: &Index,
    report: &mut CheckReport,
) -> Result<()> {
    let prefix = key::index_prefix(index.number);
    for_each(view, &prefix, &mut |point, rest, _| {
        report.entries += 1;
        let Some(length) = key::value::encoded_len(&rest) else {
            report.problem(|| format!("{name}: the index on `{}` is unreadable", index.field));
            return Ok(ControlFlow::Continue(()));
        };
        let id = rest.slice(length..);
        let document = point.get(key::document(collection.number, &id).as_ref(), Io::Allow)?;
        let owned = document.is_some_and(|entry| {
            let wanted = key::index_entry(index.number, &rest, b"");
            entries::keys(index.number, &index.field, &id, &entry.value).contains(&wanted)
        });
        if !owned {
            let id = String::from_utf8_lossy(&id);
            report.problem(|| {
                format!(
                    "{name}: the index on `{}` has a stale entry of `{id}`",
                    index.field
                )
            });
        }
        Ok(ControlFlow::Continue(()))
    })
}
