//! The custom resources of the group `godb.dev`: what a user writes, what the operator answers,
//! and the rules that the API server holds both to.
//!
//! The YAML under `yaml/`, the examples and the chart's copy are written by `crdgen` from these
//! types; a test fails when they differ.

pub mod conditions;
pub mod examples;
pub mod instance;
pub mod quantity;

pub use instance::{
    DeletionPolicy, Durability, EngineSpec, EngineStatus, GoDbInstance, GoDbInstanceSpec,
    GoDbInstanceStatus, LogFormat, LogLevel, StorageSpec,
};

/// The API group of all kinds.
pub const GROUP: &str = "godb.dev";

/// Every generated file: its path in the repository and its content.
///
/// # Errors
/// A type that has no YAML form.
pub fn generated() -> Result<Vec<(String, String)>, serde_yaml::Error> {
    use kube::CustomResourceExt;
    let crd = format!(
        "# Generated from the types in crds/src. Change those, then run `make generate`.\n{}",
        serde_yaml::to_string(&GoDbInstance::crd())?
    );
    let mut files = vec![
        ("crds/yaml/godbinstances.yaml".to_owned(), crd.clone()),
        ("charts/godb/files/crds/godbinstances.yaml".to_owned(), crd),
    ];
    for (name, instance) in examples::instances() {
        files.push((
            format!("crds/examples/{name}.yaml"),
            serde_yaml::to_string(&instance)?,
        ));
    }
    Ok(files)
}
