//! What others break: each is said in a condition and an event, costs next to no writes while it
//! lasts, and needs nobody's hand but the one that mends it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::audit::Audit;
use crate::instance::Instance;
use crate::kube::{Namespace, wait, word};
use crate::release::{IMAGE, Release, SOON, beside_others};

/// How long a fault is watched, and how many writes the operator may make in it: conditions whose
/// message moves, as a pod is tried again, and the event.
const WATCHED: Duration = Duration::from_secs(15);
const FEW: usize = 6;

/// Ready is False and says `text`, an event of the instance says it too, and nothing runs hot.
fn is_told(people: &Instance<'_>, release: &Release<'_>, what: &str, text: &str) {
    let condition = people.wait_message("Ready", "False", text);
    let reason = word(&condition["reason"]).to_owned();
    println!("{what}: {reason} {}", word(&condition["message"]));
    people.wait_condition("Degraded", "True");
    wait(&format!("an event {reason} about {text}"), SOON, || {
        let events = people.namespace.events_of(&people.name);
        events
            .into_iter()
            .find(|event| event.starts_with(&reason) && event.contains(text))
    });
    let audit = Audit::begin();
    std::thread::sleep(WATCHED);
    let mut writes = audit.writes_of(&people.namespace.name, &release.account());
    writes.retain(|write| write.resource != "leases");
    println!("{what}: {} writes in {WATCHED:.0?}", writes.len());
    assert!(writes.len() <= FEW, "{writes:?}");
}

#[test]
fn a_pod_that_cannot_be_is_told_with_its_cause() {
    let _turn = beside_others();
    let namespace = Namespace::new("faults");
    let release = Release::install(&namespace);
    let people = Instance::apply(
        &namespace,
        "people",
        &json!({"image": "localhost/godb:missing"}),
    );
    is_told(&people, &release, "no such image", "missing");
    people.patch(&json!({"image": IMAGE}));
    println!("image corrected: Ready after {:.1?}", people.wait_ready());

    let memory = |size: &str| json!({"resources": {"requests": {"memory": size}, "limits": {"memory": size}}});
    people.patch(&memory("900Gi"));
    is_told(&people, &release, "no such machine", "memory");
    people.patch(&memory("192Mi"));
    println!("memory corrected: Ready after {:.1?}", people.wait_ready());
}

#[test]
fn a_quota_of_cpu_is_told_and_needs_only_to_be_raised() {
    let _turn = beside_others();
    let namespace = Namespace::new("quota-cpu");
    let release = Release::install(&namespace);
    let quota = |cpu: &str| {
        let object = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"},
            "spec": {"hard": {"requests.cpu": cpu}}});
        namespace.kubectl_with(&["apply", "-f", "-"], &object.to_string());
    };
    quota("200m");
    let people = Instance::apply(
        &namespace,
        "people",
        &json!({"resources": {"requests": {"cpu": "500m"}}}),
    );
    is_told(&people, &release, "quota", "exceeded quota");
    quota("2");
    println!("quota raised: Ready after {:.1?}", people.wait_ready());
}

/// The Secret of the admin port is the operator's own; no field names another.
#[test]
fn an_admin_secret_that_is_gone_or_wrong_heals() {
    let _turn = beside_others();
    let namespace = Namespace::new("secret");
    let release = Release::install(&namespace);
    let people = Instance::create(&namespace, "people", &json!({}));
    let before = people.life();
    let token = || -> Value { namespace.get("secrets", "people-admin")["data"]["token"].clone() };
    let first = token();

    namespace.kubectl(&["delete", "secret", "people-admin"]);
    let (second, took) = wait("it is made again", SOON, || {
        namespace
            .find("secrets", "people-admin")
            .map(|secret| secret["data"]["token"].clone())
    });
    assert_ne!(second, first);
    println!("deleted: made again after {took:.1?}");
    // The kubelet brings it to the pod, and the node reads it there.
    people.patch(&json!({"engine": {"checkpointInterval": "7s"}}));
    let (_, took) = people.wait_condition("ConfigApplied", "True");
    println!("deleted: a setting reached the node with the new token after {took:.1?}");

    let wrong = json!({"data": {"token": null}});
    namespace
        .patch("secrets", "people-admin", &wrong)
        .expect(200);
    is_told(
        &people,
        &release,
        "without its token",
        "people-admin lacks the key token",
    );
    namespace.kubectl(&["delete", "secret", "people-admin"]);
    println!("deleted: Ready after {:.1?}", people.wait_ready());
    people.patch(&json!({"engine": {"checkpointInterval": "8s"}}));
    people.wait_condition("ConfigApplied", "True");
    assert_eq!(people.life(), before, "nothing restarted");
}
