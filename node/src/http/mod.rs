//! The document port: a router that can be called without a socket, and one file per resource.

pub mod answer;
pub mod batch;
pub mod body;
pub mod documents;
pub mod error;
pub mod extract;
pub mod find;
pub mod health;
pub mod indexes;
pub mod openapi;
pub mod route;
pub mod stream;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use tokio::sync::Semaphore;

use self::body::Body;
use self::error::{ApiError, Kind};
use self::extract::{BodyTimes, RequestBody, RequestStream};
use self::route::{BodyUse, Operation, PathMatch, Route};
use crate::auth::{Auth, Role};
use crate::bridge::Bridge;
use crate::lifecycle::{Lifecycle, Phase};
use crate::metrics::auth::Port;
use crate::metrics::http::HttpMetrics;

/// Streams that may be open at once.
pub const MAX_STREAMS: usize = 64;

/// What handlers work with.
pub struct State {
    /// The engine.
    pub bridge: Bridge,
    /// The phase of the process.
    pub lifecycle: Arc<Lifecycle>,
    /// Where requests are counted.
    pub metrics: Arc<HttpMetrics>,
    /// What larger request bodies may hold together.
    pub body_budget: Arc<Semaphore>,
    /// How long they may take.
    pub body_times: BodyTimes,
    /// Places for streams.
    pub streams: Arc<Semaphore>,
}

/// One request, taken apart: what handlers read.
pub struct Call<'a> {
    /// Method, URI, headers.
    pub parts: &'a Parts,
    /// The path's parameters, percent-encoded.
    pub path: PathMatch<'a>,
    /// The body, empty where it is ignored.
    pub body: RequestBody,
}

impl Call<'_> {
    /// The collection's name.
    pub fn collection(&self) -> Result<String, ApiError> {
        extract::path_parameter(self.path.collection).map(Into::into)
    }

    /// The id or field at the end of the path.
    pub fn last(&self) -> Result<String, ApiError> {
        extract::path_parameter(self.path.last).map(Into::into)
    }
}

/// The document port's routes over an engine.
#[derive(Clone)]
pub struct Router {
    state: Arc<State>,
    /// Who may do what; none: everybody everything.
    auth: Option<Arc<Auth>>,
    /// The other end of the connection.
    peer: Option<IpAddr>,
    /// `/openapi.json`, rendered once.
    openapi: Bytes,
}

/// Builds the router.
pub fn router(
    bridge: Bridge,
    lifecycle: Arc<Lifecycle>,
    metrics: Arc<HttpMetrics>,
    body_times: BodyTimes,
) -> Router {
    Router {
        auth: None,
        peer: None,
        openapi: Bytes::from(openapi::document(false).to_string()),
        state: Arc::new(State {
            bridge,
            lifecycle,
            metrics,
            body_budget: Arc::new(Semaphore::new(extract::BODY_BUDGET_UNITS)),
            body_times,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        }),
    }
}

impl Router {
    /// The same, for those with a token only.
    pub fn guarded_by(self, auth: Arc<Auth>) -> Self {
        Self {
            auth: Some(auth),
            openapi: Bytes::from(openapi::document(true).to_string()),
            ..self
        }
    }

    /// Lets a request through that has the role it needs.
    fn admit(&self, parts: &Parts, needs: Option<Role>) -> Result<(), ApiError> {
        match (&self.auth, needs) {
            (Some(auth), Some(role)) => {
                auth.admit(&parts.headers, role, Port::Documents, self.peer)
            }
            (None, _) | (_, None) => Ok(()),
        }
    }

    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: RequestStream,
    {
        let started = Instant::now();
        let in_flight = self.state.metrics.begin();
        let (parts, body) = request.into_parts();
        let (route, answer) = self.dispatch(&parts, body).await;
        let mut response = answer.unwrap_or_else(|error| {
            error.log(&parts.method, parts.uri.path());
            if error.is_corruption() {
                self.state.metrics.corruption();
            }
            error.render(&parts.headers)
        });
        if self.state.lifecycle.phase() >= Phase::Draining {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let status = response.status();
        in_flight.end(
            route.map(|route| route.operation),
            status,
            started.elapsed(),
        );
        tracing::debug!(
            method = %parts.method,
            path = parts.uri.path(),
            status = status.as_u16(),
            "request"
        );
        response
    }

    async fn dispatch<B>(
        &self,
        parts: &Parts,
        body: B,
    ) -> (Option<&'static Route>, Result<Response<Body>, ApiError>)
    where
        B: RequestStream,
    {
        let Some(path) = route::match_path(parts.uri.path()) else {
            extract::ignore_body(body, self.state.body_times);
            if let Err(refusal) = self.admit(parts, Some(Role::Read)) {
                return (None, Err(refusal));
            }
            let message = format!("there is nothing at {}", parts.uri.path());
            return (None, Err(ApiError::new(Kind::RouteNotFound, message)));
        };
        let Some(route) = route::find(path.template, parts.method.as_str()) else {
            extract::ignore_body(body, self.state.body_times);
            if let Err(refusal) = self.admit(parts, Some(Role::Read)) {
                return (None, Err(refusal));
            }
            let allow = route::allowed(path.template);
            let message = format!("{} is not one of: {allow}", parts.method);
            let mut error = ApiError::new(Kind::MethodNotAllowed, message);
            error.allow = Some(allow);
            return (None, Err(error));
        };
        // Before the body: nobody without leave makes the node read one.
        if let Err(refusal) = self.admit(parts, route.needs) {
            extract::ignore_body(body, self.state.body_times);
            return (Some(route), Err(refusal));
        }
        let read = match route.body {
            BodyUse::Ignored => {
                extract::ignore_body(body, self.state.body_times);
                Ok(RequestBody::default())
            }
            BodyUse::Json => match extract::require_json(&parts.headers) {
                Ok(()) => {
                    let State {
                        body_budget,
                        body_times,
                        ..
                    } = &*self.state;
                    extract::read_body(&parts.headers, body, body_budget, *body_times).await
                }
                Err(refusal) => {
                    extract::ignore_body(body, self.state.body_times);
                    Err(refusal)
                }
            },
        };
        let answer = match read {
            Ok(body) => self.call(route, Call { parts, path, body }).await,
            Err(error) => Err(error),
        };
        (Some(route), answer)
    }

    async fn call(&self, route: &Route, call: Call<'_>) -> Result<Response<Body>, ApiError> {
        let state = &*self.state;
        match route.operation {
            Operation::Health => Ok(health::health(state)),
            Operation::OpenApi => Ok(answer::json(StatusCode::OK, self.openapi.clone())),
            Operation::Insert => documents::insert(state, call).await,
            Operation::Get => documents::get(state, call).await,
            Operation::Update => documents::update(state, call).await,
            Operation::Replace => documents::replace(state, call).await,
            Operation::Delete => documents::delete(state, call).await,
            Operation::BatchInsert => batch::insert(state, call).await,
            Operation::BatchUpdate => batch::update(state, call).await,
            Operation::Find => find::find(state, call).await,
            Operation::FindStream => find::find_with_stream(state, call).await,
            Operation::Export => find::export(state).await,
            Operation::Indexes => indexes::list(state, call).await,
            Operation::CreateIndex => indexes::create(state, call).await,
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

    async fn call(
        &self,
        request: Request<hyper::body::Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        Ok(self.handle(request).await)
    }
}
