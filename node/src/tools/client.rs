//! A small HTTP/1.1 client for one node: one request at a time, a new connection when the old one
//! is gone.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, IF_NONE_MATCH, RANGE,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::exit::{Exit, Failure};
use crate::files;

/// More than any token.
const MAX_TOKEN_FILE_BYTES: u64 = 4096;
/// The variable that holds a token.
const TOKEN_VARIABLE: &str = "GODB_TOKEN";

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    authority: String,
    address: String,
    base: String,
    /// With each request. It shows itself to nobody who prints this.
    authorization: Option<Arc<HeaderValue>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens there.
    Connect(std::io::Error),
    /// The connection broke; whether the request was done is unknown.
    Broken(hyper::Error),
    /// The request cannot be written, which is a defect.
    Request(hyper::http::Error),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Connect(error) => write!(f, "cannot connect: {error}"),
            ClientError::Broken(error) => write!(f, "the connection broke: {error}"),
            ClientError::Request(error) => write!(f, "cannot write the request: {error}"),
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The message of an error, or the body as it is.
    pub fn message(&self) -> String {
        let value: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        value
            .as_ref()
            .and_then(|value| value.get("message"))
            .and_then(serde_json::Value::as_str)
            .map_or_else(
                || String::from_utf8_lossy(&self.body).into_owned(),
                str::to_owned,
            )
    }
}

impl Endpoint {
    /// Reads `http://host:port`.
    pub fn parse(url: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("`{url}` is not the address of a node: {why}");
        let uri: Uri = url
            .parse()
            .map_err(|_| bad("write it like http://127.0.0.1:8080"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(bad("TLS is not supported here")),
            _ => return Err(bad("it must start with http://")),
        }
        let authority = uri.authority().ok_or_else(|| bad("the host is missing"))?;
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self {
            authority: authority.as_str().to_owned(),
            address: format!("{}:{port}", authority.host()),
            base: uri.path().trim_end_matches('/').to_owned(),
            authorization: None,
        })
    }

    /// The same with the token of a file or, without one, that of the variable `GODB_TOKEN`.
    pub fn open(url: &str, token_file: Option<&Path>) -> Result<Self, Failure> {
        let usage = |fault: String| Failure::new(Exit::Usage, fault);
        let endpoint = Self::parse(url).map_err(usage)?;
        let (token, place) = match (token_file, std::env::var_os(TOKEN_VARIABLE)) {
            (Some(path), _) => {
                let token = files::read_text(path, MAX_TOKEN_FILE_BYTES)
                    .map_err(|error| Failure::io("read", path, &error))?;
                (token, path.display().to_string())
            }
            (None, Some(token)) => {
                let token = token.into_string().unwrap_or_default();
                (token, TOKEN_VARIABLE.to_owned())
            }
            (None, None) => return Ok(endpoint),
        };
        endpoint
            .with_token(token.trim())
            .ok_or_else(|| usage(format!("{place} is no token")))
    }

    /// The same, with a bearer token on each request. A token that cannot be in a header is none
    /// that a node could have.
    fn with_token(self, token: &str) -> Option<Self> {
        if token.is_empty() {
            return None;
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        authorization.set_sensitive(true);
        Some(Self {
            authorization: Some(Arc::new(authorization)),
            ..self
        })
    }
}

/// One connection to a node.
pub struct Client {
    endpoint: Endpoint,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// A client; it connects with its first request.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            sender: None,
        }
    }

    /// Reads what is at `path` from `offset` on; returns with the answer's head.
    pub async fn read_from(
        &mut self,
        path: &str,
        offset: u64,
    ) -> Result<Response<Incoming>, ClientError> {
        let range = (offset > 0)
            .then(|| HeaderValue::from_str(&format!("bytes={offset}-")).ok())
            .flatten()
            .map(|range| (RANGE, range));
        self.request(Method::GET, path, Bytes::new(), range).await
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        creates_only: bool,
    ) -> Result<Answer, ClientError> {
        let response = self.open(method, path, body, creates_only).await?;
        let (parts, body) = response.into_parts();
        match body.collect().await {
            Ok(collected) => Ok(Answer {
                status: parts.status,
                body: collected.to_bytes(),
            }),
            Err(error) => {
                self.sender = None;
                Err(ClientError::Broken(error))
            }
        }
    }

    /// Sends a request and returns with the answer's head.
    pub async fn open(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        creates_only: bool,
    ) -> Result<Response<Incoming>, ClientError> {
        let condition = creates_only.then(|| (IF_NONE_MATCH, HeaderValue::from_static("*")));
        self.request(method, path, body, condition).await
    }

    async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        header: Option<(HeaderName, HeaderValue)>,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint.base))
            .header(HOST, &self.endpoint.authority);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        if let Some(authorization) = &self.endpoint.authorization {
            request = request.header(AUTHORIZATION, &**authorization);
        }
        let request = request
            .body(Full::new(body))
            .map_err(ClientError::Request)?;
        let sender = self.connected().await?;
        let sent = sender.send_request(request).await;
        if sent.is_err() {
            self.sender = None;
        }
        sent.map_err(ClientError::Broken)
    }

    async fn connected(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, ClientError> {
        let usable = match self.sender.take() {
            // Ready once the last answer is done; an error means that the node closed it.
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let sender = match usable {
            Some(sender) => sender,
            None => connect(&self.endpoint).await?,
        };
        Ok(self.sender.insert(sender))
    }
}

async fn connect(endpoint: &Endpoint) -> Result<SendRequest<Full<Bytes>>, ClientError> {
    let stream = TcpStream::connect(&endpoint.address)
        .await
        .map_err(ClientError::Connect)?;
    stream.set_nodelay(true).map_err(ClientError::Connect)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(ClientError::Broken)?;
    // Its errors come back through the sender.
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_and_never_shown() {
        let endpoint = || Endpoint::parse("http://db:8080").unwrap();
        let with_token = endpoint().with_token("secret").unwrap();
        let sent = with_token.authorization.as_ref().unwrap();
        assert_eq!(sent.to_str().unwrap(), "Bearer secret");
        assert!(!format!("{with_token:?}").contains("secret"));
        for wrong in ["", "two\nlines"] {
            assert_eq!(endpoint().with_token(wrong), None);
        }
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let endpoint = Endpoint::parse("http://127.0.0.1:8080/").unwrap();
        assert_eq!(endpoint.address, "127.0.0.1:8080");
        assert_eq!(endpoint.base, "");
        assert_eq!(Endpoint::parse("http://[::1]:9/x/").unwrap().base, "/x");
        assert_eq!(Endpoint::parse("http://db").unwrap().address, "db:80");
        for url in ["127.0.0.1:8080", "https://db", "", "ftp://x", "http://"] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }
}
