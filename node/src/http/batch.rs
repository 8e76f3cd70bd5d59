//! Many documents in one transaction: all or none.

use godb_engine::{Document, Lsn, json};
use hyper::{Response, StatusCode};

use super::answer::{json_body, list, with_lsn};
use super::body::Body;
use super::error::{ApiError, Kind};
use super::extract::{durability, refuse_preconditions};
use super::{Call, State};

/// Most items of a batch.
const MAX_ITEMS: usize = godb_engine::limits::MAX_BATCH_ITEMS;
/// Levels that the envelope of a batch puts around a document: object, array, operation.
const ENVELOPE_DEPTH: usize = 3;

/// POST /collections/{collection}/batch
pub async fn insert(state: &State, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let collection = call.collection()?;
    refuse_preconditions(&call.parts.headers)?;
    let ack = durability(&call.parts.headers)?;
    let body = call.body;
    check_envelope(&body.bytes)?;
    let ranges = Ranges::of(&body.bytes, documents(&body.bytes)?);
    let name = collection.clone();
    let (documents, lsn) = state
        .bridge
        .write(ack, move |engine, how| {
            let documents: Vec<&[u8]> = ranges.slices(&body.bytes).collect();
            engine.batch_insert(&name, &documents, how)
        })
        .await?;
    let head = format!(
        "{{\"success\":true,\"message\":\"Batch insert completed successfully\",\
         \"inserted_count\":{},\"collection\":\"{collection}\",\"documents\":[",
        documents.len()
    );
    Ok(answer(StatusCode::CREATED, head, &documents, lsn))
}

/// PATCH /collections/{collection}/batch
pub async fn update(state: &State, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let collection = call.collection()?;
    refuse_preconditions(&call.parts.headers)?;
    let ack = durability(&call.parts.headers)?;
    let body = call.body;
    check_envelope(&body.bytes)?;
    let (ids, updates) = operations(&body.bytes)?;
    let ranges = Ranges::of(&body.bytes, updates);
    let name = collection.clone();
    let (documents, lsn) = state
        .bridge
        .write(ack, move |engine, how| {
            let updates = ranges.slices(&body.bytes);
            let operations: Vec<(&str, &[u8])> =
                ids.iter().map(String::as_str).zip(updates).collect();
            engine.batch_update(&name, &operations, how)
        })
        .await?;
    let head = format!(
        "{{\"success\":true,\"message\":\"Batch update completed successfully\",\
         \"updated_count\":{},\"failed_count\":0,\"collection\":\"{collection}\",\"documents\":[",
        documents.len()
    );
    Ok(answer(StatusCode::OK, head, &documents, lsn))
}

/// Faults are reported where they are in the body, not in the item.
fn check_envelope(body: &[u8]) -> Result<(), ApiError> {
    let limits = json::Limits {
        max_depth: json::MAX_DEPTH + ENVELOPE_DEPTH,
    };
    let kind = json::validate(body, &limits).map_err(godb_engine::EngineError::from)?;
    if kind != json::Kind::Object {
        return Err(ApiError::new(
            Kind::InvalidJson,
            "invalid JSON: expected an object at line 1 column 1",
        ));
    }
    Ok(())
}

fn documents(body: &[u8]) -> Result<Vec<&[u8]>, ApiError> {
    items(body, "documents")?
        .into_iter()
        .enumerate()
        .map(|(index, item)| require_object(item, || format!("documents[{index}]")))
        .collect()
}

fn operations(body: &[u8]) -> Result<(Vec<String>, Vec<&[u8]>), ApiError> {
    let mut ids = Vec::new();
    let mut updates = Vec::new();
    for (index, item) in items(body, "operations")?.into_iter().enumerate() {
        let operation = require_object(item, || format!("operations[{index}]"))?;
        let id = member(operation, "id")
            .and_then(json::as_str)
            .ok_or_else(|| invalid(format!("operations[{index}].id must be a string")))?;
        ids.push(id.into_owned());
        let fields = member(operation, "updates").unwrap_or_default();
        updates.push(require_object(fields, || {
            format!("operations[{index}].updates")
        })?);
    }
    Ok((ids, updates))
}

