//! The admin port: metrics, probes and administration, on a thread and runtime of its own so that
//! it answers before recovery, and whatever the document port is doing.

pub mod config;
pub mod health;
mod route;
pub mod snapshots;
pub mod stats;
#[cfg(test)]
mod tests;
pub mod thread;
pub mod token;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use godb_engine::{EngineError, StorageEngine};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value};
use tokio::sync::{Mutex, Semaphore};

use self::config::InForce;
use self::route::Operation;
use self::token::Guard;
use crate::auth::Auth;
use crate::http::body::Body;
use crate::http::error::{ApiError, Kind};
use crate::http::extract::{self, BodyTimes, RequestStream};
use crate::lifecycle::Lifecycle;
use crate::log::{AUDIT, LogControl};
use crate::metrics::Metrics;
use crate::metrics::auth::{Port, Refusal};

/// On every admin answer: tells one life of the process from the next.
const BOOT_ID_HEADER: HeaderName = HeaderName::from_static("x-godb-boot-id");
/// Large request bodies at once.
const BODY_BUDGET_UNITS: usize = 512;

/// What handlers work with.
pub struct State {
    /// The phase of the process.
    pub lifecycle: Arc<Lifecycle>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Changes the log level.
    pub log: LogControl,
    /// The configuration in force; the lock also puts changes in a row.
    pub in_force: Mutex<InForce>,
    engine: OnceLock<StorageEngine>,
    /// Snapshots that somebody wants.
    snapshots: snapshots::Desk,
    guard: Guard,
    auth: Option<Arc<Auth>>,
    body_budget: Arc<Semaphore>,
    body_times: BodyTimes,
}

impl State {
    /// Before the engine is open.
    pub fn new(
        lifecycle: Arc<Lifecycle>,
        metrics: Arc<Metrics>,
        log: LogControl,
        in_force: InForce,
        guard: Guard,
        auth: Option<Arc<Auth>>,
    ) -> Self {
        let snapshots = snapshots::Desk::new(&in_force.config);
        Self {
            snapshots,
            lifecycle,
            metrics,
            log,
            body_times: in_force.config.body_times(),
            in_force: Mutex::new(in_force),
            engine: OnceLock::new(),
            guard,
            auth,
            body_budget: Arc::new(Semaphore::new(BODY_BUDGET_UNITS)),
        }
    }

    /// The engine is open now.
    pub fn set_engine(&self, engine: StorageEngine) {
        // Set once, by `serve`; a second call would have nothing to change.
        let _ = self.engine.set(engine);
    }

    fn engine(&self) -> Result<&StorageEngine, ApiError> {
        self.engine
            .get()
            .ok_or_else(|| ApiError::new(Kind::Unavailable, "the node is recovering"))
    }
}

/// The admin port's routes.
#[derive(Clone)]
pub struct Router {
    state: Arc<State>,
    /// The other end of the connection.
    peer: Option<IpAddr>,
}

/// Builds the router.
pub fn router(state: Arc<State>) -> Router {
    Router { state, peer: None }
}

impl Router {
    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: RequestStream,
    {
        let (parts, body) = request.into_parts();
        let State {
            body_budget,
            body_times,
            ..
        } = &*self.state;
        // Before the body: nobody without leave makes the node read one.
        let admitted = self.admit(&parts);
        let answer = match &admitted {
            Ok(_) => {
                match extract::read_body(&parts.headers, body, body_budget, *body_times).await {
                    Ok(body) => self.dispatch(&parts, &body.bytes).await,
                    Err(error) => Err(error),
                }
            }
            Err(refusal) => {
                extract::ignore_body(body, *body_times);
                Err(refusal.clone())
            }
        };
        let mut response = answer.unwrap_or_else(|error| {
            error.log(&parts.method, parts.uri.path());
            error.render(&parts.headers)
        });
        self.audit(
            &parts,
            admitted.ok().flatten().as_deref(),
            response.status(),
        );
        if let Ok(boot_id) = HeaderValue::from_str(self.state.lifecycle.boot_id()) {
            response.headers_mut().insert(BOOT_ID_HEADER, boot_id);
        }
        response
    }

    /// Lets a request through, and tells who sent it where that is asked for.
    fn admit(&self, parts: &Parts) -> Result<Option<String>, ApiError> {
        let Some(role) = route::find(parts.uri.path()).and_then(|matched| matched.needs) else {
            return Ok(None);
        };
        let State { guard, auth, .. } = &*self.state;
        let admitted = guard.admit(&parts.headers);
        match (auth, guard) {
            (None, Guard::Open) => Ok(Some("anybody on loopback".to_owned())),
            (_, Guard::Token(_) | Guard::TokenHash(_)) if admitted.is_ok() => {
                Ok(Some("the admin token".to_owned()))
            }
            (Some(auth), _) => auth
                .admit_by_name(&parts.headers, role, Port::Admin, self.peer)
                .map(Some),
            (None, _) => {
                let counted = admitted.inspect_err(|refusal| {
                    let has_token = parts.headers.contains_key(AUTHORIZATION);
                    let reason = match refusal.kind {
                        Kind::Forbidden => Refusal::Role,
                        _ if has_token => Refusal::Wrong,
                        _ => Refusal::Missing,
                    };
                    self.state.metrics.auth.refused(Port::Admin, reason);
                });
                counted.map(|()| None)
            }
        }
    }

