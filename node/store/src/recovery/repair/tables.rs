//! What can be kept of tables: every block that matches its checksum.
//!
//! Where index or footer are damaged, blocks are found by walking from section to section: the
//! length of one follows from its header, or, compressed, from where its checksum comes out right.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{Loss, Lost};
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Result, StoreError};
use crate::limits::MAX_BLOCK_BYTES;
use crate::lsn::Lsn;
use crate::read::VersionedEntry;
use crate::table::block::Block;
use crate::table::footer::{FOOTER_BYTES, Footer};
use crate::table::index::Index;
use crate::table::section::{self, Place};
use crate::table::{self, TableMeta};

/// The blocks of one table that can be read.
pub(super) struct Salvaged {
    file: Arc<dyn File>,
    path: PathBuf,
    number: u64,
    /// Offset and length of their sections.
    blocks: Vec<(u64, u32)>,
    pub(super) newest: Lsn,
}

/// What became of one table.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) table: Option<Salvaged>,
    pub(super) losses: Vec<Loss>,
    pub(super) note: Option<String>,
}

/// The table files of a directory.
pub(super) struct Found {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Numbers in file names.
    names: Vec<u64>,
    /// Files by the number and checksum of their footer, which may not be those of their name.
    footers: BTreeMap<(u64, u32), PathBuf>,
}

/// Looks at the footers of all table files.
pub(super) fn find(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Found> {
    let listed = match disk.list(dir) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(StoreError::io("list", dir, &error)),
    };
    let mut names: Vec<u64> = listed
        .iter()
        .filter_map(|name| table::parse_file_name(name))
        .collect();
    names.sort_unstable();
    let mut footers = BTreeMap::new();
    for number in &names {
        let path = dir.join(table::file_name(*number));
        if let Some((footer, checksum)) = open(disk, &path).and_then(|file| footer(&file, &path)) {
            let own_name = footer.number == *number;
            let known = footers.entry((footer.number, checksum));
            let known = known.or_insert_with(|| path.clone());
            if own_name {
                *known = path;
            }
        }
    }
    Ok(Found {
        disk: Arc::clone(disk),
        dir: dir.to_path_buf(),
        names,
        footers,
    })
}

struct Opened {
    file: Arc<dyn File>,
    length: u64,
}

/// A file that cannot be opened or measured holds nothing that can be kept.
fn open(disk: &Arc<dyn Disk>, path: &Path) -> Option<Opened> {
    let file = disk.open(path, OpenMode::Read).ok()?;
    let length = file.len().ok()?;
    Some(Opened { file, length })
}

fn footer(opened: &Opened, path: &Path) -> Option<(Footer, u32)> {
    let at = opened.length.checked_sub(FOOTER_BYTES as u64)?;
    let mut bytes = [0; FOOTER_BYTES];
    opened.file.read_exact_at(&mut bytes, at).ok()?;
    let (footer, checksum) = Footer::decode(&bytes, path, at).ok()?;
    (footer.file_bytes == opened.length).then_some((footer, checksum))
}

impl Found {
    /// The highest number that a file has in its name, or zero.
    pub(super) fn highest_number(&self) -> u64 {
        self.names.last().copied().unwrap_or(0)
    }

    /// What is left of the table that the manifest names.
    pub(super) fn salvage(&self, meta: &TableMeta) -> Outcome {
        let own = meta.path(&self.dir);
        let moved = self.footers.get(&(meta.number, meta.checksum));
        let path = moved.unwrap_or(&own);
        let mut outcome = self.walk(path, meta.number, Some(meta));
        if *path != own {
            outcome.note = Some(format!(
                "{} was found under the name {}",
                table::file_name(meta.number),
                path.display()
            ));
        }
        outcome
    }

