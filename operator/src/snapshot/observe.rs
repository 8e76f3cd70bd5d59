//! Every read for a snapshot, from the API and from the node. It decides nothing.

use godb_crds::snapshot::SnapshotPhase;
use godb_crds::{GoDbInstance, GoDbSnapshot};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod, Secret};
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, Client, ResourceExt};

use super::job::{self, Work as Kind};
use super::phase::{self, Instance, Observed, Target, Work, cut_name};
use crate::error::{Error, Result};
use crate::instance::build::{TOKEN_KEY, VOLUMES};
use crate::instance::dereference::get;
use crate::instance::node_address;
use crate::names::Names;
use crate::node_client;

/// Where a node is, and what it lets in.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its admin port.
    pub address: String,
    /// The token of that port.
    pub token: String,
}

/// What was read.
#[derive(Clone, Debug)]
pub struct Found {
    /// What decides.
    pub observed: Observed,
    /// The node, if one runs.
    pub node: Option<Node>,
    /// The instance, if there is one.
    pub instance: Option<GoDbInstance>,
}

/// The Job that the present phase waits for.
fn kind(snapshot: &GoDbSnapshot) -> Option<Kind> {
    let status = snapshot.status.as_ref();
    if snapshot.metadata.deletion_timestamp.is_some() {
        return Some(Kind::Remove);
    }
    match status.map(|status| status.phase) {
        Some(SnapshotPhase::Carrying) => Some(Kind::Carry),
        Some(SnapshotPhase::Verifying) => Some(Kind::Verify),
        _ => None,
    }
}

/// Reads what the next step depends on.
pub async fn observe(client: &Client, snapshot: &GoDbSnapshot) -> Result<Found> {
    let names = Names {
        namespace: snapshot.namespace().unwrap_or_default(),
        instance: snapshot.spec.instance.clone(),
    };
    let space = &*names.namespace;
    let instance: Option<GoDbInstance> = get(client, space, &names.instance).await?;
    let node = match &instance {
        None => None,
        Some(_) => node(client, &names).await?,
    };
    let target = target(client, snapshot).await?;
    let work = match (&target, kind(snapshot)) {
        (Target::Claim(_) | Target::Bucket, Some(kind)) => {
            work(client, space, &job::name(snapshot, kind)).await?
        }
        _ => Work::Absent,
    };
    let busy = match target {
        Target::Claim(_) => phase::busy(snapshot, &list(client, space).await?),
        _ => None,
    };
    let cut = match &node {
        None => Err(format!("the node of {} does not run", names.instance)),
        Some(node) => node_client::snapshot(&node.address, &node.token, &cut_name(snapshot))
            .await
            .map_err(|error| error.to_string()),
    };
    let observed = Observed {
        instance: state(instance.as_ref(), node.is_some()),
        cut,
        target,
        work,
        busy,
    };
    Ok(Found {
        observed,
        node,
        instance,
    })
}

fn state(instance: Option<&GoDbInstance>, runs: bool) -> Instance {
    let Some(instance) = instance else {
        return Instance::Missing;
    };
    let uid = instance.uid().unwrap_or_default();
    if instance.spec.paused {
        Instance::Paused(uid)
    } else if instance.spec.stopped {
        Instance::Stopped(uid)
    } else if runs {
        let status = instance.status.as_ref();
        let version = status.and_then(|status| status.version.clone());
        Instance::Up {
            uid,
            version: version.unwrap_or_else(|| instance.spec.version.clone()),
        }
    } else {
        Instance::Down(uid)
    }
}

async fn node(client: &Client, names: &Names) -> Result<Option<Node>> {
    let space = &*names.namespace;
    let pod: Option<Pod> = get(client, space, &names.pod()).await?;
    let Some(address) = pod.as_ref().and_then(node_address) else {
        return Ok(None);
    };
    let secret: Option<Secret> = get(client, space, &names.admin_secret()).await?;
    let token = secret
        .and_then(|secret| secret.data?.remove(TOKEN_KEY))
        .and_then(|bytes| String::from_utf8(bytes.0).ok());
    Ok(token.map(|token| Node {
        address,
        token: token.trim().to_owned(),
    }))
}

