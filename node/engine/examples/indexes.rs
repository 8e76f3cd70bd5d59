//! Secondary indexes: made while the collection is in use, kept with every write.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use godb_engine::{Filter, Find, Io, PageStart, StorageEngine, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let engine = StorageEngine::builder(directory.path().join("data")).open()?;
    let documents: Vec<_> = (0..1000)
        .map(|n| {
            format!(
                r#"{{"_id":"{n:04}","owner":{{"name":"user {}"}}}}"#,
                n % 100
            )
        })
        .collect();
    let documents: Vec<_> = documents.iter().map(|json| json.as_bytes()).collect();
    engine
        .batch_insert("files", &documents, &Write::default())?
        .wait()?;

    // Returns when the index is complete and durable; a second time there is nothing to do.
    assert!(engine.create_index("files", "owner.name")?);
    assert!(!engine.create_index("files", "owner.name")?);
    println!("indexes: {:?}", engine.indexes("files")?);

    engine.delete("files", "0042", &Write::default())?.wait()?;
    let query = Find {
        filter: Filter::from_pairs([("owner.name", "user 42")])?,
        limit: 3,
        page: PageStart::Offset(0),
        total: true,
    };
    let page = engine.find("files", &query, Io::Allow)?;
    println!("{:?} files of user 42", page.total);

    // An index can always be proven against the documents.
    let report = engine.check()?;
    println!(
        "{} entries checked, clean: {}",
        report.entries,
        report.is_clean()
    );
    engine.close()?;
    Ok(())
}
