//! One connection, and the register of all of them.
//!
//! Time limits cost nothing per request: reads, writes and answers only store a coarse clock, and
//! one task looks at all connections a few times a second.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::CONNECTION;
use hyper::rt::Write;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use prometheus::{IntCounter, IntGauge};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::Service;
use super::socket::Socket;
use crate::http::body::{Body, Interrupted};

/// Longest wait for a client to read an answer that came before the end of its request.
const LINGER: Duration = Duration::from_secs(10);
/// The same, once the process is stopping.
const STOPPING_LINGER: Duration = Duration::from_secs(1);
/// How often connections are looked at.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
/// Headers of one request, in bytes.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;

/// "Not now" in a slot's times.
pub(super) const NEVER: u64 = 0;

/// How long a connection may take for what.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// From an answer (or the connect) to the first byte of the next request.
    pub idle: Duration,
    /// From there to the end of the request's head.
    pub header: Duration,
    /// For the client to take the next bytes of an answer.
    pub send: Duration,
}

/// What connections are counted in.
#[derive(Clone)]
pub struct ConnectionMetrics {
    /// Open now.
    pub open: IntGauge,
    /// Closed because the client took nothing for too long.
    pub send_timeouts: IntCounter,
    /// Closed because no request came.
    pub idle_timeouts: IntCounter,
    /// Closed because a request's head did not arrive in time.
    pub header_timeouts: IntCounter,
    /// Accepts that failed.
    pub accept_errors: IntCounter,
}

/// All connections of one listener.
pub struct Connections {
    slots: Mutex<HashMap<u64, Arc<Slot>>>,
    next: AtomicU64,
    closing_idle: AtomicBool,
    limits: TimeLimits,
    epoch: Instant,
    /// Milliseconds since `epoch`, at least 1, as of the last sweep.
    now_ms: AtomicU64,
    last_closed: Notify,
    metrics: ConnectionMetrics,
}

/// What the register knows of one connection.
pub(super) struct Slot {
    connections: Arc<Connections>,
    waker: Mutex<Option<Waker>>,
    peer: SocketAddr,
    aborted: AtomicBool,
    /// Whether the next request takes too long to come.
    late: AtomicBool,
    /// Since when no request is in flight.
    pub(super) idle_since: AtomicU64,
    /// Since when a part of a head is here.
    pub(super) head_since: AtomicU64,
    /// Since when the socket takes no bytes.
    pub(super) write_blocked_since: AtomicU64,
    /// Whether the last answer closes the connection although its request had a body, which may
    /// be on its way still.
    pub(super) unread: AtomicBool,
    /// Since when nothing is left to do but to let the client read.
    lingering_since: AtomicU64,
}

impl Connections {
    /// None yet.
    pub fn new(limits: TimeLimits, metrics: ConnectionMetrics) -> Arc<Self> {
        Arc::new(Self {
            slots: Mutex::default(),
            next: AtomicU64::new(0),
            closing_idle: AtomicBool::new(false),
            limits,
            epoch: Instant::now(),
            now_ms: AtomicU64::new(1),
            last_closed: Notify::new(),
            metrics,
        })
    }

    /// Looks after time limits for as long as it is polled.
    pub async fn sweep(&self) {
        let mut interval = tokio::time::interval(SWEEP_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let now = millis(self.epoch.elapsed()).max(1);
            self.now_ms.store(now, Ordering::Relaxed);
            let stopping = self.closing_idle.load(Ordering::Relaxed);
            let linger = millis(if stopping { STOPPING_LINGER } else { LINGER });
            for slot in self.slots().values() {
                let over = |since: &AtomicU64, limit: u64| {
                    let since = since.load(Ordering::Relaxed);
                    since != NEVER && now.saturating_sub(since) > limit
                };
                let is_set = |since: &AtomicU64| since.load(Ordering::Relaxed) != NEVER;
                if over(&slot.write_blocked_since, millis(self.limits.send)) {
                    self.metrics.send_timeouts.inc();
                    tracing::warn!(
                        peer = %slot.peer,
                        send_timeout_ms = millis(self.limits.send),
                        "an answer was cut: its client took nothing for send_timeout"
                    );
                    slot.abort();
                } else if over(&slot.lingering_since, linger) {
                    slot.abort();
                } else if is_set(&slot.lingering_since) || is_set(&slot.write_blocked_since) {
                    // An answer is on its way, with limits of its own.
                } else if over(&slot.head_since, millis(self.limits.header))
                    || !is_set(&slot.head_since) && over(&slot.idle_since, millis(self.limits.idle))
                {
                    slot.late.store(true, Ordering::Relaxed);
                    slot.wake();
                }
            }
        }
    }

    /// Connections without a request end now, the others with the answer they work on.
    pub fn close_idle(&self) {
        self.closing_idle.store(true, Ordering::Relaxed);
        for slot in self.slots().values() {
            slot.wake();
        }
    }

    /// Drops all connections, whatever they are doing.
    pub fn abort(&self) {
        for slot in self.slots().values() {
            slot.abort();
        }
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.slots().len()
    }

