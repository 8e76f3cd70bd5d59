//! Running a database: settings, durability, checkpoints, figures, save and load.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use godb_engine::{Durability, StorageEngine, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let engine = StorageEngine::builder(directory.path().join("data"))
        .durability(Durability::Os)
        .checkpoint_interval(Duration::from_secs(10))
        .max_memory_bytes(64 * 1024 * 1024)
        .open()?;

    // One write may ask for more than the instance's level.
    let how = Write {
        ack: Some(Durability::Full),
        ..Write::default()
    };
    let synced = engine
        .insert("log", br#"{"event":"start"}"#, &how)?
        .wait()?;
    println!("LSN {} survives a power cut", synced.lsn);

    // The level can be changed while the engine runs.
    let mut live = engine.live_settings();
    live.durability = Durability::Full;
    engine.reconfigure(live)?;

    println!("flushed up to {}", engine.flush()?);
    println!("checkpoint: {:?}", engine.checkpoint()?);
    engine.compact()?;
    println!("memory: {:?}", engine.memory_stats());
    for collection in engine.collections()? {
        println!("{}: {} documents", collection.name, collection.documents);
    }

    let file = directory.path().join("save");
    let saved = engine.save(&file, &mut |_| {})?;
    engine.close()?;

    let copy = StorageEngine::builder(directory.path().join("copy")).open()?;
    let loaded = copy.load(&file, &mut |_| {})?;
    println!("saved {saved:?}, loaded {loaded:?}");
    copy.close()?;

    // What was closed is there again.
    let engine = StorageEngine::builder(directory.path().join("data")).open()?;
    println!("opened again: {:?}", engine.collections()?);
    engine.close()?;
    Ok(())
}
