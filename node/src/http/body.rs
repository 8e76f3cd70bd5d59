//! Response bodies made of bytes that are already there, or of a stream of documents.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::stream::DocumentBody;
use crate::admin::snapshots::FileBody;

/// A response body.
pub enum Body {
    /// All of it, or nothing more.
    Full(Option<Bytes>),
    /// Pieces that are sent as they are, so that a large page is not copied.
    Parts(VecDeque<Bytes>),
    /// Documents as they are read.
    Documents(Box<DocumentBody>),
    /// A file, or a part of it, as it is read.
    File(Box<FileBody>),
}

/// The body could not be finished. The connection is cut, so that a client never takes a part for
/// the whole.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response could not be finished")
    }
}

impl std::error::Error for Interrupted {}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Body::Full(None)
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Body::Full(Some(bytes.into()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Interrupted;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        match self.get_mut() {
            Body::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Parts(parts) => {
                Poll::Ready(parts.pop_front().map(|bytes| Ok(Frame::data(bytes))))
            }
            Body::Documents(documents) => documents
                .poll_chunk(cx)
                .map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
            Body::File(file) => file
                .poll_piece(cx)
                .map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Full(bytes) => bytes.is_none(),
            Body::Parts(parts) => parts.is_empty(),
            Body::Documents(_) => false,
            Body::File(file) => file.remaining() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let len = |bytes: &Bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, len)),
            Body::Parts(parts) => SizeHint::with_exact(parts.iter().map(len).sum()),
            Body::Documents(_) => SizeHint::default(),
            Body::File(file) => SizeHint::with_exact(file.remaining()),
        }
    }
}
