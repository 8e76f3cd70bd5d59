//! Damage, then a repair: what is opened afterwards holds nothing that was never written, all that
//! is provable, indexes that agree with the documents, and gives out no LSN twice. The files as
//! they were are kept.

use std::collections::BTreeMap;
use std::path::PathBuf;

use godb_engine::{RepairReport, repair};
use godb_store::disk::Disk;
use godb_store::disk::sim::{Image, LossVariant, Moment};
use godb_store::{Lsn, Settings};

use super::*;

const DIRS: [&str; 3] = ["/db", "/db/wal", "/db/tables"];

/// Every version of a document that was ever acknowledged: its LSN, and its JSON unless deleted.
type History = BTreeMap<(String, String), Vec<(Lsn, Option<String>)>>;

/// A database that crashed with tables in two levels and a log of several segments.
struct Crashed {
    image: Image,
    history: History,
    shown: Lsn,
}

/// Documents with the LSN and JSON that they have.
type Documents = BTreeMap<(String, String), (Lsn, String)>;

struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

fn crashed() -> Crashed {
    let disk = SimDisk::new();
    let mut history = History::new();
    let mut shown = Lsn::ZERO;
    let engine = open_at(&disk, Durability::Full);
    engine.create_index("people", "name").unwrap();
    engine.create_index("people", "n").unwrap();
    let mut draw = Draw(7);
    for step in 0..420 {
        let collection = ["people", "things"][step % 2];
        let id = format!("id-{:03}", draw.below(90));
        let key = (collection.to_owned(), id.clone());
        let length = if step > 330 { 20_000 } else { 300 };
        let versions = history.entry(key).or_default();
        let is_there = versions.last().is_some_and(|(_, json)| json.is_some());
        if is_there && draw.below(5) == 0 {
            engine
                .delete(collection, &id, &write())
                .unwrap()
                .wait()
                .unwrap();
            // A delete answers no LSN: it is the newest one.
            versions.push((engine.stats().visible_lsn, None));
        } else {
            // Little that compresses, so that a table has many blocks.
            let noise: String = (0..length)
                .map(|_| char::from(b'a' + u8::try_from(draw.below(26)).unwrap()))
                .collect();
            let json = format!(
                r#"{{"_id":"{id}","name":"n{}","n":{step},"text":"{noise}"}}"#,
                draw.below(9)
            );
            let mode = godb_engine::Replace::Upsert;
            let made = engine.replace(collection, &id, json.as_bytes(), mode, &write());
            let made = made.unwrap().wait().unwrap();
            versions.push((made.lsn, Some(json)));
        }
        shown = versions.last().unwrap().0;
        match step {
            90 | 180 | 290 | 310 => drop(engine.checkpoint().unwrap()),
            200 => engine.compact().unwrap(),
            _ => {}
        }
    }
    // By then an idle frame proves the last group.
    std::thread::sleep(std::time::Duration::from_millis(350));
    let image = disk.image();
    drop(engine);
    Crashed {
        image,
        history,
        shown,
    }
}

fn settings() -> Settings {
    let mut settings = Settings::new("/db");
    settings.live.max_wal_bytes = 2 << 20;
    settings
}

fn run(disk: &SimDisk, dry_run: bool) -> godb_engine::Result<RepairReport> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    repair(&settings(), &disk, dry_run, None)
}

/// The store's files below these directories.
fn files(disk: &SimDisk, dirs: &[&str]) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for dir in dirs {
        for name in disk.list(Path::new(dir)).unwrap_or_default() {
            let path = Path::new(dir).join(&name);
            if let Ok(bytes) = disk.read(&path)
                && name != "LOCK"
            {
                files.insert(path, bytes);
            }
        }
    }
    files
}

impl Crashed {
    fn disk(&self) -> SimDisk {
        self.image.survive(LossVariant::KeepAll, 1)
    }

    fn paths(&self, part: &str) -> Vec<PathBuf> {
        let paths = files(&self.disk(), &DIRS).into_keys();
        paths
            .filter(|path| path.to_string_lossy().contains(part))
            .collect()
    }

    fn newest(&self) -> Documents {
        let newest = self.history.iter().filter_map(|(key, versions)| {
            let (lsn, json) = versions.last()?;
            Some((key.clone(), (*lsn, json.clone()?)))
        });
        newest.collect()
    }

