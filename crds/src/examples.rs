//! Objects to begin with. They are built from the types, so they cannot be out of date.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::instance::{
    DeletionPolicy, Durability, EngineSpec, GoDbInstance, GoDbInstanceSpec, StorageSpec,
    WalStorageSpec,
};
use crate::restore::{GoDbRestore, GoDbRestoreSpec, RestoreSource};
use crate::schedule::{
    ConcurrencyPolicy, GoDbSnapshotSchedule, GoDbSnapshotScheduleSpec, RetentionSpec,
    SnapshotTemplate,
};
use crate::snapshot::{
    ClaimTarget, GoDbSnapshot, GoDbSnapshotSpec, InstanceVolumeTarget, S3Target, SnapshotTarget,
};

fn spec(size: &str) -> GoDbInstanceSpec {
    GoDbInstanceSpec {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        image: None,
        image_pull_secrets: Vec::new(),
        engine: EngineSpec::default(),
        storage: StorageSpec {
            size: size.to_owned(),
            storage_class_name: None,
            labels: std::collections::BTreeMap::new(),
            wal: None,
        },
        logging: Default::default(),
        resources: None,
        security_context: None,
        service: Default::default(),
        service_account: Default::default(),
        scheduling: Default::default(),
        pod: Default::default(),
        extra_env: Vec::new(),
        termination_grace_period_seconds: 300,
        stopped: false,
        paused: false,
        deletion_policy: DeletionPolicy::Retain,
    }
}

/// The smallest instance there is: a name and a size.
#[must_use]
pub fn small(name: &str, size: &str) -> GoDbInstance {
    GoDbInstance::new(name, spec(size))
}

/// Name and instance of each example.
#[must_use]
pub fn instances() -> Vec<(&'static str, GoDbInstance)> {
    let mut careful = spec("50Gi");
    careful.engine = EngineSpec {
        durability: Durability::Full,
        max_wal_size: "128Mi".to_owned(),
        max_memory: Some("4Gi".to_owned()),
        ..EngineSpec::default()
    };
    careful.storage.wal = Some(WalStorageSpec {
        size: "4Gi".to_owned(),
        storage_class_name: None,
    });
    let amount = |cpu: &str, memory: &str| {
        [("cpu", cpu), ("memory", memory)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), Quantity(value.to_owned())))
            .collect()
    };
    careful.resources = Some(ResourceRequirements {
        requests: Some(amount("2", "8Gi")),
        limits: Some(amount("", "8Gi")),
        claims: None,
    });
    vec![
        ("small", small("people", "1Gi")),
        ("durable", GoDbInstance::new("orders", careful)),
    ]
}

/// A snapshot of an instance in a bucket.
#[must_use]
pub fn snapshot_s3(name: &str, instance: &str, s3: S3Target) -> GoDbSnapshot {
    let mut made = snapshot(name, instance, None);
    made.spec.target = SnapshotTarget {
        s3: Some(s3),
        ..SnapshotTarget::default()
    };
    made
}

/// A bucket of an object storage in the cluster.
#[must_use]
pub fn s3() -> S3Target {
    S3Target {
        bucket: "backups".to_owned(),
        prefix: Some("production".to_owned()),
        endpoint: Some("https://store.storage.svc:9000".to_owned()),
        region: None,
        path_style: None,
        credentials_secret: "backups-keys".to_owned(),
        ca_secret: Some("store-ca".to_owned()),
    }
}

/// A snapshot of an instance, on its own volume or on a claim.
#[must_use]
pub fn snapshot(name: &str, instance: &str, claim: Option<&str>) -> GoDbSnapshot {
    let spec = GoDbSnapshotSpec {
        instance: instance.to_owned(),
        target: SnapshotTarget {
            instance_volume: claim.is_none().then_some(InstanceVolumeTarget {}),
            claim: claim.map(|name| ClaimTarget {
                name: name.to_owned(),
            }),
            s3: None,
        },
        deletion_policy: DeletionPolicy::Delete,
        resources: None,
    };
    GoDbSnapshot::new(name, spec)
}

/// Snapshots of an instance every night at three, on a claim.
#[must_use]
pub fn schedule(name: &str, instance: &str, claim: &str) -> GoDbSnapshotSchedule {
    let spec = GoDbSnapshotScheduleSpec {
        schedule: "0 3 * * *".to_owned(),
        suspend: false,
        concurrency_policy: ConcurrencyPolicy::Forbid,
        retention: RetentionSpec::default(),
        template: SnapshotTemplate {
            instance: instance.to_owned(),
            target: snapshot(name, instance, Some(claim)).spec.target,
            deletion_policy: DeletionPolicy::Delete,
            resources: None,
        },
    };
    GoDbSnapshotSchedule::new(name, spec)
}

/// An instance brought back to a snapshot.
#[must_use]
pub fn restore(name: &str, instance: &str, snapshot: &str) -> GoDbRestore {
    let spec = GoDbRestoreSpec {
        instance: instance.to_owned(),
        source: RestoreSource {
            snapshot: Some(snapshot.to_owned()),
            location: None,
        },
        resources: None,
    };
    GoDbRestore::new(name, spec)
}

/// Every example: its name and its YAML.
///
/// # Errors
/// A type that has no YAML form.
pub fn all() -> Result<Vec<(&'static str, String)>, serde_yaml::Error> {
    let mut texts = Vec::new();
    for (name, instance) in instances() {
        texts.push((name, serde_yaml::to_string(&instance)?));
    }
    let before = snapshot("people-before-import", "people", None);
    texts.push(("snapshot", serde_yaml::to_string(&before)?));
    let carried = snapshot("people-monday", "people", Some("backups"));
    texts.push(("snapshot-claim", serde_yaml::to_string(&carried)?));
    let bucket = snapshot_s3("people-tuesday", "people", s3());
    texts.push(("snapshot-s3", serde_yaml::to_string(&bucket)?));
    let nightly = schedule("people-nightly", "people", "backups");
    texts.push(("schedule", serde_yaml::to_string(&nightly)?));
    let undo = restore("people-undo-import", "people", "people-before-import");
    texts.push(("restore", serde_yaml::to_string(&undo)?));
    Ok(texts)
}
