//! Sessions that send requests to a few documents all at once, and write down each with its answer
//! and its time.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use godb_tests::checker::{Change, Element, Key, Operation, Outcome, Seen};
use godb_tests::client::{Client, JSON, Response};
use godb_tests::random::Random;

/// Documents: few, so that every request meets others.
pub const KEYS: usize = 12;
/// The groups that a find by index asks for; the field `g` of a document never changes.
const GROUPS: usize = 3;
/// A batch with this document is refused.
const NEVER: &str = "never";
/// The end of an operation whose process has not been killed yet.
const OPEN: u64 = u64::MAX;

/// What the sessions of one history share.
pub struct Run {
    pub collection: String,
    /// How many are to be answered before a kill or the end.
    pub requests: u64,
    /// Whether writes may ask for the level `full`.
    pub asks_for_full: bool,
    /// Added to every other document, so that pages and streams take more than one chunk.
    padding: String,
    pub clock: Instant,
    elements: AtomicU32,
    /// Requests that were answered.
    pub answered: AtomicU64,
    pub stop: AtomicBool,
}

impl Run {
    pub fn new(
        collection: String,
        requests: u64,
        asks_for_full: bool,
        padding_bytes: usize,
    ) -> Self {
        Self {
            collection,
            requests,
            asks_for_full,
            padding: "x".repeat(padding_bytes),
            clock: Instant::now(),
            elements: AtomicU32::new(1),
            answered: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    pub fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap()
    }

    fn element(&self) -> Element {
        self.elements.fetch_add(1, Ordering::Relaxed)
    }

    fn document(&self, key: &str, element: Element) -> String {
        let number: usize = key[1..].parse().unwrap();
        let group = number % GROUPS;
        let padding = if number.is_multiple_of(2) {
            &self.padding
        } else {
            ""
        };
        format!("{{\"_id\":\"{key}\",\"g\":{group},\"p\":\"{padding}\",\"e{element}\":0}}")
    }

    fn path(&self, rest: &str) -> String {
        format!("/collections/{}{rest}", self.collection)
    }

    /// One view of all documents.
    pub fn read_all(&self, client: &mut Client, session: usize) -> Operation {
        let mut all = Session::new(session, 0);
        all.page(self, client, "/find?limit=100", &keys())
            .expect("a node that runs");
        all.operations.remove(0)
    }
}

fn key(number: usize) -> Key {
    format!("k{number:02}")
}

fn keys() -> Vec<Key> {
    (0..KEYS).map(key).collect()
}

fn group(number: usize) -> Vec<Key> {
    (0..KEYS)
        .filter(|n| n % GROUPS == number)
        .map(key)
        .collect()
}

/// The request had no answer.
#[derive(Debug)]
pub struct NoAnswer;

/// One session.
pub struct Session {
    number: usize,
    random: Random,
    pub operations: Vec<Operation>,
}

impl Session {
    pub fn new(number: usize, seed: u64) -> Self {
        Self {
            number,
            random: Random::new(seed.wrapping_add(number as u64 * 7919)),
            operations: Vec::new(),
        }
    }

