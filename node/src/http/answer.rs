//! Answers put together from bytes, without a JSON tree.

use std::collections::VecDeque;

use bytes::Bytes;
use godb_engine::{Document, Lsn};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::Body;

/// The LSN of a write, on its answer.
const LSN_HEADER: HeaderName = HeaderName::from_static("x-godb-lsn");
/// In a list, documents of this size are sent as they are, not copied.
const LARGE_BYTES: usize = 64 * 1024;
/// What is copied together is sent in parts of about this size.
const PART_BYTES: usize = 256 * 1024;

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
    let small = |document: &Document| document.json.len() < LARGE_BYTES;
    let copied: usize = documents
        .iter()
        .filter(|one| small(one))
        .map(|one| one.json.len() + 1)
        .sum();
    let mut parts = VecDeque::new();
    let mut part = head;
    part.reserve(copied.min(PART_BYTES) + tail.len());
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            part.push(b',');
        }
        if small(document) {
            part.extend_from_slice(&document.json);
        } else {
            parts.push_back(Bytes::from(std::mem::take(&mut part)));
            parts.push_back(document.json.clone());
        }
        if part.len() >= PART_BYTES {
            parts.push_back(Bytes::from(std::mem::take(&mut part)));
        }
    }
    part.extend_from_slice(tail);
    if parts.is_empty() {
        return Body::full(part);
    }
    parts.push_back(Bytes::from(part));
    Body::Parts(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn document(bytes: usize) -> Document {
        Document {
            id: Bytes::from_static(b"x"),
            lsn: Lsn(1),
            json: Bytes::from(vec![b'1'; bytes]),
        }
    }

    #[tokio::test]
    async fn large_documents_are_not_copied_and_small_ones_are_put_together() {
        for sizes in [
            vec![],
            vec![1],
            vec![LARGE_BYTES],
            vec![3, LARGE_BYTES, LARGE_BYTES, 5],
            vec![1000; 1000],
        ] {
            let documents: Vec<Document> = sizes.iter().map(|bytes| document(*bytes)).collect();
            let texts: Vec<&[u8]> = documents.iter().map(|one| &one.json[..]).collect();
            let expected = [b"[".to_vec(), texts.join(&b','), b"]".to_vec()].concat();
            let body = list(b"[".to_vec(), &documents, b"]");
            if let Body::Parts(parts) = &body {
                assert!(parts.len() <= 2 * documents.len() + 1);
                assert!(parts.len() < 10, "{} parts", parts.len());
            }
            assert_eq!(body.collect().await.unwrap().to_bytes(), expected);
        }
    }
}
