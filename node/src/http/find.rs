//! Pages and streams of documents that match a filter.

use std::fmt::Write as _;
use std::sync::Arc;

use godb_engine::{Cursor, EngineError, Filter, Find, Page, PageStart};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use super::answer::{json_body, list};
use super::body::Body;
use super::error::{ApiError, Kind, is_corruption};
use super::extract::query_pairs;
use super::stream::{DocumentBody, source};
use super::{Call, State};
use crate::archive::Lines;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = godb_engine::limits::MAX_PAGE_DOCUMENTS;
/// Every other name in a query string is a filter.
const PAGING: [&str; 4] = ["limit", "offset", "after", "before"];

/// GET /collections/{collection}/find
pub async fn find(state: &State, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let collection = call.collection()?;
    let pairs = query_pairs(call.parts.uri.query())?;
    let query = read_query(&pairs)?;
    let page = state
        .bridge
        .read(move |engine, io| engine.find(&collection, &query, io))
        .await?;
    let body = list(
        b"{\"documents\":[".to_vec(),
        &page.documents,
        tail(&page).as_bytes(),
    );
    Ok(json_body(StatusCode::OK, body))
}

/// GET /collections/{collection}/find_with_stream
pub async fn find_with_stream(state: &State, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let collection = call.collection()?;
    let pairs = query_pairs(call.parts.uri.query())?;
    let filter = filter(&pairs)?;
    let permit = stream_place(state)?;
    let name = collection.clone();
    let stream = state
        .bridge
        .blocking(move |engine| engine.find_stream(&name, &filter))
        .await?;
    let body = DocumentBody::start(source(stream), permit, interrupted(state, collection));
    Ok(json_body(StatusCode::OK, Body::Documents(Box::new(body))))
}

/// GET /export
pub async fn export(state: &State) -> Result<Response<Body>, ApiError> {
    let permit = stream_place(state)?;
    let stream = state
        .bridge
        .blocking(godb_engine::StorageEngine::database_stream)
        .await?;
    let lines = Box::new(Lines::new(stream.lsn(), stream));
    let told = interrupted(state, "(all)".to_owned());
    let body = DocumentBody::start_pieces(lines, permit, told);
    let mut response = Response::new(Body::Documents(Box::new(body)));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    Ok(response)
}

fn stream_place(state: &State) -> Result<OwnedSemaphorePermit, ApiError> {
    state.streams.clone().try_acquire_owned().map_err(|_| {
        ApiError::new(
            Kind::TooManyRequests,
            "too many streams are open; try again when one has ended",
        )
    })
}

/// What to do when a stream has to be cut.
fn interrupted(state: &State, collection: String) -> Arc<dyn Fn(&EngineError) + Send + Sync> {
    let metrics = state.metrics.clone();
    Arc::new(move |error: &EngineError| {
        metrics.stream_interrupted();
        if is_corruption(error) {
            metrics.corruption();
            tracing::error!(%error, %collection, "a stream was cut before its end");
        } else {
            tracing::warn!(%error, %collection, "a stream was cut before its end");
        }
    })
}

fn filter(pairs: &[(String, String)]) -> Result<Filter, ApiError> {
    let conditions = pairs
        .iter()
        .filter(|(name, _)| !PAGING.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), value.as_str()));
    Ok(Filter::from_pairs(conditions)?)
}

fn read_query(pairs: &[(String, String)]) -> Result<Find, ApiError> {
    let limit = match once(pairs, "limit")? {
        None => DEFAULT_LIMIT,
        Some(text) => match text.parse() {
            Ok(limit @ 1..=MAX_LIMIT) => limit,
            _ => {
                return Err(invalid(format!(
                    "limit must be a number from 1 to {MAX_LIMIT}"
                )));
            }
        },
    };
    let offset: Option<u64> = once(pairs, "offset")?
        .map(|text| text.parse())
        .transpose()
        .map_err(|_| invalid("offset must be a number of at least 0"))?;
    let cursor = |text: &str| -> Result<Cursor, ApiError> { Ok(text.parse::<Cursor>()?) };
    let page = match (once(pairs, "after")?, once(pairs, "before")?) {
        (None, None) => PageStart::Offset(offset.unwrap_or(0)),
        (Some(_), Some(_)) => return Err(invalid("after and before exclude each other")),
        _ if offset.unwrap_or(0) != 0 => {
            return Err(invalid("offset and a cursor exclude each other"));
        }
        (Some(after), None) => PageStart::After(cursor(after)?),
        (None, Some(before)) => PageStart::Before(cursor(before)?),
    };
    Ok(Find {
        filter: filter(pairs)?,
        limit,
        total: matches!(page, PageStart::Offset(_)),
        page,
    })
}

fn once<'a>(pairs: &'a [(String, String)], name: &str) -> Result<Option<&'a str>, ApiError> {
    let mut values = pairs.iter().filter(|(key, _)| key == name);
    let first = values.next();
    if values.next().is_some() {
        return Err(invalid(format!("{name} is given more than once")));
    }
    Ok(first.map(|(_, value)| value.as_str()))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(Kind::InvalidQuery, message.into())
}

fn tail(page: &Page) -> String {
    let mut out = format!(
        "],\"has_next\":{},\"has_prev\":{}",
        page.has_next, page.has_prev
    );
    // Writing to a String cannot fail, and a cursor's text needs no escaping.
    if let Some(cursor) = &page.next_cursor {
        let _ = write!(out, ",\"next_cursor\":\"{cursor}\"");
    }
    if let Some(cursor) = &page.prev_cursor {
        let _ = write!(out, ",\"prev_cursor\":\"{cursor}\"");
    }
    if let Some(total) = page.total {
        let _ = write!(out, ",\"total\":{total}");
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Find, ApiError> {
        read_query(&query_pairs(Some(query)).unwrap())
    }

    #[test]
    fn paging_has_defaults_and_bounds() {
        let find = read("").unwrap();
        assert_eq!(find.limit, 50);
        assert!(find.total);
        assert!(matches!(find.page, PageStart::Offset(0)));
        assert_eq!(read("limit=1000&offset=7").unwrap().limit, 1000);
        for query in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=x",
            "limit=",
            "limit=1&limit=1",
            "offset=-1",
            "offset=1.5",
            "after=nonsense",
            "before=",
            "after=a&before=b",
            "limit=5000000000000",
        ] {
            assert_eq!(
                read(query).err().unwrap().kind,
                Kind::InvalidQuery,
                "{query}"
            );
        }
    }

    #[test]
    fn the_tail_gives_only_what_there_is() {
        let page = Page {
            documents: Vec::new(),
            has_next: false,
            has_prev: true,
            next_cursor: None,
            prev_cursor: None,
            total: Some(3),
        };
        assert_eq!(
            tail(&page),
            r#"],"has_next":false,"has_prev":true,"total":3}"#
        );
    }
}
