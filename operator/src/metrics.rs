//! The operator's own metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use godb_crds::snapshot::SnapshotPhase;

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

/// Phases of snapshots: each is shown, also where there is none of it.
const SNAPSHOT_PHASES: [SnapshotPhase; 6] = [
    SnapshotPhase::Pending,
    SnapshotPhase::Cutting,
    SnapshotPhase::Carrying,
    SnapshotPhase::Verifying,
    SnapshotPhase::Succeeded,
    SnapshotPhase::Failed,
];

/// Instances whose snapshots have series of their own; of more than these the first ones by name.
const MAX_INSTANCES: usize = 1000;

/// A snapshot at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenSnapshot {
    /// Its namespace.
    pub namespace: String,
    /// The instance that it is of.
    pub instance: String,
    /// How far it is.
    pub phase: SnapshotPhase,
    /// When it succeeded or failed, in seconds since 1970.
    pub completed_at: Option<i64>,
    /// Whether it helps when the volume is lost.
    pub survives_volume_loss: bool,
}

/// All snapshots at this moment.
type LookAtSnapshots = Box<dyn Fn() -> Vec<SeenSnapshot> + Send + Sync>;

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
    snapshots: IntGaugeVec,
    last_success: IntGaugeVec,
    last_failure: IntGaugeVec,
    seen_snapshots: Arc<OnceLock<LookAtSnapshots>>,
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
        let snapshots = IntGaugeVec::new(
            Opts::new(
                "godb_operator_snapshots",
                "GoDbSnapshots by status.phase; only the leader counts them",
            ),
            &["phase"],
        )?;
        let last_success = IntGaugeVec::new(
            Opts::new(
                "godb_operator_snapshot_last_success_timestamp_seconds",
                "When the newest snapshot that survives a lost volume succeeded, in seconds since 1970",
            ),
            &["namespace", "instance"],
        )?;
        let last_failure = IntGaugeVec::new(
            Opts::new(
                "godb_operator_snapshot_last_failure_timestamp_seconds",
                "When the newest snapshot that failed did so, in seconds since 1970",
            ),
            &["namespace", "instance"],
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
        registry.register(Box::new(snapshots.clone()))?;
        registry.register(Box::new(last_success.clone()))?;
        registry.register(Box::new(last_failure.clone()))?;
        registry.register(Box::new(build))?;
        Ok(Self {
            registry,
            reconciles,
            duration,
            writes,
            leader,
            instances,
            phases: Arc::default(),
            snapshots,
            last_success,
            last_failure,
            seen_snapshots: Arc::default(),
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

    /// Where snapshots are looked up from now on, at each reading of the metrics.
    pub fn look_at_snapshots(&self, look: impl Fn() -> Vec<SeenSnapshot> + Send + Sync + 'static) {
        // The watches begin once in the life of a process.
        let _ = self.seen_snapshots.set(Box::new(look));
    }

    fn count_snapshots(&self) {
        let Some(look) = self.seen_snapshots.get() else {
            return;
        };
        self.snapshots.reset();
        self.last_success.reset();
        self.last_failure.reset();
        for phase in SNAPSHOT_PHASES {
            self.snapshots.with_label_values(&[phase.as_str()]).set(0);
        }
        let mut newest: BTreeMap<(String, String), (Option<i64>, Option<i64>)> = BTreeMap::new();
        for seen in look() {
            self.snapshots
                .with_label_values(&[seen.phase.as_str()])
                .inc();
            let (succeeded, failed) = newest.entry((seen.namespace, seen.instance)).or_default();
            match seen.phase {
                SnapshotPhase::Succeeded if seen.survives_volume_loss => {
                    *succeeded = (*succeeded).max(seen.completed_at);
                }
                SnapshotPhase::Failed => *failed = (*failed).max(seen.completed_at),
                _ => {}
            }
        }
        for ((namespace, instance), (succeeded, failed)) in newest.iter().take(MAX_INSTANCES) {
            let names = [namespace.as_str(), instance.as_str()];
            for (gauge, time) in [
                (&self.last_success, succeeded),
                (&self.last_failure, failed),
            ] {
                if let Some(time) = time {
                    gauge.with_label_values(&names).set(*time);
                }
            }
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
        self.count_snapshots();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_survives_the_volume_is_a_success() {
        let metrics = Metrics::new().unwrap();
        let text = || String::from_utf8(metrics.render().unwrap()).unwrap();
        let seen = |phase, completed_at, survives_volume_loss| SeenSnapshot {
            namespace: "ns".to_owned(),
            instance: "people".to_owned(),
            phase,
            completed_at: Some(completed_at),
            survives_volume_loss,
        };
        metrics.look_at_snapshots(move || {
            vec![
                seen(SnapshotPhase::Succeeded, 7, true),
                seen(SnapshotPhase::Succeeded, 5, true),
                seen(SnapshotPhase::Succeeded, 9, false),
                seen(SnapshotPhase::Failed, 8, false),
            ]
        });
        let labels = "{instance=\"people\",namespace=\"ns\"}";
        for (name, value) in [("success", 7), ("failure", 8)] {
            let line =
                format!("godb_operator_snapshot_last_{name}_timestamp_seconds{labels} {value}\n");
            assert!(text().contains(&line), "{line}{}", text());
        }
        assert!(text().contains("godb_operator_snapshots{phase=\"Succeeded\"} 3\n"));
        assert!(text().contains("godb_operator_snapshots{phase=\"Carrying\"} 0\n"));
    }

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
