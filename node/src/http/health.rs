//! Whether the node can serve.

use hyper::{Response, StatusCode};

use super::State;
use super::answer::json;
use super::body::Body;
use crate::lifecycle::Phase;

/// GET /health
pub fn health(state: &State) -> Response<Body> {
    let (status, word, message) = match state.lifecycle.phase() {
        Phase::Ready => (StatusCode::OK, "healthy", "godb is serving"),
        Phase::Recovering => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy", "recovering"),
        Phase::Draining => (
            StatusCode::SERVICE_UNAVAILABLE,
            "unhealthy",
            "shutting down",
        ),
        Phase::Failed => (
            StatusCode::SERVICE_UNAVAILABLE,
            "unhealthy",
            "the log cannot be written; restarting",
        ),
    };
    json(
        status,
        format!("{{\"status\":\"{word}\",\"message\":\"{message}\"}}"),
    )
}
