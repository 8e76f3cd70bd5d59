//! What every reconcile works with.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use godb_crds::GoDbInstance;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};

use crate::health::Health;
use crate::metrics::Metrics;
use crate::names::MANAGER;
use crate::options::Options;
use crate::refusals::Refusals;

/// Messages that are remembered as said; more are said again.
const MAX_SAID: usize = 10_000;

/// See the module.
pub struct Context {
    /// The API client.
    pub client: Client,
    /// What the operator was started with.
    pub options: Options,
    /// What is counted.
    pub metrics: Metrics,
    /// What the probes ask.
    pub health: Health,
    /// What was refused lately.
    pub refusals: Refusals,
    recorder: Recorder,
    said: Mutex<HashMap<(String, &'static str), String>>,
}

impl Context {
    /// For this client.
    pub fn new(client: Client, options: Options, metrics: Metrics) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: Some(options.pod_name.clone()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            options,
            metrics,
            health: Health::default(),
            refusals: Refusals::default(),
            said: Mutex::default(),
        }
    }

    /// Publishes an event, once for each message: what lasts is said once.
    pub async fn say(
        &self,
        instance: &GoDbInstance,
        type_: EventType,
        reason: &'static str,
        message: String,
    ) {
        let key = (instance.uid().unwrap_or_default(), reason);
        {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.get(&key) == Some(&message) {
                return;
            }
            if said.len() >= MAX_SAID {
                said.clear();
            }
            said.insert(key, message.clone());
        }
        self.publish(instance, type_, reason, message).await;
    }

    /// Publishes an event. One that is lost is only logged: it is for people, and the condition
    /// says the same.
    pub async fn publish(
        &self,
        instance: &GoDbInstance,
        type_: EventType,
        reason: &str,
        message: String,
    ) {
        self.metrics.wrote("Event");
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(message),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let about = instance.object_ref(&());
        if let Err(error) = self.recorder.publish(&event, &about).await {
            tracing::warn!(%error, reason, "an event could not be published");
        }
    }
}