    /// Until it is told to stop, or there is no answer.
    pub fn run(&mut self, run: &Run, mut client: Client) {
        while !run.stop.load(Ordering::Relaxed) && self.step(run, &mut client).is_ok() {
            run.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The process is gone: what had no answer cannot be carried out any more.
    pub fn killed(&mut self, now: u64) {
        if let Some(last) = self.operations.last_mut()
            && last.end == OPEN
        {
            last.end = now;
        }
    }

    fn key(&mut self) -> Key {
        // Some documents are hotter than others.
        let (one, other) = (self.random.index(KEYS), self.random.index(KEYS));
        key(one.min(other))
    }

    fn some_keys(&mut self) -> Vec<Key> {
        let mut keys = Vec::new();
        for _ in 0..2 + self.random.index(3) {
            let key = self.key();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    fn step(&mut self, run: &Run, client: &mut Client) -> Result<(), NoAnswer> {
        match self.random.below(1000) {
            0..250 => self.get(run, client),
            250..320 => self.page(run, client, "/find?limit=100", &keys()),
            320..400 => {
                let number = self.random.index(GROUPS);
                let target = format!("/find?limit=100&g={number}");
                self.page(run, client, &target, &group(number))
            }
            400..440 => self.pages(run, client),
            440..490 => self.page(run, client, "/find_with_stream", &keys()),
            490..510 => {
                let number = self.random.index(GROUPS);
                let target = format!("/find_with_stream?g={number}");
                self.page(run, client, &target, &group(number))
            }
            510..740 => self.patch(run, client),
            740..880 => self.batch_patch(run, client),
            880..930 => self.insert(run, client),
            930..960 => self.batch_insert(run, client),
            960..970 => self.put(run, client, false),
            970..985 => self.put(run, client, true),
            _ => self.delete(run, client),
        }
    }

    /// Sends a request and writes down what it asks for; `read` adds what the answer says.
    fn send(
        &mut self,
        run: &Run,
        client: &mut Client,
        (method, target, body): (&str, &str, &str),
        changes: Vec<(Key, Change)>,
        read: impl FnOnce(&Response) -> Vec<(Key, Seen)>,
    ) -> Result<(), NoAnswer> {
        let mut headers = vec![JSON];
        if run.asks_for_full && !changes.is_empty() && self.random.chance(10) {
            headers.push(("Durability", "full"));
        }
        let mut operation = Operation {
            session: self.number,
            start: run.now(),
            end: OPEN,
            outcome: Outcome::Unknown,
            reads: Vec::new(),
            changes,
        };
        let answer = client.try_request(method, target, &headers, body.as_bytes());
        let Ok(answer) = answer else {
            if !operation.changes.is_empty() {
                self.operations.push(operation);
            }
            return Err(NoAnswer);
        };
        operation.end = run.now();
        operation.outcome = match answer.status {
            200 | 201 | 204 if operation.changes.is_empty() => Outcome::Done(None),
            200 | 201 | 204 => {
                let lsn = answer.header("x-godb-lsn").expect("an LSN");
                Outcome::Done(Some(lsn.parse().expect("a number")))
            }
            404 | 409 | 412 => Outcome::Refused,
            status => panic!("{method} {target}: {status} {}", answer.text()),
        };
        operation.reads = read(&answer);
        self.operations.push(operation);
        Ok(())
    }

    fn get(&mut self, run: &Run, client: &mut Client) -> Result<(), NoAnswer> {
        let key = self.key();
        let target = run.path(&format!("/documents/{key}"));
        self.send(run, client, ("GET", &target, ""), Vec::new(), |answer| {
            vec![one(key, answer)]
        })
    }

    /// A find or stream that says something of each of `keys`.
    fn page(
        &mut self,
        run: &Run,
        client: &mut Client,
        target: &str,
        keys: &[Key],
    ) -> Result<(), NoAnswer> {
        let target = run.path(target);
        self.send(run, client, ("GET", &target, ""), Vec::new(), |answer| {
            let text = answer.text();
            let found = documents(&text);
            if let Some((_, total)) = text.rsplit_once("\"total\":") {
                assert_eq!(total, format!("{}}}", found.len()), "{text}");
            }
            every(keys, found)
        })
    }

    /// All documents over several pages, each a view of its own.
    fn pages(&mut self, run: &Run, client: &mut Client) -> Result<(), NoAnswer> {
        let limit = 3 + self.random.index(4);
        let (mut from, mut after) = (String::new(), String::new());
        loop {
            let target = run.path(&format!("/find?limit={limit}{after}"));
            let mut next = None;
            self.send(run, client, ("GET", &target, ""), Vec::new(), |answer| {
                let text = answer.text();
                let found = documents(&text);
                let last = found.last().map(|(key, _)| key.clone());
                let to = last.filter(|_| text.contains("\"has_next\":true"));
                let within = |key: &Key| *key > from && to.as_ref().is_none_or(|to| key <= to);
                let covered: Vec<Key> = keys().into_iter().filter(within).collect();
                if let Some(to) = to {
                    let cursor = text.split("\"next_cursor\":\"").nth(1).expect("a cursor");
                    next = Some((to, cursor.split('"').next().unwrap().to_owned()));
                }
                every(&covered, found)
            })?;
            let Some((to, cursor)) = next else {
                return Ok(());
            };
            (from, after) = (to, format!("&after={cursor}"));
        }
    }

    fn patch(&mut self, run: &Run, client: &mut Client) -> Result<(), NoAnswer> {
        let (key, element) = (self.key(), run.element());
        let target = run.path(&format!("/documents/{key}"));
        let body = format!("{{\"e{element}\":0}}");
        let changes = vec![(key.clone(), Change::Append(vec![element]))];
        self.send(run, client, ("PATCH", &target, &body), changes, |answer| {
            vec![one(key, answer)]
        })
    }

    fn batch_patch(&mut self, run: &Run, client: &mut Client) -> Result<(), NoAnswer> {
        let keys = self.some_keys();
        let mut operations = Vec::new();
        let mut changes: Vec<(Key, Change)> = Vec::new();
        for key in &keys {
            let element = run.element();
            operations.push((key.clone(), element));
            changes.push((key.clone(), Change::Append(vec![element])));
        }
        // The same document again: nobody may see it in between.
        if self.random.chance(30)
            && let Some((key, Change::Append(elements))) = changes.first_mut()
        {
            elements.push(run.element());
            operations.push((key.clone(), elements[1]));
        }
        if self.random.chance(15) {
            operations.push((NEVER.to_owned(), run.element()));
        }
        let items: Vec<String> = operations
            .iter()
            .map(|(key, e)| format!("{{\"id\":\"{key}\",\"updates\":{{\"e{e}\":0}}}}"))
            .collect();
        let body = format!("{{\"operations\":[{}]}}", items.join(","));
        let target = run.path("/batch");
        self.send(run, client, ("PATCH", &target, &body), changes, |answer| {
            if answer.status != 200 {
                return refused(answer, "document with id ", " not found", Seen::Absent);
            }
            let text = answer.text();
            // Of a document that is there twice, the last counts.
            let found = documents(&text);
            keys.iter()
                .map(|key| {
                    let last = found.iter().rev().find(|(k, _)| k == key);
                    (
                        key.clone(),
                        Seen::List(last.expect("an answer for each").1.clone()),
                    )
                })
                .collect()
        })
    }

    fn insert(&mut self, run: &Run, client: &mut Client) -> Result<(), NoAnswer> {
        let (key, element) = (self.key(), run.element());
        let body = run.document(&key, element);
        let changes = vec![(key.clone(), Change::Insert(element))];
        let target = run.path("");
        self.send(run, client, ("POST", &target, &body), changes, |answer| {
            vec![one(key, answer)]
        })
    }

    fn batch_insert(&mut self, run: &Run, client: &mut Client) -> Result<(), NoAnswer> {
        let mut bodies = Vec::new();
        let mut changes = Vec::new();
        for key in self.some_keys() {
            let element = run.element();
            bodies.push(run.document(&key, element));
            changes.push((key, Change::Insert(element)));
        }
        let body = format!("{{\"documents\":[{}]}}", bodies.join(","));
        let target = run.path("/batch");
        self.send(run, client, ("POST", &target, &body), changes, |answer| {
            if answer.status != 201 {
                return refused(
                    answer,
                    "document with id ",
                    " already exists",
                    Seen::Present,
                );
            }
            let found = documents(&answer.text());
            found
                .into_iter()
                .map(|(k, list)| (k, Seen::List(list)))
                .collect()
        })
    }

    fn put(&mut self, run: &Run, client: &mut Client, replace: bool) -> Result<(), NoAnswer> {
        let (key, element) = (self.key(), run.element());
        let target = run.path(&format!("/documents/{key}"));
        let body = run.document(&key, element);
        if replace {
            let changes = vec![(key.clone(), Change::Replace(element))];
            return self.send(run, client, ("PUT", &target, &body), changes, |answer| {
                vec![one(key, answer)]
            });
        }
        let start = run.now();
        let only_new = [JSON, ("If-None-Match", "*")];
        let mut operation = Operation {
            session: self.number,
            start,
            end: OPEN,
            outcome: Outcome::Unknown,
            reads: Vec::new(),
            changes: vec![(key.clone(), Change::Insert(element))],
        };
        let answer = client.try_request("PUT", &target, &only_new, body.as_bytes());
        if let Ok(answer) = &answer {
            operation.end = run.now();
            operation.outcome = match (answer.status, answer.header("x-godb-lsn")) {
                (201, Some(lsn)) => Outcome::Done(Some(lsn.parse().unwrap())),
                (412, _) => Outcome::Refused,
                (status, _) => panic!("PUT {target}: {status} {}", answer.text()),
            };
            operation.reads = vec![one(key, answer)];
        }
        self.operations.push(operation);
        answer.map(|_| ()).map_err(|_| NoAnswer)
    }

    fn delete(&mut self, run: &Run, client: &mut Client) -> Result<(), NoAnswer> {
        let key = self.key();
        let target = run.path(&format!("/documents/{key}"));
        let changes = vec![(key.clone(), Change::Delete)];
        self.send(
            run,
            client,
            ("DELETE", &target, ""),
            changes,
            |answer| match answer.status {
                204 => Vec::new(),
                _ => vec![(key, Seen::Absent)],
            },
        )
    }
}

/// What an answer about one document says of it.
fn one(key: Key, answer: &Response) -> (Key, Seen) {
    let seen = match answer.status {
        404 => Seen::Absent,
        409 | 412 => Seen::Present,
        _ => {
            let mut found = documents(&answer.text());
            assert_eq!(found.len(), 1);
            let (found, list) = found.remove(0);
            assert_eq!(found, key);
            Seen::List(list)
        }
    };
    (key, seen)
}

/// Each of `keys`: what was found, or that it was not. Nothing else may be there, and all in order.
fn every(keys: &[Key], found: Vec<(Key, Vec<Element>)>) -> Vec<(Key, Seen)> {
    let mut found = found.into_iter().peekable();
    let seen = |key: &Key| match found.next_if(|(k, _)| k == key) {
        Some((_, list)) => (key.clone(), Seen::List(list)),
        None => (key.clone(), Seen::Absent),
    };
    let all = keys.iter().map(seen).collect();
    assert_eq!(found.next(), None, "not asked for, twice, or out of order");
    all
}

/// What the message of a refused batch says of one document.
fn refused(answer: &Response, before: &str, after: &str, seen: Seen) -> Vec<(Key, Seen)> {
    let body = answer.json();
    let message = body["message"].as_str().expect("a message");
    let key = message
        .strip_prefix(before)
        .and_then(|rest| rest.strip_suffix(after));
    let key = key.unwrap_or_else(|| panic!("{message}"));
    vec![(key.to_owned(), seen)]
}

/// The documents in an answer, each with its elements in the order of its fields. The documents of
/// these tests are flat, so there is no need for a parser that keeps the order.
fn documents(text: &str) -> Vec<(Key, Vec<Element>)> {
    let documents = text.split("{\"_id\":\"").skip(1);
    documents
        .map(|rest| {
            let (document, _) = rest.split_once('}').expect("its end");
            let (id, fields) = document.split_once('"').expect("an id");
            let elements = fields
                .split("\"e")
                .skip(1)
                .map(|field| field.split('"').next().unwrap().parse().unwrap())
                .collect();
            (id.to_owned(), elements)
        })
        .collect()
}

#[test]
fn the_order_of_fields_is_kept() {
    let text = r#"{"documents":[{"_id":"k01","g":1,"e12":0,"e7":0},{"_id":"k02","g":2,"e3":0}],"total":2}"#;
    let expected = [("k01".to_owned(), vec![12, 7]), ("k02".to_owned(), vec![3])];
    assert_eq!(documents(text), expected);
    assert_eq!(every(&["k00".to_owned()], Vec::new())[0].1, Seen::Absent);
}
