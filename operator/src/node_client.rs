//! The node's admin port.

use std::collections::BTreeMap;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::instance::validate::LiveSettings;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// What a node says of its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The life of the process that answered.
    pub boot_id: String,
    /// Settings in force, in the node's words.
    pub live: BTreeMap<String, String>,
}

/// Why a node gave no answer, or which.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No connection, or no answer in time.
    #[error("the node at {address} does not answer: {detail}")]
    Unreachable {
        /// Where it was asked.
        address: String,
        /// What the system said.
        detail: String,
    },
    /// An answer that is no success.
    #[error("the node answered {status}: {message}")]
    Refused {
        /// Status of the answer.
        status: StatusCode,
        /// Message in its body.
        message: String,
    },
}

/// Settings in force.
pub async fn settings(address: &str, token: &str) -> Result<InForce, NodeError> {
    let answer = request(address, token, Method::GET, Bytes::new()).await?;
    Ok(in_force(&answer))
}

/// Puts settings in force, all or none of them. They live in the node's memory: its file is the
/// ConfigMap.
pub async fn change(
    address: &str,
    token: &str,
    wanted: &LiveSettings,
) -> Result<InForce, NodeError> {
    // A map of texts always has a JSON form.
    let body = serde_json::to_vec(wanted).unwrap_or_default();
    let answer = request(address, token, Method::PUT, Bytes::from(body)).await?;
    Ok(in_force(&answer))
}

fn in_force(answer: &Value) -> InForce {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let live = answer.get("live").and_then(Value::as_object);
    InForce {
        boot_id: answer.get("bootId").map(text).unwrap_or_default(),
        live: live
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect(),
    }
}

async fn request(
    address: &str,
    token: &str,
    method: Method,
    body: Bytes,
) -> Result<Value, NodeError> {
    let unreachable = |detail: String| NodeError::Unreachable {
        address: address.to_owned(),
        detail,
    };
    match tokio::time::timeout(TIMEOUT, exchange(address, token, method, body)).await {
        Err(_) => Err(unreachable(format!("no answer in {TIMEOUT:?}"))),
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Ok(Ok((StatusCode::OK, answer))) => Ok(answer),
        Ok(Ok((status, answer))) => Err(NodeError::Refused {
            status,
            message: answer
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
        }),
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(
    address: &str,
    token: &str,
    method: Method,
    body: Bytes,
) -> Result<(StatusCode, Value), Failure> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri("/admin/config")
        .header("host", address)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Full::new(body))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let bytes = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await?
        .to_bytes();
    drop(sender);
    driver.abort();
    Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
}
