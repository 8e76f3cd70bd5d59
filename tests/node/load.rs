//! Writers whose every request is recorded before it goes out: what crash and shutdown tests
//! compare with.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use godb_tests::client::is_broken_off;
use godb_tests::history::{Effect, History, State};
use godb_tests::random::Random;
use godb_tests::{Client, Node};
use serde_json::{Map, Value, json};

pub const COLLECTION: &str = "/collections/crash";
const WRITERS: usize = 6;
/// Documents of one writer: few, so that each is written, deleted and made again many times.
const DOCUMENTS: u64 = 40;
/// One document that all writers patch, each a field of its own: a lost update shows.
const SHARED: &str = "shared";

/// One writer: its own documents, its own field of the shared one.
#[derive(Clone, Debug)]
pub struct Writer {
    number: usize,
    random: Random,
    counter: u64,
    pub history: History,
    /// Why it stopped, if an answer began and had no end.
    pub broken_answer: Option<String>,
}

/// Writers for a run with this seed.
pub fn writers(seed: u64) -> Vec<Writer> {
    let writer = |number| Writer {
        number,
        random: Random::new(seed.wrapping_add(number as u64 * 7919)),
        counter: 0,
        history: History::default(),
        broken_answer: None,
    };
    (0..WRITERS).map(writer).collect()
}

/// Makes the collection, its index and the shared document.
pub fn prepare(node: &Node) {
    let mut client = node.client();
    client
        .post(&format!("{COLLECTION}/indexes/k"), "")
        .expect(201);
    client
        .post(COLLECTION, &json!({ "_id": SHARED }).to_string())
        .expect(201);
}

enum Request {
    Insert(String),
    BatchInsert(Vec<String>),
    Patch(String),
    Put(String),
    Delete(String),
    BatchUpdate(Vec<String>),
    Shared,
}

impl Writer {
    fn id(&mut self) -> String {
        format!("w{}-{:02}", self.number, self.random.below(DOCUMENTS))
    }

    fn pick(&mut self, there: bool, count: usize) -> Vec<String> {
        let mut picked = Vec::new();
        for _ in 0..count * 4 {
            let id = self.id();
            if self.history.state().contains_key(&id) == there && !picked.contains(&id) {
                picked.push(id);
            }
            if picked.len() == count {
                break;
            }
        }
        picked
    }

    fn choose(&mut self) -> Request {
        let dice = self.random.below(100);
        let there = self.pick(true, 5);
        let absent = self.pick(false, 5);
        match dice {
            0..10 => Request::Shared,
            10..30 if absent.len() > 1 => Request::BatchInsert(absent),
            30..50 if there.len() > 1 => Request::BatchUpdate(there),
            50..70 if !there.is_empty() => Request::Patch(there[0].clone()),
            70..80 if !there.is_empty() => Request::Put(there[0].clone()),
            80..92 if !there.is_empty() => Request::Delete(there[0].clone()),
            _ if !absent.is_empty() => Request::Insert(absent[0].clone()),
            _ => Request::Shared,
        }
    }

    fn fields(&mut self) -> Map<String, Value> {
        self.counter += 1;
        let length = match self.random.below(50) {
            0 => 20_000,
            n => n * 4,
        };
        let text = "x".repeat(usize::try_from(length).unwrap());
        let fields =
            json!({"k": self.random.below(20), "n": self.counter, "t": text, "w": self.number});
        let Value::Object(fields) = fields else {
            unreachable!()
        };
        fields
    }

