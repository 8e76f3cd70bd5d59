//! A document on its way in: checked, normalized, with its id.

use bytes::Bytes;
use godb_store::Lsn;

use crate::error::{EngineError, Result};
use crate::id;
use crate::json::{self, Limits};
use crate::limits::MAX_DOCUMENT_BYTES;

/// A stored document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its id, UTF-8.
    pub id: Bytes,
    /// The transaction that wrote it: what an ETag is made of.
    pub lsn: Lsn,
    /// One line of JSON with the field `_id`, as [`json::normalize`] describes.
    pub json: Bytes,
}

/// What a caller sent, ready to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) id: Bytes,
    pub(crate) json: Bytes,
}

/// Bytes that a generated `_id` adds to a document: `"_id":"…",`.
const GENERATED_FIELD_BYTES: usize = 9 + id::GENERATED_BYTES;

impl Incoming {
    /// A new document; without an `_id` it gets one, as its first field.
    pub(crate) fn new(document: &[u8]) -> Result<Self> {
        check_size("document", document.len())?;
        let parsed = json::normalize_document(document, &Limits::default(), GENERATED_FIELD_BYTES)?;
        let mut json = parsed.json;
        let id = match parsed.id {
            Some(range) => Bytes::from(id_text(json.get(range).unwrap_or_default())?),
            None => {
                let generated = id::generate();
                with_id_in_front(&mut json, &generated);
                Bytes::copy_from_slice(&generated)
            }
        };
        Self::checked(id, json)
    }

    /// The document that is to be stored under `id`. It may repeat its id, but not name another.
    pub(crate) fn replacing(id: &str, document: &[u8]) -> Result<Self> {
        check_size("document", document.len())?;
        let mut quoted = Vec::with_capacity(id.len() + 2);
        json::push_str(&mut quoted, id);
        let extra_bytes = quoted.len() + 7;
        let parsed = json::normalize_document(document, &Limits::default(), extra_bytes)?;
        let mut json = parsed.json;
        match parsed.id {
            Some(range) => check_same_id(id, json.get(range).unwrap_or_default())?,
            None => insert_field_in_front(&mut json, &quoted),
        }
        Self::checked(Bytes::copy_from_slice(id.as_bytes()), json)
    }

    fn checked(id: Bytes, json: Vec<u8>) -> Result<Self> {
        check_size("document", json.len())?;
        Ok(Self {
            id,
            json: own_memory(json),
        })
    }
}

/// Fields that are to be set in the document `id`: normalized, and not naming another id.
pub(crate) fn incoming_fields(id: &str, fields: &[u8]) -> Result<Vec<u8>> {
    check_size("document", fields.len())?;
    let parsed = json::normalize_document(fields, &Limits::default(), 0)?;
    if let Some(range) = parsed.id {
        check_same_id(id, parsed.json.get(range).unwrap_or_default())?;
    }
    Ok(parsed.json)
}

/// Fails for a document that is too large to be stored.
pub(crate) fn check_size(what: &'static str, bytes: usize) -> Result<()> {
    if bytes <= MAX_DOCUMENT_BYTES {
        return Ok(());
    }
    Err(EngineError::TooLarge {
        what,
        bytes: bytes as u64,
        limit_bytes: MAX_DOCUMENT_BYTES as u64,
    })
}

/// Memory that is not larger than the bytes in it: it may be kept for a long time.
pub(crate) fn own_memory(json: Vec<u8>) -> Bytes {
    Bytes::from(json.into_boxed_slice())
}

fn id_text(raw: &[u8]) -> Result<String> {
    let Some(text) = json::as_str(raw) else {
        return Err(EngineError::InvalidDocument {
            reason: "`_id` must be a string".to_owned(),
        });
    };
    id::check(&text)?;
    Ok(text.into_owned())
}

fn check_same_id(id: &str, raw: &[u8]) -> Result<()> {
    if id_text(raw)? == id {
        return Ok(());
    }
    Err(EngineError::InvalidDocument {
        reason: format!("`_id` in the body differs from the document's id `{id}`"),
    })
}

fn with_id_in_front(json: &mut Vec<u8>, id: &[u8]) {
    let mut quoted = Vec::with_capacity(id.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(id);
    quoted.push(b'"');
    insert_field_in_front(json, &quoted);
}

fn insert_field_in_front(json: &mut Vec<u8>, quoted_id: &[u8]) {
    let comma: &[u8] = if json.as_slice() == b"{}" { b"" } else { b"," };
    let field = b"\"_id\":".iter().chain(quoted_id).chain(comma).copied();
    json.splice(1..1, field);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_id_is_kept_or_made() {
        let kept = Incoming::new(br#"{"a":1, "_id":"x\u0079"}"#).unwrap();
        assert_eq!(
            (text(&kept.id), text(&kept.json)),
            ("xy", r#"{"a":1,"_id":"x\u0079"}"#)
        );
        let made = Incoming::new(br#"{ "a" : 1 }"#).unwrap();
        assert_eq!(
            text(&made.json),
            format!(r#"{{"_id":"{}","a":1}}"#, text(&made.id))
        );
        let empty = Incoming::new(b"{}").unwrap();
        assert_eq!(
            text(&empty.json),
            format!(r#"{{"_id":"{}"}}"#, text(&empty.id))
        );
        let placed = Incoming::replacing("a\"b", br#"{"x":1}"#).unwrap();
        assert_eq!(text(&placed.json), r#"{"_id":"a\"b","x":1}"#);
    }

    #[test]
    fn other_ids_are_refused() {
        for bad in [r#"{"_id":1}"#, r#"{"_id":null}"#, r#"{"_id":{}}"#] {
            let refused = Incoming::new(bad.as_bytes());
            assert!(
                matches!(refused, Err(EngineError::InvalidDocument { .. })),
                "{bad}"
            );
        }
        let refused = Incoming::new(br#"{"_id":""}"#);
        assert!(matches!(refused, Err(EngineError::InvalidId { .. })));
        assert!(Incoming::replacing("a", br#"{"_id":"b"}"#).is_err());
        assert!(Incoming::replacing("a", br#"{"_id":"\u0061"}"#).is_ok());
        assert!(incoming_fields("a", br#"{"_id":"b"}"#).is_err());
        assert!(incoming_fields("a", br#"{"_id":7}"#).is_err());
        assert!(incoming_fields("a", br#"{"_id":"a","b":1}"#).is_ok());
    }

    #[test]
    fn size_is_bounded_with_the_id_that_is_added() {
        let filler = "x".repeat(MAX_DOCUMENT_BYTES - 8);
        let document = format!(r#"{{"a":"{filler}"}}"#);
        assert_eq!(document.len(), MAX_DOCUMENT_BYTES);
        let refused = Incoming::new(document.as_bytes());
        assert!(matches!(refused, Err(EngineError::TooLarge { .. })));
        let document = format!(r#"{{"_id":"1","a":"{}"}}"#, &filler[..filler.len() - 10]);
        assert_eq!(document.len(), MAX_DOCUMENT_BYTES);
        assert!(Incoming::new(document.as_bytes()).is_ok());
    }
}
