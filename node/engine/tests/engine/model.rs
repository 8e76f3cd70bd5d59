//! Random operations against a map of trees: the oracle knows nothing of bytes, keys or indexes.

use std::collections::BTreeMap;

use godb_engine::{Cursor, EngineError, Page, Replace};
use godb_store::disk::sim::SimDisk;
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

type Model = BTreeMap<String, BTreeMap<String, Map<String, Value>>>;

#[derive(Clone, Debug)]
enum Op {
    Insert(usize, usize, Value),
    BatchInsert(usize, Vec<(usize, Value)>),
    Update(usize, usize, Value),
    BatchUpdate(usize, Vec<(usize, Value)>),
    Replace(usize, usize, Value, u8),
    Delete(usize, usize),
    Find(usize, Vec<(usize, String)>, usize),
    CreateIndex(usize, usize),
    Checkpoint,
    Reopen,
}

const COLLECTIONS: [&str; 2] = ["one", "two"];
const FIELDS: [&str; 4] = ["a", "b", "a.b", "c"];

fn object(tree: &Value) -> Map<String, Value> {
    tree.as_object().cloned().unwrap_or_default()
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4_i64).prop_map(Value::from),
        (0..4_i64).prop_map(|n| Value::from(n as f64 + 0.5)),
        prop_oneof![
            Just("1"),
            Just("true"),
            Just("null"),
            Just("x"),
            Just("é\n"),
            Just("")
        ]
        .prop_map(Value::from),
    ]
}

fn fields() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        4 => scalar(),
        1 => prop::collection::vec(scalar(), 0..3).prop_map(Value::from),
        2 => prop::collection::btree_map(prop_oneof![Just("a"), Just("b")], scalar(), 0..3)
            .prop_map(|map| Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
    ];
    prop::collection::btree_map(prop::sample::select(&FIELDS), value, 0..4)
        .prop_map(|map| Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()))
}

fn literal() -> impl Strategy<Value = String> {
    let literals = [
        "1", "1.0", "10e-1", "2.5", "true", "null", "x", "é\n", "", "0", "-0", "01",
    ];
    prop::sample::select(literals.to_vec()).prop_map(str::to_owned)
}

fn op() -> impl Strategy<Value = Op> {
    let (collection, id) = (0..2_usize, 0..12_usize);
    let items = || prop::collection::vec((0..12_usize, fields()), 1..4);
    prop_oneof![
        6 => (collection.clone(), id.clone(), fields()).prop_map(|(c, i, f)| Op::Insert(c, i, f)),
        1 => (collection.clone(), items())
            .prop_map(|(c, items)| Op::BatchInsert(c, items)),
        4 => (collection.clone(), id.clone(), fields()).prop_map(|(c, i, f)| Op::Update(c, i, f)),
        2 => (collection.clone(), items())
            .prop_map(|(c, items)| Op::BatchUpdate(c, items)),
        2 => (collection.clone(), id.clone(), fields(), 0..3_u8)
            .prop_map(|(c, i, f, m)| Op::Replace(c, i, f, m)),
        3 => (collection.clone(), id).prop_map(|(c, i)| Op::Delete(c, i)),
        6 => (collection.clone(), prop::collection::vec((0..5_usize, literal()), 0..3), 1..5_usize)
            .prop_map(|(c, query, limit)| Op::Find(c, query, limit)),
        1 => (collection, 0..4_usize).prop_map(|(c, f)| Op::CreateIndex(c, f)),
        1 => Just(Op::Checkpoint),
        1 => Just(Op::Reopen),
    ]
}

/// The values that a dotted path names.
fn values<'a>(object: &'a Map<String, Value>, path: &str, found: &mut Vec<&'a Value>) {
    for (key, value) in object {
        if key == path {
            found.push(value);
        }
        if let (Value::Object(inner), Some(rest)) = (value, path.strip_prefix(&format!("{key}."))) {
            values(inner, rest, found);
        }
    }
}

fn equals(value: &Value, literal: &str) -> bool {
    match value {
        Value::String(text) => text == literal,
        Value::Array(_) | Value::Object(_) => false,
        // The numbers of this test are exact as f64.
        Value::Number(number) => {
            let is_json = serde_json::from_str::<serde_json::Number>(literal);
            is_json.is_ok_and(|other| number.as_f64() == other.as_f64())
        }
        Value::Null => literal == "null",
        Value::Bool(value) => literal == if *value { "true" } else { "false" },
    }
}

fn matches(document: &Map<String, Value>, query: &[(&str, &str)]) -> bool {
    query.iter().all(|(path, _)| {
        let mut found = Vec::new();
        values(document, path, &mut found);
        let literals = query.iter().filter(|(other, _)| other == path);
        literals
            .into_iter()
            .any(|(_, literal)| found.iter().any(|value| equals(value, literal)))
    })
}

