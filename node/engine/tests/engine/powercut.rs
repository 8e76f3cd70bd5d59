//! The power is cut at any call while documents are written, indexes are built, tables merged and
//! settings changed. After each recovery: every acknowledged write that its level keeps is there,
//! what a writer sent is there up to some point and nothing behind it, indexes and counts agree
//! with the documents, and no LSN that a reader could have seen is given out again.
//!
//! `GODB_POWERCUT_SEED` gives the seed, `GODB_POWERCUT_ROUNDS` more seeds and four times the cuts.

mod workloads;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use godb_engine::{EngineError, Lsn, Replace};
use godb_store::disk::CallKind;
use godb_store::disk::sim::{Image, LossVariant, Moment};
use serde_json::{Value, json};

use super::*;

/// Reopened cuts of one workload in the quick set.
const QUICK_CUTS: usize = 150;

/// Documents that one operation leaves: `None` is a deleted one.
type Effects = Vec<(String, Option<Value>)>;

/// What one writer did to a collection of its own, in order.
type Line = Vec<Effects>;

/// How far one writer had come: operations sent, and up to which they were acknowledged so that
/// they survive a power cut, or a kill.
#[derive(Clone, Copy, Default)]
struct Reached {
    sent: usize,
    power: usize,
    kill: usize,
}

/// What had been promised at some moment.
#[derive(Clone, Default)]
struct Promise {
    lines: BTreeMap<String, Reached>,
    /// Of the field that each writer counts up in one document.
    hot: BTreeMap<String, Reached>,
    indexes: Vec<(String, String)>,
    shown: Lsn,
}

#[derive(Clone, Default)]
struct Oracle {
    promise: Arc<Mutex<Promise>>,
    lines: Arc<Mutex<BTreeMap<String, Line>>>,
}

struct Cut {
    image: Image,
    promise: Promise,
    at: String,
}

struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

impl Reached {
    fn least(self, variant: LossVariant) -> usize {
        if variant.is_power_cut() {
            self.power
        } else {
            self.kill
        }
    }
}

impl Oracle {
    fn promised(&self) -> Promise {
        self.promise.lock().unwrap().clone()
    }

    fn saw(&self, lsn: Lsn) {
        let mut promise = self.promise.lock().unwrap();
        promise.shown = promise.shown.max(lsn);
    }

    fn run(
        &self,
        line: &str,
        level: Durability,
        effects: Effects,
        operation: impl FnOnce() -> Result<Lsn, EngineError>,
    ) {
        let mut lines = self.lines.lock().unwrap();
        let sent = lines.entry(line.to_owned()).or_default();
        sent.push(effects);
        let n = sent.len();
        drop(lines);
        let reach = |change: &dyn Fn(&mut Reached)| {
            let mut promise = self.promise.lock().unwrap();
            change(promise.lines.entry(line.to_owned()).or_default());
        };
        reach(&|reached| reached.sent = n);
        let lsn = operation().unwrap();
        self.saw(lsn);
        reach(&|reached| {
            if level == Durability::Full {
                reached.power = n;
            }
            if level >= Durability::Os {
                reached.kill = n;
            }
        });
    }
}

/// One writer of one collection.
struct Writer<'a> {
    engine: &'a StorageEngine,
    oracle: &'a Oracle,
    collection: String,
    level: Durability,
    draw: Draw,
    documents: BTreeMap<String, Value>,
    step: u64,
    pad: usize,
}

impl<'a> Writer<'a> {
    fn new(engine: &'a StorageEngine, oracle: &'a Oracle, name: &str, seed: u64) -> Self {
        Self {
            engine,
            oracle,
            collection: name.to_owned(),
            level: engine.live_settings().durability,
            draw: Draw(seed),
            documents: BTreeMap::new(),
            step: 0,
            pad: 60,
        }
    }

    fn document(&mut self, id: &str) -> Value {
        self.step += 1;
        let mut pad = String::new();
        while pad.len() < self.pad {
            pad.push(char::from(b'a' + self.draw.below(26) as u8));
        }
        json!({"_id": id, "a": self.draw.below(7), "n": self.step, "pad": pad})
    }

    fn go(
        &mut self,
        effects: Effects,
        operation: impl FnOnce(&StorageEngine, &str) -> Result<Lsn, EngineError>,
    ) {
        for (id, value) in &effects {
            match value {
                Some(value) => self.documents.insert(id.clone(), value.clone()),
                None => self.documents.remove(id),
            };
        }
        let (engine, collection) = (self.engine, self.collection.clone());
        self.oracle.run(&self.collection, self.level, effects, || {
            operation(engine, &collection)
        });
    }

    fn put(&mut self) {
        let id = format!("d{}", self.draw.below(20));
        let document = self.document(&id);
        let text = document.to_string();
        self.go(vec![(id.clone(), Some(document))], |engine, collection| {
            let made =
                engine.replace(collection, &id, text.as_bytes(), Replace::Upsert, &write())?;
            Ok(made.wait()?.lsn)
        });
    }

