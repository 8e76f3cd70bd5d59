//! The Job of a restore (pure). It mounts the data claim of an instance that has no pod and is held
//! at none: the only one that ever does.

use godb_crds::snapshot::SnapshotLocation;
use godb_crds::{GoDbInstance, GoDbRestore};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;

use crate::instance::build::{DATA_DIR, DATA_MOUNT, mount};
use crate::names::{self, Names};
use crate::snapshot::job::{Runner, Task};
use crate::snapshot::place::Place;

/// Name of a restore's Job.
pub fn name(restore: &GoDbRestore) -> String {
    format!("{}-restore", restore.name_any())
}

fn data(claim: String) -> Volume {
    Volume {
        name: "data".to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim,
            read_only: None,
        }),
        ..Volume::default()
    }
}

/// The Job that makes the database of the snapshot at `location` and puts it in place.
pub fn job(
    restore: &GoDbRestore,
    instance: &GoDbInstance,
    location: &SnapshotLocation,
    runner: &Runner,
    seconds: i64,
) -> Job {
    let names = Names {
        namespace: restore.namespace().unwrap_or_default(),
        instance: instance.name_any(),
    };
    let mut mounts = vec![mount("data", DATA_MOUNT, false)];
    let mut volumes = vec![data(names.claim("data"))];
    let source = Place::of(location, true).unwrap_or_else(|| Place {
        directory: DATA_DIR.to_owned(),
        ..Place::default()
    });
    mounts.extend(source.mounts);
    volumes.extend(source.volumes);
    let arguments = [
        "snapshot",
        "restore",
        &location.name,
        "--from",
        &source.directory,
        "--data-dir",
        DATA_DIR,
        "--replace",
    ];
    let mut labels = names::snapshot_labels("", &runner.release);
    labels.remove(names::SNAPSHOT_LABEL);
    labels.insert(names::RESTORE_LABEL.to_owned(), restore.name_any());
    let task = Task {
        name: name(restore),
        namespace: names.namespace,
        owner: OwnerReference {
            api_version: names::api_version(),
            kind: "GoDbRestore".to_owned(),
            name: restore.name_any(),
            uid: restore.uid().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        },
        labels,
        arguments: arguments.map(str::to_owned).to_vec(),
        env: source.env,
        mounts,
        volumes,
        resources: restore.spec.resources.clone(),
        seconds,
    };
    task.job(runner)
}

#[cfg(test)]
mod tests;
