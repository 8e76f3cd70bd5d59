//! New versions of operator and node, and images that do not work.

use std::time::Duration;

use serde_json::json;

use crate::instance::Instance;
use crate::kube::{Namespace, holds, wait, word};
use crate::load::{Load, Shape};
use crate::release::{NEXT, Release, SOON, beside_others, is_ready};

#[test]
fn an_operator_that_renders_another_pod_restarts_none() {
    let _turn = beside_others();
    let namespace = Namespace::new("operator-upgrade");
    let release = Release::install(&namespace);
    // Without an image of its own it has the operator's.
    let people = Instance::create(&namespace, "people", &json!({"image": null}));
    let before = people.life();
    release.helm("upgrade", &["node.image.repository=localhost/godb-next"]);
    release.wait_ready();
    let condition = people.wait_message("UpdatePending", "True", "image");
    println!("{}", word(&condition["message"]));
    holds("no pod restarts", Duration::from_secs(3), || {
        people.life() == before
    });
    people.wait_ready();

    // With the next restart that the user causes it goes in.
    namespace.kubectl(&[
        "annotate",
        "godbinstance",
        "people",
        "godb.dev/restart-at=now",
    ]);
    wait("the pod has the next image", SOON, || {
        let pod = namespace.find("pods", &people.pod_name())?;
        (is_ready(&pod)
            && pod["spec"]["containers"][0]["image"]
                .as_str()
                .is_some_and(|image| image.starts_with("localhost/godb-next:")))
        .then_some(())
    });
    people.wait_condition("UpdatePending", "False");
    people.wait_ready();
}

#[test]
fn a_node_upgrade_is_one_orderly_restart() {
    let _turn = beside_others();
    let namespace = Namespace::new("node-upgrade");
    let _release = Release::install(&namespace);
    let people = Instance::create(&namespace, "people", &json!({}));
    let (uid, _) = people.life();
    drop(people.client());
    let load = Load::start(people.address(), Shape::default());
    std::thread::sleep(Duration::from_secs(1));
    people.patch(&json!({"image": NEXT}));
    let (_, took) = wait("the pod has the next image", SOON, || {
        let pod = namespace.find("pods", &people.pod_name())?;
        (is_ready(&pod) && pod["spec"]["containers"][0]["image"] == NEXT).then_some(())
    });
    people.wait_ready();
    std::thread::sleep(Duration::from_secs(1));
    let report = load.stop();
    let (new_uid, restarts) = people.life();
    assert_ne!(new_uid, uid);
    assert_eq!(restarts, 0, "one restart, and none of the container");
    println!(
        "upgrade: Ready after {took:.1?}, writers stood still for {:.1?}",
        report.outage()
    );
    report.verify(people.address());
}

#[test]
fn an_instance_heals_when_its_spec_is_corrected() {
    let _turn = beside_others();
    let namespace = Namespace::new("broken");
    let _release = Release::install(&namespace);
    let people = Instance::create(&namespace, "people", &json!({}));
    people.patch(&json!({"scheduling": {"nodeSelector": {"disk": "fast"}}}));
    let condition = people.wait_message("Ready", "False", "selector");
    println!(
        "no such label: {} {}",
        word(&condition["reason"]),
        word(&condition["message"])
    );
    people.patch(&json!({"scheduling": {"nodeSelector": null}}));
    println!(
        "selector corrected: Ready after {:.1?}",
        people.wait_ready()
    );
}
