//! A snapshot in a bucket, taken while writes go on: it holds a beginning of what was written, it
//! survives instance and volume, and a bucket that cannot be reached is said.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use godb_tests::Client;
use godb_tests::node::free_port;
use serde_json::{Value, json};

use crate::instance::Instance;
use crate::kube::{Namespace, wait, word};
use crate::release::{Release, SOON, beside_others};
use crate::snapshots::{make, object};

/// The address of the cluster's node on the bridge of its pods.
const NODE_IP: &str = "10.244.0.1";
const BUCKET: &str = "backups";
const SECRET: &str = "backups-keys";
const BATCH: u64 = 1000;

/// Documents beside those that are written meanwhile.
fn documents() -> u64 {
    std::env::var("GODB_SNAPSHOT_DOCUMENTS").map_or(5_000, |text| {
        text.parse().expect("GODB_SNAPSHOT_DOCUMENTS is a number")
    })
}

/// A server that speaks S3, where pods reach it.
struct Store {
    child: Child,
    address: SocketAddr,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Store {
    fn start() -> Self {
        let port = free_port();
        let child = Command::new("moto_server")
            .args(["-H", NODE_IP, "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto_server, which scripts/cluster-test.sh installs");
        let address = SocketAddr::new(NODE_IP.parse().unwrap(), port);
        wait("the store listens", SOON, || {
            TcpStream::connect(address).ok()
        });
        let made = Client::new(address).put(&format!("/{BUCKET}"), "");
        assert_eq!(made.status, 200, "{}", made.text());
        Self { child, address }
    }

    fn target(&self, prefix: &str) -> Value {
        json!({"s3": {
            "bucket": BUCKET, "prefix": prefix, "credentialsSecret": SECRET,
            "endpoint": format!("http://{}", self.address),
        }})
    }

    /// What of this name is in the bucket.
    fn has(&self, name: &str) -> bool {
        let all = Client::new(self.address).get(&format!("/{BUCKET}?list-type=2"));
        assert_eq!(all.status, 200);
        all.text().contains(name)
    }
}

fn secret(namespace: &Namespace) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET},
        "stringData": {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "thing"},
    });
    namespace.create("secrets", &secret).expect(201);
}

fn fill(people: &Instance<'_>, count: u64) {
    let mut client = people.client();
    for first in (0..count).step_by(usize::try_from(BATCH).unwrap()) {
        let batch: Vec<Value> = (first..count.min(first + BATCH))
            .map(|n| json!({"_id": format!("p{n}"), "n": n, "text": "x".repeat(200)}))
            .collect();
        let body = json!({ "documents": batch }).to_string();
        client.post("/collections/people/batch", &body).expect(201);
    }
}

/// One document after the other until `done`: how many were acknowledged, and the slowest.
fn write(mut client: Client, count: &std::sync::atomic::AtomicU64, done: &AtomicBool) -> Duration {
    let mut slowest = Duration::ZERO;
    while !done.load(Ordering::Relaxed) {
        let n = count.load(Ordering::Relaxed);
        let began = Instant::now();
        client
            .post(
                "/collections/log",
                &json!({"_id": format!("l{n}")}).to_string(),
            )
            .expect(201);
        slowest = slowest.max(began.elapsed());
        count.store(n + 1, Ordering::Relaxed);
    }
    slowest
}

fn ids(instance: &Instance<'_>, collection: &str) -> Vec<String> {
    let path = format!("/collections/{collection}/find_with_stream");
    let found = instance.client().get(&path).expect(200).json();
    let found = found.as_array().expect("documents").iter();
    found
        .map(|document| word(&document["_id"]).to_owned())
        .collect()
}

