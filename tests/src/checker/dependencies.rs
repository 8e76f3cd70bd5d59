//! From versions to a graph of who must come before whom.

use std::collections::HashMap;

use super::versions::{Chain, Version, Versions};
use super::{Anomaly, Change, Element, Key, Kind, Operation, Order, Outcome, Seen, Stats};

/// Why one operation comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    WriteWrite,
    WriteRead,
    ReadWrite,
    Session,
    RealTime,
}

/// Operations by their numbers, then moments in time: real time is a path over moments, so that
/// it costs a few edges for each operation, not one for each pair.
#[derive(Debug, Default)]
pub struct Graph {
    edges: Vec<Vec<(usize, Edge)>>,
}

impl Graph {
    fn add(&mut self, from: usize, to: usize, edge: Edge) {
        if from != to && !self.edges[from].contains(&(to, edge)) {
            self.edges[from].push((to, edge));
        }
    }

    /// How many nodes.
    pub fn len(&self) -> usize {
        self.edges.len()
    }

    /// Where one can go from here.
    pub fn from(&self, node: usize) -> &[(usize, Edge)] {
        &self.edges[node]
    }

    /// Edges by kind.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for (_, edge) in self.edges.iter().flatten() {
            match edge {
                Edge::WriteWrite => stats.write_write += 1,
                Edge::WriteRead => stats.write_read += 1,
                Edge::ReadWrite => stats.read_write += 1,
                Edge::Session | Edge::RealTime => stats.order += 1,
            }
        }
        stats
    }
}

/// All edges of a history.
pub fn graph(history: &[Operation], versions: &Versions, anomalies: &mut Vec<Anomaly>) -> Graph {
    let mut deletions: HashMap<&str, Vec<usize>> = HashMap::new();
    for (number, operation) in history.iter().enumerate() {
        for (key, change) in &operation.changes {
            if *change == Change::Delete && operation.outcome != Outcome::Refused {
                deletions.entry(key).or_default().push(number);
            }
        }
    }
    let mut build = Build {
        graph: Graph {
            edges: vec![Vec::new(); history.len()],
        },
        history,
        deletions,
        anomalies,
    };
    for chain in versions.chains() {
        build.order_of_writes(&chain.versions);
        for loose in &chain.loose {
            build.order_of_writes(loose);
        }
    }
    for (number, operation) in history.iter().enumerate() {
        for (key, seen) in &operation.reads {
            let chain = versions.of_key(key);
            match seen {
                Seen::List(list) => build.read_list(number, key, list, chain),
                Seen::Absent => build.read_presence(number, key, false, chain),
                Seen::Present => build.read_presence(number, key, true, chain),
            }
        }
        build.torn_batch(number, versions);
    }
    build.sessions();
    build.real_time();
    build.graph
}

struct Build<'a> {
    graph: Graph,
    history: &'a [Operation],
    /// Of each document.
    deletions: HashMap<&'a str, Vec<usize>>,
    anomalies: &'a mut Vec<Anomaly>,
}

/// The first known writer from this version on.
fn writer_from(versions: &[Version], place: usize) -> Option<usize> {
    versions.get(place..)?.iter().find_map(|v| v.writer)
}

