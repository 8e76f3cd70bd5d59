//! One node for all contract tests: each takes a collection of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use godb_tests::{Client, Node, NodeOptions, Response};
use serde_json::Value;
use tempfile::TempDir;

struct Running {
    node: Node,
    // Removed after the node is gone.
    _data: TempDir,
}

/// A collection nobody else uses, on a node that is shared while anybody uses it.
pub struct Fixture {
    running: Arc<Running>,
    pub client: Client,
    pub name: String,
}

impl Fixture {
    pub fn new() -> Self {
        static SHARED: Mutex<Weak<Running>> = Mutex::new(Weak::new());
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let running = shared.upgrade().unwrap_or_else(|| {
            let data = TempDir::new().unwrap();
            let running = Arc::new(Running {
                node: NodeOptions::new(data.path().join("data")).start(),
                _data: data,
            });
            *shared = Arc::downgrade(&running);
            running
        });
        drop(shared);
        let client = running.node.client();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            running,
            client,
            name: format!("c{number}"),
        }
    }

    pub fn node(&self) -> &Node {
        &self.running.node
    }

    /// `/collections/{name}{rest}`
    pub fn path(&self, rest: &str) -> String {
        format!("/collections/{}{rest}", self.name)
    }

    pub fn document(&self, id: &str) -> String {
        self.path(&format!("/documents/{}", godb_tests::client::encode(id)))
    }

    pub fn insert(&mut self, document: &str) -> Response {
        let path = self.path("");
        self.client.post(&path, document)
    }

    /// Inserts and must succeed; the id.
    #[track_caller]
    pub fn add(&mut self, document: &str) -> String {
        let answer = self.insert(document).expect(201).json();
        answer["_id"].as_str().expect("an _id").to_owned()
    }

    pub fn batch(&mut self, documents: &str) -> Response {
        let path = self.path("/batch");
        self.client
            .post(&path, &format!("{{\"documents\":{documents}}}"))
    }

    pub fn batch_update(&mut self, operations: &str) -> Response {
        let path = self.path("/batch");
        self.client
            .patch(&path, &format!("{{\"operations\":{operations}}}"))
    }

    pub fn fetch(&mut self, id: &str) -> Response {
        let path = self.document(id);
        self.client.get(&path)
    }

    pub fn find(&mut self, query: &str) -> Response {
        let path = self.path(&format!("/find?{query}"));
        self.client.get(&path)
    }

    /// The ids of a find that must succeed, in order.
    #[track_caller]
    pub fn found(&mut self, query: &str) -> Vec<String> {
        ids(&self.find(query).expect(200).json())
    }

    pub fn index(&mut self, field: &str) -> Response {
        let path = self.path(&format!("/indexes/{}", godb_tests::client::encode(field)));
        self.client.post(&path, "")
    }

    /// How many documents the collection has.
    #[track_caller]
    pub fn count(&mut self) -> u64 {
        self.find("limit=1").expect(200).json()["total"]
            .as_u64()
            .expect("a total")
    }
}

/// The ids of a page, in order.
pub fn ids(page: &Value) -> Vec<String> {
    let documents = page["documents"].as_array().expect("documents");
    let id = |document: &Value| document["_id"].as_str().expect("an _id").to_owned();
    documents.iter().map(id).collect()
}

/// Checks the shape of an error: the three members, the title of the status, the code, and that
/// the message says what it should.
#[track_caller]
pub fn check_error(response: &Response, status: u16, words: &str) {
    let text = String::from_utf8_lossy(&response.body).into_owned();
    assert_eq!(response.status, status, "{text}");
    assert_eq!(
        response.header("content-type"),
        Some("application/json"),
        "{text}"
    );
    let body = response.json();
    assert_eq!(body["code"], status, "{text}");
    assert_eq!(body["error"], title(status), "{text}");
    let message = body["message"].as_str().expect("a message");
    assert!(
        message.to_lowercase().contains(&words.to_lowercase()),
        "`{message}` does not say `{words}`"
    );
}

pub fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Payload Too Large",
        415 => "Unsupported Media Type",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        507 => "Insufficient Storage",
        _ => panic!("no title for {status}"),
    }
}