    /// What is left of every table there is, where no manifest says which of them count.
    pub(super) fn salvage_all(&self) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = self
            .footers
            .iter()
            .map(|((number, _), path)| self.walk(path, *number, None))
            .collect();
        for number in &self.names {
            let path = self.dir.join(table::file_name(*number));
            if !self.footers.values().any(|known| *known == path) {
                outcomes.push(self.walk(&path, *number, None));
            }
        }
        outcomes
    }

    fn walk(&self, path: &Path, number: u64, meta: Option<&TableMeta>) -> Outcome {
        let missing = |length| Loss {
            file: path.to_path_buf(),
            offset: 0,
            bytes: length,
            what: Lost::Keys {
                from: meta.map(|meta| meta.smallest.clone()),
                to: meta.map(|meta| meta.largest.clone()),
                entries: meta.map(|meta| meta.entries),
                newest: meta.map(|meta| meta.max_lsn),
            },
        };
        let Some(opened) = open(&self.disk, path) else {
            return Outcome {
                losses: vec![missing(meta.map_or(0, |meta| meta.bytes))],
                ..Outcome::default()
            };
        };
        let footer = footer(&opened, path).filter(|(footer, _)| footer.number == number);
        let sections = footer.as_ref().and_then(|(footer, _)| {
            let stored = read(
                &opened.file,
                footer.index_offset,
                opened.length - FOOTER_BYTES as u64,
            )?;
            let place = Place {
                table: number,
                offset: footer.index_offset,
            };
            let content = section::open(&stored, place, stored.len()).ok()?;
            let index = Index::decode(&content, footer.filter_offset).ok()?;
            Some((0..index.len()).filter_map(move |block| index.handle(block)))
        });
        let mut walk = Walk {
            opened: &opened,
            path,
            meta,
            salvaged: Salvaged {
                file: Arc::clone(&opened.file),
                path: path.to_path_buf(),
                number,
                blocks: Vec::new(),
                newest: Lsn::ZERO,
            },
            last: None,
            entries: 0,
            open_loss: None,
            losses: Vec::new(),
        };
        match sections {
            Some(handles) => {
                for handle in handles {
                    walk.block(handle.offset, handle.offset + u64::from(handle.bytes));
                }
            }
            None => walk.by_checksums(),
        }
        walk.finish(footer.map(|(footer, _)| footer))
    }
}

fn read(file: &Arc<dyn File>, from: u64, to: u64) -> Option<Bytes> {
    let mut bytes = vec![0; usize::try_from(to.checked_sub(from)?).ok()?];
    file.read_exact_at(&mut bytes, from).ok()?;
    Some(Bytes::from(bytes))
}

struct Walk<'a> {
    opened: &'a Opened,
    path: &'a Path,
    meta: Option<&'a TableMeta>,
    salvaged: Salvaged,
    last: Option<(Bytes, Lsn)>,
    entries: u64,
    /// Offset and end of what could not be read since the last good block.
    open_loss: Option<(u64, u64)>,
    losses: Vec<Loss>,
}

