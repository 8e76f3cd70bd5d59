//! Errors as clients see them: one table from kind to status, and two forms of body.

use std::borrow::Cow;

use bytes::Bytes;
use godb_engine::{EngineError, json};
use godb_store::StoreError;
use hyper::header::{
    ACCEPT, ALLOW, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Method, Response, StatusCode};

use super::body::Body;

/// What a client can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The body is not the JSON it must be.
    InvalidJson,
    /// The request is wrong in another way.
    InvalidRequest,
    /// A collection name, field or id that cannot be one.
    InvalidName,
    /// A JSON object that cannot be a document.
    InvalidDocument,
    /// Filter, limit, offset or cursor.
    InvalidQuery,
    /// A token is needed.
    Unauthorized,
    /// Not on this listener, not without a token.
    Forbidden,
    /// No such document.
    DocumentNotFound,
    /// No such route.
    RouteNotFound,
    /// The route has other methods.
    MethodNotAllowed,
    /// The client stopped in the middle of its request.
    RequestTimeout,
    /// The id, or the name of a snapshot, is taken.
    AlreadyExists,
    /// If-None-Match does not hold.
    PreconditionFailed,
    /// Document or request beyond its limit.
    TooLarge,
    /// The request's target beyond its limit.
    TargetTooLong,
    /// The request's headers beyond their limit.
    HeadTooLarge,
    /// Not JSON.
    UnsupportedMediaType,
    /// Held back for longer than it may take.
    TooManyRequests,
    /// A defect, or data that cannot be read. Details are in the log.
    Internal,
    /// Nothing was written; the node is stopping or can only read.
    Unavailable,
    /// The log failed while the write was in flight.
    OutcomeUnknown,
    /// No such snapshot, or it has no such file.
    SnapshotNotFound,
    /// Somebody reads the snapshot.
    SnapshotInUse,
    /// No such part of a file.
    RangeNotSatisfiable,
    /// The disk is nearly full.
    DiskFull,
}

/// One row: name, status, and whether the same request may succeed later, after so many seconds.
struct Row {
    kind: Kind,
    name: &'static str,
    status: StatusCode,
    retry_after_seconds: Option<&'static str>,
}

const fn row(
    kind: Kind,
    name: &'static str,
    status: StatusCode,
    retry: Option<&'static str>,
) -> Row {
    Row {
        kind,
        name,
        status,
        retry_after_seconds: retry,
    }
}

const INTERNAL: Row = row(
    Kind::Internal,
    "internal",
    StatusCode::INTERNAL_SERVER_ERROR,
    None,
);

