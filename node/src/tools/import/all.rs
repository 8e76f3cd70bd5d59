//! `godb import --all`: a whole database from a file that `godb export --all` wrote.
//!
//! The file is read three times at most: to its end, where its checksum is, before anything else;
//! then in step with what stands in its collections; then to be written. Both the file and a
//! collection's documents come in the order of their ids, so two readers that walk side by side
//! see every difference, whatever the size.
//!
//! Why the same command can be run again after any interruption: what an interrupted run left is a
//! part of the file, and a document that stands there as the file has it is no obstacle. Documents
//! of others are, unless `--merge` or `--replace` says what is to become of them.

use std::iter::Peekable;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use godb_engine::{Filter, json};
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::task::JoinSet;

use super::prepare::{Batcher, Prepared};
use super::sink::{Notice, Sink};
use super::{QUEUE, Tally, open, open_sinks};
use crate::archive::{Content, Outline, Reader};
use crate::directories;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::tools::export::{Pieces, fetch};
use crate::tools::progress::Progress;
use crate::tools::split::{Documents, SplitError};
use crate::tools::{Existing, Format, ImportAllOptions, Target};

/// An index that takes this long is worth a line.
const SLOW_INDEX: Duration = Duration::from_secs(2);

/// What the first pass found.
struct Checked {
    outlines: Vec<Outline>,
    lsn: u64,
    documents: u64,
    bytes: u64,
    changed: Option<SystemTime>,
}

/// One thing to be done to the database.
enum Change {
    Create(Arc<str>, Vec<Prepared>),
    Put(Arc<str>, Prepared),
    Delete(Arc<str>, String),
}

/// What became of the documents.
#[derive(Default)]
struct Outcome {
    tally: Tally,
    replaced: u64,
    removed: u64,
}

/// Runs the subcommand.
///
/// # Errors
/// A file that is no whole export; a database with other documents; a target that does not take
/// them.
pub fn run(options: &ImportAllOptions) -> Result<Exit, Failure> {
    let started = Instant::now();
    if options.file == Path::new("-") {
        return Err(Failure::new(
            Exit::Usage,
            "a whole database is imported from a file: it is checked to its end before anything is written",
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Io, format!("cannot start: {error}")))?;
    // As for documents: an unreachable node is known before a long check, and a database is made
    // only for a file that can be imported.
    let reached = match &options.target {
        Target::Node(_) => Some(runtime.block_on(open_sinks(&options.target))?),
        Target::Directories(database) => {
            directories::check(&database.config())?;
            None
        }
    };
    let checked = check(&options.file)?;
    let sinks = match reached {
        Some(sinks) => sinks,
        None => runtime.block_on(open_sinks(&options.target))?,
    };
    let outcome = import(options, &checked, &sinks, &runtime);
    let closed = sinks.iter().try_for_each(Sink::close);
    let outcome = outcome?;
    closed?;
    report(&checked, &outcome, started);
    Ok(Exit::Ok)
}

fn import(
    options: &ImportAllOptions,
    checked: &Checked,
    sinks: &[Sink],
    runtime: &tokio::runtime::Runtime,
) -> Result<Outcome, Failure> {
    let first = sinks
        .first()
        .ok_or_else(|| Failure::new(Exit::Internal, "no way to the database"))?;
    if options.existing == Existing::Refuse {
        refuse_others(options, checked, first)?;
    }
    let outcome = runtime.block_on(write(options, checked, first, sinks))?;
    checked.require_unchanged(&options.file)?;
    runtime.block_on(make_indexes(checked, first.clone()))?;
    Ok(outcome)
}

/// Reads the whole file.
fn check(file: &Path) -> Result<Checked, Failure> {
    let found = files::find(file).map_err(|error| Failure::io("open", file, &error))?;
    let mut reader = Reader::new(open(file)?, file.display().to_string());
    let mut progress = Progress::bytes("checking", Some(found.bytes));
    let mut outlines = Vec::new();
    while let Some(content) = reader.read()? {
        if let Content::Collection(outline) = content {
            outlines.push(outline);
        }
        progress.advance(length(reader.line().len()));
    }
    progress.finish();
    Ok(Checked {
        outlines,
        lsn: reader.lsn(),
        documents: reader.documents(),
        bytes: found.bytes,
        changed: found.changed,
    })
}

impl Checked {
    /// What was written must be what was checked.
    fn require_unchanged(&self, file: &Path) -> Result<(), Failure> {
        let now = files::find(file).map_err(|error| Failure::io("read", file, &error))?;
        if now.bytes == self.bytes && now.changed == self.changed {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Corrupt,
            format!("{} was changed during the import", file.display()),
        ))
    }
}

