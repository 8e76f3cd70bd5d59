//! A checker for strict serializability: does some order of these operations, one after another,
//! explain every answer, and does it keep the order of those that did not overlap?
//!
//! After Adya and Elle. Documents are lists: every write adds a field of its own (an [`Element`]) at
//! the end, so a document tells which writes made it, in which order, and a reader tells which
//! version it read. From that follow the dependencies, and a cycle among them is an answer that no
//! order explains. What one document cannot tell is where a deletion or a replacement stands among
//! its other versions; the answer's LSN says that, and is itself held against everything else that
//! is known.
//!
//! | edge | from | to |
//! |---|---|---|
//! | write-write | who made a version | who made the next one |
//! | write-read | who made a version | who read it |
//! | read-write | who read a version | who made the next one |
//! | session | an operation | the next of its session |
//! | real time | an operation | each that began after its end |

mod cycles;
mod dependencies;
#[cfg(test)]
mod tests;
mod versions;

use std::collections::BTreeMap;
use std::fmt;

/// What one write leaves in a document. Never given out twice in a history.
pub type Element = u32;

/// A document.
pub type Key = String;

/// What an answer says about a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is not there.
    Absent,
    /// It is there; nothing more.
    Present,
    /// Its elements. In the answer of a write: with what this write left.
    List(Vec<Element>),
}

/// What a request does to a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Makes it; it must not be there.
    Insert(Element),
    /// Puts a new one in its place; it must be there.
    Replace(Element),
    /// Adds to it; it must be there.
    Append(Vec<Element>),
    /// Removes it; it must be there.
    Delete,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Carried out; the LSN if it was a write.
    Done(Option<u64>),
    /// Refused: it changed nothing, and what it says of documents is true.
    Refused,
    /// No answer: carried out or not.
    Unknown,
}

/// One request and its answer. One request is one transaction.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Who sent it. A session waits for an answer before it sends the next request.
    pub session: usize,
    /// Before its first byte was sent, on the one clock of the history.
    pub start: u64,
    /// After its answer was there; without one, when the process that had it was gone.
    pub end: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What it says of documents, all as of one moment.
    pub reads: Vec<(Key, Seen)>,
    /// What it does, each document at most once.
    pub changes: Vec<(Key, Change)>,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A cycle of writes alone: versions of two documents are in opposite orders (dirty write).
    G0,
    /// A value of a request that was refused.
    G1a,
    /// A value that its own request overwrote (intermediate read).
    G1b,
    /// A cycle of writes and reads of what was written (circular information flow).
    G1c,
    /// A cycle with one read that missed a write: read skew, and with an order a stale read.
    GSingle,
    /// A cycle with several of these: write skew, phantoms.
    G2,
    /// Two writes built on the same version, and one is gone.
    LostUpdate,
    /// One view with a part of a batch.
    TornBatch,
    /// A write's own answer is not what it wrote.
    Internal,
    /// A value that nobody wrote there.
    Garbage,
    /// An insert over a document, or a change of none.
    Impossible,
    /// LSNs that are not the order of the versions, or not that of time, or not unique.
    LsnOrder,
}

/// What a cycle needs besides dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Nothing: not serializable.
    None,
    /// The order of one session: it went back in time.
    Session,
    /// The order of requests that did not overlap.
    RealTime,
}

/// One fault of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// What is wrong.
    pub kind: Kind,
    /// Which order it goes against.
    pub order: Order,
    /// The operations.
    pub text: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)?;
        if self.order != Order::None {
            write!(f, " against the order of {:?}", self.order)?;
        }
        write!(f, ": {}", self.text)
    }
}

/// How much a check had to go on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Requests, those without effect included.
    pub operations: usize,
    /// Documents looked at, once for each answer.
    pub reads: usize,
    /// Requests that changed something.
    pub writes: usize,
    /// Requests without an answer; what they did was to be found out.
    pub unknown: usize,
    /// Write-write edges.
    pub write_write: usize,
    /// Write-read edges.
    pub write_read: usize,
    /// Read-write edges.
    pub read_write: usize,
    /// Cycles are searched in these, too: sessions and real time.
    pub order: usize,
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.operations += other.operations;
        self.reads += other.reads;
        self.writes += other.writes;
        self.unknown += other.unknown;
        self.write_write += other.write_write;
        self.write_read += other.write_read;
        self.read_write += other.read_write;
        self.order += other.order;
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} operations ({} wrote, {} without an answer), {} documents read; edges: {} write-write, {} write-read, {} read-write, {} of order",
            self.operations,
            self.writes,
            self.unknown,
            self.reads,
            self.write_write,
            self.write_read,
            self.read_write,
            self.order
        )
    }
}

/// Everything that is wrong with a history (empty: it is strictly serializable), and how much was
/// compared. All documents are absent before its first operation.
pub fn check(history: &[Operation]) -> (Vec<Anomaly>, Stats) {
    let mut anomalies = Vec::new();
    let versions = versions::Versions::of(history, &mut anomalies);
    let graph = dependencies::graph(history, &versions, &mut anomalies);
    lsns_follow_time(history, &mut anomalies);
    let mut stats = graph.stats();
    stats.operations = history.len();
    for operation in history {
        stats.reads += operation.reads.len();
        stats.writes += usize::from(matches!(operation.outcome, Outcome::Done(Some(_))));
        stats.unknown += usize::from(operation.outcome == Outcome::Unknown);
    }
    anomalies.extend(cycles::find(&graph, history));
    anomalies.sort_by_key(|found| (found.order, found.kind));
    (anomalies, stats)
}

/// A write that began after another one's answer has a larger LSN, and no two have the same.
fn lsns_follow_time(history: &[Operation], anomalies: &mut Vec<Anomaly>) {
    let mut fault = |text: String| {
        anomalies.push(Anomaly {
            kind: Kind::LsnOrder,
            order: Order::RealTime,
            text,
        });
    };
    let mut by_lsn: BTreeMap<u64, &Operation> = BTreeMap::new();
    for operation in history {
        if let Outcome::Done(Some(lsn)) = operation.outcome
            && let Some(other) = by_lsn.insert(lsn, operation)
        {
            fault(format!("{operation} and {other} have the same LSN"));
        }
    }
    // From the highest LSN down: nobody may have begun after somebody with a lower one had ended
    // the other way round.
    let mut earliest_end: Option<&Operation> = None;
    for operation in by_lsn.values().rev() {
        if let Some(later) = earliest_end
            && later.end < operation.start
        {
            fault(format!("{later} ended before {operation} began"));
        }
        if earliest_end.is_none_or(|other| operation.end < other.end) {
            earliest_end = Some(operation);
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 6;
        write!(f, "[session {}, {}..{}", self.session, self.start, self.end)?;
        match self.outcome {
            Outcome::Done(Some(lsn)) => write!(f, ", LSN {lsn}")?,
            Outcome::Done(None) => {}
            other => write!(f, ", {other:?}")?,
        }
        for (key, change) in self.changes.iter().take(MOST) {
            write!(f, "; {key} {change:?}")?;
        }
        for (key, seen) in self.reads.iter().take(MOST) {
            match seen {
                Seen::List(list) if list.len() > MOST => {
                    let end = &list[list.len() - MOST..];
                    write!(f, "; {key} is […{} before, {end:?}]", list.len() - MOST)?;
                }
                seen => write!(f, "; {key} is {seen:?}")?,
            }
        }
        f.write_str("]")
    }
}
