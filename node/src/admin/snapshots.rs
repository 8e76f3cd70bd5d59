//! `/admin/snapshots`: taking, listing, reading, verifying and removing snapshots of this node.
//!
//! A snapshot that was made to be carried away is *leased*: it goes when nobody has read it, or said
//! that he wants it, for `snapshot_lease`, and at once when the disk is nearly full. The others stay
//! until they are removed.

mod leases;
mod stream;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use godb_engine::{EngineError, SnapshotOptions, StorageEngine};
use godb_store::{Snapshots, StoreError};
use hyper::header::{
    ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE,
};
use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use self::leases::{Leases, Refused};
pub use self::stream::FileBody;
use self::stream::Pace;
use super::State;
use crate::config::Config;
use crate::http::body::Body;
use crate::http::error::{ApiError, Kind};
use crate::snapshot::{made_name, show};

/// Calls that read whole snapshots at once; each keeps a core busy.
const LONG_CALLS: usize = 2;
/// Longest lease; a holder that is alive renews.
const MAX_LEASE: Duration = Duration::from_secs(24 * 3600);
/// Longest name of a holder, in bytes.
const MAX_HOLDER_BYTES: usize = 128;

/// What the handlers share.
pub struct Desk {
    leases: Arc<Leases>,
    pace: Arc<Pace>,
    long_calls: Semaphore,
}

impl Desk {
    /// With the limits of the configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            leases: Arc::new(Leases::new(config.snapshot_lease)),
            pace: Arc::new(Pace::new(config.snapshot_read_rate)),
            long_calls: Semaphore::new(LONG_CALLS),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    name: Option<String>,
    leased: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lease {
    seconds: u64,
}

fn body_of<'b, T: Deserialize<'b> + Default>(body: &'b [u8]) -> Result<T, ApiError> {
    if body.is_empty() {
        return Ok(T::default());
    }
    parsed(body)
}

fn parsed<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let kind = if error.is_data() {
            Kind::InvalidRequest
        } else {
            Kind::InvalidJson
        };
        ApiError::new(kind, format!("the body is not what it must be: {error}"))
    })
}

/// GET /admin/snapshots: by name.
pub async fn list(state: &State) -> Result<Response<Body>, ApiError> {
    let engine = state.engine()?.clone();
    let listed = blocking(move || {
        show::list(&engine.snapshots())
            .map_err(|failure| ApiError::new(Kind::Internal, failure.message))
    })
    .await?;
    let listed: Vec<Value> = listed.iter().map(show::listed_json).collect();
    Ok(answer(
        state,
        StatusCode::OK,
        [("snapshots", json!(listed))],
    ))
}

