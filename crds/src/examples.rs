//! Instances to begin with. They are built from the types, so they cannot be out of date.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::instance::{
    DeletionPolicy, Durability, EngineSpec, GoDbInstance, GoDbInstanceSpec, StorageSpec,
    WalStorageSpec,
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
