//! The cache of decoded blocks that all tables of a store share, bounded in bytes.

use std::fmt;

use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};

use super::block::Block;
use crate::limits::BLOCK_TARGET_BYTES;

/// What an entry costs beside the bytes of its block: key, handle and the cache's own links.
const ENTRY_BYTES: u64 = 128;
/// A shard holds at least this much, so that more than one block of a few hundred KiB stays in it.
const MIN_SHARD_BYTES: u64 = 2 * 1024 * 1024;
const MAX_SHARDS: u64 = 64;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct BlockKey {
    table: u64,
    offset: u64,
}

#[derive(Clone)]
struct BlockWeighter;

impl Weighter<BlockKey, Block> for BlockWeighter {
    fn weight(&self, _: &BlockKey, block: &Block) -> u64 {
        u64::try_from(block.memory_bytes())
            .unwrap_or(u64::MAX)
            .saturating_add(ENTRY_BYTES)
    }
}

/// Blocks by table number and offset. A block that is larger than a part of the cache is not kept.
pub(crate) struct BlockCache {
    blocks: Cache<BlockKey, Block, BlockWeighter>,
}

impl BlockCache {
    /// A cache of at most `capacity_bytes`.
    pub(crate) fn new(capacity_bytes: u64) -> Self {
        let shards = (capacity_bytes / MIN_SHARD_BYTES).clamp(1, MAX_SHARDS);
        let items = capacity_bytes / (BLOCK_TARGET_BYTES as u64 + ENTRY_BYTES);
        let options = OptionsBuilder::new()
            .shards(usize::try_from(shards).unwrap_or(1))
            .estimated_items_capacity(usize::try_from(items).unwrap_or(usize::MAX))
            .weight_capacity(capacity_bytes)
            .build();
        let blocks = match options {
            Ok(options) => Cache::with_options(
                options,
                BlockWeighter,
                Default::default(),
                Default::default(),
            ),
            // Only a missing number is an error, and both are set above.
            Err(_) => Cache::with_weighter(1, capacity_bytes, BlockWeighter),
        };
        Self { blocks }
    }

    pub(crate) fn get(&self, table: u64, offset: u64) -> Option<Block> {
        self.blocks.get(&BlockKey { table, offset })
    }

    pub(crate) fn insert(&self, table: u64, offset: u64, block: Block) {
        self.blocks.insert(BlockKey { table, offset }, block);
    }

    /// Forgets the blocks of a table that is gone.
    pub(crate) fn remove_table(&self, table: u64, offsets: impl Iterator<Item = u64>) {
        for offset in offsets {
            self.blocks.remove(&BlockKey { table, offset });
        }
    }

    /// Changes the bound; what is over it is evicted before the call returns.
    pub(crate) fn set_capacity(&self, capacity_bytes: u64) {
        self.blocks.set_capacity(capacity_bytes);
    }

    /// Bytes it holds now.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.blocks.weight()
    }

    /// The bound, in bytes; rounded up to equal parts.
    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.blocks.capacity()
    }

    /// Lookups that found their block.
    pub(crate) fn hits(&self) -> u64 {
        self.blocks.hits()
    }

    /// Lookups that did not.
    pub(crate) fn misses(&self) -> u64 {
        self.blocks.misses()
    }
}

impl fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockCache")
            .field("memory_bytes", &self.memory_bytes())
            .field("capacity_bytes", &self.capacity_bytes())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;
    use crate::table::block::BlockBuilder;
    use bytes::Bytes;

    fn block(value_bytes: usize) -> Block {
        let mut builder = BlockBuilder::default();
        builder.add(b"k", Lsn(1), Some(&vec![0; value_bytes]));
        Block::new(builder.finish(Bytes::copy_from_slice)).unwrap()
    }

    #[test]
    fn it_stays_within_its_bytes_and_can_shrink_and_grow() {
        let cache = BlockCache::new(8 * 1024 * 1024);
        for offset in 0..4000 {
            cache.insert(1, offset, block(8000));
        }
        assert!(cache.memory_bytes() <= cache.capacity_bytes());
        assert!(cache.memory_bytes() > 6 * 1024 * 1024);
        cache.set_capacity(1024 * 1024);
        assert!(cache.memory_bytes() <= 1024 * 1024 + 64);
        cache.set_capacity(16 * 1024 * 1024);
        for offset in 0..4000 {
            cache.insert(1, offset, block(8000));
        }
        assert!(cache.memory_bytes() > 10 * 1024 * 1024);
    }

    #[test]
    fn hits_and_misses_are_counted_and_tables_forgotten() {
        let cache = BlockCache::new(1024 * 1024);
        cache.insert(1, 0, block(10));
        cache.insert(2, 0, block(10));
        assert!(cache.get(1, 0).is_some());
        assert!(cache.get(1, 1).is_none());
        assert_eq!((cache.hits(), cache.misses()), (1, 1));
        cache.remove_table(1, [0, 1].into_iter());
        assert!(cache.get(1, 0).is_none());
        assert!(cache.get(2, 0).is_some());
    }
}
