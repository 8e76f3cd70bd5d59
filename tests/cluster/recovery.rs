//! A node that replays for longer than its probes would wait is left alone.

use std::time::Duration;

use serde_json::{Value, json};

use crate::instance::Instance;
use crate::kube::{Namespace, holds, wait, word};
use crate::release::{Release, SOON, beside_others, is_ready};

/// The control group of a pod under the CPU controller (version 1 of control groups).
fn cpu_group(pod: &Value) -> String {
    let uid = word(&pod["metadata"]["uid"]).to_owned();
    let class = match word(&pod["status"]["qosClass"]) {
        "Guaranteed" => String::new(),
        other => format!("{}/", other.to_lowercase()),
    };
    format!("/sys/fs/cgroup/cpu/godb-cluster/kubepods/{class}pod{uid}")
}

/// Microseconds of CPU in each 100 ms for a whole pod; -1 is no limit.
fn limit_cpu(group: &str, microseconds: i64) {
    std::fs::write(
        format!("{group}/cpu.cfs_quota_us"),
        microseconds.to_string(),
    )
    .unwrap_or_else(|error| panic!("{group}: {error}"));
}

/// How long a failing liveness probe is borne.
fn liveness_budget(pod: &Value) -> Duration {
    let probe = &pod["spec"]["containers"][0]["livenessProbe"];
    let number = |field: &str, default| probe[field].as_u64().unwrap_or(default);
    Duration::from_secs(number("periodSeconds", 10) * number("failureThreshold", 3))
}

#[test]
fn a_long_replay_is_not_killed_by_its_probes() {
    let _turn = beside_others();
    let namespace = Namespace::new("replay");
    let _release = Release::install(&namespace);
    let people = Instance::create(
        &namespace,
        "people",
        &json!({
            "storage": {"size": "512Mi"},
            "engine": {"durability": "os", "checkpointInterval": "1h", "maxWalSize": "256Mi", "maxMemory": "128Mi"},
            "resources": {"limits": {"memory": "512Mi"}},
        }),
    );
    let mut client = people.client();
    let text = "x".repeat(400);
    for batch in 0..60 {
        let documents: Vec<Value> = (0..1000)
            .map(|number| json!({"_id": format!("{batch:03}-{number:04}"), "t": text}))
            .collect();
        client
            .post(
                "/collections/people/batch",
                &json!({"documents": documents}).to_string(),
            )
            .expect(201);
    }
    let pod = people.pod();
    let group = cpu_group(&pod);
    let budget = liveness_budget(&pod);
    // So little that the replay takes minutes, and the probes are slow as well.
    limit_cpu(&group, 2_000);
    people.kill9();
    wait("the container starts again", SOON, || {
        (people.life().1 == 1).then_some(())
    });
    let during = if std::env::var_os("REPLAY_LONG").is_some() {
        budget * 5
    } else {
        budget + budget / 2
    };
    holds("the replay goes on", during, || {
        people.life().1 == 1 && !is_ready(&people.pod())
    });
    limit_cpu(&group, -1);
    let took = people.wait_pod_ready();
    assert_eq!(people.life().1, 1, "one restart: the kill's");
    println!(
        "a replay of more than {during:.0?}, liveness budget {budget:.0?}, restarts by a probe: 0; Ready {took:.1?} later"
    );
    let found = people
        .client()
        .get("/collections/people/find?limit=1")
        .expect(200)
        .json();
    assert_eq!(found["total"], 60_000);
}
