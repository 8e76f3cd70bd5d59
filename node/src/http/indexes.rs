//! Secondary indexes of a collection.

use std::time::{Duration, Instant};

use godb_engine::json;
use godb_store::Durability;
use hyper::{Response, StatusCode};
use tokio::task::AbortHandle;

use super::answer;
use super::body::Body;
use super::error::ApiError;
use super::{Call, State};

/// A build that takes longer is told to the log.
const LONG_BUILD: Duration = Duration::from_secs(1);

/// GET /collections/{collection}/indexes
pub async fn list(state: &State, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let collection = call.collection()?;
    let name = collection.clone();
    let indexes = state
        .bridge
        .blocking(move |engine| engine.indexes(&name))
        .await?;
    let mut out =
        format!("{{\"success\":true,\"collection\":\"{collection}\",\"indexes\":[").into_bytes();
    for (place, index) in indexes.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        json::push_str(&mut out, index);
    }
    out.extend_from_slice(format!("],\"index_count\":{}}}", indexes.len()).as_bytes());
    Ok(answer::json(StatusCode::OK, out))
}

/// POST /collections/{collection}/indexes/{field}
pub async fn create(state: &State, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let collection = call.collection()?;
    let field = call.last()?;
    let (name, path) = (collection.clone(), field.clone());
    let created = state
        .bridge
        .index_build(move |engine| {
            let announced = Announced::start(&name, &path);
            let created = engine.create_index(&name, &path);
            announced.end(&name, &path, created.is_ok());
            let created = created?;
            // The answer says that the index is on disk, and without a log only tables are. One that
            // was there already may be that of a call whose checkpoint failed.
            if engine.live_settings().durability == Durability::None {
                engine.checkpoint()?;
            }
            Ok(created)
        })
        .await?;
    if created {
        tracing::info!(%collection, %field, "index created");
    }
    let mut out = format!(
        "{{\"success\":true,\"message\":\"Index created successfully\",\"collection\":\"{collection}\",\"field\":"
    )
    .into_bytes();
    json::push_str(&mut out, &field);
    out.push(b'}');
    Ok(answer::json(StatusCode::CREATED, out))
}

/// Tells the log about a build that takes long, at its start and at its end, also when the client
/// that asked for it has gone.
struct Announced {
    started: Instant,
    timer: AbortHandle,
}

impl Announced {
    fn start(collection: &str, field: &str) -> Self {
        let (collection, field) = (collection.to_owned(), field.to_owned());
        let timer = tokio::spawn(async move {
            tokio::time::sleep(LONG_BUILD).await;
            tracing::info!(%collection, %field, "building an index");
        });
        Self {
            started: Instant::now(),
            timer: timer.abort_handle(),
        }
    }

    fn end(self, collection: &str, field: &str, succeeded: bool) {
        self.timer.abort();
        let took = self.started.elapsed();
        if took >= LONG_BUILD {
            tracing::info!(
                %collection, %field, succeeded, took_ms = took.as_millis(), "index build ended"
            );
        }
    }
}
