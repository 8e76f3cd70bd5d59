//! A bucket, call by call. Errors are those of a file system with the words of a bucket, so that
//! whoever reads snapshots need not know where they lie.

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore as _, ObjectStoreExt as _, PutMode,
    PutOptions, PutPayload, RetryConfig, WriteMultipart,
};
use tokio::runtime::Runtime;

use super::Address;
use super::http::Transport;
use crate::exit::{Exit, Failure};

/// How often a request is repeated that may succeed the next time.
const MAX_RETRIES: usize = 4;
/// How long after the first try it is still repeated.
const RETRY_FOR: Duration = Duration::from_secs(60);
/// Longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Objects from this size on go in parts of it.
const PART_BYTES: u64 = 8 * 1024 * 1024;
/// Parts that an object may have; S3 allows 10,000.
const MAX_PARTS: u64 = 9_000;
/// Parts of one object on their way at once.
const MAX_PARTS_IN_FLIGHT: usize = 4;

/// An object of the bucket, below the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name without the prefix.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Changes with its content.
    pub tag: String,
    /// Seconds since 1970 by the clock of the storage.
    pub changed_at: i64,
}

/// A bucket and a prefix in it.
pub struct Bucket {
    runtime: Runtime,
    store: Arc<AmazonS3>,
    prefix: Key,
    name: String,
    endpoint: String,
}

/// An object on its way.
pub struct Upload<'b> {
    bucket: &'b Bucket,
    name: String,
    sending: Sending,
}

enum Sending {
    Whole(Vec<u8>),
    Parts(WriteMultipart),
}

impl Bucket {
    /// Connects with the first request.
    pub fn open(address: &Address) -> Result<Self, Failure> {
        let endpoint = address
            .endpoint
            .clone()
            .unwrap_or_else(|| format!("https://s3.{}.amazonaws.com", address.region));
        let is_tls = endpoint.starts_with("https://");
        let transport = Transport::new(is_tls, address.ca_file.as_deref())?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&address.bucket)
            .with_region(&address.region)
            .with_access_key_id(&address.access_key)
            .with_secret_access_key(&address.secret_key)
            .with_virtual_hosted_style_request(!address.path_style)
            .with_allow_http(!is_tls)
            .with_client_options(ClientOptions::new().with_allow_http(!is_tls))
            .with_checksum_algorithm(Checksum::SHA256)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_disable_bulk_delete(true)
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: Duration::from_millis(200),
                    max_backoff: MAX_PAUSE,
                    base: 2.0,
                },
                max_retries: MAX_RETRIES,
                retry_timeout: RETRY_FOR,
            })
            .with_http_connector(transport);
        if address.endpoint.is_some() {
            builder = builder.with_endpoint(host_of(&endpoint, address));
        }
        if let Some(token) = &address.session_token {
            builder = builder.with_token(token);
        }
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::Usage, format!("no bucket can be had so: {error}"))
        };
        // Parts are sent while the source is read.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| wrong(&error))?;
        Ok(Self {
            runtime,
            store: Arc::new(builder.build().map_err(|error| wrong(&error))?),
            prefix: Key::parse(&address.prefix).map_err(|error| wrong(&error))?,
            name: address.bucket.clone(),
            endpoint,
        })
    }

    fn key(&self, name: &str) -> Key {
        self.prefix.clone().join(name)
    }

    /// All objects right below the prefix.
    pub fn list(&self) -> io::Result<Vec<Object>> {
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let listed = self
            .runtime
            .block_on(self.store.list_with_delimiter(prefix));
        let listed = listed.map_err(|error| self.error("list", "", &error))?;
        let objects = listed.objects.into_iter().filter_map(|meta| {
            Some(Object {
                name: meta.location.filename()?.to_owned(),
                bytes: meta.size,
                tag: meta.e_tag.unwrap_or_default(),
                changed_at: meta.last_modified.timestamp(),
            })
        });
        Ok(objects.collect())
    }

    /// The size of an object.
    pub fn size(&self, name: &str) -> io::Result<u64> {
        let key = self.key(name);
        let head = self.runtime.block_on(self.store.head(&key));
        Ok(head.map_err(|error| self.error("find", name, &error))?.size)
    }

    /// Bytes of an object.
    pub fn read(&self, name: &str, range: std::ops::Range<u64>) -> io::Result<Bytes> {
        let key = self.key(name);
        let read = self.runtime.block_on(self.store.get_range(&key, range));
        read.map_err(|error| self.error("read", name, &error))
    }

    /// Puts a small object, in place of the one that is there.
    pub fn put(&self, name: &str, content: Vec<u8>) -> io::Result<()> {
        self.put_as(name, content.into(), PutMode::Overwrite)
            .map_err(|error| self.error("write", name, &error))
    }

    /// Puts a small object where none of its name is; `false` if there is one.
    pub fn put_new(&self, name: &str, content: Vec<u8>) -> io::Result<bool> {
        match self.put_as(name, content.into(), PutMode::Create) {
            Ok(()) => Ok(true),
            Err(Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(self.error("write", name, &error)),
        }
    }

    fn put_as(&self, name: &str, content: PutPayload, mode: PutMode) -> Result<(), Error> {
        let key = self.key(name);
        let put = self.store.put_opts(&key, content, PutOptions::from(mode));
        self.runtime.block_on(put).map(|_| ())
    }

    /// Removes an object; one that is not there is fine.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let key = self.key(name);
        match self.runtime.block_on(self.store.delete(&key)) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error("remove", name, &error)),
        }
    }

    /// Begins to send an object of this size.
    pub fn upload(&self, name: &str, bytes: u64) -> io::Result<Upload<'_>> {
        let sending = if bytes <= PART_BYTES {
            Sending::Whole(Vec::new())
        } else {
            let key = self.key(name);
            let begun = self.runtime.block_on(self.store.put_multipart(&key));
            let begun = begun.map_err(|error| self.error("write", name, &error))?;
            let part = PART_BYTES.max(bytes / MAX_PARTS);
            let part = usize::try_from(part).map_err(io::Error::other)?;
            Sending::Parts(WriteMultipart::new_with_chunk_size(begun, part))
        };
        Ok(Upload {
            bucket: self,
            name: name.to_owned(),
            sending,
        })
    }

    /// What went wrong, and whose turn it is.
    fn error(&self, doing: &str, name: &str, error: &Error) -> io::Error {
        let mut words = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let more = cause.to_string();
            if !words.contains(&more) {
                words = format!("{words}: {more}");
            }
            source = cause.source();
        }
        let says = |codes: &[&str]| codes.iter().any(|code| words.contains(code));
        let at = format!("bucket `{}` at {}", self.name, self.endpoint);
        let (kind, what) = if says(&["NoSuchBucket", "NoSuchUpload"]) {
            (ErrorKind::NotADirectory, format!("there is no {at}"))
        } else if says(&[
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "InvalidClientTokenId",
            "InvalidToken",
            "ExpiredToken",
            "AuthFailure",
        ]) || matches!(error, Error::Unauthenticated { .. })
        {
            (
                ErrorKind::PermissionDenied,
                format!("{at} does not know these credentials"),
            )
        } else if says(&["XMinioStorageFull", "QuotaExceeded", "507 Insufficient"]) {
            (ErrorKind::StorageFull, format!("{at} is full"))
        } else if matches!(error, Error::PermissionDenied { .. }) || says(&["AccessDenied"]) {
            (
                ErrorKind::PermissionDenied,
                format!("these credentials may not {doing} in {at}"),
            )
        } else if matches!(error, Error::NotFound { .. }) {
            (ErrorKind::NotFound, format!("{at} has no object `{name}`"))
        } else if says(&["501 Not Implemented", "NotImplemented"]) {
            (
                ErrorKind::Unsupported,
                format!("{at} cannot do what is asked (conditional puts are needed)"),
            )
        } else if says(&[
            "HTTP error",
            "client error",
            "Timeout",
            "deadline",
            "error 5",
            "code: 5",
        ]) {
            (
                ErrorKind::ConnectionRefused,
                format!("no answer from {at} after {MAX_RETRIES} retries"),
            )
        } else {
            (ErrorKind::Other, format!("cannot {doing} `{name}` in {at}"))
        };
        io::Error::new(kind, format!("{what} ({})", one_line(&words)))
    }
}

