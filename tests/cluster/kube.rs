//! The API server, by its own HTTP interface through one `kubectl proxy`: an object costs a
//! millisecond, where a kubectl of its own would cost a second of each core for every ten looks.
//! What a user types is typed: `kubectl` and `helm` are run where a test is about them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use godb_tests::{Client, Response};
use serde_json::{Value, json};

/// Kinds that the tests look at, with the path of their API.
const KINDS: &[(&str, &str)] = &[
    ("configmaps", "/api/v1"),
    ("events", "/api/v1"),
    ("persistentvolumeclaims", "/api/v1"),
    ("pods", "/api/v1"),
    ("secrets", "/api/v1"),
    ("serviceaccounts", "/api/v1"),
    ("services", "/api/v1"),
    ("statefulsets", "/apis/apps/v1"),
    ("deployments", "/apis/apps/v1"),
    ("leases", "/apis/coordination.k8s.io/v1"),
    ("godbinstances", "/apis/godb.dev/v1alpha1"),
    ("godbrestores", "/apis/godb.dev/v1alpha1"),
    ("godbsnapshots", "/apis/godb.dev/v1alpha1"),
    ("godbsnapshotschedules", "/apis/godb.dev/v1alpha1"),
];

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a busy API server is asked again.
const BUSY: Duration = Duration::from_secs(60);

/// What kubectl says of an API server that cannot serve just now. Everything that the tests let it do
/// can be done twice.
const BUSY_WORDS: &[&str] = &[
    "etcdserver: ",
    "unable to handle the request",
    "Client.Timeout",
    "TLS handshake timeout",
    "connection refused",
    "too many requests",
];