/// What a walk through file and database meets.
enum Met {
    /// A document of the file that the database has not.
    Missing(Prepared),
    /// One that it has otherwise.
    Other(Prepared),
    /// One that it has as it is, of so many bytes.
    Same(u64),
    /// A document of the database, in a collection of the file, that the file has not.
    Extra(String),
}

/// The documents that stand in a collection, by id.
type Standing = Box<dyn Iterator<Item = Result<(String, Vec<u8>), Failure>> + Send>;

/// Walks through the file, and side by side through what stands in its collections.
struct Walk {
    reader: Reader<Box<dyn std::io::Read + Send>>,
    target: Sink,
    collection: Arc<str>,
    standing: Option<Peekable<Standing>>,
    /// Read from the file, not yet held against what stands.
    document: Option<Prepared>,
    /// The collection that follows, once the rest of this one was seen.
    following: Option<Outline>,
    is_at_end: bool,
}

impl Walk {
    fn new(file: &Path, target: Sink) -> Result<Self, Failure> {
        Ok(Self {
            reader: Reader::new(open(file)?, file.display().to_string()),
            target,
            collection: Arc::from(""),
            standing: None,
            document: None,
            following: None,
            is_at_end: false,
        })
    }

    fn next(&mut self) -> Result<Option<Met>, Failure> {
        loop {
            if let Some(document) = self.document.take() {
                return self.meet(document).map(Some);
            }
            if self.following.is_some() || self.is_at_end {
                if let Some(rest) = self.standing.as_mut().and_then(Iterator::next) {
                    return Ok(Some(Met::Extra(rest?.0)));
                }
                self.standing = None;
                let Some(outline) = self.following.take() else {
                    return Ok(None);
                };
                self.standing = Some(standing(&self.target, &outline.name)?.peekable());
                self.collection = Arc::from(outline.name);
            }
            match self.reader.read()? {
                Some(Content::Collection(outline)) => self.following = Some(outline),
                Some(Content::Document { id, json }) => {
                    self.document = Some(Prepared {
                        id,
                        is_made: false,
                        raw_bytes: length(self.reader.line().len()),
                        json,
                    });
                }
                Some(Content::Header) => {}
                Some(Content::End) | None => self.is_at_end = true,
            }
        }
    }

    fn meet(&mut self, document: Prepared) -> Result<Met, Failure> {
        let id = document.id.as_str();
        let up_to = |found: &Result<(String, Vec<u8>), Failure>| match found {
            Ok((standing, _)) => standing.as_str() <= id,
            Err(_) => true,
        };
        let Some(found) = self.standing.as_mut().and_then(|it| it.next_if(up_to)) else {
            return Ok(Met::Missing(document));
        };
        let (standing, json) = found?;
        if standing != document.id {
            self.document = Some(document);
            return Ok(Met::Extra(standing));
        }
        if json == document.json {
            return Ok(Met::Same(document.raw_bytes));
        }
        Ok(Met::Other(document))
    }
}

