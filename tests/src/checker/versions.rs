//! The versions of each document, in their order.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Anomaly, Change, Element, Key, Kind, Operation, Order, Outcome, Seen};

/// One version of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Who made it. Nobody made the first one; and somebody without an answer made those that only
    /// what follows them shows.
    pub writer: Option<usize>,
    /// Whether it is a document or the lack of one.
    pub present: bool,
}

/// What is known about one document.
#[derive(Debug, Default)]
pub struct Chain {
    /// In order, from "not there" on.
    pub versions: Vec<Version>,
    /// Documents whose place among the others is not known, each by itself.
    pub loose: Vec<Vec<Version>>,
    /// Whether there may be more versions than these, without any trace but absence or presence.
    pub open: bool,
    /// The version that ends with this element: chain (0 for `versions`, else `loose` from 1 on)
    /// and place.
    places: HashMap<Element, (usize, usize)>,
}

impl Chain {
    /// The chain and place of what was read.
    pub fn place(&self, list: &[Element]) -> Option<(usize, usize)> {
        self.places.get(list.last()?).copied()
    }

    /// A chain by its number.
    pub fn part(&self, number: usize) -> &[Version] {
        match number.checked_sub(1) {
            None => &self.versions,
            Some(loose) => &self.loose[loose],
        }
    }
}

/// Who wrote an element.
struct Owner {
    operation: usize,
    key: Key,
    /// The first of a document.
    starts: bool,
    /// The last that its operation left there.
    last: bool,
}

/// All documents.
pub struct Versions {
    chains: BTreeMap<Key, Chain>,
}

impl Versions {
    /// What is known about this document.
    pub fn of_key(&self, key: &str) -> &Chain {
        &self.chains[key]
    }

    /// All of them.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.chains.values()
    }

    /// Puts together what all answers say.
    pub fn of(history: &[Operation], anomalies: &mut Vec<Anomaly>) -> Self {
        let owners = owners(history);
        let mut found = Finder {
            history,
            owners: &owners,
            anomalies,
            lives: BTreeMap::new(),
            unseen: Vec::new(),
        };
        found.gather();
        found.find_unseen();
        let lives = std::mem::take(&mut found.lives);
        let chains = lives
            .into_iter()
            .map(|(key, lives)| {
                let chain = found.chain(&key, lives);
                (key, chain)
            })
            .collect();
        Self { chains }
    }
}

fn owners(history: &[Operation]) -> HashMap<Element, Owner> {
    let mut owners = HashMap::new();
    for (operation, Operation { changes, .. }) in history.iter().enumerate() {
        for (key, change) in changes {
            let (elements, starts) = match change {
                Change::Insert(element) | Change::Replace(element) => {
                    (std::slice::from_ref(element), true)
                }
                Change::Append(elements) => (elements.as_slice(), false),
                Change::Delete => continue,
            };
            for (place, element) in elements.iter().enumerate() {
                let owner = Owner {
                    operation,
                    key: key.clone(),
                    starts,
                    last: place + 1 == elements.len(),
                };
                let twice = owners.insert(*element, owner).is_some();
                assert!(!twice, "the element {element} was given out twice");
            }
        }
    }
    owners
}

/// A document from its insert or replacement on: the longest list of it that anybody saw, by its
/// first element.
type Lives = BTreeMap<Element, Vec<Element>>;

struct Finder<'a> {
    history: &'a [Operation],
    owners: &'a HashMap<Element, Owner>,
    anomalies: &'a mut Vec<Anomaly>,
    lives: BTreeMap<Key, Lives>,
    /// Operations that were carried out and left something that nobody saw.
    unseen: Vec<usize>,
}

/// What happened to a document as a whole, for sorting by LSN.
enum Event<'a> {
    Life { first: Element, list: &'a [Element] },
    Delete { operation: usize },
}

