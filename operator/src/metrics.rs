//! The operator's own metrics.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// Bounds of the duration of a reconcile, in seconds.
const BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// See the module. Clones share the values.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    duration: HistogramVec,
    writes: IntCounterVec,
    leader: IntGauge,
}

impl Metrics {
    /// All at 0.
    ///
    /// # Errors
    /// A name is registered twice, which the tests would notice.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let reconciles = IntCounterVec::new(
            Opts::new(
                "godb_operator_reconciles_total",
                "Reconciles by kind and outcome",
            ),
            &["kind", "outcome"],
        )?;
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "godb_operator_reconcile_duration_seconds",
                "Duration of reconciles by kind",
            )
            .buckets(BUCKETS.to_vec()),
            &["kind"],
        )?;
        let writes = IntCounterVec::new(
            Opts::new(
                "godb_operator_api_writes_total",
                "Writes to the API server by kind of object, refused ones included",
            ),
            &["kind"],
        )?;
        let leader = IntGauge::new(
            "godb_operator_leader",
            "1 while this copy acts, 0 while it waits for its turn",
        )?;
        let build = prometheus::IntGaugeVec::new(
            Opts::new("godb_operator_build_info", "Version of the operator"),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        for outcome in ["success", "error"] {
            reconciles.with_label_values(&["GoDbInstance", outcome]);
        }
        duration.with_label_values(&["GoDbInstance"]);
        registry.register(Box::new(reconciles.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(writes.clone()))?;
        registry.register(Box::new(leader.clone()))?;
        registry.register(Box::new(build))?;
        Ok(Self {
            registry,
            reconciles,
            duration,
            writes,
            leader,
        })
    }

    /// A reconcile of a kind ended.
    pub fn reconciled(&self, kind: &str, succeeded: bool, seconds: f64) {
        let outcome = if succeeded { "success" } else { "error" };
        self.reconciles.with_label_values(&[kind, outcome]).inc();
        self.duration.with_label_values(&[kind]).observe(seconds);
    }

    /// A write is about to be sent.
    pub fn wrote(&self, kind: &str) {
        self.writes.with_label_values(&[kind]).inc();
    }

    /// Whether this copy acts.
    pub fn set_leader(&self, leader: bool) {
        self.leader.set(i64::from(leader));
    }

    /// The text of `/metrics`.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
