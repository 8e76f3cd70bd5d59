//! `stopped`, `paused`, and what becomes of a volume when its instance is deleted.

use std::time::Duration;

use serde_json::{Value, json};

use crate::audit::Audit;
use crate::instance::Instance;
use crate::kube::{Namespace, holds, wait};
use crate::release::{Release, SOON, beside_others};

#[test]
fn stopped_keeps_the_volume_and_paused_writes_nothing() {
    let _turn = beside_others();
    let namespace = Namespace::new("stopped");
    let release = Release::install(&namespace);
    let people = Instance::create(&namespace, "people", &json!({}));
    people
        .client()
        .post("/collections/people", "{\"_id\":\"ada\"}")
        .expect(201);

    people.patch(&json!({"stopped": true}));
    let (_, took) = wait("the pod is gone", SOON, || {
        namespace
            .find("pods", &people.pod_name())
            .is_none()
            .then_some(())
    });
    println!("stopped after {took:.1?}");
    assert!(people.claim().is_some());
    people.patch(&json!({"stopped": false}));
    println!("resumed: Ready after {:.1?}", people.wait_ready());
    people
        .client()
        .get("/collections/people/documents/ada")
        .expect(200);

    people.patch(&json!({"paused": true}));
    people.wait_condition("ReconciliationPaused", "True");
    std::thread::sleep(Duration::from_secs(1));
    let audit = Audit::begin();
    people.patch(&json!({"stopped": true, "engine": {"checkpointInterval": "9s"}, "storage": {"size": "128Mi"}}));
    namespace.delete("services", "people");
    holds("the pod is left alone", Duration::from_secs(8), || {
        namespace.find("pods", &people.pod_name()).is_some()
    });
    let mut writes = audit.writes_of(&namespace.name, &release.account());
    writes.retain(|write| write.resource != "leases" && write.resource != "godbinstances/status");
    assert_eq!(writes, [], "paused: no write but status and Lease");
    assert!(namespace.find("services", "people").is_none());

    people.patch(&json!({"paused": false, "stopped": false}));
    people.wait_ready();
    people
        .client()
        .get("/collections/people/documents/ada")
        .expect(200);
}

/// Whether the instance owns its volume: then the garbage collector takes it along.
fn owned(people: &Instance<'_>) -> bool {
    let claim = people.claim().expect("a claim");
    let owners = claim["metadata"]["ownerReferences"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    owners
        .iter()
        .any(|owner: &Value| owner["kind"] == "GoDbInstance")
}

#[test]
fn a_volume_stays_or_goes_as_the_policy_says_at_the_deletion() {
    let _turn = beside_others();
    let namespace = Namespace::new("deletion");
    let _release = Release::install(&namespace);
    // Policy at the beginning, whether it is stopped when the policy changes, policy at the end.
    for (name, first, stopped, last) in [
        ("kept", "Retain", false, "Retain"),
        ("gone", "Retain", false, "Delete"),
        ("gone-stopped", "Retain", true, "Delete"),
        ("kept-again", "Delete", false, "Retain"),
        ("kept-stopped", "Delete", true, "Retain"),
    ] {
        let people = Instance::create(&namespace, name, &json!({"deletionPolicy": first}));
        people
            .client()
            .post("/collections/people", "{\"_id\":\"ada\"}")
            .expect(201);
        if stopped {
            people.patch(&json!({"stopped": true}));
            wait("the pod is gone", SOON, || {
                namespace
                    .find("pods", &people.pod_name())
                    .is_none()
                    .then_some(())
            });
        }
        people.patch(&json!({"deletionPolicy": last}));
        wait("the policy is in force", SOON, || {
            (people.object()["status"]["deletionPolicy"] == last
                && owned(&people) == (last == "Delete"))
                .then_some(())
        });
        people.delete();
        if last == "Delete" {
            let (_, took) = wait("the volume is gone", SOON, || {
                people.claim().is_none().then_some(())
            });
            println!("{name}: the volume was gone after {took:.1?}");
            continue;
        }
        holds("the volume stays", Duration::from_secs(3), || {
            people.claim().is_some()
        });
        if stopped {
            continue; // the next lines once are enough
        }
        let again = Instance::create(&namespace, name, &json!({}));
        again
            .client()
            .get("/collections/people/documents/ada")
            .expect(200);
        again.patch(&json!({"stopped": true}));
    }
}
