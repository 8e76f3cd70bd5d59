//! A layer over any disk that fails or delays chosen calls.
//!
//! Fault model: a rule picks calls by kind, by a part of the path, and by how many such calls came
//! before. A picked call
//! - fails without any effect, or
//! - fails after its effect ([`Rule::after_effect`]), so that its caller cannot know the outcome, or
//! - as a write, fails after a part was written ([`Rule::after_bytes`]), or
//! - is late ([`Rule::delay`]).
//!
//! A failed `sync_data` makes nothing durable. Over a simulated disk
//! ([`FaultDisk::over_sim`]) it also does what Linux does: the bytes since the last good sync stay
//! readable, and a later sync reports success without writing them.
//!
//! What never happens: a call that no rule picks behaves otherwise than on the disk below, and a
//! failure reports success.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::sim::{SimDisk, SimFile};
use super::{CallKind, Disk, File, Lock, OpenMode, Space};

/// What a picked call reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The drive failed (`EIO`).
    Eio,
    /// The file system is full (`ENOSPC`).
    Enospc,
    /// Another error number of the operating system.
    Os(i32),
    /// An error without a number.
    Kind(io::ErrorKind),
}

impl Failure {
    fn error(self) -> io::Error {
        match self {
            Self::Eio => Errno::IO.into(),
            Self::Enospc => Errno::NOSPC.into(),
            Self::Os(code) => io::Error::from_raw_os_error(code),
            Self::Kind(kind) => kind.into(),
        }
    }
}

/// Which of the matching calls are picked, counted from 1 when the rule is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Every,
    Nth(u64),
    From(u64),
}

/// Which part of its work a failing call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    None,
    Bytes(usize),
    All,
}

/// Which calls, and what happens to them. Without a failure or delay it only counts.
#[derive(Clone, Debug)]
pub struct Rule {
    kind: Option<CallKind>,
    path_part: String,
    turn: Turn,
    failure: Option<Failure>,
    effect: Effect,
    delay: Duration,
}

impl Rule {
    /// Every call of a kind.
    pub fn on(kind: CallKind) -> Self {
        Self {
            kind: Some(kind),
            ..Self::any()
        }
    }

    /// Every call.
    pub fn any() -> Self {
        Self {
            kind: None,
            path_part: String::new(),
            turn: Turn::Every,
            failure: None,
            effect: Effect::None,
            delay: Duration::ZERO,
        }
    }

    /// Only calls on a path that contains `part`: the path given to the call, or the one by which
    /// the file was opened. A rename or link has two.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        part.clone_into(&mut self.path_part);
        self
    }

    /// Only the `n`-th such call, from 1.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.turn = Turn::Nth(n);
        self
    }

    /// The `n`-th such call, from 1, and all after it until the rule is removed.
    #[must_use]
    pub fn from_nth(mut self, n: u64) -> Self {
        self.turn = Turn::From(n);
        self
    }

    /// The call fails, without any effect unless another method says so.
    #[must_use]
    pub fn fail(mut self, failure: Failure) -> Self {
        self.failure = Some(failure);
        self
    }

    /// A failing write writes its first `bytes` bytes. Other calls have no effect.
    #[must_use]
    pub fn after_bytes(mut self, bytes: usize) -> Self {
        self.effect = Effect::Bytes(bytes);
        self
    }

    /// A failing call is made, and its result replaced by the failure. A sync is not made: a sync
    /// that reports an error proves nothing.
    #[must_use]
    pub fn after_effect(mut self) -> Self {
        self.effect = Effect::All;
        self
    }

    /// The call starts this much later.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    fn matches(&self, kind: CallKind, path: &Path, to: Option<&Path>) -> bool {
        let part = self.path_part.as_str();
        self.kind.is_none_or(|wanted| wanted == kind)
            && [Some(path), to]
                .into_iter()
                .flatten()
                .any(|p| p.to_string_lossy().contains(part))
    }
}

/// Names a rule of one [`FaultDisk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(u64);

struct Active {
    id: RuleId,
    rule: Rule,
    matched: u64,
    picked: u64,
}

#[derive(Default)]
struct Rules {
    active: Vec<Active>,
    next_id: u64,
}

/// A disk that fails by rules. Clones are the same disk.
#[derive(Clone)]
pub struct FaultDisk {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Arc<dyn Disk>,
    sim: Option<SimDisk>,
    rules: Mutex<Rules>,
}

/// What the rules decided for one call.
struct Verdict {
    failure: Option<(Failure, Effect)>,
    delay: Duration,
}

