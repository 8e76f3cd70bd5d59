//! Snapshots, schedules and restores: documents that are gone come back, and nothing that was
//! written after the snapshot is in it.

use serde_json::{Value, json};

use crate::instance::Instance;
use crate::kube::{Namespace, wait, word};
use crate::release::{Release, SOON, beside_others};

pub fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "godb.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name}, "spec": spec,
    })
}

/// Makes an object and waits until its phase is this one: it.
#[track_caller]
pub fn make(namespace: &Namespace, plural: &str, object: &Value, phase: &str) -> Value {
    namespace.create(plural, object).expect(201);
    let name = word(&object["metadata"]["name"]).to_owned();
    let what = format!("{plural}/{name} is {phase}");
    let (found, took) = wait(&what, SOON, || {
        let found = namespace.get(plural, &name);
        let now = word(&found["status"]["phase"]).to_owned();
        assert!(
            now == phase || !["Succeeded", "Failed"].contains(&&*now),
            "{what}: {}",
            found["status"]
        );
        (now == phase).then_some(found)
    });
    println!("{what} after {took:.1?}: {}", found["status"]);
    found
}

/// A claim for copies.
fn claim(namespace: &Namespace, name: &str) {
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    namespace
        .create("persistentvolumeclaims", &claim)
        .expect(201);
}

fn put(people: &Instance<'_>, id: &str, value: u64) {
    let mut client = people.client();
    let body = json!({"_id": id, "value": value}).to_string();
    let path = format!("/collections/people/documents/{id}");
    let replaced = client.request(
        "PUT",
        &path,
        &[("Content-Type", "application/json")],
        body.as_bytes(),
    );
    if replaced.status == 404 {
        client.post("/collections/people", &body).expect(201);
    } else {
        replaced.expect(200);
    }
}

fn get(people: &Instance<'_>, id: &str) -> Option<Value> {
    let answer = people.client().request(
        "GET",
        &format!("/collections/people/documents/{id}"),
        &[],
        b"",
    );
    (answer.status == 200).then(|| answer.json()["value"].clone())
}

#[test]
fn an_instance_goes_back_to_a_snapshot_of_its_own_volume() {
    let _turn = beside_others();
    let namespace = Namespace::new("snapown");
    let _release = Release::install(&namespace);
    let people = Instance::create(&namespace, "people", &json!({"storage": {"size": "1Gi"}}));
    put(&people, "kept", 1);
    let spec = json!({
        "instance": "people", "target": {"instanceVolume": {}}, "deletionPolicy": "Delete",
    });
    let before = object("GoDbSnapshot", "before", &spec);
    let made = make(&namespace, "godbsnapshots", &before, "Succeeded");
    assert_eq!(made["status"]["survivesVolumeLoss"], false);
    put(&people, "kept", 2);
    put(&people, "later", 3);
    let spec = json!({"instance": "people", "source": {"snapshot": "before"}});
    let undo = object("GoDbRestore", "undo", &spec);
    make(&namespace, "godbrestores", &undo, "Succeeded");
    people.wait_ready();
    assert_eq!(get(&people, "kept"), Some(json!(1)));
    assert_eq!(get(&people, "later"), None);
    namespace.kubectl(&["delete", "godbsnapshot", "before", "--timeout=60s"]);
}

#[test]
fn a_lost_volume_comes_back_from_a_claim() {
    let _turn = beside_others();
    let namespace = Namespace::new("snapclaim");
    let _release = Release::install(&namespace);
    claim(&namespace, "backups");
    let spec = json!({"storage": {"size": "1Gi"}, "deletionPolicy": "Delete"});
    let people = Instance::create(&namespace, "people", &spec);
    put(&people, "kept", 1);
    let spec = json!({"instance": "people", "target": {"claim": {"name": "backups"}}});
    let monday = object("GoDbSnapshot", "monday", &spec);
    let made = make(&namespace, "godbsnapshots", &monday, "Succeeded");
    assert_eq!(made["status"]["survivesVolumeLoss"], true);
    people.delete();
    wait("its volume is gone", SOON, || {
        namespace
            .find("persistentvolumeclaims", "data-people-0")
            .is_none()
            .then_some(())
    });
    let anew = Instance::create(&namespace, "people", &json!({"storage": {"size": "1Gi"}}));
    assert_eq!(get(&anew, "kept"), None);
    let spec = json!({"instance": "people", "source": {"snapshot": "monday"}});
    let back = object("GoDbRestore", "back", &spec);
    make(&namespace, "godbrestores", &back, "Succeeded");
    anew.wait_ready();
    assert_eq!(get(&anew, "kept"), Some(json!(1)));
}

#[test]
fn a_schedule_keeps_as_many_as_it_shall() {
    let _turn = beside_others();
    let namespace = Namespace::new("snapsched");
    let _release = Release::install(&namespace);
    let _people = Instance::create(&namespace, "people", &json!({"storage": {"size": "1Gi"}}));
    let spec = json!({
        "schedule": "* * * * *", "retention": {"keepLast": 1},
        "template": {"instance": "people", "target": {"instanceVolume": {}}},
    });
    let minutely = object("GoDbSnapshotSchedule", "minutely", &spec);
    namespace
        .create("godbsnapshotschedules", &minutely)
        .expect(201);
    let succeeded = || -> Vec<String> {
        let all = namespace.list("godbsnapshots");
        all.iter()
            .filter(|one| one["status"]["phase"] == "Succeeded")
            .map(|one| word(&one["metadata"]["name"]).to_owned())
            .collect()
    };
    let (first, _) = wait("the first is there", SOON, || succeeded().first().cloned());
    wait("the next took its place", SOON, || {
        let now = succeeded();
        (now.len() == 1 && now[0] != first).then_some(())
    });
}

#[test]
fn what_can_not_be_is_refused_by_the_api_server() {
    let _turn = beside_others();
    let namespace = Namespace::new("snaprules");
    let _release = Release::install(&namespace);
    let both = json!({"instanceVolume": {}, "claim": {"name": "a"}});
    for target in [json!({}), both] {
        let spec = json!({"instance": "people", "target": target});
        let answer = namespace.create("godbsnapshots", &object("GoDbSnapshot", "a", &spec));
        assert_eq!(answer.status, 422, "{}", answer.text());
    }
    let spec = json!({"instance": "people", "target": {"instanceVolume": {}}});
    namespace
        .create("godbsnapshots", &object("GoDbSnapshot", "a", &spec))
        .expect(201);
    for change in [
        json!({"instance": "other"}),
        json!({"deletionPolicy": "Delete"}),
        json!({"target": {"instanceVolume": null, "claim": {"name": "b"}}}),
    ] {
        let answer = namespace.patch("godbsnapshots", "a", &json!({"spec": change}));
        assert_eq!(answer.status, 422, "{change}: {}", answer.text());
    }
}
