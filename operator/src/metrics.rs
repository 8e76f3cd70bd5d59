//! The operator's own metrics.

use std::sync::{Arc, OnceLock};

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Phases of instances: each is shown, also where there is none of it.
const PHASES: [&str; 8] = [
    "New", "Starting", "Ready", "Updating", "Stopping", "Stopped", "Degraded", "Invalid",
];

/// Phases of all instances at this moment.
type LookAtPhases = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// Bounds of the duration of a reconcile, in seconds.
const BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Kinds that are reconciled.
const KINDS: [&str; 4] = [
    "GoDbInstance",
    "GoDbRestore",
    "GoDbSnapshot",
    "GoDbSnapshotSchedule",
];

/// See the module. Clones share the values.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    duration: HistogramVec,
    writes: IntCounterVec,
    leader: IntGauge,
    instances: IntGaugeVec,
    phases: Arc<OnceLock<LookAtPhases>>,
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
        let instances = IntGaugeVec::new(
            Opts::new(
                "godb_operator_instances",
                "Instances by status.phase, New before the first; only the leader counts them",
            ),
            &["phase"],
        )?;
        let build = IntGaugeVec::new(
            Opts::new("godb_operator_build_info", "Version of the operator"),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        for kind in KINDS {
            for outcome in ["success", "error"] {
                reconciles.with_label_values(&[kind, outcome]);
            }
            duration.with_label_values(&[kind]);
        }
        registry.register(Box::new(reconciles.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(writes.clone()))?;
        registry.register(Box::new(leader.clone()))?;
        registry.register(Box::new(instances.clone()))?;
        registry.register(Box::new(build))?;
        Ok(Self {
            registry,
            reconciles,
            duration,
            writes,
            leader,
            instances,
            phases: Arc::default(),
        })
    }

    /// Where phases are looked up from now on, at each reading of the metrics.
    pub fn look_at_phases(&self, look: impl Fn() -> Vec<String> + Send + Sync + 'static) {
        // The watches begin once in the life of a process.
        let _ = self.phases.set(Box::new(look));
    }

    fn count_instances(&self) {
        let Some(look) = self.phases.get() else {
            return;
        };
        self.instances.reset();
        for phase in PHASES {
            self.instances.with_label_values(&[phase]).set(0);
        }
        for phase in look() {
            let phase = if phase.is_empty() { "New" } else { &phase };
            self.instances.with_label_values(&[phase]).inc();
        }
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
        self.count_instances();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_counted_by_phase_at_each_reading() {
        let metrics = Metrics::new().unwrap();
        let text = || String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(!text().contains("godb_operator_instances{"));
        let phases = Arc::new(std::sync::Mutex::new(vec!["Ready", "", "Ready"]));
        let now = Arc::clone(&phases);
        metrics.look_at_phases(move || {
            let phases = now.lock().unwrap();
            phases.iter().map(|phase| (*phase).to_owned()).collect()
        });
        assert!(text().contains("godb_operator_instances{phase=\"Ready\"} 2\n"));
        assert!(text().contains("godb_operator_instances{phase=\"New\"} 1\n"));
        phases.lock().unwrap().truncate(1);
        assert!(text().contains("godb_operator_instances{phase=\"Ready\"} 1\n"));
        assert!(text().contains("godb_operator_instances{phase=\"New\"} 0\n"));
    }
}
