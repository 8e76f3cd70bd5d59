//! `godb export --all`: the whole database as of one moment, as [`crate::archive`] draws it.

use std::sync::mpsc::sync_channel;

use bytes::Bytes;

use super::{Output, Pieces, QUEUE, fetch};
use crate::archive::{Lines, Reader};
use crate::directories;
use crate::exit::{Exit, Failure};
use crate::tools::client::Endpoint;
use crate::tools::progress::Progress;
use crate::tools::{Directories, ExportAllOptions, Format, NodeAddress, Target};

/// What was written.
struct Exported {
    lsn: u64,
    collections: u64,
    documents: u64,
}

/// Runs the subcommand.
///
/// # Errors
/// A target that does not give its documents, or a file that cannot be written: then it is not
/// there.
pub fn run(options: &ExportAllOptions) -> Result<Exit, Failure> {
    if let Target::Directories(directories) = &options.target {
        directories::require_database(&directories.data_dir)?;
    }
    let mut out = Output::open(options.file.as_deref(), Format::Ndjson)?;
    let mut progress = Progress::documents("exporting");
    let copied = match &options.target {
        Target::Directories(database) => from_directory(database, &mut out, &mut progress),
        Target::Node(address) => from_node(address, &mut out, &mut progress),
    };
    progress.finish();
    let Exported {
        lsn,
        collections,
        documents,
    } = match copied {
        Ok(exported) => exported,
        Err(failure) => {
            out.discard();
            return Err(failure);
        }
    };
    out.finish()?;
    eprintln!("exported {documents} documents of {collections} collections as of LSN {lsn}");
    Ok(Exit::Ok)
}

fn from_directory(
    database: &Directories,
    out: &mut Output,
    progress: &mut Progress,
) -> Result<Exported, Failure> {
    let engine = directories::builder(&database.config()).open()?;
    let stream = engine.database_stream()?;
    let lsn = stream.lsn();
    let mut lines = Lines::new(lsn, stream);
    for line in lines.by_ref() {
        let line = line?;
        out.write(&line)?;
        progress.advance(is_document(&line));
    }
    let exported = Exported {
        lsn: lsn.0,
        collections: lines.collections(),
        documents: lines.documents(),
    };
    engine.close()?;
    Ok(exported)
}

/// What the node sends is checked as it comes: an answer that was cut is no export.
fn from_node(
    address: &NodeAddress,
    out: &mut Output,
    progress: &mut Progress,
) -> Result<Exported, Failure> {
    let endpoint = Endpoint::open(&address.url, address.token_file.as_deref())?;
    let (sender, receiver) = sync_channel(QUEUE);
    let fetching = std::thread::spawn(move || fetch(endpoint, "/export", &sender));
    let mut reader = Reader::new(
        Pieces {
            receiver,
            piece: Bytes::new(),
        },
        "the node's answer",
    );
    let copied = copy(&mut reader, out, progress);
    // Frees the other thread, if it still has something to hand on.
    let exported = Exported {
        lsn: reader.lsn(),
        collections: reader.collections(),
        documents: reader.documents(),
    };
    drop(reader);
    let fetched = fetching
        .join()
        .map_err(|_| Failure::new(Exit::Internal, "reading the answer failed"))?;
    // What the node said explains more than what is missing for it.
    fetched?;
    match copied {
        Ok(()) => Ok(exported),
        // Nothing of ours is damaged: the stream was.
        Err(failure) if failure.exit == Exit::Corrupt => {
            Err(Failure::new(Exit::Io, failure.message))
        }
        Err(failure) => Err(failure),
    }
}

fn copy(
    reader: &mut Reader<Pieces>,
    out: &mut Output,
    progress: &mut Progress,
) -> Result<(), Failure> {
    while reader.read()?.is_some() {
        out.write(reader.line())?;
        progress.advance(is_document(reader.line()));
    }
    Ok(())
}

fn is_document(line: &[u8]) -> u64 {
    u64::from(line.first() == Some(&b'{'))
}
