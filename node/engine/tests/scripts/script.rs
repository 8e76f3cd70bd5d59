//! Scripts of sessions: what each sends, and what it must be answered. The same files run against
//! the engine and against the node.
//!
//! ```text
//! # What it shows.
//! on: engine                          only there; without this line, on both
//! levels: os full                     only at these; without it, at all four
//! a: patch x {"n":1} -> 200 {"_id":"x","n":1}
//! b: get x -> 200 {"_id":"x"} or 404  either will do
//! [os full] b: get x -> 404           only at these levels
//! | a: insert {"_id":"y"} -> 201 or 409
//! | b: insert {"_id":"y"} -> 201 or 409    sent at the same time as the line above
//! answers: 201 409                    the statuses of those two, in any order
//! a: insert {"_id":"z"} -> waits      there is no answer yet
//! a: -> 201                           now there is
//! event: kill                         something happens to the machine
//! ```
//!
//! A body that is not given may be anything. All requests go to the collection `c`.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// What waits, waits for an event of the script, and so at least this long.
const WAITS: Duration = Duration::from_millis(150);
/// Longest wait for an answer.
const LONGEST: Duration = Duration::from_secs(60);

/// An answer, as HTTP gives it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The document, or the documents in brackets; nothing of a refusal.
    pub body: String,
}

/// One session: a request, and its answer when that is there.
pub type Session = Box<dyn FnMut(&str, &str) -> Answer + Send>;

/// What a script runs against.
pub trait Target {
    /// `engine` or `http`.
    const NAME: &'static str;

    /// A session of its own.
    fn session(&mut self) -> Session;

    /// Something happens. Sessions of before are not used any more if it ends the process.
    fn event(&mut self, event: &str);
}

struct Running {
    requests: Sender<(String, String)>,
    answers: Receiver<Answer>,
    thread: JoinHandle<()>,
}

struct Run<'a, T> {
    target: &'a mut T,
    sessions: BTreeMap<String, Running>,
    ended: Vec<JoinHandle<()>>,
    /// Lines sent at the same time: session, expected, line.
    together: Vec<(String, String, String)>,
    /// Their statuses.
    statuses: Vec<u16>,
}

/// Whether a script is for this target and level.
pub fn applies(text: &str, target: &str, level: &str) -> bool {
    let says = |name: &str, what: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.is_none_or(|list| list.split_whitespace().any(|word| word == what))
    };
    says("on:", target) && says("levels:", level)
}

/// Runs one script; a line that is not answered as it says panics with it.
pub fn run<T: Target>(name: &str, text: &str, level: &str, target: &mut T) {
    let mut run = Run {
        target,
        sessions: BTreeMap::new(),
        ended: Vec::new(),
        together: Vec::new(),
        statuses: Vec::new(),
    };
    for (number, line) in text.lines().enumerate() {
        let about = format!("{name}:{} at {level} on {}: {line}", number + 1, T::NAME);
        let line = match line.strip_prefix('[') {
            Some(rest) => {
                let (levels, rest) = rest.split_once(']').expect(&about);
                if !levels.split_whitespace().any(|word| word == level) {
                    continue;
                }
                rest.trim()
            }
            None => line.trim(),
        };
        run.line(line, &about);
    }
    run.receive_together();
    run.end_sessions();
    for thread in run.ended {
        thread.join().expect(name);
    }
}

impl<T: Target> Run<'_, T> {
    fn line(&mut self, line: &str, about: &str) {
        if let Some(line) = line.strip_prefix("| ") {
            let (session, request, expected) = step(line, about);
            self.send(session, request);
            let sent = (session.to_owned(), expected.to_owned(), about.to_owned());
            self.together.push(sent);
            return;
        }
        self.receive_together();
        if line.is_empty()
            || ["#", "on:", "levels:"]
                .iter()
                .any(|word| line.starts_with(word))
        {
        } else if let Some(list) = line.strip_prefix("answers:") {
            let mut expected: Vec<u16> = list
                .split_whitespace()
                .map(|word| word.parse().expect(about))
                .collect();
            expected.sort_unstable();
            self.statuses.sort_unstable();
            assert_eq!(self.statuses, expected, "{about}");
        } else if let Some(event) = line.strip_prefix("event:") {
            let event = event.trim();
            self.target.event(event);
            if ["kill", "power cut", "restart"].contains(&event) {
                self.end_sessions();
            }
        } else {
            let (session, request, expected) = step(line, about);
            if !request.is_empty() {
                self.send(session, request);
            }
            self.receive(session, expected, about);
        }
    }

    fn send(&mut self, session: &str, request: &str) {
        if !self.sessions.contains_key(session) {
            let running = start(self.target.session());
            self.sessions.insert(session.to_owned(), running);
        }
        let (verb, rest) = request.split_once(' ').unwrap_or((request, ""));
        let message = (verb.to_owned(), rest.to_owned());
        let sent = self.sessions[session].requests.send(message);
        sent.expect("the session runs");
    }

    fn receive(&mut self, session: &str, expected: &str, about: &str) {
        if expected == "waits" {
            let answer = self.sessions[session].answers.recv_timeout(WAITS);
            assert_eq!(answer, Err(RecvTimeoutError::Timeout), "{about}");
            return;
        }
        let answer = self.sessions[session].answers.recv_timeout(LONGEST);
        let answer = answer.expect(about);
        let fits = |one: &str| {
            let (status, body) = one.split_once(' ').unwrap_or((one, ""));
            let body = body.trim();
            status == answer.status.to_string() && (body.is_empty() || body == answer.body)
        };
        assert!(
            expected.split(" or ").any(fits),
            "{about}\nanswered {answer:?}"
        );
        self.statuses.push(answer.status);
    }

    fn receive_together(&mut self) {
        if self.together.is_empty() {
            return;
        }
        self.statuses.clear();
        for (session, expected, about) in std::mem::take(&mut self.together) {
            self.receive(&session, &expected, &about);
        }
    }

    fn end_sessions(&mut self) {
        for running in std::mem::take(&mut self.sessions).into_values() {
            drop(running.requests);
            self.ended.push(running.thread);
        }
    }
}

fn step<'a>(line: &'a str, about: &str) -> (&'a str, &'a str, &'a str) {
    let (session, rest) = line.split_once(':').expect(about);
    let (request, expected) = rest.split_once("->").expect(about);
    (session.trim(), request.trim(), expected.trim())
}

fn start(mut session: Session) -> Running {
    let (requests, incoming) = channel::<(String, String)>();
    let (outgoing, answers) = channel();
    let thread = std::thread::spawn(move || {
        for (verb, rest) in incoming {
            // Nobody waits for it any more after a kill.
            let _ = outgoing.send(session(&verb, &rest));
        }
    });
    Running {
        requests,
        answers,
        thread,
    }
}

/// The scripts in this folder, by name.
#[expect(
    clippy::disallowed_methods,
    reason = "scripts are files of the sources, not of a database"
)]
pub fn all(folder: &str) -> Vec<(String, String)> {
    let mut scripts: Vec<(String, String)> = std::fs::read_dir(folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "txt"))
        .map(|path| {
            let name = path
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, std::fs::read_to_string(&path).expect("a script"))
        })
        .collect();
    scripts.sort();
    scripts
}
