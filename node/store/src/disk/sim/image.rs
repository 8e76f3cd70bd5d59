//! What a power cut or a kill leaves of a simulated machine.

use std::collections::{BTreeMap, BTreeSet};

use super::SimDisk;
use super::content::{Content, PAGE_BYTES, SECTOR_BYTES, as_u64, as_usize};
use super::machine::{Change, Machine, What, with_earlier_names};
use super::tree::{Node, Tree};

/// What happens to changes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossVariant {
    /// Power cut: all of them are lost, bytes and names.
    LoseUnsynced,
    /// Process kill: everything stays, and what was unsynced stays unsynced. Same boot id.
    KeepAll,
    /// Process kill inside a write that had not returned: it stops after some of its pages.
    /// Everything else stays. Same boot id. Without such a write it is `KeepAll`.
    KillInWrite,
    /// Power cut: changes survive in call order up to a point drawn by the seed.
    KeepPrefix,
    /// Power cut: for each unsynced sector one of the states it had, for each length one of its
    /// values, and each change of a directory, survive independently.
    RandomSectors,
    /// Power cut: as `KeepPrefix`, and of the last surviving write only some sectors, and one of
    /// them in part: its first bytes are new and its last ones old.
    TearLast,
}

impl LossVariant {
    /// Every variant.
    pub const ALL: [Self; 6] = [
        Self::LoseUnsynced,
        Self::KeepAll,
        Self::KillInWrite,
        Self::KeepPrefix,
        Self::RandomSectors,
        Self::TearLast,
    ];

    /// Whether the machine restarts, so that the boot id changes.
    pub fn is_power_cut(self) -> bool {
        !matches!(self, Self::KeepAll | Self::KillInWrite)
    }
}

/// A machine at one moment, unsynced changes apart. Cheap to take and to clone.
#[derive(Clone)]
pub struct Image {
    pub(super) machine: Machine,
}

impl Image {
    /// The disk that the next start finds. The same image, variant and seed give the same disk. It
    /// has no locks, no hook, no switched-off syncs, and counts its calls from zero.
    pub fn survive(&self, variant: LossVariant, seed: u64) -> SimDisk {
        let machine = &self.machine;
        let mut draw = Draw(seed);
        let tree = match variant {
            LossVariant::KeepAll => return SimDisk::from_machine(killed(machine.clone())),
            LossVariant::KillInWrite => {
                return SimDisk::from_machine(killed_in_write(machine, &mut draw));
            }
            LossVariant::LoseUnsynced => machine.durable.clone(),
            LossVariant::KeepPrefix => keep_prefix(machine, &mut draw),
            LossVariant::RandomSectors => random_sectors(machine, &mut draw),
            LossVariant::TearLast => tear_last(machine, &mut draw),
        };
        let mut boot_id = u128::from(draw.next()) << 64 | u128::from(draw.next());
        if boot_id == machine.boot_id {
            boot_id ^= 1;
        }
        SimDisk::from_machine(machine.restarted(tree, boot_id))
    }

    /// How many changes a power cut at this moment may take.
    pub fn unsynced_changes(&self) -> usize {
        self.machine.journal.len()
    }
}

/// No call of a killed process is under way and none of its handles is open.
fn killed(mut machine: Machine) -> Machine {
    machine.in_flight.clear();
    machine.collect(&BTreeMap::new());
    machine
}

fn killed_in_write(machine: &Machine, draw: &mut Draw) -> Machine {
    let mut left = machine.clone();
    for write in std::mem::take(&mut left.in_flight) {
        // Only while it is the newest change of its file: a later one has read past it.
        let newest = left
            .journal
            .iter()
            .rposition(|change| change.file() == Some(write.file));
        let Some(change) = newest.and_then(|at| left.journal.get(at)).cloned() else {
            continue;
        };
        let What::Write {
            file,
            offset,
            bytes,
        } = &change.what
        else {
            continue;
        };
        if change.call != write.call {
            continue;
        }
        // The kernel copies page by page, and looks for a kill between them.
        let pages = (offset % PAGE_BYTES + as_u64(bytes.len())).div_ceil(PAGE_BYTES);
        let cut = draw.below(pages + 1) * PAGE_BYTES;
        let kept = as_usize(cut.saturating_sub(offset % PAGE_BYTES)).min(bytes.len());
        let kept = bytes.get(..kept).unwrap_or_default();
        let mut content = write.before;
        content.write(kept, *offset);
        left.seen.files.insert(*file, content);
        left.replace_write(&change, kept);
    }
    killed(left)
}

fn keep_prefix(machine: &Machine, draw: &mut Draw) -> Tree {
    let kept = as_usize(draw.below(as_u64(machine.journal.len()) + 1));
    replay(machine, kept)
}

fn replay(machine: &Machine, changes: usize) -> Tree {
    let mut tree = machine.durable.clone();
    for change in machine.journal.iter().take(changes) {
        change.apply(&mut tree);
    }
    tree
}

