//! `make bench`: rates over HTTP beside the null server, in interleaved rounds, and durable
//! commits of the engine alone. It reports; it never fails because a machine is slow.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a tool that prints figures, computed from counts far below 2^53, and reads /proc"
)]

mod embedded;
mod library;
mod load;
mod null;
mod process;
mod report;
mod scenarios;
mod target;
mod workload;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use godb_engine::Durability;
use serde_json::json;

use report::Sample;
use target::Target;
use workload::Operation;

// The node's allocator, because the null server runs from here.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Documents there are for reads and updates.
const DOCUMENTS: u64 = 50_000;

#[derive(Parser)]
#[command(about = "Measures a node beside a server that only parses and answers")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Rounds; every server is measured once in each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Connections.
    #[arg(long, value_delimiter = ',', default_value = "1,64,256")]
    connections: Vec<usize>,
    /// Operations: insert, get, patch, find, find-spread.
    #[arg(long, value_delimiter = ',', default_value = "insert,get,patch")]
    operations: Vec<String>,
    /// Servers: null, none, memory, os, full; with +token (os+token) one that asks for a token.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "null,none,memory,os,full"
    )]
    servers: Vec<String>,
    /// Another build of the node, measured in the same rounds.
    #[arg(long)]
    base: Option<PathBuf>,
    /// Threads of the embedded runs; 0 leaves them out.
    #[arg(long, value_delimiter = ',', default_value = "1,8,64")]
    threads: Vec<u64>,
    /// Documents of the import, find, stream and restart; 0 leaves them out.
    #[arg(long, default_value_t = 1_000_000)]
    million: u64,
    /// `godb-peers`, for the engines of others beside the own.
    #[arg(long)]
    peers: Option<PathBuf>,
    /// Where the data lies; must be a real disk, not a tmpfs.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Where the JSON goes.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Only the null server.
    Null {
        /// Its address.
        #[arg(long)]
        listen: SocketAddr,
        /// A file with what it answers to a find.
        #[arg(long)]
        answer: Option<PathBuf>,
    },
    /// One run of the engine alone, for the process that compares.
    Embedded {
        /// The level.
        level: Durability,
        /// Added to each sync of the log.
        sync_delay_us: u64,
        /// Threads.
        threads: u64,
        /// How long.
        seconds: f64,
        /// An empty directory.
        directory: PathBuf,
    },
    /// Reads, scans and sizes of the engine as a library.
    Library {
        /// How many documents.
        documents: u64,
        /// Seconds of one measurement.
        seconds: f64,
        /// An empty directory.
        directory: PathBuf,
    },
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Null { listen, answer }) => {
            let answer = answer.map(std::fs::read).transpose()?.unwrap_or_default();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            return Ok(runtime.block_on(null::run(listen, answer))?);
        }
        Some(Command::Embedded {
            level,
            sync_delay_us,
            threads,
            seconds,
            directory,
        }) => {
            let delay = Duration::from_micros(sync_delay_us);
            let run = (threads, Duration::from_secs_f64(seconds));
            println!("{}", embedded::run_here(level, delay, run, directory)?);
            // What it cost is read meanwhile.
            std::thread::sleep(Duration::from_millis(50));
            return Ok(());
        }
        Some(Command::Library {
            documents,
            seconds,
            directory,
        }) => {
            let measure = Duration::from_secs_f64(seconds);
            println!("{}", library::run_here(documents, measure, &directory)?);
            return Ok(());
        }
        None => {}
    }
    let samples = over_http(&arguments)?;
    println!(
        "\nHTTP, medians of {} interleaved rounds of {} s",
        arguments.rounds, arguments.seconds
    );
    println!("{}", report::table(&samples));
    let alone = embedded(&arguments)?;
    let library = match arguments.million {
        0 => json!(null),
        documents => library::run(&arguments.dir, documents, arguments.seconds)?,
    };
    let scenarios = match arguments.million {
        0 => json!(null),
        documents => scenarios::run(&arguments, documents)?,
    };
    if let Some(out) = &arguments.out {
        let text = serde_json::to_string_pretty(
            &json!({"http": report::json(&samples), "embedded": alone, "library": library, "scenarios": scenarios}),
        )?;
        std::fs::write(out, text)?;
        println!("written to {}", out.display());
    }
    Ok(())
}

/// What is measured in each round, in the order of the table.
fn targets(arguments: &Arguments) -> Vec<Target> {
    let mut targets = Vec::new();
    for name in &arguments.servers {
        if name == "null" {
            targets.push(Target::Null);
        }
        if let Some(level) = Durability::ALL.iter().find(|level| level.as_str() == name) {
            if arguments.base.is_some() {
                targets.push(Target::Base(level.as_str()));
            }
            targets.push(Target::Node(level.as_str()));
        }
        let guarded = name.strip_suffix("+token");
        if let Some(level) = Durability::ALL.iter().find(|l| Some(l.as_str()) == guarded) {
            targets.push(Target::Guarded(level.as_str()));
        }
    }
    targets
}

