//! Many documents in one transaction: all of them or none.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use godb_engine::{EngineError, StorageEngine, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let engine = StorageEngine::builder(directory.path().join("data")).open()?;
    let how = Write::default();

    let documents: [&[u8]; 3] = [
        br#"{"_id": "a", "stock": 10}"#,
        br#"{"_id": "b", "stock": 0}"#,
        br#"{"stock": 3}"#,
    ];
    let made = engine.batch_insert("goods", &documents, &how)?.wait()?;
    println!(
        "{} documents, written together at LSN {}",
        made.len(),
        made.first().map_or(0, |document| document.lsn.0)
    );

    let operations: [(&str, &[u8]); 2] = [("a", br#"{"stock": 9}"#), ("b", br#"{"stock": 1}"#)];
    for document in engine.batch_update("goods", &operations, &how)?.wait()? {
        println!("{}", String::from_utf8_lossy(&document.json));
    }

    // One operation that cannot be made takes all of them with it.
    let operations: [(&str, &[u8]); 2] = [("a", br#"{"stock": 8}"#), ("x", b"{}")];
    match engine.batch_update("goods", &operations, &how)?.wait() {
        Err(EngineError::NotFound { id }) => println!("no document {id}: nothing was changed"),
        other => println!("unexpected: {other:?}"),
    }
    engine.close()?;
    Ok(())
}
