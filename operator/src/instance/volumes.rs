//! What becomes of claims and of the template they were made from (pure). Each step is decided
//! from what is there, so that it can be killed between any two calls.

use godb_crds::{DeletionPolicy, quantity};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

use super::build;
use super::dereference::Observed;
use super::validate::Valid;
use crate::{difference, names};

/// Size that the spec asks for, of the volume `data` or `wal`.
pub fn wanted_size<'a>(valid: &'a Valid, volume: &str) -> Option<&'a str> {
    let storage = &valid.spec.storage;
    match volume {
        "data" => Some(&storage.size),
        _ => storage.wal.as_ref().map(|wal| &*wal.size),
    }
}

/// Size that a claim asks for.
pub fn requested(claim: &PersistentVolumeClaim) -> Option<&str> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|size| &*size.0)
}

/// Size that a volume has.
pub fn capacity(claim: &PersistentVolumeClaim) -> Option<&str> {
    let capacity = claim.status.as_ref()?.capacity.as_ref()?;
    capacity.get("storage").map(|size| &*size.0)
}

fn amount(size: Option<&str>) -> i128 {
    size.and_then(quantity::thousandths).unwrap_or_default()
}

/// What to apply to a claim, if it is not so already. A claim is never made smaller: one that is
/// larger than the spec is kept as it is. Without `resize` its size is left alone.
pub fn patch(
    valid: &Valid,
    volume: &str,
    claim: &PersistentVolumeClaim,
    resize: bool,
) -> Option<Value> {
    let has = requested(claim);
    let wanted = wanted_size(valid, volume)?;
    let wanted = has.filter(|_| !resize).unwrap_or(wanted);
    // A size that was asked for and never given can be taken back, down to what is there.
    let floor = amount(capacity(claim));
    let size = if amount(Some(wanted)) >= floor.max(1) {
        wanted
    } else {
        capacity(claim).or(has).unwrap_or(wanted)
    };
    let mut labels = valid.spec.storage.labels.clone();
    labels.extend(names::labels(&valid.names.instance, &valid.release));
    let mut metadata = json!({
        "name": valid.names.claim(volume),
        "namespace": valid.names.namespace,
        "labels": labels,
    });
    if valid.spec.deletion_policy == DeletionPolicy::Delete
        && let Some(object) = metadata.as_object_mut()
    {
        let mut owner = build::owner(valid);
        // The claim must not hold up the deletion of its owner, nor be taken for a controller's.
        owner.controller = None;
        owner.block_owner_deletion = None;
        object.insert("ownerReferences".to_owned(), json!([owner]));
    }
    let desired = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": {"resources": {"requests": {"storage": size}}},
    });
    let live = serde_json::to_value(claim).unwrap_or_default();
    difference::first(&live, &desired).map(|_| desired)
}

/// Whether the StatefulSet must be made again because its claim templates, which cannot be
/// changed, have other sizes. Only when every claim has asked for what is wanted.
pub fn must_recreate(valid: &Valid, observed: &Observed, desired: &StatefulSet) -> bool {
    let asked = observed.claims.iter().all(|(volume, claim)| {
        wanted_size(valid, volume)
            .is_none_or(|wanted| amount(requested(claim)) >= amount(Some(wanted)))
    });
    let sizes = |set: &StatefulSet| -> Vec<i128> {
        let templates = set
            .spec
            .as_ref()
            .and_then(|spec| spec.volume_claim_templates.as_ref());
        templates
            .into_iter()
            .flatten()
            .map(|claim| amount(requested(claim)))
            .collect()
    };
    asked
        && observed
            .stateful_set
            .as_ref()
            .is_some_and(|live| sizes(live) != sizes(desired))
}

/// How the volumes stand, as the condition StorageResizing says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resizing {
    /// They have what is wanted.
    Done,
    /// They have more.
    Larger(String),
    /// They grow.
    Growing(String),
    /// They have grown, and their file systems wait for a pod.
    WaitsForMount(String),
}

/// Looks at the claims.
pub fn resizing(valid: &Valid, observed: &Observed) -> Resizing {
    let mut larger = None;
    for (volume, claim) in &observed.claims {
        let (Some(wanted), Some(has)) = (wanted_size(valid, volume), capacity(claim)) else {
            continue;
        };
        let name = valid.names.claim(volume);
        if amount(Some(has)) < amount(Some(wanted)) {
            let conditions = claim
                .status
                .as_ref()
                .and_then(|status| status.conditions.as_ref());
            let waits = conditions.into_iter().flatten().any(|condition| {
                condition.type_ == "FileSystemResizePending" && condition.status == "True"
            });
            let message = format!("{name} has {has} and grows to {wanted}");
            return if waits && observed.pod.is_none() {
                Resizing::WaitsForMount(message)
            } else {
                Resizing::Growing(message)
            };
        }
        if amount(Some(has)) > amount(Some(wanted)) {
            larger = Some(format!(
                "{name} has {has}, more than the {wanted} of the spec, and keeps it"
            ));
        }
    }
    larger.map_or(Resizing::Done, Resizing::Larger)
}

/// The policy that would hold now: claims of an instance with Delete are owned by it.
pub fn policy_in_force(valid: &Valid, observed: &Observed) -> DeletionPolicy {
    let owned = |claim: &PersistentVolumeClaim| {
        let owners = claim.metadata.owner_references.as_ref();
        owners
            .into_iter()
            .flatten()
            .any(|owner| owner.uid == valid.uid)
    };
    if observed.claims.is_empty() {
        valid.spec.deletion_policy
    } else if observed.claims.iter().all(|(_, claim)| owned(claim)) {
        DeletionPolicy::Delete
    } else {
        DeletionPolicy::Retain
    }
}

#[cfg(test)]
mod tests;
