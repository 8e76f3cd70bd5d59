//! GoDbSnapshotSchedule: look ► plan (pure) ► make ► status ► delete. Killed between any two
//! calls, the next look plans the same.

pub mod cron;
pub mod plan;

use std::sync::Arc;

use godb_crds::{GoDbInstance, GoDbSnapshot, GoDbSnapshotSchedule};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use serde_json::json;

use self::plan::{Instance, Plan};
use crate::context::Context;
use crate::error::{Error, Result, status_is};
use crate::instance::dereference::get;
use crate::names::{MANAGER, SCHEDULE_LABEL};

/// One reconcile.
pub async fn reconcile(
    object: Arc<DeserializeGuard<GoDbSnapshotSchedule>>,
    context: Arc<Context>,
) -> Result<Action> {
    let schedule = match &object.0 {
        Ok(schedule) => schedule,
        Err(invalid) => return Err(Error::Unreadable(invalid.error.clone())),
    };
    if schedule.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let _running = context.health.began(schedule.uid().unwrap_or_default());
    let namespace = schedule.namespace().unwrap_or_default();
    let client = &context.client;
    let snapshots = Api::<GoDbSnapshot>::namespaced(client.clone(), &namespace);
    let children = children(&context, &namespace, &schedule.name_any()).await?;
    let name = &schedule.spec.template.instance;
    let instance = match get::<GoDbInstance>(client, &namespace, name).await? {
        None => Instance::Missing,
        Some(instance) if instance.spec.paused => Instance::Paused,
        Some(instance) if instance.spec.stopped => Instance::Stopped,
        Some(_) => Instance::There,
    };
    let release = &context.options.release;
    let plan = plan::plan(schedule, &children, instance, release, Timestamp::now());
    if let Some(snapshot) = &plan.make {
        context.metrics.wrote("GoDbSnapshot");
        match snapshots.create(&PostParams::default(), snapshot).await {
            // Made by a life of ours that was killed before it wrote that down.
            Err(error) if status_is(&error, 409) => {}
            Err(error) => {
                let name = snapshot.name_any();
                return Err(Error::api(format!("create GoDbSnapshot {name}"))(error));
            }
            Ok(_) => {}
        }
    }
    write_status(&context, schedule, &plan).await?;
    if let Some(skipped) = plan.skipped {
        context
            .publish(schedule, EventType::Warning, "SnapshotSkipped", skipped)
            .await;
    }
    for snapshot in &plan.delete {
        delete(&context, &snapshots, snapshot).await?;
    }
    Ok(Action::requeue(plan.look_after))
}

/// The snapshots of a schedule that can be read.
async fn children(context: &Context, namespace: &str, schedule: &str) -> Result<Vec<GoDbSnapshot>> {
    let api = Api::<DeserializeGuard<GoDbSnapshot>>::namespaced(context.client.clone(), namespace);
    let list = api
        .list(&ListParams::default().labels(&format!("{SCHEDULE_LABEL}={schedule}")))
        .await
        .map_err(Error::api("list GoDbSnapshots"))?;
    Ok(list.into_iter().filter_map(|one| one.0.ok()).collect())
}

/// Deletes this very snapshot, not one that has its name by now.
async fn delete(context: &Context, api: &Api<GoDbSnapshot>, snapshot: &GoDbSnapshot) -> Result<()> {
    let name = snapshot.name_any();
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: snapshot.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    context.metrics.wrote("GoDbSnapshot");
    match api.delete(&name, &parameters).await {
        Err(error) if !status_is(&error, 404) && !status_is(&error, 409) => {
            Err(Error::api(format!("delete GoDbSnapshot {name}"))(error))
        }
        _ => Ok(()),
    }
}

async fn write_status(
    context: &Context,
    schedule: &GoDbSnapshotSchedule,
    plan: &Plan,
) -> Result<()> {
    if schedule.status.as_ref() == Some(&plan.status) {
        return Ok(());
    }
    let name = schedule.name_any();
    let namespace = schedule.namespace().unwrap_or_default();
    context.metrics.wrote("GoDbSnapshotSchedule status");
    Api::<GoDbSnapshotSchedule>::namespaced(context.client.clone(), &namespace)
        .patch_status(
            &name,
            &PatchParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PatchParams::default()
            },
            &Patch::Merge(&json!({"status": plan.status})),
        )
        .await
        .map_err(Error::api(format!("patch the status of {name}")))?;
    Ok(())
}
