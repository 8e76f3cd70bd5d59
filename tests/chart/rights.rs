//! What the chart asks of RBAC, held against the list that the design allows. Everything else in
//! here renders the chart; this reads who may do what.

use std::collections::BTreeSet;

use serde_yaml::Value;

use crate::helm::{HELMS, NAMESPACE, kind, name, objects};

/// `group/resource verb` for all that the rules of these roles allow.
fn allowed<'a>(roles: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    let strings = |value: &Value| -> Vec<String> {
        let list = value.as_sequence().unwrap();
        list.iter()
            .map(|s| s.as_str().unwrap().to_owned())
            .collect()
    };
    let mut rights = BTreeSet::new();
    for rule in roles
        .into_iter()
        .flat_map(|r| r["rules"].as_sequence().unwrap())
    {
        assert!(rule.get("nonResourceURLs").is_none(), "{rule:?}");
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                for verb in strings(&rule["verbs"]) {
                    rights.insert(format!("{group}/{resource} {verb}"));
                }
            }
        }
    }
    rights
}

fn wanted(rights: &[(&str, &str)]) -> BTreeSet<String> {
    let each = rights.iter().flat_map(|(resource, verbs)| {
        verbs
            .split(' ')
            .map(move |verb| format!("{resource} {verb}"))
    });
    each.collect()
}

fn is_role(object: &Value) -> bool {
    ["Role", "ClusterRole"].contains(&kind(object))
}

fn named(objects: &[Value], wanted: &str) -> Vec<Value> {
    let of_role = |object: &&Value| is_role(object) && name(object) == wanted;
    objects.iter().filter(of_role).cloned().collect()
}

const OPERATOR: [(&str, &str); 20] = [
    ("godb.dev/godbinstances", "get list watch"),
    ("godb.dev/godbrestores", "get list watch patch"),
    ("godb.dev/godbrestores/status", "get patch"),
    (
        "godb.dev/godbsnapshots",
        "get list watch create patch delete",
    ),
    ("godb.dev/godbsnapshotschedules", "get list watch"),
    ("godb.dev/godbsnapshotschedules/status", "get patch"),
    ("godb.dev/godbsnapshots/status", "get patch"),
    ("godb.dev/godbinstances/status", "get patch"),
    ("godb.dev/godbinstances/finalizers", "update"),
    ("apps/statefulsets", "get list watch create patch delete"),
    ("batch/jobs", "get list watch create delete"),
    ("/services", "get list watch create patch delete"),
    ("/configmaps", "get list watch create patch delete"),
    ("/serviceaccounts", "get list watch create patch delete"),
    ("/persistentvolumeclaims", "get list watch create patch"),
    ("/pods", "get list watch"),
    ("/secrets", "get create"),
    ("/events", "create patch list"),
    ("events.k8s.io/events", "create patch list"),
    ("coordination.k8s.io/leases", "get create update"),
];

/// Kinds that belong to the cluster as a whole.
const CLUSTER_SCOPED: [&str; 6] = [
    "/nodes",
    "/namespaces",
    "/persistentvolumes",
    "storage.k8s.io/storageclasses",
    "apiextensions.k8s.io/customresourcedefinitions",
    "rbac.authorization.k8s.io/clusterroles",
];

#[test]
fn the_operator_may_do_exactly_this() {
    for helm in HELMS {
        for watched in ["", "shop"] {
            let all = objects(helm, &[&format!("watch.namespace={watched}")]);
            let operator = all
                .iter()
                .filter(|object| is_role(object) && !name(object).ends_with("-test"));
            let rights = allowed(operator);
            assert_eq!(rights, wanted(&OPERATOR), "{helm} {watched:?}");
            for resource in CLUSTER_SCOPED {
                let of_it = rights
                    .iter()
                    .find(|r| r.starts_with(&format!("{resource} ")));
                assert_eq!(of_it, None);
            }
            assert!(!rights.iter().any(|right| right.contains('*')));
        }
    }
}

#[test]
fn the_rights_end_where_the_operator_looks() {
    for helm in HELMS {
        let all = objects(helm, &["watch.namespace=shop"]);
        assert!(!all.iter().any(|object| kind(object).starts_with("Cluster")));
        let role = &named(&all, "godb")[0];
        assert_eq!(role["metadata"]["namespace"], "shop");
        let lease = &named(&all, "godb-lease")[0];
        assert_eq!(lease["metadata"]["namespace"], NAMESPACE);

        let all = objects(helm, &[]);
        assert_eq!(kind(&named(&all, "godb-system:godb")[0]), "ClusterRole");
        assert_eq!(kind(&named(&all, "godb-lease")[0]), "Role");
    }
}

/// Every binding names a role and an account that are rendered with it.
#[test]
fn bindings_hold_together() {
    for helm in HELMS {
        for watched in ["", "shop"] {
            let all = objects(helm, &[&format!("watch.namespace={watched}")]);
            let bindings: Vec<&Value> = all
                .iter()
                .filter(|o| kind(o).ends_with("Binding"))
                .collect();
            assert_eq!(bindings.len(), 3);
            for binding in bindings {
                let role = all.iter().find(|object| {
                    binding["roleRef"]["kind"] == object["kind"]
                        && binding["roleRef"]["name"] == object["metadata"]["name"]
                        && binding["metadata"]["namespace"] == object["metadata"]["namespace"]
                });
                assert!(role.is_some(), "{binding:?}");
                let subject = &binding["subjects"][0];
                let account = all.iter().find(|object| {
                    kind(object) == "ServiceAccount"
                        && subject["name"] == object["metadata"]["name"]
                        && subject["namespace"] == object["metadata"]["namespace"]
                });
                assert!(account.is_some(), "{binding:?}");
            }
        }
    }
}

#[test]
fn the_smoke_test_may_make_an_instance_and_nothing_else() {
    for helm in HELMS {
        let all = objects(helm, &["watch.namespace=shop"]);
        let role = &named(&all, "godb-test")[0];
        assert_eq!(role["metadata"]["namespace"], "shop");
        let smoke = [("godb.dev/godbinstances", "get create delete")];
        assert_eq!(allowed([role]), wanted(&smoke));
    }
}
