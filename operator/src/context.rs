//! What every reconcile works with.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};

use crate::health::Health;
use crate::metrics::Metrics;
use crate::names::MANAGER;
use crate::options::Options;
use crate::refusals::Refusals;

/// Messages that are remembered as said; more are said again.
const MAX_SAID: usize = 10_000;

/// Longest text that the API server takes in an event.
const MAX_NOTE_BYTES: usize = 1024;

fn shortened(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MAX_NOTE_BYTES));
    message
}

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
    /// Held while it is decided whose turn at a claim it is.
    pub turn: tokio::sync::Mutex<()>,
    reporter: Reporter,
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
            reporter,
            client,
            options,
            metrics,
            health: Health::default(),
            refusals: Refusals::default(),
            turn: tokio::sync::Mutex::default(),
            said: Mutex::default(),
        }
    }

    /// Publishes an event, once for each message: what lasts is said once.
    pub async fn say<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        type_: EventType,
        reason: &'static str,
        message: String,
    ) {
        let key = (object.uid().unwrap_or_default(), reason);
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
        self.publish(object, type_, reason, message).await;
    }

    /// Publishes an event. One that is lost is only logged: it is for people, and the condition
    /// says the same.
    pub async fn publish<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        type_: EventType,
        reason: &str,
        message: String,
    ) {
        self.metrics.wrote("Event");
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(shortened(message)),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let about = object.object_ref(&());
        // One that lives longer would count a second event of this reason, and keep the text of the
        // first.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(&event, &about).await {
            tracing::warn!(%error, reason, "an event could not be published");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_no_longer_than_the_api_server_takes() {
        assert_eq!(shortened("short".to_owned()), "short");
        assert_eq!(shortened("é".repeat(1000)).len(), 1024);
        assert_eq!(shortened(format!("a{}", "é".repeat(1000))).len(), 1023);
    }
}
