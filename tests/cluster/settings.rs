//! Settings changed while the node runs, and changes by hand that go back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::instance::Instance;
use crate::kube::{Namespace, wait, word};
use crate::load::{Load, Shape};
use crate::release::{Release, SOON, beside_others};

#[test]
fn durability_and_interval_change_under_load_without_a_restart() {
    let _turn = beside_others();
    let namespace = Namespace::new("settings");
    let _release = Release::install(&namespace);
    let people = Instance::create(
        &namespace,
        "people",
        &json!({"engine": {"durability": "os", "checkpointInterval": "30s"}}),
    );
    let before = people.life();
    drop(people.client());
    let load = Load::start(people.address(), Shape::default());
    for (change, seen) in [
        (json!({"durability": "full"}), ("durability", "full")),
        (
            json!({"checkpointInterval": "5s"}),
            ("checkpoint_interval", "5s"),
        ),
        (json!({"durability": "os"}), ("durability", "os")),
        (
            json!({"durability": "full", "maxWalSize": "16Mi"}),
            ("max_wal_size", "16MiB"),
        ),
    ] {
        people.patch(&json!({"engine": change}));
        let (_, took) = people.wait_condition("ConfigApplied", "True");
        let (key, value) = seen;
        let config = people.admin("GET", "/admin/config", "");
        assert_eq!(in_force(&config, key), value, "{config}");
        println!("{change}: ConfigApplied after {took:.2?}");
    }
    std::thread::sleep(Duration::from_secs(1));
    let report = load.stop();
    assert_eq!(report.failures(), Vec::<&String>::new());
    assert_eq!(people.life(), before, "nothing restarted");
    println!(
        "{} requests, none failed, the longest took {:.1?}",
        report.requests(),
        report.longest()
    );
    report.verify(people.address());
}

/// A setting as the node says that it is in force.
fn in_force(config: &Value, key: &str) -> String {
    word(&config["live"][key]).to_owned()
}

const LABEL: &str = "app.kubernetes.io/name";

#[test]
fn what_is_changed_by_hand_goes_back() {
    let _turn = beside_others();
    let namespace = Namespace::new("drift");
    let _release = Release::install(&namespace);
    let people = Instance::create(&namespace, "people", &json!({}));
    let before = people.life();

    people.admin("PUT", "/admin/config", "{\"durability\":\"memory\"}");
    let (_, took) = wait("the node is back at full", SOON, || {
        let config = people.admin("GET", "/admin/config", "");
        (in_force(&config, "durability") == "full").then_some(())
    });
    println!("the node's own setting: back after {took:.1?}");

    // A foreign annotation is not ours to remove.
    namespace.kubectl(&[
        "annotate",
        "service",
        "people",
        "example.com/owner=somebody",
    ]);
    let config = namespace.get("configmaps", "people-config");
    let (file, _) = config["data"]
        .as_object()
        .and_then(|data| data.iter().next())
        .expect("a file");
    for (kind, name, patch, pointer) in [
        (
            "services",
            "people",
            json!({"spec": {"selector": {"stray": "yes"}}}),
            "/spec/selector",
        ),
        (
            "services",
            "people",
            json!({"metadata": {"labels": {LABEL: "x"}}}),
            "/metadata/labels",
        ),
        (
            "services",
            "people-headless",
            json!({"spec": {"publishNotReadyAddresses": false}}),
            "/spec",
        ),
        (
            "serviceaccounts",
            "people",
            json!({"metadata": {"labels": {LABEL: "x"}}}),
            "/metadata/labels",
        ),
        (
            "configmaps",
            "people-config",
            json!({"data": {file: "durability: none"}}),
            "/data",
        ),
        (
            "persistentvolumeclaims",
            "data-people-0",
            json!({"metadata": {"labels": {LABEL: "x"}}}),
            "/metadata/labels",
        ),
        (
            "statefulsets",
            "people",
            json!({"metadata": {"labels": {LABEL: "x"}}}),
            "/metadata/labels",
        ),
    ] {
        let good = namespace.get(kind, name).pointer(pointer).cloned();
        assert!(namespace.patch(kind, name, &patch).status < 300, "{kind}");
        let (_, took) = wait(&format!("{kind}/{name} {pointer} is back"), SOON, || {
            (namespace.get(kind, name).pointer(pointer).cloned() == good).then_some(())
        });
        println!("{kind}/{name} {pointer}: back after {took:.1?}");
    }
    let service = namespace.get("services", "people");
    assert_eq!(
        service["metadata"]["annotations"]["example.com/owner"],
        "somebody"
    );
    assert_eq!(people.life(), before, "none of this restarts the pod");

    for (kind, name) in [("services", "people"), ("configmaps", "people-config")] {
        namespace.kubectl(&["delete", kind, name]);
        let (_, took) = wait("it is made again", SOON, || namespace.find(kind, name));
        println!("deleted {kind}/{name}: back after {took:.1?}");
    }
    assert_eq!(people.life(), before, "none of this restarts the pod");
    namespace
        .patch("statefulsets", "people", &json!({"spec": {"replicas": 0}}))
        .expect(200);
    let (_, took) = wait("one replica is back", SOON, || {
        (namespace.get("statefulsets", "people")["spec"]["replicas"] == 1).then_some(())
    });
    println!("replicas 0: back after {took:.1?}");
    people.wait_ready();
}
