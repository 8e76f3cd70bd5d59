//! Volumes: grown under load, when full, when stopped; what cannot grow; what must not shrink.

use std::time::Duration;

use godb_tests::Client;
use godb_tests::random::Random;
use serde_json::json;

use crate::instance::Instance;
use crate::kube::{Namespace, holds, wait, word};
use crate::load::{Load, Shape};
use crate::release::{Release, SOON, beside_others};

fn capacity(people: &Instance<'_>) -> String {
    let claim = people.claim().expect("a claim");
    word(&claim["status"]["capacity"]["storage"]).to_owned()
}

#[track_caller]
fn wait_capacity(people: &Instance<'_>, size: &str) -> Duration {
    wait(&format!("the claim has {size}"), SOON, || {
        (capacity(people) == size).then_some(())
    })
    .1
}

#[test]
fn a_volume_grows_under_load_when_it_is_full_and_when_stopped() {
    let _turn = beside_others();
    let namespace = Namespace::new("grow");
    let _release = Release::install(&namespace);
    let people = Instance::create(&namespace, "people", &json!({"storage": {"size": "64Mi"}}));
    let before = people.life();
    drop(people.client());

    let load = Load::start(people.address(), Shape::default());
    std::thread::sleep(Duration::from_secs(1));
    people.patch(&json!({"storage": {"size": "96Mi"}}));
    let took = wait_capacity(&people, "96Mi");
    std::thread::sleep(Duration::from_secs(1));
    let report = load.stop();
    assert_eq!(report.failures(), Vec::<&String>::new());
    assert_eq!(people.life(), before, "no restart");
    report.verify(people.address());
    println!(
        "under load: 64Mi to 96Mi in {took:.1?}, {} requests, none failed",
        report.requests()
    );

    let mut client = people.client();
    fill(&mut client);
    people.patch(&json!({"storage": {"size": "192Mi"}}));
    let took = wait_capacity(&people, "192Mi");
    let (_, again) = wait("writes are taken again", SOON, || {
        let answer = client.post("/collections/fill", "{\"_id\":\"after\"}");
        (answer.status == 201).then_some(())
    });
    assert_eq!(people.life(), before, "no restart");
    println!("when full: 192Mi after {took:.1?}, writes {again:.1?} later");
    report.verify(people.address());

    // The StatefulSet was made again with the new size, and the pod stayed.
    wait("the template has the new size", SOON, || {
        let set = namespace.find("statefulsets", "people")?;
        let template =
            &set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"];
        (template == "192Mi").then_some(())
    });
    people.wait_ready();
    assert_eq!(people.life(), before, "no restart");

    people.patch(&json!({"stopped": true}));
    wait("the pod is gone", SOON, || {
        namespace
            .find("pods", &people.pod_name())
            .is_none()
            .then_some(())
    });
    people.patch(&json!({"storage": {"size": "224Mi"}}));
    people.wait_message("StorageResizing", "True", "WaitsForMount");
    people.patch(&json!({"stopped": false}));
    people.wait_ready();
    wait_capacity(&people, "224Mi");
    people.wait_condition("StorageResizing", "False");
    drop(people.client());
    report.verify(people.address());
}

/// Writes until the node says that the disk is full.
fn fill(client: &mut Client) {
    // Tables are compressed, so it must be nothing that compresses well.
    let mut random = Random::new(7);
    for number in 0..5_000 {
        let text: String = (0..12_000)
            .map(|_| format!("{:016x}", random.next_u64()))
            .collect();
        let body = json!({"_id": format!("f{number:05}"), "t": text});
        match client.post("/collections/fill", &body.to_string()).status {
            201 => {}
            507 => return,
            // Held back: the node makes room first.
            429 => std::thread::sleep(Duration::from_millis(200)),
            other => panic!("status {other}"),
        }
    }
    panic!("the volume does not fill");
}

#[test]
fn a_class_that_cannot_grow_says_so_and_nothing_shrinks() {
    let _turn = beside_others();
    let namespace = Namespace::new("fixed");
    let _release = Release::install(&namespace);
    let people = Instance::create(
        &namespace,
        "people",
        &json!({"storage": {"size": "64Mi", "storageClassName": "loop-fixed"}}),
    );
    let before = people.life();
    let set = || namespace.get("statefulsets", "people")["metadata"]["uid"].clone();
    let old_set = set();

    let said = people.refused(&json!({"storage": {"size": "32Mi"}}));
    println!("lowered: {said}");
    let said = people.refused(&json!({"storage": {"storageClassName": "loop"}}));
    println!("another class: {said}");

    people.patch(&json!({"storage": {"size": "10Ti"}}));
    let condition = people.wait_message("StorageResizing", "False", "support resize");
    println!(
        "cannot grow: {} {}",
        word(&condition["reason"]),
        word(&condition["message"])
    );
    assert_eq!(set(), old_set, "the StatefulSet is untouched");
    holds("no restart", Duration::from_secs(3), || {
        people.life() == before
    });

    // A size that was never there can be taken back, down to what is there.
    let said = people.refused(&json!({"storage": {"size": "32Mi"}}));
    println!("lowered below what is there: {said}");
    people.patch(&json!({"storage": {"size": "64Mi"}}));
    people.wait_ready();
    assert_eq!((set(), people.life()), (old_set, before));
}
