//! From files to a running store: lock, manifest, tables, log, verdict, a log to go on with.
//!
//! It never appends to a segment of an earlier run and never trusts the page cache: frames whose
//! durability nothing proves are copied into a fresh segment that is synced before the first
//! reader sees them. Nothing old is overwritten until a checkpoint has passed it, so a recovery
//! that is killed at any point is repeated with the same result.

pub(crate) mod identity;
pub mod repair;
mod replay;
pub(crate) mod verify;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::disk::{Disk, Lock};
use crate::error::{Result, StoreError};
use crate::limits;
use crate::lsn::Lsn;
use crate::manifest::{Manifest, StoreFailure};
use crate::memtable::Memtable;
use crate::observer::Observer;
use crate::settings::{Components, Durability, Settings};
use crate::snapshot::restore;
use crate::table::{self, BlockCache, Levels, Table};
use crate::wal::frame::{self, FrameKind};
use crate::wal::reader::{LogEnd, ReadPlan};
use crate::wal::segment::{self, FRAMES_OFFSET, Origin, SegmentHeader};
use crate::wal::supply::{self, Supply};
use crate::wal::writer::{Log, SealedSegment};

/// Held while a directory is in use.
const LOCK_NAME: &str = "LOCK";

/// What recovery did.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Whether the store was made by this open.
    pub created: bool,
    /// Whether it had been closed cleanly.
    pub clean: bool,
    /// Transactions replayed from the log.
    pub transactions: u64,
    /// Bytes of log read.
    pub log_bytes: u64,
    /// Bytes of an unfinished or unsynced tail that were left out.
    pub bytes_cut: u64,
    /// Set when the machine stopped before the log was synced and transactions are lost that were
    /// acknowledged below `full`.
    pub unsynced_loss: Option<String>,
    /// Last transaction that was recovered.
    pub last_lsn: Lsn,
    /// LSN after which new transactions go on.
    pub resumes_after: Lsn,
    /// How long it took.
    pub took: Duration,
}

/// Everything a store starts with.
pub(crate) struct Recovered {
    pub(crate) manifest: Manifest,
    pub(crate) levels: Levels,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) memtable: Arc<Memtable>,
    pub(crate) log: Option<Log>,
    pub(crate) supply: Arc<Supply>,
    pub(crate) report: RecoveryReport,
    pub(crate) locks: Vec<Box<dyn Lock>>,
}

/// Size of a segment for this log directory and these settings.
pub(crate) fn segment_bytes(disk: &dyn Disk, settings: &Settings) -> Result<u64> {
    let space = disk
        .space(&settings.wal_dir)
        .map_err(|error| StoreError::io("measure the space of", &settings.wal_dir, &error))?;
    let most = (space.total_bytes / 16).min(settings.live.max_wal_bytes / 2);
    Ok(settings
        .segment_bytes
        .min(most)
        .max(limits::MIN_SEGMENT_BYTES))
}

