//! A disk in memory whose power can be cut at every call.
//!
//! It keeps what was written apart from what was synced, in sectors of 512 bytes, and the entries
//! of directories apart from the synced ones. [`SimDisk::image`] takes the state of a moment, and
//! [`Image::survive`] decides by seed what the next start finds of it.
//!
//! Fault model. At a power cut:
//! - bytes written since the last sync of their file may be lost, kept or torn, sector by sector,
//!   inside a sector too ([`LossVariant::TearLast`]), and so may the length;
//! - entries made, renamed, linked or removed since the last sync of their directory may be lost or
//!   kept. The entries of one rename change together, and no entry is in a later state without its
//!   earlier ones. Changes of different entries are apart: of an unsynced link and the removal of
//!   the first name, the removal alone may survive. A rename across two directories is certain
//!   only once both are synced;
//! - a file whose entry survives may hold nothing of its bytes, and the reverse;
//! - a directory made by [`Disk::create_dir`] is an entry of the one above it, like a file.
//!
//! At a process kill everything that returned stays, and a write that had not returned may stop
//! between two pages ([`LossVariant::KillInWrite`]). Growth past the free space fails with
//! `ENOSPC` after the part that fits was written.
//!
//! What never happens, whatever the seed: a synced byte that was not written over since changes or
//! is lost; a synced entry disappears without a rename or removal of it; a byte appears that was
//! never written there, other than zeros in a hole. [`SimDisk::corrupt`] is the exception, on
//! purpose. Cut the journal short only by syncs: past 256 MiB unsynced, the oldest half becomes
//! durable by itself, as with a kernel that writes back.
//!
//! Absolute and relative paths start at the same root; `..` is refused.

mod content;
mod image;
mod machine;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustix::io::Errno;

use self::content::as_usize;
pub use self::image::{Image, LossVariant};
use self::machine::Machine;
use self::tree::Node;
use super::{CallCounts, CallKind, Disk, File, Lock, OpenMode, Space};

const DEFAULT_TOTAL_BYTES: u64 = 1 << 40;
const FIRST_BOOT_ID: u128 = 1;

/// Which side of a call a hook is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The call has had no effect yet.
    Before,
    /// Its effect is there, and its caller does not know yet.
    After,
}

/// A call that writes, names or syncs, as its hook sees it.
pub struct CallInfo<'a> {
    /// Counts the calls that change something, from 0, in the order in which they began.
    pub index: u64,
    /// Which call.
    pub kind: CallKind,
    /// The path it was given; for a file, the one it was opened by.
    pub path: &'a Path,
    /// The new name of a rename or link.
    pub to: Option<&'a Path>,
    /// Before or after the effect.
    pub moment: Moment,
    disk: &'a SimDisk,
}

impl CallInfo<'_> {
    /// The state of this moment.
    pub fn image(&self) -> Image {
        self.disk.image()
    }
}

type Hook = Arc<dyn Fn(&CallInfo<'_>) + Send + Sync>;

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    hook: RwLock<Option<Hook>>,
    next_call: AtomicU64,
}

struct State {
    machine: Machine,
    handles: BTreeMap<Node, u64>,
    locks: BTreeSet<Node>,
    calls: CallCounts,
    ignored: Vec<Ignored>,
}

/// A sync that reports success and does nothing.
struct Ignored {
    kind: CallKind,
    path_part: String,
    calls: u64,
}

