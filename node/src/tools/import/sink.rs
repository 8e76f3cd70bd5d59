//! Where documents go: a running node, or a data directory that this process opens.

use std::time::Duration;

use bytes::Bytes;
use godb_engine::{EngineError, Io, Replace, StorageEngine, Write};
use hyper::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use super::Tally;
use super::prepare::Prepared;
use crate::directories;
use crate::exit::{Exit, Failure};
use crate::tools::Target;
use crate::tools::client::{Client, ClientError, Endpoint};

/// How long a node may be unreachable or busy, for example for a restart.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// One way into a collection.
pub enum Sink {
    /// A connection to a node.
    Node {
        /// Where it is.
        endpoint: Endpoint,
        /// The connection.
        client: Client,
    },
    /// An open engine.
    Engine(StorageEngine),
}

impl Clone for Sink {
    /// Another connection to the same node.
    fn clone(&self) -> Self {
        match self {
            Sink::Node { endpoint, .. } => Sink::Node {
                endpoint: endpoint.clone(),
                client: Client::new(endpoint.clone()),
            },
            Sink::Engine(engine) => Sink::Engine(engine.clone()),
        }
    }
}

/// What became of one try.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Created {
    Yes,
    /// The document, or one of the batch, is there; nothing was written.
    Exists,
}

/// Why a try failed.
enum Trouble {
    /// Something that may pass.
    Passing(String),
    /// Something that will not.
    Final(Failure),
}

impl Sink {
    /// Opens the target and makes sure that it is there.
    pub async fn open(target: &Target) -> Result<Self, Failure> {
        match target {
            Target::Directories(database) => {
                let config = database.config();
                directories::check(&config)?;
                Ok(Sink::Engine(directories::builder(&config).open()?))
            }
            Target::Url(url) => {
                let endpoint =
                    Endpoint::parse(url).map_err(|fault| Failure::new(Exit::Usage, fault))?;
                let mut client = Client::new(endpoint.clone());
                let answer = client
                    .send(Method::GET, "/health", Bytes::new(), false)
                    .await;
                answer.map_err(|error| {
                    Failure::new(
                        Exit::Unavailable,
                        format!("no node answers at {url}: {error}"),
                    )
                })?;
                Ok(Sink::Node { endpoint, client })
            }
        }
    }

    /// Another connection, where several help.
    pub fn another(&self) -> Option<Self> {
        match self {
            Sink::Node { .. } => Some(self.clone()),
            Sink::Engine(_) => None,
        }
    }

    /// Closes the engine, if there is one, with everything on disk.
    pub fn close(&self) -> Result<(), Failure> {
        match self {
            Sink::Node { .. } => Ok(()),
            Sink::Engine(engine) => Ok(engine.close()?),
        }
    }

    /// Creates what is not there yet.
    pub async fn create(&mut self, collection: &str, batch: &[Prepared]) -> Result<Tally, Failure> {
        let documents = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            return Ok(Tally::default());
        };
        if batch.len() > 1 {
            if self.create_patiently(collection, batch).await? == Created::Yes {
                return Ok(Tally {
                    created: documents,
                    ..Tally::default()
                });
            }
            // Only this program makes such an id, and only with its whole batch.
            if last.is_made && self.exists_patiently(collection, &last.id).await? {
                return Ok(Tally {
                    existing: documents,
                    first_existing: Some(first.id.clone()),
                    ..Tally::default()
                });
            }
        }
        let mut tally = Tally::default();
        for document in batch {
            let one = std::slice::from_ref(document);
            match self.create_patiently(collection, one).await? {
                Created::Yes => tally.created += 1,
                Created::Exists => {
                    tally.existing += 1;
                    tally
                        .first_existing
                        .get_or_insert_with(|| document.id.clone());
                }
            }
        }
        Ok(tally)
    }

    async fn create_patiently(
        &mut self,
        collection: &str,
        batch: &[Prepared],
    ) -> Result<Created, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_create(collection, batch).await {
                Ok(created) => return Ok(created),
                Err(trouble) => wait_or_give_up(trouble, deadline).await?,
            }
        }
    }

    async fn exists_patiently(&mut self, collection: &str, id: &str) -> Result<bool, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_exists(collection, id).await {
                Ok(exists) => return Ok(exists),
                Err(trouble) => wait_or_give_up(trouble, deadline).await?,
            }
        }
    }

    async fn try_create(
        &mut self,
        collection: &str,
        batch: &[Prepared],
    ) -> Result<Created, Trouble> {
        match (self, batch) {
            (Sink::Node { client, .. }, [one]) => {
                let path = document_path(collection, &one.id);
                let body = Bytes::copy_from_slice(&one.json);
                let sent = client.send(Method::PUT, &path, body, true).await;
                judge(sent.map_err(passing)?, StatusCode::PRECONDITION_FAILED)
            }
            (Sink::Node { client, .. }, batch) => {
                let path = format!("/collections/{collection}/batch");
                let sent = client
                    .send(Method::POST, &path, batch_body(batch), false)
                    .await;
                judge(sent.map_err(passing)?, StatusCode::CONFLICT)
            }
            (Sink::Engine(engine), [one]) => {
                let how = write_blocking();
                let begun =
                    engine.replace(collection, &one.id, &one.json, Replace::CreateOnly, &how);
                judge_engine(engine, wait(begun).await).await
            }
            (Sink::Engine(engine), batch) => {
                let documents: Vec<&[u8]> = batch.iter().map(|one| one.json.as_slice()).collect();
                let begun = engine.batch_insert(collection, &documents, &write_blocking());
                judge_engine(engine, wait(begun).await).await
            }
        }
    }

    async fn try_exists(&mut self, collection: &str, id: &str) -> Result<bool, Trouble> {
        match self {
            Sink::Node { client, .. } => {
                let path = document_path(collection, id);
                let sent = client.send(Method::GET, &path, Bytes::new(), false).await;
                let answer = sent.map_err(passing)?;
                match answer.status {
                    StatusCode::OK => Ok(true),
                    StatusCode::NOT_FOUND => Ok(false),
                    _ => judge(answer, StatusCode::OK).map(|_| true),
                }
            }
            Sink::Engine(engine) => match engine.get(collection, id, Io::Allow) {
                Ok(found) => Ok(found.is_some()),
                Err(error) => Err(Trouble::Final(error.into())),
            },
        }
    }
}

