//! The engine as a library, without a server and one reader at a time: memory and disk for each
//! document, reads from the memtable and from cached blocks, the slowest read beside a checkpoint and
//! a compaction, scans, and a clean restart.
//!
//! It is a process of its own, so that the memory is the engine's alone.

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use godb_engine::{Durability, Filter, Io, StorageEngine, Write};
use godb_tests::random::Random;
use serde_json::{Value, json};

use crate::{process, workload};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Documents of one transaction.
const BATCH: u64 = 500;
/// Memory of the part that counts written bytes, and so the size of its memtables.
const SMALL_MEMORY_BYTES: u64 = 64 << 20;

/// What one reader saw.
struct Reads {
    per_second: f64,
    /// Microseconds.
    p999: f64,
    slowest: f64,
}

/// Runs it in a process of its own, prints the table, returns the rows.
///
/// # Errors
/// When it fails.
pub fn run(below: &Path, documents: u64, seconds: f64) -> Outcome<Value> {
    let directory = tempfile::tempdir_in(below)?;
    let output = Command::new(std::env::current_exe()?)
        .arg("library")
        .args([documents.to_string(), seconds.to_string()])
        .arg(directory.path())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the engine as a library failed".into());
    }
    let rows = serde_json::from_slice(&output.stdout)?;
    println!("\n{}", table(&rows));
    Ok(rows)
}

/// All rows, as the line that the process prints.
///
/// # Errors
/// When the engine fails, or an answer is wrong.
pub fn run_here(documents: u64, measure: Duration, directory: &Path) -> Outcome<Value> {
    let mut rows = reads(documents, measure, &directory.join("large"))?;
    let written = writes(documents, &directory.join("small"))?;
    if let (Value::Object(rows), Value::Object(written)) = (&mut rows, written) {
        rows.extend(written);
    }
    Ok(rows)
}

fn reads(documents: u64, measure: Duration, data: &Path) -> Outcome<Value> {
    let open = || {
        StorageEngine::builder(data)
            .durability(Durability::Os)
            .checkpoint_interval(Duration::from_secs(3600))
            .max_wal_bytes(64 << 30)
            .max_memory_bytes(64 << 30)
            .open()
    };
    let engine = open()?;
    let own = std::process::id();
    let before = process::status_kib(own, "VmRSS:");
    let json_bytes = fill(&engine, 0, documents)?;
    let resident = (process::status_kib(own, "VmRSS:") - before) * 1024.0;

    let memtable = read(&engine, documents, measure, &|| true)?;
    let scan_memtable = scan(&engine, documents)?;
    let flushing = beside(&engine, documents, &|| {
        engine.checkpoint()?;
        Ok(())
    })?;
    // The first time the blocks come from the disk.
    read(&engine, documents, measure, &|| true)?;
    scan(&engine, documents)?;
    let cached = read(&engine, documents, measure, &|| true)?;
    let scan_tables = scan(&engine, documents)?;
    let rounds = 4;
    for round in 0..rounds {
        change(&engine, documents, rounds, round)?;
        engine.checkpoint()?;
    }
    let compacting = beside(&engine, documents, &|| Ok(engine.compact()?))?;
    let tables_bytes = engine.stats().tables_bytes as f64;
    engine.close()?;
    drop(engine);
    let started = Instant::now();
    let engine = open()?;
    let restart = started.elapsed().as_secs_f64();
    engine.close()?;

    Ok(json!({
        "documents": documents,
        "memory_per_json_byte": resident / json_bytes,
        "tables_per_json_byte": tables_bytes / json_bytes,
        "clean_restart_seconds": restart,
        "memtable_reads_per_second": memtable.per_second,
        "cached_reads_per_second": cached.per_second,
        "reads_beside_checkpoint_per_second": flushing.per_second,
        "reads_beside_checkpoint_p999_us": flushing.p999,
        "reads_beside_checkpoint_slowest_us": flushing.slowest,
        "reads_beside_compaction_per_second": compacting.per_second,
        "reads_beside_compaction_p999_us": compacting.p999,
        "reads_beside_compaction_slowest_us": compacting.slowest,
        "scan_memtable_per_second": scan_memtable,
        "scan_tables_per_second": scan_tables,
    }))
}

/// Bytes written for each of the data, with as many memtables as the data fills.
fn writes(documents: u64, data: &Path) -> Outcome<Value> {
    let own = std::process::id();
    let before = process::written_bytes(own);
    let engine = StorageEngine::builder(data)
        .durability(Durability::Os)
        .max_memory_bytes(SMALL_MEMORY_BYTES)
        .open()?;
    let json_bytes = fill(&engine, 0, documents)?;
    engine.checkpoint()?;
    engine.compact()?;
    engine.close()?;
    Ok(json!({
        "written_per_json_byte": (process::written_bytes(own) - before) / json_bytes,
        "written_with_max_memory_bytes": SMALL_MEMORY_BYTES,
        "written_json_bytes": json_bytes,
    }))
}

