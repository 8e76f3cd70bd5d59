//! `godb export`: the documents of a collection, as of one moment, into a file or to standard
//! output. A file has its name only when it is complete.

pub mod all;

use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::{Buf, Bytes};
use godb_engine::Filter;
use http_body_util::BodyExt;
use hyper::{Method, StatusCode};

use super::client::{Client, ClientError, Endpoint};
use super::progress::Progress;
use super::split::{Documents, SplitError};
use super::{Directories, ExportOptions, Format, NodeAddress, Target};
use crate::directories;
use crate::exit::{Exit, Failure};
use crate::files;

/// Pieces of the answer that wait to be written.
const QUEUE: usize = 4;

/// Runs the subcommand.
///
/// # Errors
/// A target that does not give documents, or a file that cannot be written.
pub fn run(options: &ExportOptions) -> Result<Exit, Failure> {
    godb_engine::name::check_collection(&options.collection)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    if let Target::Directories(directories) = &options.target {
        directories::require_database(&directories.data_dir)?;
    }
    let mut out = Output::open(options.file.as_deref(), options.format)?;
    let mut progress = Progress::documents("exporting");
    let copied = match &options.target {
        Target::Directories(database) => from_directory(database, options, &mut out, &mut progress),
        Target::Node(address) => from_node(address, options, &mut out, &mut progress),
    };
    progress.finish();
    if let Err(failure) = copied {
        out.discard_if_empty();
        return Err(failure);
    }
    let documents = out.finish()?;
    eprintln!("exported {documents} documents of `{}`", options.collection);
    Ok(Exit::Ok)
}

fn from_directory(
    database: &Directories,
    options: &ExportOptions,
    out: &mut Output,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let engine = directories::builder(&database.config()).open()?;
    if engine.collection(&options.collection)?.is_none() {
        engine.close()?;
        return Err(no_collection(
            options,
            &database.data_dir.display().to_string(),
        ));
    }
    for document in engine.find_stream(&options.collection, &Filter::all())? {
        out.document(&document?.json)?;
        progress.advance(1);
    }
    engine.close()?;
    Ok(())
}

fn from_node(
    address: &NodeAddress,
    options: &ExportOptions,
    out: &mut Output,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let endpoint = Endpoint::open(&address.url, address.token_file.as_deref())?;
    let path = format!("/collections/{}/find_with_stream", options.collection);
    let (sender, receiver) = sync_channel(QUEUE);
    let asked = endpoint.clone();
    let fetching = std::thread::spawn(move || fetch(asked, &path, &sender));
    let copied = copy(receiver, out, progress);
    let fetched = fetching
        .join()
        .map_err(|_| Failure::new(Exit::Internal, "reading the answer failed"))?;
    // What the node said explains more than what is missing for it.
    fetched?;
    copied?;
    // A stream of nothing may be that of a name with a typo in it.
    if out.documents == 0 && !exists(endpoint, &options.collection)? {
        return Err(no_collection(options, &address.url));
    }
    Ok(())
}

fn no_collection(options: &ExportOptions, place: &str) -> Failure {
    let name = &options.collection;
    Failure::new(
        Exit::NoInput,
        format!("there is no collection `{name}` in {place}"),
    )
}

/// Whether the node has the collection: one that is there has at least the index on `_id`.
fn exists(endpoint: Endpoint, collection: &str) -> Result<bool, Failure> {
    let path = format!("/collections/{collection}/indexes");
    let asked = runtime()?.block_on(async {
        Client::new(endpoint)
            .send(Method::GET, &path, Bytes::new(), false)
            .await
    });
    let answer = asked.map_err(|error| no_answer(&error))?;
    let body: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    body.as_ref()
        .filter(|_| answer.status == StatusCode::OK)
        .and_then(|body| body.get("indexes"))
        .and_then(serde_json::Value::as_array)
        .map(|indexes| !indexes.is_empty())
        .ok_or_else(|| {
            let what = format!("the node answers {}: {}", answer.status, answer.message());
            Failure::new(Exit::Unavailable, what)
        })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Io, format!("cannot start: {error}")))
}

fn no_answer(error: &ClientError) -> Failure {
    Failure::new(Exit::Unavailable, format!("no node answers: {error}"))
}

fn copy(
    receiver: Receiver<io::Result<Bytes>>,
    out: &mut Output,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let stream = Pieces {
        receiver,
        piece: Bytes::new(),
    };
    let cut = |error: SplitError| {
        let what = match error {
            SplitError::Io(error) => error.to_string(),
            SplitError::Outline { reason, .. } => reason,
        };
        Failure::new(Exit::Io, format!("the stream of documents was cut: {what}"))
    };
    for document in
        Documents::new(stream, Some(Format::Array)).map_err(|error| cut(error.into()))?
    {
        out.document(&document.map_err(cut)?.bytes)?;
        progress.advance(1);
    }
    Ok(())
}

/// Reads the answer and hands its pieces on. Ends early, without an error, if nobody takes them.
pub(super) fn fetch(
    endpoint: Endpoint,
    path: &str,
    sender: &SyncSender<io::Result<Bytes>>,
) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let mut client = Client::new(endpoint);
        let response = client
            .open(Method::GET, path, Bytes::new(), false)
            .await
            .map_err(|error| no_answer(&error))?;
        if response.status() != StatusCode::OK {
            let what = format!("the node answers {}", response.status());
            return Err(Failure::new(Exit::Unavailable, what));
        }
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let piece = match frame {
                Ok(frame) => frame.into_data().map_err(|_| ()).ok().map(Ok),
                Err(error) => Some(Err(io::Error::other(error))),
            };
            if let Some(piece) = piece
                && sender.send(piece).is_err()
            {
                break;
            }
        }
        Ok(())
    })
}

