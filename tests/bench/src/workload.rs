//! The documents and requests of the benchmark: flat and nested fields, 170 to 340 bytes.

use std::io::Write as _;

use godb_tests::random::Random;

/// What is measured over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// POST of one document.
    Insert,
    /// GET by id.
    Get,
    /// PATCH of three fields.
    Patch,
    /// A page of 50 of the 200 documents with one value of an indexed field, with their total.
    /// They were written one after the other, and their ids are neighbours.
    Find,
    /// The same of documents that lie nowhere near each other.
    FindSpread,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 5] = [
        Operation::Insert,
        Operation::Get,
        Operation::Patch,
        Operation::Find,
        Operation::FindSpread,
    ];

    /// Name in tables and arguments.
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Insert => "insert",
            Operation::Get => "get",
            Operation::Patch => "patch",
            Operation::Find => "find",
            Operation::FindSpread => "find-spread",
        }
    }

    /// The status that counts as done.
    pub const fn status(self) -> u16 {
        match self {
            Operation::Insert => 201,
            Operation::Get | Operation::Patch | Operation::Find | Operation::FindSpread => 200,
        }
    }
}

const CITIES: [&str; 8] = [
    "Lisboa",
    "Zürich",
    "東京",
    "São Paulo",
    "Kyiv",
    "Nairobi",
    "Reykjavík",
    "Montréal",
];

/// Documents with the same value of the indexed field.
pub const GROUP: u64 = 200;

/// The fields that are indexed for finds.
pub const INDEXED: [&str; 2] = ["group", "spread"];

/// Document number `n` with these fields.
pub fn grouped(n: u64, documents: u64) -> Vec<u8> {
    let spread = n % groups(documents);
    let mut grouped = format!("{{\"group\":{},\"spread\":{spread},", n / GROUP).into_bytes();
    grouped.extend_from_slice(document(n).get(1..).unwrap_or_default());
    grouped
}

fn groups(documents: u64) -> u64 {
    (documents / GROUP).max(1)
}

/// The path of a find.
pub fn find_path(operation: Operation, n: u64, documents: u64) -> String {
    let field = if operation == Operation::FindSpread {
        "spread"
    } else {
        "group"
    };
    format!(
        "/collections/bench/find?{field}={}&limit=50",
        n % groups(documents)
    )
}

/// Document number `n`.
pub fn document(n: u64) -> Vec<u8> {
    let mut random = Random::new(n);
    let mut out = Vec::with_capacity(360);
    let name = random.next_u64();
    let city = CITIES.get(random.index(CITIES.len())).unwrap_or(&"");
    let tags = "\"durable\",".repeat(2 + random.index(9));
    // Writing to a Vec cannot fail.
    let _ = write!(
        out,
        "{{\"_id\":\"d{n:08}\",\"name\":\"user {name:016x}\",\"age\":{},\"score\":{}.{:02},\"active\":{},\
         \"address\":{{\"city\":\"{city}\",\"zip\":\"{:05}\"}},\"tags\":[{tags}\"end\"],\"n\":{n}}}",
        random.below(90),
        random.below(1000),
        random.below(100),
        random.chance(50),
        random.below(100_000),
    );
    out
}

/// The answer to a find.
pub fn page(operation: Operation, documents: u64) -> Vec<u8> {
    let mut out = b"{\"documents\":[".to_vec();
    let step = match operation {
        Operation::FindSpread => groups(documents),
        _ => 1,
    };
    for place in 0..50 {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&grouped(place * step, documents));
    }
    let cursor = "x".repeat(24);
    out.extend_from_slice(
        format!("],\"has_next\":true,\"has_prev\":false,\"next_cursor\":\"{cursor}\",\"total\":{GROUP}}}")
            .as_bytes(),
    );
    out
}

/// One `POST …/batch` body with the documents from `first` on.
pub fn batch(first: u64, count: u64, document: impl Fn(u64) -> Vec<u8>) -> Vec<u8> {
    let mut out = b"{\"documents\":[".to_vec();
    for n in first..first + count {
        if n > first {
            out.push(b',');
        }
        out.extend_from_slice(&document(n));
    }
    out.extend_from_slice(b"]}");
    out
}

/// Writes request number `n` to `out`, with these headers, each with its line end. Reads and updates pick one of `documents` by chance.
pub fn request(operation: Operation, n: u64, documents: u64, headers: &str, out: &mut Vec<u8>) {
    out.clear();
    let body = match operation {
        Operation::Insert => document(n),
        Operation::Get | Operation::Find | Operation::FindSpread => Vec::new(),
        Operation::Patch => format!(
            "{{\"age\":{},\"active\":{},\"seen\":{n}}}",
            n % 90,
            n.is_multiple_of(2)
        )
        .into_bytes(),
    };
    let id = Random::new(n).below(documents.max(1));
    // Writing to a Vec cannot fail.
    let _ = match operation {
        Operation::Insert => write!(
            out,
            "POST /collections/bench HTTP/1.1\r\nHost: b\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ),
        Operation::Get => write!(
            out,
            "GET /collections/bench/documents/d{id:08} HTTP/1.1\r\nHost: b\r\n{headers}\r\n"
        ),
        Operation::Find | Operation::FindSpread => write!(
            out,
            "GET {} HTTP/1.1\r\nHost: b\r\n{headers}\r\n",
            find_path(operation, id, documents)
        ),
        Operation::Patch => write!(
            out,
            "PATCH /collections/bench/documents/d{id:08} HTTP/1.1\r\nHost: b\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ),
    };
    out.extend_from_slice(&body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_json_of_170_to_340_bytes() {
        let mut lengths = Vec::new();
        for n in 0..1000 {
            let document = document(n);
            let value: serde_json::Value = serde_json::from_slice(&document).unwrap();
            assert_eq!(value["n"], n);
            lengths.push(document.len());
        }
        assert!(
            lengths.iter().all(|length| (170..=340).contains(length)),
            "{lengths:?}"
        );
        let value: serde_json::Value = serde_json::from_slice(&batch(0, 3, document)).unwrap();
        assert_eq!(value["documents"].as_array().unwrap().len(), 3);
    }
}