#[test]
fn a_lost_volume_comes_back_from_a_bucket() {
    let _turn = beside_others();
    let namespace = Namespace::new("snapbucket");
    let _release = Release::install(&namespace);
    let store = Store::start();
    secret(&namespace);
    let spec = json!({"storage": {"size": "1Gi"}, "deletionPolicy": "Delete"});
    let people = Instance::create(&namespace, "people", &spec);
    fill(&people, documents());
    let (count, done) = (std::sync::atomic::AtomicU64::new(0), AtomicBool::new(false));
    let (made, before, after) = std::thread::scope(|scope| {
        let (client, counted, ended) = (people.client(), &count, &done);
        let writer = scope.spawn(move || write(client, counted, ended));
        wait("there are writes", SOON, || {
            (count.load(Ordering::Relaxed) > 20).then_some(())
        });
        let before = count.load(Ordering::Relaxed);
        let spec = json!({"instance": "people", "target": store.target("production")});
        let monday = object("GoDbSnapshot", "monday", &spec);
        let made = make(&namespace, "godbsnapshots", &monday, "Succeeded");
        done.store(true, Ordering::Relaxed);
        println!(
            "snapshot of {} documents in a bucket: slowest of {} writes meanwhile {:.1?}",
            documents(),
            count.load(Ordering::Relaxed) - before,
            writer.join().unwrap()
        );
        (made, before, count.load(Ordering::Relaxed))
    });
    assert_eq!(made["status"]["survivesVolumeLoss"], true);
    assert!(store.has("monday"));
    // Object, instance and volume are gone; the place is known.
    let location = &made["status"]["location"];
    let place = json!({
        "s3": location["s3"], "path": location["path"], "name": location["name"],
    });
    namespace.kubectl(&["delete", "godbsnapshot", "monday", "--timeout=60s"]);
    assert!(store.has("monday"), "it is retained");
    people.delete();
    wait("its volume is gone", SOON, || {
        namespace
            .find("persistentvolumeclaims", "data-people-0")
            .is_none()
            .then_some(())
    });
    let anew = Instance::create(&namespace, "people", &spec);
    let spec = json!({"instance": "people", "source": {"location": place}});
    let back = object("GoDbRestore", "back", &spec);
    make(&namespace, "godbrestores", &back, "Succeeded");
    anew.wait_ready();
    assert_eq!(
        u64::try_from(ids(&anew, "people").len()).unwrap(),
        documents()
    );
    let mut kept: Vec<u64> = ids(&anew, "log")
        .iter()
        .map(|id| id[1..].parse().unwrap())
        .collect();
    kept.sort_unstable();
    let kept_count = u64::try_from(kept.len()).unwrap();
    assert!(
        kept.into_iter().eq(0..kept_count),
        "a beginning of what was written, without holes"
    );
    assert!(
        (before..=after).contains(&kept_count),
        "{before} were acknowledged before it, {kept_count} are in it, {after} when it had succeeded"
    );
}

#[test]
fn a_snapshot_goes_from_its_bucket_with_its_object() {
    let _turn = beside_others();
    let namespace = Namespace::new("snapgone");
    let _release = Release::install(&namespace);
    let store = Store::start();
    secret(&namespace);
    let people = Instance::create(&namespace, "people", &json!({"storage": {"size": "1Gi"}}));
    fill(&people, 10);
    let spec = json!({
        "instance": "people", "target": store.target("one"), "deletionPolicy": "Delete",
    });
    let kept = object("GoDbSnapshot", "kept", &spec);
    make(&namespace, "godbsnapshots", &kept, "Succeeded");
    assert!(store.has("kept"));
    namespace.kubectl(&["delete", "godbsnapshot", "kept", "--timeout=120s"]);
    assert!(!store.has("kept."));
    // Nobody listens there.
    let mut nowhere = store.target("one");
    nowhere["s3"]["endpoint"] = json!(format!("http://{NODE_IP}:1"));
    let spec = json!({"instance": "people", "target": nowhere, "deletionPolicy": "Delete"});
    let lost = object("GoDbSnapshot", "lost", &spec);
    namespace.create("godbsnapshots", &lost).expect(201);
    let (said, took) = wait("the Job's word is in the status", 3 * SOON, || {
        let found = namespace.get("godbsnapshots", "lost");
        let said = word(&found["status"]["conditions"][0]["message"]).to_owned();
        said.contains("exit code").then_some(said)
    });
    println!("after {took:.1?}: {said}");
    assert!(said.contains(&format!("{NODE_IP}:1")), "{said}");
}
