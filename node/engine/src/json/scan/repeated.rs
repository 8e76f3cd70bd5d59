//! Keys that are there more than once: the last one counts.

use std::ops::Range;

use super::super::text::RawStr;
use super::{Member, Scanner};

/// Objects up to this many members are compared pairwise; larger ones are sorted.
const PAIRWISE_MEMBERS: usize = 16;

impl Scanner<'_> {
    /// Whether two members from `base` on have the same fingerprint.
    pub(super) fn may_repeat(&self, base: usize) -> bool {
        let mut members = self.members.get(base..).unwrap_or_default();
        if members.len() <= PAIRWISE_MEMBERS {
            while let [member, rest @ ..] = members {
                if rest.iter().any(|m| m.fingerprint == member.fingerprint) {
                    return true;
                }
                members = rest;
            }
            return false;
        }
        let mut fingerprints: Vec<u64> = members.iter().map(|m| m.fingerprint).collect();
        fingerprints.sort_unstable();
        fingerprints.array_windows().any(|[a, b]| a == b)
    }

    /// Takes all but the last of equal keys out of the output. `at` is on the closing brace.
    pub(super) fn remove_repeated(&mut self, base: usize) -> bool {
        self.flush();
        let members = self.members.get(base..).unwrap_or_default();
        let key = |member: &Member| {
            let raw = self.out.get(member.start + 1..member.key_end);
            RawStr::new(raw.unwrap_or_default())
        };
        let mut sorted: Vec<(RawStr<'_>, usize)> = members.iter().map(key).zip(0_usize..).collect();
        sorted.sort_by(|(a, i), (b, j)| a.cmp_decoded(*b).then(i.cmp(j)));
        let mut removed = vec![false; members.len()];
        let mut any = false;
        for [(a, earlier), (b, _)] in sorted.array_windows() {
            if a.cmp_decoded(*b).is_eq()
                && let Some(flag) = removed.get_mut(*earlier)
            {
                *flag = true;
                any = true;
            }
        }
        if !any {
            return false;
        }
        let ends = members.iter().skip(1).map(|next| next.start - 1);
        let ends = ends.chain([self.out.len()]);
        let kept: Vec<Range<usize>> = members
            .iter()
            .zip(ends)
            .zip(&removed)
            .filter(|(_, removed)| !**removed)
            .map(|((member, end), _)| member.start..end)
            .collect();
        let Some(first) = members.first() else {
            return false;
        };
        let first = first.start;
        let mut to = first;
        for range in kept {
            if to > first {
                if let Some(comma) = self.out.get_mut(to) {
                    *comma = b',';
                }
                to += 1;
            }
            let len = range.len();
            self.out.copy_within(range, to);
            to += len;
        }
        self.out.truncate(to);
        true
    }
}

/// Equal for equal keys, and cheap; nothing depends on it being different for different ones.
pub(super) fn fingerprint(key: &[u8]) -> u64 {
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    let length = (key.len() as u64).wrapping_mul(SPREAD);
    let ends = match (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        (Some(first), Some(last)) => {
            u64::from_le_bytes(*first).wrapping_mul(SPREAD)
                ^ u64::from_le_bytes(*last).rotate_left(29)
        }
        _ => key
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte))
            .wrapping_mul(SPREAD),
    };
    ends ^ length
}