/// The table: a row for every kind.
const TABLE: [Row; 25] = [
    row(
        Kind::InvalidJson,
        "invalid_json",
        StatusCode::BAD_REQUEST,
        None,
    ),
    row(
        Kind::InvalidRequest,
        "invalid_request",
        StatusCode::BAD_REQUEST,
        None,
    ),
    row(
        Kind::InvalidName,
        "invalid_name",
        StatusCode::BAD_REQUEST,
        None,
    ),
    row(
        Kind::InvalidDocument,
        "invalid_document",
        StatusCode::BAD_REQUEST,
        None,
    ),
    row(
        Kind::InvalidQuery,
        "invalid_query",
        StatusCode::BAD_REQUEST,
        None,
    ),
    row(
        Kind::Unauthorized,
        "unauthorized",
        StatusCode::UNAUTHORIZED,
        None,
    ),
    row(Kind::Forbidden, "forbidden", StatusCode::FORBIDDEN, None),
    row(
        Kind::DocumentNotFound,
        "document_not_found",
        StatusCode::NOT_FOUND,
        None,
    ),
    row(
        Kind::RouteNotFound,
        "route_not_found",
        StatusCode::NOT_FOUND,
        None,
    ),
    row(
        Kind::MethodNotAllowed,
        "method_not_allowed",
        StatusCode::METHOD_NOT_ALLOWED,
        None,
    ),
    row(
        Kind::RequestTimeout,
        "request_timeout",
        StatusCode::REQUEST_TIMEOUT,
        None,
    ),
    row(
        Kind::AlreadyExists,
        "already_exists",
        StatusCode::CONFLICT,
        None,
    ),
    row(
        Kind::PreconditionFailed,
        "precondition_failed",
        StatusCode::PRECONDITION_FAILED,
        None,
    ),
    row(
        Kind::TooLarge,
        "too_large",
        StatusCode::PAYLOAD_TOO_LARGE,
        None,
    ),
    row(
        Kind::TargetTooLong,
        "target_too_long",
        StatusCode::URI_TOO_LONG,
        None,
    ),
    row(
        Kind::HeadTooLarge,
        "head_too_large",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        None,
    ),
    row(
        Kind::UnsupportedMediaType,
        "unsupported_media_type",
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        None,
    ),
    row(
        Kind::TooManyRequests,
        "too_many_requests",
        StatusCode::TOO_MANY_REQUESTS,
        Some("1"),
    ),
    INTERNAL,
    row(
        Kind::Unavailable,
        "unavailable",
        StatusCode::SERVICE_UNAVAILABLE,
        Some("5"),
    ),
    row(
        Kind::OutcomeUnknown,
        "outcome_unknown",
        StatusCode::SERVICE_UNAVAILABLE,
        Some("5"),
    ),
    row(
        Kind::SnapshotNotFound,
        "snapshot_not_found",
        StatusCode::NOT_FOUND,
        None,
    ),
    row(
        Kind::SnapshotInUse,
        "snapshot_in_use",
        StatusCode::CONFLICT,
        None,
    ),
    row(
        Kind::RangeNotSatisfiable,
        "range_not_satisfiable",
        StatusCode::RANGE_NOT_SATISFIABLE,
        None,
    ),
    row(
        Kind::DiskFull,
        "disk_full",
        StatusCode::INSUFFICIENT_STORAGE,
        Some("30"),
    ),
];

impl Kind {
    fn row(self) -> &'static Row {
        TABLE
            .iter()
            .find(|row| row.kind == self)
            .unwrap_or(&INTERNAL)
    }
}

/// A refusal, ready to be rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// What it is.
    pub kind: Kind,
    /// For people.
    pub message: Cow<'static, str>,
    /// The value of `Allow`, for 405.
    pub allow: Option<String>,
    /// The rest of the request is not waited for: the connection ends with this answer.
    pub closes: bool,
    /// What the log gets and the client does not.
    cause: Option<Cause>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cause {
    text: String,
    is_corruption: bool,
}

/// Whether the error tells of damaged data.
pub fn is_corruption(error: &EngineError) -> bool {
    matches!(error, EngineError::Store(StoreError::Corrupt { .. }))
}

impl ApiError {
    /// A refusal with this message.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            allow: None,
            closes: false,
            cause: None,
        }
    }

    /// Whether damaged data is behind it.
    pub fn is_corruption(&self) -> bool {
        self.cause.as_ref().is_some_and(|cause| cause.is_corruption)
    }

    /// Puts what the client is not told into the log.
    pub fn log(&self, method: &Method, path: &str) {
        if let Some(Cause { text, .. }) = &self.cause {
            tracing::error!(%method, path, error = text, "a request failed");
        }
    }

    /// The same, as the last answer of its connection.
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// The answer, in the form that the request's `Accept` asks for.
    pub fn render(&self, request_headers: &HeaderMap) -> Response<Body> {
        let row = self.kind.row();
        let problem = accepts_problem(request_headers);
        let mut response = Response::new(Body::full(self.json(problem)));
        *response.status_mut() = row.status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(if problem {
                "application/problem+json"
            } else {
                "application/json"
            }),
        );
        if let Some(seconds) = row.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if let Some(allow) = self.allow.as_deref().and_then(|allow| allow.parse().ok()) {
            headers.insert(ALLOW, allow);
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.kind == Kind::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    /// The body: the contract's form, or that of RFC 9457.
    pub fn json(&self, problem: bool) -> Bytes {
        let row = self.kind.row();
        let title = row.status.canonical_reason().unwrap_or("Error");
        let code = row.status.as_u16();
        let mut out = Vec::with_capacity(128 + self.message.len());
        out.push(b'{');
        if problem {
            // RFC 9457; the relative reference leads to the table in the reference manual.
            out.extend(format!("\"type\":\"urn:godb:error:{}\",\"title\":\"{title}\",\"status\":{code},\"detail\":", row.name).bytes());
            json::push_str(&mut out, &self.message);
            out.push(b',');
        }
        out.extend(format!("\"error\":\"{title}\",\"message\":").bytes());
        json::push_str(&mut out, &self.message);
        out.extend(format!(",\"code\":{code}").bytes());
        // The contract has three members. A fourth appears where the status alone does not say
        // whether a write may have happened, and in the form that go-db does not know.
        if problem || row.status == StatusCode::SERVICE_UNAVAILABLE {
            out.extend(format!(",\"reason\":\"{}\"", row.name).bytes());
        }
        out.push(b'}');
        Bytes::from(out)
    }
}

