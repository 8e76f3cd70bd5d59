//! The scripts of isolation against the engine, on a disk whose power can be cut and which can be
//! made to wait.

use std::sync::{Arc, Condvar, Mutex};

use godb_engine::{
    Cursor, Document, DocumentStream, Durability, EngineError, Find, Io, PageStart, Pending,
    Replace, StorageEngine, Write,
};
use godb_store::disk::CallKind;
use godb_store::disk::sim::{LossVariant, Moment, SimDisk};

use crate::script::{Answer, Session, Target};
use crate::{filter, script, text};

/// Calls on the log that have to wait.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stalled {
    #[default]
    Nothing,
    Syncs,
    /// And syncs.
    Writes,
}

type Stall = Arc<(Mutex<Stalled>, Condvar)>;

struct Engine {
    level: Durability,
    disk: SimDisk,
    stall: Stall,
    engine: StorageEngine,
}

impl Engine {
    fn new(level: Durability, disk: SimDisk) -> Self {
        let stall = Stall::default();
        let waits = Arc::clone(&stall);
        let engine = StorageEngine::builder("/db")
            .disk(Arc::new(disk.clone()))
            .durability(level)
            .open()
            .unwrap();
        disk.on_call(move |call| {
            // Also one that was opened under the name it had before it was ready.
            let is_log = call.path.to_string_lossy().contains(".wal");
            if call.moment == Moment::Before && is_log {
                let (stalled, changed) = &*waits;
                let mut stalled = stalled.lock().unwrap();
                while match call.kind {
                    CallKind::SyncData => *stalled != Stalled::Nothing,
                    CallKind::Write => *stalled == Stalled::Writes,
                    _ => false,
                } {
                    stalled = changed.wait(stalled).unwrap();
                }
            }
        });
        Self {
            level,
            disk,
            stall,
            engine,
        }
    }

    fn stall(&self, what: Stalled) {
        *self.stall.0.lock().unwrap() = what;
        self.stall.1.notify_all();
    }

    /// The machine of this moment with what survives, and an engine on it.
    fn crash(&mut self, variant: LossVariant) {
        let disk = self.disk.image().survive(variant, 1);
        self.stall(Stalled::Nothing);
        *self = Self::new(self.level, disk);
    }
}

impl Target for Engine {
    const NAME: &'static str = "engine";

    fn session(&mut self) -> Session {
        let mut session = OneSession {
            engine: self.engine.clone(),
            stream: None,
            cursor: None,
        };
        Box::new(move |verb, rest| session.answer(verb, rest))
    }

    fn event(&mut self, event: &str) {
        match event {
            "checkpoint" => drop(self.engine.checkpoint().unwrap()),
            "kill" => self.crash(LossVariant::KeepAll),
            "power cut" => self.crash(LossVariant::LoseUnsynced),
            "restart" => {
                self.engine.close().unwrap();
                self.crash(LossVariant::LoseUnsynced);
            }
            "stall writes" => self.stall(Stalled::Writes),
            "stall syncs" => self.stall(Stalled::Syncs),
            "flow" => self.stall(Stalled::Nothing),
            other => panic!("no event {other}"),
        }
    }
}

struct OneSession {
    engine: StorageEngine,
    stream: Option<DocumentStream>,
    cursor: Option<Cursor>,
}

