//! One document: insert, get, update, replace, delete.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use godb_engine::{EngineError, Io, Replace, StorageEngine, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let engine = StorageEngine::builder(directory.path().join("data")).open()?;
    let how = Write::default();

    // A write answers at once; waiting for the answer is waiting for its durability.
    let ada = engine.insert("users", br#"{"name": "Ada", "born": 1815}"#, &how)?;
    let ada = ada.wait()?;
    let id = String::from_utf8(ada.id.to_vec())?;
    println!("inserted {}", String::from_utf8_lossy(&ada.json));

    // An update sets fields and leaves the others.
    let fields = br#"{"field": "mathematics"}"#;
    let updated = engine.update("users", &id, fields, &how)?.wait()?;
    println!("updated  {}", String::from_utf8_lossy(&updated.json));

    // A replacement is the whole document.
    let document = br#"{"name": "Ada Lovelace"}"#;
    let replaced = engine.replace("users", &id, document, Replace::Existing, &how)?;
    println!(
        "replaced {}",
        String::from_utf8_lossy(&replaced.wait()?.json)
    );

    engine.delete("users", &id, &how)?.wait()?;
    assert!(engine.get("users", &id, Io::Allow)?.is_none());
    let again = engine.delete("users", &id, &how)?.wait();
    assert!(matches!(again, Err(EngineError::NotFound { .. })));
    println!("deleted");
    engine.close()?;
    Ok(())
}
