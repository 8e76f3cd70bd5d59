//! What a handler needs from a request: decoded names, query pairs, the body. Every refusal is an
//! [`ApiError`].

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use godb_engine::Durability;
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use percent_encoding::percent_decode_str;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::error::{ApiError, Kind, size};

/// Largest request body.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// A body that means nothing is read up to this size, so that its connection can be kept.
const MAX_DISCARDED_BYTES: usize = 64 * 1024 * 1024;
/// Bodies above this size share a budget.
const SMALL_BODY_BYTES: usize = 64 * 1024;
/// What all larger bodies in flight may hold together, in units of [`SMALL_BODY_BYTES`].
pub const BODY_BUDGET_UNITS: usize = 512 * 1024 * 1024 / SMALL_BODY_BYTES;
/// Longest wait for room in the budget.
const BUDGET_TIMEOUT: Duration = Duration::from_secs(10);

/// A parameter of the path, percent-decoded.
pub fn path_parameter(raw: &str) -> Result<Cow<'_, str>, ApiError> {
    decode(raw, "the path")
}

fn decode<'a>(raw: &'a str, what: &'static str) -> Result<Cow<'a, str>, ApiError> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    let well_formed = raw.split('%').skip(1).all(|after| {
        matches!(after.as_bytes(), [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
    });
    if !well_formed {
        return Err(ApiError::new(
            Kind::InvalidRequest,
            format!("{what} has a % that is not followed by two hexadecimal digits"),
        ));
    }
    percent_decode_str(raw).decode_utf8().map_err(|_| {
        ApiError::new(
            Kind::InvalidRequest,
            format!("{what} is not UTF-8 after percent-decoding"),
        )
    })
}

/// Names and values of a query string, in order. `+` is a space, as forms write it.
pub fn query_pairs(query: Option<&str>) -> Result<Vec<(String, String)>, ApiError> {
    let mut pairs = Vec::new();
    for part in query
        .unwrap_or_default()
        .split('&')
        .filter(|part| !part.is_empty())
    {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        pairs.push((query_text(name)?, query_text(value)?));
    }
    Ok(pairs)
}

fn query_text(raw: &str) -> Result<String, ApiError> {
    let spaced = raw.replace('+', " ");
    Ok(decode(&spaced, "the query string")?.into_owned())
}

/// The level that a request asks for by the header `Durability`. It can only be stronger than the
/// instance's.
pub fn durability(headers: &HeaderMap) -> Result<Option<Durability>, ApiError> {
    let Some(value) = headers.get("durability") else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or("?");
    text.parse().map(Some).map_err(|fault: String| {
        ApiError::new(Kind::InvalidRequest, format!("Durability: {fault}"))
    })
}

/// Whether the request says `If-None-Match: *`. Other preconditions are not known yet, and one
/// that is not honoured must not pass for one that held.
pub fn creates_only(headers: &HeaderMap) -> Result<bool, ApiError> {
    refuse_if_match(headers)?;
    match headers.get("if-none-match") {
        None => Ok(false),
        Some(value) if value.as_bytes().trim_ascii() == b"*" => Ok(true),
        Some(_) => Err(ApiError::new(
            Kind::InvalidRequest,
            "If-None-Match takes only * on a write",
        )),
    }
}

/// See [`creates_only`].
pub fn refuse_if_match(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key("if-match") {
        return Err(ApiError::new(
            Kind::InvalidRequest,
            "If-Match is not supported by this version",
        ));
    }
    Ok(())
}

/// Refuses bodies that say they are not JSON.
pub fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let refusal = |what: &str, given: &[u8], remedy: &str| {
        let given = String::from_utf8_lossy(given).into_owned();
        ApiError::new(
            Kind::UnsupportedMediaType,
            format!("{what} `{given}` is not supported: {remedy}"),
        )
    };
    if let Some(value) = headers.get(CONTENT_TYPE)
        && !is_json(value.as_bytes())
    {
        let remedy = "send Content-Type: application/json";
        return Err(refusal("the media type", value.as_bytes(), remedy));
    }
    match headers.get(CONTENT_ENCODING) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"identity") => {
            let remedy = "send the body as it is, without Content-Encoding";
            Err(refusal("the content encoding", value.as_bytes(), remedy))
        }
        _ => Ok(()),
    }
}