/// Pieces of a channel as one reader.
pub(super) struct Pieces {
    pub(super) receiver: Receiver<io::Result<Bytes>>,
    pub(super) piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.recv() {
                Ok(piece) => self.piece = piece?,
                Err(_) => return Ok(0),
            }
        }
        let size = self.piece.len().min(buf.len());
        if let Some(target) = buf.get_mut(..size) {
            self.piece.copy_to_slice(target);
        }
        Ok(size)
    }
}

/// Where documents are written.
struct Output {
    writer: Box<dyn Write>,
    format: Format,
    documents: u64,
    /// The file under its temporary name, and its name.
    rename: Option<(PathBuf, PathBuf)>,
}

impl Output {
    fn open(file: Option<&Path>, format: Format) -> Result<Self, Failure> {
        let (writer, rename): (Box<dyn Write>, _) = match file {
            None => (Box::new(BufWriter::new(io::stdout().lock())), None),
            Some(path) if path == Path::new("-") => {
                (Box::new(BufWriter::new(io::stdout().lock())), None)
            }
            Some(path) => {
                let mut part = path.to_owned().into_os_string();
                part.push(".part");
                let part = PathBuf::from(part);
                let file =
                    files::create(&part).map_err(|error| Failure::io("write", &part, &error))?;
                (
                    Box::new(BufWriter::new(file)),
                    Some((part, path.to_owned())),
                )
            }
        };
        Ok(Self {
            writer,
            format,
            documents: 0,
            rename,
        })
    }

    fn document(&mut self, json: &[u8]) -> Result<(), Failure> {
        let before: &[u8] = match (self.format, self.documents) {
            (Format::Array, 0) => b"[\n",
            (Format::Array, _) => b",\n",
            _ => b"",
        };
        self.documents += 1;
        self.write(before)?;
        self.write(json)?;
        if self.format == Format::Array {
            return Ok(());
        }
        self.write(b"\n")
    }

    fn finish(mut self) -> Result<u64, Failure> {
        if self.format == Format::Array {
            let end: &[u8] = if self.documents == 0 {
                b"[]\n"
            } else {
                b"\n]\n"
            };
            self.write(end)?;
        }
        self.writer.flush().map_err(|error| write_failure(&error))?;
        if let Some((part, path)) = &self.rename {
            files::publish(part, path).map_err(|error| Failure::io("write", path, &error))?;
        }
        Ok(self.documents)
    }

    /// A failed export leaves what it has under the temporary name, but not an empty file.
    fn discard_if_empty(self) {
        if self.documents == 0 {
            self.discard();
        }
    }

    fn discard(self) {
        if let Some((part, _)) = &self.rename
            && let Err(error) = files::remove(part)
        {
            eprintln!("cannot remove {}: {error}", part.display());
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer
            .write_all(bytes)
            .map_err(|error| write_failure(&error))
    }
}

fn write_failure(error: &io::Error) -> Failure {
    Failure::new(Exit::Io, format!("cannot write the documents: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use godb_engine::{StorageEngine, Write as EngineWrite};

    fn export(data_dir: &Path, file: &Path, format: Format) -> Result<Exit, Exit> {
        run(&ExportOptions {
            file: Some(file.to_path_buf()),
            collection: "c".to_owned(),
            target: Target::Directories(Directories {
                data_dir: data_dir.to_path_buf(),
                ..Directories::default()
            }),
            format,
        })
        .map_err(|failure| failure.exit)
    }

    #[test]
    fn a_directory_without_a_database_stays_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("out");
        let outcome = export(&root.path().join("missing"), &file, Format::Ndjson);
        assert_eq!(outcome, Err(Exit::NoInput));
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(
            export(empty.path(), &file, Format::Ndjson),
            Err(Exit::NoInput)
        );
        assert!(files::find(&empty.path().join("MANIFEST")).is_err());
        assert!(files::find(&root.path().join("out.part")).is_err());
    }

    #[test]
    fn a_file_holds_every_document_in_its_format() {
        let root = tempfile::tempdir().unwrap();
        let data_dir = root.path().join("data");
        let engine = StorageEngine::builder(&data_dir).open().unwrap();
        for text in ["{\"_id\":\"a\",\"n\":1.10}", "{\"_id\":\"b\"}"] {
            let made = engine
                .insert("c", text.as_bytes(), &EngineWrite::default())
                .unwrap();
            made.wait().unwrap();
        }
        engine.close().unwrap();
        drop(engine);
        let file = root.path().join("out");
        assert_eq!(export(&data_dir, &file, Format::Ndjson), Ok(Exit::Ok));
        let text = files::read_text(&file, 1000).unwrap();
        assert_eq!(text, "{\"_id\":\"a\",\"n\":1.10}\n{\"_id\":\"b\"}\n");
        assert_eq!(export(&data_dir, &file, Format::Array), Ok(Exit::Ok));
        let text = files::read_text(&file, 1000).unwrap();
        assert_eq!(text, "[\n{\"_id\":\"a\",\"n\":1.10},\n{\"_id\":\"b\"}\n]\n");
    }

    #[test]
    fn a_collection_that_is_missing_leaves_an_old_file_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let data_dir = root.path().join("data");
        let engine = StorageEngine::builder(&data_dir).open().unwrap();
        engine.close().unwrap();
        drop(engine);
        let file = root.path().join("out");
        drop(files::create(&file).unwrap().write_all(b"a backup\n"));
        assert_eq!(export(&data_dir, &file, Format::Ndjson), Err(Exit::NoInput));
        assert_eq!(files::read_text(&file, 1000).unwrap(), "a backup\n");
        assert!(files::find(&root.path().join("out.part")).is_err());
    }
}
