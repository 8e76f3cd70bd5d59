//! A blocking HTTP/1.1 client that hides nothing: exact status, headers and bytes, whether the
//! connection was kept, and requests as raw bytes when a test wants to send nonsense.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longest wait for any one read.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest header line, and most of them: a runaway answer fails a test instead of the machine.
const MAX_HEADERS: usize = 100;

/// One connection, opened when first needed and again after the server closed it.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, with chunks put together.
    pub body: Vec<u8>,
    /// Whether the body came in chunks.
    pub chunked: bool,
}

impl Response {
    /// The first header of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a body in UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!(
                "not JSON ({error}), status {}: {}",
                self.status,
                String::from_utf8_lossy(&self.body)
            ),
        }
    }

    /// Panics with the body unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self
    }
}

impl Client {
    /// A client of this server.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    /// Whom it talks to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// GET.
    pub fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, &[], b"")
    }

    /// POST of a JSON text.
    pub fn post(&mut self, target: &str, body: &str) -> Response {
        self.request("POST", target, &[JSON], body.as_bytes())
    }

    /// PATCH with a JSON text.
    pub fn patch(&mut self, target: &str, body: &str) -> Response {
        self.request("PATCH", target, &[JSON], body.as_bytes())
    }

    /// PUT of a JSON text.
    pub fn put(&mut self, target: &str, body: &str) -> Response {
        self.request("PUT", target, &[JSON], body.as_bytes())
    }

    /// DELETE.
    pub fn delete(&mut self, target: &str) -> Response {
        self.request("DELETE", target, &[], b"")
    }

    /// Any request that must be answered.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        match self.try_request(method, target, headers, body) {
            Ok(response) => response,
            Err(error) => panic!("{method} {target}: {error}"),
        }
    }

    /// Any request. A body is sent with its length; without one neither is there.
    ///
    /// # Errors
    /// When there is no (whole) answer. The request may have been carried out or not.
    pub fn try_request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut message = head.into_bytes();
        message.extend_from_slice(body);
        self.exchange(&message, method == "HEAD")
    }

    /// A request whose body goes out in these chunks.
    ///
    /// # Errors
    /// As for [`Client::try_request`].
    pub fn try_chunked(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        chunks: &[&[u8]],
    ) -> io::Result<Response> {
        let mut message = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n",
            self.address
        )
        .into_bytes();
        for (name, value) in headers {
            message.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        message.extend_from_slice(b"\r\n");
        for chunk in chunks {
            message.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            message.extend_from_slice(chunk);
            message.extend_from_slice(b"\r\n");
        }
        message.extend_from_slice(b"0\r\n\r\n");
        self.exchange(&message, false)
    }

    /// These bytes as they are, then one answer.
    ///
    /// # Errors
    /// As for [`Client::try_request`].
    pub fn raw(&mut self, message: &[u8]) -> io::Result<Response> {
        self.exchange(message, false)
    }

    /// The socket, for tests that read slowly or not at all.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn socket(&mut self) -> io::Result<&mut BufReader<TcpStream>> {
        if self.connection.is_none() {
            let stream = TcpStream::connect_timeout(&self.address, TIMEOUT)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            self.connection = Some(BufReader::new(stream));
        }
        Ok(self.connection.as_mut().expect("connected above"))
    }

    /// Whether the connection is open and was kept by the server after the last answer.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    fn exchange(&mut self, message: &[u8], head_only: bool) -> io::Result<Response> {
        let socket = self.socket()?;
        // A server may answer (413) and close before it has read all; the answer is what counts.
        let sent = socket.get_mut().write_all(message);
        let received = match socket.fill_buf() {
            Ok([_, ..]) => read_response(socket, head_only).map_err(broke_off),
            Ok([]) => Err(io::Error::new(ErrorKind::UnexpectedEof, "no answer")),
            Err(error) => Err(error),
        };
        match received {
            Ok(response) => {
                let close = response
                    .header("connection")
                    .is_some_and(|v| v.contains("close"));
                if close || sent.is_err() {
                    self.connection = None;
                }
                Ok(response)
            }
            Err(error) => {
                self.connection = None;
                match sent {
                    Err(sent) if !is_broken_off(&error) => Err(sent),
                    _ => Err(error),
                }
            }
        }
    }
}

const BROKE_OFF: &str = "an answer that broke off";

fn broke_off(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{BROKE_OFF}: {error}"))
}

/// Whether an error of a request is an answer that began and has no end, or makes no sense.
pub fn is_broken_off(error: &io::Error) -> bool {
    error.to_string().starts_with(BROKE_OFF)
}

/// The content type of documents.
pub const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Reads one answer.
///
/// # Errors
/// When the stream ends or is not HTTP.
pub fn read_response(reader: &mut impl BufRead, head_only: bool) -> io::Result<Response> {
    let status_line = match read_line(reader)? {
        Some(line) => line,
        None => return Err(io::Error::new(ErrorKind::UnexpectedEof, "no answer")),
    };
    let mut words = status_line.splitn(3, ' ');
    let version = words.next().unwrap_or_default();
    let status: Option<u16> = words.next().and_then(|word| word.parse().ok());
    let (true, Some(status)) = (version.starts_with("HTTP/1."), status) else {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("not HTTP: {status_line}"),
        ));
    };
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?.ok_or(ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or(ErrorKind::InvalidData)?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        if headers.len() > MAX_HEADERS {
            return Err(io::Error::new(ErrorKind::InvalidData, "too many headers"));
        }
    }
    if status == 100 {
        return read_response(reader, head_only);
    }
    let mut response = Response {
        status,
        headers,
        body: Vec::new(),
        chunked: false,
    };
    if head_only || status == 204 || status == 304 {
        return Ok(response);
    }
    let chunked = response
        .header("transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    if chunked {
        response.chunked = true;
        read_chunks(reader, &mut response.body)?;
    } else if let Some(length) = response.header("content-length") {
        let length: usize = length.parse().map_err(|_| ErrorKind::InvalidData)?;
        response.body.resize(length, 0);
        reader.read_exact(&mut response.body)?;
    } else {
        reader.read_to_end(&mut response.body)?;
    }
    Ok(response)
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(reader)?.ok_or(ErrorKind::UnexpectedEof)?;
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
            .map_err(|_| io::Error::new(ErrorKind::InvalidData, format!("chunk size {line}")))?;
        let start = body.len();
        body.resize(start + size, 0);
        reader.read_exact(&mut body[start..])?;
        let end = read_line(reader)?.ok_or(ErrorKind::UnexpectedEof)?;
        if !end.is_empty() {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "a chunk without its end",
            ));
        }
        if size == 0 {
            return Ok(());
        }
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    reader.take(64 * 1024).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line)
        .map(Some)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "a header that is not UTF-8"))
}

/// Percent-encodes a path segment or query value: everything but unreserved characters.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