impl Build<'_> {
    fn fault(&mut self, kind: Kind, order: Order, text: String) {
        self.anomalies.push(Anomaly { kind, order, text });
    }

    fn order_of_writes(&mut self, versions: &[Version]) {
        let mut writers = versions.iter().filter_map(|version| version.writer);
        let Some(mut before) = writers.next() else {
            return;
        };
        for writer in writers {
            self.graph.add(before, writer, Edge::WriteWrite);
            before = writer;
        }
    }

    fn own_elements(&self, reader: usize, key: &str) -> Option<(&[Element], bool)> {
        let changes = &self.history[reader].changes;
        let (_, change) = changes.iter().find(|(changed, _)| changed == key)?;
        match change {
            Change::Append(own) => Some((own, false)),
            Change::Insert(own) | Change::Replace(own) => Some((std::slice::from_ref(own), true)),
            Change::Delete => Some((&[], true)),
        }
    }

    fn read_list(&mut self, reader: usize, key: &Key, list: &[Element], chain: &Chain) {
        let mut read = list;
        if let (Some((own, whole)), Outcome::Done(_)) =
            (self.own_elements(reader, key), self.history[reader].outcome)
        {
            let before = list.strip_suffix(own);
            match before {
                Some([]) if whole => return,
                Some(before) if !whole => read = before,
                _ => {
                    let text = format!("{key} in {}", self.history[reader]);
                    self.fault(Kind::Internal, Order::None, text);
                    return;
                }
            }
        }
        // None where the list contradicts others, which has been reported.
        let Some((part, place)) = chain.place(read) else {
            return;
        };
        let versions = chain.part(part);
        if let Some(writer) = versions[place].writer {
            self.graph.add(writer, reader, Edge::WriteRead);
        }
        if let Some(next) = writer_from(versions, place + 1) {
            self.graph.add(reader, next, Edge::ReadWrite);
        }
    }

    /// One lack of a document looks like another. But some are too old, because the next document
    /// was acknowledged before the reader began, and some too new.
    fn read_presence(&mut self, reader: usize, key: &str, present: bool, chain: &Chain) {
        let versions = &chain.versions;
        let operation = &self.history[reader];
        let stretches: Vec<(usize, usize)> = stretches(versions, present)
            .filter(|&(start, end)| {
                let began = versions[start]
                    .writer
                    .is_none_or(|writer| self.history[writer].start <= operation.end);
                let goes_on = versions
                    .get(end)
                    .and_then(|version| version.writer)
                    .is_none_or(|writer| self.history[writer].end >= operation.start);
                began && goes_on
            })
            .collect();
        let (Some(&(first, _)), Some(&(_, end))) = (stretches.first(), stretches.last()) else {
            if !chain.open {
                let text = format!("{key} was never so while {operation} was under way");
                self.fault(Kind::GSingle, Order::RealTime, text);
            }
            return;
        };
        if chain.open {
            return;
        }
        if let Some(writer) = versions[first].writer {
            self.graph.add(writer, reader, Edge::WriteRead);
        }
        if let Some(next) = versions.get(end).and_then(|version| version.writer) {
            self.graph.add(reader, next, Edge::ReadWrite);
        }
    }

    /// Whether a view has one document with a write, and another without what the same write did
    /// there. A cycle says so too; this says it in the user's words.
    fn torn_batch(&mut self, reader: usize, versions: &Versions) {
        let operation = &self.history[reader];
        if operation.reads.len() < 2 || !operation.changes.is_empty() {
            return;
        }
        let mut torn = None;
        for (key, seen) in &operation.reads {
            let Seen::List(list) = seen else { continue };
            let chain = versions.of_key(key);
            let Some((part, place)) = chain.place(list) else {
                continue;
            };
            let Some(writer) = chain.part(part)[place].writer else {
                continue;
            };
            let batch = &self.history[writer];
            for (other, change) in batch.changes.iter().filter(|(other, _)| other != key) {
                let seen = operation.reads.iter().find(|(k, _)| k == other);
                let Some((_, Seen::List(seen))) = seen else {
                    let missed = matches!(seen, Some((_, Seen::Absent)));
                    if missed && *change != Change::Delete && !self.deleted(other, batch, operation)
                    {
                        torn = Some(format!("{operation} has {batch} in {key}, and no {other}"));
                    }
                    continue;
                };
                let chain = versions.of_key(other);
                let Some((part, place)) = chain.place(seen) else {
                    continue;
                };
                let later = &chain.part(part)[place + 1..];
                if later.iter().any(|version| version.writer == Some(writer)) {
                    torn = Some(format!("{operation} has {batch} in {key}, not in {other}"));
                }
            }
        }
        if let Some(text) = torn {
            self.fault(Kind::TornBatch, Order::None, text);
        }
    }

    /// Whether somebody may have removed the document after `batch` and before `reader`.
    fn deleted(&self, key: &str, batch: &Operation, reader: &Operation) -> bool {
        let deletions = self.deletions.get(key);
        deletions.into_iter().flatten().any(|&number| {
            let deletion = &self.history[number];
            deletion.end >= batch.start && deletion.start <= reader.end
        })
    }

    fn sessions(&mut self) {
        let mut order: Vec<usize> = (0..self.history.len()).collect();
        order.sort_by_key(|&number| (self.history[number].session, self.history[number].start));
        for pair in order.windows(2) {
            let (one, next) = (&self.history[pair[0]], &self.history[pair[1]]);
            if one.session == next.session {
                assert!(one.end <= next.start, "{one} and {next} overlap");
                self.graph.add(pair[0], pair[1], Edge::Session);
            }
        }
    }

    fn real_time(&mut self) {
        // At equal times beginnings come first: such operations overlap.
        let mut moments: Vec<(u64, bool, usize)> = Vec::with_capacity(self.history.len() * 2);
        for (number, operation) in self.history.iter().enumerate() {
            moments.push((operation.start, false, number));
            moments.push((operation.end, true, number));
        }
        moments.sort_unstable();
        let mut newest = None;
        for (_, is_end, number) in moments {
            if !is_end {
                if let Some(moment) = newest {
                    self.graph.add(moment, number, Edge::RealTime);
                }
                continue;
            }
            let moment = self.graph.len();
            self.graph.edges.push(Vec::new());
            self.graph.add(number, moment, Edge::RealTime);
            if let Some(before) = newest.replace(moment) {
                self.graph.add(before, moment, Edge::RealTime);
            }
        }
    }
}

/// Where a document is there (or not) without a break: from this version up to, without, that one.
fn stretches(versions: &[Version], present: bool) -> impl Iterator<Item = (usize, usize)> {
    let mut place = 0;
    std::iter::from_fn(move || {
        while versions.get(place)?.present != present {
            place += 1;
        }
        let start = place;
        while versions.get(place).is_some_and(|v| v.present == present) {
            place += 1;
        }
        Some((start, place))
    })
}
