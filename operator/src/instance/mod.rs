//! GoDbInstance: dereference ► validate ► build ► apply ► settings ► status. Nothing waits inside a
//! reconcile; what takes long is seen again by the next one.

pub mod apply;
pub mod build;
pub mod dereference;
pub mod plan;
pub mod settings;
pub mod status;
pub mod validate;
pub mod volumes;

#[cfg(test)]
pub mod fixture;

use std::sync::Arc;
use std::time::Duration;

use godb_crds::{GoDbInstance, GoDbInstanceStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use serde_json::json;

use self::apply::{Applied, Writer};
use self::dereference::Observed;
use self::settings::Outcome;
use self::status::Progress;
use self::validate::Valid;
use crate::context::Context;
use crate::error::{Error, LOOK, Result, Retry};
use crate::names::{ADMIN_PORT, ADOPT, MANAGER, Names, OPERATOR_LABEL};

/// Settings in force are asked for at least this often.
const RESYNC: Duration = Duration::from_secs(60);
/// A pod that starts is looked at this often.
const STARTING: Duration = Duration::from_secs(2);

/// One reconcile.
pub async fn reconcile(
    object: Arc<DeserializeGuard<GoDbInstance>>,
    context: Arc<Context>,
) -> Result<Action> {
    let instance = match &object.0 {
        Ok(instance) => instance,
        Err(invalid) => return Err(Error::Unreadable(invalid.error.clone())),
    };
    // The garbage collector does the rest.
    if instance.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let _running = context.health.began(instance.uid().unwrap_or_default());
    let names = Names {
        namespace: instance.namespace().unwrap_or_default(),
        instance: instance.name_any(),
    };
    let observed = Box::pin(dereference::dereference(&context.client, &names)).await?;
    if let Some(other) = foreign(instance, &observed, &context.options.release) {
        let message = format!(
            "its objects belong to the operator {other}; to take them over: kubectl annotate --overwrite godbinstance {} {ADOPT}={}",
            names.instance, context.options.release
        );
        context
            .say(instance, EventType::Warning, "OperatorConflict", message)
            .await;
        return Ok(Action::requeue(RESYNC));
    }
    let options = &context.options;
    let valid = match validate::validate(instance, &options.node_image, &options.release) {
        Ok(valid) => valid,
        Err(faults) => {
            let progress = Progress::Invalid(&faults);
            write_status(&context, instance, None, &observed, &progress).await?;
            return Ok(Action::requeue(LOOK));
        }
    };
    match carry_out(&context, instance, &valid, &observed).await {
        Ok((applied, outcome)) => {
            tell(&context, instance, &outcome).await;
            let progress = Progress::Done {
                applied: &applied,
                settings: &outcome,
            };
            write_status(&context, instance, Some(&valid), &observed, &progress).await?;
            Ok(next(&valid, &observed, &applied, &outcome))
        }
        Err(error) => {
            let (reason, retry) = error.classify();
            let progress = Progress::Failed(reason, error.to_string());
            write_status(&context, instance, Some(&valid), &observed, &progress).await?;
            match retry {
                Retry::Look(after) => {
                    tracing::warn!(instance = %names.instance, namespace = %names.namespace, %error, "waiting for somebody to mend it");
                    Ok(Action::requeue(after))
                }
                Retry::Backoff => Err(error),
            }
        }
    }
}

/// The installation that the children belong to, if it is another one and may not be replaced. The
/// annotation names who may: one that spoke of anybody would let two installations take turns.
fn foreign(instance: &GoDbInstance, observed: &Observed, release: &str) -> Option<String> {
    let set = observed.stateful_set.as_ref()?;
    let owner = set.metadata.labels.as_ref()?.get(OPERATOR_LABEL)?;
    let adopted = instance
        .annotations()
        .get(ADOPT)
        .is_some_and(|value| value == release);
    (owner != release && !adopted).then(|| owner.clone())
}

async fn carry_out(
    context: &Context,
    instance: &GoDbInstance,
    valid: &Valid,
    observed: &Observed,
) -> Result<(Applied, Outcome)> {
    let paused = instance.spec.paused;
    let writer = Writer {
        client: &context.client,
        metrics: &context.metrics,
        refusals: &context.refusals,
    };
    let token = apply::admin_token(&writer, valid, observed.admin_secret.as_ref(), !paused).await?;
    let applied = if paused {
        Applied::default()
    } else {
        let resources = build::build(valid);
        apply::apply(&writer, valid, observed, &resources).await?
    };
    let outcome = match (observed.pod.as_ref().and_then(node_address), token) {
        (Some(address), Some(token)) if !valid.spec.stopped => {
            if paused {
                settings::look(&address, &token, &valid.live).await
            } else {
                settings::apply(&address, &token, &valid.live).await
            }
        }
        _ => Outcome::NoPod,
    };
    Ok((applied, outcome))
}

/// Where the node's admin port is, once its container runs.
pub fn node_address(pod: &Pod) -> Option<String> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = pod.status.as_ref()?;
    let ip = status.pod_ip.as_ref()?;
    let container = status.container_statuses.as_ref()?.first()?;
    container.state.as_ref()?.running.as_ref()?;
    Some(if ip.contains(':') {
        format!("[{ip}]:{ADMIN_PORT}")
    } else {
        format!("{ip}:{ADMIN_PORT}")
    })
}