    fn patch(&mut self) {
        let Some((id, mut document)) = self.any() else {
            return self.put();
        };
        self.step += 1;
        let fields = json!({"a": self.draw.below(7), "n": self.step});
        for (name, value) in fields.as_object().unwrap() {
            document[name] = value.clone();
        }
        self.go(vec![(id.clone(), Some(document))], |engine, collection| {
            let made = engine.update(collection, &id, fields.to_string().as_bytes(), &write())?;
            Ok(made.wait()?.lsn)
        });
    }

    fn delete(&mut self) {
        let Some((id, _)) = self.any() else {
            return self.put();
        };
        self.go(vec![(id.clone(), None)], |engine, collection| {
            engine.delete(collection, &id, &write())?.wait()?;
            Ok(Lsn::ZERO)
        });
    }

    fn batch(&mut self) {
        let new: Vec<String> = (0..2 + self.draw.below(5))
            .map(|n| format!("b{}-{n}", self.step))
            .collect();
        let effects: Effects = new
            .iter()
            .map(|id| (id.clone(), Some(self.document(id))))
            .collect();
        let texts: Vec<String> = effects
            .iter()
            .filter_map(|(_, document)| Some(document.as_ref()?.to_string()))
            .collect();
        self.go(effects, |engine, collection| {
            let texts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
            let made = engine.batch_insert(collection, &texts, &write())?.wait()?;
            Ok(made[0].lsn)
        });
    }

    fn any(&mut self) -> Option<(String, Value)> {
        if self.documents.is_empty() {
            return None;
        }
        let n = self.draw.below(self.documents.len() as u64) as usize;
        let (id, document) = self.documents.iter().nth(n)?;
        Some((id.clone(), document.clone()))
    }

    fn mixed(&mut self, steps: u64) {
        for _ in 0..steps {
            match self.draw.below(8) {
                0..3 => self.put(),
                3..6 => self.patch(),
                6 => self.delete(),
                _ => self.batch(),
            }
        }
    }
}

fn index(engine: &StorageEngine, oracle: &Oracle, collection: &str, field: &str) {
    engine.create_index(collection, field).unwrap();
    let mut promise = oracle.promise.lock().unwrap();
    promise
        .indexes
        .push((collection.to_owned(), field.to_owned()));
}

/// What is wrong with what a recovery left.
fn check_state(
    engine: &StorageEngine,
    oracle: &Oracle,
    promise: &Promise,
    variant: LossVariant,
) -> Result<(), String> {
    let report = engine.check().map_err(|error| error.to_string())?;
    if !report.is_clean() {
        return Err(format!("index against documents: {:?}", report.problems));
    }
    for (collection, field) in &promise.indexes {
        if !engine.indexes(collection).unwrap().contains(field) {
            return Err(format!("the index on {field} of {collection} is gone"));
        }
    }
    let lines = oracle.lines.lock().unwrap();
    for (name, reached) in &promise.lines {
        let mut found: BTreeMap<String, Value> = BTreeMap::new();
        if engine.collection(name).unwrap().is_some() {
            for document in engine.find_stream(name, &filter(&[])).unwrap() {
                let document = document.map_err(|error| error.to_string())?;
                found.insert(
                    id(&document),
                    serde_json::from_str(text(&document)).unwrap(),
                );
            }
        }
        let least = reached.least(variant);
        let mut expected: BTreeMap<String, Value> = BTreeMap::new();
        let mut is_prefix = least == 0 && found.is_empty();
        for (n, effects) in lines[name].iter().take(reached.sent).enumerate() {
            for (id, document) in effects {
                match document {
                    Some(document) => expected.insert(id.clone(), document.clone()),
                    None => expected.remove(id),
                };
            }
            is_prefix |= n + 1 >= least && expected == found;
        }
        if !is_prefix {
            return Err(format!(
                "{name} holds {} documents, which is its state after none of the operations {least} to {}",
                found.len(),
                reached.sent
            ));
        }
    }
    let hot = engine.get("hot", "doc", Io::Allow).unwrap();
    let hot: Value = hot.map_or(Value::Null, |hot| serde_json::from_str(text(&hot)).unwrap());
    for (field, reached) in &promise.hot {
        let least = reached.least(variant);
        let found = hot[field].as_u64().unwrap_or(0) as usize;
        if !(least..=reached.sent).contains(&found) {
            return Err(format!(
                "a lost update: {field} is {found}, not {least} to {}",
                reached.sent
            ));
        }
    }
    Ok(())
}

fn opened(disk: &SimDisk, level: Durability) -> Result<StorageEngine, String> {
    StorageEngine::builder("/db")
        .disk(Arc::new(disk.clone()))
        .durability(level)
        .max_wal_bytes(2 << 20)
        .open()
        .map_err(|error| format!("{error}\n{}", disk.dump()))
}

