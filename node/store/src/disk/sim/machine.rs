//! What a simulated machine holds: the tree that running code sees, the tree that is durable, and
//! the journal of changes between them in call order.
//!
//! Invariant: the durable tree plus the journal is the tree that is seen, except for files whose
//! dirty pages were dropped by a failed sync; there the seen tree is ahead for good.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::content::{Content, MAX_FILE_BYTES, PAGE_BYTES, as_u64};
use super::tree::{Name, Node, ROOT, Tree, components};
use crate::disk::Space;

/// Unsynced bytes that a machine holds before it writes the oldest back by itself, as a kernel
/// does. Each change counts at least [`CHANGE_BYTES`].
const MAX_UNSYNCED_BYTES: u64 = 256 << 20;
const CHANGE_BYTES: u64 = 64;

/// A change that is not durable yet.
#[derive(Clone)]
pub(super) struct Change {
    /// Number of the call that made it.
    pub(super) call: u64,
    pub(super) what: What,
    /// A failed sync dropped it: no later sync makes it durable.
    pub(super) dropped: bool,
}

#[derive(Clone)]
pub(super) enum What {
    Write {
        file: Node,
        offset: u64,
        bytes: Arc<[u8]>,
    },
    Truncate {
        file: Node,
        len: u64,
    },
    /// Entries that change together; the directories are those not synced since.
    Names {
        entries: Arc<[(Name, Option<Node>)]>,
        unsynced: [Option<Node>; 2],
    },
}

impl Change {
    /// The file whose bytes it changes.
    pub(super) fn file(&self) -> Option<Node> {
        match self.what {
            What::Write { file, .. } | What::Truncate { file, .. } => Some(file),
            What::Names { .. } => None,
        }
    }

    pub(super) fn apply(&self, tree: &mut Tree) {
        match &self.what {
            What::Names { entries, .. } => {
                for (entry, node) in entries.iter() {
                    tree.set(entry, *node);
                }
            }
            What::Write { file, .. } | What::Truncate { file, .. } => {
                if let Some(content) = tree.files.get_mut(file) {
                    self.apply_to(content);
                }
            }
        }
    }

    pub(super) fn apply_to(&self, content: &mut Content) {
        match &self.what {
            What::Write { offset, bytes, .. } => content.write(bytes, *offset),
            What::Truncate { len, .. } => content.set_len(*len),
            What::Names { .. } => {}
        }
    }

    fn bytes(&self) -> u64 {
        match &self.what {
            What::Write { bytes, .. } => CHANGE_BYTES + as_u64(bytes.len()),
            What::Truncate { .. } | What::Names { .. } => CHANGE_BYTES,
        }
    }
}

/// A write that was applied but has not returned to its caller.
#[derive(Clone)]
pub(super) struct InFlight {
    pub(super) call: u64,
    pub(super) file: Node,
    pub(super) before: Content,
}

#[derive(Clone)]
pub(super) struct Machine {
    pub(super) seen: Tree,
    pub(super) durable: Tree,
    pub(super) journal: Vec<Change>,
    pub(super) in_flight: Vec<InFlight>,
    /// Files of which the seen content is not the durable one plus the journal.
    pub(super) diverged: BTreeSet<Node>,
    pub(super) boot_id: u128,
    pub(super) total_bytes: u64,
    /// Taken by somebody else.
    pub(super) others_bytes: u64,
    next_node: u64,
    unsynced_bytes: u64,
}

impl Machine {
    pub(super) fn new(boot_id: u128, total_bytes: u64) -> Self {
        Self {
            seen: Tree::new(),
            durable: Tree::new(),
            journal: Vec::new(),
            in_flight: Vec::new(),
            diverged: BTreeSet::new(),
            boot_id,
            total_bytes,
            others_bytes: 0,
            next_node: ROOT.0 + 1,
            unsynced_bytes: 0,
        }
    }

    /// The machine after a restart that found `tree` on the drive.
    pub(super) fn restarted(&self, mut tree: Tree, boot_id: u128) -> Self {
        tree.retain_reachable();
        Self {
            durable: tree.clone(),
            seen: tree,
            others_bytes: self.others_bytes,
            next_node: self.next_node,
            ..Self::new(boot_id, self.total_bytes)
        }
    }

    pub(super) fn space(&self) -> Space {
        let taken = self
            .others_bytes
            .saturating_add(self.seen.allocated_bytes());
        Space {
            free_bytes: self.total_bytes.saturating_sub(taken),
            total_bytes: self.total_bytes,
        }
    }

    pub(super) fn set_space(&mut self, space: Space) {
        self.total_bytes = space.total_bytes;
        let ours = self.seen.allocated_bytes();
        self.others_bytes = space.total_bytes.saturating_sub(space.free_bytes + ours);
    }

    pub(super) fn create(&mut self, call: u64, path: &Path) -> io::Result<Node> {
        let entry = self.seen.entry(path)?;
        if self.seen.get(&entry).is_some() {
            return Err(Errno::EXIST.into());
        }
        let file = self.new_node();
        self.seen.files.insert(file, Content::default());
        self.durable.files.insert(file, Content::default());
        self.change_names(call, vec![(entry, Some(file))]);
        Ok(file)
    }

