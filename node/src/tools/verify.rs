//! `godb verify`: reads every byte of a database that no node is using, and changes nothing.

use std::io::Write as _;
use std::sync::Arc;

use godb_engine::EngineError;
use godb_store::disk::{Disk, RealDisk};
use godb_store::{Settings, StoreError, VerifyReport};

use super::Directories;
use super::progress::Steps;
use crate::exit::{Exit, Failure};

/// Runs the subcommand.
///
/// # Errors
/// No database there, or damage: every place of it.
pub fn run(options: &Directories) -> Result<Exit, Failure> {
    let data_dir = &options.data_dir;
    let mut settings = Settings::new(data_dir);
    if let Some(dir) = &options.wal_dir {
        settings.wal_dir.clone_from(dir);
    }
    if let Some(dir) = &options.checkpoint_dir {
        settings.checkpoint_dir.clone_from(dir);
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let mut steps = Steps::new("verifying");
    let report = godb_store::verify(&settings, &disk, &mut |done, total| steps.at(done, total))
        .map_err(|error| Failure::from(EngineError::from(error)))?;
    drop(steps);
    let mut out = std::io::stdout().lock();
    out.write_all(summary(options, &report).as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(Exit::Io, format!("cannot write: {error}")))?;
    verdict(&report)
}

fn summary(options: &Directories, report: &VerifyReport) -> String {
    let mut text = format!(
        "{}: {} tables ({} bytes, {} entries), checkpoint LSN {}; log: {} bytes, {} transactions, last LSN {}\n",
        options.data_dir.display(),
        report.tables,
        report.table_bytes,
        report.entries,
        report.checkpoint_lsn,
        report.log_bytes,
        report.log_transactions,
        report.last_lsn,
    );
    if report.tail_bytes > 0 {
        text.push_str(&format!(
            "the log ends with {} bytes of a write that a crash cut off, or of a last frame that was damaged; the two cannot be told apart, and the next start leaves them out\n",
            report.tail_bytes
        ));
    }
    for lock in &report.unlocked {
        text.push_str(&format!(
            "read without a lock ({lock}): true only if no node uses the directory\n"
        ));
    }
    if let Some(loss) = &report.unsynced_loss {
        text.push_str(&format!("{loss}\n"));
    }
    text
}

fn verdict(report: &VerifyReport) -> Result<Exit, Failure> {
    if report.faults.is_empty() {
        return Ok(Exit::Ok);
    }
    let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
    let are_misplaced = report
        .faults
        .iter()
        .all(|fault| matches!(fault, StoreError::Mismatch { .. }));
    let (exit, what) = if are_misplaced {
        (Exit::Mismatch, "the directories do not belong together")
    } else {
        (Exit::Corrupt, "the data is damaged")
    };
    let message = format!(
        "{what} ({} faults); nothing was changed:\n  {}",
        faults.len(),
        faults.join("\n  ")
    );
    Err(Failure::new(exit, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;
    use godb_engine::{StorageEngine, Write};

    fn verify(data_dir: &std::path::Path) -> Result<Exit, Exit> {
        run(&Directories {
            data_dir: data_dir.to_path_buf(),
            ..Directories::default()
        })
        .map_err(|failure| failure.exit)
    }

    #[test]
    fn it_does_not_claim_to_know_what_the_end_of_the_log_was() {
        let report = VerifyReport {
            tail_bytes: 7,
            unlocked: vec!["d/LOCK: read-only".to_owned()],
            ..VerifyReport::default()
        };
        let text = summary(&Directories::default(), &report);
        assert!(text.contains("ends with 7 bytes"), "{text}");
        assert!(text.contains("cannot be told apart"), "{text}");
        assert!(
            text.contains("without a lock (d/LOCK: read-only)"),
            "{text}"
        );
        assert!(!text.contains("acknowledged"), "{text}");
    }

    #[test]
    fn a_sound_database_passes_and_a_damaged_one_does_not() {
        let root = tempfile::tempdir().unwrap();
        let data_dir = root.path().join("data");
        assert_eq!(verify(&data_dir), Err(Exit::NoInput));
        let engine = StorageEngine::builder(&data_dir).open().unwrap();
        for _ in 0..100 {
            let made = engine.insert("c", b"{\"a\":1}", &Write::default()).unwrap();
            made.wait().unwrap();
        }
        assert_eq!(verify(&data_dir), Err(Exit::InUse));
        engine.close().unwrap();
        drop(engine);
        assert_eq!(verify(&data_dir), Ok(Exit::Ok));
        for dir in [&data_dir, &data_dir.join("wal")] {
            files::remove(&dir.join("LOCK")).unwrap();
        }
        assert_eq!(verify(&data_dir), Ok(Exit::Ok));
        assert!(
            files::find(&data_dir.join("LOCK")).is_err(),
            "it made a file"
        );
        let mut manifest = files::create(&data_dir.join("MANIFEST")).unwrap();
        manifest.write_all(b"not a manifest").unwrap();
        assert_eq!(verify(&data_dir), Err(Exit::Corrupt));
    }
}
