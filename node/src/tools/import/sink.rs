//! Where documents go: a running node, or a data directory that this process opens.

use std::sync::{Mutex, PoisonError};
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

/// Between two lines about the same trouble.
const NOTICE_EVERY: Duration = Duration::from_secs(10);

/// Tells a person why nothing seems to happen: once for all connections, and now and then again.
#[derive(Default)]
pub struct Notice {
    next: Mutex<Option<Instant>>,
}

impl Notice {
    /// What to print now, if anything.
    fn line(&self, now: Instant, what: &str) -> Option<String> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.is_some_and(|next| now < next) {
            return None;
        }
        *next = Some(now + NOTICE_EVERY);
        let seconds = PATIENCE.as_secs();
        Some(format!("{what}; trying again for up to {seconds} s"))
    }
}

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
    /// Something that may pass, and how the program ends if it does not.
    Passing(Exit, String),
    /// Something that will not.
    Final(Failure),
}

impl Sink {
    /// Opens the target and makes sure that it is there.
    pub async fn open(target: &Target) -> Result<Self, Failure> {
        match target {
            Target::Directories(database) => {
                let config = database.config();
                let engine = directories::builder(&config).open()?;
                if engine.recovery_report().created {
                    eprintln!("made a new database in {}", config.data_dir.display());
                }
                Ok(Sink::Engine(engine))
            }
            Target::Node(address) => {
                let endpoint = Endpoint::open(&address.url, address.token_file.as_deref())?;
                let mut client = Client::new(endpoint.clone());
                let answer = client
                    .send(Method::GET, "/health", Bytes::new(), false)
                    .await;
                answer.map_err(|error| {
                    Failure::new(
                        Exit::Unavailable,
                        format!("no node answers at {}: {error}", address.url),
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
    pub async fn create(
        &mut self,
        collection: &str,
        batch: &[Prepared],
        notice: &Notice,
    ) -> Result<Tally, Failure> {
        let documents = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            return Ok(Tally::default());
        };
        if batch.len() > 1 {
            if self.create_patiently(collection, batch, notice).await? == Created::Yes {
                return Ok(Tally {
                    created: documents,
                    ..Tally::default()
                });
            }
            // Only this program makes such an id, and only with its whole batch.
            if last.is_made && self.exists_patiently(collection, &last.id, notice).await? {
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
            match self.create_patiently(collection, one, notice).await? {
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

    /// Puts a document in the place of the one that is there, or creates it if that has gone.
    pub async fn put(
        &mut self,
        collection: &str,
        document: &Prepared,
        notice: &Notice,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_put(collection, document).await {
                Ok(Created::Yes) => return Ok(()),
                Ok(Created::Exists) => {
                    let one = std::slice::from_ref(document);
                    if self.create_patiently(collection, one, notice).await? == Created::Yes {
                        return Ok(());
                    }
                }
                Err(trouble) => wait_or_give_up(trouble, deadline, notice).await?,
            }
        }
    }

    /// Removes a document, if it is there.
    pub async fn delete(
        &mut self,
        collection: &str,
        id: &str,
        notice: &Notice,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_delete(collection, id).await {
                Ok(_) => return Ok(()),
                Err(trouble) => wait_or_give_up(trouble, deadline, notice).await?,
            }
        }
    }

    /// Makes an index, if it is not there.
    pub async fn create_index(
        &mut self,
        collection: &str,
        field: &str,
        notice: &Notice,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_create_index(collection, field).await {
                Ok(_) => return Ok(()),
                Err(trouble) => wait_or_give_up(trouble, deadline, notice).await?,
            }
        }
    }

    /// [`Created::Exists`] stands for a document that is not there to be replaced.
    async fn try_put(&mut self, collection: &str, one: &Prepared) -> Result<Created, Trouble> {
        match self {
            Sink::Node { client, .. } => {
                let path = document_path(collection, &one.id);
                let body = Bytes::copy_from_slice(&one.json);
                let sent = client.send(Method::PUT, &path, body, false).await;
                judge(sent.map_err(passing)?, StatusCode::NOT_FOUND)
            }
            Sink::Engine(engine) => {
                let how = write_blocking();
                let begun = engine.replace(collection, &one.id, &one.json, Replace::Upsert, &how);
                judge_engine(engine, wait(begun).await).await
            }
        }
    }

    async fn try_delete(&mut self, collection: &str, id: &str) -> Result<Created, Trouble> {
        match self {
            Sink::Node { client, .. } => {
                let path = document_path(collection, id);
                let sent = client
                    .send(Method::DELETE, &path, Bytes::new(), false)
                    .await;
                judge(sent.map_err(passing)?, StatusCode::NOT_FOUND)
            }
            Sink::Engine(engine) => {
                let outcome = wait(engine.delete(collection, id, &write_blocking())).await;
                match outcome {
                    Err(EngineError::NotFound { .. }) => Ok(Created::Exists),
                    other => judge_engine(engine, other).await,
                }
            }
        }
    }

    async fn try_create_index(
        &mut self,
        collection: &str,
        field: &str,
    ) -> Result<Created, Trouble> {
        match self {
            Sink::Node { client, .. } => {
                let field = utf8_percent_encode(field, NON_ALPHANUMERIC);
                let path = format!("/collections/{collection}/indexes/{field}");
                let sent = client.send(Method::POST, &path, Bytes::new(), false).await;
                judge(sent.map_err(passing)?, StatusCode::CONFLICT)
            }
            Sink::Engine(engine) => {
                let outcome = engine.create_index(collection, field).map(|_| ());
                judge_engine(engine, outcome).await
            }
        }
    }

    async fn create_patiently(
        &mut self,
        collection: &str,
        batch: &[Prepared],
        notice: &Notice,
    ) -> Result<Created, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_create(collection, batch).await {
                Ok(created) => return Ok(created),
                Err(trouble) => wait_or_give_up(trouble, deadline, notice).await?,
            }
        }
    }

    async fn exists_patiently(
        &mut self,
        collection: &str,
        id: &str,
        notice: &Notice,
    ) -> Result<bool, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_exists(collection, id).await {
                Ok(exists) => return Ok(exists),
                Err(trouble) => wait_or_give_up(trouble, deadline, notice).await?,
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
            Ok(()) => Err(Trouble::Passing(Exit::Unavailable, reason.to_owned())),
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
        | StatusCode::REQUEST_TIMEOUT => Err(Trouble::Passing(Exit::Unavailable, what)),
        StatusCode::INSUFFICIENT_STORAGE => Err(Trouble::Passing(Exit::Io, what)),
        _ => Err(Trouble::Final(Failure::new(Exit::Io, what))),
    }
}

fn passing(error: ClientError) -> Trouble {
    match error {
        ClientError::Request(_) => Trouble::Final(Failure::new(Exit::Internal, error.to_string())),
        // The batch may have been written: it is sent again, and then found to exist.
        _ => Trouble::Passing(
            Exit::Unavailable,
            format!("the node does not answer ({error})"),
        ),
    }
}

async fn wait_or_give_up(
    trouble: Trouble,
    deadline: Instant,
    notice: &Notice,
) -> Result<(), Failure> {
    match trouble {
        Trouble::Final(failure) => Err(failure),
        Trouble::Passing(exit, what) if Instant::now() >= deadline => Err(Failure::new(
            exit,
            format!("{what}; run the same command again to go on"),
        )),
        Trouble::Passing(_, what) => {
            if let Some(line) = notice.line(Instant::now(), &what) {
                eprintln!("{line}");
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::client::Answer;

    fn answer(status: StatusCode) -> Trouble {
        let body = Bytes::from_static(b"{\"message\":\"so it is\"}");
        judge(Answer { status, body }, StatusCode::CONFLICT)
            .err()
            .unwrap()
    }

    #[test]
    fn trouble_is_said_at_once_and_then_every_ten_seconds() {
        let notice = Notice::default();
        let start = Instant::now();
        let line = notice.line(start, "the node does not answer (why)");
        let expected = "the node does not answer (why); trying again for up to 60 s";
        assert_eq!(line.as_deref(), Some(expected));
        assert_eq!(notice.line(start + Duration::from_secs(9), "x"), None);
        let later = start + Duration::from_secs(10);
        assert!(notice.line(later, "x").is_some());
        assert_eq!(notice.line(later, "x"), None);
    }

    #[tokio::test]
    async fn trouble_that_stays_ends_with_its_code() {
        let notice = Notice::default();
        for (status, exit) in [
            (StatusCode::INSUFFICIENT_STORAGE, Exit::Io),
            (StatusCode::SERVICE_UNAVAILABLE, Exit::Unavailable),
        ] {
            let before = Instant::now() + Duration::from_secs(1);
            let waited = wait_or_give_up(answer(status), before, &notice).await;
            assert_eq!(waited, Ok(()));
            let failure = wait_or_give_up(answer(status), Instant::now(), &notice)
                .await
                .unwrap_err();
            assert_eq!(failure.exit, exit);
            assert!(failure.message.contains("so it is"), "{}", failure.message);
        }
    }
}