fn accepts_problem(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| {
        value.to_str().is_ok_and(|text| {
            text.to_ascii_lowercase()
                .contains("application/problem+json")
        })
    })
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let kind = match &error {
            EngineError::InvalidJson { .. } => Kind::InvalidJson,
            EngineError::InvalidName { .. } | EngineError::InvalidId { .. } => Kind::InvalidName,
            EngineError::InvalidDocument { .. } => Kind::InvalidDocument,
            EngineError::InvalidQuery { .. } | EngineError::InvalidCursor => Kind::InvalidQuery,
            EngineError::TooLarge { .. } => Kind::TooLarge,
            EngineError::TooMany { .. } => Kind::InvalidRequest,
            EngineError::NotFound { .. } => Kind::DocumentNotFound,
            EngineError::AlreadyExists { .. } | EngineError::DuplicateInBatch { .. } => {
                Kind::AlreadyExists
            }
            EngineError::PreconditionFailed { .. } => Kind::PreconditionFailed,
            EngineError::Busy { .. } => Kind::TooManyRequests,
            EngineError::DiskFull { .. } => Kind::DiskFull,
            EngineError::OutcomeUnknown { .. } => Kind::OutcomeUnknown,
            EngineError::Store(store) => of_store(store),
            _ => Kind::Internal,
        };
        let message = match kind {
            Kind::Internal => Cow::Borrowed("internal error; the log of the node has the details"),
            // The cause names files of the node: it is in the log already, once.
            Kind::OutcomeUnknown => Cow::Borrowed(
                "outcome_unknown: the log failed while this write was in flight; it may or may \
                 not be there after the restart, so read before you write again",
            ),
            Kind::Unavailable => Cow::Borrowed(
                "nothing was written: the node is stopping, or its log failed and it is about to restart",
            ),
            _ => Cow::Owned(for_people(&error)),
        };
        let cause = (kind == Kind::Internal).then(|| Cause {
            text: error.to_string(),
            is_corruption: is_corruption(&error),
        });
        ApiError {
            cause,
            ..ApiError::new(kind, message)
        }
    }
}

/// The error's own words, but sizes in units that people compare.
fn for_people(error: &EngineError) -> String {
    match error {
        EngineError::TooLarge {
            what,
            bytes,
            limit_bytes,
        } => format!(
            "{what} of {bytes} bytes is larger than the limit of {}",
            size(*limit_bytes)
        ),
        EngineError::DiskFull {
            free_bytes,
            reserve_bytes,
        } => format!(
            "the disk is nearly full: {} free, {} in reserve",
            size(*free_bytes),
            size(*reserve_bytes)
        ),
        EngineError::TooMany {
            what: what @ "indexes",
            limit,
            ..
        } => format!("the collection has {limit} {what}, and cannot have more"),
        _ => error.to_string(),
    }
}

/// `16 MiB (16777216 bytes)`.
pub fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes / MIB {
        0 => format!("{bytes} bytes"),
        mib if bytes.is_multiple_of(MIB) => format!("{mib} MiB ({bytes} bytes)"),
        mib => format!("{mib}.{} MiB ({bytes} bytes)", bytes % MIB * 10 / MIB),
    }
}

