//! `godb serve`: the order in which things start.
//!
//! The admin port answers before recovery begins, on a thread of its own. Both addresses are taken
//! before the store is opened, so that a taken port is known at once; documents are accepted once
//! recovery is done.

use std::sync::Arc;

use godb_engine::{RecoveryReport, StorageEngine};
use tokio::net::TcpSocket;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin;
use crate::admin::thread::Admin;
use crate::auth::Auth;
use crate::bridge::Bridge;
use crate::config::{Config, Resolved};
use crate::exit::{Exit, Failure};
use crate::lifecycle::{Lifecycle, Phase};
use crate::log::LogControl;
use crate::metrics::Metrics;
use crate::metrics::observer::NodeObserver;
use crate::server::{self, Connections};
use crate::shutdown::{self, Serving};
use crate::{directories, http};

/// Runs the node until it is told to stop.
///
/// # Errors
/// What keeps it from starting or made it stop, with the exit code.
pub fn serve(resolved: Resolved, log: LogControl) -> Result<Exit, Failure> {
    for warning in &resolved.warnings {
        tracing::warn!("{warning}");
    }
    let lifecycle = Lifecycle::start()
        .map(Arc::new)
        .map_err(|error| Failure::new(Exit::Internal, format!("no random bytes: {error}")))?;
    let metrics = Metrics::new()
        .map(Arc::new)
        .map_err(|error| Failure::new(Exit::Internal, format!("metrics: {error}")))?;
    metrics.set_started(&lifecycle);
    directories::check(&resolved.config)?;

    let documents = server::reserve(resolved.config.listen)
        .map_err(|error| Failure::address("listen", resolved.config.listen, &error))?;
    let auth = match &resolved.config.auth_tokens_file {
        Some(path) => Some(
            Auth::open(path, metrics.auth.clone())
                .map_err(|fault| Failure::new(Exit::Usage, format!("auth_tokens_file: {fault}")))?,
        ),
        None => None,
    }
    .map(Arc::new);
    let admin = admin::thread::start(&resolved, log, &lifecycle, &metrics, auth.clone())?;
    let config = resolved.config;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("godb-http")
        .build()
        .map_err(|error| Failure::new(Exit::Io, format!("cannot start threads: {error}")))?;
    let outcome = runtime.block_on(run(config, documents, &admin, auth, lifecycle, metrics));
    // Whoever still waits for the disk is not waited for: what was acknowledged is there.
    runtime.shutdown_background();
    outcome
}

async fn run(
    config: Config,
    documents: TcpSocket,
    admin: &Admin,
    auth: Option<Arc<Auth>>,
    lifecycle: Arc<Lifecycle>,
    metrics: Arc<Metrics>,
) -> Result<Exit, Failure> {
    let mut signals = Signals::new()
        .map_err(|error| Failure::new(Exit::Io, format!("cannot wait for signals: {error}")))?;
    tracing::info!(
        data_dir = %config.data_dir.display(),
        admin = %admin.address,
        boot_id = lifecycle.boot_id(),
        version = env!("CARGO_PKG_VERSION"),
        "opening"
    );
    let observer = Arc::new(NodeObserver::new(metrics.store.clone(), lifecycle.clone()));
    let builder = directories::builder(&config).observer(observer);
    let opening = tokio::task::spawn_blocking(move || builder.open());
    let engine = tokio::select! {
        opened = opening => match opened {
            Ok(opened) => opened?,
            Err(error) => return Err(Failure::new(Exit::Internal, format!("opening failed: {error}"))),
        },
        name = signals.next() => {
            // Recovery that is cut off anywhere is repeated with the same result.
            tracing::info!(signal = name, "stopped while opening");
            return Ok(Exit::Ok);
        }
    };
    say_what_was_recovered(engine.recovery_report());
    metrics.store.set_recovery(engine.recovery_report());
    admin.state.set_engine(engine.clone());
    let serving = start_documents(&config, documents, engine, auth, &lifecycle, &metrics)?;
    lifecycle.advance(Phase::Ready);
    tracing::info!(
        address = %serving.address,
        admin = %admin.address,
        durability = %config.live.durability,
        took_ms = lifecycle.startup().unwrap_or_default().as_millis(),
        "serving documents"
    );
    let mut phase = lifecycle.subscribe();
    tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "stopping");
            shutdown::in_order(&config, serving, &lifecycle, &mut signals).await
        }
        _ = phase.wait_for(|phase| *phase == Phase::Failed) => {
            shutdown::after_failure(&lifecycle, &mut signals).await
        }
    }
}

fn say_what_was_recovered(report: &RecoveryReport) {
    if report.created {
        tracing::info!("made a new database");
    } else {
        tracing::info!(
            clean = report.clean,
            last_lsn = report.last_lsn.0,
            transactions = report.transactions,
            log_bytes = report.log_bytes,
            cut_bytes = report.bytes_cut,
            took_ms = report.took.as_millis(),
            "recovered"
        );
    }
    if let Some(loss) = &report.unsynced_loss {
        tracing::warn!("{loss}");
    }
}

fn start_documents(
    config: &Config,
    socket: TcpSocket,
    engine: StorageEngine,
    auth: Option<Arc<Auth>>,
    lifecycle: &Arc<Lifecycle>,
    metrics: &Arc<Metrics>,
) -> Result<Serving, Failure> {
    let failed = |error: std::io::Error| Failure::address("listen", config.listen, &error);
    let listener = server::listen(socket).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let is_open = !address.ip().is_loopback() && auth.is_none();
    metrics.set_open_without_authentication(is_open);
    if is_open {
        tracing::warn!(%address, "the document port can be reached from other machines and asks for no token");
    }
    let mut router = http::router(
        Bridge::new(engine.clone()),
        lifecycle.clone(),
        metrics.http.clone(),
        config.body_times(),
    );
    if let Some(auth) = auth {
        router = router.guarded_by(auth);
    }
    let connections = Connections::new(config.connection_times(), metrics.connections("documents"));
    let sweeping = connections.clone();
    tokio::spawn(async move { sweeping.sweep().await });
    let (stop, stopped) = watch::channel(false);
    let limit = directories::connection_limit(config.max_connections);
    let accepting = tokio::spawn(server::accept(
        listener,
        router,
        connections.clone(),
        limit,
        stopped,
    ));
    Ok(Serving {
        engine,
        connections,
        stop,
        accepting,
        address,
    })
}

/// SIGTERM and SIGINT.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes over both.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next one.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