    /// Returns when none is open.
    pub async fn drained(&self) {
        loop {
            let closed = self.last_closed.notified();
            if self.open() == 0 {
                return;
            }
            closed.await;
        }
    }

    /// Counts an accept that failed, and says so once in a while.
    pub fn accept_failed(&self, error: &io::Error) {
        let before = self.metrics.accept_errors.get();
        self.metrics.accept_errors.inc();
        if before.is_multiple_of(100) {
            tracing::warn!(%error, "cannot accept connections");
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<u64, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }
}

impl Slot {
    pub(super) fn now(&self) -> u64 {
        self.connections.now()
    }

    pub(super) fn begin_linger(&self) {
        self.lingering_since.store(self.now(), Ordering::Relaxed);
    }

    /// Bytes of a client came: of a head, unless a request is in flight.
    pub(super) fn note_read(&self) {
        if self.idle_since.load(Ordering::Relaxed) != NEVER
            && self.head_since.load(Ordering::Relaxed) == NEVER
        {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// A head is whole.
    fn begin_request(&self) {
        self.idle_since.store(NEVER, Ordering::Relaxed);
        self.head_since.store(NEVER, Ordering::Relaxed);
    }

    /// Whether no request came since it was found late.
    fn is_late(&self) -> bool {
        self.late.swap(false, Ordering::Relaxed)
            && self.idle_since.load(Ordering::Relaxed) != NEVER
            && self.write_blocked_since.load(Ordering::Relaxed) == NEVER
    }

    fn wake(&self) {
        let waker = self
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn abort(&self) {
        self.aborted.store(true, Ordering::Relaxed);
        self.wake();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Takes the connection off the register, also when its task is dropped.
struct Registered {
    connections: Arc<Connections>,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.connections.slots().remove(&self.number);
        self.connections.metrics.open.dec();
        self.connections.last_closed.notify_waiters();
    }
}

/// Serves one connection to its end.
pub async fn run<S: Service>(
    stream: TcpStream,
    peer: SocketAddr,
    service: S,
    connections: Arc<Connections>,
) {
    let slot = Arc::new(Slot {
        connections: connections.clone(),
        waker: Mutex::new(None),
        peer,
        aborted: AtomicBool::new(false),
        late: AtomicBool::new(false),
        idle_since: AtomicU64::new(connections.now()),
        head_since: AtomicU64::new(NEVER),
        write_blocked_since: AtomicU64::new(NEVER),
        unread: AtomicBool::new(false),
        lingering_since: AtomicU64::new(NEVER),
    });
    let number = connections.next.fetch_add(1, Ordering::Relaxed);
    connections.slots().insert(number, slot.clone());
    connections.metrics.open.inc();
    let _registered = Registered {
        connections: connections.clone(),
        number,
    };

    let io = Socket::new(stream, slot.clone());
    // What all connections share is not counted up and down by each request: the processors would
    // pass one cache line to and fro.
    let service = &service;
    let answer = service_fn(|request: Request<Incoming>| {
        let has_body = !request.body().is_end_stream();
        let slot = slot.clone();
        slot.begin_request();
        async move {
            let response = service.call(request).await?;
            if has_body && response.headers().contains_key(CONNECTION) {
                slot.unread.store(true, Ordering::Relaxed);
            }
            Ok::<_, std::convert::Infallible>(response.map(|body| Tracked { body, slot }))
        }
    });
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(io, answer);
    let mut told = false;
    let mut known = false;
    let ended = poll_fn(|cx| {
        if !mem::replace(&mut known, true) {
            // A task keeps its waker for life.
            *slot.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        }
        if slot.aborted.load(Ordering::Relaxed) {
            return Poll::Ready(Ended::Over);
        }
        if slot.is_late() {
            return Poll::Ready(Ended::Late);
        }
        if connections.closing_idle.load(Ordering::Relaxed) && !mem::replace(&mut told, true) {
            Pin::new(&mut connection).graceful_shutdown();
        }
        // An error here is a client that went away, or one that was told what is wrong already.
        Pin::new(&mut connection).poll(cx).map(|_| Ended::Over)
    })
    .await;
    if let Ended::Late = ended {
        let parts = connection.into_parts();
        if parts.read_buf.is_empty() {
            connections.metrics.idle_timeouts.inc();
            return;
        }
        connections.metrics.header_timeouts.inc();
        let mut io = parts.io;
        io.refuse_late_head();
        poll_fn(|cx| {
            if slot.aborted.load(Ordering::Relaxed) {
                return Poll::Ready(());
            }
            Pin::new(&mut io).poll_shutdown(cx).map(|_| ())
        })
        .await;
    }
}

/// How the work on a connection ended.
enum Ended {
    /// There is nothing left to do.
    Over,
    /// The next request did not come in time, or only a part of its head.
    Late,
}

/// A response body that marks its connection idle when it has been sent or dropped.
struct Tracked {
    body: Body,
    slot: Arc<Slot>,
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = Interrupted;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.slot
            .idle_since
            .store(self.slot.now(), Ordering::Relaxed);
    }
}
