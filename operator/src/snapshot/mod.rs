//! GoDbSnapshot: look ► decide what follows (pure) ► status ► act. What was done is seen by the
//! next look.

pub mod job;
pub mod observe;
pub mod phase;
pub mod place;

use std::sync::Arc;
use std::time::Duration;

use godb_crds::snapshot::{GoDbSnapshotStatus, SnapshotPhase};
use godb_crds::{DeletionPolicy, GoDbSnapshot};
use hyper::StatusCode;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use self::job::{Runner, Work};
use self::observe::{Found, Node, observe};
use self::phase::{Act, Next, Removal, cut_name};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::names::{FINALIZER, MANAGER};
use crate::node_client::{self, NodeError};

/// A target that refuses to remove a snapshot is asked again after this.
const LOOK_REMOVING: Duration = Duration::from_secs(10);

/// One reconcile.
pub async fn reconcile(
    object: Arc<DeserializeGuard<GoDbSnapshot>>,
    context: Arc<Context>,
) -> Result<Action> {
    let snapshot = match &object.0 {
        Ok(snapshot) => snapshot,
        Err(invalid) => return Err(Error::Unreadable(invalid.error.clone())),
    };
    let _running = context.health.began(snapshot.uid().unwrap_or_default());
    // Whose turn it is at a claim is decided and written down by one at a time.
    let _turn = match snapshot.spec.target.claim {
        Some(_) => Some(context.turn.lock().await),
        None => None,
    };
    let deleted = snapshot.metadata.deletion_timestamp.is_some();
    let held = snapshot.finalizers().iter().any(|held| held == FINALIZER);
    if deleted {
        return if held {
            remove(&context, snapshot).await
        } else {
            Ok(Action::await_change())
        };
    }
    if snapshot.spec.deletion_policy == DeletionPolicy::Delete && !held {
        let mut finalizers = snapshot.finalizers().to_vec();
        finalizers.push(FINALIZER.to_owned());
        set_finalizers(&context, snapshot, &finalizers).await?;
        // The patch brings the object again.
        return Ok(Action::await_change());
    }
    let done = |status: &GoDbSnapshotStatus| status.phase.is_final();
    if snapshot.status.as_ref().is_some_and(done) {
        return Ok(Action::await_change());
    }
    let found = observe(&context.client, snapshot).await?;
    let next = phase::next(snapshot, &found.observed, Timestamp::now());
    write_status(&context, snapshot, &next.status).await?;
    if let Some(act) = next.act {
        return carry_out(&context, snapshot, &next, act, &found).await;
    }
    Ok(after(&next))
}

fn after(next: &Next) -> Action {
    next.look_after
        .map_or_else(Action::await_change, Action::requeue)
}

async fn carry_out(
    context: &Context,
    snapshot: &GoDbSnapshot,
    next: &Next,
    act: Act,
    found: &Found,
) -> Result<Action> {
    match act {
        Act::Cut => return cut(context, snapshot, next, found.node.as_ref()).await,
        Act::Carry => make(context, snapshot, &next.status, Work::Carry, found).await?,
        Act::Verify => make(context, snapshot, &next.status, Work::Verify, found).await?,
        Act::DropCut => {
            drop_cut(snapshot, found.node.as_ref()).await;
        }
        Act::Abandon => {
            end(context, snapshot, Work::Carry).await?;
            drop_cut(snapshot, found.node.as_ref()).await;
        }
    }
    Ok(after(next))
}

async fn cut(
    context: &Context,
    snapshot: &GoDbSnapshot,
    next: &Next,
    node: Option<&Node>,
) -> Result<Action> {
    let Some(node) = node else {
        return Ok(after(next));
    };
    let name = cut_name(snapshot);
    let leased = snapshot.spec.target.instance_volume.is_none();
    match node_client::make_snapshot(&node.address, &node.token, &name, leased).await {
        Ok(()) => Ok(Action::requeue(Duration::ZERO)),
        Err(NodeError::Refused {
            status, message, ..
        }) if is_final(status) => {
            let why = format!("the node answered {status}: {message}");
            let next = phase::refused(&next.status, snapshot, &why, Timestamp::now());
            write_status(context, snapshot, &next.status).await?;
            Ok(Action::await_change())
        }
        // The next look tells what became of it.
        Err(error) => {
            tracing::info!(%error, name, "the cut was asked for");
            Ok(after(next))
        }
    }
}

/// Best effort: a cut that is left is dropped by the node when its lease ends.
async fn drop_cut(snapshot: &GoDbSnapshot, node: Option<&Node>) -> bool {
    let Some(node) = node else {
        return false;
    };
    let name = cut_name(snapshot);
    let dropped = node_client::remove_snapshot(&node.address, &node.token, &name).await;
    if let Err(error) = &dropped {
        tracing::info!(%error, name, "the node was asked to drop a cut");
    }
    dropped.is_ok()
}