    /// Opens what a repair left and checks what must always hold. The documents it has.
    fn opened(&self, disk: &SimDisk, what: &str) -> Documents {
        let engine = StorageEngine::builder("/db")
            .disk(Arc::new(disk.clone()))
            .open()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let problems = engine.check().unwrap().problems;
        assert!(problems.is_empty(), "{what}: {problems:?}");
        let mut found = BTreeMap::new();
        for collection in engine.collections().unwrap() {
            let stream = engine.find_stream(&collection.name, &filter(&[])).unwrap();
            let mut documents = 0;
            for document in stream {
                let document = document.unwrap();
                documents += 1;
                let name = match collection.name.as_str() {
                    "recovered-1" => "people",
                    "recovered-2" => "things",
                    name => name,
                };
                let key = (name.to_owned(), id(&document));
                let version = (document.lsn, text(&document).to_owned());
                let versions = self
                    .history
                    .get(&key)
                    .unwrap_or_else(|| panic!("{what}: {key:?} was never written"));
                assert!(
                    versions.contains(&(version.0, Some(version.1.clone()))),
                    "{what}: {key:?} at LSN {} is no version that was written",
                    version.0
                );
                found.insert(key, version);
            }
            assert_eq!(collection.documents, documents, "{what}");
        }
        let made = insert(&engine, "people", r#"{"_id":"new"}"#);
        assert!(
            made.lsn > self.shown,
            "{what}: LSN {} was given out anew, {} had been shown",
            made.lsn,
            self.shown
        );
        engine.close().unwrap();
        found
    }

    /// Damages a disk, repairs it and checks everything. What was reported, and what is there.
    fn repaired(&self, what: &str, damage: impl FnOnce(&SimDisk)) -> (RepairReport, Documents) {
        let disk = self.disk();
        damage(&disk);
        let before = files(&disk, &DIRS);
        let dry = run(&disk, true).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(
            files(&disk, &DIRS),
            before,
            "{what}: a dry run changed something"
        );
        let report = run(&disk, false).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(dry.losses, report.losses, "{what}");
        assert_eq!(dry.collections, report.collections, "{what}");
        if !report.damage.is_empty() {
            let root = report
                .originals
                .first()
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let kept = [
                root.clone(),
                format!("{root}/wal"),
                format!("{root}/tables"),
            ];
            let kept = files(&disk, &kept.each_ref().map(String::as_str));
            let kept: Vec<_> = kept.into_values().collect();
            let original: Vec<_> = before.into_values().collect();
            assert_eq!(kept, original, "{what}: the originals are not kept");
        }
        let found = self.opened(&disk, what);
        let documents: u64 = report.collections.iter().map(|c| c.documents).sum();
        if !report.damage.is_empty() {
            assert_eq!(documents, found.len() as u64, "{what}");
        }
        if report.losses.is_empty() {
            assert!(
                found == self.newest(),
                "{what}: nothing was reported lost: {report:?}\n{}",
                disk.dump()
            );
        }
        let again = run(&disk, false).unwrap();
        assert!(again.damage.is_empty(), "{what}: {:?}", again.damage);
        (report, found)
    }
}

fn flip(disk: &SimDisk, path: &Path, at: usize) {
    disk.corrupt(path, |bytes| bytes[at] ^= 4).unwrap();
}

#[test]
fn a_sound_database_is_left_alone() {
    let crashed = crashed();
    let disk = crashed.disk();
    let before = files(&disk, &DIRS);
    let report = run(&disk, false).unwrap();
    assert!(report.damage.is_empty() && report.originals.is_empty());
    assert_eq!(files(&disk, &DIRS), before);
    assert!(crashed.opened(&disk, "sound") == crashed.newest());
}

#[test]
fn one_block_of_a_table_costs_its_documents_and_no_others() {
    let crashed = crashed();
    let all = crashed.newest();
    let path = crashed.paths("/table-").pop().unwrap();
    let length = crashed.disk().read(&path).unwrap().len();
    let (report, found) = crashed.repaired("a block", |disk| flip(disk, &path, length / 2));
    assert_eq!(report.losses.len(), 1, "{:?}", report.losses);
    let missing = all.iter().filter(|(key, _)| !found.contains_key(*key));
    let older = found
        .iter()
        .filter(|(key, version)| all.get(*key) != Some(*version));
    let uncertain: u64 = report.collections.iter().map(|c| c.uncertain).sum();
    assert!(missing.count() > 0 && found.len() * 10 > all.len() * 8);
    assert!(older.count() as u64 <= uncertain);
    let counted: u64 = report.collections.iter().filter_map(|c| c.counted).sum();
    assert_eq!(counted, all.len() as u64);
}

#[test]
fn what_only_points_at_documents_costs_none() {
    let crashed = crashed();
    let all = crashed.newest();
    for path in crashed.paths("/table-") {
        let length = crashed.disk().read(&path).unwrap().len();
        // Footer, index and filter.
        for at in [length - 1, length - 90, length - 110] {
            let what = format!("{} byte {at} of {length}", path.display());
            let (report, found) = crashed.repaired(&what, |disk| flip(disk, &path, at));
            assert!(report.losses.is_empty(), "{what}: {:?}", report.losses);
            assert!(found == all, "{what}");
        }
    }
    for path in crashed.paths("STORE-ID") {
        let (report, found) = crashed.repaired("an identity", |disk| flip(disk, &path, 14));
        assert!(report.losses.is_empty() && found == all);
        let (report, found) = crashed.repaired("no identity", |disk| disk.remove(&path).unwrap());
        assert!(report.losses.is_empty() && found == all);
    }
    let tables = crashed.paths("/table-");
    let (report, found) = crashed.repaired("exchanged tables", |disk| {
        let (a, b) = (
            disk.read(&tables[0]).unwrap(),
            disk.read(&tables[1]).unwrap(),
        );
        disk.corrupt(&tables[0], |bytes| *bytes = b).unwrap();
        disk.corrupt(&tables[1], |bytes| *bytes = a).unwrap();
    });
    assert!(report.losses.is_empty(), "{:?}", report.losses);
    assert!(found == all);
}

#[test]
fn a_frame_costs_its_transactions_and_what_follows_is_kept() {
    let crashed = crashed();
    let all = crashed.newest();
    let last = all.values().map(|(lsn, _)| *lsn).max().unwrap();
    let path = crashed.paths(".wal").into_iter().find(|path| {
        let bytes = crashed.disk().read(path).unwrap();
        bytes[4096..].starts_with(b"GDBF")
    });
    let path = path.unwrap();
    for at in [4096, 4096 + 8, 4096 + 500, 30_000] {
        let what = format!("{} byte {at}", path.display());
        let (report, found) = crashed.repaired(&what, |disk| flip(disk, &path, at));
        assert!(report.losses.len() <= 1, "{what}: {:?}", report.losses);
        assert!(
            found.values().any(|(lsn, _)| *lsn == last),
            "{what}: what follows is kept"
        );
    }
    for path in crashed.paths(".wal") {
        let what = format!("header of {}", path.display());
        let (report, found) = crashed.repaired(&what, |disk| flip(disk, &path, 33));
        assert!(report.losses.is_empty(), "{what}: {:?}", report.losses);
        assert!(found == all, "{what}");
    }
}

#[test]
fn without_its_manifest_everything_is_found_again() {
    let crashed = crashed();
    let all = crashed.newest();
    let path = Path::new("/db/MANIFEST");
    for damage in [
        |disk: &SimDisk| disk.remove(Path::new("/db/MANIFEST")).unwrap(),
        |disk: &SimDisk| flip(disk, Path::new("/db/MANIFEST"), 60),
        |disk: &SimDisk| disk.corrupt(Path::new("/db/MANIFEST"), Vec::clear).unwrap(),
    ] {
        let (report, found) = crashed.repaired("the manifest", damage);
        assert_eq!(report.losses.len(), 1, "{:?}", report.losses);
        assert!(report.losses[0].contains(&*path.to_string_lossy()));
        for (key, version) in &all {
            assert_eq!(found.get(key), Some(version), "{key:?}");
        }
    }
}

/// Damage of every sort at random places.
#[test]
fn damage_of_every_sort_can_be_repaired() {
    let seed: u64 = std::env::var("GODB_DAMAGE_SEED").map_or(20_262, |seed| seed.parse().unwrap());
    let cases = std::env::var("GODB_REPAIR_CASES").map_or(30, |cases| cases.parse().unwrap());
    let crashed = crashed();
    let paths = crashed.paths("");
    let (mut lossless, mut lossy, mut sound) = (0, 0, 0);
    for case in 0..cases {
        let mut draw = Draw(seed + case);
        let path = paths[draw.below(paths.len())].clone();
        let other = paths[draw.below(paths.len())].clone();
        let kind = draw.below(6);
        let what = format!(
            "GODB_DAMAGE_SEED={} kind {kind} {} {}",
            seed + case,
            path.display(),
            other.display()
        );
        let (report, _) = crashed.repaired(&what, |disk| match kind {
            0 => disk.remove(&path).unwrap(),
            1 => {
                let bytes = disk.read(&other).unwrap();
                disk.corrupt(&path, |content| *content = bytes).unwrap();
            }
            _ => disk
                .corrupt(&path, |bytes| {
                    let used = bytes.iter().rposition(|b| *b != 0).map_or(1, |n| n + 1);
                    let at = draw.below(used);
                    match kind {
                        2 => bytes.truncate(at),
                        // Not the whole end: zeros are what a log ends with.
                        3 => {
                            let end = (at + 5000).min(used.saturating_sub(300)).max(at);
                            bytes[at..end].fill(0);
                        }
                        _ => {
                            for _ in 0..kind {
                                bytes[draw.below(used)] ^= 1 << draw.below(8);
                            }
                        }
                    }
                })
                .unwrap(),
        });
        match (report.damage.is_empty(), report.losses.is_empty()) {
            (true, _) => sound += 1,
            (false, true) => lossless += 1,
            (false, false) => lossy += 1,
        }
    }
    eprintln!(
        "{cases} repairs, seed {seed}: {sound} needed none, {lossless} lost nothing, {lossy} lost something"
    );
    assert!(lossless > 0 && lossy > 0);
}

/// A repair that is killed, or whose power is cut, leaves the damaged database or the repaired one.
#[test]
fn a_repair_that_is_cut_off_can_be_repeated() {
    let crashed = crashed();
    let path = crashed.paths("/table-").pop().unwrap();
    let disk = crashed.disk();
    flip(&disk, &path, 600);
    let whole = {
        let disk = disk.image().survive(LossVariant::KeepAll, 1);
        run(&disk, false).unwrap();
        crashed.opened(&disk, "whole")
    };
    let images = Arc::new(std::sync::Mutex::new(Vec::new()));
    let taken = Arc::clone(&images);
    disk.on_call(move |call| {
        if call.moment == Moment::After {
            taken.lock().unwrap().push(call.image());
        }
    });
    run(&disk, false).unwrap();
    disk.clear_hook();
    let images = std::mem::take(&mut *images.lock().unwrap());
    assert!(images.len() > 40, "{}", images.len());
    let step = (images.len() / 24).max(1);
    let mut tried = 0;
    let last = images.len().saturating_sub(30)..images.len();
    let chosen = (0..images.len()).step_by(step).chain(last);
    for n in chosen {
        for variant in [
            LossVariant::KeepAll,
            LossVariant::LoseUnsynced,
            LossVariant::ALL[n % 6],
        ] {
            let left = images[n].survive(variant, n as u64);
            let what = format!("cut after call {n} of {}, {variant:?}", images.len());
            run(&left, false).unwrap_or_else(|error| panic!("{what}: {error}\n{}", left.dump()));
            let found = crashed.opened(&left, &what);
            assert!(found == whole, "{what}");
            tried += 1;
        }
    }
    eprintln!("{tried} cuts of a repair of {} calls", images.len());
}

#[test]
fn what_is_no_damage_is_refused() {
    let disk = SimDisk::new();
    assert!(run(&disk, false).is_err(), "nothing there");
    let engine = open(&disk);
    let in_use = run(&disk, false).unwrap_err().to_string();
    assert!(in_use.contains("in use"), "{in_use}");
    drop(engine);
    let other = StorageEngine::builder("/other")
        .disk(Arc::new(disk.clone()))
        .open()
        .unwrap();
    other.close().unwrap();
    let mut mixed = settings();
    mixed.wal_dir = "/other/wal".into();
    drop(other);
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let mixed = repair(&mixed, &disk, false, None).unwrap_err().to_string();
    assert!(mixed.contains("another store"), "{mixed}");
}
