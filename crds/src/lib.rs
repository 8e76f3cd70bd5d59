//! The custom resources of the group `godb.dev`: what a user writes, what the operator answers,
//! and the rules that the API server holds both to.
//!
//! The YAML under `yaml/`, the examples and the chart's copy are written by `crdgen` from these
//! types; a test fails when they differ.

pub mod conditions;
pub mod examples;
pub mod instance;
pub mod quantity;
pub mod restore;
pub mod schedule;
pub mod snapshot;

pub use instance::{
    DeletionPolicy, Durability, EngineSpec, EngineStatus, GoDbInstance, GoDbInstanceSpec,
    GoDbInstanceStatus, LogFormat, LogLevel, StorageSpec,
};
pub use restore::{GoDbRestore, GoDbRestoreSpec, GoDbRestoreStatus};
pub use schedule::{GoDbSnapshotSchedule, GoDbSnapshotScheduleSpec, GoDbSnapshotScheduleStatus};
pub use snapshot::{GoDbSnapshot, GoDbSnapshotSpec, GoDbSnapshotStatus};

/// The API group of all kinds.
pub const GROUP: &str = "godb.dev";

/// Every generated file: its path in the repository and its content.
///
/// # Errors
/// A type that has no YAML form.
pub fn generated() -> Result<Vec<(String, String)>, serde_yaml::Error> {
    use kube::CustomResourceExt;
    let mut files = Vec::new();
    for (plural, definition) in [
        ("godbinstances", GoDbInstance::crd()),
        ("godbrestores", GoDbRestore::crd()),
        ("godbsnapshots", GoDbSnapshot::crd()),
        ("godbsnapshotschedules", GoDbSnapshotSchedule::crd()),
    ] {
        let text = format!(
            "# Generated from the types in crds/src. Change those, then run `make generate`.\n{}",
            serde_yaml::to_string(&definition)?
        );
        for folder in ["crds/yaml", "charts/godb/files/crds"] {
            files.push((format!("{folder}/{plural}.yaml"), text.clone()));
        }
    }
    for (name, text) in examples::all()? {
        files.push((format!("crds/examples/{name}.yaml"), text));
    }
    Ok(files)
}
