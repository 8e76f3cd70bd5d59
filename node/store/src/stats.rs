//! Figures of one moment.

use std::sync::atomic::Ordering;

use crate::checkpoint::Checkpointer;
use crate::lsn::Lsn;
use crate::settings::Durability;
use crate::txn::commit::Pipeline;

/// See [`crate::Store::stats`]. Sizes are in bytes.
#[derive(Clone, Debug)]
pub struct StoreStats {
    /// The level in force.
    pub durability: Durability,
    /// Newest transaction in the log order.
    pub appended_lsn: Lsn,
    /// Newest transaction that was written to the log.
    pub written_lsn: Lsn,
    /// Newest transaction that was synced.
    pub durable_lsn: Lsn,
    /// Newest transaction that readers see.
    pub visible_lsn: Lsn,
    /// Newest transaction that is in tables.
    pub checkpoint_lsn: Lsn,
    /// Bytes of all memtables.
    pub memtable_bytes: u64,
    /// Memtables that wait to be flushed.
    pub sealed_memtables: u64,
    /// Bytes in the block cache.
    pub cache_bytes: u64,
    /// What the block cache may hold.
    pub cache_capacity_bytes: u64,
    /// Lookups that the cache answered.
    pub cache_hits: u64,
    /// Lookups that went to the disk.
    pub cache_misses: u64,
    /// Bytes that indexes and filters of tables hold in memory.
    pub tables_memory_bytes: u64,
    /// Budget for all of it.
    pub max_memory_bytes: u64,
    /// Tables by level.
    pub tables_per_level: Vec<u64>,
    /// Bytes of all tables.
    pub tables_bytes: u64,
    /// Log segments in use.
    pub segments: u64,
    /// Bytes of log that a recovery would read.
    pub log_bytes: u64,
    /// Bytes free on the file system, if it tells.
    pub disk_free_bytes: Option<u64>,
    /// Size of the file system, if it tells.
    pub disk_total_bytes: Option<u64>,
    /// Whether writes are refused for lack of space.
    pub refusing_writes: bool,
    /// Open views.
    pub views: u64,
    /// Why the store takes no more writes, if it does not.
    pub poisoned: Option<String>,
}

pub(crate) fn collect(pipeline: &Pipeline, checkpointer: &Checkpointer) -> StoreStats {
    let version = pipeline.versions.load();
    let (segments, log_bytes) = pipeline.with_log(|state| {
        let log = state.log.as_ref();
        log.map_or((0, 0), |log| (log.segments() as u64, log.bytes()))
    });
    let space = checkpointer.disk.space(&checkpointer.data_dir).ok();
    StoreStats {
        durability: pipeline.level(),
        appended_lsn: pipeline.marks.appended(),
        written_lsn: pipeline.marks.written(),
        durable_lsn: pipeline.marks.durable(),
        visible_lsn: pipeline.marks.visible(),
        checkpoint_lsn: pipeline.marks.checkpointed(),
        memtable_bytes: version.memtable_bytes(),
        sealed_memtables: version.sealed.len() as u64,
        cache_bytes: checkpointer.cache.memory_bytes(),
        cache_capacity_bytes: checkpointer.cache.capacity_bytes(),
        cache_hits: checkpointer.cache.hits(),
        cache_misses: checkpointer.cache.misses(),
        tables_memory_bytes: version.levels.memory_bytes(),
        max_memory_bytes: checkpointer.live_settings().max_memory_bytes,
        tables_per_level: version
            .levels
            .iter()
            .map(|level| level.len() as u64)
            .collect(),
        tables_bytes: version
            .levels
            .tables()
            .map(|table| table.meta().bytes)
            .sum(),
        segments,
        log_bytes,
        disk_free_bytes: space.map(|space| space.free_bytes),
        disk_total_bytes: space.map(|space| space.total_bytes),
        refusing_writes: pipeline.refusing_free_bytes.load(Ordering::Acquire) != u64::MAX,
        views: pipeline.readers.count() as u64,
        poisoned: pipeline.poison.cause().map(str::to_owned),
    }
}