impl OneSession {
    fn answer(&mut self, verb: &str, rest: &str) -> Answer {
        let (id, body) = rest.split_once(' ').unwrap_or((rest, ""));
        let engine = &self.engine;
        let how = Write {
            ack: verb.ends_with("-full").then_some(Durability::Full),
            ..Write::default()
        };
        match verb {
            "insert" | "insert-full" => one(201, engine.insert("c", rest.as_bytes(), &how)),
            "insert-all" => {
                let documents: Vec<&[u8]> = godb_engine::json::items(rest.as_bytes()).collect();
                many(201, engine.batch_insert("c", &documents, &how))
            }
            "put" => {
                let mode = Replace::Existing;
                one(200, engine.replace("c", id, body.as_bytes(), mode, &how))
            }
            "put-new" => {
                let mode = Replace::CreateOnly;
                one(201, engine.replace("c", id, body.as_bytes(), mode, &how))
            }
            "patch" => one(200, engine.update("c", id, body.as_bytes(), &how)),
            "patch-all" => {
                let parsed: serde_json::Value = serde_json::from_str(rest).unwrap();
                let items = parsed.as_array().unwrap().iter();
                let operations: Vec<(String, String)> = items
                    .map(|item| {
                        let id = item["id"].as_str().unwrap();
                        (id.to_owned(), item["updates"].to_string())
                    })
                    .collect();
                let operations: Vec<(&str, &[u8])> = operations
                    .iter()
                    .map(|(id, fields)| (id.as_str(), fields.as_bytes()))
                    .collect();
                many(200, engine.batch_update("c", &operations, &how))
            }
            "delete" => match engine.delete("c", id, &how).and_then(Pending::wait) {
                Ok(()) => answer(204, String::new()),
                Err(error) => refusal(&error),
            },
            "get" => match engine.get("c", id, Io::Allow).unwrap() {
                Some(document) => answer(200, text(&document).to_owned()),
                None => answer(404, String::new()),
            },
            "find" | "next" => self.find(verb, rest),
            "stream" => {
                self.stream = Some(engine.find_stream("c", &filter(&[])).unwrap());
                answer(200, String::new())
            }
            "rest" => {
                let stream = self.stream.take().unwrap();
                answer(200, list(stream.map(Result::unwrap)))
            }
            other => panic!("no request {other}"),
        }
    }

    fn find(&mut self, verb: &str, query: &str) -> Answer {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let limit = pairs.clone().find(|(name, _)| *name == "limit");
        let fields: Vec<(&str, &str)> = pairs.filter(|(name, _)| *name != "limit").collect();
        let find = Find {
            filter: filter(&fields),
            limit: limit.map_or(50, |(_, limit)| limit.parse().unwrap()),
            page: match verb {
                "next" => PageStart::After(self.cursor.take().unwrap()),
                _ => PageStart::Offset(0),
            },
            total: false,
        };
        let page = self.engine.find("c", &find, Io::Allow).unwrap();
        self.cursor = page.next_cursor;
        answer(200, list(page.documents.into_iter()))
    }
}

fn answer(status: u16, body: String) -> Answer {
    Answer { status, body }
}

fn refusal(error: &EngineError) -> Answer {
    let status = match error {
        EngineError::NotFound { .. } => 404,
        EngineError::AlreadyExists { .. } => 409,
        EngineError::PreconditionFailed { .. } => 412,
        // Sessions of a machine that is gone.
        _ => 503,
    };
    answer(status, String::new())
}

fn one(status: u16, pending: Result<Pending<Document>, EngineError>) -> Answer {
    match pending.and_then(Pending::wait) {
        Ok(document) => answer(status, text(&document).to_owned()),
        Err(error) => refusal(&error),
    }
}

fn many(status: u16, pending: Result<Pending<Vec<Document>>, EngineError>) -> Answer {
    match pending.and_then(Pending::wait) {
        Ok(documents) => answer(status, list(documents.into_iter())),
        Err(error) => refusal(&error),
    }
}

fn list(documents: impl Iterator<Item = Document>) -> String {
    let documents: Vec<String> = documents.map(|one| text(&one).to_owned()).collect();
    format!("[{}]", documents.join(","))
}

#[test]
fn every_script_at_every_level() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut ran = 0;
    for (name, text) in script::all(folder) {
        for level in ["none", "memory", "os", "full"] {
            if script::applies(&text, Engine::NAME, level) {
                let mut engine = Engine::new(level.parse().unwrap(), SimDisk::new());
                script::run(&name, &text, level, &mut engine);
                ran += 1;
            }
        }
    }
    assert!(ran > 40, "{ran} runs");
}

#[test]
#[should_panic(expected = "wrong:2 at os on engine: a: get x -> 200")]
fn a_wrong_answer_is_not_accepted() {
    let text = "a: get x -> 404\na: get x -> 200\n";
    let mut engine = Engine::new(Durability::Os, SimDisk::new());
    script::run("wrong", text, "os", &mut engine);
}

#[test]
#[should_panic(expected = "wrong:1 at os on engine: a: insert {} -> waits")]
fn what_should_wait_must_not_answer() {
    let mut engine = Engine::new(Durability::Os, SimDisk::new());
    script::run("wrong", "a: insert {} -> waits\n", "os", &mut engine);
}
