//! Instances for tests.

use godb_crds::GoDbInstance;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::validate::Valid;
use super::{build, validate};

/// A small one.
pub fn instance(name: &str) -> GoDbInstance {
    let mut instance = godb_crds::examples::small(name, "1Gi");
    instance.metadata.namespace = Some("ns".to_owned());
    instance.metadata.uid = Some("uid-1".to_owned());
    instance.metadata.generation = Some(1);
    instance
}

/// Gives its container a memory limit.
pub fn limit_memory(instance: &mut GoDbInstance, limit: &str) {
    instance.spec.resources = Some(ResourceRequirements {
        limits: Some([("memory".to_owned(), Quantity(limit.to_owned()))].into()),
        ..ResourceRequirements::default()
    });
}

/// It, checked.
pub fn valid(instance: &GoDbInstance, image: &str) -> Valid {
    validate::validate(instance, image, "ns.godb").expect("it is valid")
}

/// Its StatefulSet.
pub fn stateful_set(instance: &GoDbInstance, image: &str) -> StatefulSet {
    build::build(&valid(instance, image)).stateful_set
}