/// The endpoint as the client wants it: with the bucket in it unless that comes in the path.
fn host_of(endpoint: &str, address: &Address) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    match endpoint.split_once("://") {
        Some((scheme, host)) if !address.path_style => {
            format!("{scheme}://{}.{host}", address.bucket)
        }
        _ => endpoint.to_owned(),
    }
}

/// Answers are XML over several lines, and may be long.
fn one_line(words: &str) -> String {
    let words: Vec<&str> = words.split_whitespace().collect();
    words.join(" ").chars().take(600).collect()
}

impl Upload<'_> {
    /// Adds to the end.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match &mut self.sending {
            Sending::Whole(content) => content.extend_from_slice(piece),
            Sending::Parts(parts) => {
                let runtime = &self.bucket.runtime;
                let room = runtime.block_on(parts.wait_for_capacity(MAX_PARTS_IN_FLIGHT));
                room.map_err(|error| self.bucket.error("write", &self.name, &error))?;
                let _in_runtime = runtime.enter();
                parts.write(piece);
            }
        }
        Ok(())
    }

    /// Makes it an object.
    pub fn finish(self) -> io::Result<()> {
        match self.sending {
            Sending::Whole(content) => self.bucket.put(&self.name, content),
            Sending::Parts(parts) => {
                let done = self.bucket.runtime.block_on(parts.finish());
                done.map(|_| ())
                    .map_err(|error| self.bucket.error("write", &self.name, &error))
            }
        }
    }

    /// Takes back what was sent of it. What cannot be taken back is no object either.
    pub fn abandon(self) {
        if let Sending::Parts(parts) = self.sending {
            self.bucket.runtime.block_on(parts.abort()).ok();
        }
    }
}
