//! Sudden ends under load. At `full`, what was acknowledged is there afterwards.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::instance::Instance;
use crate::kube::{Namespace, run, succeeded, wait, word};
use crate::load::{Load, Shape};
use crate::release::{Release, SOON, beside_others};

/// Load before and after something happens to the pod.
fn survives(people: &Instance<'_>, what: &str, happens: impl FnOnce()) {
    drop(people.client());
    let before = people.life();
    let load = Load::start(people.address(), Shape::default());
    std::thread::sleep(Duration::from_secs(2));
    let began = Instant::now();
    happens();
    wait("another life of the pod", SOON, || {
        let pod = people.namespace.find("pods", &people.pod_name())?;
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
        let life = (
            word(&pod["metadata"]["uid"]).to_owned(),
            restarts.unwrap_or_default(),
        );
        (life != before && crate::release::is_ready(&pod)).then_some(())
    });
    let ready = began.elapsed();
    std::thread::sleep(Duration::from_secs(2));
    let report = load.stop();
    println!(
        "{what}: Ready after {ready:.1?}, writers stood still for {:.1?}; {} of {} requests had no answer",
        report.outage(),
        report.failures().len(),
        report.requests()
    );
    drop(people.client());
    report.verify(people.address());
    people.client().delete("/collections/load/documents/none");
    // The next load begins with new documents.
    clear(people);
}

/// Removes what the load wrote.
fn clear(people: &Instance<'_>) {
    let mut client = people.client();
    let all = client
        .get("/collections/load/find_with_stream")
        .expect(200)
        .json();
    for document in all.as_array().expect("an array") {
        client
            .delete(&format!(
                "/collections/load/documents/{}",
                word(&document["_id"])
            ))
            .expect(204);
    }
}

#[test]
fn a_failed_disk_loses_nothing_acknowledged() {
    let _turn = beside_others();
    let namespace = Namespace::new("disk");
    let _release = Release::install(&namespace);
    let people = Instance::create(&namespace, "people", &json!({"storage": {"size": "128Mi"}}));
    survives(
        &people,
        "every call to the volume fails, then a new pod",
        || {
            succeeded("xfs_io", &["-x", "-c", "shutdown", &people.mount()], "");
            std::thread::sleep(Duration::from_secs(3));
            // A mounted file system that was shut down stays so; only a new pod mounts it again.
            namespace.kubectl(&["delete", "pod", &people.pod_name(), "--wait"]);
        },
    );
}

#[test]
fn damage_is_reported_with_its_place_and_goes_when_it_is_repaired() {
    let _turn = beside_others();
    let namespace = Namespace::new("damage");
    let _release = Release::install(&namespace);
    let people = Instance::create(&namespace, "people", &json!({}));
    people
        .client()
        .post("/collections/people", "{\"_id\":\"ada\"}")
        .expect(201);
    let manifest =
        PathBuf::from(succeeded("find", &[&people.mount(), "-name", "MANIFEST"], "").trim());
    let whole = std::fs::read(&manifest).expect("a manifest");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&manifest, &damaged).expect("written");
    people.kill9();
    let condition = people.wait_message("Ready", "False", "MANIFEST");
    println!(
        "{} {}",
        word(&condition["reason"]),
        word(&condition["message"])
    );
    std::fs::write(&manifest, &whole).expect("written");
    // The kubelet waits longer before each start.
    let (_, took) = wait("it is Ready again", SOON * 2, || {
        people
            .condition("Ready")
            .filter(|ready| ready["status"] == "True")
    });
    println!("repaired: Ready after {took:.1?}");
    people
        .client()
        .get("/collections/people/documents/ada")
        .expect(200);
}

#[test]
fn no_acknowledged_write_is_lost_by_a_kill_a_deleted_pod_or_a_drain() {
    let _turn = beside_others();
    let namespace = Namespace::new("kills");
    let _release = Release::install(&namespace);
    let people = Instance::create(
        &namespace,
        "people",
        &json!({"storage": {"size": "128Mi"}, "pod": {"labels": {"drain": namespace.name}}}),
    );
    survives(&people, "kill -9", || people.kill9());
    survives(&people, "kubectl delete pod", || {
        namespace.kubectl(&["delete", "pod", &people.pod_name(), "--wait=false"]);
    });
    survives(
        &people,
        "kubectl delete pod --grace-period=0 --force",
        || {
            namespace.kubectl(&[
                "delete",
                "pod",
                &people.pod_name(),
                "--grace-period=0",
                "--force",
            ]);
        },
    );
    survives(&people, "kubectl drain, uncordon", || {
        let ours = format!("--pod-selector=drain={}", namespace.name);
        let drained = run(
            "kubectl",
            &[
                "drain",
                "node1",
                &ours,
                "--delete-emptydir-data",
                "--timeout=180s",
            ],
            "",
        );
        // Whatever came of it: other tests need the machine.
        succeeded("kubectl", &["uncordon", "node1"], "");
        assert!(
            drained.status.success(),
            "{}",
            String::from_utf8_lossy(&drained.stderr)
        );
    });
}
