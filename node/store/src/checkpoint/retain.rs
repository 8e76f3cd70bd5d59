//! Leaves out the versions that no view needs, while tables are written.
//!
//! A view at LSN n sees of a key the newest version at or below n. With `oldest` the lowest LSN
//! that any view has or can get, of the versions of one key
//!
//! ```text
//!   LSN   9    7  |  5        3     1
//!      keep keep  | keep     drop  drop      oldest = 6
//! ```
//!
//! those above `oldest` and the newest one at or below it stay. If that one is a tombstone and
//! nothing older of the key lies deeper (`bottom`), it stands for nothing and goes too.

use bytes::Bytes;

use crate::error::Result;
use crate::lsn::Lsn;
use crate::read::VersionedEntry;

/// The entries of an ascending source that are still needed.
#[derive(Debug)]
pub(crate) struct Retain<S> {
    source: S,
    oldest_needed: Lsn,
    bottom: bool,
    /// The key read last, its LSN, and whether its newest version at or below `oldest_needed` was
    /// seen.
    last: Option<(Bytes, Lsn, bool)>,
}

impl<S> Retain<S> {
    /// `bottom` says that no table deeper than the output holds a key of the source.
    pub(crate) fn new(source: S, oldest_needed: Lsn, bottom: bool) -> Self {
        Self {
            source,
            oldest_needed,
            bottom,
            last: None,
        }
    }

    fn keeps(&mut self, entry: &VersionedEntry) -> bool {
        let needed = entry.lsn > self.oldest_needed;
        match &mut self.last {
            Some((key, lsn, settled)) if *key == entry.key => {
                // The same version twice, from two sources: the first one stands.
                if *lsn == entry.lsn || *settled {
                    return false;
                }
                *lsn = entry.lsn;
                *settled = !needed;
            }
            last => *last = Some((entry.key.clone(), entry.lsn, !needed)),
        }
        needed || entry.value.is_some() || !self.bottom
    }
}

impl<S: Iterator<Item = Result<VersionedEntry>>> Iterator for Retain<S> {
    type Item = Result<VersionedEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.source.next()? {
                Ok(entry) if !self.keeps(&entry) => {}
                result => return Some(result),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::merge::VisibleScan;
    use crate::read::{Direction, Source};
    use proptest::prelude::*;
    use std::cmp::Reverse;
    use std::collections::BTreeMap;

    fn entry(key: &str, lsn: u64, value: Option<&str>) -> VersionedEntry {
        VersionedEntry {
            key: Bytes::copy_from_slice(key.as_bytes()),
            lsn: Lsn(lsn),
            value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
        }
    }

    fn retained(entries: &[VersionedEntry], oldest: u64, bottom: bool) -> Vec<VersionedEntry> {
        let source = entries.iter().cloned().map(Ok);
        Retain::new(source, Lsn(oldest), bottom)
            .collect::<Result<_>>()
            .unwrap()
    }

    fn lsns(entries: &[VersionedEntry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.lsn.0).collect()
    }

    #[test]
    fn the_picture_of_the_module() {
        let all = [9, 7, 5, 3, 1].map(|lsn| entry("k", lsn, Some("v")));
        assert_eq!(lsns(&retained(&all, 6, true)), [9, 7, 5]);
        assert_eq!(lsns(&retained(&all, 5, true)), [9, 7, 5]);
        assert_eq!(lsns(&retained(&all, 0, true)), [9, 7, 5, 3, 1]);
        assert_eq!(lsns(&retained(&all, 100, true)), [9]);
    }

    #[test]
    fn a_tombstone_goes_at_the_bottom_only_and_takes_older_versions_along() {
        let all = [
            entry("a", 4, None),
            entry("a", 2, Some("v")),
            entry("b", 5, None),
        ];
        assert_eq!(lsns(&retained(&all, 9, true)), [] as [u64; 0]);
        assert_eq!(lsns(&retained(&all, 9, false)), [4, 5]);
        assert_eq!(lsns(&retained(&all, 4, true)), [5]);
        assert_eq!(lsns(&retained(&all, 3, true)), [4, 2, 5]);
    }

    #[test]
    fn a_version_from_two_sources_is_kept_once() {
        let all = [
            entry("a", 4, Some("x")),
            entry("a", 4, Some("x")),
            entry("a", 3, None),
        ];
        assert_eq!(lsns(&retained(&all, 2, true)), [4, 3]);
    }

    #[test]
    fn an_error_passes() {
        let source = [Ok(entry("a", 1, None)), Err(crate::StoreError::Closed)];
        let results: Vec<_> = Retain::new(source.into_iter(), Lsn(9), true).collect();
        assert!(matches!(results[..], [Err(crate::StoreError::Closed)]));
    }

    proptest! {
        /// No view that may exist can tell the difference, and nothing is kept without a reason.
        #[test]
        fn no_view_sees_a_difference(
            model in proptest::collection::btree_map(
                (0u8..4, (1u64..12).prop_map(Reverse)),
                proptest::option::of(0u8..9),
                0..30,
            ),
            oldest in 0u64..13,
            bottom: bool,
        ) {
            let model: BTreeMap<(u8, Reverse<u64>), Option<u8>> = model;
            let all: Vec<_> = model
                .iter()
                .map(|((key, Reverse(lsn)), value)| {
                    let value = value.map(|value| value.to_string());
                    entry(&key.to_string(), *lsn, value.as_deref())
                })
                .collect();
            let kept = retained(&all, oldest, bottom);
            for lsn in oldest..14 {
                let seen = |entries: &[VersionedEntry]| -> Vec<_> {
                    let entries = entries.to_vec();
                    let source: Source = Box::new(entries.into_iter().map(Ok));
                    VisibleScan::new(vec![source], Direction::Ascending, Lsn(lsn))
                        .map(Result::unwrap)
                        .collect()
                };
                prop_assert_eq!(seen(&all), seen(&kept));
            }
            for pair in kept.windows(2) {
                prop_assert!(pair[0].key != pair[1].key || pair[0].lsn > Lsn(oldest));
            }
            if bottom {
                prop_assert!(kept.iter().all(|e| e.lsn > Lsn(oldest) || e.value.is_some()));
            }
        }
    }
}