async fn target(client: &Client, snapshot: &GoDbSnapshot) -> Result<Target> {
    let asked = &snapshot.spec.target;
    let Some(claim) = &asked.claim else {
        return Ok(match (&asked.instance_volume, &asked.s3) {
            (Some(_), _) => Target::OwnVolume,
            (None, Some(_)) => Target::Bucket,
            (None, None) => Target::Nowhere,
        });
    };
    let name = claim.name.clone();
    let space = snapshot.namespace().unwrap_or_default();
    let found: Option<PersistentVolumeClaim> = get(client, &space, &name).await?;
    let Some(found) = found else {
        return Ok(Target::NoClaim(name));
    };
    let names = Names {
        namespace: space,
        instance: snapshot.spec.instance.clone(),
    };
    // Claims of instances carry this label; one that was labelled by nobody yet goes by its name.
    let labelled = found
        .labels()
        .get("app.kubernetes.io/name")
        .is_some_and(|value| value == "godb");
    let named = VOLUMES.iter().any(|volume| names.claim(volume) == name);
    Ok(if labelled || named {
        Target::DataClaim(name)
    } else {
        Target::Claim(name)
    })
}

/// All snapshots of a namespace that can be read.
pub async fn list(client: &Client, namespace: &str) -> Result<Vec<GoDbSnapshot>> {
    let api = Api::<DeserializeGuard<GoDbSnapshot>>::namespaced(client.clone(), namespace);
    let list = api
        .list(&ListParams::default())
        .await
        .map_err(Error::api("list GoDbSnapshots"))?;
    Ok(list.into_iter().filter_map(|one| one.0.ok()).collect())
}

/// How far a Job is.
pub async fn work(client: &Client, namespace: &str, name: &str) -> Result<Work> {
    let Some(job) = get::<Job>(client, namespace, name).await? else {
        return Ok(Work::Absent);
    };
    let status = job.status.unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let said = |kind: &str| {
        let found = conditions.iter().find(|found| found.type_ == kind);
        found.filter(|found| found.status == "True")
    };
    if said("Complete").is_some() {
        return Ok(Work::Done);
    }
    let word = last_word(client, namespace, name).await?;
    if let Some(failed) = said("Failed") {
        let why = failed.message.clone().unwrap_or_default();
        return Ok(Work::Failed(
            word.map_or(why.clone(), |word| format!("{why}: {word}")),
        ));
    }
    if word.is_none() && status.active.unwrap_or_default() == 0 {
        return Ok(Work::Running(warning(client, namespace, name).await?));
    }
    Ok(Work::Running(word))
}

/// What the newest of a Job's pods that ended badly, or cannot begin, said.
async fn last_word(client: &Client, namespace: &str, job: &str) -> Result<Option<String>> {
    let parameters = ListParams::default()
        .labels(&format!("batch.kubernetes.io/job-name={job}"))
        .limit(100);
    let mut pods = Api::<Pod>::namespaced(client.clone(), namespace)
        .list(&parameters)
        .await
        .map_err(Error::api("list Pods"))?
        .items;
    pods.sort_by_key(|pod| pod.metadata.creation_timestamp.clone().map(|time| time.0));
    Ok(pods.iter().rev().find_map(word))
}

fn word(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let scheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = scheduled {
        return condition.message.clone();
    }
    let state = status
        .container_statuses
        .as_ref()?
        .first()?
        .state
        .as_ref()?;
    if let Some(ended) = &state.terminated {
        let said = ended.message.as_deref().unwrap_or_default().trim();
        return (ended.exit_code != 0).then(|| format!("exit code {}: {said}", ended.exit_code));
    }
    let waiting = state.waiting.as_ref()?;
    let why = waiting.reason.as_deref().unwrap_or_default();
    let begins = ["ContainerCreating", "PodInitializing"].contains(&why);
    (!begins).then(|| format!("{why}: {}", waiting.message.as_deref().unwrap_or_default()))
}

/// A quota shows only in an event of the Job: its pod never comes to be.
async fn warning(client: &Client, namespace: &str, job: &str) -> Result<Option<String>> {
    let parameters = ListParams::default()
        .fields(&format!("involvedObject.name={job},type=Warning"))
        .limit(100);
    let events = Api::<Event>::namespaced(client.clone(), namespace)
        .list(&parameters)
        .await
        .map_err(Error::api("list Events"))?;
    let newest = events
        .into_iter()
        .max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    Ok(newest.and_then(|event| event.message))
}
