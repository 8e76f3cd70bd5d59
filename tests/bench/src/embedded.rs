//! Engines without a server: durable commits at so many threads, and what they cost.
//!
//! Each run is a process of its own, so that processor time, resident size and written bytes are those
//! of one engine. The other engines are `godb-peers` (`tests/bench/peers`), which prints the same line.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use godb_engine::{Durability, StorageEngine, Write};
use godb_store::disk::fault::Rule;
use godb_store::disk::real::RealDisk;
use godb_store::disk::{CallKind, FaultDisk};
use serde_json::Value;

use crate::{process, workload};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// An engine under measurement.
#[derive(Clone, Debug)]
pub struct Engine {
    /// `godb os`, `redb`, …
    pub name: String,
    /// Program and first arguments; threads, seconds and directory follow.
    command: Vec<String>,
}

/// One run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// Acknowledged commits a second.
    pub per_second: f64,
    /// Processor time for each, in microseconds.
    pub cpu_us: f64,
    /// Largest resident size, in MiB.
    pub resident_mib: f64,
    /// Bytes written to the disk for each byte of a document.
    pub amplification: f64,
}

/// godb at `full` and `os`, and the peers that have been built.
///
/// # Errors
/// When this program does not know its own path.
pub fn engines(peers: Option<&Path>) -> std::io::Result<Vec<Engine>> {
    let own = std::env::current_exe()?.display().to_string();
    let engine = |name: &str, command: &[&str]| Engine {
        name: name.to_owned(),
        command: command.iter().map(|part| (*part).to_owned()).collect(),
    };
    let mut engines = vec![
        engine("godb full", &[&own, "embedded", "full", "0"]),
        engine("godb os", &[&own, "embedded", "os", "0"]),
    ];
    if let Some(peers) = peers {
        let path = peers.display().to_string();
        for name in ["redb", "fjall", "sqlite"] {
            engines.push(engine(name, &[&path, name]));
        }
    }
    Ok(engines)
}

/// godb at `full` on a disk whose syncs are late by so much.
///
/// # Errors
/// As [`engines`].
pub fn slow_disk(delay_us: u64) -> std::io::Result<Engine> {
    let own = std::env::current_exe()?.display().to_string();
    Ok(Engine {
        name: format!("godb full, sync + {} ms", delay_us as f64 / 1000.0),
        command: vec![own, "embedded".into(), "full".into(), delay_us.to_string()],
    })
}

impl Engine {
    fn spawn(&self, before: &[String], run: (u64, f64), below: &Path) -> std::io::Result<Child> {
        let all = [before, &self.command].concat();
        let (program, arguments) = all.split_first().ok_or(std::io::ErrorKind::NotFound)?;
        Command::new(program)
            .args(arguments)
            .args([run.0.to_string(), run.1.to_string()])
            .arg(below)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
    }

    /// Runs it on a fresh directory.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, below: &Path, threads: u64, seconds: f64) -> Outcome<Run> {
        let directory = tempfile::tempdir_in(below)?;
        let mut child = self.spawn(&[], (threads, seconds), directory.path())?;
        let line = first_line(&mut child)?;
        // It stays for a moment after its line.
        let (pid, number) = (child.id(), |name: &str| {
            line.get(name).and_then(Value::as_f64).unwrap_or(0.0)
        });
        let commits = number("commits").max(1.0);
        let run = Run {
            per_second: commits / number("seconds"),
            cpu_us: process::cpu_seconds(pid) * 1e6 / commits,
            resident_mib: process::status_kib(pid, "VmHWM:") / 1024.0,
            amplification: (process::written_bytes(pid) - number("written_before"))
                / number("bytes").max(1.0),
        };
        child.wait()?;
        Ok(run)
    }

    /// fdatasync, fsync and msync calls for each commit, by strace in a run of its own; nothing
    /// without strace. It proves the durability class: the figure is not of the timed runs.
    pub fn syncs_per_commit(&self, below: &Path, threads: u64) -> Option<f64> {
        let directory = tempfile::tempdir_in(below).ok()?;
        let counts = directory.path().join("strace");
        let strace = ["strace", "-f", "-qq", "-c", "-U", "calls,name", "-e"].map(str::to_owned);
        let trace = "trace=fdatasync,fsync,msync,sync_file_range".to_owned();
        let out = ["-o".to_owned(), counts.display().to_string()];
        let before = [&strace[..], &[trace], &out].concat();
        let mut child = self.spawn(&before, (threads, 1.0), directory.path()).ok()?;
        let line = first_line(&mut child).ok()?;
        child.wait().ok()?;
        let calls: f64 = std::fs::read_to_string(counts)
            .ok()?
            .lines()
            .filter(|line| !line.contains("total"))
            .filter_map(|line| line.split_whitespace().next()?.parse::<f64>().ok())
            .sum();
        Some(calls / line.get("commits")?.as_f64()?.max(1.0))
    }
}

fn first_line(child: &mut Child) -> Outcome<Value> {
    let out = child.stdout.take().ok_or("no output")?;
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// The process of one run: inserts from so many threads, each waiting for its own commit.
///
/// # Errors
/// When the engine fails.
pub fn run_here(
    durability: Durability,
    sync_delay: Duration,
    (threads, measure): (u64, Duration),
    directory: PathBuf,
) -> Outcome<String> {
    let disk = FaultDisk::new(Arc::new(RealDisk::new()));
    if !sync_delay.is_zero() {
        let late = Rule::on(CallKind::SyncData).path("/wal-");
        disk.add(late.delay(sync_delay));
    }
    let builder = StorageEngine::builder(directory.join("data")).durability(durability);
    let engine = if sync_delay.is_zero() {
        builder.open()?
    } else {
        builder.disk(Arc::new(disk)).open()?
    };
    let written_before = process::written_bytes(std::process::id());
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    let (commits, bytes) = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..threads)
            .map(|writer| {
                let (engine, stop) = (&engine, &stop);
                scope.spawn(move || write(engine, stop, writer << 40))
            })
            .collect();
        std::thread::sleep(measure);
        stop.store(true, Ordering::Relaxed);
        let mut sums = (0, 0);
        for writer in writers {
            let (commits, bytes) = writer.join().map_err(|_| "a writer panicked")??;
            sums = (sums.0 + commits, sums.1 + bytes);
        }
        Outcome::Ok(sums)
    })?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(format!(
        "{{\"commits\":{commits},\"bytes\":{bytes},\"seconds\":{seconds},\"written_before\":{written_before}}}"
    ))
}

fn write(engine: &StorageEngine, stop: &AtomicBool, first: u64) -> Result<(u64, u64), String> {
    let (mut commits, mut bytes) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let document = workload::document(first + commits);
        let pending = engine.insert("bench", &document, &Write::default());
        pending
            .and_then(|pending| pending.wait())
            .map_err(|error| error.to_string())?;
        commits += 1;
        bytes += document.len() as u64;
    }
    Ok((commits, bytes))
}