/// Recovers what is left of a cut, which is cut off itself some times; checks; writes; ends.
fn survives(
    cut: &Cut,
    oracle: &Oracle,
    level: Durability,
    variant: LossVariant,
    again: u64,
    seed: u64,
) -> Result<(), String> {
    let mut draw = Draw(seed);
    let mut disk = cut.image.survive(variant, seed);
    let mut variant = variant;
    for _ in 0..again {
        let images: Arc<Mutex<Vec<Image>>> = Arc::default();
        let taken = Arc::clone(&images);
        disk.on_call(move |call| {
            if call.moment == Moment::After {
                taken.lock().unwrap().push(call.image());
            }
        });
        let engine = opened(&disk, level)?;
        disk.clear_hook();
        drop(engine);
        let images = std::mem::take(&mut *images.lock().unwrap());
        let Some(image) = images.get(draw.below(images.len().max(1) as u64) as usize) else {
            break;
        };
        let next = LossVariant::ALL[draw.below(6) as usize];
        if !variant.is_power_cut() {
            variant = next;
        }
        disk = image.survive(next, draw.below(1 << 30));
    }
    let engine = opened(&disk, level)?;
    check_state(&engine, oracle, &cut.promise, variant)?;
    let made = engine
        .insert("after", b"{}", &write())
        .and_then(|made| made.wait())
        .map_err(|error| error.to_string())?;
    if made.lsn <= cut.promise.shown {
        return Err(format!(
            "LSN {} was given out again, {} had been shown",
            made.lsn, cut.promise.shown
        ));
    }
    if draw.below(3) == 0 {
        engine.close().map_err(|error| error.to_string())?;
        drop(engine);
        let engine = opened(&disk, level)?;
        check_state(&engine, oracle, &cut.promise, variant)?;
    }
    Ok(())
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

struct Workload {
    name: &'static str,
    level: Durability,
    /// Calls that it must have made, or it proves nothing: kind and part of the path.
    crossed: &'static [(CallKind, &'static str)],
    /// How often a recovery is cut off itself.
    again: u64,
}

/// Ends the reader, also when the workload panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn prove(workload: &Workload, body: impl Fn(&StorageEngine, &Oracle, u64)) {
    let (rounds, seed) = (
        number("GODB_POWERCUT_ROUNDS", 1),
        number("GODB_POWERCUT_SEED", 20_264),
    );
    let most = QUICK_CUTS * if rounds > 1 { 4 } else { 1 };
    for seed in seed..seed + rounds {
        let disk = SimDisk::new();
        let oracle = Oracle::default();
        let cuts: Arc<Mutex<Vec<Cut>>> = Arc::default();
        let crossed: Arc<Mutex<Vec<(CallKind, String)>>> = Arc::default();
        let engine = opened(&disk, workload.level).unwrap();
        let (taken, called, watching) = (Arc::clone(&cuts), Arc::clone(&crossed), oracle.clone());
        disk.on_call(move |call| {
            let promise = watching.promised();
            if call.moment == Moment::Before {
                let to = call.to.map(|to| to.to_string_lossy().into_owned());
                let path = format!("{} {}", call.path.display(), to.unwrap_or_default());
                called.lock().unwrap().push((call.kind, path));
            }
            let at = format!(
                "{:?} call {} {:?} {}",
                call.moment,
                call.index,
                call.kind,
                call.path.display()
            );
            let image = call.image();
            taken.lock().unwrap().push(Cut { image, promise, at });
        });
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    oracle.saw(engine.stats().visible_lsn);
                    std::thread::yield_now();
                }
            });
            let _stop = Stop(&done);
            body(&engine, &oracle, seed);
        });
        engine.close().unwrap();
        disk.clear_hook();
        let crossed = std::mem::take(&mut *crossed.lock().unwrap());
        for (kind, part) in workload.crossed {
            assert!(
                crossed
                    .iter()
                    .any(|(called, path)| called == kind && path.contains(part)),
                "{} crossed no {kind:?} {part}: it proves nothing",
                workload.name
            );
        }
        let cuts = std::mem::take(&mut *cuts.lock().unwrap());
        let step = (cuts.len() / (most / LossVariant::ALL.len())).max(1);
        let started = Instant::now();
        let mut tried = 0;
        for (n, cut) in cuts
            .iter()
            .enumerate()
            .skip(seed as usize % step)
            .step_by(step)
        {
            for variant in LossVariant::ALL {
                tried += 1;
                let seed_of_cut = seed
                    .wrapping_mul(31)
                    .wrapping_add(n as u64 * 7 + variant as u64);
                survives(cut, &oracle, workload.level, variant, workload.again, seed_of_cut).unwrap_or_else(|error| {
                    panic!("{} at {}, {variant:?}: {error}\nagain: GODB_POWERCUT_SEED={seed} cargo test -p godb-engine --test engine powercut", workload.name, cut.at)
                });
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        eprintln!(
            "power cuts of {}: seed {seed}, {} places, {tried} cuts in {seconds:.1} s, {:.0}/s",
            workload.name,
            cuts.len(),
            tried as f64 / seconds
        );
    }
}
