//! The admin port of a node as a source of snapshots.

use std::time::{Duration, Instant};

use bytes::Bytes;
use godb_store::SnapshotFile;
use http_body_util::BodyExt as _;
use hyper::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::NodeAddress;
use super::show::Listed;
use super::source::Sink;
use crate::exit::{Exit, Failure};
use crate::lifecycle::hex;
use crate::tools::client::{Answer, Client, ClientError, Endpoint};

/// How long the node keeps a snapshot for a reader that says nothing more.
const LEASE: Duration = Duration::from_secs(120);
/// Connections that break one after the other without a byte between them, before a read fails.
const MAX_BREAKS: u32 = 5;

/// An admin port.
pub struct Node {
    runtime: Runtime,
    client: Client,
    url: String,
    /// Who reads, for the node.
    holder: String,
    boot_id: Option<String>,
    leased_at: Option<Instant>,
}

impl Node {
    /// Connects with the first request.
    pub fn new(address: &NodeAddress) -> Result<Self, Failure> {
        let endpoint = Endpoint::open(&address.url, address.token_file.as_deref())?;
        let client = Client::new(endpoint);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Io, format!("cannot start: {error}")))?;
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::new(Exit::Internal, format!("no random bytes: {error}")))?;
        Ok(Self {
            runtime,
            client,
            url: address.url.clone(),
            holder: format!("pull-{}", hex(&random)),
            boot_id: None,
            leased_at: None,
        })
    }

    /// All its snapshots, by name.
    pub fn list(&mut self) -> Result<Vec<Listed>, Failure> {
        let body = self.ask(Method::GET, "/admin/snapshots", Bytes::new())?;
        let list = body.get("snapshots").and_then(Value::as_array);
        let list = list.ok_or_else(|| self.strange("no list of snapshots"))?;
        Ok(list.iter().filter_map(Listed::from_json).collect())
    }

    /// Takes one, or finds the one of this name.
    pub fn create(&mut self, name: &str, leased: bool) -> Result<(Listed, bool), Failure> {
        let body = Bytes::from(json!({"name": name, "leased": leased}).to_string());
        let answer = self.send(Method::POST, "/admin/snapshots", body)?;
        let is_new = answer.status == StatusCode::CREATED;
        let body = self.accept(answer)?;
        let listed = Listed::from_json(&body).ok_or_else(|| self.strange("no snapshot"))?;
        Ok((listed, is_new))
    }

    /// Removes one.
    pub fn delete(&mut self, name: &str, force: bool) -> Result<(), Failure> {
        let force = if force { "?force=true" } else { "" };
        let path = format!("{}{force}", path(name));
        self.ask(Method::DELETE, &path, Bytes::new()).map(|_| ())
    }

    /// Has the node read every byte of one.
    pub fn verify(&mut self, name: &str) -> Result<Listed, Failure> {
        let path = format!("{}/verify", path(name));
        let body = self.ask(Method::POST, &path, Bytes::new())?;
        if let Some(fault) = body.get("fault").and_then(Value::as_str) {
            return Err(Failure::new(
                Exit::Corrupt,
                format!("snapshot {name} at {}: {fault}", self.url),
            ));
        }
        Listed::from_json(&body).ok_or_else(|| self.strange("no snapshot"))
    }

    /// The files of one, which the node keeps from now on.
    pub fn files(&mut self, name: &str) -> Result<Vec<SnapshotFile>, Failure> {
        self.renew(name)?;
        let path = format!("{}/files", path(name));
        let body = self.ask(Method::GET, &path, Bytes::new())?;
        let list = body.get("files").and_then(Value::as_array);
        let file = |value: &Value| {
            Some(SnapshotFile {
                name: value.get("name")?.as_str()?.to_owned(),
                bytes: value.get("size_bytes")?.as_u64()?,
            })
        };
        list.and_then(|list| list.iter().map(file).collect())
            .ok_or_else(|| self.strange("no list of files"))
    }

    /// Reads a file; goes on where it was when the connection breaks.
    pub fn read(
        &mut self,
        name: &str,
        file: &SnapshotFile,
        sink: &mut Sink<'_>,
    ) -> Result<(), Failure> {
        let path = format!("{}/files/{}", path(name), encoded(&file.name));
        let (mut at, mut breaks) = (0, 0);
        while at < file.bytes {
            if self.leased_at.is_none_or(|at| at.elapsed() > LEASE / 4) {
                self.renew(name)?;
            }
            let before = at;
            match self.read_once(&path, &mut at, file.bytes, sink) {
                Ok(()) if at == file.bytes => {}
                Ok(()) => return Err(self.strange("a file shorter than it was listed")),
                Err(Broken::For(failure)) => return Err(failure),
                Err(Broken::Connection(why)) => {
                    breaks = if at > before { 1 } else { breaks + 1 };
                    if breaks > MAX_BREAKS {
                        return Err(self.unavailable(&why));
                    }
                    std::thread::sleep(Duration::from_millis(100 << breaks));
                }
            }
        }
        Ok(())
    }

    fn read_once(
        &mut self,
        path: &str,
        at: &mut u64,
        bytes: u64,
        sink: &mut Sink<'_>,
    ) -> Result<(), Broken> {
        let broken = |error: ClientError| Broken::Connection(error.to_string());
        let opened = self.runtime.block_on(self.client.read_from(path, *at));
        let response = opened.map_err(broken)?;
        let status = response.status();
        let mut body = response.into_body();
        let wanted = if *at == 0 {
            StatusCode::OK
        } else {
            StatusCode::PARTIAL_CONTENT
        };
        if status != wanted {
            let collected = self.runtime.block_on(body.collect());
            let body = collected
                .map_err(|e| broken(ClientError::Broken(e)))?
                .to_bytes();
            let failure = self.refused(&Answer { status, body });
            return Err(Broken::For(failure));
        }
        while let Some(frame) = self.runtime.block_on(body.frame()) {
            let frame = frame.map_err(|e| broken(ClientError::Broken(e)))?;
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            *at = at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            if *at > bytes {
                return Err(Broken::For(
                    self.strange("a file longer than it was listed"),
                ));
            }
            sink(&piece).map_err(Broken::For)?;
        }
        Ok(())
    }

    /// The node may let go of it.
    pub fn release(&mut self, name: &str) {
        if self.leased_at.take().is_some() {
            // If it does not hear this, the lease ends by itself.
            let path = self.lease_path(name);
            self.ask(Method::DELETE, &path, Bytes::new()).ok();
        }
    }

    /// Asks the node to keep it for a while longer.
    fn renew(&mut self, name: &str) -> Result<(), Failure> {
        let path = self.lease_path(name);
        let body = Bytes::from(json!({"seconds": LEASE.as_secs()}).to_string());
        self.ask(Method::PUT, &path, body)?;
        self.leased_at = Some(Instant::now());
        Ok(())
    }

    fn lease_path(&self, name: &str) -> String {
        format!("{}/leases/{}", path(name), self.holder)
    }

    fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Result<Value, Failure> {
        let answer = self.send(method, path, body)?;
        self.accept(answer)
    }

    fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Answer, Failure> {
        let sent = self.client.send(method, path, body, false);
        let answer = self.runtime.block_on(sent);
        answer.map_err(|error| self.unavailable(&error.to_string()))
    }

    /// The body of an answer that is no refusal.
    fn accept(&mut self, answer: Answer) -> Result<Value, Failure> {
        if !answer.status.is_success() {
            return Err(self.refused(&answer));
        }
        let body: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| self.strange("an answer that is no JSON"))?;
        let boot_id = body
            .get("bootId")
            .and_then(Value::as_str)
            .map(str::to_owned);
        match (&self.boot_id, boot_id) {
            (Some(before), Some(now)) if *before != now => {
                // What it leased to us it has forgotten; it may be asked again.
                eprintln!("the node at {} was restarted meanwhile", self.url);
                self.boot_id = Some(now);
                self.leased_at = None;
            }
            (None, now) => self.boot_id = now,
            _ => {}
        }
        Ok(body)
    }

    fn refused(&self, answer: &Answer) -> Failure {
        let exit = match answer.status {
            StatusCode::NOT_FOUND => Exit::NoInput,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::NoPermission,
            StatusCode::BAD_REQUEST => Exit::Usage,
            StatusCode::CONFLICT => Exit::Mismatch,
            StatusCode::INSUFFICIENT_STORAGE => Exit::Io,
            _ => Exit::Unavailable,
        };
        Failure::new(
            exit,
            format!(
                "{} answers {}: {}",
                self.url,
                answer.status.as_u16(),
                answer.message()
            ),
        )
    }

    fn unavailable(&self, why: &str) -> Failure {
        Failure::new(
            Exit::Unavailable,
            format!(
                "no answer from {}: {why}; is this the admin port of a node (--admin-listen)?",
                self.url
            ),
        )
    }

    fn strange(&self, what: &str) -> Failure {
        Failure::new(
            Exit::Unavailable,
            format!(
                "{} sent {what}; is this the admin port of a node?",
                self.url
            ),
        )
    }
}

/// Why a file was not read to its end.
enum Broken {
    /// It can be gone on with.
    Connection(String),
    /// It cannot.
    For(Failure),
}

fn path(name: &str) -> String {
    format!("/admin/snapshots/{}", encoded(name))
}

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}