/// Makes `dir` and what is missing above it, durably: a directory that a crash can take away takes
/// everything in it along.
pub(crate) fn prepare_dir(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let missing = dir
        .ancestors()
        .filter(|ancestor| !ancestor.as_os_str().is_empty())
        .take_while(|ancestor| disk.list(ancestor).is_err())
        .count();
    disk.create_dir(dir)
        .map_err(|error| StoreError::io("create", dir, &error))?;
    // A process that was killed may have made directories that it did not come to sync, so the ones
    // that were there already are synced too; not all of those are ours to open, though.
    for (place, parent) in dir.ancestors().skip(1).enumerate() {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        match disk.sync_dir(parent) {
            Err(error) if place < missing.max(1) => {
                return Err(StoreError::io("sync the directory", parent, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(crate) fn lock_dirs(disk: &dyn Disk, dirs: &[&Path]) -> Result<Vec<Box<dyn Lock>>> {
    let mut locks = Vec::new();
    let mut seen: Vec<&Path> = Vec::new();
    for dir in dirs {
        if seen.contains(dir) {
            continue;
        }
        seen.push(dir);
        let path = dir.join(LOCK_NAME);
        locks.push(disk.lock(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => StoreError::Locked { path: path.clone() },
            _ => StoreError::io("lock", &path, &error),
        })?);
    }
    Ok(locks)
}

/// Locks that were had, and a sentence for each that was not.
type ReadOnlyLocks = (Vec<Box<dyn Lock>>, Vec<String>);

/// As [`lock_dirs`], but makes nothing, and goes on without a lock that cannot be had because there
/// is no lock file or it cannot be opened: then one sentence says so.
fn lock_dirs_read_only(disk: &dyn Disk, dirs: &[&Path]) -> Result<ReadOnlyLocks> {
    let (mut locks, mut unlocked) = (Vec::new(), Vec::new());
    for (place, dir) in dirs.iter().enumerate() {
        if dirs.iter().take(place).any(|before| before == dir) {
            continue;
        }
        let path = dir.join(LOCK_NAME);
        match disk.lock_existing(&path) {
            Ok(lock) => locks.push(lock),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(StoreError::Locked { path });
            }
            Err(error) => unlocked.push(format!("{}: {error}", path.display())),
        }
    }
    Ok((locks, unlocked))
}

/// Opens or makes the store in the directories of `settings`.
pub(crate) fn open(
    settings: &Settings,
    components: &Components,
    cache: Arc<BlockCache>,
) -> Result<Recovered> {
    let started = Instant::now();
    let disk = &components.disk;
    let dirs = [
        &*settings.data_dir,
        &*settings.wal_dir,
        &*settings.checkpoint_dir,
    ];
    refuse_untouched(&**disk, settings, &dirs)?;
    for dir in dirs {
        prepare_dir(&**disk, dir)?;
    }
    let locks = lock_dirs(&**disk, &dirs)?;
    let level = settings.live.durability;
    let loaded = Manifest::load(&**disk, &settings.data_dir)?;
    let created = loaded.is_none();
    let mut manifest = match loaded {
        Some(manifest) => manifest,
        None => initialize(&**disk, settings, level)?,
    };
    let mut report = RecoveryReport {
        created,
        clean: manifest.clean,
        ..Default::default()
    };
    for (role, dir) in identity::directories(settings) {
        identity::confirm(&**disk, role, dir, &manifest)?;
    }
    let levels = open_tables(disk, &settings.checkpoint_dir, &manifest, &cache)?;
    let memtable = Arc::new(Memtable::new());
    let end = match manifest.log_start {
        Some(start) => Some(replay(components, settings, &manifest, start, &memtable)?),
        None => None,
    };
    // Only now: a start that is refused has changed nothing.
    sweep(&**disk, settings, &manifest)?;
    let last_lsn = end.as_ref().map_or(manifest.checkpoint, |end| end.last_lsn);
    if let Some(end) = &end {
        report.transactions = end.transactions;
        report.log_bytes = end.bytes;
        report.bytes_cut = end.bytes_cut;
        report.unsynced_loss.clone_from(&end.unsynced_loss);
    }
    memtable.applied(last_lsn, &[]);
    // At `full` nobody was ever shown an LSN that is not durable, in this run or, by what the log
    // and the manifest say, in an earlier one. Below it, LSNs may have been shown that are gone,
    // and must not come to mean another thing.
    let reached = end.as_ref().map_or(last_lsn, |end| end.reached);
    let known = last_lsn.max(reached).max(manifest.durable);
    let resumes_after = if manifest.clean || manifest.level == Durability::Full {
        known
    } else {
        known.max(Lsn(manifest.reservation.0.saturating_sub(1)))
    };
    report.last_lsn = last_lsn;
    report.resumes_after = resumes_after;
    let (log, supply) = continue_log(
        settings,
        components,
        &mut manifest,
        end,
        last_lsn,
        resumes_after,
    )?;
    manifest.clean = false;
    manifest.level = level;
    manifest.durable = resumes_after;
    manifest.reservation = resumes_after.plus(limits::LSN_RESERVATION);
    commit_manifest(&**disk, settings, &mut manifest)?;
    report.took = started.elapsed();
    Ok(Recovered {
        manifest,
        levels,
        cache,
        memtable,
        log,
        supply,
        report,
        locks,
    })
}

/// During an open nothing runs yet, so either failure is simply a refusal to open.
fn commit_manifest(disk: &dyn Disk, settings: &Settings, manifest: &mut Manifest) -> Result<()> {
    manifest.number += 1;
    manifest
        .store(disk, &settings.data_dir)
        .map_err(|failure| match failure {
            StoreFailure::Unchanged(error) | StoreFailure::Unknown(error) => error,
        })
}

/// Refuses what can be refused before the first directory or lock file is made: a start on the
/// wrong volume leaves no trace there. Whatever passes is looked at again under the locks.
fn refuse_untouched(disk: &dyn Disk, settings: &Settings, dirs: &[&Path]) -> Result<()> {
    let has = |dir: &Path, name: &str| {
        disk.list(dir)
            .is_ok_and(|names| names.iter().any(|found| found == name))
    };
    if dirs.iter().all(|dir| has(dir, LOCK_NAME)) {
        return Ok(());
    }
    match Manifest::load(disk, &settings.data_dir)? {
        Some(manifest) => identity::directories(settings)
            .into_iter()
            .try_for_each(|(role, dir)| identity::check(disk, role, dir, &manifest)),
        None => require_new(disk, settings),
    }
}

/// A new store: the manifest first, so that a crash leaves either nothing or a store.
fn initialize(disk: &dyn Disk, settings: &Settings, level: Durability) -> Result<Manifest> {
    require_new(disk, settings)?;
    let store_id = new_store_id()?;
    let mut manifest = Manifest::empty(store_id, level);
    commit_manifest(disk, settings, &mut manifest)?;
    Ok(manifest)
}

/// Refuses to make a store, or to check one, where the manifest of an old one is missing.
fn require_new(disk: &dyn Disk, settings: &Settings) -> Result<()> {
    let names = disk.list(&settings.data_dir).unwrap_or_default();
    if names.iter().any(|name| name == restore::MARKER) {
        return Err(StoreError::Mismatch {
            path: settings.data_dir.clone(),
            detail: format!(
                "{} lies here: a restore was interrupted; run it again, it goes on",
                restore::MARKER
            ),
        });
    }
    let content = [&settings.wal_dir, &settings.checkpoint_dir]
        .into_iter()
        .find_map(|dir| {
            let names = disk.list(dir).unwrap_or_default();
            let ours = |name: &String| {
                segment::parse_file_name(name).is_some()
                    || table::parse_file_name(name).is_some()
                    || name == identity::FILE_NAME
            };
            names.into_iter().find(ours).map(|name| (dir, name))
        });
    if let Some((dir, name)) = content {
        return Err(StoreError::Mismatch {
            path: settings.data_dir.clone(),
            detail: format!(
                "there is no manifest here, but {} lies in {}; a new store is not made over an old one: restore the manifest, or use empty directories",
                name,
                dir.display()
            ),
        });
    }
    Ok(())
}

fn new_store_id() -> Result<u128> {
    Ok((u128::from(supply::random_u64()?) << 64) | u128::from(supply::random_u64()?))
}

fn open_tables(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    manifest: &Manifest,
    cache: &Arc<BlockCache>,
) -> Result<Levels> {
    let mut levels = Vec::with_capacity(manifest.levels.len());
    for level in &manifest.levels {
        let tables: Result<Vec<_>> = level
            .iter()
            .map(|meta| Table::open(disk, dir, meta, Arc::clone(cache)))
            .collect();
        levels.push(tables?);
    }
    Levels::new(levels)
        .map_err(|error| StoreError::corrupt(dir.join("MANIFEST"), 0, error.to_string()))
}

/// Removes what a crash left half made.
fn sweep(disk: &dyn Disk, settings: &Settings, manifest: &Manifest) -> Result<()> {
    let live: Vec<PathBuf> = manifest
        .levels
        .iter()
        .flatten()
        .map(|meta| meta.path(&settings.checkpoint_dir))
        .collect();
    let list = |dir: &Path| {
        disk.list(dir)
            .map_err(|error| StoreError::io("list", dir, &error))
    };
    for name in list(&settings.checkpoint_dir)? {
        let path = settings.checkpoint_dir.join(&name);
        if table::parse_file_name(&name).is_some() && !live.contains(&path) {
            disk.remove(&path)
                .map_err(|error| StoreError::io("remove", &path, &error))?;
        }
    }
    // A restore was killed after its very last step but this one.
    let marker = settings.data_dir.join(restore::MARKER);
    match disk.remove(&marker) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::io("remove", &marker, &error));
        }
        _ => {}
    }
    for name in list(&settings.wal_dir)? {
        if segment::is_leftover(&name) {
            let path = settings.wal_dir.join(&name);
            disk.remove(&path)
                .map_err(|error| StoreError::io("remove", &path, &error))?;
        }
    }
    Ok(())
}

fn replay(
    components: &Components,
    settings: &Settings,
    manifest: &Manifest,
    start: u64,
    memtable: &Memtable,
) -> Result<LogEnd> {
    let plan = ReadPlan {
        disk: &*components.disk,
        dir: &settings.wal_dir,
        store_id: manifest.store_id,
        start,
        through: manifest.log_through.filter(|through| *through >= start),
        checkpoint: manifest.checkpoint,
        durable: manifest.durable,
    };
    let mut progress = |lsn, done, total| components.observer.recovery_progress(lsn, done, total);
    replay::replay(&plan, memtable, &mut progress)
}

/// A log for this run: a fresh segment that continues what was read, and what the manifest must
/// say of it. Without a log level, old segments stay until a checkpoint has passed them.
fn continue_log(
    settings: &Settings,
    components: &Components,
    manifest: &mut Manifest,
    end: Option<LogEnd>,
    last_lsn: Lsn,
    resumes_after: Lsn,
) -> Result<(Option<Log>, Arc<Supply>)> {
    let observer: &dyn Observer = &*components.observer;
    let newest = match &end {
        Some(end) => end.newest_number,
        None => segment::list_segments(&*components.disk, &settings.wal_dir)?
            .last_key_value()
            .map_or(0, |(number, _)| *number),
    };
    let supply = Arc::new(Supply::new(
        Arc::clone(&components.disk),
        settings.wal_dir.clone(),
        manifest.store_id,
        segment_bytes(&*components.disk, settings)?,
        manifest.next_segment.max(newest + 1),
    ));
    let Some(mut end) = end else {
        // Nothing of an older log counts; its files give their space.
        let old = segment::list_segments(&*components.disk, &settings.wal_dir)?;
        let path = |number| settings.wal_dir.join(segment::file_name(number));
        supply.retire(
            old.into_iter()
                .map(|(number, length)| (path(number), length))
                .collect(),
        );
        if settings.live.durability == Durability::None {
            return Ok((None, supply));
        }
        let log = start_log(&supply, resumes_after, VecDeque::new(), observer)?;
        manifest.log_start = Some(log.start_for(Lsn::MAX));
        manifest.log_through = manifest.log_start;
        manifest.next_segment = supply.next_number();
        return Ok((Some(log), supply));
    };
    supply.retire(std::mem::take(&mut end.obsolete));
    let log = if last_lsn == manifest.checkpoint {
        let log = start_log(&supply, resumes_after, end.segments, observer)?;
        manifest.log_start = Some(log.start_for(Lsn::MAX));
        log
    } else {
        cut_log(&supply, end, resumes_after, observer)?
    };
    manifest.log_through = Some(log.start_for(Lsn::MAX));
    manifest.next_segment = supply.next_number();
    Ok((Some(log), supply))
}

pub(crate) fn start_log(
    supply: &Arc<Supply>,
    resumes_after: Lsn,
    sealed: VecDeque<SealedSegment>,
    observer: &dyn Observer,
) -> Result<Log> {
    let origin = Origin::Start { resumes_after };
    let segment = supply.make(origin, &|_| Vec::new(), 0, observer)?;
    let chain = segment.header.chain_seed();
    Ok(Log::new(
        Arc::clone(supply),
        segment,
        FRAMES_OFFSET,
        chain,
        resumes_after,
        sealed,
    ))
}

fn cut_log(
    supply: &Arc<Supply>,
    end: LogEnd,
    resumes_after: Lsn,
    observer: &dyn Observer,
) -> Result<Log> {
    let after = end
        .unproven
        .front()
        .map_or(end.reached, |frame| Lsn(frame.first_lsn.0 - 1));
    let origin = Origin::Cut {
        previous: end.proven_end.segment,
        end_offset: end.proven_end.offset,
        after,
        copied: end.unproven.back().map_or(after, |frame| frame.last_lsn),
        resumes_after,
        chain: end.proven_end.chain,
    };
    let copies = |header: &SegmentHeader| {
        let mut content = Vec::new();
        let mut chain = header.chain_seed();
        for copied in &end.unproven {
            let mut frame = frame::empty_frame(copied.body.len());
            frame.extend_from_slice(&copied.body);
            chain = frame::seal_frame(
                &mut frame,
                FrameKind::Data,
                copied.count,
                copied.first_lsn,
                after,
                header.salt,
                chain,
            );
            content.extend_from_slice(&frame);
        }
        content
    };
    let copied_bytes: u64 = end
        .unproven
        .iter()
        .map(|copied| copied.body.len() as u64)
        .sum();
    let framing = (end.unproven.len() * frame::OVERHEAD_BYTES + frame::SEAL_BYTES) as u64;
    let least = FRAMES_OFFSET + copied_bytes + framing;
    let segment = supply.make(origin, &copies, least, observer)?;
    let content = copies(&segment.header);
    let offset = FRAMES_OFFSET + content.len() as u64;
    let chain = last_chain(&content, &segment.header);
    // Segments that recovery left behind hold nothing above what the cut says; one that does not
    // count any more may go as soon as the ones before it may.
    let mut sealed = end.segments;
    for old in &mut sealed {
        if old.number >= end.proven_end.segment {
            old.last_lsn = old.last_lsn.min(after);
        }
    }
    Ok(Log::new(
        Arc::clone(supply),
        segment,
        offset,
        chain,
        resumes_after,
        sealed,
    ))
}

/// The crc32 field of the last frame in `content`, or the segment's chain seed.
fn last_chain(content: &[u8], header: &SegmentHeader) -> u32 {
    let mut chain = header.chain_seed();
    let mut rest = content;
    while let Ok(found) = frame::check_frame(rest, header.salt) {
        chain = found.crc;
        let length = usize::try_from(found.frame_bytes()).unwrap_or(usize::MAX);
        rest = rest.get(length..).unwrap_or_default();
    }
    chain
}

/// Sums of counters: what the manifest has and what was replayed.
pub(crate) fn counters(manifest: &Manifest, memtable: &Memtable) -> BTreeMap<u64, i64> {
    let mut sums = manifest.counters.clone();
    for (id, delta) in memtable.counts() {
        *sums.entry(id).or_default() += delta;
    }
    sums
}
