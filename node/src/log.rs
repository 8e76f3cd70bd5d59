//! Log lines: one per event that a person needs, on standard error, as text or JSON.

use std::io::IsTerminal;
use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::LogFormat;

/// The target of lines that tell who did what.
pub const AUDIT: &str = "audit";

/// Changes the level while the process runs.
#[derive(Clone)]
pub struct LogControl {
    apply: Arc<dyn Fn(LevelFilter) -> Result<(), String> + Send + Sync>,
}

impl LogControl {
    /// From now on only lines at this level or above are written.
    pub fn set_level(&self, level: LevelFilter) -> Result<(), String> {
        (self.apply)(level)
    }

    /// Does nothing, for tests that do not log.
    #[cfg(test)]
    pub fn disconnected() -> Self {
        Self {
            apply: Arc::new(|_| Ok(())),
        }
    }
}

/// The level, but who did what is always written.
fn lines_at(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level)
        .with_target(AUDIT, LevelFilter::INFO)
}

/// Starts logging for the life of the process.
pub fn start(format: LogFormat, level: LevelFilter) -> LogControl {
    let (filter, handle) = reload::Layer::<Targets, Registry>::new(lines_at(level));
    let registry = tracing_subscriber::registry().with(filter);
    // Only a second call could fail, and there is one call, in `main`.
    let _ = match format {
        LogFormat::Text => registry
            .with(
                fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_target(false),
            )
            .try_init(),
        LogFormat::Json => registry
            .with(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_writer(std::io::stderr)
                    .with_current_span(false)
                    .with_span_list(false)
                    .with_target(false),
            )
            .try_init(),
    };
    LogControl {
        apply: Arc::new(move |level| {
            handle
                .reload(lines_at(level))
                .map_err(|error| error.to_string())
        }),
    }
}
