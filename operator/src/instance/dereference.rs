//! Every read of a reconcile: what is there now. It decides nothing.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    ConfigMap, Event, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount,
};
use kube::api::ListParams;
use kube::{Api, Client};
use serde::de::DeserializeOwned;

use super::build::VOLUMES;
use crate::error::{Error, Result};
use crate::names::Names;

/// What is there.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The StatefulSet.
    pub stateful_set: Option<StatefulSet>,
    /// The Service for applications.
    pub service: Option<Service>,
    /// The Service that names the pod.
    pub headless: Option<Service>,
    /// The settings.
    pub config: Option<ConfigMap>,
    /// The pod's account.
    pub service_account: Option<ServiceAccount>,
    /// The admin token.
    pub admin_secret: Option<Secret>,
    /// The Secret for applications.
    pub app_secret: Option<Secret>,
    /// Claims with the names of their volumes.
    pub claims: Vec<(&'static str, PersistentVolumeClaim)>,
    /// The pod.
    pub pod: Option<Pod>,
    /// Newest warning about StatefulSet, pod or claims; looked up only while the pod is not ready.
    pub warning: Option<String>,
}

/// An object, if it is there.
pub async fn get<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    Api::<K>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await
        .map_err(Error::api(format!("get {} {name}", K::kind(&()))))
}

/// Reads everything that belongs to an instance.
pub async fn dereference(client: &Client, names: &Names) -> Result<Observed> {
    let space = &*names.namespace;
    let mut observed = Observed {
        stateful_set: get(client, space, &names.instance).await?,
        service: get(client, space, &names.instance).await?,
        headless: get(client, space, &names.headless()).await?,
        config: get(client, space, &names.config()).await?,
        service_account: get(client, space, &names.instance).await?,
        admin_secret: get(client, space, &names.admin_secret()).await?,
        app_secret: get(client, space, &names.app_secret()).await?,
        pod: get(client, space, &names.pod()).await?,
        ..Observed::default()
    };
    for volume in VOLUMES {
        if let Some(claim) = get(client, space, &names.claim(volume)).await? {
            observed.claims.push((volume, claim));
        }
    }
    if !observed.pod.as_ref().is_some_and(super::status::is_ready) {
        observed.warning = newest_warning(client, names).await?;
    }
    Ok(observed)
}

/// A quota shows only in an event of the StatefulSet: its pod never comes to be.
async fn newest_warning(client: &Client, names: &Names) -> Result<Option<String>> {
    let api = Api::<Event>::namespaced(client.clone(), &names.namespace);
    let mut newest: Option<(k8s_openapi::jiff::Timestamp, String)> = None;
    for name in [&names.instance, &names.pod()] {
        let parameters = ListParams::default()
            .fields(&format!("involvedObject.name={name},type=Warning"))
            .limit(100);
        let events = api
            .list(&parameters)
            .await
            .map_err(Error::api("list Events"))?;
        for event in events {
            let kind = event.involved_object.kind.as_deref();
            if kind == Some("GoDbInstance") || event.reason.as_deref() == Some("Unhealthy") {
                continue;
            }
            let time = event
                .last_timestamp
                .map(|time| time.0)
                .or(event.event_time.map(|time| time.0))
                .or(event.metadata.creation_timestamp.map(|time| time.0));
            let (Some(time), Some(message)) = (time, event.message) else {
                continue;
            };
            if newest.as_ref().is_none_or(|(found, _)| time > *found) {
                newest = Some((time, message));
            }
        }
    }
    Ok(newest.map(|(_, message)| message))
}