impl FaultDisk {
    /// A layer over `inner`, without rules.
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self {
            shared: Arc::new(Shared {
                inner,
                sim: None,
                rules: Mutex::default(),
            }),
        }
    }

    /// A layer over a simulated disk, on which a failed `sync_data` also drops the bytes written
    /// since the last good one.
    pub fn over_sim(sim: SimDisk) -> Self {
        let inner = Arc::new(sim.clone());
        Self {
            shared: Arc::new(Shared {
                inner,
                sim: Some(sim),
                rules: Mutex::default(),
            }),
        }
    }

    /// Adds a rule. Where several pick a call, their delays add up and the oldest failure wins.
    pub fn add(&self, rule: Rule) -> RuleId {
        let mut rules = self.rules();
        let id = RuleId(rules.next_id);
        rules.next_id += 1;
        rules.active.push(Active {
            id,
            rule,
            matched: 0,
            picked: 0,
        });
        id
    }

    /// Removes a rule.
    pub fn remove_rule(&self, id: RuleId) {
        self.rules().active.retain(|active| active.id != id);
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.rules().active.clear();
    }

    /// How many calls a rule picked; 0 once it is removed.
    pub fn picked(&self, id: RuleId) -> u64 {
        self.rules()
            .active
            .iter()
            .find(|active| active.id == id)
            .map_or(0, |a| a.picked)
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.shared
            .rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, kind: CallKind, path: &Path, to: Option<&Path>) -> Verdict {
        let mut verdict = Verdict {
            failure: None,
            delay: Duration::ZERO,
        };
        for active in &mut self.rules().active {
            if !active.rule.matches(kind, path, to) {
                continue;
            }
            active.matched += 1;
            let picked = match active.rule.turn {
                Turn::Every => true,
                Turn::Nth(n) => active.matched == n,
                Turn::From(n) => active.matched >= n,
            };
            if picked {
                active.picked += 1;
                verdict.delay += active.rule.delay;
                if verdict.failure.is_none() {
                    verdict.failure = active.rule.failure.map(|f| (f, active.rule.effect));
                }
            }
        }
        verdict
    }

    /// Judges a call and makes what the verdict leaves of it. `part` does the first bytes.
    fn call<T>(
        &self,
        kind: CallKind,
        path: &Path,
        to: Option<&Path>,
        part: impl FnOnce(usize) -> io::Result<()>,
        whole: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let verdict = self.judge(kind, path, to);
        if !verdict.delay.is_zero() {
            thread::sleep(verdict.delay);
        }
        let Some((failure, effect)) = verdict.failure else {
            return whole();
        };
        match effect {
            // An error of the disk below is one, too; the caller learns the chosen one.
            Effect::All if !matches!(kind, CallKind::SyncData | CallKind::SyncDir) => {
                let _ = whole();
            }
            Effect::Bytes(bytes) => {
                let _ = part(bytes);
            }
            Effect::All | Effect::None => {}
        }
        Err(failure.error())
    }

    fn simple<T>(
        &self,
        kind: CallKind,
        path: &Path,
        whole: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.call(kind, path, None, |_| Ok(()), whole)
    }
}

impl Disk for FaultDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let kind = if mode == OpenMode::Create {
            CallKind::Create
        } else {
            CallKind::Open
        };
        let (inner, sim) = self.simple(kind, path, || match &self.shared.sim {
            Some(disk) => {
                let file = disk.open_file(path, mode)?;
                let inner: Arc<dyn File> = file.clone();
                Ok((inner, Some(file)))
            }
            None => Ok((self.shared.inner.open(path, mode)?, None)),
        })?;
        Ok(Arc::new(FaultFile {
            disk: self.clone(),
            path: path.to_owned(),
            inner,
            sim,
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.simple(CallKind::CreateDir, path, || {
            self.shared.inner.create_dir(path)
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.simple(CallKind::List, dir, || self.shared.inner.list(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let whole = || self.shared.inner.rename(from, to);
        self.call(CallKind::Rename, from, Some(to), |_| Ok(()), whole)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.simple(CallKind::Remove, path, || self.shared.inner.remove(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.simple(CallKind::Remove, dir, || self.shared.inner.remove_dir(dir))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let whole = || self.shared.inner.link(from, to);
        self.call(CallKind::Link, from, Some(to), |_| Ok(()), whole)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.simple(CallKind::SyncDir, dir, || self.shared.inner.sync_dir(dir))
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.simple(CallKind::Space, dir, || self.shared.inner.space(dir))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.simple(CallKind::Lock, path, || self.shared.inner.lock(path))
    }

    fn boot_id(&self) -> u128 {
        self.shared.inner.boot_id()
    }
}

impl fmt::Debug for FaultDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.rules();
        f.debug_list()
            .entries(rules.active.iter().map(|a| (&a.rule, a.matched, a.picked)))
            .finish()
    }
}

struct FaultFile {
    disk: FaultDisk,
    path: PathBuf,
    inner: Arc<dyn File>,
    /// The same file, if the disk below is a simulated one.
    sim: Option<Arc<SimFile>>,
}

impl File for FaultFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.simple(CallKind::Read, &self.path, || {
            self.inner.read_exact_at(buf, offset)
        })
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let part = |bytes: usize| {
            self.inner
                .write_all_at(buf.get(..bytes).unwrap_or(buf), offset)
        };
        let whole = || self.inner.write_all_at(buf, offset);
        self.disk
            .call(CallKind::Write, &self.path, None, part, whole)
    }

    fn sync_data(&self) -> io::Result<()> {
        let result = self
            .disk
            .simple(CallKind::SyncData, &self.path, || self.inner.sync_data());
        if let (Err(_), Some(sim)) = (&result, &self.sim) {
            sim.drop_unsynced();
        }
        result
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk
            .simple(CallKind::Truncate, &self.path, || self.inner.truncate(len))
    }

    fn len(&self) -> io::Result<u64> {
        self.disk
            .simple(CallKind::Len, &self.path, || self.inner.len())
    }
}

#[cfg(test)]
mod tests;