/// What stands in a collection; nothing, if there is none.
fn standing(target: &Sink, collection: &str) -> Result<Standing, Failure> {
    match target {
        Sink::Engine(engine) => {
            let stream = engine.find_stream(collection, &Filter::all())?;
            Ok(Box::new(stream.map(|found| {
                let document = found?;
                let id = String::from_utf8_lossy(&document.id).into_owned();
                Ok((id, document.json.to_vec()))
            })))
        }
        Sink::Node { endpoint, .. } => {
            let path = format!("/collections/{collection}/find_with_stream");
            let (sender, receiver) = sync_channel(QUEUE);
            let endpoint = endpoint.clone();
            // Its failures end the stream early, and that is noticed.
            std::thread::spawn(move || fetch(endpoint, &path, &sender));
            let pieces = Pieces {
                receiver,
                piece: Bytes::new(),
            };
            let broken = |error: SplitError| {
                let what = match error {
                    SplitError::Io(error) => error.to_string(),
                    SplitError::Outline { reason, .. } => reason,
                };
                Failure::new(
                    Exit::Unavailable,
                    format!(
                        "the node broke off while its documents were read ({what}); run the same command again"
                    ),
                )
            };
            let documents = Documents::new(pieces, Some(Format::Array))
                .map_err(|error| broken(error.into()))?;
            Ok(Box::new(documents.map(move |raw| {
                let json = raw.map_err(broken)?.bytes;
                let id = json::fields(&json)
                    .find(|(key, _)| key == "_id")
                    .and_then(|(_, value)| json::as_str(value))
                    .map(std::borrow::Cow::into_owned)
                    .ok_or_else(|| {
                        Failure::new(Exit::Unavailable, "the node sent a document without an id")
                    })?;
                Ok((id, json))
            })))
        }
    }
}

/// Fails if a collection of the file has documents that are not the file's.
fn refuse_others(
    options: &ImportAllOptions,
    checked: &Checked,
    target: &Sink,
) -> Result<(), Failure> {
    let mut progress = Progress::bytes("comparing", Some(checked.bytes));
    let mut walk = Walk::new(&options.file, target.clone())?;
    while let Some(met) = walk.next()? {
        let (id, how) = match met {
            Met::Missing(Prepared { raw_bytes, .. }) | Met::Same(raw_bytes) => {
                progress.advance(raw_bytes);
                continue;
            }
            Met::Other(document) => (document.id, "differs from the file's"),
            Met::Extra(id) => (id, "is not in the file"),
        };
        return Err(Failure::new(
            Exit::Exists,
            format!(
                "the collection `{}` has documents already, and `{id}` {how}; nothing was written. Import into another database; or keep what is there with --merge; or make these collections what the file says with --replace",
                walk.collection
            ),
        ));
    }
    progress.finish();
    Ok(())
}

