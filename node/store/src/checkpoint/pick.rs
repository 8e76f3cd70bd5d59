//! Which tables to merge next. Pure: it looks at the tables' descriptions only.
//!
//! Level 0 takes what checkpoints write. From level 1 on each level may hold `growth` times as
//! much as the one above; one that is over its target gives a table to the next. The level that is
//! most over comes first, so neither level 0 (which lookups and, through back-pressure, writers
//! feel) nor level 1 (which each merge of level 0 rewrites) is left behind.
//!
//! Three cases need more than that:
//! - *Small checkpoints.* Four small tables of level 0 usually span all keys; merging them into a
//!   large level 1 would write it anew for a few kilobytes. While level 0 is small against what it
//!   overlaps, or against one table, its newest tables are merged with each other only.
//! - *Tombstones.* Deleting must free space, also when no level is over its target. Tables whose
//!   tombstones are at least an eighth of what a merge would rewrite are merged down, and at the
//!   bottom a table with so many dead entries is written anew: at most eight entries are
//!   rewritten for each that goes.
//! - *Nothing to merge with.* A table that overlaps nothing is moved without being read, unless it
//!   would carry tombstones or old versions to the bottom, where perhaps nothing touches them again.
//!
//! Of the tables of a level the one that overlaps the least below, relative to its size, goes
//! first: no position has to be remembered, and it writes less than going round by key.

use std::sync::Arc;

use bytes::Bytes;

use crate::limits::TABLE_TARGET_BYTES;
use crate::lsn::Lsn;
use crate::table::levels::{Levels, LevelsError, MAX_LEVELS, total_bytes};
use crate::table::{Table, TableOptions};

/// Level 0 goes into level 1 only if it holds at least this part of the bytes it overlaps there.
const LEVEL_0_PART: u64 = 4;
/// When tables of level 0 are merged with each other, one that is older and more than this many
/// times as large as the newer ones together is left alone.
const LEVEL_0_STEP: u64 = 4;
/// Dead entries are worth a merge if they are this part of the entries it reads.
const DEAD_PART: u64 = 8;

/// When and how tables are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompactionOptions {
    /// Tables of level 0 at which they are merged.
    pub(crate) level_0_tables: usize,
    /// Target size of level 1, in bytes.
    pub(crate) base_bytes: u64,
    /// How many times larger each deeper level is.
    pub(crate) growth: u64,
    /// Size at which an output table is closed, in bytes.
    pub(crate) table_bytes: u64,
    /// How output tables are built.
    pub(crate) table: TableOptions,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        Self {
            level_0_tables: 4,
            base_bytes: 4 * TABLE_TARGET_BYTES,
            growth: 8,
            table_bytes: TABLE_TARGET_BYTES,
            table: TableOptions::default(),
        }
    }
}

impl CompactionOptions {
    fn target_bytes(&self, level: usize) -> u64 {
        (1..level).fold(self.base_bytes, |bytes, _| {
            bytes.saturating_mul(self.growth)
        })
    }
}

/// Tables to be replaced by their merge.
#[derive(Clone, Debug)]
pub(crate) struct Compaction {
    /// Levels and the tables of them, upper levels first; within level 0 newest first, within the
    /// others in key order.
    pub(crate) inputs: Vec<(usize, Vec<Arc<Table>>)>,
    /// Where the result belongs.
    pub(crate) output_level: usize,
    /// No table deeper than the output holds a key of the inputs: tombstones may go.
    pub(crate) bottom: bool,
    /// The inputs become the output as they are; there is nothing to run.
    pub(crate) trivial_move: bool,
}

impl Compaction {
    fn new(levels: &Levels, inputs: Vec<(usize, Vec<Arc<Table>>)>, output_level: usize) -> Self {
        let inputs: Vec<_> = inputs
            .into_iter()
            .filter(|(_, tables)| !tables.is_empty())
            .collect();
        let tables: Vec<_> = inputs.iter().flat_map(|(_, tables)| tables).collect();
        let bottom = key_range(tables.iter().copied()).is_none_or(|(smallest, largest)| {
            (output_level + 1..levels.len())
                .all(|level| levels.overlapping(level, &smallest, &largest).is_empty())
                // An output of level 0 has everything below it, older tables of level 0 included.
                && output_level > 0
        });
        let from_one_level = matches!(inputs[..], [(level, _)] if level != output_level);
        let dead = tables.iter().any(|table| dead_entries(table) > 0);
        let trivial_move = from_one_level && disjoint(&tables) && !(bottom && dead);
        Self {
            inputs,
            output_level,
            bottom,
            trivial_move,
        }
    }