fn over_http(arguments: &Arguments) -> Result<Vec<Sample>, Box<dyn Error>> {
    let mut samples = Vec::new();
    for round in 0..arguments.rounds {
        for &connections in &arguments.connections {
            let chosen = |o: &&Operation| arguments.operations.iter().any(|name| name == o.name());
            for &operation in Operation::ALL.iter().filter(chosen) {
                let mut order = targets(arguments);
                // Half of the rounds the other way round: a drift favours nobody.
                if round % 2 == 1 {
                    order.reverse();
                }
                for target in order {
                    let sample = measure(arguments, (round, operation, connections, target))?;
                    println!(
                        "round {round} {:<6} {connections:>4} {target:<11} {:>9.0}/s",
                        operation.name(),
                        sample.per_second
                    );
                    samples.push(sample);
                }
            }
        }
    }
    samples.sort_by_key(|s| {
        let place = targets(arguments)
            .iter()
            .position(|target| *target == s.target);
        (s.operation.name(), s.connections, place, s.round)
    });
    Ok(samples)
}

fn measure(
    arguments: &Arguments,
    what: (usize, Operation, usize, Target),
) -> Result<Sample, Box<dyn Error>> {
    let (_, operation, connections, target) = what;
    let documents = if operation == Operation::Insert {
        0
    } else {
        DOCUMENTS
    };
    let running = target.start(
        &arguments.dir,
        arguments.base.as_deref(),
        operation,
        documents,
    )?;
    let (cpu, syncs) = (running.cpu_seconds(), running.syncs());
    let outcome = load::run(&load::Load {
        address: running.address(),
        headers: target.headers(),
        operation,
        connections,
        warm_up: Duration::from_millis(500),
        measure: Duration::from_secs_f64(arguments.seconds),
        documents: DOCUMENTS,
        first: 0,
    })?;
    let (cpu, syncs) = (running.cpu_seconds() - cpu, running.syncs() - syncs);
    Ok(Sample::new(what, &outcome, cpu, syncs))
}

fn embedded(arguments: &Arguments) -> Result<serde_json::Value, Box<dyn Error>> {
    let mut rows = Vec::new();
    println!(
        "engines alone: durable commits of one document each\n\
         threads  engine                  commits/s  (spread)            cpu us  max MiB  written/sent  syncs/commit"
    );
    for &threads in arguments.threads.iter().filter(|threads| **threads > 0) {
        let mut engines = embedded::engines(arguments.peers.as_deref())?;
        if threads >= 64 {
            engines.push(embedded::slow_disk(1000)?);
            engines.push(embedded::slow_disk(5000)?);
        }
        let mut runs = vec![Vec::new(); engines.len()];
        for round in 0..arguments.rounds {
            let mut order: Vec<usize> = (0..engines.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for place in order {
                if let (Some(engine), Some(runs)) = (engines.get(place), runs.get_mut(place)) {
                    runs.push(engine.run(&arguments.dir, threads, arguments.seconds)?);
                }
            }
        }
        for (engine, runs) in engines.iter().zip(runs) {
            let median =
                |of: fn(&embedded::Run) -> f64| report::median(runs.iter().map(of).collect());
            let rates = runs.iter().map(|run| run.per_second);
            let (low, high) = (
                rates.clone().fold(f64::INFINITY, f64::min),
                rates.fold(0.0, f64::max),
            );
            let rate = median(|run| run.per_second);
            let syncs = engine.syncs_per_commit(&arguments.dir, threads);
            println!(
                "{threads:>7}  {:<22} {rate:>10.0}  {:<18} {:>7.1}  {:>7.0}  {:>12.2}  {:>12}",
                engine.name,
                format!("({low:.0} - {high:.0})"),
                median(|run| run.cpu_us),
                median(|run| run.resident_mib),
                median(|run| run.amplification),
                syncs.map_or("-".to_owned(), |syncs| format!("{syncs:.3}")),
            );
            rows.push(json!({
                "threads": threads, "engine": engine.name, "per_second": rate,
                "rounds": runs.iter().map(|run| run.per_second).collect::<Vec<_>>(),
                "cpu_us": median(|run| run.cpu_us), "max_resident_mib": median(|run| run.resident_mib),
                "written_per_sent": median(|run| run.amplification), "syncs_per_commit": syncs,
            }));
        }
    }
    Ok(rows.into())
}
