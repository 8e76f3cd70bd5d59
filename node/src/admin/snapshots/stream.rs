//! A file of a snapshot as the body of an answer: read in pieces on blocking threads, and not
//! faster than all such streams together may, so that a backup leaves the disk to the others.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use godb_store::{SnapshotReader, StoreError};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::leases::Reading;
use crate::http::body::Interrupted;

/// Bytes that are read at once.
const PIECE_BYTES: u64 = 256 * 1024;

/// How fast streams may be together.
pub struct Pace {
    bytes_per_second: u64,
    /// When the next piece may be read.
    next: Mutex<Instant>,
}

impl Pace {
    /// So many bytes a second.
    pub fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            next: Mutex::new(Instant::now()),
        }
    }

    /// When a piece of this size may be read.
    fn reserve(&self, bytes: u64, now: Instant) -> Instant {
        let takes_ns = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let takes = Duration::from_nanos(u64::try_from(takes_ns).unwrap_or(u64::MAX));
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (*next).max(now);
        *next = at + takes;
        at
    }
}

/// The body.
pub struct FileBody {
    file: Arc<SnapshotReader>,
    at: u64,
    end: u64,
    pace: Arc<Pace>,
    piece: Option<JoinHandle<Result<Bytes, StoreError>>>,
    _reading: Reading,
}

impl FileBody {
    /// The bytes from `at` to before `end`, which lie within the file.
    pub fn new(file: SnapshotReader, at: u64, end: u64, pace: Arc<Pace>, reading: Reading) -> Self {
        Self {
            file: Arc::new(file),
            at,
            end,
            pace,
            piece: None,
            _reading: reading,
        }
    }

    /// Bytes that are still to come.
    pub fn remaining(&self) -> u64 {
        self.end - self.at
    }

    /// The next piece, once it is there.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Interrupted>>> {
        if self.at == self.end {
            return Poll::Ready(None);
        }
        let piece = self
            .piece
            .get_or_insert_with(|| read(&self.file, self.at, self.end, &self.pace));
        let outcome = ready!(Pin::new(piece).poll(cx));
        self.piece = None;
        Poll::Ready(Some(match outcome {
            Ok(Ok(bytes)) => {
                self.at += u64::try_from(bytes.len()).unwrap_or(0);
                Ok(bytes)
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "a snapshot cannot be read");
                Err(Interrupted)
            }
            // The runtime is shutting down.
            Err(_) => Err(Interrupted),
        }))
    }
}

fn read(
    file: &Arc<SnapshotReader>,
    at: u64,
    end: u64,
    pace: &Pace,
) -> JoinHandle<Result<Bytes, StoreError>> {
    let step = PIECE_BYTES.min(end - at);
    let (file, when) = (Arc::clone(file), pace.reserve(step, Instant::now()));
    tokio::spawn(async move {
        sleep_until(when).await;
        let reading = tokio::task::spawn_blocking(move || {
            // At most PIECE_BYTES, so it fits.
            let mut piece = vec![0; usize::try_from(step).unwrap_or(0)];
            file.read_at(&mut piece, at)?;
            Ok(Bytes::from(piece))
        });
        reading.await.unwrap_or(Err(StoreError::Closed))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_streams_together_are_not_faster_than_they_may() {
        let pace = Pace::new(1000);
        let start = Instant::now();
        let reserve = |at_ms: u64| {
            let at = pace.reserve(500, start + Duration::from_millis(at_ms));
            at.duration_since(start).as_millis()
        };
        let first = reserve(1000);
        assert_eq!((first, reserve(1000), reserve(1200)), (1000, 1500, 2000));
        // What nobody used is not made up for.
        assert_eq!((reserve(60_000), reserve(60_000)), (60_000, 60_500));
    }
}