    /// One line for what somebody changed, or was kept from changing or reading.
    fn audit(&self, parts: &Parts, who: Option<&str>, status: StatusCode) {
        let is_guarded = route::find(parts.uri.path()).is_some_and(|found| found.needs.is_some());
        let only_reads = matches!(parts.method, Method::GET | Method::HEAD);
        let is_refused = matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
        );
        if !is_guarded || only_reads && !is_refused {
            return;
        }
        tracing::info!(
            target: AUDIT,
            audit = true,
            who = who.unwrap_or("nobody we know"),
            peer = self.peer.map(tracing::field::display),
            method = %parts.method,
            path = parts.uri.path(),
            status = status.as_u16(),
            "administration"
        );
    }

    async fn dispatch(&self, parts: &Parts, body: &[u8]) -> Result<Response<Body>, ApiError> {
        let state = &*self.state;
        let path = parts.uri.path();
        let Some(matched) = route::find(path) else {
            let message = format!("there is nothing at {path}");
            return Err(ApiError::new(Kind::RouteNotFound, message));
        };
        let Some(operation) = matched.operation(parts.method.as_str()) else {
            let message = format!("{} is not one of: {}", parts.method, matched.allowed());
            let mut error = ApiError::new(Kind::MethodNotAllowed, message);
            error.allow = Some(matched.allowed());
            return Err(error);
        };
        let query = || extract::query_pairs(parts.uri.query());
        let first = extract::path_parameter(matched.first)?;
        let second = extract::path_parameter(matched.second)?;
        match operation {
            Operation::Metrics => metrics(&self.state).await,
            Operation::Live => Ok(health::live(state)),
            Operation::Started => Ok(health::started(state)),
            Operation::Ready => {
                let verbose = query()?.iter().any(|(name, _)| name == "verbose");
                Ok(health::ready(state, verbose))
            }
            Operation::ShowConfig => Ok(config::show(state).await),
            Operation::ChangeConfig => config::change(state, body).await,
            Operation::Stats => stats::stats(state).await,
            Operation::Checkpoint => checkpoint(state).await,
            Operation::Compact => compact(state).await,
            Operation::ListSnapshots => snapshots::list(state).await,
            Operation::CreateSnapshot => snapshots::create(state, body).await,
            Operation::Snapshot => snapshots::one(state, &first).await,
            Operation::DeleteSnapshot => snapshots::delete(state, &first, &query()?).await,
            Operation::VerifySnapshot => snapshots::verify(state, &first).await,
            Operation::SnapshotFiles => snapshots::files(state, &first).await,
            Operation::SnapshotFile => {
                snapshots::file(state, &first, &second, &parts.headers).await
            }
            Operation::RenewLease => snapshots::renew(state, &first, &second, body).await,
            Operation::ReleaseLease => Ok(snapshots::release(state, &first, &second)),
        }
    }
}

impl crate::server::Service for Router {
    fn of_peer(self, peer: SocketAddr) -> Self {
        Self {
            peer: Some(peer.ip()),
            ..self
        }
    }

    async fn call(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        Ok(self.handle(request).await)
    }
}

/// GET /metrics
async fn metrics(state: &Arc<State>) -> Result<Response<Body>, ApiError> {
    let state = state.clone();
    // Asking the engine may read the catalogue from the disk.
    let rendered = tokio::task::spawn_blocking(move || {
        state.metrics.render(&state.lifecycle, |store| {
            if let Some(engine) = state.engine.get() {
                store.refresh(engine);
            }
        })
    });
    let text = rendered
        .await
        .map_err(|error| error.to_string())
        .and_then(|text| text.map_err(|error| error.to_string()))
        .map_err(|error| {
            tracing::error!(%error, "metrics cannot be rendered");
            ApiError::new(Kind::Internal, "metrics cannot be rendered; see the log")
        })?;
    let mut response = Response::new(Body::full(text));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    Ok(response)
}

/// POST /admin/checkpoint: answers when it is done.
async fn checkpoint(state: &State) -> Result<Response<Body>, ApiError> {
    let engine = state.engine()?.clone();
    let report = blocking(move || engine.checkpoint()).await?;
    Ok(done(state, "lsn", report.lsn.0.into()))
}

/// POST /admin/compact: answers when it is done.
async fn compact(state: &State) -> Result<Response<Body>, ApiError> {
    let engine = state.engine()?.clone();
    blocking(move || engine.compact()).await?;
    Ok(done(state, "compacted", true.into()))
}

fn done(state: &State, what: &str, value: Value) -> Response<Body> {
    let boot_id = Value::from(state.lifecycle.boot_id());
    let body = [("bootId".to_owned(), boot_id), (what.to_owned(), value)];
    json(StatusCode::OK, Map::from_iter(body))
}

/// A call that may block, off the admin thread.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(call).await {
        Ok(outcome) => outcome.map_err(|error| config::refusal(&error)),
        Err(error) => {
            tracing::error!(%error, "an admin call failed");
            Err(ApiError::new(
                Kind::Internal,
                "the call failed; see the log",
            ))
        }
    }
}

fn json(status: StatusCode, body: Map<String, Value>) -> Response<Body> {
    crate::http::answer::json(status, Value::Object(body).to_string())
}