fn write_blocking() -> Write<'static> {
    Write {
        io: Io::Allow,
        ack: None,
        waker: None,
    }
}

async fn wait<T>(begun: Result<godb_engine::Pending<T>, EngineError>) -> Result<(), EngineError> {
    begun?.await.map(|_| ())
}

async fn judge_engine(
    engine: &StorageEngine,
    outcome: Result<(), EngineError>,
) -> Result<Created, Trouble> {
    match outcome {
        Ok(()) => Ok(Created::Yes),
        Err(
            EngineError::AlreadyExists { .. }
            | EngineError::DuplicateInBatch { .. }
            | EngineError::PreconditionFailed { .. },
        ) => Ok(Created::Exists),
        Err(EngineError::Busy { reason }) => match engine.writable().await {
            Ok(()) => Err(Trouble::Passing(reason.to_owned())),
            Err(error) => Err(Trouble::Final(error.into())),
        },
        Err(error) => Err(Trouble::Final(error.into())),
    }
}

fn judge(answer: crate::tools::client::Answer, exists: StatusCode) -> Result<Created, Trouble> {
    let status = answer.status;
    if status.is_success() {
        return Ok(Created::Yes);
    }
    if status == exists {
        return Ok(Created::Exists);
    }
    let what = format!("the node answers {status}: {}", answer.message());
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::INSUFFICIENT_STORAGE
        | StatusCode::REQUEST_TIMEOUT => Err(Trouble::Passing(what)),
        _ => Err(Trouble::Final(Failure::new(Exit::Io, what))),
    }
}

fn passing(error: ClientError) -> Trouble {
    match error {
        ClientError::Request(_) => Trouble::Final(Failure::new(Exit::Internal, error.to_string())),
        // The batch may have been written: it is sent again, and then found to exist.
        _ => Trouble::Passing(error.to_string()),
    }
}

async fn wait_or_give_up(trouble: Trouble, deadline: Instant) -> Result<(), Failure> {
    match trouble {
        Trouble::Final(failure) => Err(failure),
        Trouble::Passing(what) if Instant::now() >= deadline => Err(Failure::new(
            Exit::Unavailable,
            format!("{what}; run the same command again to go on"),
        )),
        Trouble::Passing(_) => {
            tokio::time::sleep(PAUSE).await;
            Ok(())
        }
    }
}

fn document_path(collection: &str, id: &str) -> String {
    let id = utf8_percent_encode(id, NON_ALPHANUMERIC);
    format!("/collections/{collection}/documents/{id}")
}

fn batch_body(batch: &[Prepared]) -> Bytes {
    let bytes: usize = batch.iter().map(|document| document.json.len() + 1).sum();
    let mut body = Vec::with_capacity(bytes + 32);
    body.extend_from_slice(b"{\"documents\":[");
    for (place, document) in batch.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&document.json);
    }
    body.extend_from_slice(b"]}");
    Bytes::from(body)
}
