//! `godb snapshot pull`: a snapshot from a source to a directory.

use godb_store::{SnapshotFile, Snapshots};

use super::source::Source;
use super::target::Target;
use super::{PullOptions, manage};
use crate::exit::{Exit, Failure};
use crate::tools::progress::Progress;

/// Largest manifest or description that is taken.
const MAX_SMALL_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// What a carry did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Tables that were sent.
    pub tables: u64,
    /// Their size.
    pub bytes: u64,
    /// Tables that the target had.
    pub kept_tables: u64,
}

/// Runs the subcommand.
///
/// # Errors
/// A source that does not give the snapshot, or a target that does not take it. The target then
/// has no snapshot of that name; what has landed is not fetched again.
pub fn run(options: &PullOptions) -> Result<Exit, Failure> {
    let mut source = Source::open(&options.place)?;
    let (name, is_passing) = match &options.name {
        Some(name) => (name.clone(), false),
        None => (manage::cut_for_carry(&mut source, &options.place)?, true),
    };
    let outcome = pull(&mut source, &name, &options.to);
    source.release(&name);
    if is_passing {
        manage::drop_after_carry(&mut source, &name);
    }
    let carried = outcome?;
    crate::print(&format!(
        "{name}: {} tables ({} bytes) carried to {}, {} were there\n",
        carried.tables,
        carried.bytes,
        options.to.display(),
        carried.kept_tables,
    ))
}

fn pull(source: &mut Source, name: &str, to: &std::path::Path) -> Result<Carried, Failure> {
    let files = source.files(name)?;
    let named = |wanted: String| files.iter().find(|file| file.name == wanted);
    let manifest = named(Snapshots::manifest_name(name)).ok_or_else(|| {
        Failure::new(
            Exit::Unavailable,
            "the source lists no manifest of the snapshot",
        )
    })?;
    let manifest = small(source, name, manifest)?;
    let description = named(Snapshots::description_name(name))
        .map(|file| small(source, name, file))
        .transpose()?;
    let target = Target::folder(to, name, &manifest)?;
    let missing = target.missing()?;
    let tables =
        u64::try_from(files.len()).unwrap_or(u64::MAX) - 1 - u64::from(description.is_some());
    let mut carried = Carried::default();
    let total = missing.iter().map(|file| file.bytes).sum();
    let mut progress = Progress::bytes("pulling", Some(total));
    for file in &missing {
        target.take(file, |sink| {
            source.read(name, file, &mut |piece| {
                progress.advance(u64::try_from(piece.len()).unwrap_or(0));
                sink(piece)
            })
        })?;
        carried.tables += 1;
        carried.bytes += file.bytes;
    }
    progress.finish();
    carried.kept_tables = tables.saturating_sub(carried.tables);
    target.finish(description.as_deref())?;
    Ok(carried)
}

/// A file of the snapshot that is kept in memory.
fn small(source: &mut Source, name: &str, file: &SnapshotFile) -> Result<Vec<u8>, Failure> {
    if file.bytes > MAX_SMALL_FILE_BYTES {
        return Err(Failure::new(
            Exit::Corrupt,
            format!("{} bytes are no size for {}", file.bytes, file.name),
        ));
    }
    let mut content = Vec::new();
    source.read(name, file, &mut |piece| {
        content.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(content)
}