impl State {
    /// Whether a sync is switched off; counts it if so.
    fn ignores(&mut self, kind: CallKind, path: &Path) -> bool {
        let path = path.to_string_lossy();
        let rule = self
            .ignored
            .iter_mut()
            .find(|rule| rule.kind == kind && path.contains(&rule.path_part));
        if let Some(rule) = rule {
            rule.calls += 1;
            return true;
        }
        false
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk with 1 TiB free. Only the root directory exists.
    pub fn new() -> Self {
        Self::from_machine(Machine::new(FIRST_BOOT_ID, DEFAULT_TOTAL_BYTES))
    }

    fn from_machine(machine: Machine) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    machine,
                    handles: BTreeMap::new(),
                    locks: BTreeSet::new(),
                    calls: CallCounts::default(),
                    ignored: Vec::new(),
                }),
                hook: RwLock::new(None),
                next_call: AtomicU64::new(0),
            }),
        }
    }

    /// Calls `hook` before and after each call that can change what a power cut leaves, on the
    /// thread that makes the call. Replaces an earlier hook.
    pub fn on_call(&self, hook: impl Fn(&CallInfo<'_>) + Send + Sync + 'static) {
        *self
            .shared
            .hook
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
    }

    /// Calls no hook from now on.
    pub fn clear_hook(&self) {
        *self
            .shared
            .hook
            .write()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The state of this moment, unsynced changes included.
    pub fn image(&self) -> Image {
        Image {
            machine: self.state().machine.clone(),
        }
    }

    /// How many calls of each kind were made.
    pub fn calls(&self) -> CallCounts {
        self.state().calls.clone()
    }

    /// Sets the space that is free now, and the total.
    pub fn set_space(&self, space: Space) {
        self.state().machine.set_space(space);
    }

    /// Sets the boot id.
    pub fn set_boot_id(&self, boot_id: u128) {
        self.state().machine.boot_id = boot_id;
    }

    /// From now on syncs of this kind, [`CallKind::SyncData`] or [`CallKind::SyncDir`], on paths
    /// that contain `path_part` report success and do nothing.
    pub fn ignore_syncs(&self, kind: CallKind, path_part: &str) {
        let path_part = path_part.to_owned();
        self.state().ignored.push(Ignored {
            kind,
            path_part,
            calls: 0,
        });
    }

    /// How many syncs were ignored: a test that switches one off must see that it was called.
    pub fn ignored_syncs(&self) -> u64 {
        self.state().ignored.iter().map(|rule| rule.calls).sum()
    }

    /// Does to a file what a failed fdatasync does on Linux: its unsynced bytes stay readable, and
    /// no later sync makes them durable, although it reports success.
    pub fn drop_unsynced(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let file = state.machine.seen.find_file(path)?;
        state.machine.drop_unsynced(file);
        Ok(())
    }

    /// Changes the bytes of a file behind the back of whoever has it open, also on the drive.
    pub fn corrupt(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut bytes = self.read(path)?;
        change(&mut bytes);
        let mut state = self.state();
        let file = state.machine.seen.find_file(path)?;
        state.machine.overwrite(file, &bytes)
    }

    /// The bytes of a file as running code sees them. Not counted as a call.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        let file = state.machine.seen.find_file(path)?;
        Ok(state
            .machine
            .seen
            .files
            .get(&file)
            .ok_or(Errno::NOENT)?
            .to_vec())
    }

    /// Every path with its length, and what of it is not durable, one a line, for messages.
    pub fn dump(&self) -> String {
        let state = self.state();
        let machine = &state.machine;
        let durable: BTreeMap<PathBuf, Node> = machine.durable.walk().into_iter().collect();
        let mut text = String::new();
        for (path, node) in machine.seen.walk() {
            let unsynced_name = if durable.get(&path) == Some(&node) {
                ""
            } else {
                ", name unsynced"
            };
            let path = path.display();
            // Writing to a String cannot fail.
            let _ = match machine.seen.files.get(&node) {
                None => writeln!(text, "{path}/{unsynced_name}"),
                Some(content) => {
                    let changes = machine
                        .journal
                        .iter()
                        .filter(|c| c.file() == Some(node))
                        .count();
                    let len = content.len();
                    writeln!(
                        text,
                        "{path} {len} bytes, {changes} unsynced{unsynced_name}"
                    )
                }
            };
        }
        text
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call that changes nothing, and makes it.
    fn look<T>(&self, kind: CallKind, body: impl FnOnce(&State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        state.calls.add(kind);
        body(&state)
    }

    /// Counts a call that may change something, and makes it between its two moments.
    fn change<T>(
        &self,
        kind: CallKind,
        path: &Path,
        to: Option<&Path>,
        body: impl FnOnce(&mut State, u64) -> io::Result<T>,
    ) -> io::Result<T> {
        let index = self.shared.next_call.fetch_add(1, Ordering::Relaxed);
        let hook = self
            .shared
            .hook
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let tell = |moment| {
            if let Some(hook) = &hook {
                hook(&CallInfo {
                    index,
                    kind,
                    path,
                    to,
                    moment,
                    disk: self,
                });
            }
        };
        tell(Moment::Before);
        let result = {
            let mut state = self.state();
            state.calls.add(kind);
            body(&mut state, index)
        };
        tell(Moment::After);
        if kind == CallKind::Write {
            self.state().machine.returned(index);
        }
        result
    }

    pub(super) fn open_file(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<SimFile>> {
        if mode == OpenMode::Create {
            return self.change(CallKind::Create, path, None, |state, call| {
                let node = state.machine.create(call, path)?;
                Ok(self.handle(state, node, path, true))
            });
        }
        let mut state = self.state();
        state.calls.add(CallKind::Open);
        let node = state.machine.seen.find_file(path)?;
        Ok(self.handle(&mut state, node, path, mode == OpenMode::Write))
    }

    fn handle(&self, state: &mut State, node: Node, path: &Path, writable: bool) -> Arc<SimFile> {
        *state.handles.entry(node).or_insert(0) += 1;
        Arc::new(SimFile {
            disk: self.clone(),
            node,
            path: path.to_owned(),
            writable,
        })
    }

    fn close(&self, node: Node) {
        let mut state = self.state();
        let State {
            machine, handles, ..
        } = &mut *state;
        let left = handles
            .get(&node)
            .map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            handles.remove(&node);
            machine.collect(handles);
        } else {
            handles.insert(node, left);
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file: Arc<dyn File> = self.open_file(path, mode)?;
        Ok(file)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change(CallKind::CreateDir, path, None, |state, call| {
            state.machine.create_dir(call, path)
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.look(CallKind::List, |state| {
            let seen = &state.machine.seen;
            Ok(seen.names(seen.find(dir)?)?.keys().cloned().collect())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(CallKind::Rename, from, Some(to), |state, call| {
            state.machine.rename(call, from, to)?;
            state.machine.collect(&state.handles);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(CallKind::Remove, path, None, |state, call| {
            state.machine.remove(call, path)?;
            state.machine.collect(&state.handles);
            Ok(())
        })
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(CallKind::Remove, dir, None, |state, call| {
            state.machine.remove_dir(call, dir)?;
            state.machine.collect(&state.handles);
            Ok(())
        })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(CallKind::Link, from, Some(to), |state, call| {
            state.machine.link(call, from, to)
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(CallKind::SyncDir, dir, None, |state, _| {
            let node = state.machine.seen.find(dir)?;
            if !state.ignores(CallKind::SyncDir, dir) {
                state.machine.sync_dir(node)?;
                state.machine.collect(&state.handles);
            }
            Ok(())
        })
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.look(CallKind::Space, |state| {
            state.machine.seen.find(dir)?;
            Ok(state.machine.space())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.change(CallKind::Lock, path, None, |state, call| {
            let node = match state.machine.seen.find_file(path) {
                Ok(node) => node,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    state.machine.create(call, path)?
                }
                Err(error) => return Err(error),
            };
            if !state.locks.insert(node) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            *state.handles.entry(node).or_insert(0) += 1;
            let lock: Box<dyn Lock> = Box::new(SimLock {
                disk: self.clone(),
                node,
            });
            Ok(lock)
        })
    }

    fn boot_id(&self) -> u128 {
        self.state().machine.boot_id
    }
}

pub(super) struct SimFile {
    disk: SimDisk,
    node: Node,
    path: PathBuf,
    writable: bool,
}

impl SimFile {
    /// See [`SimDisk::drop_unsynced`]; works after a rename or removal, too.
    pub(super) fn drop_unsynced(&self) {
        self.disk.state().machine.drop_unsynced(self.node);
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(Errno::BADF.into())
        }
    }
}

impl File for SimFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.look(CallKind::Read, |state| {
            let content = state
                .machine
                .seen
                .files
                .get(&self.node)
                .ok_or(Errno::BADF)?;
            let there = as_usize(content.len().saturating_sub(offset)).min(buf.len());
            if there < buf.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            content.read(buf, offset);
            Ok(())
        })
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.disk
            .change(CallKind::Write, &self.path, None, |state, call| {
                self.check_writable()?;
                state.machine.write(call, self.node, buf, offset)
            })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk
            .change(CallKind::SyncData, &self.path, None, |state, _| {
                if state.ignores(CallKind::SyncData, &self.path) {
                    return Ok(());
                }
                state.machine.sync_data(self.node)
            })
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk
            .change(CallKind::Truncate, &self.path, None, |state, call| {
                self.check_writable()?;
                state.machine.truncate(call, self.node, len)
            })
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.look(CallKind::Len, |state| {
            Ok(state
                .machine
                .seen
                .files
                .get(&self.node)
                .ok_or(Errno::BADF)?
                .len())
        })
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.close(self.node);
    }
}

struct SimLock {
    disk: SimDisk,
    node: Node,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.node);
        self.disk.close(self.node);
    }
}

#[cfg(test)]
mod tests;
