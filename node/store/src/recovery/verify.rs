//! A read-only check of every byte that the manifest names, with the store closed.

use std::sync::Arc;

use crate::disk::Disk;
use crate::error::{Result, StoreError};
use crate::lsn::Lsn;
use crate::manifest::{self, Manifest};
use crate::recovery::{self, identity};
use crate::settings::Settings;
use crate::table::{BlockCache, Levels, Table};
use crate::wal::reader::{self, ReadPlan};
use crate::wal::segment;

/// What a check found. Without faults, an open will succeed and lose nothing.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Tables read.
    pub tables: u64,
    /// Bytes of tables read.
    pub table_bytes: u64,
    /// Versions of keys in tables.
    pub entries: u64,
    /// Transactions in the log that no table holds yet.
    pub log_transactions: u64,
    /// Bytes of log read.
    pub log_bytes: u64,
    /// Bytes of an unfinished tail of the log, which the next open leaves out.
    pub tail_bytes: u64,
    /// Set when the machine stopped before the log was synced; the next open goes on without what
    /// is lost.
    pub unsynced_loss: Option<String>,
    /// Everything up to this LSN is in tables.
    pub checkpoint_lsn: Lsn,
    /// The last transaction that an open would recover.
    pub last_lsn: Lsn,
    /// Lock files that are missing or cannot be opened: nothing kept a node from changing what was
    /// read.
    pub unlocked: Vec<String>,
    /// All damage found, each with file and offset.
    pub faults: Vec<StoreError>,
}

/// Smallest cache there is: every byte is read from the disk anyway.
const CACHE_BYTES: u64 = 1024 * 1024;

/// Reads the manifest, every table whole and the log. `progress` gets bytes done and in all.
///
/// # Errors
/// What keeps it from starting: no store there, the directory in use, a damaged manifest. Damage
/// in tables and log goes into the report, so that all of it is seen at once.
pub fn verify(
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport> {
    let names = disk
        .list(&settings.data_dir)
        .map_err(|error| StoreError::io("open the directory", &settings.data_dir, &error))?;
    let missing = || StoreError::Io {
        op: "open",
        path: settings.data_dir.join(manifest::FILE_NAME),
        kind: std::io::ErrorKind::NotFound,
        message: "there is no database in this directory".to_owned(),
    };
    if !names.iter().any(|name| name == manifest::FILE_NAME) {
        recovery::require_new(&**disk, settings)?;
        return Err(missing());
    }
    let dirs = [
        &*settings.data_dir,
        &*settings.wal_dir,
        &*settings.checkpoint_dir,
    ];
    let (_locks, unlocked) = recovery::lock_dirs_read_only(&**disk, &dirs)?;
    let manifest = Manifest::load(&**disk, &settings.data_dir)?.ok_or_else(missing)?;
    let mut report = VerifyReport {
        checkpoint_lsn: manifest.checkpoint,
        unlocked,
        ..Default::default()
    };
    for (role, dir) in identity::directories(settings) {
        if let Err(fault) = identity::check(&**disk, role, dir, &manifest) {
            report.faults.push(fault);
        }
    }
    // Without its directory each table and segment would be a fault of its own, and say less.
    let is_there = |dir| disk.list(dir).is_ok();
    let (has_log, has_tables) = (
        is_there(&settings.wal_dir),
        is_there(&settings.checkpoint_dir),
    );
    let metas = manifest.levels.iter().flatten();
    let log_bytes = match manifest.log_start {
        Some(start) if has_log => segment::list_segments(&**disk, &settings.wal_dir)?
            .range(start..)
            .map(|(_, length)| length)
            .sum(),
        _ => 0,
    };
    let total = metas.map(|meta| meta.bytes).sum::<u64>() + log_bytes;
    if has_tables {
        verify_tables(settings, disk, &manifest, &mut report, &mut |done| {
            progress(done, total)
        });
    }
    if has_log {
        verify_log(settings, disk, &manifest, &mut report);
    }
    progress(total, total);
    Ok(report)
}

fn verify_tables(
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    manifest: &Manifest,
    report: &mut VerifyReport,
    progress: &mut dyn FnMut(u64),
) {
    let cache = Arc::new(BlockCache::new(CACHE_BYTES));
    let mut levels = Vec::new();
    for level in &manifest.levels {
        let mut opened = Vec::new();
        for meta in level {
            let table = Table::open(disk, &settings.checkpoint_dir, meta, Arc::clone(&cache));
            match table.and_then(|table| table.verify().map(|()| table)) {
                Ok(table) => {
                    report.tables += 1;
                    report.entries += meta.entries;
                    opened.push(table);
                }
                Err(fault) => report.faults.push(fault),
            }
            report.table_bytes += meta.bytes;
            progress(report.table_bytes);
        }
        levels.push(opened);
    }
    if let Err(error) = Levels::new(levels) {
        let path = settings.data_dir.join(manifest::FILE_NAME);
        report
            .faults
            .push(StoreError::corrupt(path, 0, error.to_string()));
    }
}

fn verify_log(
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    manifest: &Manifest,
    report: &mut VerifyReport,
) {
    report.last_lsn = manifest.checkpoint;
    let Some(start) = manifest.log_start else {
        return;
    };
    let plan = ReadPlan {
        disk: &**disk,
        dir: &settings.wal_dir,
        store_id: manifest.store_id,
        start,
        through: manifest.log_through.filter(|through| *through >= start),
        checkpoint: manifest.checkpoint,
        durable: manifest.durable,
    };
    match reader::read_log(&plan, &mut |_, _| {}, &mut |_, _, _| {}) {
        Ok(end) => {
            report.log_transactions = end.transactions;
            report.log_bytes = end.bytes;
            report.tail_bytes = end.bytes_cut;
            report.unsynced_loss = end.unsynced_loss;
            report.last_lsn = end.last_lsn;
        }
        Err(fault) => report.faults.push(fault),
    }
}
