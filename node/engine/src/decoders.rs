//! Every reader of foreign bytes of the engine, and those of the store, as functions of any bytes,
//! for the fuzzer (feature `fuzz`). None may panic; what is accepted must come back the same.

pub use godb_store::decoders::Target;

use crate::query::cursor::Cursor;
use crate::query::parse::Filter;
use crate::{catalog, id, json, key, name};

/// Those of the engine.
const OWN: [Target; 7] = [
    ("json", json),
    ("path", path),
    ("number", number),
    ("filter", filter),
    ("cursor", cursor),
    ("catalogue", catalogue),
    ("key", key),
];

/// All of them, those of the store too.
pub fn all() -> impl Iterator<Item = Target> {
    let store = godb_store::decoders::ALL.into_iter();
    // One name for each: the store has a bloom filter.
    let store = store.map(|(name, run)| match name {
        "filter" => ("bloom-filter", run),
        name => (name, run),
    });
    store.chain(OWN)
}

fn json(data: &[u8]) {
    let limits = json::Limits::default();
    let _ = json::validate(data, &limits);
    let Ok(normal) = json::normalize(data, &limits) else {
        return;
    };
    assert!(normal.len() <= data.len());
    assert_eq!(json::normalize(&normal, &limits).as_ref(), Ok(&normal));
    assert!(std::str::from_utf8(&normal).is_ok());
    for (_, value) in json::members(&normal) {
        assert!(json::validate(value, &limits).is_ok());
        let _ = json::as_str(value);
    }
}

/// A path, a zero byte, and what it is looked up in: sound JSON or not.
fn path(data: &[u8]) {
    let split = data.iter().position(|byte| *byte == 0).unwrap_or(0);
    let (path, document) = data.split_at_checked(split).unwrap_or((data, data));
    let document = document.get(1..).unwrap_or_default();
    let Ok(path) = std::str::from_utf8(path) else {
        return;
    };
    let _ = name::check_field_path(path);
    let _ = name::check_collection(path);
    let _ = id::check(path);
    let limits = json::Limits::default();
    let normal = json::normalize(document, &limits).unwrap_or_default();
    for document in [document, &normal] {
        json::for_each_at(document, path, &mut |value| {
            let mut encoded = Vec::new();
            // Only what was validated is ever encoded.
            if json::validate(value, &limits).is_ok()
                && key::value::encode(value, &mut encoded).is_some()
            {
                encoded.extend_from_slice(b"id");
                assert_eq!(key::value::encoded_len(&encoded), Some(encoded.len() - 2));
            }
        });
    }
}

fn number(data: &[u8]) {
    let (a, b) = data
        .split_at_checked(data.len() / 2)
        .unwrap_or((data, data));
    let is_number = |text| std::str::from_utf8(text).is_ok_and(json::is_number);
    if is_number(a) && is_number(b) {
        assert_eq!(json::same_number(a, b), json::same_number(b, a));
        assert!(json::same_number(a, a));
        let encoded = |text| {
            let mut out = Vec::new();
            key::value::encode(text, &mut out);
            out
        };
        if json::same_number(a, b) {
            assert_eq!(encoded(a), encoded(b));
        }
    }
}

/// A field, a zero byte, a value, a zero byte, a document.
fn filter(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut text = || std::str::from_utf8(parts.next().unwrap_or_default()).unwrap_or_default();
    let (field, value) = (text(), text());
    let document = parts.next().unwrap_or_default();
    if let Ok(filter) = Filter::from_pairs([(field, value)])
        && let Ok(document) = json::normalize(document, &json::Limits::default())
    {
        let _ = filter.matches(&document);
    }
}

fn cursor(data: &[u8]) {
    let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
    let with_crc: String = data
        .iter()
        .chain(&crc32fast::hash(data).to_le_bytes())
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let texts = [
        std::str::from_utf8(data).unwrap_or_default(),
        &hex,
        &with_crc,
    ];
    for text in texts {
        if let Ok(cursor) = text.parse::<Cursor>() {
            assert_eq!(cursor.to_string(), text);
        }
    }
}

fn catalogue(data: &[u8]) {
    if let Ok(collection) = catalog::decode_collection("c", data) {
        assert_eq!(catalog::encode_collection(&collection), data);
    }
    if let Ok(numbers) = catalog::decode_numbers(data) {
        assert_eq!(catalog::encode_numbers(&numbers), data);
    }
}

fn key(data: &[u8]) {
    let _ = key::place(data);
    if let Some(length) = key::value::encoded_len(data) {
        assert!(length <= data.len());
    }
}