fn name_of(id: usize) -> String {
    format!("id-{id:02}")
}

fn with_id(id: usize, fields: &Value) -> Map<String, Value> {
    let mut document = object(fields);
    document.insert("_id".to_owned(), Value::from(name_of(id)));
    document
}

fn tree(document: &Document) -> Map<String, Value> {
    serde_json::from_slice(&document.json).unwrap()
}

fn bytes(tree: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(tree).unwrap()
}

struct Run {
    disk: SimDisk,
    engine: StorageEngine,
    model: Model,
}

impl Run {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Insert(c, id, fields) => self.insert(c, &[(*id, fields.clone())], false),
            Op::BatchInsert(c, items) => self.insert(c, items, true),
            Op::Update(c, id, fields) => self.update(c, &[(*id, fields.clone())], false),
            Op::BatchUpdate(c, items) => self.update(c, items, true),
            Op::Replace(c, id, fields, mode) => self.replace(COLLECTIONS[*c], *id, fields, *mode),
            Op::Delete(c, id) => self.delete(COLLECTIONS[*c], *id),
            Op::Find(c, query, limit) => self.find(COLLECTIONS[*c], query, *limit),
            Op::CreateIndex(c, field) => {
                let name = COLLECTIONS[*c];
                let field = FIELDS[*field];
                let listed = self.engine.indexes(name).unwrap();
                let made = self.engine.create_index(name, field).unwrap();
                assert_eq!(made, !listed.iter().any(|other| other == field));
                self.model.entry(name.to_owned()).or_default();
            }
            Op::Checkpoint => drop(self.engine.checkpoint().unwrap()),
            Op::Reopen => {
                self.engine.close().unwrap();
                self.engine = open(&self.disk);
            }
        }
    }

    fn insert(&mut self, c: &usize, items: &[(usize, Value)], batch: bool) {
        let name = COLLECTIONS[*c];
        let known = self.model.get(name);
        let mut sorted: Vec<_> = items.iter().map(|(id, _)| *id).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let twice = sorted.len() < items.len();
        let taken = sorted
            .iter()
            .any(|id| known.is_some_and(|k| k.contains_key(&name_of(*id))));
        let documents: Vec<_> = items
            .iter()
            .map(|(id, fields)| with_id(*id, fields))
            .collect();
        let encoded: Vec<_> = documents.iter().map(bytes).collect();
        let slices: Vec<_> = encoded.iter().map(Vec::as_slice).collect();
        let result = if batch {
            self.engine
                .batch_insert(name, &slices, &write())
                .and_then(|p| p.wait())
        } else {
            let one = self
                .engine
                .insert(name, slices[0], &write())
                .and_then(|p| p.wait());
            one.map(|document| vec![document])
        };
        match result {
            Ok(made) => {
                assert!(!twice && !taken);
                assert_eq!(made.iter().map(tree).collect::<Vec<_>>(), documents);
                let collection = self.model.entry(name.to_owned()).or_default();
                let keyed = items
                    .iter()
                    .zip(documents)
                    .map(|((id, _), tree)| (name_of(*id), tree));
                collection.extend(keyed);
            }
            Err(EngineError::DuplicateInBatch { .. }) => assert!(twice),
            Err(EngineError::AlreadyExists { .. }) => assert!(taken && !twice),
            Err(error) => panic!("{error}"),
        }
    }

    fn update(&mut self, c: &usize, items: &[(usize, Value)], batch: bool) {
        let name = COLLECTIONS[*c];
        let mut changed = self.model.get(name).cloned().unwrap_or_default();
        let ids: Vec<_> = items.iter().map(|(id, _)| name_of(*id)).collect();
        let missing = ids.iter().any(|id| !changed.contains_key(id));
        let encoded: Vec<_> = items
            .iter()
            .map(|(_, fields)| bytes(&object(fields)))
            .collect();
        let operations: Vec<_> = ids
            .iter()
            .zip(&encoded)
            .map(|(id, f)| (id.as_str(), f.as_slice()))
            .collect();
        let result = if batch {
            self.engine
                .batch_update(name, &operations, &write())
                .and_then(|p| p.wait())
        } else {
            let (id, fields) = operations[0];
            let one = self
                .engine
                .update(name, id, fields, &write())
                .and_then(|p| p.wait());
            one.map(|document| vec![document])
        };
        match result {
            Ok(updated) => {
                assert!(!missing);
                for ((id, (_, fields)), answered) in ids.iter().zip(items).zip(&updated) {
                    let document = changed.get_mut(id).unwrap();
                    document.extend(object(fields));
                    assert_eq!(&tree(answered), document);
                }
                self.model.insert(name.to_owned(), changed);
            }
            Err(EngineError::NotFound { .. }) => assert!(missing),
            Err(error) => panic!("{error}"),
        }
    }

    fn replace(&mut self, name: &str, id: usize, fields: &Value, mode: u8) {
        let known = self
            .model
            .get(name)
            .is_some_and(|k| k.contains_key(&name_of(id)));
        let mode = [Replace::Existing, Replace::CreateOnly, Replace::Upsert][usize::from(mode)];
        let json = bytes(&object(fields));
        let pending = self
            .engine
            .replace(name, &name_of(id), &json, mode, &write())
            .unwrap();
        match pending.wait() {
            Ok(document) => {
                assert!(mode != Replace::Existing || known);
                assert!(mode != Replace::CreateOnly || !known);
                assert_eq!(tree(&document), with_id(id, fields));
                let collection = self.model.entry(name.to_owned()).or_default();
                collection.insert(name_of(id), with_id(id, fields));
            }
            Err(EngineError::NotFound { .. }) => assert!(mode == Replace::Existing && !known),
            Err(EngineError::PreconditionFailed { .. }) => {
                assert!(mode == Replace::CreateOnly && known);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn delete(&mut self, name: &str, id: usize) {
        let removed = self
            .model
            .get_mut(name)
            .and_then(|k| k.remove(&name_of(id)));
        match self
            .engine
            .delete(name, &name_of(id), &write())
            .unwrap()
            .wait()
        {
            Ok(()) => assert!(removed.is_some()),
            Err(EngineError::NotFound { .. }) => assert!(removed.is_none()),
            Err(error) => panic!("{error}"),
        }
    }

    /// All pages of a query forwards, then backwards; the oracle filters its map.
    fn find(&self, name: &str, query: &[(usize, String)], limit: usize) {
        let paths = ["a", "b", "a.b", "c", "_id"];
        let query: Vec<_> = query.iter().map(|(p, l)| (paths[*p], l.as_str())).collect();
        let empty = BTreeMap::new();
        let known = self.model.get(name).unwrap_or(&empty);
        let expected: Vec<_> = known
            .values()
            .filter(|d| matches(d, &query))
            .cloned()
            .collect();
        let page = |start| {
            let found = self
                .engine
                .find(name, &find(&query, limit, start), Io::Allow);
            found.unwrap()
        };
        let again = |cursor: Cursor| cursor.to_string().parse::<Cursor>().unwrap();
        let trees = |page: &Page| page.documents.iter().map(tree).collect::<Vec<_>>();
        let mut current = page(PageStart::Offset(0));
        assert_eq!(current.total, Some(expected.len() as u64));
        let mut forwards = trees(&current);
        while let Some(cursor) = current.next_cursor.clone() {
            assert!(current.has_next && current.documents.len() == limit);
            current = page(PageStart::After(again(cursor)));
            forwards.extend(trees(&current));
        }
        assert!(!current.has_next);
        assert_eq!(forwards, expected, "{query:?}");
        let mut backwards = trees(&current);
        while let Some(cursor) = current.prev_cursor.clone() {
            current = page(PageStart::Before(again(cursor)));
            backwards.splice(..0, trees(&current));
        }
        assert!(!current.has_prev);
        assert_eq!(backwards, expected);
        let half = expected.len() / 2;
        let middle = page(PageStart::Offset(half as u64));
        let on_page: Vec<_> = expected.iter().skip(half).take(limit).cloned().collect();
        assert_eq!(trees(&middle), on_page);
        let streamed = self.engine.find_stream(name, &filter(&query)).unwrap();
        let streamed: Vec<_> = streamed.map(|document| tree(&document.unwrap())).collect();
        assert_eq!(streamed, expected);
    }

    fn compare(&self) {
        for name in COLLECTIONS {
            let info = self.engine.collection(name).unwrap();
            let known = self.model.get(name);
            assert_eq!(
                info.map(|info| info.documents),
                known.map(|k| k.len() as u64)
            );
            self.find(name, &[], 7);
            for id in 0..12 {
                let found = self.engine.get(name, &name_of(id), Io::Allow).unwrap();
                let expected = known.and_then(|k| k.get(&name_of(id)));
                assert_eq!(found.map(|document| tree(&document)).as_ref(), expected);
            }
        }
        check(&self.engine);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]

    /// proptest prints the failing operations and keeps their seed.
    #[test]
    fn agrees_with_a_map(ops in prop::collection::vec(op(), 1..60)) {
        let disk = SimDisk::new();
        let mut run = Run { engine: open(&disk), disk, model: Model::new() };
        for op in &ops {
            run.apply(op);
        }
        run.compare();
        run.engine.close().unwrap();
    }
}
