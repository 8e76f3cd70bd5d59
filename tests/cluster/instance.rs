//! A GoDbInstance of a test, and what belongs to it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use godb_tests::Client;
use serde_json::{Value, json};

use crate::kube::{Namespace, wait, word};
use crate::release::{SOON, is_ready, signal};

/// One instance.
#[derive(Debug)]
pub struct Instance<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// Its name.
    pub name: String,
}

/// `base` with the fields of `more` put over it, depth first.
pub fn merged(mut base: Value, more: &Value) -> Value {
    if let (Value::Object(into), Value::Object(from)) = (&mut base, more) {
        for (key, value) in from {
            let old = into.remove(key).unwrap_or(Value::Null);
            into.insert(key.clone(), merged(old, value));
        }
        return base;
    }
    more.clone()
}

/// A small instance, with what the test changes about it.
pub fn manifest(name: &str, spec: &Value) -> Value {
    let small = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "image": "localhost/godb:dev",
        "storage": {"size": "64Mi"},
        "engine": {"durability": "full"},
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "192Mi"}},
    });
    json!({
        "apiVersion": "godb.dev/v1alpha1",
        "kind": "GoDbInstance",
        "metadata": {"name": name},
        "spec": merged(small, spec),
    })
}

impl<'a> Instance<'a> {
    /// `kubectl apply`, without waiting.
    #[track_caller]
    pub fn apply(namespace: &'a Namespace, name: &str, spec: &Value) -> Self {
        namespace.kubectl_with(&["apply", "-f", "-"], &manifest(name, spec).to_string());
        Self {
            namespace,
            name: name.to_owned(),
        }
    }

    /// `kubectl apply`, and until it is Ready.
    #[track_caller]
    pub fn create(namespace: &'a Namespace, name: &str, spec: &Value) -> Self {
        let started = Instant::now();
        let instance = Self::apply(namespace, name, spec);
        instance.wait_ready();
        println!(
            "{}/{name}: Ready {:.1?} after the apply",
            namespace.name,
            started.elapsed()
        );
        instance
    }

    /// The object.
    #[track_caller]
    pub fn object(&self) -> Value {
        self.namespace.get("godbinstances", &self.name)
    }

    /// `kubectl patch` of its spec, which must be accepted.
    #[track_caller]
    pub fn patch(&self, spec: &Value) {
        let patch = json!({"spec": spec}).to_string();
        self.namespace.kubectl(&[
            "patch",
            "godbinstance",
            &self.name,
            "--type=merge",
            "--patch",
            &patch,
        ]);
    }

    /// `kubectl patch` that must be refused: what is said.
    #[track_caller]
    pub fn refused(&self, spec: &Value) -> String {
        let answer = self
            .namespace
            .patch("godbinstances", &self.name, &json!({"spec": spec}));
        assert_eq!(answer.status, 422, "accepted: {spec}: {}", answer.text());
        word(&answer.json()["message"]).to_owned()
    }

    /// A condition, if it speaks of the present spec.
    pub fn condition(&self, kind: &str) -> Option<Value> {
        let object = self.namespace.find("godbinstances", &self.name)?;
        let conditions = object["status"]["conditions"].as_array()?.clone();
        let condition = conditions
            .into_iter()
            .find(|condition| condition["type"] == kind)?;
        (condition["observedGeneration"] == object["metadata"]["generation"]).then_some(condition)
    }

    /// Waits for a condition with this status: it, and how long it took.
    #[track_caller]
    pub fn wait_condition(&self, kind: &str, status: &str) -> (Value, Duration) {
        wait(
            &format!("{kind} is {status} for {}", self.name),
            SOON,
            || {
                self.condition(kind)
                    .filter(|condition| condition["status"] == status)
            },
        )
    }