impl Finder<'_> {
    fn fault(&mut self, kind: Kind, text: String) {
        self.anomalies.push(Anomaly {
            kind,
            order: Order::None,
            text,
        });
    }

    fn gather(&mut self) {
        let history = self.history;
        for (number, operation) in history.iter().enumerate() {
            for (key, change) in &operation.changes {
                let lives = self.lives.entry(key.clone()).or_default();
                if let (Change::Insert(first) | Change::Replace(first), Outcome::Done(_)) =
                    (change, operation.outcome)
                {
                    lives.entry(*first).or_insert_with(|| vec![*first]);
                }
            }
            for (key, seen) in &operation.reads {
                self.lives.entry(key.clone()).or_default();
                if let Seen::List(list) = seen
                    && self.is_possible(number, key, list)
                {
                    self.merge(number, key, list);
                }
            }
        }
    }

    fn find_unseen(&mut self) {
        let seen: HashSet<Element> = self
            .lives
            .values()
            .flat_map(|lives| lives.values().flatten().copied())
            .collect();
        for (number, operation) in self.history.iter().enumerate() {
            let written = operation
                .changes
                .iter()
                .flat_map(|(_, change)| match change {
                    Change::Append(elements) => elements.as_slice(),
                    Change::Insert(element) | Change::Replace(element) => {
                        std::slice::from_ref(element)
                    }
                    Change::Delete => &[],
                });
            let done = matches!(operation.outcome, Outcome::Done(_));
            let (shown, hidden): (Vec<Element>, Vec<Element>) =
                written.copied().partition(|e| seen.contains(e));
            if (done || !shown.is_empty()) && !hidden.is_empty() {
                self.unseen.push(number);
            }
        }
    }

    /// Whether these elements can stand there at all.
    fn is_possible(&mut self, reader: usize, key: &str, list: &[Element]) -> bool {
        let operation = &self.history[reader];
        if list.is_empty() {
            self.fault(Kind::Garbage, format!("{key} is empty for {operation}"));
            return false;
        }
        let different: HashSet<&Element> = list.iter().collect();
        if different.len() < list.len() {
            self.fault(Kind::Garbage, format!("{key} has one twice: {operation}"));
            return false;
        }
        for (place, element) in list.iter().enumerate() {
            let Some(owner) = self.owners.get(element).filter(|owner| owner.key == key) else {
                let text = format!("{key} has {element}, which nobody wrote, for {operation}");
                self.fault(Kind::Garbage, text);
                return false;
            };
            let writer = &self.history[owner.operation];
            if writer.outcome == Outcome::Refused {
                let text = format!("{operation} read what was refused to {writer}");
                self.fault(Kind::G1a, text);
                return false;
            }
            if owner.starts != (place == 0) {
                let text = format!("{key} has {element} at place {place} for {operation}");
                self.fault(Kind::Garbage, text);
                return false;
            }
            let next = list.get(place + 1).and_then(|next| self.owners.get(next));
            if !owner.last && next.is_none_or(|next| next.operation != owner.operation) {
                let text = format!("{operation} read {key} in the middle of {writer}");
                self.fault(Kind::G1b, text);
                return false;
            }
        }
        true
    }

    /// Of any two lists of one document, one is the beginning of the other.
    fn merge(&mut self, reader: usize, key: &str, list: &[Element]) {
        let lives = self.lives.get_mut(key).expect("made before");
        let longest = lives.entry(list[0]).or_default();
        let same = longest.iter().zip(list).take_while(|(a, b)| a == b).count();
        if same == longest.len() {
            *longest = list.to_vec();
        } else if same < list.len() {
            let (a, b) = (longest[same], list[same]);
            let writer = |element| &self.history[self.owners[element].operation];
            let text = format!(
                "{key} after {} elements: {} and {} both follow, the latter for {}",
                same,
                writer(&a),
                writer(&b),
                self.history[reader]
            );
            self.fault(Kind::LostUpdate, text);
        }
    }

    fn lsn(&self, operation: usize) -> Option<u64> {
        match self.history[operation].outcome {
            Outcome::Done(lsn) => lsn,
            _ => None,
        }
    }

    /// Puts the lives of a document and its deletions in order.
    fn chain(&mut self, key: &str, lives: Lives) -> Chain {
        let mut chain = Chain {
            versions: vec![Version {
                writer: None,
                present: false,
            }],
            ..Chain::default()
        };
        let mut events: Vec<(u64, Event<'_>)> = Vec::new();
        for (&first, list) in &lives {
            // The insert's own LSN, or that of the first write to it that was answered.
            let known = list.iter().find_map(|e| self.lsn(self.owners[e].operation));
            match known {
                Some(lsn) => events.push((lsn, Event::Life { first, list })),
                None => {
                    let number = chain.loose.len() + 1;
                    let mut loose = Vec::new();
                    self.extend(&mut loose, list, &mut chain.places, number);
                    chain.loose.push(loose);
                }
            }
        }
        chain.open = !chain.loose.is_empty();
        for (number, operation) in self.history.iter().enumerate() {
            for (changed, change) in &operation.changes {
                if changed != key {
                    continue;
                }
                match (change, operation.outcome) {
                    (Change::Delete, Outcome::Done(Some(lsn))) => {
                        events.push((lsn, Event::Delete { operation: number }));
                    }
                    (Change::Delete, Outcome::Unknown) => chain.open = true,
                    // It may have come and gone unseen.
                    (Change::Insert(first) | Change::Replace(first), Outcome::Unknown)
                        if !lives.contains_key(first) =>
                    {
                        chain.open = true;
                    }
                    _ => {}
                }
            }
        }
        events.sort_by_key(|(lsn, _)| *lsn);
        self.follow(key, &events, &mut chain);
        self.place_unseen(key, &mut chain);
        chain
    }

    /// What was carried out, as other documents show, and is in no list of this one, came after
    /// the longest list, if there is only one document that it can have been added to.
    fn place_unseen(&self, key: &str, chain: &mut Chain) {
        for &number in &self.unseen {
            let operation = &self.history[number];
            let appends = operation.changes.iter().any(|(changed, change)| {
                let Change::Append(elements) = change else {
                    return false;
                };
                changed == key && elements.iter().all(|e| !chain.places.contains_key(e))
            });
            if !appends || chain.open {
                continue;
            }
            let lives = self.stretches(key, &chain.versions);
            let mut possible = lives.into_iter().filter(|&(start, end)| {
                let time = |place: usize| {
                    let writer = chain.versions.get(place)?.writer?;
                    Some((self.history[writer].start, self.history[writer].end))
                };
                time(start).is_none_or(|(began, _)| began <= operation.end)
                    && time(end).is_none_or(|(_, ended)| ended >= operation.start)
            });
            if let (Some((_, end)), None) = (possible.next(), possible.next()) {
                for (part, place) in chain.places.values_mut() {
                    if *part == 0 && *place >= end {
                        *place += 1;
                    }
                }
                let version = Version {
                    writer: Some(number),
                    present: true,
                };
                chain.versions.insert(end, version);
            }
        }
    }

    /// Each document from its insert or replacement up to, without, its end.
    fn stretches(&self, key: &str, versions: &[Version]) -> Vec<(usize, usize)> {
        let starts = |version: &Version| {
            let changes = |writer: usize| self.history[writer].changes.iter();
            version.present
                && version.writer.is_none_or(|writer| {
                    changes(writer).any(|(changed, change)| {
                        changed == key && matches!(change, Change::Insert(_) | Change::Replace(_))
                    })
                })
        };
        let mut found: Vec<(usize, usize)> = Vec::new();
        for (place, version) in versions.iter().enumerate() {
            if starts(version) {
                found.push((place, place + 1));
            } else if version.present
                && let Some((_, end)) = found.last_mut()
            {
                *end = place + 1;
            }
        }
        found
    }

    fn follow(&mut self, key: &str, events: &[(u64, Event<'_>)], chain: &mut Chain) {
        let mut newest = 0;
        for (lsn, event) in events {
            let (writer, needs) = match event {
                Event::Delete { operation } => (*operation, true),
                Event::Life { first, .. } => {
                    let writer = self.owners[first].operation;
                    let change = self.history[writer].changes.iter().find(|(k, _)| k == key);
                    let is_insert = matches!(change, Some((_, Change::Insert(_))));
                    (writer, !is_insert)
                }
            };
            let present = chain.versions.last().is_some_and(|last| last.present);
            if present != needs && !chain.open {
                let there = if present { "there" } else { "not there" };
                let text = format!("{key} was {there} for {}", self.history[writer]);
                self.fault(Kind::Impossible, text);
            }
            if present != needs {
                chain.versions.push(Version {
                    writer: None,
                    present: needs,
                });
            }
            if *lsn < newest {
                let text = format!("{key}: {} comes after LSN {newest}", self.history[writer]);
                self.fault(Kind::LsnOrder, text);
            }
            newest = newest.max(*lsn);
            match event {
                Event::Delete { operation } => chain.versions.push(Version {
                    writer: Some(*operation),
                    present: false,
                }),
                Event::Life { list, .. } => {
                    let written = list
                        .iter()
                        .filter_map(|e| self.lsn(self.owners[e].operation));
                    let lsns: Vec<u64> = written.collect();
                    if !lsns.is_sorted() {
                        let text = format!("{key}: versions in the order of LSNs {lsns:?}");
                        self.fault(Kind::LsnOrder, text);
                    }
                    newest = newest.max(lsns.into_iter().max().unwrap_or(0));
                    self.extend(&mut chain.versions, list, &mut chain.places, 0);
                }
            }
        }
    }

    /// A version for each operation of the list.
    fn extend(
        &self,
        versions: &mut Vec<Version>,
        list: &[Element],
        places: &mut HashMap<Element, (usize, usize)>,
        number: usize,
    ) {
        for element in list {
            let owner = &self.owners[element];
            if owner.last {
                places.insert(*element, (number, versions.len()));
                versions.push(Version {
                    writer: Some(owner.operation),
                    present: true,
                });
            }
        }
    }
}
