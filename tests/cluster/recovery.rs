//! A node that replays for longer than its probes would wait is left alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::instance::Instance;
use crate::kube::{Namespace, holds, succeeded, wait, word};
use crate::release::{Release, SOON, beside_others, is_ready};

const BATCHES: u64 = 60;
const BATCH: u64 = 1000;
const DOCUMENT_BYTES: usize = 400;

/// The control groups of a pod's containers under the block I/O controller (version 1).
fn io_groups(pod: &Value) -> BTreeSet<PathBuf> {
    let uid = word(&pod["metadata"]["uid"]).to_owned();
    let class = match word(&pod["status"]["qosClass"]) {
        "Guaranteed" => String::new(),
        other => format!("{}/", other.to_lowercase()),
    };
    let folder = format!("/sys/fs/cgroup/blkio/godb-cluster/kubepods/{class}pod{uid}");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.is_dir()).collect()
}

/// Bytes that a container may read from a device in a second; 0 is no limit.
fn limit_reads(group: &Path, device: &str, bytes: u64) {
    let file = group.join("blkio.throttle.read_bps_device");
    std::fs::write(&file, format!("{device} {bytes}"))
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

/// How long a failing liveness probe is borne.
fn liveness_budget(pod: &Value) -> Duration {
    let probe = &pod["spec"]["containers"][0]["livenessProbe"];
    let number = |field: &str, default| probe[field].as_u64().unwrap_or(default);
    Duration::from_secs(number("periodSeconds", 10) * number("failureThreshold", 3))
}

/// More than the probe would bear; five times as much with `REPLAY_LONG`.
fn watched(budget: Duration) -> Duration {
    if std::env::var_os("REPLAY_LONG").is_some() {
        budget * 5
    } else {
        budget + Duration::from_secs(15)
    }
}

#[test]
fn a_long_replay_is_not_killed_by_its_probes() {
    let _turn = beside_others();
    let namespace = Namespace::new("replay");
    let _release = Release::install(&namespace);
    // Nothing but the log: no checkpoint comes before the kill.
    let people = Instance::create(
        &namespace,
        "people",
        &json!({
            "storage": {"size": "512Mi"},
            "engine": {
                "durability": "os", "checkpointInterval": "1h", "maxWalSize": "256Mi", "maxMemory": "300Mi",
            },
            "resources": {"limits": {"memory": "512Mi"}},
        }),
    );
    let mut client = people.client();
    for batch in 0..BATCHES {
        let document = |number| {
            let text = format!(
                "{:x}",
                u128::from(batch * BATCH + number) * 0x9E37_79B9_7F4A_7C15_F39C
            );
            json!({"_id": format!("{batch:03}-{number:04}"), "t": text.repeat(DOCUMENT_BYTES / text.len())})
        };
        let documents: Vec<Value> = (0..BATCH).map(document).collect();
        let body = json!({ "documents": documents }).to_string();
        client.post("/collections/people/batch", &body).expect(201);
    }

    let pod = people.pod();
    let budget = liveness_budget(&pod);
    let during = watched(budget);
    let log_bytes = succeeded("du", &["--bytes", "--summarize", &people.mount()], "");
    let log_bytes: u64 = log_bytes
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .expect("a size");
    let rate = log_bytes / 2 / during.as_secs();
    let mount = people.mount();
    let device = succeeded(
        "findmnt",
        &["-n", "-o", "MAJ:MIN", "--mountpoint", &mount],
        "",
    );
    // From the page cache the log would be read at once.
    succeeded("sync", &["--file-system", &mount], "");
    std::fs::write("/proc/sys/vm/drop_caches", "3").expect("this needs root");
    let before = io_groups(&pod);
    people.kill9();
    // The group is there before the program in it runs.
    let began = Instant::now();
    let group = loop {
        if let Some(new) = io_groups(&pod).difference(&before).next() {
            break new.clone();
        }
        assert!(began.elapsed() < SOON, "the container does not start again");
        std::thread::sleep(Duration::from_millis(1));
    };
    limit_reads(&group, device.trim(), rate);
    wait("the new container runs", SOON, || {
        (people.life().1 == 1).then_some(())
    });
    holds("the replay goes on", during, || {
        people.life().1 == 1 && !is_ready(&people.pod())
    });
    limit_reads(&group, device.trim(), 0);
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
    assert_eq!(found["total"], BATCHES * BATCH);
}
