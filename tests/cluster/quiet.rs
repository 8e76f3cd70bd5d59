//! A steady state in which the operator writes nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::audit::Audit;
use crate::instance::Instance;
use crate::kube::{Namespace, request, wait, word};
use crate::load::{Load, Shape};
use crate::release::{Release, SOON, beside_others};

const INSTANCES: usize = 5;

/// Seconds that it is watched: `QUIET_SECONDS`, one minute if not said.
fn watched() -> Duration {
    let seconds = std::env::var("QUIET_SECONDS")
        .map_or(60, |text| text.parse().expect("QUIET_SECONDS is a number"));
    Duration::from_secs(seconds)
}

/// Bytes in use and CPU nanoseconds so far of a pod, as the kubelet counts them.
fn usage(namespace: &Namespace, pod: &str) -> Option<(u64, u64)> {
    let summary = request("GET", "/api/v1/nodes/node1/proxy/stats/summary", "", "")
        .expect(200)
        .json();
    let pods = summary["pods"].as_array()?;
    let ours = pods.iter().find(|found| {
        found["podRef"]["namespace"] == namespace.name.as_str() && found["podRef"]["name"] == pod
    })?;
    Some((
        ours["memory"]["workingSetBytes"].as_u64()?,
        ours["cpu"]["usageCoreNanoSeconds"].as_u64()?,
    ))
}

#[test]
fn five_instances_under_load_and_the_operator_writes_only_its_lease() {
    let _turn = beside_others();
    let namespace = Namespace::new("quiet");
    let release = Release::install(&namespace);
    let names: Vec<String> = (1..=INSTANCES)
        .map(|number| format!("quiet{number}"))
        .collect();
    let instances: Vec<Instance<'_>> = names
        .iter()
        .map(|name| Instance::apply(&namespace, name, &json!({"storage": {"size": "256Mi"}})))
        .collect();
    for instance in &instances {
        instance.wait_ready();
        drop(instance.client());
    }
    let shape = Shape {
        writers: 1,
        pace: Duration::from_millis(10),
        document_bytes: 300,
    };
    let loads: Vec<Load> = instances
        .iter()
        .map(|one| Load::start(one.address(), shape))
        .collect();
    // What the creation still has to say is said within seconds.
    let mut last = (0, Instant::now());
    let audit = Audit::begin();
    wait("ten seconds without a write", SOON, || {
        let mut writes = audit.writes_of(&namespace.name, &release.account());
        writes.retain(|write| write.resource != "leases");
        if writes.len() != last.0 {
            last = (writes.len(), Instant::now());
        }
        (last.1.elapsed() >= Duration::from_secs(10)).then_some(())
    });

    let operator = word(&release.pods()[0]["metadata"]["name"]).to_owned();
    let before: Vec<Value> = instances.iter().map(Instance::object).collect();
    let audit = Audit::begin();
    let (began, first) = (Instant::now(), usage(&namespace, &operator));
    std::thread::sleep(watched());
    let writes = audit.writes_of(&namespace.name, &release.account());
    let (leases, others): (Vec<_>, Vec<_>) = writes
        .into_iter()
        .partition(|write| write.resource == "leases");
    assert_eq!(others, [], "nothing but the Lease");
    assert!(
        !leases.is_empty(),
        "the audit log has the operator's Lease: it would have the rest"
    );
    for (instance, before) in instances.iter().zip(&before) {
        assert_eq!(
            &instance.object()["metadata"]["resourceVersion"],
            &before["metadata"]["resourceVersion"]
        );
    }
    let mut requests = 0;
    for (load, instance) in loads.into_iter().zip(&instances) {
        let report = load.stop();
        assert_eq!(report.failures(), Vec::<&String>::new());
        report.verify(instance.address());
        requests += report.requests();
    }
    let cost = match (first, usage(&namespace, &operator)) {
        (Some((_, before)), Some((bytes, after))) => {
            let busy = Duration::from_nanos(after - before);
            format!(
                "{} KiB, {:.1} ms of CPU a second",
                bytes / 1024,
                busy.as_secs_f64() * 1000.0 / began.elapsed().as_secs_f64()
            )
        }
        _ => "not counted yet by the kubelet".to_owned(),
    };
    println!(
        "{:.0?}: {INSTANCES} instances, {requests} requests, {} writes of the Lease, none else; the operator: {cost}",
        began.elapsed(),
        leases.len()
    );
}
