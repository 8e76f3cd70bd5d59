//! What `/metrics` shows: every series is there from the start at 0, names end in base units, and
//! labels take few values. Handles are made once, so that counting is one addition.

pub mod auth;
pub mod http;
pub mod observer;
pub mod store;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, Result, TextEncoder,
};

use self::auth::AuthMetrics;
use self::http::HttpMetrics;
use self::store::StoreMetrics;
use crate::lifecycle::{Lifecycle, Phase};
use crate::server::connection::ConnectionMetrics;

/// 100 us to 10 s.
const SECONDS: [f64; 16] = [
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
    10.0,
];

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    /// Requests of the document port.
    pub http: Arc<HttpMetrics>,
    /// Who was let in.
    pub auth: Arc<AuthMetrics>,
    /// The store.
    pub store: Arc<StoreMetrics>,
    connections: IntGaugeVec,
    connections_closed: IntCounterVec,
    accept_errors: IntCounterVec,
    phase: IntGaugeVec,
    startup: Gauge,
    open_without_authentication: IntGauge,
    rendering: Mutex<()>,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When two metrics have one name, which the tests rule out.
    pub fn new() -> Result<Self> {
        let registry = Registry::new();
        let make = Maker(&registry);
        let build = make.gauges(
            "godb_build_info",
            "The running version; always 1.",
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let metrics = Self {
            http: Arc::new(HttpMetrics::new(&make)?),
            auth: Arc::new(AuthMetrics::new(&make)?),
            store: Arc::new(StoreMetrics::new(&make)?),
            connections: make.gauges(
                "godb_http_connections",
                "Connections that are open, by listener.",
                &["listener"],
            )?,
            connections_closed: make.counters(
                "godb_http_connections_timed_out_total",
                "Connections closed because the client took nothing (send), sent no request (idle) or only a part of a request's head (header).",
                &["listener", "reason"],
            )?,
            accept_errors: make.counters(
                "godb_http_accept_errors_total",
                "Connections that could not be accepted.",
                &["listener"],
            )?,
            phase: make.gauges(
                "godb_phase",
                "1 for the phase the process is in, 0 for the others.",
                &["phase"],
            )?,
            startup: make.seconds_gauge(
                "godb_startup_duration_seconds",
                "From process start to ready; 0 before that.",
            )?,
            open_without_authentication: make.gauge(
                "godb_http_open_without_authentication",
                "1 if the document port can be reached from other machines without a token.",
            )?,
            rendering: Mutex::new(()),
            registry: registry.clone(),
        };
        for listener in ["documents", "admin"] {
            drop(metrics.connections(listener));
        }
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(metrics)
    }

    /// The metrics of one listener's connections.
    pub fn connections(&self, listener: &str) -> ConnectionMetrics {
        let closed = |reason| {
            self.connections_closed
                .with_label_values(&[listener, reason])
        };
        ConnectionMetrics {
            open: self.connections.with_label_values(&[listener]),
            send_timeouts: closed("send"),
            idle_timeouts: closed("idle"),
            header_timeouts: closed("header"),
            accept_errors: self.accept_errors.with_label_values(&[listener]),
        }
    }

    /// Says whether anybody can reach the documents.
    pub fn set_open_without_authentication(&self, open: bool) {
        self.open_without_authentication.set(i64::from(open));
    }

    /// Everything in the text format 0.0.4. `refresh` is called with no other rendering at work,
    /// to bring in what is only known by asking.
    pub fn render(
        &self,
        lifecycle: &Lifecycle,
        refresh: impl FnOnce(&StoreMetrics),
    ) -> Result<Vec<u8>> {
        let rendering = self
            .rendering
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = lifecycle.phase();
        for phase in Phase::ALL {
            let value = i64::from(phase == now);
            self.phase.with_label_values(&[phase.as_str()]).set(value);
        }
        self.startup
            .set(lifecycle.startup().map_or(0.0, |took| took.as_secs_f64()));
        self.store.set_recovery_progress(lifecycle.recovery());
        refresh(&self.store);
        let mut out = Vec::with_capacity(64 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        drop(rendering);
        Ok(out)
    }

    /// Notes the start of the process.
    pub fn set_started(&self, lifecycle: &Lifecycle) {
        let since = lifecycle
            .started_at()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.store.start_time.set(since.as_secs_f64());
    }
}

/// Makes and registers metrics.
pub struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn register<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.register(IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.register(IntGauge::new(name, help)?)
    }

    fn seconds_gauge(&self, name: &str, help: &str) -> Result<Gauge> {
        self.register(Gauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn durations(&self, name: &str, help: &str) -> Result<Histogram> {
        self.histogram(name, help, SECONDS.to_vec())
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Result<Histogram> {
        let options = HistogramOpts::new(name, help).buckets(buckets);
        self.register(Histogram::with_opts(options)?)
    }

    fn duration_vec(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        self.register(HistogramVec::new(options, labels)?)
    }
}

#[cfg(test)]
mod tests;
