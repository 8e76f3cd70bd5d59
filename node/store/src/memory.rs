//! One budget for memtables, block cache and what tables keep in memory. Pure.

/// How a budget is divided, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryPlan {
    /// The active memtable is sealed at this size.
    pub(crate) seal_bytes: u64,
    /// All memtables together hold writers back at this size.
    pub(crate) hold_bytes: u64,
    /// The block cache may hold this much.
    pub(crate) cache_bytes: u64,
}

/// Largest memtable, whatever the budget: it bounds the time of one flush.
const LARGEST_MEMTABLE_BYTES: u64 = 128 * 1024 * 1024;
const SMALLEST_MEMTABLE_BYTES: u64 = 1024 * 1024;
const SMALLEST_CACHE_BYTES: u64 = 1024 * 1024;

/// Half of the budget is for memtables, so that a checkpoint has time while writers go on; the
/// block cache gets the other half, less what open tables keep in memory. `flushable_bytes` bounds
/// a memtable by what the disk is sure to have room for.
pub(crate) fn plan(max_memory_bytes: u64, tables_bytes: u64, flushable_bytes: u64) -> MemoryPlan {
    let half = max_memory_bytes / 2;
    MemoryPlan {
        seal_bytes: (max_memory_bytes / 8)
            .min(LARGEST_MEMTABLE_BYTES)
            .min(flushable_bytes)
            .max(SMALLEST_MEMTABLE_BYTES),
        hold_bytes: half,
        cache_bytes: half.saturating_sub(tables_bytes).max(SMALLEST_CACHE_BYTES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_stay_within_the_budget() {
        for budget in [16u64 << 20, 64 << 20, 512 << 20, 8 << 30] {
            for tables in [0, budget / 10, budget] {
                let plan = plan(budget, tables, u64::MAX);
                let tables = tables.min(budget / 2);
                assert!(
                    plan.hold_bytes + plan.cache_bytes + tables <= budget + SMALLEST_CACHE_BYTES
                );
                assert!(
                    plan.seal_bytes * 2 <= plan.hold_bytes,
                    "one fills while one is flushed"
                );
            }
        }
        assert_eq!(
            plan(1 << 30, 0, 2 << 20).seal_bytes,
            2 << 20,
            "a small disk bounds it too"
        );
    }
}