    pub(super) fn create_dir(&mut self, call: u64, path: &Path) -> io::Result<()> {
        let mut dir = ROOT;
        for name in components(path)? {
            let entry = Name {
                dir,
                name: name.to_owned(),
            };
            dir = match self.seen.get(&entry) {
                Some(node) => node,
                None => {
                    self.seen.names(dir)?;
                    let node = self.new_node();
                    self.seen.dirs.insert(node, Arc::default());
                    self.durable.dirs.insert(node, Arc::default());
                    self.change_names(call, vec![(entry, Some(node))]);
                    node
                }
            };
        }
        if self.seen.dirs.contains_key(&dir) {
            Ok(())
        } else {
            Err(Errno::EXIST.into())
        }
    }

    pub(super) fn rename(&mut self, call: u64, from: &Path, to: &Path) -> io::Result<()> {
        let from = self.seen.entry(from)?;
        let node = self.seen.get(&from).ok_or(Errno::NOENT)?;
        let to = self.seen.entry(to)?;
        let is_dir = self.seen.dirs.contains_key(&node);
        if is_dir && self.seen.is_within(to.dir, node) {
            return Err(Errno::INVAL.into());
        }
        match self.seen.get(&to) {
            // Two names of one file: POSIX says to do nothing.
            Some(there) if there == node => return Ok(()),
            Some(there) => match (is_dir, self.seen.dirs.get(&there)) {
                (true, None) => return Err(Errno::NOTDIR.into()),
                (true, Some(names)) if !names.is_empty() => return Err(Errno::NOTEMPTY.into()),
                (false, Some(_)) => return Err(Errno::ISDIR.into()),
                (true, Some(_)) | (false, None) => {}
            },
            None => {}
        }
        self.change_names(call, vec![(from, None), (to, Some(node))]);
        Ok(())
    }

    pub(super) fn remove(&mut self, call: u64, path: &Path) -> io::Result<()> {
        self.seen.find_file(path)?;
        let entry = self.seen.entry(path)?;
        self.change_names(call, vec![(entry, None)]);
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, call: u64, path: &Path) -> io::Result<()> {
        let node = self.seen.find(path)?;
        if !self.seen.names(node)?.is_empty() {
            return Err(Errno::NOTEMPTY.into());
        }
        let entry = self.seen.entry(path)?;
        self.change_names(call, vec![(entry, None)]);
        Ok(())
    }

    pub(super) fn link(&mut self, call: u64, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.seen.find(from)?;
        let entry = self.seen.entry(to)?;
        if self.seen.get(&entry).is_some() {
            return Err(Errno::EXIST.into());
        }
        if self.seen.dirs.contains_key(&file) {
            return Err(Errno::PERM.into());
        }
        self.change_names(call, vec![(entry, Some(file))]);
        Ok(())
    }

    /// Writes what the free space allows, and fails if that is not all.
    pub(super) fn write(
        &mut self,
        call: u64,
        file: Node,
        bytes: &[u8],
        offset: u64,
    ) -> io::Result<()> {
        let end = offset.checked_add(as_u64(bytes.len())).ok_or(Errno::FBIG)?;
        if end > MAX_FILE_BYTES {
            return Err(Errno::FBIG.into());
        }
        let free_pages = self.space().free_bytes / PAGE_BYTES;
        let content = self.seen.files.get_mut(&file).ok_or(Errno::BADF)?;
        let (fits, rest) = bytes.split_at(content.room(offset, bytes.len(), free_pages));
        if !fits.is_empty() {
            self.in_flight.push(InFlight {
                call,
                file,
                before: content.clone(),
            });
            content.write(fits, offset);
            self.record(
                call,
                What::Write {
                    file,
                    offset,
                    bytes: fits.into(),
                },
            );
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(Errno::NOSPC.into())
        }
    }

    /// The write of this call has returned to its caller.
    pub(super) fn returned(&mut self, call: u64) {
        self.in_flight.retain(|write| write.call != call);
    }

    pub(super) fn truncate(&mut self, call: u64, file: Node, len: u64) -> io::Result<()> {
        if len > MAX_FILE_BYTES {
            return Err(Errno::FBIG.into());
        }
        let content = self.seen.files.get_mut(&file).ok_or(Errno::BADF)?;
        if content.len() != len {
            content.set_len(len);
            self.record(call, What::Truncate { file, len });
        }
        Ok(())
    }

