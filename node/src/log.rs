//! Log lines: one per event that a person needs, on standard error, as text or JSON.

use std::io::IsTerminal;
use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::LogFormat;

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

/// Starts logging for the life of the process.
pub fn start(format: LogFormat, level: LevelFilter) -> LogControl {
    let (filter, handle) = reload::Layer::<LevelFilter, Registry>::new(level);
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
        apply: Arc::new(move |level| handle.reload(level).map_err(|error| error.to_string())),
    }
}
