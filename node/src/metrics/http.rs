//! Requests of the document port. The label `route` is the template, never a path.

use std::time::Duration;

use hyper::StatusCode;
use prometheus::{Histogram, IntCounter, IntGauge, Result};

use super::Maker;
use crate::http::route::{Operation, ROUTES, label};

/// Every status the document port answers with.
const STATUSES: [u16; 17] = [
    200, 201, 204, 400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 429, 500, 503, 507,
];
/// Refusals that tell of a limit rather than of a wrong request, and their reason.
const REJECTIONS: [(u16, &str); 4] = [
    (413, "too_large"),
    (429, "busy"),
    (503, "unavailable"),
    (507, "disk_full"),
];

/// Counters with their handles resolved: by route, then by status.
pub struct HttpMetrics {
    routes: Vec<RouteMetrics>,
    rejections: Vec<(u16, IntCounter)>,
    in_flight: IntGauge,
    cancelled: IntCounter,
    streams_interrupted: IntCounter,
    corruption: IntCounter,
}

struct RouteMetrics {
    by_status: Vec<(u16, IntCounter)>,
    duration: Histogram,
}

impl HttpMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Result<Self> {
        let requests = make.counters(
            "godb_http_requests_total",
            "Requests that were answered.",
            &["route", "method", "status"],
        )?;
        let durations = make.duration_vec(
            "godb_http_request_duration_seconds",
            "From the request's head to the answer's head.",
            &["route", "method"],
        )?;
        let rejected = make.counters(
            "godb_http_requests_rejected_total",
            "Requests refused because of a limit or the node's state.",
            &["reason"],
        )?;
        let operations = ROUTES
            .iter()
            .map(|route| Some(route.operation))
            .chain([None]);
        let routes = operations
            .map(|operation| {
                let (route, method) = label(operation);
                let by_status = |status: u16| {
                    let code = status.to_string();
                    (
                        status,
                        requests.with_label_values(&[route, method, code.as_str()]),
                    )
                };
                RouteMetrics {
                    by_status: STATUSES.into_iter().map(by_status).collect(),
                    duration: durations.with_label_values(&[route, method]),
                }
            })
            .collect();
        let rejection = |(status, reason)| (status, rejected.with_label_values(&[reason]));
        Ok(Self {
            routes,
            rejections: REJECTIONS.into_iter().map(rejection).collect(),
            in_flight: make.gauge(
                "godb_http_requests_in_flight",
                "Requests that are being worked on.",
            )?,
            cancelled: make.counter(
                "godb_http_requests_cancelled_total",
                "Requests whose client went away before the answer.",
            )?,
            streams_interrupted: make.counter(
                "godb_http_streams_interrupted_total",
                "Streams that were cut before their end, by a failed read or an expired view.",
            )?,
            corruption: make.counter(
                "godb_corruption_total",
                "Requests and streams of documents that met damaged data; the log names the place.",
            )?,
        })
    }

    /// A request has begun.
    pub fn begin(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight {
            metrics: self,
            ended: false,
        }
    }

    /// Damaged data was met.
    pub fn corruption(&self) {
        self.corruption.inc();
    }

    /// A stream had to be cut.
    pub fn stream_interrupted(&self) {
        self.streams_interrupted.inc();
    }
}

/// A request that is being worked on.
pub struct InFlight<'a> {
    metrics: &'a HttpMetrics,
    ended: bool,
}

impl InFlight<'_> {
    /// It has its answer.
    pub fn end(mut self, operation: Option<Operation>, status: StatusCode, took: Duration) {
        self.ended = true;
        let routes = &self.metrics.routes;
        let place = operation.map_or(routes.len().saturating_sub(1), |operation| {
            operation as usize
        });
        let status = status.as_u16();
        if let Some(route) = routes.get(place) {
            increment(&route.by_status, status);
            route.duration.observe(took.as_secs_f64());
        }
        if status >= 400 {
            increment(&self.metrics.rejections, status);
        }
    }
}

fn increment(counters: &[(u16, IntCounter)], status: u16) {
    if let Some((_, counter)) = counters.iter().find(|(known, _)| *known == status) {
        counter.inc();
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        if !self.ended {
            self.metrics.cancelled.inc();
        }
    }
}
