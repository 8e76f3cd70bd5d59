//! The merge of the tables that [`super::pick`] chose.

use std::path::Path;
use std::sync::Arc;

use super::pick::{Compaction, CompactionOptions};
use super::retain::Retain;
use crate::disk::Disk;
use crate::error::{Result, StoreError};
use crate::lsn::Lsn;
use crate::read::merge::Merge;
use crate::read::{Direction, Source};
use crate::table::{TableBuilder, TableMeta};

#[cfg(test)]
mod tests;

/// Merges the inputs into new tables, without the versions that no view at or above
/// `oldest_needed` sees, and returns what it wrote, in key order. The files are synced, the
/// directory is not: the caller does that once, commits the manifest, and only then marks the
/// inputs obsolete. A trivial move has nothing to run.
///
/// # Errors
/// [`StoreError::Closed`] if `should_stop` said so, besides what reading and writing can say. No
/// output is left then; the inputs are untouched in any case.
pub(crate) fn run(
    compaction: &Compaction,
    options: &CompactionOptions,
    disk: &Arc<dyn Disk>,
    dir: &Path,
    next_number: &mut dyn FnMut() -> u64,
    oldest_needed: Lsn,
    should_stop: &dyn Fn() -> bool,
) -> Result<Vec<TableMeta>> {
    let merge = Merge::new(sources(compaction), Direction::Ascending).map(|entry| {
        if should_stop() {
            return Err(StoreError::Closed);
        }
        entry
    });
    let mut outputs = Outputs {
        disk,
        dir,
        done: Vec::new(),
    };
    let output_bytes = output_bytes(compaction, options);
    let mut building: Option<TableBuilder> = None;
    let mut last_key = bytes::Bytes::new();
    for entry in Retain::new(merge, oldest_needed, compaction.bottom) {
        let entry = entry?;
        // All versions of a key stay in one table: a lookup asks one table of a level.
        let full = building
            .take_if(|table| table.estimated_bytes() >= output_bytes && last_key != entry.key);
        if let Some(full) = full {
            outputs.finish(full)?;
        }
        let table = match &mut building {
            Some(table) => table,
            None => building.insert(TableBuilder::new(disk, dir, next_number(), options.table)?),
        };
        table.add(&entry)?;
        last_key = entry.key;
    }
    if let Some(last) = building {
        outputs.finish(last)?;
    }
    Ok(std::mem::take(&mut outputs.done))
}

/// One source for each table of level 0 and one for each other level, newest first.
fn sources(compaction: &Compaction) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for (level, tables) in &compaction.inputs {
        if *level == 0 {
            for table in tables {
                sources.push(Box::new(table.scan_all()));
            }
        } else {
            let tables = tables.clone().into_iter();
            sources.push(Box::new(tables.flat_map(|table| table.scan_all())));
        }
    }
    sources
}

/// Size at which an output is closed: outputs of equal size, rather than full ones and a rest that
/// stays behind as a small table. A table of level 0 is never split: it is one run.
fn output_bytes(compaction: &Compaction, options: &CompactionOptions) -> u64 {
    if compaction.output_level == 0 {
        return u64::MAX;
    }
    let bytes = compaction.input_bytes();
    let tables = bytes.div_ceil(options.table_bytes.max(1)).max(1);
    bytes.div_ceil(tables)
}

/// Finished tables, removed again unless they are taken out.
struct Outputs<'a> {
    disk: &'a Arc<dyn Disk>,
    dir: &'a Path,
    done: Vec<TableMeta>,
}

impl Outputs<'_> {
    fn finish(&mut self, table: TableBuilder) -> Result<()> {
        self.done.extend(table.finish()?);
        Ok(())
    }
}

impl Drop for Outputs<'_> {
    fn drop(&mut self) {
        for meta in &self.done {
            // What stays behind when this fails is swept at the next open.
            let _ = self.disk.remove(&meta.path(self.dir));
        }
    }
}
