//! `godb import`: documents from a file into a collection, resumable and without duplicates.
//!
//! Why the same command can be run again after any interruption, kill -9 at any point included:
//! - The file is checked before anything is written, so there is no half-good file to repair and
//!   import again.
//! - A document without `_id` gets `<prefix>-<position>`, and the prefix is the file's fingerprint
//!   (or `--id-prefix`): the same document has the same id in every run.
//! - Documents are only ever created, never replaced. What exists already is left as it is.
//! - Batches are atomic and cut at fixed places, so a batch whose last made id exists was written
//!   whole, and one that was refused for another reason was not written at all. In the latter case
//!   its documents are created one by one, the last one last.
//! - An answer that was lost is no special case: the batch is sent again and found to exist.

pub mod all;
mod check;
mod prepare;
mod sink;

use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::task::JoinSet;

use self::prepare::{Batcher, Prepared};
use self::sink::{Notice, Sink};
use super::progress::Progress;
use super::split::{Documents, SplitError};
use super::{Format, ImportOptions, Target};
use crate::directories;
use crate::exit::{Exit, Failure};
use crate::files;

/// Batches that wait for a connection.
const QUEUE: usize = 4;
/// Connections at once.
const CONNECTIONS: usize = 4;

/// What became of the documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Made by this run.
    pub created: u64,
    /// There already.
    pub existing: u64,
    /// One that was there already, to look at.
    pub first_existing: Option<String>,
}

/// Runs the subcommand.
///
/// # Errors
/// A file or a document that is wrong, or a target that does not take documents.
pub fn run(options: &ImportOptions) -> Result<Exit, Failure> {
    let started = Instant::now();
    let (tally, bytes) = import(options)?;
    report(&tally, bytes, started);
    Ok(Exit::Ok)
}

/// What became of the documents, and the size of the file if it has one.
fn import(options: &ImportOptions) -> Result<(Tally, Option<u64>), Failure> {
    godb_engine::name::check_collection(&options.collection)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Io, format!("cannot start: {error}")))?;
    // A node that cannot be reached is known before a long check; a database is opened, and made if
    // it is missing, only for a file that can be imported.
    let reached = match &options.target {
        Target::Node(_) => Some(runtime.block_on(open_sinks(&options.target))?),
        Target::Directories(database) => {
            directories::check(&database.config())?;
            None
        }
    };
    let plan = if options.file == Path::new("-") {
        check::Plan::for_stdin(options)?
    } else {
        check::check(options)?
    };
    let sinks = match reached {
        Some(sinks) => sinks,
        None => runtime.block_on(open_sinks(&options.target))?,
    };
    let outcome = runtime.block_on(write(options, &plan, &sinks));
    let closed = sinks.iter().try_for_each(Sink::close);
    let tally = outcome?;
    closed?;
    Ok((tally, plan.bytes))
}

async fn open_sinks(target: &Target) -> Result<Vec<Sink>, Failure> {
    let mut sinks = vec![Sink::open(target).await?];
    if let Some(another) = sinks.first().and_then(Sink::another) {
        sinks.extend(std::iter::repeat_with(|| another.clone()).take(CONNECTIONS - 1));
    }
    Ok(sinks)
}

async fn write(
    options: &ImportOptions,
    plan: &check::Plan,
    sinks: &[Sink],
) -> Result<Tally, Failure> {
    let progress = Arc::new(Mutex::new(Progress::bytes("importing", plan.bytes)));
    let notice = Arc::new(Notice::default());
    let (sender, receiver) = mpsc::channel::<Vec<Prepared>>(QUEUE);
    let receiver = Arc::new(AsyncMutex::new(receiver));
    let reading = {
        let (file, format, prefix) = (options.file.clone(), options.format, plan.prefix.clone());
        std::thread::spawn(move || read(&file, format, &prefix, &sender))
    };
    let mut workers = JoinSet::new();
    for sink in sinks {
        workers.spawn(work(
            sink.clone(),
            options.collection.clone(),
            receiver.clone(),
            progress.clone(),
            notice.clone(),
        ));
    }
    // With the last worker the channel closes, which ends the reading.
    drop(receiver);
    let mut tally = Tally::default();
    let mut failure = None;
    while let Some(worked) = workers.join_next().await {
        match worked {
            Ok(Ok(part)) => tally.add(part),
            Ok(Err(error)) => {
                failure.get_or_insert(error);
                workers.abort_all();
            }
            Err(_) => {}
        }
    }
    let read = reading
        .join()
        .map_err(|_| Failure::new(Exit::Internal, "reading the file failed"))?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    read?;
    plan.require_unchanged(&options.file)?;
    Ok(tally)
}

/// Reads the file again and hands its batches on. Ends early, without an error, if nobody takes
/// them: then a worker has the error.
fn read(
    file: &Path,
    format: Option<Format>,
    prefix: &str,
    sender: &mpsc::Sender<Vec<Prepared>>,
) -> Result<(), Failure> {
    let mut batcher = Batcher::default();
    for raw in
        Documents::new(open(file)?, format).map_err(|error| Failure::io("read", file, &error))?
    {
        let raw = raw.map_err(|error| split_failure(file, error))?;
        let prepared = Prepared::new(raw, prefix)
            .map_err(|fault| Failure::new(Exit::Corrupt, format!("{}: {fault}", file.display())))?;
        if let Some(batch) = batcher.add(prepared)
            && sender.blocking_send(batch).is_err()
        {
            return Ok(());
        }
    }
    if let Some(batch) = batcher.rest() {
        // The same: without a receiver there is an error already.
        let _ = sender.blocking_send(batch);
    }
    Ok(())
}

async fn work(
    mut sink: Sink,
    collection: String,
    batches: Arc<AsyncMutex<mpsc::Receiver<Vec<Prepared>>>>,
    progress: Arc<Mutex<Progress>>,
    notice: Arc<Notice>,
) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    loop {
        let batch = batches.lock().await.recv().await;
        let Some(batch) = batch else {
            return Ok(tally);
        };
        tally.add(sink.create(&collection, &batch, &notice).await?);
        let bytes = batch.iter().map(|document| document.raw_bytes).sum();
        progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .advance(bytes);
    }
}

impl Tally {
    fn add(&mut self, part: Tally) {
        self.created += part.created;
        self.existing += part.existing;
        self.first_existing = self.first_existing.take().or(part.first_existing);
    }
}

fn report(tally: &Tally, bytes: Option<u64>, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    let Tally {
        created, existing, ..
    } = tally;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = (created + existing) as f64 / seconds.max(0.001);
    let volume = bytes
        .map(|bytes| format!(", {bytes} bytes"))
        .unwrap_or_default();
    eprintln!("imported {created} documents in {seconds:.1} s ({rate:.0} documents/s{volume})");
    if let Some(id) = &tally.first_existing {
        eprintln!("{existing} were there already and were left as they are; one is `{id}`");
    }
}

fn open(file: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let opened = files::open(file).map_err(|error| Failure::io("open", file, &error))?;
    Ok(Box::new(opened))
}

fn split_failure(file: &Path, error: SplitError) -> Failure {
    match error {
        SplitError::Io(error) => Failure::io("read", file, &error),
        SplitError::Outline {
            line,
            column,
            reason,
        } => Failure::new(
            Exit::Corrupt,
            format!(
                "{}: line {line}: {reason} at column {column}",
                file.display()
            ),
        ),
    }
}

#[cfg(test)]
mod tests;