impl Walk<'_> {
    /// Takes the section at `from..to` as a block if it is one.
    fn block(&mut self, from: u64, to: u64) {
        let entries = block_entries(
            &self.opened.file,
            self.salvaged.number,
            from,
            to.min(self.opened.length),
        );
        let Some(entries) = entries.filter(|entries| self.follows(entries)) else {
            let start = self.open_loss.map_or(from, |(start, _)| start);
            self.open_loss = Some((start, to));
            return;
        };
        self.close_loss(entries.first().map(|entry| entry.key.clone()));
        self.entries += entries.len() as u64;
        for entry in &entries {
            self.salvaged.newest = self.salvaged.newest.max(entry.lsn);
        }
        if let Some(last) = entries.last() {
            self.last = Some((last.key.clone(), last.lsn));
        }
        // A section that was read is shorter than the largest block and its header.
        let bytes = u32::try_from(to - from).unwrap_or(u32::MAX);
        self.salvaged.blocks.push((from, bytes));
    }

    fn follows(&self, entries: &[VersionedEntry]) -> bool {
        match (&self.last, entries.first()) {
            (Some((key, lsn)), Some(first)) => {
                (key, std::cmp::Reverse(*lsn)) < (&first.key, std::cmp::Reverse(first.lsn))
            }
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }

    /// Section by section from the start, up to the first that is no block: the filter, the end
    /// of the file, or damage.
    fn by_checksums(&mut self) {
        let mut from = 0;
        while let Some(to) = section_end(self.opened, self.salvaged.number, from) {
            let before = self.salvaged.blocks.len();
            self.block(from, to);
            if self.salvaged.blocks.len() == before {
                break;
            }
            from = to;
        }
        let complete = self.meta.is_some_and(|meta| meta.entries == self.entries);
        if !complete {
            let start = self.open_loss.map_or(from, |(start, _)| start);
            self.open_loss = Some((start, self.opened.length.max(start)));
        } else {
            self.open_loss = None;
        }
    }

    fn close_loss(&mut self, to: Option<Bytes>) {
        let Some((from, end)) = self.open_loss.take() else {
            return;
        };
        let lowest = self.last.as_ref().map(|(key, _)| key.clone());
        self.losses.push(Loss {
            file: self.path.to_path_buf(),
            offset: from,
            bytes: end - from,
            what: Lost::Keys {
                from: lowest.or_else(|| self.meta.map(|meta| meta.smallest.clone())),
                to: to.or_else(|| self.meta.map(|meta| meta.largest.clone())),
                entries: None,
                newest: self.meta.map(|meta| meta.max_lsn),
            },
        });
    }

    fn finish(mut self, footer: Option<Footer>) -> Outcome {
        self.close_loss(None);
        let all = self.meta.map(|meta| meta.entries);
        let all = all.or_else(|| footer.map(|footer| footer.entries));
        if let [
            Loss {
                what: Lost::Keys { entries, .. },
                ..
            },
        ] = self.losses.as_mut_slice()
        {
            *entries = all.map(|all| all.saturating_sub(self.entries));
        }
        Outcome {
            table: (!self.salvaged.blocks.is_empty()).then_some(self.salvaged),
            losses: self.losses,
            note: None,
        }
    }
}

/// The entries of the block in the section at `from..to`, if all of them can be read.
fn block_entries(
    file: &Arc<dyn File>,
    number: u64,
    from: u64,
    to: u64,
) -> Option<Vec<VersionedEntry>> {
    let stored = read(file, from, to)?;
    let place = Place {
        table: number,
        offset: from,
    };
    let content = section::open(&stored, place, MAX_BLOCK_BYTES).ok()?;
    let block = Block::new(content).ok()?;
    let mut all = Vec::new();
    let mut entries = Vec::new();
    for interval in 0..block.intervals() {
        block.decode_interval(interval, &mut entries).ok()?;
        all.append(&mut entries);
    }
    Some(all)
}

/// Where the section that begins at `from` ends, if its checksum comes out right anywhere.
fn section_end(opened: &Opened, number: u64, from: u64) -> Option<u64> {
    let head = read(
        &opened.file,
        from,
        from.checked_add(section::HEADER_BYTES as u64)?,
    )?;
    let place = Place {
        table: number,
        offset: from,
    };
    let (least, most) = section::payload_bounds(&head, MAX_BLOCK_BYTES)?;
    let start = from + section::HEADER_BYTES as u64;
    let most = (most as u64).min(opened.length.checked_sub(start)?);
    let stored = read(&opened.file, from, start + most)?;
    let payload = section::payload_length(&stored, place, least)?;
    Some(start + payload as u64)
}

/// The entries of a table's good blocks.
pub(super) struct SalvagedScan {
    table: Arc<Salvaged>,
    next_block: usize,
    entries: VecDeque<VersionedEntry>,
}

impl SalvagedScan {
    pub(super) fn new(table: Arc<Salvaged>) -> Self {
        Self {
            table,
            next_block: 0,
            entries: VecDeque::new(),
        }
    }
}

impl Iterator for SalvagedScan {
    type Item = Result<VersionedEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.pop_front() {
                return Some(Ok(entry));
            }
            let (offset, bytes) = *self.table.blocks.get(self.next_block)?;
            self.next_block += 1;
            let end = offset + u64::from(bytes);
            match block_entries(&self.table.file, self.table.number, offset, end) {
                Some(entries) => self.entries = entries.into(),
                None => {
                    self.next_block = usize::MAX;
                    let detail = "a block that could be read a moment ago cannot be read any more";
                    return Some(Err(StoreError::corrupt(&self.table.path, offset, detail)));
                }
            }
        }
    }
}