fn of_store(error: &StoreError) -> Kind {
    match error {
        StoreError::Poisoned { .. } | StoreError::Closed => Kind::Unavailable,
        StoreError::LevelUnavailable { .. } => Kind::InvalidRequest,
        StoreError::Busy { .. } => Kind::TooManyRequests,
        StoreError::DiskFull { .. } => Kind::DiskFull,
        StoreError::TooLarge { .. } => Kind::TooLarge,
        // The reserve was used up by whoever was at work at the same moment.
        error if error.is_no_space() => Kind::DiskFull,
        _ => Kind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_space_is_a_full_disk() {
        let full = StoreError::Io {
            op: "write",
            path: "tables/table-0000000001.sst".into(),
            kind: std::io::ErrorKind::StorageFull,
            message: "No space left on device (os error 28)".to_owned(),
        };
        assert_eq!(ApiError::from(EngineError::from(full)).kind, Kind::DiskFull);
    }

    #[test]
    fn every_kind_has_one_row_and_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = TABLE.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), TABLE.len());
        // Kinds are numbered from 0, and the last one is DiskFull.
        assert_eq!(TABLE.len(), Kind::DiskFull as usize + 1);
        for row in &TABLE {
            assert_eq!(row.kind.row().name, row.name);
        }
    }

    #[test]
    fn only_what_wrote_nothing_is_a_4xx() {
        let unknown = ApiError::from(EngineError::OutcomeUnknown {
            cause: "sync".into(),
        });
        assert_eq!(unknown.kind.row().status.as_u16(), 503);
        assert_eq!(unknown.kind.row().name, "outcome_unknown");
        let full = EngineError::DiskFull {
            free_bytes: 1,
            reserve_bytes: 2,
        };
        assert_eq!(ApiError::from(full).kind.row().status.as_u16(), 507);
    }

    #[test]
    fn the_default_form_is_the_contracts() {
        let error = ApiError::from(EngineError::NotFound { id: "a\"b".into() });
        let text = String::from_utf8(error.json(false).to_vec()).unwrap();
        assert_eq!(
            text,
            r#"{"error":"Not Found","message":"document with id a\"b not found","code":404}"#
        );
    }

    #[test]
    fn the_problem_form_has_the_same_members_inside() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, "application/problem+json".parse().unwrap());
        let response = ApiError::new(Kind::DiskFull, "full").render(&headers);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[RETRY_AFTER], "30");
        let value: serde_json::Value =
            serde_json::from_slice(&ApiError::new(Kind::DiskFull, "full").json(true)).unwrap();
        for (member, expected) in [
            ("status", serde_json::json!(507)),
            ("code", serde_json::json!(507)),
            ("detail", serde_json::json!("full")),
            ("message", serde_json::json!("full")),
            ("title", serde_json::json!("Insufficient Storage")),
        ] {
            assert_eq!(value[member], expected, "{member}");
        }
    }

    #[test]
    fn messages_say_sizes_and_limits_as_people_do() {
        let message = |error| ApiError::from(error).message.into_owned();
        let large = EngineError::TooLarge {
            what: "document",
            bytes: 16_777_217,
            limit_bytes: 16_777_216,
        };
        let expected =
            "document of 16777217 bytes is larger than the limit of 16 MiB (16777216 bytes)";
        assert_eq!(message(large), expected);
        let full = EngineError::DiskFull {
            free_bytes: 1_600_000,
            reserve_bytes: 12,
        };
        let expected = "the disk is nearly full: 1.5 MiB (1600000 bytes) free, 12 bytes in reserve";
        assert_eq!(message(full), expected);
        let indexes = EngineError::TooMany {
            what: "indexes",
            count: 65,
            limit: 64,
        };
        let expected = "the collection has 64 indexes, and cannot have more";
        assert_eq!(message(indexes), expected);
    }

    #[test]
    fn details_of_a_5xx_stay_in_the_log() {
        let error = EngineError::Store(StoreError::corrupt("/secret/path", 1, "x"));
        let rendered = ApiError::from(error);
        assert_eq!(rendered.kind, Kind::Internal);
        assert!(!rendered.message.contains("secret"));
        assert!(rendered.is_corruption());
        assert!(!ApiError::from(EngineError::ViewExpired).is_corruption());
    }
}