    pub(super) fn sync_data(&mut self, file: Node) -> io::Result<()> {
        let seen = self.seen.files.get(&file).ok_or(Errno::BADF)?;
        if !self.diverged.contains(&file) {
            self.durable.files.insert(file, seen.clone());
        } else if let Some(content) = self.durable.files.get_mut(&file) {
            for change in &self.journal {
                if change.file() == Some(file) && !change.dropped {
                    change.apply_to(content);
                }
            }
        }
        self.retain_changes(|change| change.file() != Some(file));
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: Node) -> io::Result<()> {
        self.seen.names(dir)?;
        for change in &mut self.journal {
            if let What::Names { unsynced, .. } = &mut change.what {
                for waiting in unsynced.iter_mut() {
                    *waiting = waiting.filter(|waiting| *waiting != dir);
                }
            }
        }
        let mut due: Vec<bool> = self
            .journal
            .iter()
            .map(|change| {
                matches!(
                    change.what,
                    What::Names {
                        unsynced: [None, None],
                        ..
                    }
                )
            })
            .collect();
        with_earlier_names(&self.journal, &mut due);
        let mut decided = due.into_iter();
        let mut applied = Vec::new();
        self.retain_changes(|change| {
            let due = decided.next().unwrap_or(false);
            if due {
                applied.push(change.clone());
            }
            !due
        });
        for change in applied {
            change.apply(&mut self.durable);
        }
        Ok(())
    }

    /// Cuts a write in the journal down to `kept`.
    pub(super) fn replace_write(&mut self, write: &Change, kept: &[u8]) {
        let What::Write { file, offset, .. } = write.what else {
            return;
        };
        self.retain_changes(|change| {
            change.call != write.call || !matches!(change.what, What::Write { .. })
        });
        if !kept.is_empty() {
            self.record(
                write.call,
                What::Write {
                    file,
                    offset,
                    bytes: kept.into(),
                },
            );
            if let Some(cut) = self.journal.last_mut() {
                cut.dropped = write.dropped;
            }
        }
    }

    /// What a failed sync does to the dirty pages of a file: they stay readable and no later sync
    /// writes them.
    pub(super) fn drop_unsynced(&mut self, file: Node) {
        for change in &mut self.journal {
            if change.file() == Some(file) {
                change.dropped = true;
                self.diverged.insert(file);
            }
        }
    }

    /// Replaces the bytes of a file on the drive and in memory.
    pub(super) fn overwrite(&mut self, file: Node, bytes: &[u8]) -> io::Result<()> {
        if as_u64(bytes.len()) > MAX_FILE_BYTES {
            return Err(Errno::FBIG.into());
        }
        let mut content = Content::default();
        content.write(bytes, 0);
        self.seen.files.insert(file, content.clone());
        self.durable.files.insert(file, content);
        self.diverged.remove(&file);
        self.retain_changes(|change| change.file() != Some(file));
        Ok(())
    }

    /// Drops files that neither a name, now or after a power cut, nor an open handle leads to.
    pub(super) fn collect(&mut self, handles: &BTreeMap<Node, u64>) {
        let mut kept = self.seen.named();
        kept.extend(handles.keys().copied());
        self.seen.retain(&kept);
        kept.extend(self.durable.named());
        for change in &self.journal {
            if let What::Names { entries, .. } = &change.what {
                kept.extend(entries.iter().filter_map(|(_, node)| *node));
            }
        }
        self.durable.retain(&kept);
        self.diverged.retain(|file| kept.contains(file));
        self.retain_changes(|change| change.file().is_none_or(|file| kept.contains(&file)));
    }

    fn new_node(&mut self) -> Node {
        let node = Node(self.next_node);
        self.next_node += 1;
        node
    }

    fn change_names(&mut self, call: u64, entries: Vec<(Name, Option<Node>)>) {
        for (entry, node) in &entries {
            self.seen.set(entry, *node);
        }
        let mut dirs = entries.iter().map(|(entry, _)| entry.dir);
        let first = dirs.next();
        let unsynced = [first, dirs.next().filter(|dir| Some(*dir) != first)];
        self.record(
            call,
            What::Names {
                entries: entries.into(),
                unsynced,
            },
        );
    }

    fn record(&mut self, call: u64, what: What) {
        let change = Change {
            call,
            what,
            dropped: false,
        };
        self.unsynced_bytes += change.bytes();
        self.journal.push(change);
        if self.unsynced_bytes > MAX_UNSYNCED_BYTES {
            self.write_back_oldest();
        }
    }

    /// Makes the older half of the journal durable.
    fn write_back_oldest(&mut self) {
        for change in self.journal.drain(..self.journal.len().div_ceil(2)) {
            self.unsynced_bytes -= change.bytes();
            if !change.dropped {
                change.apply(&mut self.durable);
            }
        }
    }

    pub(super) fn retain_changes(&mut self, mut keep: impl FnMut(&Change) -> bool) {
        let unsynced_bytes = &mut self.unsynced_bytes;
        self.journal.retain(|change| {
            let kept = keep(change);
            if !kept {
                *unsynced_bytes -= change.bytes();
            }
            kept
        });
    }
}

/// Adds to the chosen changes of names each earlier one of an entry they touch: a directory entry
/// has one history, so a later state of it cannot be on the drive without the earlier ones.
pub(super) fn with_earlier_names(journal: &[Change], chosen: &mut [bool]) {
    let mut entries_chosen = BTreeSet::new();
    for (change, chosen) in journal.iter().zip(chosen.iter_mut()).rev() {
        if let What::Names { entries, .. } = &change.what {
            *chosen |= entries
                .iter()
                .any(|(entry, _)| entries_chosen.contains(entry));
            if *chosen {
                entries_chosen.extend(entries.iter().map(|(entry, _)| entry));
            }
        }
    }
}