/// The proxy ends with this process: its shell reads a pipe that closes then.
fn proxy() -> SocketAddr {
    static PROXY: OnceLock<(SocketAddr, Child)> = OnceLock::new();
    let (address, _) = PROXY.get_or_init(|| {
        let mut child = Command::new("sh")
            .args(["-c", "kubectl proxy --port=0 & read -r _; kill $!"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("the proxy says where it serves");
        let address = line
            .rsplit(' ')
            .next()
            .and_then(|word| word.trim().parse().ok())
            .unwrap_or_else(|| panic!("no kubectl proxy (these tests run in a cluster): {line}"));
        (address, child)
    });
    *address
}

/// Where the API server answers without TLS; who sends no token of his own is its administrator.
pub fn proxy_address() -> SocketAddr {
    proxy()
}

/// One request to the API server. A busy one is asked again: what it says then is about the
/// machine, and no test is.
pub fn request(method: &str, path: &str, content_type: &str, body: &str) -> Response {
    let headers: &[(&str, &str)] = if body.is_empty() {
        &[]
    } else {
        &[("Content-Type", content_type)]
    };
    let began = Instant::now();
    loop {
        let answer = Client::new(proxy()).try_request(method, path, headers, body.as_bytes());
        // Only a read can be repeated without knowing what became of the first.
        let again = match &answer {
            Ok(answer) => answer.status == 429 || (method == "GET" && answer.status >= 500),
            Err(_) => method == "GET",
        };
        if !again || began.elapsed() > BUSY {
            return answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Where an object of this kind is, or the list when `name` is empty.
fn path(kind: &str, namespace: &str, name: &str) -> String {
    let (_, api) = KINDS
        .iter()
        .find(|(known, _)| *known == kind)
        .unwrap_or_else(|| panic!("add {kind} to KINDS"));
    let path = format!("{api}/namespaces/{namespace}/{kind}");
    if name.is_empty() {
        path
    } else {
        format!("{path}/{name}")
    }
}

/// A namespace of one test; gone with it.
#[derive(Debug)]
pub struct Namespace {
    /// Its name.
    pub name: String,
}

impl Namespace {
    /// A new one in which only restricted pods are let in, as all of ours must be.
    pub fn new(subject: &str) -> Self {
        let unique = std::process::id();
        let name = format!("{subject}-{unique}");
        let body = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {
                "pod-security.kubernetes.io/enforce": "restricted", "godb-test": subject}},
        });
        request(
            "POST",
            "/api/v1/namespaces",
            "application/json",
            &body.to_string(),
        )
        .expect(201);
        Self { name }
    }

    /// An object, if it is there.
    pub fn find(&self, kind: &str, name: &str) -> Option<Value> {
        let response = request("GET", &path(kind, &self.name, name), "", "");
        (response.status != 404).then(|| response.expect(200).json())
    }

    /// An object that must be there.
    #[track_caller]
    pub fn get(&self, kind: &str, name: &str) -> Value {
        self.find(kind, name)
            .unwrap_or_else(|| panic!("no {kind}/{name} in {}", self.name))
    }

    /// All objects of a kind.
    pub fn list(&self, kind: &str) -> Vec<Value> {
        let list = request("GET", &path(kind, &self.name, ""), "", "")
            .expect(200)
            .json();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// A new object; the answer, whatever it is.
    pub fn create(&self, kind: &str, object: &Value) -> Response {
        request(
            "POST",
            &path(kind, &self.name, ""),
            "application/json",
            &object.to_string(),
        )
    }

    /// A merge patch, as `kubectl patch --type merge` sends it; the answer, whatever it is.
    pub fn patch(&self, kind: &str, name: &str, patch: &Value) -> Response {
        request(
            "PATCH",
            &path(kind, &self.name, name),
            "application/merge-patch+json",
            &patch.to_string(),
        )
    }

    /// Deletes an object in the background.
    pub fn delete(&self, kind: &str, name: &str) -> Response {
        request("DELETE", &path(kind, &self.name, name), "", "")
    }

    /// kubectl in this namespace, which must succeed: what it printed.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.kubectl_with(arguments, "")
    }

    /// The same with something to read.
    #[track_caller]
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> String {
        let arguments = self.with_namespace(arguments);
        let began = Instant::now();
        while began.elapsed() < BUSY {
            let output = run("kubectl", &arguments, input);
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                return String::from_utf8_lossy(&output.stdout).into_owned();
            }
            if !BUSY_WORDS.iter().any(|words| said.contains(words)) {
                break;
            }
            println!("the API server is busy: {said}");
            std::thread::sleep(LOOK_EVERY);
        }
        succeeded("kubectl", &arguments, input)
    }

    /// kubectl in this namespace, which may fail.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        run("kubectl", &self.with_namespace(arguments), "")
    }

    fn with_namespace<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["--namespace", &self.name], arguments].concat()
    }

    /// Messages of the events about an object, oldest first, as `Reason: message`.
    pub fn events_of(&self, name: &str) -> Vec<String> {
        let mut events = self.list("events");
        events.retain(|event| event["involvedObject"]["name"] == name);
        events.sort_by_key(|event| event["metadata"]["creationTimestamp"].to_string());
        let text =
            |event: &Value| format!("{}: {}", word(&event["reason"]), word(&event["message"]));
        events.iter().map(text).collect()
    }

    /// What a person would look at first.
    fn describe(&self) -> String {
        let mut text = String::new();
        for arguments in [
            &[
                "get",
                "godbinstances,statefulsets,pods,persistentvolumeclaims",
                "-o",
                "wide",
            ][..],
            &[
                "get",
                "godbinstances",
                "-o",
                "jsonpath={range .items[*]}{.metadata.name}{\" generation \"}{.metadata.generation}{\": \"}{.status}{\"\\n\"}{end}",
            ],
            &["get", "events", "--sort-by", ".lastTimestamp"],
            &[
                "logs",
                "--tail",
                "40",
                "--selector",
                "app.kubernetes.io/name=godb",
                "--prefix",
            ],
            &[
                "logs",
                "--tail",
                "60",
                "--selector",
                "app.kubernetes.io/name=godb-operator",
                "--prefix",
            ],
            // Of one that ended, the last words; where none did, kubectl says so.
            &[
                "logs",
                "--tail",
                "20",
                "--selector",
                "app.kubernetes.io/name=godb-operator",
                "--prefix",
                "--previous",
            ],
            &["get", "leases,resourcequotas", "-o", "yaml"],
        ] {
            let output = self.try_kubectl(arguments);
            text.push_str(&format!("$ kubectl {}\n", arguments.join(" ")));
            text.push_str(&String::from_utf8_lossy(&output.stdout));
            text.push_str(&String::from_utf8_lossy(&output.stderr));
        }
        text
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "-- {} as the failed test left it:\n{}",
                self.name,
                self.describe()
            );
        }
        request(
            "DELETE",
            &format!("/api/v1/namespaces/{}", self.name),
            "",
            "",
        );
    }
}

/// The text of a JSON string, or nothing.
pub fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A program with something on its standard input.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Output {
    use std::io::Write;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    // A program that does not read its input is its own affair.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it was started")
}

/// A program that must succeed: what it printed.
#[track_caller]
pub fn succeeded(program: &str, arguments: &[&str], input: &str) -> String {
    let output = run(program, arguments, input);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {}: {}\n{text}{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Looks until there is a result: that, and how long it took. Panics after `within`.
#[track_caller]
pub fn wait<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> (T, Duration) {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return (found, started.elapsed());
        }
        assert!(started.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Holds for this long: for what must not happen.
#[track_caller]
pub fn holds(what: &str, during: Duration, mut look: impl FnMut() -> bool) {
    let started = Instant::now();
    while started.elapsed() < during {
        assert!(look(), "no longer so after {:?}: {what}", started.elapsed());
        std::thread::sleep(LOOK_EVERY);
    }
}
