//! Figures for people; programs scrape `/metrics`.

use hyper::{Response, StatusCode};
use serde_json::json;

use super::State;
use crate::http::body::Body;
use crate::http::error::ApiError;

/// GET /admin/stats
pub async fn stats(state: &State) -> Result<Response<Body>, ApiError> {
    let engine = state.engine()?.clone();
    let collections = super::blocking(move || engine.collections()).await?;
    Ok(super::json(
        StatusCode::OK,
        &json!({"bootId": state.lifecycle.boot_id(), "collections": collections.len()}),
    ))
}
