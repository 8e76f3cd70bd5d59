//! What a cluster does not allow: quotas, and rights that the operator must not have.

use serde_json::json;

use crate::instance::Instance;
use crate::kube::{Namespace, word};
use crate::release::{Release, beside_others, may};

#[test]
fn a_quota_is_named_and_nothing_more_is_needed_when_it_is_raised() {
    let _turn = beside_others();
    let namespace = Namespace::new("quota");
    let _release = Release::install(&namespace);
    let quota = |memory: &str| {
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"},
            "spec": {"hard": {"requests.memory": memory, "limits.memory": memory, "requests.cpu": "4", "pods": "10"}}})
        .to_string()
    };
    namespace.kubectl_with(&["apply", "-f", "-"], &quota("300Mi"));
    let people = Instance::apply(
        &namespace,
        "people",
        &json!({"resources": {"requests": {"memory": "512Mi"}, "limits": {"memory": "512Mi", "cpu": "1"}}}),
    );
    let condition = people.wait_message("Ready", "False", "exceeded quota");
    println!(
        "{} {}",
        word(&condition["reason"]),
        word(&condition["message"])
    );
    namespace.kubectl_with(&["apply", "-f", "-"], &quota("1Gi"));
    println!("quota raised: Ready after {:.1?}", people.wait_ready());
}

#[test]
fn the_operator_has_no_right_that_it_does_not_need() {
    let _turn = beside_others();
    let namespace = Namespace::new("rights");
    let elsewhere = Namespace::new("elsewhere");
    let release = Release::install(&namespace);
    let user = format!(
        "system:serviceaccount:{}:{}",
        namespace.name,
        release.account()
    );
    for (verb, resource) in [
        ("create", "statefulsets.apps"),
        ("patch", "persistentvolumeclaims"),
        ("get", "secrets"),
        ("create", "secrets"),
        ("patch", "godbinstances.godb.dev/status"),
    ] {
        assert!(
            may(&user, verb, resource, &namespace.name),
            "{verb} {resource}"
        );
    }
    for (verb, resource) in [
        ("list", "secrets"),
        ("watch", "secrets"),
        ("delete", "secrets"),
        ("delete", "persistentvolumeclaims"),
        ("delete", "pods"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("create", "roles.rbac.authorization.k8s.io"),
        ("create", "godbinstances.godb.dev"),
        ("delete", "godbinstances.godb.dev"),
        ("list", "nodes"),
        ("list", "persistentvolumes"),
        ("list", "storageclasses.storage.k8s.io"),
        ("list", "namespaces"),
    ] {
        assert!(
            !may(&user, verb, resource, &namespace.name),
            "{verb} {resource}"
        );
    }
    for (verb, resource) in [
        ("get", "secrets"),
        ("list", "pods"),
        ("list", "godbinstances.godb.dev"),
        ("get", "leases.coordination.k8s.io"),
        ("patch", "persistentvolumeclaims"),
    ] {
        assert!(
            !may(&user, verb, resource, &elsewhere.name),
            "elsewhere: {verb} {resource}"
        );
    }
}
