//! Load whose every acknowledgement is recorded, so that a lost one shows: writers that go on after
//! each failure, as an application's would.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use godb_tests::Client;
use serde_json::{Value, json};

/// How long an answer is waited for: from a pod that is gone there comes none, not even an end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between a failed request and the next, as a client that waits a little.
const PAUSE: Duration = Duration::from_millis(20);
/// Every so many new documents, the writer replaces one that it replaced before.
const REPLACE_EVERY: u64 = 4;
/// Every so many new documents, the writer reads one back.
const READ_EVERY: u64 = 8;

/// Writers at work.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Record>>,
}

/// What one writer knows.
#[derive(Debug, Default)]
struct Record {
    number: usize,
    /// Document number to whether its making was acknowledged; absent where it was refused.
    made: BTreeMap<u64, bool>,
    /// The last value of the replaced document that was acknowledged, and the last that was sent.
    replaced: (u64, u64),
    requests: u64,
    failures: Vec<String>,
    longest: Duration,
    /// From a success to the next, the longest one.
    outage: Duration,
}

/// What the writers know together.
#[derive(Debug)]
pub struct Report {
    records: Vec<Record>,
}

/// What load looks like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Writers, each with a connection of its own.
    pub writers: usize,
    /// How long a writer waits between requests.
    pub pace: Duration,
    /// Bytes of a document, about.
    pub document_bytes: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            writers: 4,
            pace: Duration::from_millis(4),
            document_bytes: 300,
        }
    }
}

fn id(writer: usize, number: u64) -> String {
    format!("w{writer}-{number:07}")
}

fn replaced_id(writer: usize) -> String {
    format!("w{writer}-replaced")
}

fn document(id: &str, number: u64, bytes: usize) -> Value {
    json!({"_id": id, "n": number, "t": "x".repeat(bytes)})
}

impl Load {
    /// Begins to write to a collection of its own.
    pub fn start(address: SocketAddr, shape: Shape) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let writers = (0..shape.writers)
            .map(|number| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || write(address, number, shape, &stop))
            })
            .collect();
        Self { stop, writers }
    }

    /// Ends it.
    pub fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let records = self
            .writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect();
        Report { records }
    }
}

fn write(address: SocketAddr, writer: usize, shape: Shape, stop: &AtomicBool) -> Record {
    let mut record = Record {
        number: writer,
        ..Record::default()
    };
    let mut client = Client::new(address);
    let mut last_success = Instant::now();
    let replaced = document(&replaced_id(writer), 0, shape.document_bytes).to_string();
    client.post("/collections/load", &replaced).expect(201);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let new = document(&id(writer, number), number, shape.document_bytes);
        // Of unknown outcome until there is an answer.
        record.made.insert(number, false);
        match record.send(
            &mut client,
            "POST",
            "/collections/load",
            &new.to_string(),
            201,
        ) {
            Outcome::Done => {
                record.made.insert(number, true);
            }
            Outcome::Refused => {
                record.made.remove(&number);
            }
            Outcome::Unknown => {}
        }
        if number.is_multiple_of(REPLACE_EVERY) {
            let id = replaced_id(writer);
            record.replaced.1 = number;
            let body = document(&id, number, shape.document_bytes).to_string();
            let path = format!("/collections/load/documents/{id}");
            if record.send(&mut client, "PUT", &path, &body, 200) == Outcome::Done {
                record.replaced.0 = number;
            }
        }
        if number.is_multiple_of(READ_EVERY) && record.made.get(&number) == Some(&true) {
            let path = format!("/collections/load/documents/{}", id(writer, number));
            record.send(&mut client, "GET", &path, "", 200);
        }
        if client.is_connected() {
            record.outage = record.outage.max(last_success.elapsed());
            last_success = Instant::now();
            std::thread::sleep(shape.pace);
        } else {
            std::thread::sleep(PAUSE);
        }
    }
    record
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// An answer that says that nothing was written.
    Refused,
    Unknown,
}

impl Record {
    fn send(
        &mut self,
        client: &mut Client,
        method: &str,
        path: &str,
        body: &str,
        success: u16,
    ) -> Outcome {
        self.requests += 1;
        let headers = [("Content-Type", "application/json")];
        let began = Instant::now();
        let patient = client
            .socket()
            .and_then(|socket| socket.get_ref().set_read_timeout(Some(PATIENCE)));
        let answer =
            patient.and_then(|()| client.try_request(method, path, &headers, body.as_bytes()));
        self.longest = self.longest.max(began.elapsed());
        match answer {
            Ok(answer) if answer.status == success => Outcome::Done,
            Ok(answer) => {
                let text = answer.text();
                self.failures
                    .push(format!("{method} {path}: {} {text}", answer.status));
                let unknown = answer.status >= 500 && text.contains("outcome");
                if unknown {
                    Outcome::Unknown
                } else {
                    Outcome::Refused
                }
            }
            Err(error) => {
                self.failures.push(format!("{method} {path}: {error}"));
                Outcome::Unknown
            }
        }
    }
}

impl Report {
    /// Documents whose making was acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.records
            .iter()
            .map(|record| record.made.values().filter(|known| **known).count())
            .sum()
    }

    /// Requests sent.
    pub fn requests(&self) -> u64 {
        self.records.iter().map(|record| record.requests).sum()
    }

    /// What the failed requests were told.
    pub fn failures(&self) -> Vec<&String> {
        self.records
            .iter()
            .flat_map(|record| &record.failures)
            .collect()
    }

    /// The longest that a writer could not write.
    pub fn outage(&self) -> Duration {
        self.records
            .iter()
            .map(|record| record.outage)
            .max()
            .unwrap_or_default()
    }

    /// The longest that one request took.
    pub fn longest(&self) -> Duration {
        self.records
            .iter()
            .map(|record| record.longest)
            .max()
            .unwrap_or_default()
    }

    /// Compares with what the node has: every acknowledged write is there with its value, and
    /// nothing that was never sent or was refused.
    #[track_caller]
    pub fn verify(&self, address: SocketAddr) {
        let all = Client::new(address)
            .get("/collections/load/find_with_stream")
            .expect(200)
            .json();
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        for document in all.as_array().expect("an array") {
            let id = document["_id"].as_str().expect("an id").to_owned();
            found.insert(id, document["n"].as_u64().expect("a number"));
        }
        let mut faults = Vec::new();
        for record in &self.records {
            for (&number, &acknowledged) in &record.made {
                let id = id(record.number, number);
                match found.remove(&id) {
                    Some(value) if value == number => {}
                    Some(value) => faults.push(format!("WRONG {id}: {value}")),
                    None if acknowledged => faults.push(format!("LOST {id}")),
                    None => {}
                }
            }
            let (acknowledged, sent) = record.replaced;
            let value = found.remove(&replaced_id(record.number)).unwrap_or(0);
            if !(acknowledged..=sent).contains(&value) {
                faults.push(format!(
                    "LOST {}: has {value}, acknowledged {acknowledged}, sent {sent}",
                    replaced_id(record.number)
                ));
            }
        }
        faults.extend(found.keys().map(|id| format!("NEVER SENT {id}")));
        assert!(
            faults.is_empty(),
            "{} faults, the first: {:?}",
            faults.len(),
            &faults[..faults.len().min(10)]
        );
        assert!(
            self.acknowledged() > 20,
            "the load was a load: {}",
            self.acknowledged()
        );
    }
}