fn tear_last(machine: &Machine, draw: &mut Draw) -> Tree {
    let writes: Vec<usize> = machine
        .journal
        .iter()
        .enumerate()
        .filter(|(_, change)| matches!(change.what, What::Write { .. }))
        .map(|(at, _)| at)
        .collect();
    let Some(last) = writes
        .get(as_usize(draw.below(as_u64(writes.len()))))
        .copied()
    else {
        return keep_prefix(machine, draw);
    };
    let mut tree = replay(machine, last);
    if let Some(Change {
        what: What::Write {
            file,
            offset,
            bytes,
        },
        ..
    }) = machine.journal.get(last)
        && let Some(content) = tree.files.get_mut(file)
    {
        let mut sectors: Vec<(u64, &[u8])> = by_sector(bytes, *offset).collect();
        // A drive may write its queue in any order.
        if draw.chance(1, 2) {
            draw.shuffle(&mut sectors);
        }
        let whole = as_usize(draw.below(as_u64(sectors.len())));
        for (at, part) in sectors.iter().take(whole) {
            content.write(part, *at);
        }
        if let Some((at, part)) = sectors.get(whole) {
            let new = as_usize(draw.below(as_u64(part.len())));
            content.write(part.get(..new).unwrap_or_default(), *at);
        }
    }
    tree
}

fn random_sectors(machine: &Machine, draw: &mut Draw) -> Tree {
    let mut tree = machine.durable.clone();
    let mut chosen: Vec<bool> = machine
        .journal
        .iter()
        .map(|change| change.file().is_none() && draw.chance(1, 2))
        .collect();
    with_earlier_names(&machine.journal, &mut chosen);
    for (change, chosen) in machine.journal.iter().zip(chosen) {
        if chosen {
            change.apply(&mut tree);
        }
    }
    let files: BTreeSet<Node> = machine.journal.iter().filter_map(Change::file).collect();
    for file in files {
        if let Some(content) = tree.files.get_mut(&file) {
            let changes: Vec<&Change> = machine
                .journal
                .iter()
                .filter(|change| change.file() == Some(file))
                .collect();
            *content = random_content(content, &changes, draw);
        }
    }
    tree
}

/// A drive holds for each sector one of the states that the page cache had when it wrote it, and
/// the file system one of the lengths; neither waits for the other.
fn random_content(durable: &Content, changes: &[&Change], draw: &mut Draw) -> Content {
    let mut states: BTreeMap<u64, u64> = BTreeMap::new();
    let mut lengths = vec![durable.len()];
    for change in changes {
        let before = lengths.last().copied().unwrap_or(0);
        let after = match &change.what {
            What::Write { offset, bytes, .. } => {
                for (at, _) in by_sector(bytes, *offset) {
                    *states.entry(at / SECTOR_BYTES).or_insert(0) += 1;
                }
                before.max(offset + as_u64(bytes.len()))
            }
            What::Truncate { len, .. } => *len,
            What::Names { .. } => before,
        };
        if after != before {
            lengths.push(after);
        }
    }

    // Which of its states each sector is left in, 0 being the durable one. How likely a new one is
    // differs by file, so that "nearly all" and "nearly none" happen too.
    let bias = 1 + draw.below(9);
    for state in states.values_mut() {
        *state = if draw.chance(bias, 10) {
            1 + draw.below(*state)
        } else {
            0
        };
    }
    let length_state = as_usize(draw.below(as_u64(lengths.len())));
    let mut length = lengths.get(length_state).copied().unwrap_or(0);
    let length_before = lengths
        .get(length_state.wrapping_sub(1))
        .copied()
        .unwrap_or(length);
    if length > length_before && draw.chance(1, 2) {
        let sectors = (length - length_before).div_ceil(SECTOR_BYTES);
        let grown = (length_before / SECTOR_BYTES + 1 + draw.below(sectors)) * SECTOR_BYTES;
        length = length.min(grown);
    }

    let mut cache = durable.clone();
    let mut drive = durable.clone();
    let mut lengths_passed = 0;
    let mut passed: BTreeMap<u64, u64> = BTreeMap::new();
    for change in changes {
        let before = cache.len();
        change.apply_to(&mut cache);
        if cache.len() != before {
            lengths_passed += 1;
        }
        if cache.len() < before && lengths_passed <= length_state {
            drive.set_len(drive.len().min(cache.len()));
        }
        if let What::Write { offset, bytes, .. } = &change.what {
            for (at, _) in by_sector(bytes, *offset) {
                let sector = at / SECTOR_BYTES;
                let state = passed.entry(sector).or_insert(0);
                *state += 1;
                if states.get(&sector) == Some(state) {
                    copy_sector(&cache, &mut drive, sector);
                }
            }
        }
    }
    drive.set_len(length);
    drive
}

fn copy_sector(from: &Content, to: &mut Content, sector: u64) {
    let mut bytes = vec![0; as_usize(SECTOR_BYTES)];
    from.read(&mut bytes, sector * SECTOR_BYTES);
    to.write(&bytes, sector * SECTOR_BYTES);
}

/// The parts of a write that lie in one sector each, with their offsets.
fn by_sector(bytes: &[u8], offset: u64) -> impl Iterator<Item = (u64, &[u8])> {
    let mut rest = bytes;
    let mut at = offset;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let take = as_usize(SECTOR_BYTES - at % SECTOR_BYTES).min(rest.len());
        let (part, after) = rest.split_at(take);
        let found = (at, part);
        rest = after;
        at += as_u64(take);
        Some(found)
    })
}

/// Numbers from a seed (SplitMix64): the same on every machine and in every version.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`; 0 for a bound of 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    fn chance(&mut self, parts: u64, of: u64) -> bool {
        self.below(of) < parts
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, as_usize(self.below(as_u64(end) + 1)));
        }
    }
}

#[cfg(test)]
mod tests;
