//! GoDbRestore: look ► decide what follows (pure) ► status ► act, as for a snapshot.

pub mod job;
pub mod observe;
pub mod phase;

use std::sync::Arc;
use std::time::Duration;

use godb_crds::instance::Operation;
use godb_crds::restore::{GoDbRestoreStatus, RestorePhase};
use godb_crds::{GoDbInstance, GoDbRestore};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use self::observe::observe;
use self::phase::Act;
use crate::context::Context;
use crate::error::{Error, Result, status_is};
use crate::names::{FINALIZER, MANAGER};
use crate::snapshot::job::Runner;
use crate::snapshot::phase::WORKING;

/// What is being released is looked at this often.
const LOOK: Duration = Duration::from_secs(2);

/// One reconcile.
pub async fn reconcile(
    object: Arc<DeserializeGuard<GoDbRestore>>,
    context: Arc<Context>,
) -> Result<Action> {
    let restore = match &object.0 {
        Ok(restore) => restore,
        Err(invalid) => return Err(Error::Unreadable(invalid.error.clone())),
    };
    let _running = context.health.began(restore.uid().unwrap_or_default());
    let held = restore.finalizers().iter().any(|held| held == FINALIZER);
    if restore.metadata.deletion_timestamp.is_some() {
        return if held {
            release(&context, restore).await
        } else {
            Ok(Action::await_change())
        };
    }
    let status = restore.status.clone().unwrap_or_default();
    if !held && !status.phase.is_final() {
        // Deleted in the middle of it, the instance must come back first.
        set_finalizer(&context, restore, true).await?;
        return Ok(Action::await_change());
    }
    if !held {
        return Ok(Action::await_change());
    }
    let (observed, instance) = observe(&context.client, restore).await?;
    let next = phase::next(restore, &observed, Timestamp::now());
    write_status(&context, restore, &next.status).await?;
    if let (Some(act), Some(instance)) = (next.act, &instance) {
        carry_out(&context, restore, instance, &next.status, act).await?;
    } else if next.status.phase.is_final() && status.phase.is_final() {
        // The lock was given back.
        set_finalizer(&context, restore, false).await?;
    }
    Ok(next
        .look_after
        .map_or_else(Action::await_change, Action::requeue))
}

/// Gives the instance back, then lets the object go.
async fn release(context: &Context, restore: &GoDbRestore) -> Result<Action> {
    let (observed, instance) = observe(&context.client, restore).await?;
    match (phase::release(&observed), &instance) {
        (Some(act), Some(instance)) => {
            let status = restore.status.clone().unwrap_or_default();
            carry_out(context, restore, instance, &status, act).await?;
            Ok(Action::requeue(LOOK))
        }
        _ => {
            set_finalizer(context, restore, false).await?;
            Ok(Action::await_change())
        }
    }
}

async fn carry_out(
    context: &Context,
    restore: &GoDbRestore,
    instance: &GoDbInstance,
    status: &GoDbRestoreStatus,
    act: Act,
) -> Result<()> {
    match act {
        Act::Lock => {
            let operation = Operation {
                restore: restore.name_any(),
                uid: restore.uid().unwrap_or_default(),
            };
            hold(context, instance, &json!(operation)).await
        }
        Act::Unlock => hold(context, instance, &Value::Null).await,
        Act::Copy => copy(context, restore, instance, status).await,
        Act::End => {
            let name = job::name(restore);
            let namespace = restore.namespace().unwrap_or_default();
            context.metrics.wrote("Job");
            let ended = Api::<Job>::namespaced(context.client.clone(), &namespace)
                .delete(&name, &DeleteParams::background())
                .await;
            match ended {
                Err(error) if !status_is(&error, 404) => {
                    Err(Error::api(format!("delete Job {name}"))(error))
                }
                _ => Ok(()),
            }
        }
    }
}

/// Writes who holds the instance, if nobody else wrote to it since it was read: another restore
/// may have taken it.
async fn hold(context: &Context, instance: &GoDbInstance, operation: &Value) -> Result<()> {
    let name = instance.name_any();
    let namespace = instance.namespace().unwrap_or_default();
    let patch = json!({
        "metadata": {"resourceVersion": instance.metadata.resource_version},
        "status": {"operation": operation},
    });
    context.metrics.wrote("GoDbInstance status");
    let patched = Api::<GoDbInstance>::namespaced(context.client.clone(), &namespace)
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await;
    match patched {
        // Read anew and decided anew by the next look.
        Err(error) if status_is(&error, 409) => Ok(()),
        Err(error) => Err(Error::api(format!("patch the status of {name}"))(error)),
        Ok(_) => Ok(()),
    }
}

async fn copy(
    context: &Context,
    restore: &GoDbRestore,
    instance: &GoDbInstance,
    status: &GoDbRestoreStatus,
) -> Result<()> {
    let Some(location) = &status.location else {
        return Ok(());
    };
    let options = &context.options;
    let runner = Runner::of(Some(instance), None, &options.node_image, &options.release);
    let seconds = i64::try_from(WORKING.as_secs()).unwrap_or(i64::MAX);
    let job = job::job(restore, instance, location, &runner, seconds);
    let name = job::name(restore);
    let namespace = restore.namespace().unwrap_or_default();
    context.metrics.wrote("Job");
    let made = Api::<Job>::namespaced(context.client.clone(), &namespace)
        .create(&PostParams::default(), &job)
        .await;
    match made {
        Err(error) if !status_is(&error, 409) => {
            Err(Error::api(format!("create Job {name}"))(error))
        }
        _ => Ok(()),
    }
}

async fn set_finalizer(context: &Context, restore: &GoDbRestore, held: bool) -> Result<()> {
    let name = restore.name_any();
    let namespace = restore.namespace().unwrap_or_default();
    let mut finalizers = restore.finalizers().to_vec();
    finalizers.retain(|found| found != FINALIZER);
    if held {
        finalizers.push(FINALIZER.to_owned());
    }
    let patch = json!({"metadata": {
        "finalizers": finalizers,
        "resourceVersion": restore.metadata.resource_version,
    }});
    context.metrics.wrote("GoDbRestore");
    let patched = Api::<GoDbRestore>::namespaced(context.client.clone(), &namespace)
        .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await;
    match patched {
        Err(error) if !status_is(&error, 404) => {
            Err(Error::api(format!("patch the finalizers of {name}"))(error))
        }
        _ => Ok(()),
    }
}

async fn write_status(
    context: &Context,
    restore: &GoDbRestore,
    wanted: &GoDbRestoreStatus,
) -> Result<()> {
    if restore.status.as_ref() == Some(wanted) {
        return Ok(());
    }
    let name = restore.name_any();
    let namespace = restore.namespace().unwrap_or_default();
    context.metrics.wrote("GoDbRestore status");
    Api::<GoDbRestore>::namespaced(context.client.clone(), &namespace)
        .patch_status(
            &name,
            &PatchParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PatchParams::default()
            },
            &Patch::Merge(&json!({"status": wanted})),
        )
        .await
        .map_err(Error::api(format!("patch the status of {name}")))?;
    let message = wanted
        .conditions
        .first()
        .map(|condition| condition.message.clone())
        .unwrap_or_default();
    let (type_, word) = match wanted.phase {
        RestorePhase::Succeeded => (EventType::Normal, "RestoreSucceeded"),
        RestorePhase::Failed => (EventType::Warning, "RestoreFailed"),
        RestorePhase::Locked => (EventType::Normal, "RestoreBegins"),
        _ => return Ok(()),
    };
    context.say(restore, type_, word, message).await;
    Ok(())
}
