//! The null server: the cost of HTTP and of checking JSON, and nothing else. It is built with the
//! node's profile, allocator, runtime and HTTP library, and stores nothing. What share of its rate
//! a node reaches says what durability and indexes cost.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Router, serve};
use godb_engine::json::{Limits, normalize};

use crate::workload;

/// Serves until killed.
///
/// # Errors
/// When the address cannot be used.
pub async fn run(address: SocketAddr, answer: Vec<u8>) -> std::io::Result<()> {
    let answer = Bytes::from(answer);
    let stored = Arc::new(Bytes::from(workload::document(0)));
    let router = Router::new()
        .route("/health", get(|| async { "healthy" }))
        .route(
            "/collections/{collection}/find",
            get(|| async move { (StatusCode::OK, JSON, answer) }),
        )
        .route("/collections/{collection}", post(insert))
        .route("/collections/{collection}/batch", post(insert))
        .route(
            "/collections/{collection}/documents/{id}",
            get(read).patch(update),
        )
        .with_state(stored);
    let listener = tokio::net::TcpListener::bind(address).await?;
    let listener = listener.tap_io(|stream| {
        // Without it small answers wait for the client's acknowledgement; an error changes no answer.
        let _ = stream.set_nodelay(true);
    });
    serve(listener, router).await
}

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

async fn insert(body: Bytes) -> impl IntoResponse {
    match normalize(&body, &Limits::default()) {
        Ok(document) => (StatusCode::CREATED, JSON, Bytes::from(document)),
        Err(error) => (
            StatusCode::BAD_REQUEST,
            JSON,
            Bytes::from(error.to_string()),
        ),
    }
}

async fn update(State(stored): State<Arc<Bytes>>, body: Bytes) -> impl IntoResponse {
    match normalize(&body, &Limits::default()) {
        Ok(_) => (StatusCode::OK, JSON, Bytes::clone(&stored)),
        Err(error) => (
            StatusCode::BAD_REQUEST,
            JSON,
            Bytes::from(error.to_string()),
        ),
    }
}

async fn read(State(stored): State<Arc<Bytes>>) -> impl IntoResponse {
    (StatusCode::OK, JSON, Bytes::clone(&stored))
}
