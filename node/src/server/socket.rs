//! The socket below hyper: notes when it stops taking bytes, puts an error body where hyper
//! refuses a request without one, and closes in a way that lets the client read the answer.
//!
//! hyper answers what it cannot parse by itself, before any service is asked, with an empty 400,
//! 414 or 431. It hands that head to the socket in one write of its own. [`refusal`] knows it by
//! what no answer of ours has, an error status and no body, and what is sent in its place has the
//! form that every error has. Nothing of the request is parsed a second time.
//!
//! A socket that is closed while bytes of the client are unread is reset, and the reset may
//! overtake the answer. So where a request was not read to its end, the socket is first closed for
//! writing, and what still comes is read and thrown away, within limits.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::connection::{MAX_HEAD_BYTES, NEVER, Slot};
use crate::http::error::{ApiError, Kind};

/// What is read and thrown away after the answer. How long is a matter of the sweep.
const MAX_LINGER_BYTES: usize = 64 * 1024 * 1024;
const LINGER_READ_BYTES: usize = 16 * 1024;

/// See the module.
pub struct Socket {
    io: TokioIo<TcpStream>,
    slot: Arc<Slot>,
    /// What is still to be sent in place of hyper's empty refusal.
    refusal: Bytes,
    refused: bool,
    /// Closed for writing; so many bytes came since.
    lingering: Option<usize>,
}

impl Socket {
    /// Over an accepted connection.
    pub fn new(stream: TcpStream, slot: Arc<Slot>) -> Self {
        Self {
            io: TokioIo::new(stream),
            slot,
            refusal: Bytes::new(),
            refused: false,
            lingering: None,
        }
    }

    fn note(&self, wrote: &Poll<io::Result<usize>>) {
        let since = &self.slot.write_blocked_since;
        if wrote.is_ready() {
            if since.load(Ordering::Relaxed) != NEVER {
                since.store(NEVER, Ordering::Relaxed);
                // What was just taken may have been the end of an answer.
                let idle = &self.slot.idle_since;
                if idle.load(Ordering::Relaxed) != NEVER {
                    idle.store(self.slot.now(), Ordering::Relaxed);
                }
            }
        } else if since.load(Ordering::Relaxed) == NEVER {
            since.store(self.slot.now(), Ordering::Relaxed);
        }
    }

    /// Whether these bytes are a refusal by hyper; then its replacement waits for the shutdown,
    /// which is all that hyper does after it.
    fn replaces(&mut self, head: &[u8]) -> bool {
        if let Some(refusal) = refusal(head) {
            self.refusal = refusal;
            self.refused = true;
        }
        self.refused
    }

    fn poll_send_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let wrote = Pin::new(&mut self.io).poll_write(cx, &self.refusal);
            self.note(&wrote);
            match ready!(wrote)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.refusal.advance(count),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// What the shutdown sends, once the head that was arriving is not waited for any longer.
    pub fn refuse_late_head(&mut self) {
        let body = ApiError::new(
            Kind::RequestTimeout,
            "the request's head did not arrive in time",
        )
        .json(false);
        let mut out = format!(
            "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        out.extend_from_slice(&body);
        self.refusal = Bytes::from(out);
        self.refused = true;
    }

    /// Reads until the client closes too, or has sent more than is worth the courtesy.
    fn poll_linger(&mut self, cx: &mut Context<'_>, seen: &mut usize) -> Poll<()> {
        let mut bytes = [0; LINGER_READ_BYTES];
        while *seen <= MAX_LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.io).poll_read(cx, buf.unfilled())) {
                Ok(()) if !buf.filled().is_empty() => *seen += buf.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

/// What to send in place of this head, if it is an empty refusal by hyper.
fn refusal(head: &[u8]) -> Option<Bytes> {
    let text = head.strip_prefix(b"HTTP/1.1 4")?;
    let error = match text.get(..2)? {
        b"00" => ApiError::new(
            Kind::InvalidRequest,
            "this is not a well-formed HTTP/1.1 request: see its first line, Content-Length and \
             Transfer-Encoding, and the form of its headers",
        ),
        b"14" => ApiError::new(Kind::TargetTooLong, "the request's target is too long"),
        b"31" => ApiError::new(
            Kind::HeadTooLarge,
            format!(
                "the request's headers are more than 100, or larger than {MAX_HEAD_BYTES} bytes"
            ),
        ),
        _ => return None,
    };
    let head = std::str::from_utf8(head).ok()?.strip_suffix("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let mut out = lines.next()?.to_owned();
    let mut is_empty = false;
    for line in lines {
        if line.is_empty() {
            return None;
        }
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            is_empty = value.trim() == "0";
        } else if !name.eq_ignore_ascii_case("connection") {
            out.push_str("\r\n");
            out.push_str(line);
        }
    }
    if !is_empty {
        return None;
    }
    let body = error.json(false);
    out.push_str(&format!(
        "\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    ));
    let mut out = out.into_bytes();
    out.extend_from_slice(&body);
    Some(Bytes::from(out))
}

impl Read for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        if read.is_ready() {
            this.slot.note_read();
        }
        read
    }
}

impl Write for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.replaces(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let wrote = Pin::new(&mut this.io).poll_write(cx, buf);
        this.note(&wrote);
        wrote
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let [head] = bufs
            && this.replaces(head)
        {
            return Poll::Ready(Ok(head.len()));
        }
        let wrote = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.note(&wrote);
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut seen = match this.lingering {
            Some(seen) => seen,
            None => {
                ready!(this.poll_send_refusal(cx))?;
                ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
                if !this.refused && !this.slot.unread.load(Ordering::Relaxed) {
                    return Poll::Ready(Ok(()));
                }
                this.slot.begin_linger();
                0
            }
        };
        let ended = this.poll_linger(cx, &mut seen);
        this.lingering = Some(seen);
        ended.map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hypers_own_refusals_get_a_body_and_nothing_else_does() {
        let head = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
                     content-length: 0\r\ndate: x\r\n\r\n";
        let text = String::from_utf8(refusal(head).unwrap().to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(value["code"], 431);
        assert_eq!(value["error"], "Request Header Fields Too Large");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
        assert_eq!(head.matches("connection: close").count(), 1);
        for other in [
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
            "HTTP/1.1 4",
            "",
        ] {
            assert_eq!(refusal(other.as_bytes()), None, "{other}");
        }
    }
}
