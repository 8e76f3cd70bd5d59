//! `godb repair`: makes a damaged database that no node is using open again, keeps the files as
//! they were, and says what is lost.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use godb_engine::{KeptCollection, RepairReport};
use godb_store::Settings;
use godb_store::disk::{Disk, RealDisk};

use super::RepairOptions;
use crate::exit::{Exit, Failure};

/// Runs the subcommand.
///
/// # Errors
/// No database there, in use, of a newer version, or of directories that do not belong together;
/// I/O errors. The damaged files are as they were then.
pub fn run(options: &RepairOptions) -> Result<Exit, Failure> {
    let directories = &options.directories;
    let mut settings = Settings::new(&directories.data_dir);
    if let Some(dir) = &directories.wal_dir {
        settings.wal_dir.clone_from(dir);
    }
    if let Some(dir) = &directories.checkpoint_dir {
        settings.checkpoint_dir.clone_from(dir);
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let originals = options.originals.as_deref();
    let report = godb_engine::repair(&settings, &disk, options.dry_run, originals)?;
    let mut out = std::io::stdout().lock();
    out.write_all(summary(options, &report).as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(Exit::Io, format!("cannot write: {error}")))?;
    Ok(verdict(options, &report))
}

fn verdict(options: &RepairOptions, report: &RepairReport) -> Exit {
    match (report.damage.is_empty(), report.losses.is_empty()) {
        (true, _) => Exit::Ok,
        (false, _) if options.dry_run => Exit::Corrupt,
        (false, true) => Exit::Ok,
        (false, false) => Exit::RepairedWithLoss,
    }
}

fn summary(options: &RepairOptions, report: &RepairReport) -> String {
    let dir = options.directories.data_dir.display();
    if report.damage.is_empty() {
        return format!("{dir}: nothing is damaged; nothing was changed\n");
    }
    let mut text = format!("{dir}: damage in {} places\n", report.damage.len());
    let mut list = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            text.push_str(title);
            for line in lines {
                text.push_str("  ");
                text.push_str(&line);
                text.push('\n');
            }
        }
    };
    list("", report.damage.iter().map(ToString::to_string).collect());
    list("lost:\n", report.losses.clone());
    list("to know:\n", report.notes.clone());
    list("kept:\n", report.collections.iter().map(kept).collect());
    if report.losses.is_empty() {
        text.push_str("nothing is lost\n");
    }
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{} transactions are from the log; new ones go on after LSN {}",
        report.transactions, report.lsn
    );
    if options.dry_run {
        text.push_str("this was a dry run: nothing was changed\n");
    }
    for folder in &report.originals {
        let _ = writeln!(text, "the files as they were: {}", folder.display());
    }
    text
}

fn kept(collection: &KeptCollection) -> String {
    let mut line = format!("{}: {} documents", collection.name, collection.documents);
    if let Some(counted) = collection.counted {
        let _ = write!(line, " of {counted}");
    }
    if collection.uncertain > 0 {
        let _ = write!(
            line,
            ", of which {} may be older than the last acknowledged version or deleted",
            collection.uncertain
        );
    }
    if !collection.indexes.is_empty() {
        let _ = write!(line, "; indexes: {}", collection.indexes.join(", "));
    }
    line
}
