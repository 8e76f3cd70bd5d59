//! Every read for a restore. It decides nothing.

use godb_crds::snapshot::{SnapshotLocation, SnapshotPhase};
use godb_crds::{GoDbInstance, GoDbRestore, GoDbSnapshot};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::job;
use super::phase::{Instance, Lock, Observed, Source};
use crate::error::{Error, Result};
use crate::instance::dereference::get;
use crate::instance::status::is_ready;
use crate::names::Names;
use crate::snapshot::observe::work;

/// What was read: what decides, and the instance.
pub async fn observe(
    client: &Client,
    restore: &GoDbRestore,
) -> Result<(Observed, Option<GoDbInstance>)> {
    let names = Names {
        namespace: restore.namespace().unwrap_or_default(),
        instance: restore.spec.instance.clone(),
    };
    let space = &*names.namespace;
    let found: Option<GoDbInstance> = get(client, space, &names.instance).await?;
    let instance = match &found {
        Some(found) => Some(instance(client, restore, &names, found).await?),
        None => None,
    };
    let known = restore
        .status
        .as_ref()
        .and_then(|status| status.location.clone());
    let source = match known {
        Some(location) => Source::There(location),
        None => source(client, restore, found.as_ref()).await?,
    };
    let name = job::name(restore);
    let observed = Observed {
        source,
        instance,
        work: work(client, space, &name).await?,
        workers: workers(client, space, &name).await?,
    };
    Ok((observed, found))
}

async fn instance(
    client: &Client,
    restore: &GoDbRestore,
    names: &Names,
    found: &GoDbInstance,
) -> Result<Instance> {
    let space = &*names.namespace;
    let set: Option<StatefulSet> = get(client, space, &names.instance).await?;
    let pod: Option<Pod> = get(client, space, &names.pod()).await?;
    let claim: Option<PersistentVolumeClaim> = get(client, space, &names.claim("data")).await?;
    let replicas = set.and_then(|set| set.spec?.replicas);
    let operation = found
        .status
        .as_ref()
        .and_then(|status| status.operation.as_ref());
    Ok(Instance {
        uid: found.uid().unwrap_or_default(),
        is_paused: found.spec.paused,
        is_stopped: found.spec.stopped,
        has_wal_volume: found.spec.storage.wal.is_some(),
        has_volume: claim.is_some(),
        is_down: replicas == Some(0) && pod.is_none(),
        is_ready: pod.as_ref().is_some_and(is_ready),
        lock: match operation {
            None => Lock::Free,
            Some(held) if Some(&held.uid) == restore.metadata.uid.as_ref() => Lock::Mine,
            Some(held) => Lock::Other(held.restore.clone()),
        },
    })
}

async fn source(
    client: &Client,
    restore: &GoDbRestore,
    instance: Option<&GoDbInstance>,
) -> Result<Source> {
    let space = restore.namespace().unwrap_or_default();
    let asked = &restore.spec.source;
    let location = match (&asked.snapshot, &asked.location) {
        (_, Some(location)) => SnapshotLocation {
            name: location.name.clone(),
            instance: None,
            claim: location.claim.clone(),
            s3: location.s3.clone(),
            path: Some(location.path.clone()),
        },
        (None, None) => return Ok(Source::Never("spec.source names nothing".to_owned())),
        (Some(name), None) => {
            let Some(snapshot) = get::<GoDbSnapshot>(client, &space, name).await? else {
                return Ok(Source::NotYet(format!("there is no GoDbSnapshot {name}")));
            };
            match located(&snapshot, instance) {
                Ok(location) => location,
                Err(source) => return Ok(source),
            }
        }
    };
    if let Some(claim) = &location.claim
        && get::<PersistentVolumeClaim>(client, &space, claim)
            .await?
            .is_none()
    {
        return Ok(Source::NotYet(format!(
            "there is no PersistentVolumeClaim {claim}"
        )));
    }
    Ok(Source::There(location))
}

/// Where a snapshot is, if this instance can be made of it.
fn located(
    snapshot: &GoDbSnapshot,
    instance: Option<&GoDbInstance>,
) -> std::result::Result<SnapshotLocation, Source> {
    let name = snapshot.name_any();
    let status = snapshot.status.clone().unwrap_or_default();
    if snapshot.metadata.deletion_timestamp.is_some() {
        return Err(Source::Never(format!(
            "the snapshot {name} is being deleted"
        )));
    }
    match (status.phase, status.location) {
        (SnapshotPhase::Failed, _) => Err(Source::Never(format!("the snapshot {name} failed"))),
        (SnapshotPhase::Succeeded, Some(location)) => {
            let mine = instance.and_then(ResourceExt::uid);
            if !location.is_apart() && status.instance_uid != mine {
                let of = &snapshot.spec.instance;
                return Err(Source::Never(format!(
                    "the snapshot {name} is on the volume of the instance {of}: take one to a claim, and restore that"
                )));
            }
            Ok(location)
        }
        (phase, _) => Err(Source::NotYet(format!(
            "the snapshot {name} is {}",
            phase.as_str()
        ))),
    }
}

/// Pods of a Job that have not ended.
async fn workers(client: &Client, namespace: &str, job: &str) -> Result<usize> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace)
        .list(&ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}")))
        .await
        .map_err(Error::api("list Pods"))?;
    let ended = |pod: &&Pod| {
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        !matches!(phase, Some("Succeeded" | "Failed"))
    };
    Ok(pods.iter().filter(ended).count())
}
