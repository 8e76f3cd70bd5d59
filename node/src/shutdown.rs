//! The order in which things stop.
//!
//! Not ready → grace → no new connections → answers carry `Connection: close` → drain with a
//! deadline → log synced → final checkpoint within its budget → exit 0. A second signal skips the
//! waiting, never the sync: an acknowledged write is not lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use godb_engine::{Durability, EngineError, StorageEngine};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::lifecycle::{Lifecycle, Phase};
use crate::serve::Signals;
use crate::server::Connections;

/// How long kept-alive connections may still bring one request, which is answered with
/// `Connection: close`; closing at once would leave a client guessing about what it just sent.
const LINGER: Duration = Duration::from_millis(300);
/// What a second signal leaves for requests in flight.
const HURRIED_DRAIN: Duration = Duration::from_millis(250);
/// Bound on the wait for connections that were cut: each ends with the poll it is in.
const CUT: Duration = Duration::from_secs(2);
/// How long reads are served after the log failed. With the time to notice it stays below 5 s.
const READS_AFTER_FAILURE: Duration = Duration::from_millis(3500);

/// What has to be stopped.
pub struct Serving {
    /// The open engine.
    pub engine: StorageEngine,
    /// Connections of the document port.
    pub connections: Arc<Connections>,
    /// Stops accepting.
    pub stop: watch::Sender<bool>,
    /// The accept loop.
    pub accepting: JoinHandle<()>,
    /// Where documents are served.
    pub address: SocketAddr,
}

/// After a first signal.
pub async fn in_order(
    config: &Config,
    serving: Serving,
    lifecycle: &Lifecycle,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    let started = Instant::now();
    lifecycle.advance(Phase::Draining);
    let mut hurried = wait(config.shutdown_grace, signals).await;
    serving.stop.send_replace(true);
    // It ends at once, and with it the listening socket.
    let _ = serving.accepting.await;
    hurried |= drain(config.drain_timeout, &serving.connections, hurried, signals).await;
    let stopped = close(config, serving.engine, lifecycle, hurried, signals).await?;
    tracing::info!(took_ms = started.elapsed().as_millis(), "{stopped}");
    Ok(Exit::Ok)
}

/// Sleeps; true if a signal cut it short.
async fn wait(duration: Duration, signals: &mut Signals) -> bool {
    if duration.is_zero() {
        return false;
    }
    tokio::select! {
        () = tokio::time::sleep(duration) => false,
        name = signals.next() => {
            tracing::info!(signal = name, "hurrying");
            true
        }
    }
}

/// Lets requests end, and cuts those that do not. Afterwards no connection acknowledges anything.
/// True if a signal cut it short.
pub async fn drain(
    budget: Duration,
    connections: &Connections,
    mut hurried: bool,
    signals: &mut Signals,
) -> bool {
    let mut deadline = Instant::now() + budget;
    if !hurried {
        let linger = deadline.min(Instant::now() + LINGER);
        tokio::select! {
            _ = timeout_at(linger, connections.drained()) => {}
            name = signals.next() => {
                tracing::info!(signal = name, "hurrying");
                hurried = true;
            }
        }
    }
    connections.close_idle();
    if !hurried {
        tokio::select! {
            _ = timeout_at(deadline, connections.drained()) => {}
            name = signals.next() => {
                tracing::info!(signal = name, "hurrying");
                hurried = true;
            }
        }
    }
    if hurried {
        deadline = deadline.min(Instant::now() + HURRIED_DRAIN);
        let _ = timeout_at(deadline, connections.drained()).await;
    }
    let left = connections.open();
    if left > 0 {
        tracing::warn!(
            connections = left,
            "requests did not end in time and are cut"
        );
        connections.abort();
        // A connection in the middle of a poll may still acknowledge what it just committed. The
        // log is synced only when none is left that could.
        let _ = timeout_at(Instant::now() + CUT, connections.drained()).await;
    }
    hurried
}

/// Syncs the log, then closes with a checkpoint; how that ended, for the log.
async fn close(
    config: &Config,
    engine: StorageEngine,
    lifecycle: &Lifecycle,
    hurried: bool,
    signals: &mut Signals,
) -> Result<&'static str, Failure> {
    // Without a log the checkpoint is all there is: it is never given up.
    let must_finish = engine.live_settings().durability == Durability::None;
    if !must_finish {
        let flushing = engine.clone();
        blocking(move || flushing.flush())
            .await
            .map_err(|error| failure(&error, lifecycle))?;
    }
    if hurried && !must_finish {
        return Ok("stopped; the log is synced, the final checkpoint was skipped");
    }
    let closing = blocking(move || engine.close());
    tokio::pin!(closing);
    let deadline = Instant::now() + config.shutdown_checkpoint_timeout;
    loop {
        tokio::select! {
            closed = &mut closing => {
                closed.map_err(|error| failure(&error, lifecycle))?;
                return Ok("stopped");
            }
            () = tokio::time::sleep_until(deadline), if !must_finish => {
                tracing::warn!("the final checkpoint did not end in its time");
                return Ok("stopped; the log is synced, the final checkpoint was given up");
            }
            name = signals.next() => {
                if must_finish {
                    tracing::warn!(signal = name, "durability is none: the final checkpoint is the only copy and goes on");
                } else {
                    tracing::info!(signal = name, "hurrying");
                    return Ok("stopped; the log is synced, the final checkpoint was cut short");
                }
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(call).await {
        Ok(outcome) => outcome,
        Err(error) => Err(EngineError::OutcomeUnknown {
            cause: error.to_string(),
        }),
    }
}

fn failure(error: &EngineError, lifecycle: &Lifecycle) -> Failure {
    let cause = lifecycle.failure().unwrap_or_else(|| error.to_string());
    Failure::new(
        Exit::Io,
        format!("the log or the tables could not be written: {cause}"),
    )
}

/// After the log failed: reads for a moment, then the end.
pub async fn after_failure(lifecycle: &Lifecycle, signals: &mut Signals) -> Result<Exit, Failure> {
    wait(READS_AFTER_FAILURE, signals).await;
    let cause = lifecycle.failure().unwrap_or_default();
    Err(Failure::new(
        Exit::Io,
        format!("the log could not be written, restart to recover: {cause}"),
    ))
}
