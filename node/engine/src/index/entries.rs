//! Which entries of an index a document has, and how they change with it.

use bytes::Bytes;

use crate::json;
use crate::key::value::{self, Precision};
use crate::key::{self, IndexNumber};

/// What has to be done to an index when a document changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct EntryChanges {
    pub(crate) removed: Vec<Bytes>,
    pub(crate) added: Vec<Bytes>,
}

/// The encodings of the scalars at `path` in a document, sorted, without repetition. There are
/// several if more than one way to split the path leads to a value.
pub(crate) fn values(document: &[u8], path: &str) -> Vec<(Vec<u8>, Precision)> {
    let mut values = Vec::new();
    json::for_each_at(document, path, &mut |raw| {
        let mut encoded = Vec::new();
        if let Some(precision) = value::encode(raw, &mut encoded) {
            values.push((encoded, precision));
        }
    });
    values.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    values.dedup_by(|(a, _), (b, _)| a == b);
    values
}

/// The keys of the entries of a document.
pub(crate) fn keys(number: IndexNumber, path: &str, id: &[u8], document: &[u8]) -> Vec<Bytes> {
    values(document, path)
        .iter()
        .map(|(encoded, _)| key::index_entry(number, encoded, id))
        .collect()
}

/// What changes in an index when the document `old` (absent: none) becomes `new`.
pub(crate) fn changes(
    number: IndexNumber,
    path: &str,
    id: &[u8],
    old: Option<&[u8]>,
    new: Option<&[u8]>,
) -> EntryChanges {
    let values_of =
        |document: Option<&[u8]>| document.map_or_else(Vec::new, |document| values(document, path));
    let (old, new) = (values_of(old), values_of(new));
    let only_in = |these: &[(Vec<u8>, Precision)], those: &[(Vec<u8>, Precision)]| {
        these
            .iter()
            .filter(|(encoded, _)| !those.iter().any(|(other, _)| other == encoded))
            .map(|(encoded, _)| key::index_entry(number, encoded, id))
            .collect()
    };
    EntryChanges {
        removed: only_in(&old, &new),
        added: only_in(&new, &old),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: IndexNumber = IndexNumber(7);

    fn entry(raw: &str) -> Bytes {
        let mut encoded = Vec::new();
        value::encode(raw.as_bytes(), &mut encoded).unwrap();
        key::index_entry(NUMBER, &encoded, b"id")
    }

    #[track_caller]
    fn check(old: Option<&str>, new: Option<&str>, removed: &[&str], added: &[&str]) {
        let changes = changes(
            NUMBER,
            "a.b",
            b"id",
            old.map(str::as_bytes),
            new.map(str::as_bytes),
        );
        let expected = EntryChanges {
            removed: removed.iter().map(|raw| entry(raw)).collect(),
            added: added.iter().map(|raw| entry(raw)).collect(),
        };
        assert_eq!(changes, expected);
    }

    #[test]
    fn follow_the_document() {
        check(None, Some(r#"{"a":{"b":1}}"#), &[], &["1"]);
        check(Some(r#"{"a":{"b":1}}"#), None, &["1"], &[]);
        check(
            Some(r#"{"a":{"b":1}}"#),
            Some(r#"{"a":{"b":"x"}}"#),
            &["1"],
            &[r#""x""#],
        );
        check(
            Some(r#"{"a":{"b":1}}"#),
            Some(r#"{"a":{"c":1}}"#),
            &["1"],
            &[],
        );
    }

    #[test]
    fn equal_values_change_nothing() {
        check(
            Some(r#"{"a":{"b":1}}"#),
            Some(r#"{"a":{"b":1.0},"c":2}"#),
            &[],
            &[],
        );
        check(Some(r#"{"x":1}"#), Some(r#"{"x":2}"#), &[], &[]);
    }

    #[test]
    fn all_ways_to_split_the_path_count() {
        check(None, Some(r#"{"a.b":2,"a":{"b":1}}"#), &[], &["1", "2"]);
        check(
            Some(r#"{"a.b":2,"a":{"b":1}}"#),
            Some(r#"{"a.b":1}"#),
            &["2"],
            &[],
        );
        check(None, Some(r#"{"a.b":1,"a":{"b":1}}"#), &[], &["1"]);
    }

    #[test]
    fn arrays_and_objects_have_none() {
        check(None, Some(r#"{"a":{"b":[1]}}"#), &[], &[]);
        check(None, Some(r#"{"a":{"b":{}}}"#), &[], &[]);
        check(None, Some(r#"{"a":{"b":null}}"#), &[], &["null"]);
    }
}