async fn write(
    options: &ImportAllOptions,
    checked: &Checked,
    target: &Sink,
    sinks: &[Sink],
) -> Result<Outcome, Failure> {
    let progress = Arc::new(Mutex::new(Progress::bytes(
        "importing",
        Some(checked.bytes),
    )));
    let notice = Arc::new(Notice::default());
    let (sender, receiver) = mpsc::channel::<Change>(QUEUE);
    let receiver = Arc::new(AsyncMutex::new(receiver));
    let reading = {
        let (file, existing, progress) = (
            options.file.clone(),
            options.existing,
            Arc::clone(&progress),
        );
        let target = target.clone();
        std::thread::spawn(move || read(Walk::new(&file, target)?, existing, &sender, &progress))
    };
    let mut workers = JoinSet::new();
    for sink in sinks {
        workers.spawn(work(
            sink.clone(),
            receiver.clone(),
            progress.clone(),
            notice.clone(),
        ));
    }
    // With the last worker the channel closes, which ends the reading.
    drop(receiver);
    let mut outcome = Outcome::default();
    let mut failure = None;
    while let Some(worked) = workers.join_next().await {
        match worked {
            Ok(Ok(part)) => outcome.add(part),
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
    Ok(outcome)
}

/// Hands on what is to be done. Ends early, without an error, if nobody takes it: then a worker
/// has the error.
fn read(
    mut walk: Walk,
    existing: Existing,
    sender: &mpsc::Sender<Change>,
    progress: &Mutex<Progress>,
) -> Result<(), Failure> {
    let mut batcher = Batcher::default();
    let mut of: Arc<str> = Arc::clone(&walk.collection);
    loop {
        let met = walk.next()?;
        if of != walk.collection || met.is_none() {
            if let Some(batch) = batcher.rest()
                && sender.blocking_send(Change::Create(of, batch)).is_err()
            {
                return Ok(());
            }
            of = Arc::clone(&walk.collection);
        }
        let change = match met {
            None => return Ok(()),
            Some(Met::Same(bytes)) => {
                advance(progress, bytes);
                None
            }
            Some(Met::Missing(document)) => batcher
                .add(document)
                .map(|batch| Change::Create(Arc::clone(&of), batch)),
            // Also where there were none of others a moment ago.
            Some(Met::Other(_) | Met::Extra(_)) if existing != Existing::Replace => None,
            Some(Met::Other(document)) => Some(Change::Put(Arc::clone(&of), document)),
            Some(Met::Extra(id)) => Some(Change::Delete(Arc::clone(&of), id)),
        };
        if let Some(change) = change
            && sender.blocking_send(change).is_err()
        {
            return Ok(());
        }
    }
}

async fn work(
    mut sink: Sink,
    changes: Arc<AsyncMutex<mpsc::Receiver<Change>>>,
    progress: Arc<Mutex<Progress>>,
    notice: Arc<Notice>,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    loop {
        let change = changes.lock().await.recv().await;
        let bytes = match change {
            None => return Ok(outcome),
            Some(Change::Create(collection, batch)) => {
                let tally = sink.create(&collection, &batch, &notice).await?;
                outcome.tally.add(tally);
                batch.iter().map(|document| document.raw_bytes).sum()
            }
            Some(Change::Put(collection, document)) => {
                sink.put(&collection, &document, &notice).await?;
                outcome.replaced += 1;
                document.raw_bytes
            }
            Some(Change::Delete(collection, id)) => {
                sink.delete(&collection, &id, &notice).await?;
                outcome.removed += 1;
                0
            }
        };
        advance(&progress, bytes);
    }
}

fn advance(progress: &Mutex<Progress>, bytes: u64) {
    progress
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .advance(bytes);
}

/// After the documents: one build is less work than an entry with each of them.
async fn make_indexes(checked: &Checked, mut sink: Sink) -> Result<(), Failure> {
    let total: usize = checked
        .outlines
        .iter()
        .map(|outline| outline.indexes.len())
        .sum();
    let mut made = 0;
    let notice = Notice::default();
    for outline in &checked.outlines {
        if let (Sink::Engine(engine), true) = (&sink, outline.indexes.is_empty()) {
            // An empty one too; a node makes a collection with its first document.
            let how = godb_engine::Write::default();
            engine.create_collection(&outline.name, &how)?.wait()?;
        }
        for field in &outline.indexes {
            made += 1;
            let started = Instant::now();
            sink.create_index(&outline.name, field, &notice).await?;
            if started.elapsed() >= SLOW_INDEX {
                eprintln!("index {made} of {total}: `{field}` of `{}`", outline.name);
            }
        }
    }
    Ok(())
}

impl Outcome {
    fn add(&mut self, part: Outcome) {
        self.tally.add(part.tally);
        self.replaced += part.replaced;
        self.removed += part.removed;
    }
}

fn report(checked: &Checked, outcome: &Outcome, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    let Checked {
        outlines,
        lsn,
        documents,
        ..
    } = checked;
    let Outcome {
        tally,
        replaced,
        removed,
    } = outcome;
    eprintln!(
        "imported {documents} documents of {} collections, as they were at LSN {lsn}, in {seconds:.1} s: {} created, {replaced} replaced, {removed} removed, the others were there already",
        outlines.len(),
        tally.created,
    );
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
