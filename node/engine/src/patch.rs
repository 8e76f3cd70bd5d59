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
    merged.push(b'{');
    for (key, value) in members(document) {
        let change = if sorted {
            let found = changes.binary_search_by(|change| change.key.cmp_decoded(key));
            found.ok().and_then(|at| changes.get_mut(at))
        } else {
            let same = |change: &&mut Change<'_>| {
                change.key.raw() == key.raw() || change.key.cmp_decoded(key).is_eq()
            };
            changes.iter_mut().find(same)
        };
        let value = change.map_or(value, |change| {
            change.used = true;
            change.value
        });
        push_member(&mut merged, key, value);
    }
    if sorted {
        changes.sort_by_key(|change| change.position);
    }
    for change in changes.iter().filter(|change| !change.used) {
        push_member(&mut merged, change.key, change.value);
    }
    merged.push(b'}');
    merged
}

struct Change<'a> {
    key: RawStr<'a>,
    value: &'a [u8],
    /// Where it stands among the changes.
    position: usize,
    /// Whether the document had the field.
    used: bool,
}

fn push_member(out: &mut Vec<u8>, key: RawStr<'_>, value: &[u8]) {
    if out.len() > 1 {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(key.raw());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value);
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
