//! Answers put together from bytes, without a JSON tree.

use std::collections::VecDeque;

use bytes::Bytes;
use godb_engine::{Document, Lsn};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::Body;

/// The LSN of a write, on its answer.
const LSN_HEADER: HeaderName = HeaderName::from_static("x-godb-lsn");
/// Lists above this size are sent in pieces rather than copied together.
const COPY_BYTES: usize = 256 * 1024;

/// A JSON answer of bytes that are there.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    json_body(status, Body::full(body))
}

/// A JSON answer.
pub fn json_body(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Puts the LSN of a write on its answer.
pub fn with_lsn(mut response: Response<Body>, lsn: Lsn) -> Response<Body> {
    response
        .headers_mut()
        .insert(LSN_HEADER, HeaderValue::from(lsn.0));
    response
}

/// `head`, the documents separated by commas, `tail`.
pub fn list(head: Vec<u8>, documents: &[Document], tail: &[u8]) -> Body {
    let documents_bytes: usize = documents
        .iter()
        .map(|document| document.json.len() + 1)
        .sum();
    if documents_bytes <= COPY_BYTES {
        let mut out = head;
        out.reserve_exact(documents_bytes + tail.len());
        for (index, document) in documents.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&document.json);
        }
        out.extend_from_slice(tail);
        return Body::full(out);
    }
    let mut parts = VecDeque::with_capacity(2 * documents.len() + 2);
    parts.push_back(Bytes::from(head));
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            parts.push_back(Bytes::from_static(b","));
        }
        parts.push_back(document.json.clone());
    }
    parts.push_back(Bytes::copy_from_slice(tail));
    Body::Parts(parts)
}
