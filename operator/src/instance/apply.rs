//! Every write of a reconcile but the status: server-side apply, only where something differs,
//! volumes before the StatefulSet. Killed between any two calls, the next reconcile goes on.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PodTemplateSpec, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::build::{self, Resources, TOKEN_KEY};
use super::dereference::Observed;
use super::plan::{self, Template};
use super::validate::Valid;
use super::volumes;
use crate::difference;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::names::{KEPT_TEMPLATE, MANAGER};
use crate::refusals::Refusals;

/// What the writes came to.
#[derive(Debug, Default)]
pub struct Applied {
    /// The pod template that this operator renders differs from the one that runs, and nothing
    /// that the user wrote is the cause: where.
    pub pending: Option<String>,
    /// The API server refused to grow a claim: its answer.
    pub resize_refused: Option<String>,
    /// The StatefulSet was deleted to be made again: come back at once.
    pub again: bool,
}

/// The client and the count of its writes.
pub struct Writer<'a> {
    /// The client.
    pub client: &'a Client,
    /// Where writes are counted.
    pub metrics: &'a Metrics,
    /// What was refused lately.
    pub refusals: &'a Refusals,
}

impl Writer<'_> {
    async fn apply<K>(&self, live: Option<&K>, desired: &Value, name: &str) -> Result<bool>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Serialize
            + std::fmt::Debug,
    {
        let kind = K::kind(&());
        let json = |source| Error::Json {
            what: format!("{kind} {name}"),
            source,
        };
        if let Some(live) = live {
            let live = serde_json::to_value(live).map_err(json)?;
            match difference::first(&live, desired) {
                None => return Ok(false),
                Some(path) => tracing::info!(kind = %kind, name, path, "applying a difference"),
            }
        }
        let mut desired = desired.clone();
        if let Some(object) = desired.as_object_mut() {
            object.insert("apiVersion".to_owned(), K::api_version(&()).into());
            object.insert("kind".to_owned(), kind.clone().into());
        }
        let namespace = desired
            .pointer("/metadata/namespace")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        self.metrics.wrote(&kind);
        Api::<K>::namespaced(self.client.clone(), &namespace)
            .patch(
                name,
                &PatchParams::apply(MANAGER).force(),
                &Patch::Apply(&desired),
            )
            .await
            .map_err(Error::api(format!("apply {kind} {name}")))?;
        Ok(true)
    }

    async fn create_secret(&self, secret: &Secret) -> Result<Secret> {
        let name = secret.metadata.name.clone().unwrap_or_default();
        let namespace = secret.metadata.namespace.clone().unwrap_or_default();
        let api = Api::<Secret>::namespaced(self.client.clone(), &namespace);
        self.metrics.wrote("Secret");
        match api.create(&PostParams::default(), secret).await {
            Ok(made) => Ok(made),
            // Another life of ours was killed after it made it.
            Err(error) if crate::error::status_is(&error, 409) => api
                .get(&name)
                .await
                .map_err(Error::api(format!("get Secret {name}"))),
            Err(error) => Err(Error::api(format!("create Secret {name}"))(error)),
        }
    }
}

/// The admin token: made once, then only read.
pub async fn admin_token(
    writer: &Writer<'_>,
    valid: &Valid,
    found: Option<&Secret>,
    may_write: bool,
) -> Result<Option<String>> {
    let secret = match found {
        Some(secret) => secret.clone(),
        None if !may_write => return Ok(None),
        None => {
            let mut random = [0; 32];
            getrandom::fill(&mut random).map_err(Error::Random)?;
            let secret = build::admin_secret(valid, random);
            writer.create_secret(&secret).await?
        }
    };
    let name = valid.names.admin_secret();
    let value = |key: &'static str| {
        secret
            .data
            .as_ref()
            .and_then(|data| data.get(key))
            .and_then(|bytes| String::from_utf8(bytes.0.clone()).ok())
            .ok_or(Error::SecretLacks {
                name: name.clone(),
                key,
            })
    };
    value(build::HASH_KEY)?;
    value(TOKEN_KEY).map(|token| Some(token.trim().to_owned()))
}

fn to_json<K: Serialize>(what: &str, object: &K) -> Result<Value> {
    serde_json::to_value(object).map_err(|source| Error::Json {
        what: what.to_owned(),
        source,
    })
}

/// Brings everything to what was built.
pub async fn apply(
    writer: &Writer<'_>,
    valid: &Valid,
    observed: &Observed,
    resources: &Resources,
) -> Result<Applied> {
    let names = &valid.names;
    let mut applied = Applied::default();
    if observed.app_secret.is_none() {
        writer.create_secret(&build::app_secret(valid)).await?;
    }
    let account = to_json("ServiceAccount", &resources.service_account)?;
    writer
        .apply(observed.service_account.as_ref(), &account, &names.instance)
        .await?;
    let config = to_json("ConfigMap", &resources.config)?;
    if !is_kept(observed) {
        writer
            .apply(observed.config.as_ref(), &config, &names.config())
            .await?;
    }
    let service = to_json("Service", &resources.service)?;
    writer
        .apply(observed.service.as_ref(), &service, &names.instance)
        .await?;
    let headless = to_json("Service", &resources.headless)?;
    writer
        .apply(observed.headless.as_ref(), &headless, &names.headless())
        .await?;
    applied.resize_refused = claims(writer, valid, observed).await?;
    stateful_set(writer, valid, observed, resources, &config, &mut applied).await?;
    Ok(applied)
}

