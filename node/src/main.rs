//! The `godb` binary: one node, and its offline tools.

mod admin;
mod archive;
mod auth;
mod bridge;
mod cli;
mod config;
mod directories;
mod exit;
mod files;
mod http;
mod lifecycle;
mod log;
mod metrics;
mod serve;
mod server;
mod shutdown;
mod snapshot;
mod tools;

use std::io::Write;

use crate::auth::TokenLine;
use crate::cli::{Command, Invocation};
use crate::config::Resolved;
use crate::exit::{Exit, Failure};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    // A thread that fell over may have left anything half done in memory. What is on disk is
    // whole, so the end and a recovery are safe, and going on is not.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(%panic, "a defect of godb: the process ends");
        eprintln!("godb: a defect of godb: {panic}");
        std::process::exit(Exit::Internal as i32);
    }));
    let exit = match cli::parse(std::env::args_os()) {
        Ok(invocation) => run(invocation).unwrap_or_else(|failure| {
            // In the log too, where there is one; this line is for the terminal.
            tracing::error!("{}", failure.message);
            eprintln!("godb: {}", failure.message);
            failure.exit
        }),
        Err(error) => {
            // Help and version go to standard output, refusals to standard error.
            let _ = error.print();
            if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            }
        }
    };
    // Without waiting for threads that still sit on the disk.
    std::process::exit(exit as i32);
}

fn run(Invocation { command, warnings }: Invocation) -> Result<Exit, Failure> {
    match command {
        Command::Serve(inputs) => {
            let mut resolved = config::resolve(&inputs)?;
            resolved.warnings.extend(warnings);
            let log = log::start(resolved.config.log_format, resolved.config.log_level);
            serve::serve(resolved, log)
        }
        Command::ConfigShow(inputs) => {
            let resolved = config::resolve(&inputs)?;
            warn(&warnings, &resolved);
            print(&resolved.show())
        }
        Command::ConfigCheck(inputs) => {
            let resolved = config::resolve(&inputs)?;
            warn(&warnings, &resolved);
            print("the configuration is right\n")
        }
        Command::TokenCreate { name, role } => {
            let line =
                TokenLine::create(&name, role).map_err(|fault| Failure::new(Exit::Usage, fault))?;
            print(&format!("token: {}\nline:  {line}\n", line.token))
        }
        Command::Verify(options) => tools::verify::run(&options),
        Command::Snapshot(command) => snapshot::run(&command),
        Command::Repair(options) => tools::repair::run(&options),
        Command::Import(options) => tools::import::run(&options),
        Command::ImportAll(options) => tools::import::all::run(&options),
        Command::Export(options) => tools::export::run(&options),
        Command::ExportAll(options) => tools::export::all::run(&options),
    }
}

fn warn(warnings: &[String], resolved: &Resolved) {
    for warning in warnings.iter().chain(&resolved.warnings) {
        eprintln!("warning: {warning}");
    }
}

pub(crate) fn print(text: &str) -> Result<Exit, Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(Exit::Io, format!("cannot write: {error}")))?;
    Ok(Exit::Ok)
}