/// Events for what a person should see.
async fn tell(context: &Context, instance: &GoDbInstance, outcome: &Outcome) {
    if let Outcome::Applied { in_force, changed } = outcome
        && !changed.is_empty()
    {
        // Of a spec that was in force in this life already, somebody else changed it.
        let known = instance.status.as_ref().is_some_and(|status| {
            status.observed_generation == instance.metadata.generation
                && status
                    .engine
                    .as_ref()
                    .is_some_and(|engine| engine.boot_id == in_force.boot_id)
        });
        let reason = if known {
            "SettingsPutBack"
        } else {
            "SettingsApplied"
        };
        let message = format!("{} on the running node", changed.join(", "));
        context
            .publish(instance, EventType::Normal, reason, message)
            .await;
    }
}

fn next(valid: &Valid, observed: &Observed, applied: &Applied, outcome: &Outcome) -> Action {
    let ready = observed.pod.as_ref().is_some_and(status::is_ready);
    Action::requeue(match outcome {
        _ if applied.again => Duration::from_millis(100),
        _ if applied.resize_refused.is_some() => LOOK,
        Outcome::Refused(_) => LOOK,
        _ if valid.spec.stopped || valid.held_by.is_some() => RESYNC,
        Outcome::Unknown(_) => STARTING,
        _ if !ready => LOOK,
        _ => RESYNC,
    })
}

async fn write_status(
    context: &Context,
    instance: &GoDbInstance,
    valid: Option<&Valid>,
    observed: &Observed,
    progress: &Progress<'_>,
) -> Result<()> {
    let wanted = status::status(instance, valid, observed, progress, Timestamp::now());
    if instance.status.as_ref() == Some(&wanted) {
        return Ok(());
    }
    let name = instance.name_any();
    let namespace = instance.namespace().unwrap_or_default();
    // Who holds it is not ours to write: what we read may be what was, and not what is.
    let patch = json!({"status": GoDbInstanceStatus { operation: None, ..wanted.clone() }});
    context.metrics.wrote("GoDbInstance status");
    Api::<GoDbInstance>::namespaced(context.client.clone(), &namespace)
        .patch_status(
            &name,
            &PatchParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PatchParams::default()
            },
            &Patch::Merge(&patch),
        )
        .await
        .map_err(Error::api(format!("patch the status of {name}")))?;
    if let Some(worse) = status::got_worse(instance.status.as_ref(), &wanted) {
        context
            .publish(
                instance,
                EventType::Warning,
                &worse.reason,
                worse.message.clone(),
            )
            .await;
    }
    Ok(())
}
