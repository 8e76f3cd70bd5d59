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

const SOURCE_MOUNT: &str = "/source";

/// Name of a restore's Job.
pub fn name(restore: &GoDbRestore) -> String {
    format!("{}-restore", restore.name_any())
}

fn claim(name: &str, claim: &str, read_only: bool) -> Volume {
    Volume {
        name: name.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            read_only: read_only.then_some(true),
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
    let mut volumes = vec![claim("data", &names.claim("data"), false)];
    let from = match &location.claim {
        None => DATA_DIR.to_owned(),
        Some(source) => {
            mounts.push(mount("source", SOURCE_MOUNT, true));
            volumes.push(claim("source", source, false));
            let path = location.path.as_deref().unwrap_or_default();
            format!("{SOURCE_MOUNT}/{path}")
        }
    };
    let arguments = [
        "snapshot",
        "restore",
        &location.name,
        "--from",
        &from,
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
        mounts,
        volumes,
        resources: restore.spec.resources.clone(),
        seconds,
    };
    task.job(runner)
}

#[cfg(test)]
mod tests;
