//! Watches, what wakes a reconcile, concurrency and retries.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use godb_crds::{GoDbInstance, GoDbRestore, GoDbSnapshot, GoDbSnapshotSchedule};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use kube::core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::api_client::WATCH_SECONDS;
use crate::context::Context;
use crate::error::{Error, Retry};
use crate::instance;
use crate::metrics::SeenSnapshot;
use crate::names;
use crate::restore;
use crate::schedule;
use crate::snapshot;

/// Reconciles at once.
const CONCURRENCY: u16 = 8;
/// Changes of one object within this time are one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// First pause after an error, doubled by each next one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

fn api<K>(context: &Context) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match context.options.namespace() {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    }
}

/// The object that a label of another one names.
fn labelled_with<K, T>(label: &str, object: &K) -> Option<ObjectRef<DeserializeGuard<T>>>
where
    K: Resource,
    T: Resource<DynamicType = ()>,
{
    let name = object.meta().labels.as_ref()?.get(label)?;
    let namespace = object.meta().namespace.as_ref()?;
    Some(ObjectRef::new(name).within(namespace))
}

/// Runs until `stop` resolves and what was begun has ended.
pub async fn run(context: Arc<Context>, stop: impl Future<Output = ()> + Send + Sync + 'static) {
    let (tell, told) = tokio::sync::watch::channel(false);
    let stopping = || {
        let mut told = told.clone();
        async move {
            // Gone or true: both are the end.
            let _ = told.wait_for(|stop| *stop).await;
        }
    };
    let all = async {
        tokio::join!(
            instances(Arc::clone(&context), stopping()),
            snapshots(Arc::clone(&context), stopping()),
            schedules(Arc::clone(&context), stopping()),
            restores(Arc::clone(&context), stopping()),
        )
    };
    let stop = async {
        stop.await;
        let _ = tell.send(true);
    };
    tokio::join!(all, stop);
}

/// The instance that a labelled object belongs to.
fn owner<K: Resource>(object: &K) -> Option<ObjectRef<DeserializeGuard<GoDbInstance>>> {
    let labels = object.meta().labels.as_ref()?;
    let name = labels.get("app.kubernetes.io/instance")?;
    let namespace = object.meta().namespace.as_ref()?;
    Some(ObjectRef::new(name).within(namespace))
}

fn watch() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

async fn instances(context: Arc<Context>, stop: impl Future<Output = ()> + Send + Sync + 'static) {
    let instances: Api<DeserializeGuard<GoDbInstance>> = api(&context);
    let labelled = || watch().labels(&names::watched_labels());
    // Of children only what changed matters, not what is in them: each is read when it is compared.
    let controller = Controller::new(instances, watch());
    let known = controller.store();
    context.metrics.look_at_phases(move || {
        let known = known.state();
        known.iter().map(|object| phase(object)).collect()
    });
    let controller = controller
        .with_config(settings())
        .watches(
            api::<PartialObjectMeta<StatefulSet>>(&context),
            labelled(),
            |o| owner(&o),
        )
        .watches(
            api::<PartialObjectMeta<Service>>(&context),
            labelled(),
            |o| owner(&o),
        )
        .watches(
            api::<PartialObjectMeta<ConfigMap>>(&context),
            labelled(),
            |o| owner(&o),
        )
        .watches(
            api::<PartialObjectMeta<ServiceAccount>>(&context),
            labelled(),
            |o| owner(&o),
        )
        .watches(api::<PartialObjectMeta<Pod>>(&context), labelled(), |o| {
            owner(&o)
        })
        .watches(
            api::<PartialObjectMeta<PersistentVolumeClaim>>(&context),
            labelled(),
            |o| owner(&o),
        )
        .graceful_shutdown_on(stop);
    drive("GoDbInstance", controller, context, instance::reconcile).await;
}

async fn snapshots(context: Arc<Context>, stop: impl Future<Output = ()> + Send + Sync + 'static) {
    let watched: Api<DeserializeGuard<GoDbSnapshot>> = api(&context);
    let jobs = watch().labels(&names::watched_jobs());
    let controller = Controller::new(watched, watch());
    let known = controller.store();
    context.metrics.look_at_snapshots(move || {
        let known = known.state();
        known.iter().filter_map(|object| seen(object)).collect()
    });
    let controller = controller
        .with_config(settings())
        .watches(api::<PartialObjectMeta<Job>>(&context), jobs, |job| {
            labelled_with(names::SNAPSHOT_LABEL, &job)
        })
        .graceful_shutdown_on(stop);
    drive("GoDbSnapshot", controller, context, snapshot::reconcile).await;
}