    /// All tables into the deepest level, for a compaction that was asked for; `None` if there is
    /// nothing to gain.
    pub(crate) fn everything(levels: &Levels) -> Option<Self> {
        let inputs: Vec<_> = levels
            .iter()
            .enumerate()
            .map(|(level, tables)| (level, tables.to_vec()))
            .filter(|(_, tables)| !tables.is_empty())
            .collect();
        let clean = levels.tables().all(|table| dead_entries(table) == 0);
        if matches!(inputs[..], [] | [(1.., _)]) && clean {
            return None;
        }
        let output_level = levels.len().saturating_sub(1).max(1);
        Some(Self::new(levels, inputs, output_level))
    }

    /// The tables that are replaced.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.inputs.iter().flat_map(|(_, tables)| tables)
    }

    /// Bytes of the files that are read.
    pub(crate) fn input_bytes(&self) -> u64 {
        self.inputs
            .iter()
            .map(|(_, tables)| total_bytes(tables))
            .sum()
    }

    /// The levels with the inputs replaced by `outputs` (for a trivial move: by themselves). Tables
    /// that came into level 0 in the meantime stay where they are.
    ///
    /// # Errors
    /// When an input is not there, or the outputs overlap other tables of their level.
    pub(crate) fn apply(
        &self,
        levels: &Levels,
        outputs: Vec<Arc<Table>>,
    ) -> Result<Levels, LevelsError> {
        let mut outputs = if self.trivial_move {
            self.tables().cloned().collect()
        } else {
            outputs
        };
        let mut changed: Vec<Vec<Arc<Table>>> = levels.iter().map(<[_]>::to_vec).collect();
        let mut position = 0;
        for (level, tables) in &self.inputs {
            for input in tables {
                let number = input.number();
                let gone = LevelsError::Gone { number };
                let level_tables = changed.get_mut(*level).ok_or(gone)?;
                let at = level_tables
                    .iter()
                    .position(|table| table.number() == number);
                let at = at.ok_or(gone)?;
                level_tables.remove(at);
                position = at;
            }
        }
        if changed.len() <= self.output_level {
            changed.resize(self.output_level + 1, Vec::new());
        }
        if let Some(tables) = changed.get_mut(self.output_level) {
            if self.output_level == 0 {
                // The inputs were neighbours, so the last one's place is that of all.
                tables.splice(position..position, outputs);
            } else {
                tables.append(&mut outputs);
                tables.sort_by(|a, b| a.meta().smallest.cmp(&b.meta().smallest));
            }
        }
        Levels::new(changed)
    }
}

/// What to merge next; `None` if the levels are in shape. `oldest_needed` is the lowest LSN that a
/// view has or can get.
pub(crate) fn pick(
    levels: &Levels,
    options: &CompactionOptions,
    oldest_needed: Lsn,
) -> Option<Compaction> {
    most_over(levels, options)
        .and_then(|level| match level {
            0 => level_0(levels, options),
            _ => best_of(levels, level).map(|table| push_down(levels, level, table)),
        })
        .or_else(|| for_the_dead(levels, oldest_needed))
}

/// The level that is most over its target.
fn most_over(levels: &Levels, options: &CompactionOptions) -> Option<usize> {
    let mut worst = None;
    let mut worst_permille = 0;
    for level in 0..levels.len().min(MAX_LEVELS - 1) {
        let (have, target) = if level == 0 {
            let have = u64::try_from(levels.level(0).len()).unwrap_or(u64::MAX);
            let target = u64::try_from(options.level_0_tables).unwrap_or(u64::MAX);
            (have, target)
        } else {
            // One byte more: a level is over when it is above its target, not at it.
            let target = options.target_bytes(level).saturating_add(1);
            (levels.level_bytes(level), target)
        };
        let permille = have.saturating_mul(1000) / target.max(1);
        if permille >= 1000 && permille > worst_permille {
            (worst, worst_permille) = (Some(level), permille);
        }
    }
    worst
}