fn is_json(value: &[u8]) -> bool {
    if value == b"application/json" {
        return true;
    }
    let Ok(text) = std::str::from_utf8(value) else {
        return false;
    };
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    essence.eq_ignore_ascii_case("application/json")
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

/// How long a body may take to arrive.
#[derive(Clone, Copy, Debug)]
pub struct BodyTimes {
    /// Longest wait for its next piece.
    pub piece: Duration,
    /// Longest time for all of it.
    pub whole: Duration,
}

/// A request body that is still arriving.
pub trait RequestStream: HttpBody<Data = Bytes> + Unpin + Send + 'static {}

impl<B: HttpBody<Data = Bytes> + Unpin + Send + 'static> RequestStream for B {}

/// A request body, and its share of the budget while it is being worked on.
#[derive(Debug, Default)]
pub struct RequestBody {
    /// All of it.
    pub bytes: Bytes,
    _budget: Option<OwnedSemaphorePermit>,
}

/// The whole body. Memory grows with what arrives, never with what a header promises.
pub async fn read_body<B>(
    headers: &HeaderMap,
    body: B,
    budget: &Arc<Semaphore>,
    times: BodyTimes,
) -> Result<RequestBody, ApiError>
where
    B: RequestStream,
{
    let mut body = body;
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    let limit = u64::try_from(MAX_BODY_BYTES).unwrap_or(u64::MAX);
    if announced.is_some_and(|bytes| bytes > limit) {
        return Err(too_large());
    }
    let mut deadline = None;
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut held = None;
    while let Some(piece) = next_piece(&mut body, times, &mut deadline).await? {
        let so_far = rest.len() + first.as_ref().map_or(0, Bytes::len);
        if so_far + piece.len() > MAX_BODY_BYTES {
            return Err(too_large());
        }
        if so_far + piece.len() > SMALL_BODY_BYTES {
            grow_budget(budget, &mut held, so_far + piece.len()).await?;
        }
        match first.take() {
            // The usual case: one piece, and no copy.
            None if rest.is_empty() => first = Some(piece),
            None => rest.extend_from_slice(&piece),
            Some(start) => {
                rest.reserve(start.len() + piece.len());
                rest.extend_from_slice(&start);
                rest.extend_from_slice(&piece);
            }
        }
    }
    Ok(RequestBody {
        bytes: first.unwrap_or_else(|| rest.freeze()),
        _budget: held,
    })
}

/// Reads a body that means nothing and throws it away.
pub fn ignore_body<B: RequestStream>(body: B, times: BodyTimes) {
    if !body.is_end_stream() {
        discard(body, times);
    }
}

/// Takes what is still on its way, while the answer is already being sent.
fn discard<B: RequestStream>(mut body: B, times: BodyTimes) {
    let mut seen = 0;
    let deadline = Instant::now() + times.piece;
    tokio::spawn(async move {
        while seen <= MAX_DISCARDED_BYTES {
            match timeout_at(deadline, body.frame()).await {
                Ok(Some(Ok(frame))) => seen += frame.data_ref().map_or(0, Bytes::len),
                _ => return,
            }
        }
    });
}

async fn next_piece<B: RequestStream>(
    body: &mut B,
    times: BodyTimes,
    deadline: &mut Option<Instant>,
) -> Result<Option<Bytes>, ApiError> {
    loop {
        // Most bodies are there with their head: those need no clock.
        let at_once = poll_fn(|cx| Poll::Ready(Pin::new(&mut *body).poll_frame(cx))).await;
        let frame = match at_once {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let now = Instant::now();
                let whole = *deadline.get_or_insert_with(|| now + times.whole);
                timeout_at(whole.min(now + times.piece), body.frame())
                    .await
                    .map_err(|_| {
                        ApiError::new(
                            Kind::RequestTimeout,
                            "the request's body did not arrive in time",
                        )
                        .closing()
                    })?
            }
        };
        match frame {
            None => return Ok(None),
            Some(Err(_)) => {
                return Err(ApiError::new(
                    Kind::InvalidRequest,
                    "the request's body ended before its end, or is not in well-formed chunks",
                )
                .closing());
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

async fn grow_budget(
    budget: &Arc<Semaphore>,
    held: &mut Option<OwnedSemaphorePermit>,
    bytes: usize,
) -> Result<(), ApiError> {
    let have = held.as_ref().map_or(0, |permit| permit.num_permits());
    let want = bytes.div_ceil(SMALL_BODY_BYTES).saturating_sub(have);
    let Ok(want @ 1..) = u32::try_from(want) else {
        return Ok(());
    };
    let more = tokio::time::timeout(BUDGET_TIMEOUT, budget.clone().acquire_many_owned(want))
        .await
        .ok()
        .and_then(Result::ok)
        .ok_or_else(|| {
            ApiError::new(
                Kind::TooManyRequests,
                "too many large requests at once; nothing was written",
            )
        })?;
    match held {
        Some(permit) => permit.merge(more),
        None => *held = Some(more),
    }
    Ok(())
}

fn too_large() -> ApiError {
    ApiError::new(
        Kind::TooLarge,
        format!(
            "the body is larger than the limit of {}",
            size(u64::try_from(MAX_BODY_BYTES).unwrap_or(u64::MAX))
        ),
    )
    .closing()
}

#[cfg(test)]
mod tests;
