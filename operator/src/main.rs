//! The godb operator: keeps GoDbInstances as their specs say.

mod api_client;
mod conditions;
mod context;
mod controllers;
mod difference;
mod error;
mod health;
mod instance;
mod lease;
mod metrics;
mod names;
mod node_client;
mod options;
mod refusals;
mod restore;
mod schedule;
mod server;
mod smoke;
mod snapshot;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::Context;
use crate::lease::Candidate;
use crate::metrics::Metrics;
use crate::options::{Arguments, Command, LogFormat, Options};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let Arguments { command, options } = Arguments::parse();
    let log = tracing_subscriber::fmt()
        .with_ansi(std::io::stdout().is_terminal())
        .with_max_level(options.log_level);
    match options.log_format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.init(),
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the runtime does not start");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        match command.unwrap_or(Command::Run) {
            Command::Run => run(options).await,
            Command::Smoke => smoke::run(&options).await,
        }
    });
    // A watch or a call that is still under way need not be waited for.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the operator ends");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Failure> {
    let client = api_client::connect().await?;
    let metrics = Metrics::new()?;
    let listener = TcpListener::bind(options.metrics_listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.metrics_listen))?;
    let context = Arc::new(Context::new(
        client.clone(),
        options.clone(),
        metrics.clone(),
    ));
    tokio::spawn(server::serve(
        listener,
        metrics.clone(),
        context.health.clone(),
    ));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespace = options.namespace().unwrap_or("all"),
        node_image = options.node_image,
        release = options.release,
        "the operator starts"
    );
    context.health.set_ready();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut candidate = Candidate::new(
        client,
        &options.pod_namespace,
        &options.lease_name,
        format!("{}_{}", options.pod_name, std::process::id()),
    );
    if options.leader_elect {
        tokio::select! {
            () = candidate.acquire() => {}
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
        tracing::info!("this copy leads");
    }
    metrics.set_leader(true);
    let mut waiting = stopped.clone();
    let stop_asked = async move {
        // The sender lives as long as this function.
        let _ = waiting.wait_for(|stop| *stop).await;
    };
    let mut controllers = tokio::spawn(controllers::run(context, stop_asked));
    let lost = async {
        if options.leader_elect {
            candidate.hold().await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        // Another copy may act already: end at once.
        () = lost => return Err("the lease was lost; the next start waits for its turn".into()),
        ended = &mut controllers => {
            ended?;
            return Err("the watches ended".into());
        }
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: what was begun is ended first");
    let _ = stop.send(true);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), controllers).await;
    if ended.is_err() {
        tracing::warn!("reconciles were cut off; the next start goes on with them");
    }
    if options.leader_elect {
        candidate.release().await;
    }
    Ok(())
}
