//! Watches, what wakes a reconcile, concurrency and retries.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use godb_crds::GoDbInstance;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use kube::core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Resource, ResourceExt};

use crate::api_client::WATCH_SECONDS;
use crate::context::Context;
use crate::error::{Error, Retry};
use crate::instance;
use crate::names;

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

/// The instance that a labelled object belongs to.
fn owner<K: Resource>(object: &K) -> Option<ObjectRef<DeserializeGuard<GoDbInstance>>> {
    let labels = object.meta().labels.as_ref()?;
    let name = labels.get("app.kubernetes.io/instance")?;
    let namespace = object.meta().namespace.as_ref()?;
    Some(ObjectRef::new(name).within(namespace))
}

/// Runs until `stop` resolves and what was begun has ended.
pub async fn run(context: Arc<Context>, stop: impl Future<Output = ()> + Send + Sync + 'static) {
    let instances: Api<DeserializeGuard<GoDbInstance>> = api(&context);
    let watch = || watcher::Config::default().timeout(WATCH_SECONDS);
    let labelled = || watch().labels(&names::watched_labels());
    // Of children only what changed matters, not what is in them: each is read when it is compared.
    let failures = Arc::new(Failures::default());
    let of_errors = Arc::clone(&failures);
    let controller = Controller::new(instances, watch());
    let known = controller.store();
    context.metrics.look_at_phases(move || {
        let known = known.state();
        known.iter().map(|object| phase(object)).collect()
    });
    controller
        .with_config(
            Config::default()
                .concurrency(CONCURRENCY)
                .debounce(DEBOUNCE),
        )
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
        .graceful_shutdown_on(stop)
        .run(
            move |object, context: Arc<Context>| {
                let failures = Arc::clone(&failures);
                async move {
                    let began = Instant::now();
                    let name = key(&object);
                    let outcome = Box::pin(instance::reconcile(object, Arc::clone(&context))).await;
                    let seconds = began.elapsed().as_secs_f64();
                    context
                        .metrics
                        .reconciled("GoDbInstance", outcome.is_ok(), seconds);
                    if outcome.is_ok() {
                        failures.forget(&name);
                    }
                    outcome
                }
            },
            move |object, error, _| policy(&of_errors, &key(&object), error),
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

fn key(object: &DeserializeGuard<GoDbInstance>) -> String {
    format!(
        "{}/{}",
        object.meta().namespace.as_deref().unwrap_or_default(),
        object.name_any()
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
    tracing::warn!(instance = name, %error, retry_in = ?pause, "a reconcile failed");
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