async fn schedules(context: Arc<Context>, stop: impl Future<Output = ()> + Send + Sync + 'static) {
    let watched: Api<DeserializeGuard<GoDbSnapshotSchedule>> = api(&context);
    let children = watch().labels(names::SCHEDULE_LABEL);
    let controller = Controller::new(watched, watch())
        .with_config(settings())
        .watches(
            api::<PartialObjectMeta<GoDbSnapshot>>(&context),
            children,
            |child| labelled_with(names::SCHEDULE_LABEL, &child),
        )
        .graceful_shutdown_on(stop);
    drive(
        "GoDbSnapshotSchedule",
        controller,
        context,
        schedule::reconcile,
    )
    .await;
}

async fn restores(context: Arc<Context>, stop: impl Future<Output = ()> + Send + Sync + 'static) {
    let watched: Api<DeserializeGuard<GoDbRestore>> = api(&context);
    let jobs = watch().labels(&names::watched_jobs());
    let controller = Controller::new(watched, watch())
        .with_config(settings())
        .watches(api::<PartialObjectMeta<Job>>(&context), jobs, |job| {
            labelled_with(names::RESTORE_LABEL, &job)
        })
        .graceful_shutdown_on(stop);
    drive("GoDbRestore", controller, context, restore::reconcile).await;
}

fn settings() -> Config {
    Config::default()
        .concurrency(CONCURRENCY)
        .debounce(DEBOUNCE)
}

/// Runs the controller of a kind, counting, with pauses after errors.
async fn drive<K, R>(
    kind: &'static str,
    controller: Controller<DeserializeGuard<K>>,
    context: Arc<Context>,
    reconcile: impl Fn(Arc<DeserializeGuard<K>>, Arc<Context>) -> R + Copy + Send + Sync + 'static,
) where
    K: Resource<DynamicType = ()>
        + DeserializeOwned
        + Clone
        + Send
        + Sync
        + std::fmt::Debug
        + 'static,
    R: Future<Output = Result<Action, Error>> + Send + 'static,
{
    let failures = Arc::new(Failures::default());
    let of_errors = Arc::clone(&failures);
    controller
        .run(
            move |object, context: Arc<Context>| {
                let failures = Arc::clone(&failures);
                async move {
                    let began = Instant::now();
                    let name = key(&*object);
                    let outcome = Box::pin(reconcile(object, Arc::clone(&context))).await;
                    let seconds = began.elapsed().as_secs_f64();
                    context.metrics.reconciled(kind, outcome.is_ok(), seconds);
                    if outcome.is_ok() {
                        failures.forget(&name);
                    }
                    outcome
                }
            },
            move |object, error, _| policy(&of_errors, &key(&*object), error),
            context,
        )
        .for_each(|outcome| async move {
            if let Err(error) = outcome {
                tracing::debug!(%error, "a reconcile did not go through");
            }
        })
        .await;
}

fn phase(object: &DeserializeGuard<GoDbInstance>) -> String {
    let instance = object.0.as_ref().ok();
    let status = instance.and_then(|instance| instance.status.as_ref());
    status
        .and_then(|status| status.phase.clone())
        .unwrap_or_default()
}

fn seen(object: &DeserializeGuard<GoDbSnapshot>) -> Option<SeenSnapshot> {
    let snapshot = object.0.as_ref().ok()?;
    let status = snapshot.status.clone().unwrap_or_default();
    Some(SeenSnapshot {
        namespace: snapshot.namespace().unwrap_or_default(),
        instance: snapshot.spec.instance.clone(),
        phase: status.phase,
        completed_at: status.completed_at.map(|time| time.0.as_second()),
        survives_volume_loss: status.survives_volume_loss,
    })
}

fn key<K: Resource>(object: &K) -> String {
    format!(
        "{}/{}",
        object.meta().namespace.as_deref().unwrap_or_default(),
        object.meta().name.as_deref().unwrap_or_default()
    )
}

/// Errors in a row of each object.
#[derive(Default)]
struct Failures(std::sync::Mutex<std::collections::HashMap<String, u32>>);

impl Failures {
    fn counts(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<String, u32>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn forget(&self, name: &str) {
        self.counts().remove(name);
    }

    fn next_pause(&self, name: &str) -> Duration {
        let mut counts = self.counts();
        let count = counts.entry(name.to_owned()).or_default();
        let pause = FIRST_PAUSE.saturating_mul(1 << (*count).min(10));
        *count = count.saturating_add(1);
        pause.min(LONGEST_PAUSE)
    }
}

fn policy(failures: &Failures, name: &str, error: &Error) -> Action {
    let pause = match error.classify().1 {
        Retry::Look(after) => after,
        Retry::Backoff => failures.next_pause(name),
    };
    tracing::warn!(object = name, %error, retry_in = ?pause, "a reconcile failed");
    Action::requeue(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew_after_a_success() {
        let failures = Failures::default();
        let pauses: Vec<_> = (0..10).map(|_| failures.next_pause("a")).collect();
        assert_eq!(pauses[0], FIRST_PAUSE);
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(pauses[9], LONGEST_PAUSE);
        assert_eq!(failures.next_pause("b"), FIRST_PAUSE);
        failures.forget("a");
        assert_eq!(failures.next_pause("a"), FIRST_PAUSE);
    }
}