fn level_0(levels: &Levels, options: &CompactionOptions) -> Option<Compaction> {
    let tables = levels.level(0);
    let (smallest, largest) = key_range(tables)?;
    let below = overlapping(levels, 1, &smallest, &largest);
    let bytes = total_bytes(tables);
    let least = (total_bytes(below) / LEVEL_0_PART).max(options.table_bytes / LEVEL_0_PART);
    if bytes >= least || tables.len() < 2 {
        let inputs = vec![(0, tables.to_vec()), (1, below.to_vec())];
        return Some(Compaction::new(levels, inputs, 1));
    }
    let mut sum = 0u64;
    let newest = tables
        .iter()
        .enumerate()
        .take_while(|(position, table)| {
            let joins = *position < 2 || table.meta().bytes <= sum.saturating_mul(LEVEL_0_STEP);
            sum = sum.saturating_add(table.meta().bytes);
            joins
        })
        .map(|(_, table)| Arc::clone(table))
        .collect();
    Some(Compaction::new(levels, vec![(0, newest)], 0))
}

/// The table of a level whose merge into the next one writes least for what it moves.
fn best_of(levels: &Levels, level: usize) -> Option<&Arc<Table>> {
    levels.level(level).iter().min_by_key(|table| {
        let meta = table.meta();
        let below = overlapping(levels, level + 1, &meta.smallest, &meta.largest);
        total_bytes(below).saturating_mul(1000) / meta.bytes.max(1)
    })
}

/// A table and what it overlaps in the next level, into that level.
fn push_down(levels: &Levels, level: usize, table: &Arc<Table>) -> Compaction {
    let meta = table.meta();
    let below = overlapping(levels, level + 1, &meta.smallest, &meta.largest);
    let inputs = vec![
        (level, vec![Arc::clone(table)]),
        (level + 1, below.to_vec()),
    ];
    Compaction::new(levels, inputs, level + 1)
}

/// A merge that gets rid of enough dead entries.
fn for_the_dead(levels: &Levels, oldest_needed: Lsn) -> Option<Compaction> {
    let enough = |dead: u64, entries: u64| dead > 0 && dead.saturating_mul(DEAD_PART) >= entries;
    let newest = levels.level(0);
    if let Some((smallest, largest)) = key_range(newest) {
        let below = overlapping(levels, 1, &smallest, &largest);
        let tombstones = newest.iter().map(|table| table.meta().tombstones).sum();
        if enough(tombstones, entries(newest) + entries(below)) {
            let inputs = vec![(0, newest.to_vec()), (1, below.to_vec())];
            return Some(Compaction::new(levels, inputs, 1));
        }
    }
    for level in 1..levels.len() {
        for table in levels.level(level) {
            let meta = table.meta();
            let deeper = |from: usize| {
                (from..levels.len()).any(|level| {
                    !overlapping(levels, level, &meta.smallest, &meta.largest).is_empty()
                })
            };
            if deeper(level + 1) {
                let below = overlapping(levels, level + 1, &meta.smallest, &meta.largest);
                if enough(meta.tombstones, meta.entries + entries(below)) {
                    return Some(push_down(levels, level, table));
                }
            } else if meta.max_lsn <= oldest_needed && enough(dead_entries(table), meta.entries) {
                let inputs = vec![(level, vec![Arc::clone(table)])];
                return Some(Compaction::new(levels, inputs, level));
            }
        }
    }
    None
}

/// Entries that a table at the bottom does not need once no view is older than it.
fn dead_entries(table: &Table) -> u64 {
    let meta = table.meta();
    (meta.entries - meta.keys).saturating_add(meta.tombstones)
}

fn entries(tables: &[Arc<Table>]) -> u64 {
    tables.iter().map(|table| table.meta().entries).sum()
}

fn overlapping<'a>(
    levels: &'a Levels,
    level: usize,
    smallest: &[u8],
    largest: &[u8],
) -> &'a [Arc<Table>] {
    levels
        .level(level)
        .get(levels.overlapping(level, smallest, largest))
        .unwrap_or_default()
}

/// Smallest and largest key of tables.
fn key_range<'a>(tables: impl IntoIterator<Item = &'a Arc<Table>>) -> Option<(Bytes, Bytes)> {
    tables
        .into_iter()
        .map(|table| (table.meta().smallest.clone(), table.meta().largest.clone()))
        .reduce(|(smallest, largest), (other_smallest, other_largest)| {
            (smallest.min(other_smallest), largest.max(other_largest))
        })
}

/// Whether no key can be in two of the tables.
fn disjoint(tables: &[&Arc<Table>]) -> bool {
    let mut sorted: Vec<_> = tables.iter().map(|table| table.meta()).collect();
    sorted.sort_by(|a, b| a.smallest.cmp(&b.smallest));
    sorted
        .iter()
        .zip(sorted.iter().skip(1))
        .all(|(left, right)| left.largest < right.smallest)
}
