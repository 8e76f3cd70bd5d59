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
const CONFIG: &str = "/admin/config";
const SNAPSHOTS: &str = "/admin/snapshots";

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
        /// The life of the process that answered.
        boot_id: String,
    },
}

/// What a node says of a snapshot that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// It holds exactly the writes at or below this LSN.
    pub lsn: i64,
    /// Bytes of its files.
    pub size_bytes: i64,
    /// Documents in it, where the node counted them.
    pub documents: Option<i64>,
}

/// A node's answer about a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CutAnswer {
    /// The life of the process that answered.
    pub boot_id: String,
    /// The snapshot, if it has it.
    pub cut: Option<Cut>,
}

/// Settings in force.
pub async fn settings(address: &str, token: &str) -> Result<InForce, NodeError> {
    let answer = request(address, token, Method::GET, CONFIG, Bytes::new()).await?;
    Ok(in_force(&answer.body))
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
    let answer = request(address, token, Method::PUT, CONFIG, Bytes::from(body)).await?;
    Ok(in_force(&answer.body))
}

/// Whether the node has the snapshot `name`.
pub async fn snapshot(address: &str, token: &str, name: &str) -> Result<CutAnswer, NodeError> {
    let path = format!("{SNAPSHOTS}/{name}");
    match request(address, token, Method::GET, &path, Bytes::new()).await {
        Ok(answer) => {
            let number = |key| answer.body.get(key).and_then(Value::as_i64);
            Ok(CutAnswer {
                cut: Some(Cut {
                    lsn: number("lsn").unwrap_or_default(),
                    size_bytes: number("size_bytes").unwrap_or_default(),
                    documents: number("documents"),
                }),
                boot_id: answer.boot_id,
            })
        }
        Err(NodeError::Refused {
            status: StatusCode::NOT_FOUND,
            boot_id,
            ..
        }) => Ok(CutAnswer { boot_id, cut: None }),
        Err(error) => Err(error),
    }
}

/// Has the node make the snapshot `name`, unless it has it. With `leased` the node drops it when
/// nobody reads it any more.
pub async fn make_snapshot(
    address: &str,
    token: &str,
    name: &str,
    leased: bool,
) -> Result<(), NodeError> {
    let body = serde_json::json!({"name": name, "leased": leased}).to_string();
    let answer = request(address, token, Method::POST, SNAPSHOTS, Bytes::from(body)).await;
    answer.map(drop)
}

/// Has the node remove the snapshot `name`, if it has it.
pub async fn remove_snapshot(address: &str, token: &str, name: &str) -> Result<(), NodeError> {
    let path = format!("{SNAPSHOTS}/{name}");
    match request(address, token, Method::DELETE, &path, Bytes::new()).await {
        Ok(_) => Ok(()),
        Err(NodeError::Refused { status, .. }) if status == StatusCode::NOT_FOUND => Ok(()),
        Err(error) => Err(error),
    }
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

/// An answer that is a success.
struct Answer {
    boot_id: String,
    body: Value,
}

async fn request(
    address: &str,
    token: &str,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Answer, NodeError> {
    let unreachable = |detail: String| NodeError::Unreachable {
        address: address.to_owned(),
        detail,
    };
    match tokio::time::timeout(TIMEOUT, exchange(address, token, method, path, body)).await {
        Err(_) => Err(unreachable(format!("no answer in {TIMEOUT:?}"))),
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Ok(Ok((status, answer))) if status.is_success() => Ok(answer),
        Ok(Ok((status, answer))) => Err(NodeError::Refused {
            status,
            message: answer
                .body
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            boot_id: answer.boot_id,
        }),
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(
    address: &str,
    token: &str,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Answer), Failure> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Full::new(body))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let boot_id = response
        .headers()
        .get("x-godb-boot-id")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let bytes = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await?
        .to_bytes();
    drop(sender);
    driver.abort();
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    Ok((status, Answer { boot_id, body }))
}