    /// Waits until a condition has this status and its message has this text.
    #[track_caller]
    pub fn wait_message(&self, kind: &str, status: &str, text: &str) -> Value {
        let what = format!("{kind} is {status} for {}, and says: {text}", self.name);
        let (condition, _) = wait(&what, SOON, || {
            self.condition(kind).filter(|condition| {
                condition["status"] == status
                    && format!(
                        "{} {}",
                        word(&condition["reason"]),
                        word(&condition["message"])
                    )
                    .contains(text)
            })
        });
        condition
    }

    /// Waits until it is Ready for the present spec.
    #[track_caller]
    pub fn wait_ready(&self) -> Duration {
        self.wait_condition("Ready", "True").1
    }

    /// Waits until it takes requests again, as its pod's readiness says.
    #[track_caller]
    pub fn wait_pod_ready(&self) -> Duration {
        let name = self.pod_name();
        let what = format!("{name} is ready");
        wait(&what, SOON, || {
            self.namespace.find("pods", &name).filter(is_ready)
        })
        .1
    }

    /// Where applications reach it: the Service's own address.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        let service = self.namespace.get("services", &self.name);
        format!("{}:8080", word(&service["spec"]["clusterIP"]))
            .parse()
            .expect("an address")
    }

    /// A client of it. Waits until the Service has learnt of the pod.
    #[track_caller]
    pub fn client(&self) -> Client {
        let address = self.address();
        wait("the Service answers", SOON, || {
            let mut client = Client::new(address);
            client
                .try_request("GET", "/health", &[], b"")
                .is_ok()
                .then_some(client)
        })
        .0
    }

    /// Its pod's name.
    pub fn pod_name(&self) -> String {
        format!("{}-0", self.name)
    }

    /// Its pod.
    #[track_caller]
    pub fn pod(&self) -> Value {
        self.namespace.get("pods", &self.pod_name())
    }

    /// What stays the same as long as nothing restarts.
    #[track_caller]
    pub fn life(&self) -> (String, u64) {
        let pod = self.pod();
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
        (
            word(&pod["metadata"]["uid"]).to_owned(),
            restarts.unwrap_or_default(),
        )
    }

    /// kill -9 of the node process.
    #[track_caller]
    pub fn kill9(&self) {
        signal(&self.pod(), "KILL");
    }

    /// Name of the claim of its data.
    pub fn claim_name(&self) -> String {
        format!("data-{}-0", self.name)
    }

    /// The claim of its data, if there is one.
    pub fn claim(&self) -> Option<Value> {
        self.namespace
            .find("persistentvolumeclaims", &self.claim_name())
    }

    /// Where its data is mounted on the machine.
    #[track_caller]
    pub fn mount(&self) -> String {
        let volume = word(&self.claim().expect("a claim")["spec"]["volumeName"]).to_owned();
        let link = format!("/var/lib/godb-cluster/csi/volumes/{volume}.mount");
        let target = std::fs::read_link(&link).expect("a mounted volume");
        target.to_str().expect("UTF-8").to_owned()
    }

    /// `kubectl delete`, and until it is gone.
    #[track_caller]
    pub fn delete(&self) {
        self.namespace.kubectl(&[
            "delete",
            "godbinstance",
            &self.name,
            "--wait",
            "--timeout=180s",
        ]);
        let name = self.pod_name();
        wait("its pod is gone", SOON, || {
            self.namespace.find("pods", &name).is_none().then_some(())
        });
    }

    /// A request to the node's admin port, with the operator's token.
    #[track_caller]
    pub fn admin(&self, method: &str, path: &str, body: &str) -> Value {
        let pod = self.pod();
        let address = format!("{}:8081", word(&pod["status"]["podIP"]))
            .parse()
            .expect("an address");
        let secret = format!("{}-admin", self.name);
        let token = self.namespace.kubectl(&[
            "get",
            "secret",
            &secret,
            "--output",
            "go-template={{.data.token | base64decode}}",
        ]);
        let authorization = format!("Bearer {}", token.trim());
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/json"),
        ];
        let answer = Client::new(address).request(method, path, &headers, body.as_bytes());
        answer.expect(200).json()
    }
}