/// Brings the claims to what is wanted. What the storage refuses is returned; it holds up nothing
/// else, and is not asked for again for a while.
async fn claims(writer: &Writer<'_>, valid: &Valid, observed: &Observed) -> Result<Option<String>> {
    let mut refused = None;
    for (volume, claim) in &observed.claims {
        let name = valid.names.claim(volume);
        let what = format!(
            "{}/{name} {}",
            valid.names.namespace,
            volumes::wanted_size(valid, volume).unwrap_or_default()
        );
        let asked = match writer.refusals.recent(&what) {
            Some(message) => Err(message),
            None => match volumes::patch(valid, volume, claim, true) {
                None => Ok(()),
                Some(desired) => match writer
                    .apply::<PersistentVolumeClaim>(None, &desired, &name)
                    .await
                {
                    Ok(_) => Ok(()),
                    Err(error) if error.is_status(403) || error.is_status(422) => {
                        writer.refusals.remember(what, error.to_string());
                        Err(error.to_string())
                    }
                    Err(error) => return Err(error),
                },
            },
        };
        if let Err(message) = asked {
            refused = Some(message);
            if let Some(desired) = volumes::patch(valid, volume, claim, false) {
                writer
                    .apply::<PersistentVolumeClaim>(None, &desired, &name)
                    .await?;
            }
        }
    }
    Ok(refused)
}

/// Whether the ConfigMap keeps a pod template: the StatefulSet is being made again.
fn is_kept(observed: &Observed) -> bool {
    kept(observed).is_some()
}

fn kept(observed: &Observed) -> Option<PodTemplateSpec> {
    let annotations = observed.config.as_ref()?.metadata.annotations.as_ref()?;
    serde_json::from_str(annotations.get(KEPT_TEMPLATE)?).ok()
}

async fn stateful_set(
    writer: &Writer<'_>,
    valid: &Valid,
    observed: &Observed,
    resources: &Resources,
    config: &Value,
    applied: &mut Applied,
) -> Result<()> {
    let name = &*valid.names.instance;
    let wanted = &resources.stateful_set;
    let live = observed.stateful_set.as_ref();
    let Some(found) = live else {
        // Made again with the pod template that ran: what is new in it is a step of its own.
        let desired = kept(observed).map_or_else(
            || wanted.clone(),
            |template| plan::with_template(wanted, template, observed.config.as_ref()),
        );
        let desired = to_json("StatefulSet", &desired)?;
        writer.apply::<StatefulSet>(None, &desired, name).await?;
        applied.again = is_kept(observed);
        return Ok(());
    };
    if found.metadata.deletion_timestamp.is_some() {
        // Its end wakes the next reconcile, which makes it again.
        return Ok(());
    }
    if applied.resize_refused.is_none() && volumes::must_recreate(valid, observed, wanted) {
        return recreate(writer, valid, observed, found, config, applied).await;
    }
    if is_kept(observed) {
        // It was made again: what was kept has done its service.
        writer
            .apply(observed.config.as_ref(), config, &valid.names.config())
            .await?;
    }
    let mut desired = match plan::template(found, wanted) {
        Template::Apply => wanted.clone(),
        Template::Pending(path) => {
            applied.pending = Some(path);
            plan::with_live_template(wanted, found)
        }
    };
    plan::keep_claim_templates(&mut desired, found);
    let desired = to_json("StatefulSet", &desired)?;
    writer.apply(live, &desired, name).await?;
    Ok(())
}

/// Claim templates cannot be changed, so the StatefulSet is deleted without its pod and made
/// again. Its pod template is kept in the ConfigMap first: a kill in between must not let a new
/// template slip in.
async fn recreate(
    writer: &Writer<'_>,
    valid: &Valid,
    observed: &Observed,
    found: &StatefulSet,
    config: &Value,
    applied: &mut Applied,
) -> Result<()> {
    let names = &valid.names;
    let mut keeping = config.clone();
    plan::keep_template(&mut keeping, found);
    // Kept already by a life that was killed before the deletion: go on from there.
    writer
        .apply(observed.config.as_ref(), &keeping, &names.config())
        .await?;
    let parameters = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        preconditions: Some(Preconditions {
            uid: found.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    writer.metrics.wrote("StatefulSet");
    let deleted = Api::<StatefulSet>::namespaced(writer.client.clone(), &names.namespace)
        .delete(&names.instance, &parameters)
        .await;
    match deleted {
        Err(error) if !crate::error::status_is(&error, 404) => Err(Error::api(format!(
            "delete StatefulSet {} without its pod",
            names.instance
        ))(error)),
        _ => {
            applied.again = true;
            Ok(())
        }
    }
}
