//! Which pod template the StatefulSet gets (pure).
//!
//! The operator's own upgrade must not restart nodes. The StatefulSet carries the hash of what the
//! user decided of its template, and of the template that was applied:
//!
//! | user's part | template we render | live template | then |
//! |---|---|---|---|
//! | changed | | | apply: the user caused it |
//! | same | same as applied | differs | apply: somebody changed it by hand |
//! | same | not as applied | differs | the operator is the cause: pending |

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec};
use serde_json::{Value, json};

use crate::difference;
use crate::names::{INPUTS, KEPT_TEMPLATE, TEMPLATE};

/// What to do about the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    /// Apply the one that is rendered.
    Apply,
    /// Leave the live one; where it differs.
    Pending(String),
}

fn annotation<'a>(set: &'a StatefulSet, key: &str) -> Option<&'a str> {
    let annotations = set.metadata.annotations.as_ref()?;
    annotations.get(key).map(String::as_str)
}

fn template_json(set: &StatefulSet) -> Value {
    let template = set.spec.as_ref().map(|spec| &spec.template);
    serde_json::to_value(template).unwrap_or_default()
}

/// See the module.
pub fn template(live: &StatefulSet, wanted: &StatefulSet) -> Template {
    let same = |key| annotation(live, key) == annotation(wanted, key);
    if !same(INPUTS) || same(TEMPLATE) {
        return Template::Apply;
    }
    match difference::wanted("pod", &template_json(live), &template_json(wanted)) {
        Some(path) => Template::Pending(path),
        // It renders otherwise and comes to the same.
        None => Template::Apply,
    }
}

/// `wanted` with the template that runs, and its hashes.
pub fn with_live_template(wanted: &StatefulSet, live: &StatefulSet) -> StatefulSet {
    let template = live.spec.as_ref().map(|spec| spec.template.clone());
    let hashes = [INPUTS, TEMPLATE].map(|key| (key, annotation(live, key).map(str::to_owned)));
    replaced(wanted, template.unwrap_or_default(), hashes)
}

fn replaced(
    wanted: &StatefulSet,
    template: PodTemplateSpec,
    hashes: [(&str, Option<String>); 2],
) -> StatefulSet {
    let mut set = wanted.clone();
    if let Some(spec) = &mut set.spec {
        spec.template = template;
    }
    let annotations = set.metadata.annotations.get_or_insert_with(BTreeMap::new);
    for (key, hash) in hashes {
        if let Some(hash) = hash {
            annotations.insert(key.to_owned(), hash);
        }
    }
    set
}

/// Writes the template that runs, and its hashes, into the ConfigMap that is about to be applied.
pub fn keep_template(config: &mut Value, live: &StatefulSet) {
    let kept = json!({
        KEPT_TEMPLATE: template_json(live).to_string(),
        INPUTS: annotation(live, INPUTS).unwrap_or_default(),
        TEMPLATE: annotation(live, TEMPLATE).unwrap_or_default(),
    });
    if let Some(metadata) = config.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("annotations".to_owned(), kept);
    }
}

/// `wanted` with the template that was kept, and its hashes.
pub fn with_template(
    wanted: &StatefulSet,
    template: PodTemplateSpec,
    config: Option<&ConfigMap>,
) -> StatefulSet {
    let annotations = config.and_then(|config| config.metadata.annotations.as_ref());
    let hash = |key| annotations.and_then(|all| all.get(key)).cloned();
    replaced(
        wanted,
        template,
        [(INPUTS, hash(INPUTS)), (TEMPLATE, hash(TEMPLATE))],
    )
}

/// Claim templates of a live StatefulSet cannot be changed: what is applied repeats them.
pub fn keep_claim_templates(desired: &mut StatefulSet, live: &StatefulSet) {
    let templates = live
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_claim_templates.clone());
    if let Some(spec) = &mut desired.spec {
        spec.volume_claim_templates = templates.map(|templates| {
            templates
                .into_iter()
                .map(|mut claim| {
                    // The API server fills it in, and nobody may apply it.
                    claim.status = None;
                    claim
                })
                .collect()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::fixture;

    #[test]
    fn only_the_user_restarts_a_pod() {
        let instance = fixture::instance("a");
        let live = fixture::stateful_set(&instance, "node:1");
        assert_eq!(template(&live, &live), Template::Apply);

        // The operator's default image changed.
        let newer = fixture::stateful_set(&instance, "other-node:1");
        let Template::Pending(path) = template(&live, &newer) else {
            panic!("an upgrade of the operator must not restart nodes");
        };
        assert!(path.contains("image"), "{path}");
        let kept = with_live_template(&newer, &live);
        assert_eq!(template_json(&kept), template_json(&live));
        assert_eq!(template(&live, &kept), Template::Apply);

        // The user asks for a restart, and it goes in.
        let mut asked = instance.clone();
        asked.metadata.annotations = Some(BTreeMap::from([(
            crate::names::RESTART_AT.to_owned(),
            "now".to_owned(),
        )]));
        let wanted = fixture::stateful_set(&asked, "other-node:1");
        assert_eq!(template(&live, &wanted), Template::Apply);

        // Somebody edits the live template.
        let mut edited = live.clone();
        if let Some(spec) = &mut edited.spec {
            spec.template.spec.as_mut().unwrap().containers[0].image = Some("x".to_owned());
        }
        assert_eq!(template(&edited, &live), Template::Apply);
    }

    #[test]
    fn a_kept_template_comes_back_with_its_hashes() {
        let instance = fixture::instance("a");
        let live = fixture::stateful_set(&instance, "node:1");
        let newer = fixture::stateful_set(&instance, "other-node:1");
        let mut config = json!({"metadata": {"name": "a-config"}});
        keep_template(&mut config, &live);
        let config: ConfigMap = serde_json::from_value(config).unwrap();
        let text = &config.metadata.annotations.as_ref().unwrap()[KEPT_TEMPLATE];
        let made = with_template(&newer, serde_json::from_str(text).unwrap(), Some(&config));
        assert_eq!(template_json(&made), template_json(&live));
        assert!(matches!(template(&made, &newer), Template::Pending(_)));
    }
}