/// POST /admin/snapshots: 201 for a new one, 200 for the one that has the name already.
pub async fn create(state: &State, body: &[u8]) -> Result<Response<Body>, ApiError> {
    let engine = state.engine()?.clone();
    let wanted: Wanted = body_of(body)?;
    let name = wanted.name.unwrap_or_else(|| made_name(SystemTime::now()));
    check_name(&name)?;
    let _permit = state.snapshots.long_calls.acquire().await;
    // Reading it takes its time, in which nobody else has to want it.
    let reading = state.snapshots.leases.read(&name).map_err(|_| {
        let message = format!("the snapshot `{name}` is being removed; ask again");
        ApiError::new(Kind::SnapshotInUse, message)
    })?;
    let taking = (name.clone(), wanted.leased);
    let metrics = state.metrics.clone();
    let taken = blocking(move || {
        let (name, is_leased) = taking;
        let snapshots = engine.snapshots();
        if snapshots.contains(&name).map_err(refusal)?
            && snapshots.is_leased(&name).map_err(refusal)? != is_leased
        {
            let is = if is_leased {
                "not leased"
            } else {
                "leased, so it will go"
            };
            let message = format!("there is a snapshot `{name}` already, and it is {is}");
            return Err(ApiError::new(Kind::AlreadyExists, message));
        }
        let taken = engine.create_snapshot(&name, SnapshotOptions { is_leased });
        metrics.store.snapshot_ended(taken.is_ok());
        taken.map_err(refusal)
    })
    .await;
    drop(reading);
    let (snapshot, is_new) = taken?;
    tracing::info!(
        name,
        is_new,
        lsn = snapshot.info.lsn.0,
        leased = wanted.leased,
        "snapshot"
    );
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut response = answer(state, status, show::to_json(&snapshot));
    // A checked name has no character that a header could not have.
    if let Ok(location) = HeaderValue::from_str(&format!("/admin/snapshots/{name}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// GET /admin/snapshots/{name}
pub async fn one(state: &State, name: &str) -> Result<Response<Body>, ApiError> {
    let snapshot = with(state, name, |_, snapshots, name| {
        godb_engine::snapshot(&snapshots, name).map_err(refusal)
    })
    .await?;
    Ok(answer(state, StatusCode::OK, show::to_json(&snapshot)))
}

/// DELETE /admin/snapshots/{name}: 409 while somebody wants it, unless `force=true`.
pub async fn delete(
    state: &State,
    name: &str,
    query: &[(String, String)],
) -> Result<Response<Body>, ApiError> {
    let force = query
        .iter()
        .any(|(key, value)| key == "force" && value == "true");
    with(state, name, |_, _, _| Ok(())).await?;
    remove(state, name, force).await?;
    tracing::info!(name, force, "snapshot removed");
    Ok(answer(state, StatusCode::OK, [("removed", json!(name))]))
}

async fn remove(state: &State, name: &str, force: bool) -> Result<(), ApiError> {
    let leases = Arc::clone(&state.snapshots.leases);
    leases
        .remove(name, force)
        .map_err(|why| refused(name, why))?;
    let (engine, removing) = (state.engine()?.clone(), name.to_owned());
    let removed = blocking(move || engine.delete_snapshot(&removing).map_err(refusal)).await;
    match removed {
        Ok(_) => leases.gone(name),
        Err(_) => leases.stays(name),
    }
    removed.map(|_| ())
}

/// POST /admin/snapshots/{name}/verify: reads every byte and every document of it.
pub async fn verify(state: &State, name: &str) -> Result<Response<Body>, ApiError> {
    let _permit = state.snapshots.long_calls.acquire().await;
    let reading = state
        .snapshots
        .leases
        .read(name)
        .map_err(|why| refused(name, why))?;
    let verified = with(state, name, move |_, snapshots, name| {
        let verified = godb_engine::verify_snapshot(&snapshots, name, &mut |_, _| {});
        drop(reading);
        Ok(verified)
    })
    .await?;
    match verified {
        Ok(snapshot) => {
            let mut body = show::to_json(&snapshot);
            body.insert("whole".to_owned(), json!(true));
            Ok(answer(state, StatusCode::OK, body))
        }
        Err(EngineError::Store(error @ StoreError::Corrupt { .. })) => {
            tracing::error!(name, %error, "a snapshot is damaged");
            let body = [
                ("name", json!(name)),
                ("whole", json!(false)),
                ("fault", json!(error.to_string())),
            ];
            Ok(answer(state, StatusCode::OK, body))
        }
        Err(error) => Err(refusal(error)),
    }
}

/// GET /admin/snapshots/{name}/files: in the order in which a copy writes them.
pub async fn files(state: &State, name: &str) -> Result<Response<Body>, ApiError> {
    let files = with(state, name, |_, snapshots, name| {
        snapshots.carried_files(name).map_err(refusal)
    })
    .await?;
    state.snapshots.leases.touch(name);
    let files: Vec<Value> = files
        .iter()
        .map(|file| json!({"name": file.name, "size_bytes": file.bytes}))
        .collect();
    Ok(answer(state, StatusCode::OK, [("files", json!(files))]))
}

/// GET /admin/snapshots/{name}/files/{file}, all of it or `Range: bytes=FIRST-[LAST]`.
pub async fn file(
    state: &State,
    name: &str,
    file: &str,
    headers: &HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let reading = state
        .snapshots
        .leases
        .read(name)
        .map_err(|why| refused(name, why))?;
    let wanted = file.to_owned();
    let opened = with(state, name, move |_, snapshots, name| {
        snapshots.open_file(name, &wanted).map_err(refusal)
    })
    .await?;
    let Some(opened) = opened else {
        let message = format!("the snapshot `{name}` has no file `{file}`");
        return Err(ApiError::new(Kind::SnapshotNotFound, message));
    };
    let bytes = opened.bytes();
    let range = range(headers, bytes)?;
    let (at, end) = range.unwrap_or((0, bytes));
    let pace = Arc::clone(&state.snapshots.pace);
    let body = FileBody::new(opened, at, end, pace, reading);
    let mut response = Response::new(Body::File(Box::new(body)));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if range.is_some() {
        let value = format!("bytes {at}-{}/{bytes}", end.saturating_sub(1));
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(CONTENT_RANGE, value);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// The first byte and the one after the last, if a part was asked for. Several ranges, other units
/// and suffixes are answered with all of it, which RFC 9110 allows.
fn range(headers: &HeaderMap, bytes: u64) -> Result<Option<(u64, u64)>, ApiError> {
    let asked = headers
        .get(RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.trim().strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'));
    let Some((first, last)) = asked else {
        return Ok(None);
    };
    let Ok(first) = first.parse::<u64>() else {
        return Ok(None);
    };
    let end = match last {
        "" => bytes,
        last => match last.parse::<u64>() {
            Ok(last) if last >= first => last.saturating_add(1).min(bytes),
            _ => return Ok(None),
        },
    };
    if first >= bytes {
        let message = format!("the file has {bytes} bytes, so none from {first} on");
        return Err(ApiError::new(Kind::RangeNotSatisfiable, message));
    }
    Ok(Some((first, end)))
}

/// PUT /admin/snapshots/{name}/leases/{holder}: keeps it for `seconds` from now.
pub async fn renew(
    state: &State,
    name: &str,
    holder: &str,
    body: &[u8],
) -> Result<Response<Body>, ApiError> {
    let wanted: Lease = parsed(body)?;
    let time = Duration::from_secs(wanted.seconds);
    if time.is_zero() || time > MAX_LEASE || holder.len() > MAX_HOLDER_BYTES {
        let message = format!(
            "a lease has 1 to {} seconds, and a holder at most {MAX_HOLDER_BYTES} bytes",
            MAX_LEASE.as_secs()
        );
        return Err(ApiError::new(Kind::InvalidRequest, message));
    }
    with(state, name, |_, _, _| Ok(())).await?;
    let leases = &state.snapshots.leases;
    leases
        .renew(name, holder, time)
        .map_err(|why| refused(name, why))?;
    let body = [
        ("holder", json!(holder)),
        ("seconds", json!(wanted.seconds)),
    ];
    Ok(answer(state, StatusCode::OK, body))
}

/// DELETE /admin/snapshots/{name}/leases/{holder}: wants it no more. One that had none is fine.
pub fn release(state: &State, name: &str, holder: &str) -> Response<Body> {
    let had_one = state.snapshots.leases.release(name, holder);
    answer(state, StatusCode::OK, [("released", json!(had_one))])
}

/// Removes leased snapshots that nobody wants, for as long as the process lives.
pub async fn expire(state: Arc<State>) {
    let every = (state.snapshots.leases.idle() / 10)
        .clamp(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        tokio::time::sleep(every).await;
        let Ok(engine) = state.engine().cloned() else {
            continue;
        };
        let listed = blocking(move || leased(&engine)).await;
        let Ok((names, leased, is_nearly_full)) = listed else {
            continue;
        };
        state.snapshots.leases.keep_only(&names);
        for name in leased {
            let is_abandoned = state.snapshots.leases.is_abandoned(&name);
            if !is_abandoned && !is_nearly_full {
                continue;
            }
            let why = if is_nearly_full {
                "the disk is nearly full"
            } else {
                "nobody read it"
            };
            match remove(&state, &name, is_nearly_full).await {
                Ok(()) => tracing::warn!(name, "leased snapshot dropped: {why}"),
                Err(error) => tracing::warn!(name, error = %error.message, "leased snapshot stays"),
            }
        }
    }
}

/// All names, those of leased snapshots, and whether the disk has no space for them any more.
type Leased = (Vec<String>, Vec<String>, bool);

fn leased(engine: &StorageEngine) -> Result<Leased, ApiError> {
    let snapshots = engine.snapshots();
    let list = snapshots.list().map_err(refusal)?;
    let names: Vec<String> = list.into_iter().map(|(name, _)| name).collect();
    let leased = names
        .iter()
        .filter(|name| snapshots.is_leased(name).unwrap_or(false))
        .cloned()
        .collect();
    Ok((names, leased, engine.stats().refusing_writes))
}

/// Calls `work` on a blocking thread with a snapshot that is there.
async fn with<T: Send + 'static>(
    state: &State,
    name: &str,
    work: impl FnOnce(StorageEngine, Snapshots, &str) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    check_name(name)?;
    let (engine, name) = (state.engine()?.clone(), name.to_owned());
    blocking(move || {
        let snapshots = engine.snapshots();
        if !snapshots.contains(&name).map_err(refusal)? {
            return Err(not_found(&name));
        }
        work(engine, snapshots, &name)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(call)
        .await
        .unwrap_or_else(|error| {
            tracing::error!(%error, "an admin call failed");
            Err(ApiError::new(
                Kind::Internal,
                "the call failed; see the log",
            ))
        })
}

fn check_name(name: &str) -> Result<(), ApiError> {
    godb_store::check_snapshot_name(name).map_err(|_| {
        ApiError::new(
            Kind::InvalidName,
            format!(
                "a snapshot's name has 1 to {} characters of A-Z a-z 0-9 . _ - and begins with none of . -",
                godb_store::MAX_SNAPSHOT_NAME_BYTES
            ),
        )
    })
}

fn not_found(name: &str) -> ApiError {
    ApiError::new(
        Kind::SnapshotNotFound,
        format!("there is no snapshot `{name}`"),
    )
}

fn refused(name: &str, why: Refused) -> ApiError {
    match why {
        Refused::Going => not_found(name),
        Refused::InUse(who) => ApiError::new(
            Kind::SnapshotInUse,
            format!("the snapshot `{name}` is in use: {who}; force=true removes it nevertheless"),
        ),
        Refused::TooMany(limit) => ApiError::new(
            Kind::TooManyRequests,
            format!("{limit} want the snapshot `{name}` already"),
        ),
    }
}

/// An administrator gets the cause.
fn refusal(error: impl Into<EngineError>) -> ApiError {
    super::config::refusal(&error.into())
}

fn answer(
    state: &State,
    status: StatusCode,
    members: impl IntoIterator<Item = (impl Into<String>, Value)>,
) -> Response<Body> {
    let boot_id = ("bootId".to_owned(), json!(state.lifecycle.boot_id()));
    let members = members.into_iter().map(|(key, value)| (key.into(), value));
    super::json(
        status,
        Map::from_iter(std::iter::once(boot_id).chain(members)),
    )
}

#[cfg(test)]
mod tests;
