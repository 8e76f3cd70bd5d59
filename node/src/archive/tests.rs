use super::*;
use godb_engine::Document;

const GOLDEN: &[u8] = include_bytes!("testdata/export-v1.ndjson");

fn document(id: &str, json: &str) -> Result<DatabaseItem, EngineError> {
    Ok(DatabaseItem::Document(Document {
        id: Bytes::copy_from_slice(id.as_bytes()),
        lsn: Lsn(1),
        json: Bytes::copy_from_slice(json.as_bytes()),
    }))
}

fn collection(name: &str, indexes: &[&str]) -> Result<DatabaseItem, EngineError> {
    Ok(DatabaseItem::Collection {
        name: name.to_owned(),
        indexes: indexes.iter().map(|&field| field.to_owned()).collect(),
    })
}

fn items() -> Vec<Result<DatabaseItem, EngineError>> {
    vec![
        collection("empty", &[]),
        collection("people", &["name", "address.\"zip\""]),
        document("a", r#"{"_id":"a","n":1.10,"big":9007199254740993}"#),
        document(
            "é/ 1",
            r#"{"x":["collection"],"_id":"é/ 1","z":"\u0000\n"}"#,
        ),
        collection("z", &["v"]),
        document("1", r#"{"_id":"1"}"#),
    ]
}

fn written(items: Vec<Result<DatabaseItem, EngineError>>) -> Vec<u8> {
    let lines: Result<Vec<Bytes>, _> = Lines::new(Lsn(42), items.into_iter()).collect();
    lines.unwrap().concat()
}

fn read(bytes: &[u8]) -> Result<Vec<Content>, Failure> {
    let mut reader = Reader::new(bytes, "f");
    let mut contents = Vec::new();
    while let Some(content) = reader.read()? {
        contents.push(content);
    }
    Ok(contents)
}

fn fault(bytes: &[u8]) -> (Exit, String) {
    let failure = read(bytes).unwrap_err();
    (failure.exit, failure.message)
}

/// The lines with a last one that fits them.
fn closed(lines: &str, collections: u64, documents: u64) -> Vec<u8> {
    let checksum = hex(&Sha256::digest(lines.as_bytes()));
    format!(
        "{lines}[\"end\",{{\"collections\":{collections},\"documents\":{documents},\"sha256\":\"{checksum}\"}}]\n"
    )
    .into_bytes()
}

#[test]
fn golden() {
    assert_eq!(
        String::from_utf8(written(items())).unwrap(),
        String::from_utf8_lossy(GOLDEN)
    );
}

#[test]
fn what_was_written_is_read() {
    let contents = read(GOLDEN).unwrap();
    let names: Vec<String> = contents
        .iter()
        .map(|content| match content {
            Content::Header => "header".to_owned(),
            Content::Collection(outline) => {
                format!("{} {}", outline.name, outline.indexes.join(" "))
            }
            Content::Document { id, json } => {
                format!("{id} {}", String::from_utf8_lossy(json))
            }
            Content::End => "end".to_owned(),
        })
        .collect();
    let expected = [
        "header",
        "empty ",
        "people name address.\"zip\"",
        r#"a {"_id":"a","n":1.10,"big":9007199254740993}"#,
        r#"é/ 1 {"x":["collection"],"_id":"é/ 1","z":"\u0000\n"}"#,
        "z v",
        r#"1 {"_id":"1"}"#,
        "end",
    ];
    assert_eq!(names, expected);
    assert_eq!(read(&written(Vec::new())).unwrap().len(), 2);
}

#[test]
fn an_error_is_the_last_item() {
    let mut items = items();
    items.insert(3, Err(EngineError::ViewExpired));
    let lines: Vec<_> = Lines::new(Lsn(1), items.into_iter()).collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[4].is_err());
}

#[test]
fn a_file_that_was_cut_anywhere_is_refused() {
    for length in 0..GOLDEN.len() {
        let (exit, message) = fault(&GOLDEN[..length]);
        assert_eq!(exit, Exit::Corrupt, "{length}: {message}");
    }
}

#[test]
fn a_changed_byte_anywhere_is_noticed() {
    for place in 0..GOLDEN.len() {
        for change in [1, 0x20, 0x80] {
            let mut bytes = GOLDEN.to_vec();
            bytes[place] ^= change;
            let failure = read(&bytes);
            assert!(failure.is_err(), "{place} {change}");
        }
    }
}

#[test]
fn a_newer_version_is_said() {
    let (exit, message) = fault(&closed(
        "[\"godb-export\",2,{\"lsn\":1,\"more\":[]}]\n",
        0,
        0,
    ));
    assert_eq!(exit, Exit::NewerFormat);
    assert!(message.contains("version is 2"), "{message}");
    // What is new within a version is skipped.
    let more = "[\"godb-export\",1,{\"lsn\":1,\"by\":\"x\"},7]\n[\"collection\",\"c\",{\"indexes\":[],\"x\":1}]\n";
    assert_eq!(read(&closed(more, 1, 0)).unwrap().len(), 3);
}

#[test]
fn what_no_export_holds_is_refused() {
    let head = "[\"godb-export\",1,{\"lsn\":1}]\n";
    let c = "[\"collection\",\"c\",{\"indexes\":[]}]\n";
    for (text, collections, documents, reason) in [
        (String::from("{\"_id\":\"a\"}\n"), 0, 1, "no export"),
        (
            format!("{head}{{\"_id\":\"a\"}}\n"),
            0,
            1,
            "without a collection",
        ),
        (format!("{head}{c}{{\"a\":1}}\n"), 1, 1, "valid `_id`"),
        (format!("{head}{c}{{\"_id\":7}}\n"), 1, 1, "valid `_id`"),
        (
            format!("{head}{c}{{\"_id\":\"b\"}}\n{{\"_id\":\"b\"}}\n"),
            1,
            2,
            "out of order",
        ),
        (
            format!("{head}{c}{{\"_id\":\"b\"}}\n{{\"_id\":\"a\"}}\n"),
            1,
            2,
            "out of order",
        ),
        (format!("{head}{c}{c}"), 2, 0, "out of order"),
        (
            format!("{head}[\"collection\",\"a/b\",{{\"indexes\":[]}}]\n"),
            1,
            0,
            "collection name",
        ),
        (
            format!("{head}[\"collection\",\"a\",{{}}]\n"),
            1,
            0,
            "indexes",
        ),
        (
            format!("{head}[\"collection\",\"a\",{{\"indexes\":[\"_id\"]}}]\n"),
            1,
            0,
            "indexes",
        ),
        (
            format!("{head}[\"collection\",\"a\",{{\"indexes\":[\"x\",\"x\"]}}]\n"),
            1,
            0,
            "indexes",
        ),
        (format!("{head}[\"other\"]\n"), 0, 0, "no line of an export"),
        (format!("{head}\n"), 0, 0, "no line of an export"),
        (
            format!("{head}{c}{{\"_id\":\"b\"}}\n"),
            1,
            2,
            "what its end says",
        ),
    ] {
        let (exit, message) = fault(&closed(&text, collections, documents));
        assert_eq!(exit, Exit::Corrupt, "{text}: {message}");
        assert!(message.contains(reason), "{text}: {message}");
    }
    let twice = [GOLDEN, GOLDEN].concat();
    assert!(fault(&twice).1.contains("something follows the end"));
}
