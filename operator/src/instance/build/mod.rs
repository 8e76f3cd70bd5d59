//! What an instance consists of (pure, cannot fail). One kind of object a file.

mod config;
mod network;
mod secrets;
mod stateful_set;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

pub use secrets::{HASH_KEY, TOKEN_KEY, admin as admin_secret, app as app_secret};
pub use stateful_set::{
    DATA_DIR, DATA_MOUNT, SECRET_MODE, VOLUMES, container_security, mount, pod_security,
};

use super::validate::Valid;
use crate::names;

/// Everything that is applied. Secrets are made apart from it: what is in them is made once.
#[derive(Clone, Debug)]
pub struct Resources {
    /// The pod's account.
    pub service_account: ServiceAccount,
    /// The node's settings.
    pub config: ConfigMap,
    /// The Service for applications.
    pub service: Service,
    /// The Service that names the pod.
    pub headless: Service,
    /// The pod and its volumes.
    pub stateful_set: StatefulSet,
}

/// Builds them.
pub fn build(valid: &Valid) -> Resources {
    Resources {
        service_account: network::service_account(valid),
        config: config::config_map(valid),
        service: network::service(valid),
        headless: network::headless(valid),
        stateful_set: stateful_set::stateful_set(valid),
    }
}

/// The instance as the owner of its children: they go with it.
pub fn owner(valid: &Valid) -> OwnerReference {
    OwnerReference {
        api_version: names::api_version(),
        kind: "GoDbInstance".to_owned(),
        name: valid.names.instance.clone(),
        uid: valid.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn metadata(valid: &Valid, name: String, annotations: BTreeMap<String, String>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(valid.names.namespace.clone()),
        labels: Some(names::labels(&valid.names.instance, &valid.release)),
        annotations: (!annotations.is_empty()).then_some(annotations),
        owner_references: Some(vec![owner(valid)]),
        ..ObjectMeta::default()
    }
}

/// An admin Secret or one for applications.
pub fn secret(valid: &Valid, name: String, data: BTreeMap<String, String>) -> Secret {
    Secret {
        metadata: metadata(valid, name, BTreeMap::new()),
        string_data: Some(data),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests;
