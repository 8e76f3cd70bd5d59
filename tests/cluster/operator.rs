//! The operator's own bad days: killed at any moment, two at once, no API server.

use std::time::{Duration, Instant};

use godb_tests::random::{Random, seed};
use serde_json::json;

use crate::instance::Instance;
use crate::kube::{Namespace, holds, run, succeeded, wait, word};
use crate::load::{Load, Shape};
use crate::release::{Release, SOON, alone, beside_others, signal, wake};

#[test]
fn an_operator_killed_again_and_again_still_gets_there() {
    let _turn = beside_others();
    let seed = seed();
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let namespace = Namespace::new("operator-killed");
    let release = Release::install(&namespace);
    let people = Instance::apply(&namespace, "people", &json!({"storage": {"size": "64Mi"}}));
    let mut kills = 0;
    let mut kill_during = |moments: u64| {
        std::thread::sleep(Duration::from_millis(random.below(moments)));
        if release
            .pods()
            .iter()
            .any(|pod| crate::release::process_of(pod).is_some())
        {
            release.kill9();
            kills += 1;
        }
    };
    kill_during(300);
    people.wait_ready();
    let before = people.life();
    for size in ["80Mi", "96Mi", "112Mi"] {
        people.patch(&json!({"storage": {"size": size}}));
        kill_during(400);
        wait("the claim has the new size", SOON, || {
            let claim = people.claim()?;
            (claim["status"]["capacity"]["storage"] == size).then_some(())
        });
        wait("the StatefulSet is there with the new size", SOON, || {
            let set = namespace.find("statefulsets", "people")?;
            let template =
                &set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"];
            (template == size).then_some(())
        });
    }
    people.wait_ready();
    assert_eq!(people.life(), before, "nothing restarted that need not");
    println!("{kills} kills");
}

/// The holder of the Lease, of which there is one for each release.
fn holder(namespace: &Namespace) -> Option<String> {
    let leases = namespace.list("leases");
    let lease = leases.first()?;
    let holder = word(&lease["spec"]["holderIdentity"]);
    (!holder.is_empty()).then(|| holder.to_owned())
}

#[test]
fn of_two_operators_one_works_and_the_other_takes_over() {
    let _turn = beside_others();
    let namespace = Namespace::new("two");
    let release = Release::install_as(&namespace, "godb", &["replicas=2"]);
    let people = Instance::create(&namespace, "people", &json!({}));
    let before = people.life();
    let first = holder(&namespace).expect("a holder");
    let leader = release
        .pods()
        .into_iter()
        .find(|pod| first.contains(word(&pod["metadata"]["name"])))
        .expect("the holder is one of the pods");
    signal(&leader, "STOP");
    let (second, took) = wait("another holder", SOON, || {
        holder(&namespace).filter(|now| *now != first)
    });
    println!("the leader stood still: {second} took over after {took:.1?}");
    people.patch(&json!({"engine": {"checkpointInterval": "11s"}}));
    people.wait_condition("ConfigApplied", "True");
    // It wakes up and believes to be the leader, until it looks.
    wake(&leader);
    holds("one holder stays", Duration::from_secs(5), || {
        holder(&namespace).as_ref() == Some(&second)
    });
    people.patch(&json!({"engine": {"checkpointInterval": "12s"}}));
    people.wait_condition("ConfigApplied", "True");
    assert_eq!(people.life(), before);
}

/// How long the API server stands still: `FROZEN_SECONDS`, 20 if not said.
fn frozen() -> Duration {
    let seconds = std::env::var("FROZEN_SECONDS")
        .map_or(20, |text| text.parse().expect("FROZEN_SECONDS is a number"));
    Duration::from_secs(seconds)
}

/// The API server, which goes on whatever becomes of the test.
struct Frozen(String);

impl Frozen {
    fn now() -> Self {
        let server = succeeded("pgrep", &["-x", "kube-apiserver"], "");
        let server = server.trim().to_owned();
        succeeded("kill", &["-STOP", &server], "");
        Self(server)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        run("kill", &["-CONT", &self.0], "");
    }
}

#[test]
fn a_frozen_api_server_restarts_nothing_and_loses_no_request() {
    let _turn = alone();
    let namespace = Namespace::new("frozen");
    let release = Release::install(&namespace);
    let people = Instance::create(&namespace, "people", &json!({}));
    drop(people.client());
    let before = people.life();
    let operator = release.pods();
    let load = Load::start(people.address(), Shape::default());
    let server = Frozen::now();
    std::thread::sleep(frozen());
    drop(server);
    people.patch(&json!({"engine": {"checkpointInterval": "7s"}}));
    let (_, took) = people.wait_condition("ConfigApplied", "True");
    let report = load.stop();
    assert_eq!(report.failures(), Vec::<&String>::new());
    assert_eq!(people.life(), before, "the node did not notice");
    // Longer than its grace period, and Kubernetes believes the machine to be gone until the kubelet
    // speaks again: connections that are there last, new ones must wait.
    let began = Instant::now();
    drop(people.client());
    println!("a new connection was taken after {:.1?}", began.elapsed());
    report.verify(people.address());
    let restarts = |pods: &[serde_json::Value]| {
        pods.iter()
            .map(|pod| pod["status"]["containerStatuses"][0]["restartCount"].as_u64())
            .sum::<Option<u64>>()
    };
    println!(
        "API server frozen for {:.0?}: {} requests, none failed; the next change was applied after {took:.1?}; operator restarts {:?} -> {:?}",
        frozen(),
        report.requests(),
        restarts(&operator),
        restarts(&release.pods())
    );
}