    /// One request, recorded. False when there was no answer.
    fn step(&mut self, client: &mut Client) -> bool {
        let request = self.choose();
        let mut fields = self.fields();
        if matches!(request, Request::Insert(_) | Request::Put(_)) {
            // Now and then one of many pieces of the log, rarely one as large as they get.
            let bytes = match self.random.below(400) {
                0 => (16 << 20) - 500,
                1..8 => 1 << 20,
                _ => 0,
            };
            if bytes > 0 {
                fields.insert("t".to_owned(), "y".repeat(bytes).into());
            }
        }
        let with_id = |id: &str| {
            let mut document = Map::from_iter([("_id".to_owned(), Value::from(id))]);
            document.extend(fields.clone());
            Value::Object(document)
        };
        let merged = |id: &str| {
            let mut document = self.history.state()[id].as_object().unwrap().clone();
            document.extend(fields.clone());
            Value::Object(document)
        };
        let path = |id: &str| format!("{COLLECTION}/documents/{id}");
        let batch = format!("{COLLECTION}/batch");
        let (method, target, body, effect, success): (_, _, Option<Value>, Effect, u16) =
            match &request {
                Request::Insert(id) => {
                    let effect = BTreeMap::from([(id.clone(), Some(with_id(id)))]);
                    (
                        "POST",
                        COLLECTION.to_owned(),
                        Some(with_id(id)),
                        effect,
                        201,
                    )
                }
                Request::BatchInsert(ids) => {
                    let effect = ids
                        .iter()
                        .map(|id| (id.clone(), Some(with_id(id))))
                        .collect();
                    let documents: Vec<Value> = ids.iter().map(|id| with_id(id)).collect();
                    (
                        "POST",
                        batch,
                        Some(json!({ "documents": documents })),
                        effect,
                        201,
                    )
                }
                Request::Patch(id) => {
                    let effect = BTreeMap::from([(id.clone(), Some(merged(id)))]);
                    (
                        "PATCH",
                        path(id),
                        Some(Value::Object(fields.clone())),
                        effect,
                        200,
                    )
                }
                Request::Put(id) => {
                    let effect = BTreeMap::from([(id.clone(), Some(with_id(id)))]);
                    ("PUT", path(id), Some(with_id(id)), effect, 200)
                }
                Request::Delete(id) => (
                    "DELETE",
                    path(id),
                    None,
                    BTreeMap::from([(id.clone(), None)]),
                    204,
                ),
                Request::BatchUpdate(ids) => {
                    let effect = ids
                        .iter()
                        .map(|id| (id.clone(), Some(merged(id))))
                        .collect();
                    let operations: Vec<Value> = ids
                        .iter()
                        .map(|id| json!({"id": id, "updates": fields}))
                        .collect();
                    (
                        "PATCH",
                        batch,
                        Some(json!({ "operations": operations })),
                        effect,
                        200,
                    )
                }
                Request::Shared => {
                    let field = format!("f{}", self.number);
                    let effect = BTreeMap::from([(field.clone(), Some(Value::from(self.counter)))]);
                    (
                        "PATCH",
                        path(SHARED),
                        Some(json!({ field: self.counter })),
                        effect,
                        200,
                    )
                }
            };
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.history.sent(effect);
        match client.try_request(method, &target, &[], body.as_bytes()) {
            Ok(answer) if answer.status == success => {
                self.history.acknowledged();
                true
            }
            // Nothing was written, or so it says: what is found later must agree.
            Ok(answer) if matches!(answer.status, 429 | 507) => {
                self.history.refused();
                true
            }
            Ok(answer) if answer.status == 503 => {
                // Stopping: nothing was written. Otherwise the outcome is unknown and stays so.
                if !answer.text().contains("outcome") {
                    self.history.refused();
                }
                false
            }
            Ok(answer) => panic!("{method} {target}: {} {}", answer.status, answer.text()),
            Err(error) => {
                self.broken_answer =
                    is_broken_off(&error).then(|| format!("{method} {target}: {error}"));
                false
            }
        }
    }

    /// Requests until there is no answer or `stop`.
    pub fn run(&mut self, node: std::net::SocketAddr, stop: &AtomicBool) {
        let mut client = Client::new(node);
        while !stop.load(Ordering::Relaxed) && self.step(&mut client) {}
    }
}

/// Everything there, by writer.
fn found(node: &Node) -> Vec<State> {
    let mut states = vec![State::new(); WRITERS];
    let all = node
        .client()
        .get(&format!("{COLLECTION}/find_with_stream"))
        .expect(200)
        .json();
    for document in all.as_array().unwrap() {
        let id = document["_id"].as_str().unwrap();
        if id == SHARED {
            for (field, value) in document
                .as_object()
                .unwrap()
                .iter()
                .filter(|(field, _)| *field != "_id")
            {
                let number: usize = field.strip_prefix('f').unwrap().parse().unwrap();
                states[number].insert(field.clone(), value.clone());
            }
            continue;
        }
        let number: usize = id[1..].split('-').next().unwrap().parse().unwrap();
        assert!(
            states[number]
                .insert(id.to_owned(), document.clone())
                .is_none(),
            "{id} twice"
        );
    }
    states
}

/// Compares what is there with what every writer recorded, and the index with the documents.
pub fn settle(node: &Node, writers: &mut [Writer], context: &str) {
    let states = found(node);
    for (writer, state) in writers.iter_mut().zip(&states) {
        if let Err(lines) = writer.history.settle(state) {
            panic!(
                "{context}, writer {}:\n{}\n{}",
                writer.number,
                lines.join("\n"),
                node.log()
            );
        }
    }
    let mut client = node.client();
    for k in 0..20 {
        let page = client
            .get(&format!("{COLLECTION}/find?k={k}&limit=1000"))
            .expect(200)
            .json();
        let by_index = crate::shared::ids(&page);
        let by_scan: Vec<&String> = states
            .iter()
            .flatten()
            .filter(|(_, document)| document["k"] == k)
            .map(|(id, _)| id)
            .collect();
        assert_eq!(
            by_index.iter().collect::<Vec<_>>(),
            by_scan,
            "{context}: index, k={k}"
        );
    }
}
