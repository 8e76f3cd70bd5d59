//! One document at a time.

use godb_engine::{Document, EngineError, Lsn, Replace};
use hyper::{Response, StatusCode};

use super::answer::{json, with_lsn};
use super::body::Body;
use super::error::{ApiError, Kind};
use super::extract::{creates_only, durability, refuse_preconditions};
use super::{Call, State};

/// POST /collections/{collection}
pub async fn insert(state: &State, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let collection = call.collection()?;
    refuse_preconditions(&call.parts.headers)?;
    let ack = durability(&call.parts.headers)?;
    let body = call.body;
    let (document, lsn) = state
        .bridge
        .write(ack, move |engine, how| {
            engine.insert(&collection, &body.bytes, how)
        })
        .await?;
    Ok(written(StatusCode::CREATED, document, lsn))
}

/// GET /collections/{collection}/documents/{id}
pub async fn get(state: &State, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let collection = call.collection()?;
    let id = call.last()?;
    let document = state
        .bridge
        .read(move |engine, io| {
            engine
                .get(&collection, &id, io)?
                .ok_or_else(|| EngineError::NotFound { id: id.clone() })
        })
        .await?;
    Ok(json(StatusCode::OK, document.json))
}

/// PATCH /collections/{collection}/documents/{id}
pub async fn update(state: &State, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let collection = call.collection()?;
    let id = call.last()?;
    refuse_preconditions(&call.parts.headers)?;
    let ack = durability(&call.parts.headers)?;
    let body = call.body;
    let (document, lsn) = state
        .bridge
        .write(ack, move |engine, how| {
            engine.update(&collection, &id, &body.bytes, how)
        })
        .await?;
    Ok(written(StatusCode::OK, document, lsn))
}

/// PUT /collections/{collection}/documents/{id}: 200 for a document that was replaced, 201 for one
/// that `If-None-Match: *` made.
pub async fn replace(state: &State, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let collection = call.collection()?;
    let id = call.last()?;
    let (mode, status) = if creates_only(&call.parts.headers)? {
        (Replace::CreateOnly, StatusCode::CREATED)
    } else {
        (Replace::Existing, StatusCode::OK)
    };
    let ack = durability(&call.parts.headers)?;
    let body = call.body;
    let (document, lsn) = state
        .bridge
        .write(ack, move |engine, how| {
            engine.replace(&collection, &id, &body.bytes, mode, how)
        })
        .await
        .map_err(|error| match error {
            EngineError::NotFound { id } => ApiError::new(
                Kind::DocumentNotFound,
                format!("document with id {id} not found; to make it, send If-None-Match: *"),
            ),
            other => other.into(),
        })?;
    Ok(written(status, document, lsn))
}

/// DELETE /collections/{collection}/documents/{id}
pub async fn delete(state: &State, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let collection = call.collection()?;
    let id = call.last()?;
    refuse_preconditions(&call.parts.headers)?;
    let ack = durability(&call.parts.headers)?;
    let ((), lsn) = state
        .bridge
        .write(ack, move |engine, how| engine.delete(&collection, &id, how))
        .await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(with_lsn(response, lsn))
}

fn written(status: StatusCode, document: Document, lsn: Lsn) -> Response<Body> {
    with_lsn(json(status, document.json), lsn)
}
