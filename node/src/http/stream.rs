//! `find_with_stream`: a JSON array, one document a line, in chunks; and the lines of `/export`.
//!
//! A chunk is read on a blocking thread while the one before it is sent, so a stream costs two
//! chunks of memory and holds no thread while its client is slow. The stream of the engine holds a
//! view, not data; if its lease runs out because the client stands still, or a read fails, the
//! connection is cut: a stream never ends early in silence.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use godb_engine::{DocumentStream, EngineError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::body::Interrupted;

/// A chunk is handed on once it holds this much; one larger document makes a larger chunk.
const CHUNK_BYTES: usize = 64 * 1024;

/// A source of documents that is read on blocking threads.
pub type Source = Box<dyn Iterator<Item = Result<Bytes, EngineError>> + Send>;

/// The documents of an engine's stream, as JSON.
pub fn source(stream: DocumentStream) -> Source {
    Box::new(stream.map(|document| document.map(|document| document.json)))
}

/// The body of a stream.
pub struct DocumentBody {
    state: State,
    /// Frees the stream's place when the body is dropped.
    _permit: OwnedSemaphorePermit,
    interrupted: Arc<dyn Fn(&EngineError) + Send + Sync>,
}

enum State {
    Reading(JoinHandle<(Source, Separator, Result<Chunk, EngineError>)>),
    Done,
}

struct Chunk {
    bytes: Bytes,
    last: bool,
}

/// What stands before the next document.
#[derive(Clone, Copy)]
enum Separator {
    Open,
    Comma,
    /// Pieces that are sent as they are.
    None,
}

impl DocumentBody {
    /// Starts reading. `interrupted` is told why, if the stream has to be cut.
    pub fn start(
        source: Source,
        permit: OwnedSemaphorePermit,
        interrupted: Arc<dyn Fn(&EngineError) + Send + Sync>,
    ) -> Self {
        Self {
            state: State::Reading(read(source, Separator::Open)),
            _permit: permit,
            interrupted,
        }
    }

    /// The same for pieces that need nothing around them.
    pub fn start_pieces(
        source: Source,
        permit: OwnedSemaphorePermit,
        interrupted: Arc<dyn Fn(&EngineError) + Send + Sync>,
    ) -> Self {
        Self {
            state: State::Reading(read(source, Separator::None)),
            _permit: permit,
            interrupted,
        }
    }

    /// The next chunk, once it is there.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Interrupted>>> {
        let State::Reading(task) = &mut self.state else {
            return Poll::Ready(None);
        };
        let outcome = ready!(Pin::new(task).poll(cx));
        self.state = State::Done;
        Poll::Ready(Some(match outcome {
            Ok((source, separator, Ok(chunk))) => {
                if !chunk.last {
                    self.state = State::Reading(read(source, separator));
                }
                Ok(chunk.bytes)
            }
            Ok((.., Err(error))) => {
                (self.interrupted)(&error);
                Err(Interrupted)
            }
            // The runtime is shutting down.
            Err(_) => Err(Interrupted),
        }))
    }
}

fn read(
    mut source: Source,
    mut separator: Separator,
) -> JoinHandle<(Source, Separator, Result<Chunk, EngineError>)> {
    tokio::task::spawn_blocking(move || {
        let chunk = next_chunk(&mut source, &mut separator);
        (source, separator, chunk)
    })
}

fn next_chunk(source: &mut Source, separator: &mut Separator) -> Result<Chunk, EngineError> {
    let mut out = BytesMut::with_capacity(CHUNK_BYTES);
    loop {
        match source.next() {
            Some(document) => {
                let document = document?;
                out.extend_from_slice(match separator {
                    Separator::Open => b"[\n",
                    Separator::Comma => b",\n",
                    Separator::None => b"",
                });
                if matches!(separator, Separator::Open) {
                    *separator = Separator::Comma;
                }
                out.extend_from_slice(&document);
                if out.len() >= CHUNK_BYTES {
                    return Ok(Chunk {
                        bytes: out.freeze(),
                        last: false,
                    });
                }
            }
            None => {
                out.extend_from_slice(match separator {
                    Separator::Open => b"[]\n",
                    Separator::Comma => b"\n]\n",
                    Separator::None => b"",
                });
                return Ok(Chunk {
                    bytes: out.freeze(),
                    last: true,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;

    use crate::http::body::Body;

    fn body(items: Vec<Result<Bytes, EngineError>>, cut: Arc<AtomicUsize>) -> Body {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let interrupted = Arc::new(move |_: &EngineError| {
            cut.fetch_add(1, Ordering::Relaxed);
        });
        Body::Documents(Box::new(DocumentBody::start(
            Box::new(items.into_iter()),
            permit,
            interrupted,
        )))
    }

    #[tokio::test]
    async fn it_is_an_array_with_one_document_a_line() {
        for count in [0, 1, 2, 5000] {
            let items =
                (0..count).map(|n| Ok(Bytes::from(format!("{{\"n\":{n},\"pad\":\"{n:050}\"}}"))));
            let collected = body(items.collect(), Arc::default())
                .collect()
                .await
                .unwrap();
            let text = String::from_utf8(collected.to_bytes().to_vec()).unwrap();
            let value: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
            assert_eq!(value.len(), count);
            assert_eq!(
                text.lines().filter(|line| line.starts_with('{')).count(),
                count
            );
        }
    }

    #[tokio::test]
    async fn a_failure_in_the_middle_is_an_error_and_not_an_end() {
        let cut = Arc::new(AtomicUsize::new(0));
        let items = vec![Ok(Bytes::from_static(b"{}")), Err(EngineError::ViewExpired)];
        assert!(body(items, cut.clone()).collect().await.is_err());
        assert_eq!(cut.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_holds_back_the_reading() {
        let pulled = Arc::new(AtomicUsize::new(0));
        let counter = pulled.clone();
        let endless = std::iter::repeat_with(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from(vec![b'1'; 1024]))
        });
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let body = DocumentBody::start(Box::new(endless), permit, Arc::new(|_| {}));
        let mut body = Body::Documents(Box::new(body));
        for _ in 0..3 {
            body.frame().await.unwrap().unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let per_chunk = CHUNK_BYTES / 1024 + 1;
        assert!(pulled.load(Ordering::Relaxed) <= 4 * per_chunk);
    }
}