/// Makes a Job, unless it is there.
async fn make(
    context: &Context,
    snapshot: &GoDbSnapshot,
    status: &GoDbSnapshotStatus,
    work: Work,
    found: &Found,
) -> Result<()> {
    let Some(location) = &status.location else {
        return Ok(());
    };
    let options = &context.options;
    let version = status.version.as_deref();
    let instance = found.instance.as_ref();
    let runner = Runner::of(instance, version, &options.node_image, &options.release);
    let seconds = i64::try_from(phase::WORKING.as_secs()).unwrap_or(i64::MAX);
    let Some(job) = job::job(snapshot, work, location, &runner, seconds) else {
        return Ok(());
    };
    let name = job::name(snapshot, work);
    let namespace = snapshot.namespace().unwrap_or_default();
    context.metrics.wrote("Job");
    let made = Api::<Job>::namespaced(context.client.clone(), &namespace)
        .create(&PostParams::default(), &job)
        .await;
    match made {
        Err(error) if !crate::error::status_is(&error, 409) => {
            Err(Error::api(format!("create Job {name}"))(error))
        }
        _ => Ok(()),
    }
}

/// Ends a Job and its pods, if it is there.
async fn end(context: &Context, snapshot: &GoDbSnapshot, work: Work) -> Result<()> {
    let name = job::name(snapshot, work);
    let namespace = snapshot.namespace().unwrap_or_default();
    context.metrics.wrote("Job");
    let ended = Api::<Job>::namespaced(context.client.clone(), &namespace)
        .delete(&name, &DeleteParams::background())
        .await;
    match ended {
        Err(error) if !crate::error::status_is(&error, 404) => {
            Err(Error::api(format!("delete Job {name}"))(error))
        }
        _ => Ok(()),
    }
}

/// Whether asking again would bring the same answer.
fn is_final(status: StatusCode) -> bool {
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    status == StatusCode::INSUFFICIENT_STORAGE
        || (status.is_client_error() && !passing.contains(&status))
}

/// Writes the status where it differs, and says what has ended.
async fn write_status(
    context: &Context,
    snapshot: &GoDbSnapshot,
    wanted: &GoDbSnapshotStatus,
) -> Result<()> {
    if snapshot.status.as_ref() == Some(wanted) {
        return Ok(());
    }
    let name = snapshot.name_any();
    let namespace = snapshot.namespace().unwrap_or_default();
    context.metrics.wrote("GoDbSnapshot status");
    Api::<GoDbSnapshot>::namespaced(context.client.clone(), &namespace)
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
    match wanted.phase {
        SnapshotPhase::Succeeded => {
            context
                .say(snapshot, EventType::Normal, "SnapshotSucceeded", message)
                .await;
        }
        SnapshotPhase::Failed => {
            context
                .say(snapshot, EventType::Warning, "SnapshotFailed", message)
                .await;
        }
        _ => {}
    }
    Ok(())
}

/// Replaces the finalizers, if nobody else changed the object meanwhile.
async fn set_finalizers(
    context: &Context,
    snapshot: &GoDbSnapshot,
    finalizers: &[String],
) -> Result<()> {
    let name = snapshot.name_any();
    let namespace = snapshot.namespace().unwrap_or_default();
    let patch: Value = json!({"metadata": {
        "finalizers": finalizers,
        "resourceVersion": snapshot.metadata.resource_version,
    }});
    context.metrics.wrote("GoDbSnapshot");
    let patched = Api::<GoDbSnapshot>::namespaced(context.client.clone(), &namespace)
        .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await;
    match patched {
        Err(error) if !crate::error::status_is(&error, 404) => {
            Err(Error::api(format!("patch the finalizers of {name}"))(error))
        }
        _ => Ok(()),
    }
}

/// Removes the data of a snapshot that is being deleted, then lets the object go.
async fn remove(context: &Context, snapshot: &GoDbSnapshot) -> Result<Action> {
    let found = observe(&context.client, snapshot).await?;
    let again = Action::requeue(LOOK_REMOVING);
    match phase::removal(snapshot, &found.observed, Timestamp::now()) {
        Removal::Done => {}
        Removal::AskNode => {
            let dropped = drop_cut(snapshot, found.node.as_ref()).await;
            return Ok(Action::requeue(if dropped {
                Duration::from_millis(100)
            } else {
                LOOK_REMOVING
            }));
        }
        Removal::Remove => {
            for work in [Work::Carry, Work::Verify] {
                end(context, snapshot, work).await?;
            }
            drop_cut(snapshot, found.node.as_ref()).await;
            let status = snapshot.status.clone().unwrap_or_default();
            make(context, snapshot, &status, Work::Remove, &found).await?;
            return Ok(again);
        }
        Removal::Wait(why) => {
            tracing::info!(why, snapshot = %snapshot.name_any(), "its data cannot be removed yet");
            return Ok(again);
        }
        Removal::Leave(message) => {
            context
                .say(snapshot, EventType::Warning, "SnapshotLeftBehind", message)
                .await;
        }
    }
    let left: Vec<String> = snapshot
        .finalizers()
        .iter()
        .filter(|held| *held != FINALIZER)
        .cloned()
        .collect();
    set_finalizers(context, snapshot, &left).await?;
    Ok(Action::await_change())
}
