//! Documents on their way: checked, with their id, cut into batches at fixed places.

use godb_engine::{id, json, limits};

use crate::tools::split::RawDocument;

/// A batch is closed at this many documents, or with the one that brings it to so many bytes. Where
/// batches are cut must never depend on anything but the file: see the module above.
const BATCH_DOCUMENTS: usize = limits::MAX_BATCH_ITEMS;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// A document that can be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its id.
    pub id: String,
    /// Whether this program made the id.
    pub is_made: bool,
    /// Normalized, with its id.
    pub json: Vec<u8>,
    /// Its size in the file.
    pub raw_bytes: u64,
}

impl Prepared {
    /// Checks a document and gives it an id if it has none. A fault says where it is.
    pub fn new(raw: RawDocument, prefix: &str) -> Result<Self, String> {
        let place = raw.place(raw.line);
        let json = json::normalize(&raw.bytes, &json::Limits::default())
            .map_err(|error| syntax_fault(&raw, &error))?;
        Self::of_json(json, raw, prefix).map_err(|fault| format!("{place}: {fault}"))
    }

    fn of_json(mut json: Vec<u8>, raw: RawDocument, prefix: &str) -> Result<Self, String> {
        let own = json::fields(&json)
            .find(|(key, _)| key == "_id")
            .map(|(_, value)| {
                json::as_str(value)
                    .map(std::borrow::Cow::into_owned)
                    .ok_or("`_id` must be a string")
            });
        let (id, is_made) = match (own, raw.key) {
            (Some(own), _) => (own?, false),
            (None, Some(key)) => {
                put_id_in_front(&mut json, &key);
                (key, false)
            }
            (None, None) => {
                let id = format!("{prefix}-{:010}", raw.position);
                put_id_in_front(&mut json, &id);
                (id, true)
            }
        };
        id::check(&id).map_err(|error| error.to_string())?;
        if json.len() > limits::MAX_DOCUMENT_BYTES {
            return Err(format!(
                "a document of {} bytes is larger than the limit of {}",
                json.len(),
                limits::MAX_DOCUMENT_BYTES
            ));
        }
        Ok(Self {
            id,
            is_made,
            json,
            raw_bytes: u64::try_from(raw.bytes.len()).unwrap_or(u64::MAX),
        })
    }
}

/// The fault with its place in the file; the parser counts from the document's start.
fn syntax_fault(raw: &RawDocument, error: &json::JsonError) -> String {
    let (line, column) = (count(error.line), count(error.column));
    let column = if line == 1 {
        raw.column + column - 1
    } else {
        column
    };
    let place = raw.place(raw.line + line - 1);
    format!("{place}: {} at column {column}", error.reason)
}

/// From 1.
fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX).max(1)
}

fn put_id_in_front(json: &mut Vec<u8>, id: &str) {
    let mut field = b"\"_id\":".to_vec();
    json::push_str(&mut field, id);
    if json.as_slice() != b"{}" {
        field.push(b',');
    }
    json.splice(1..1, field);
}

/// Cuts documents into batches.
#[derive(Default)]
pub struct Batcher {
    batch: Vec<Prepared>,
    bytes: usize,
}

impl Batcher {
    /// Takes a document, and gives a batch if that one is full now.
    pub fn add(&mut self, document: Prepared) -> Option<Vec<Prepared>> {
        self.bytes += document.json.len();
        self.batch.push(document);
        if self.batch.len() < BATCH_DOCUMENTS && self.bytes < BATCH_BYTES {
            return None;
        }
        self.rest()
    }

    /// What is left.
    pub fn rest(&mut self) -> Option<Vec<Prepared>> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        (!batch.is_empty()).then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(position: u64, key: Option<&str>, text: &str) -> RawDocument {
        RawDocument {
            position,
            line: 1,
            column: 1,
            is_member: false,
            key: key.map(str::to_owned),
            bytes: text.as_bytes().to_vec(),
        }
    }

    fn prepared(key: Option<&str>, text: &str) -> (String, bool, String) {
        let prepared = Prepared::new(raw(7, key, text), "f").unwrap();
        (
            prepared.id,
            prepared.is_made,
            String::from_utf8(prepared.json).unwrap(),
        )
    }

    #[test]
    fn a_document_keeps_its_id_or_gets_one_that_is_always_the_same() {
        for (key, text, id, is_made, json) in [
            (
                None,
                r#"{ "a": 1 }"#,
                "f-0000000007",
                true,
                r#"{"_id":"f-0000000007","a":1}"#,
            ),
            (
                None,
                "{}",
                "f-0000000007",
                true,
                r#"{"_id":"f-0000000007"}"#,
            ),
            (
                None,
                r#"{"a":1,"\u005fid":"x"}"#,
                "x",
                false,
                r#"{"a":1,"\u005fid":"x"}"#,
            ),
            (
                Some("k\""),
                r#"{"a":1}"#,
                "k\"",
                false,
                r#"{"_id":"k\"","a":1}"#,
            ),
            (Some("k"), r#"{"_id":"x"}"#, "x", false, r#"{"_id":"x"}"#),
        ] {
            let expected = (id.to_owned(), is_made, json.to_owned());
            assert_eq!(prepared(key, text), expected);
        }
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        for text in [
            "{\"_id\":7}",
            "{\"_id\":\"\"}",
            "[1]",
            "{\"a\":}",
            "{} {}",
            "{\"a\":\"\u{1}\"}",
        ] {
            assert!(Prepared::new(raw(0, None, text), "f").is_err(), "{text}");
        }
        assert!(Prepared::new(raw(0, Some(""), "{}"), "f").is_err());
    }

    #[test]
    fn a_fault_says_its_place_in_the_file() {
        let fault = |line, column, is_member, text| {
            let raw = RawDocument {
                line,
                column,
                is_member,
                ..raw(4, None, text)
            };
            Prepared::new(raw, "f").unwrap_err()
        };
        let said = fault(7, 3, true, "{\"a\":}");
        assert!(said.starts_with("element 5, line 7: "), "{said}");
        assert!(said.ends_with(" at column 8"), "{said}");
        let said = fault(7, 3, true, "{\n\"a\":}");
        assert!(said.starts_with("element 5, line 8: "), "{said}");
        assert!(said.ends_with(" at column 5"), "{said}");
        let said = fault(7, 1, false, "{\"_id\":1}");
        assert_eq!(said, "line 7: `_id` must be a string");
    }

    #[test]
    fn batches_are_cut_by_number_and_size() {
        let document = |bytes: usize| Prepared {
            id: "x".into(),
            is_made: true,
            json: vec![b' '; bytes],
            raw_bytes: 0,
        };
        let mut batcher = Batcher::default();
        let mut sizes: Vec<usize> = (0..2500)
            .filter_map(|_| batcher.add(document(10)))
            .map(|batch| batch.len())
            .collect();
        sizes.extend(batcher.rest().map(|batch| batch.len()));
        assert_eq!(sizes, [1000, 1000, 500]);
        assert_eq!(
            batcher.add(document(BATCH_BYTES)).map(|batch| batch.len()),
            Some(1)
        );
        assert_eq!(batcher.rest(), None);
    }
}
