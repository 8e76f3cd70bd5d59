//! The admin port's thread and listener.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::State;
use super::config::InForce;
use super::token::Guard;
use crate::auth::{Auth, reload};
use crate::config::{Resolved, Source};
use crate::exit::{Exit, Failure};
use crate::lifecycle::Lifecycle;
use crate::log::LogControl;
use crate::metrics::Metrics;
use crate::server::{self, Connections};

/// Connections at once.
const MAX_CONNECTIONS: usize = 64;
/// Threads for calls that block.
const BLOCKING_THREADS: usize = 8;

/// The running admin port.
pub struct Admin {
    /// What its handlers work with.
    pub state: Arc<State>,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Starts the admin port. It lives until the process ends.
///
/// # Errors
/// An address that cannot be had, or a token that cannot be read.
pub fn start(
    resolved: &Resolved,
    log: LogControl,
    lifecycle: &Arc<Lifecycle>,
    metrics: &Arc<Metrics>,
    auth: Option<Arc<Auth>>,
) -> Result<Admin, Failure> {
    let failed = |error| Failure::new(Exit::Io, format!("cannot start the admin port: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(failed)?;
    let listener = listen(resolved, &runtime)?;
    let address = listener.local_addr().map_err(failed)?;
    let guard = guard(resolved, address, auth.is_some())?;
    let in_force = InForce {
        config: resolved.config.clone(),
        sources: resolved.sources.iter().map(ToString::to_string).collect(),
    };
    let state = Arc::new(State::new(
        lifecycle.clone(),
        metrics.clone(),
        log,
        in_force,
        guard,
        auth.clone(),
    ));
    let router = super::router(state.clone());
    let expiring = state.clone();
    let connections = Connections::new(
        resolved.config.connection_times(),
        metrics.connections("admin"),
    );
    std::thread::Builder::new()
        .name("godb-admin".to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                let sweeping = connections.clone();
                tokio::spawn(async move { sweeping.sweep().await });
                tokio::spawn(super::snapshots::expire(expiring));
                if let Some(auth) = auth {
                    tokio::spawn(reload::watch(auth));
                }
                // The sender lives as long as the loop: the admin port stops with the process.
                let (_never_stops, stop) = watch::channel(false);
                server::accept(listener, router, connections, MAX_CONNECTIONS, stop).await;
            });
        })
        .map_err(failed)?;
    Ok(Admin { state, address })
}

fn guard(resolved: &Resolved, address: SocketAddr, has_tokens: bool) -> Result<Guard, Failure> {
    let guard = Guard::new(&resolved.config, address.ip().is_loopback());
    guard
        .check()
        .map_err(|fault| Failure::new(Exit::Usage, format!("admin token: {fault}")))?;
    if matches!(guard, Guard::Shut) && !has_tokens {
        tracing::warn!(
            %address,
            "the admin port is not on loopback and has no token: /admin is closed, metrics and probes are open"
        );
    }
    Ok(guard)
}

/// The configured address, or, if nobody asked for it and it is taken, a free port on loopback.
fn listen(resolved: &Resolved, runtime: &Runtime) -> Result<TcpListener, Failure> {
    let _context = runtime.enter();
    let wanted = resolved.config.admin_listen;
    let was_asked_for = *resolved.source("admin_listen") != Source::Default;
    let listen = |address| server::reserve(address).and_then(server::listen);
    // A port that is only reserved does not look taken yet.
    let belongs_to_documents = !was_asked_for && wanted.port() == resolved.config.listen.port();
    let first = if belongs_to_documents {
        Err(ErrorKind::AddrInUse.into())
    } else {
        listen(wanted)
    };
    match first {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse && !was_asked_for => {
            let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = listen(loopback)
                .map_err(|error| Failure::address("admin-listen", loopback, &error))?;
            let address = listener.local_addr().unwrap_or(loopback);
            tracing::warn!(%wanted, %address, "the default admin address is taken, using a free port");
            Ok(listener)
        }
        Err(error) => Err(Failure::address("admin-listen", wanted, &error)),
    }
}
