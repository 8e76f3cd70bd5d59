//! Changing a document on its bytes.

use crate::json::{RawStr, members};

/// Up to this many fields are looked up one by one; more are sorted first.
const LINEAR_FIELDS: usize = 8;

/// The document with the fields set: a shallow merge. Both are normalized objects.
///
/// A field that the document has keeps its place and takes the new value, a null like any other;
/// new fields follow at the end in their own order. A field `_id` is ignored: what identifies a
/// document does not change.
pub(crate) fn merge(document: &[u8], fields: &[u8]) -> Vec<u8> {
    let mut changes: Vec<Change<'_>> = members(fields)
        .filter(|(key, _)| !key.is("_id"))
        .enumerate()
        .map(|(position, (key, value))| Change {
            key,
            plain: key.is_plain(),
            value,
            position,
            used: false,
        })
        .collect();
    let sorted = changes.len() > LINEAR_FIELDS;
    if sorted {
        changes.sort_by(|a, b| a.key.cmp_decoded(b.key));
    }
    let mut merged = Vec::with_capacity(document.len() + fields.len());
    // Everything between two changed values is copied at once; this much has been.
    let mut copied = 0;
    let mut at = 1;
    for (key, value) in members(document) {
        let value_at = at + key.raw().len() + 3;
        let value_end = value_at + value.len();
        at = value_end + 1;
        if let Some(change) = find(&mut changes, sorted, key) {
            change.used = true;
            merged.extend_from_slice(document.get(copied..value_at).unwrap_or_default());
            merged.extend_from_slice(change.value);
            copied = value_end;
        }
    }
    let rest = document
        .get(copied..document.len().saturating_sub(1))
        .unwrap_or_default();
    merged.extend_from_slice(rest);
    if sorted {
        changes.sort_by_key(|change| change.position);
    }
    for change in changes.iter().filter(|change| !change.used) {
        if merged.len() > 1 {
            merged.push(b',');
        }
        merged.push(b'"');
        merged.extend_from_slice(change.key.raw());
        merged.extend_from_slice(b"\":");
        merged.extend_from_slice(change.value);
    }
    merged.push(b'}');
    merged
}

struct Change<'a> {
    key: RawStr<'a>,
    /// Whether the key has no escapes.
    plain: bool,
    value: &'a [u8],
    /// Where it stands among the changes.
    position: usize,
    /// Whether the document had the field.
    used: bool,
}

fn find<'c, 'a>(
    changes: &'c mut [Change<'a>],
    sorted: bool,
    key: RawStr<'_>,
) -> Option<&'c mut Change<'a>> {
    if sorted {
        let found = changes.binary_search_by(|change| change.key.cmp_decoded(key));
        return found.ok().and_then(|at| changes.get_mut(at));
    }
    let plain = key.is_plain();
    changes.iter_mut().find(|change| {
        change.key.raw() == key.raw()
            || (!(plain && change.plain) && change.key.cmp_decoded(key).is_eq())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(document: &str, fields: &str, expected: &str) {
        let merged = merge(document.as_bytes(), fields.as_bytes());
        assert_eq!(String::from_utf8(merged).unwrap(), expected);
    }

    #[test]
    fn keeps_places_and_appends_new_fields() {
        check(
            r#"{"_id":"1","a":1,"b":{"x":1}}"#,
            r#"{"z":0,"b":{"y":2},"a":null,"c":[1.10]}"#,
            r#"{"_id":"1","a":null,"b":{"y":2},"z":0,"c":[1.10]}"#,
        );
        check(r#"{"_id":"1"}"#, "{}", r#"{"_id":"1"}"#);
        check("{}", r#"{"a":1}"#, r#"{"a":1}"#);
    }

    #[test]
    fn never_changes_the_id() {
        check(
            r#"{"_id":"1","a":1}"#,
            r#"{"\u005fid":"1","a":2}"#,
            r#"{"_id":"1","a":2}"#,
        );
    }

    #[test]
    fn keys_are_equal_after_unescaping() {
        check(r#"{"\u0061":1}"#, r#"{"a":2}"#, r#"{"\u0061":2}"#);
    }

    #[test]
    fn many_fields() {
        let object = |range: std::ops::Range<usize>, value: &str| {
            let members: Vec<_> = range.map(|n| format!(r#""k{n}":{value}"#)).collect();
            members.join(",")
        };
        check(
            &format!("{{{}}}", object(0..40, "1")),
            &format!("{{{},{}}}", object(50..60, "2"), object(20..40, "2")),
            &format!(
                "{{{},{},{}}}",
                object(0..20, "1"),
                object(20..40, "2"),
                object(50..60, "2")
            ),
        );
    }
}
