//! Figures for people; programs scrape `/metrics`.

use godb_engine::CollectionInfo;
use godb_store::StoreStats;
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::State;
use crate::http::body::Body;
use crate::http::error::ApiError;

/// Collections that are listed; an answer has a size.
const MAX_COLLECTIONS: usize = 1000;

/// GET /admin/stats
pub async fn stats(state: &State) -> Result<Response<Body>, ApiError> {
    let engine = state.engine()?.clone();
    let (collections, stats) = super::blocking(move || {
        let collections = engine.collections()?;
        Ok((collections, engine.stats()))
    })
    .await?;
    let listed: Vec<Value> = collections
        .iter()
        .take(MAX_COLLECTIONS)
        .map(collection)
        .collect();
    let body = Map::from_iter([
        ("bootId".to_owned(), json!(state.lifecycle.boot_id())),
        ("phase".to_owned(), json!(state.lifecycle.phase().as_str())),
        ("collection_count".to_owned(), json!(collections.len())),
        ("collections".to_owned(), Value::Array(listed)),
        ("store".to_owned(), store(&stats)),
    ]);
    Ok(super::json(StatusCode::OK, body))
}

fn collection(info: &CollectionInfo) -> Value {
    let indexes: Vec<Value> = info
        .indexes
        .iter()
        .map(|index| json!({"field": index.field, "ready": index.ready}))
        .collect();
    json!({"name": info.name, "documents": info.documents, "indexes": indexes})
}

fn store(stats: &StoreStats) -> Value {
    json!({
        "durability": stats.durability.as_str(),
        "lsn": {
            "appended": stats.appended_lsn.0,
            "written": stats.written_lsn.0,
            "durable": stats.durable_lsn.0,
            "visible": stats.visible_lsn.0,
            "checkpointed": stats.checkpoint_lsn.0,
        },
        "memory": {
            "limit_bytes": stats.max_memory_bytes,
            "memtable_bytes": stats.memtable_bytes,
            "sealed_memtables": stats.sealed_memtables,
            "block_cache_bytes": stats.cache_bytes,
            "block_cache_capacity_bytes": stats.cache_capacity_bytes,
            "block_cache_hits": stats.cache_hits,
            "block_cache_misses": stats.cache_misses,
            "tables_bytes": stats.tables_memory_bytes,
        },
        "tables": {"per_level": stats.tables_per_level, "size_bytes": stats.tables_bytes},
        "wal": {"segments": stats.segments, "size_bytes": stats.log_bytes},
        "disk": {
            "free_bytes": stats.disk_free_bytes,
            "size_bytes": stats.disk_total_bytes,
            "refusing_writes": stats.refusing_writes,
        },
        "views": stats.views,
        "failure": stats.poisoned,
    })
}