/// Writes documents in batches and returns their bytes of JSON. Waits where the engine asks for it.
fn fill(engine: &StorageEngine, first: u64, count: u64) -> Outcome<f64> {
    let mut bytes = 0;
    for from in (first..first + count).step_by(usize::try_from(BATCH)?) {
        let documents: Vec<Vec<u8>> = (from..(from + BATCH).min(first + count))
            .map(workload::document)
            .collect();
        bytes += documents.iter().map(Vec::len).sum::<usize>();
        let references: Vec<&[u8]> = documents.iter().map(Vec::as_slice).collect();
        std::thread::sleep(engine.delay());
        let insert = || engine.batch_insert("bench", &references, &Write::default());
        match insert() {
            Err(godb_engine::EngineError::Busy { .. }) => {
                godb_store::block_on(engine.writable())?;
                insert()?.wait()?;
            }
            other => drop(other?.wait()?),
        }
    }
    Ok(bytes as f64)
}

/// Changes every `of`-th document, so that a compaction has something to merge.
fn change(engine: &StorageEngine, documents: u64, of: u64, which: u64) -> Outcome<()> {
    let changed: Vec<String> = (0..documents)
        .filter(|n| n % of == which)
        .map(|n| format!("d{n:08}"))
        .collect();
    for ids in changed.chunks(usize::try_from(BATCH)?) {
        let operations: Vec<(&str, &[u8])> = ids
            .iter()
            .map(|id| (id.as_str(), br#"{"age":1}"#.as_slice()))
            .collect();
        let changes = engine.batch_update("bench", &operations, &Write::default())?;
        drop(changes.wait()?);
    }
    Ok(())
}

/// Random reads by id until `measure` is over and while `go_on` says so.
fn read(
    engine: &StorageEngine,
    documents: u64,
    measure: Duration,
    go_on: &dyn Fn() -> bool,
) -> Outcome<Reads> {
    let mut random = Random::new(7);
    let mut took = Vec::new();
    let started = Instant::now();
    let mut last = started;
    while last.duration_since(started) < measure && go_on() {
        let id = format!("d{:08}", random.below(documents));
        if engine.get("bench", &id, Io::Allow)?.is_none() {
            return Err(format!("document {id} is not there").into());
        }
        let now = Instant::now();
        took.push(now.duration_since(last));
        last = now;
    }
    let seconds = last.duration_since(started).as_secs_f64();
    took.sort_unstable();
    let micros = |duration: Option<&Duration>| duration.map_or(0.0, |d| d.as_secs_f64() * 1e6);
    Ok(Reads {
        per_second: took.len() as f64 / seconds,
        p999: micros(took.get(took.len() * 999 / 1000)),
        slowest: micros(took.last()),
    })
}

/// Reads for as long as `work` runs on another thread.
fn beside(
    engine: &StorageEngine,
    documents: u64,
    work: &(dyn Fn() -> Outcome<()> + Sync),
) -> Outcome<Reads> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let outcome = work().map_err(|error| error.to_string());
            done.store(true, Ordering::Release);
            outcome
        });
        let running = || !done.load(Ordering::Acquire);
        let reads = read(engine, documents, Duration::from_secs(600), &running)?;
        worker.join().map_err(|_| "the work panicked")??;
        Ok(reads)
    })
}

/// Documents a second of a stream over all of them.
fn scan(engine: &StorageEngine, documents: u64) -> Outcome<f64> {
    let started = Instant::now();
    let mut count = 0;
    for document in engine.find_stream("bench", &Filter::all())? {
        document?;
        count += 1;
    }
    if count != documents {
        return Err(format!("a scan gave {count} of {documents} documents").into());
    }
    Ok(documents as f64 / started.elapsed().as_secs_f64())
}

fn table(rows: &Value) -> String {
    let number = |name: &str| rows.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let beside = |name: &str| {
        format!(
            "{:>9.0} /s, 99.9 % within {:.0} us, slowest {:.1} ms",
            number(&format!("reads_beside_{name}_per_second")),
            number(&format!("reads_beside_{name}_p999_us")),
            number(&format!("reads_beside_{name}_slowest_us")) / 1e3
        )
    };
    let lines = [
        (
            "reads from the memtable",
            format!("{:>9.0} /s", number("memtable_reads_per_second")),
        ),
        (
            "reads from cached blocks",
            format!("{:>9.0} /s", number("cached_reads_per_second")),
        ),
        ("reads beside a checkpoint", beside("checkpoint")),
        ("reads beside a compaction", beside("compaction")),
        (
            "scan of the memtable",
            format!("{:>9.0} documents/s", number("scan_memtable_per_second")),
        ),
        (
            "scan of tables",
            format!("{:>9.0} documents/s", number("scan_tables_per_second")),
        ),
        (
            "memory in use",
            format!(
                "{:>9.2} for each byte of JSON, all in the memtable",
                number("memory_per_json_byte")
            ),
        ),
        (
            "tables",
            format!(
                "{:>9.2} bytes for each byte of JSON, after a compaction",
                number("tables_per_json_byte")
            ),
        ),
        (
            "written",
            format!(
                "{:>9.2} bytes for each byte of JSON, {:.0} MB of JSON, {:.0} MiB of memory",
                number("written_per_json_byte"),
                number("written_json_bytes") / 1e6,
                number("written_with_max_memory_bytes") / 1024.0 / 1024.0
            ),
        ),
        (
            "clean restart",
            format!("{:>9.0} ms", number("clean_restart_seconds") * 1e3),
        ),
    ];
    let documents = number("documents");
    let mut out = format!("the engine as a library, one reader, {documents:.0} documents, at os\n");
    for (name, figure) in lines {
        out.push_str(&format!("{name:<26} {figure}\n"));
    }
    out
}