fn items<'a>(body: &'a [u8], name: &'static str) -> Result<Vec<&'a [u8]>, ApiError> {
    let array = member(body, name).ok_or_else(|| invalid(format!("`{name}` is missing")))?;
    if array.first() != Some(&b'[') {
        return Err(invalid(format!("`{name}` must be an array")));
    }
    let items: Vec<&[u8]> = json::items(array).take(MAX_ITEMS + 1).collect();
    if items.is_empty() || items.len() > MAX_ITEMS {
        return Err(invalid(format!(
            "`{name}` must hold 1 to {MAX_ITEMS} items"
        )));
    }
    Ok(items)
}

/// The value of a field of an object; of equal keys the last counts.
fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    json::fields(object)
        .filter(|(key, _)| key == name)
        .last()
        .map(|(_, value)| value)
}

fn require_object(value: &[u8], name: impl Fn() -> String) -> Result<&[u8], ApiError> {
    if value.first() == Some(&b'{') {
        Ok(value)
    } else {
        Err(invalid(format!("{} must be an object", name())))
    }
}

fn invalid(message: String) -> ApiError {
    ApiError::new(Kind::InvalidRequest, message)
}

/// Where items lie in the body: a closure that outlives this call can own the body and these, but
/// not slices of it.
struct Ranges(Vec<(usize, usize)>);

impl Ranges {
    fn of(body: &[u8], slices: Vec<&[u8]>) -> Self {
        let base = body.as_ptr().addr();
        let range = |slice: &[u8]| {
            let start = slice.as_ptr().addr().saturating_sub(base);
            (start, start + slice.len())
        };
        Self(slices.into_iter().map(range).collect())
    }

    fn slices<'a>(&'a self, body: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .map(|&(start, end)| body.get(start..end).unwrap_or_default())
    }
}

fn answer(status: StatusCode, head: String, documents: &[Document], lsn: Lsn) -> Response<Body> {
    let body = list(head.into_bytes(), documents, b"]}");
    with_lsn(json_body(status, body), lsn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_found_where_they_lie() {
        let body = br#" {"x":1, "documents" : [ {"a":1} , {"b":[2]} ] } "#;
        check_envelope(body).unwrap();
        let found = documents(body).unwrap();
        assert_eq!(found, [br#"{"a":1}"#.as_slice(), br#"{"b":[2]}"#]);
        let ranges = Ranges::of(body, found.clone());
        assert_eq!(ranges.slices(body).collect::<Vec<_>>(), found);
    }

    #[test]
    fn of_equal_keys_the_last_counts() {
        let body = br#"{"documents":[1],"document\u0073":[{}]}"#;
        assert_eq!(documents(body).unwrap(), [b"{}"]);
    }

    #[test]
    fn faults_name_the_item() {
        for (body, message) in [
            (r#"{"docs":[]}"#, "`documents` is missing"),
            (r#"{"documents":{}}"#, "`documents` must be an array"),
            (
                r#"{"documents":[]}"#,
                "`documents` must hold 1 to 1000 items",
            ),
            (r#"{"documents":[{},7]}"#, "documents[1] must be an object"),
        ] {
            assert_eq!(documents(body.as_bytes()).unwrap_err().message, message);
        }
        for (body, message) in [
            (
                r#"{"operations":[{"id":7,"updates":{}}]}"#,
                "operations[0].id must be a string",
            ),
            (
                r#"{"operations":[{"id":"a"}]}"#,
                "operations[0].updates must be an object",
            ),
            (r#"{"operations":["a"]}"#, "operations[0] must be an object"),
        ] {
            assert_eq!(operations(body.as_bytes()).unwrap_err().message, message);
        }
        let many = format!("{{\"documents\":[{}{{}}]}}", "{},".repeat(1000));
        assert!(documents(many.as_bytes()).is_err());
        assert!(check_envelope(b"[1]").is_err());
        assert!(
            check_envelope(b"{\"documents\":[}")
                .unwrap_err()
                .message
                .contains("line 1 column")
        );
    }
}
