//! Bytes of a simulated file. A clone shares every page until one side writes it.

use std::sync::Arc;

/// What a drive writes in one piece.
pub(super) const SECTOR_BYTES: u64 = 512;
/// What a file system gives to a file in one piece.
pub(super) const PAGE_BYTES: u64 = 4096;
/// Longest file; bounds the tables below.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 36;

const PAGE: usize = 4096;
const PAGES_PER_GROUP: usize = 64;

type Page = Arc<[u8; PAGE]>;
type Group = [Option<Page>; PAGES_PER_GROUP];

/// Pages in two levels, so that the first write after a clone copies little. A missing page reads
/// as zeros. Bytes of a page past `len` are zero.
#[derive(Clone, Default)]
pub(super) struct Content {
    groups: Arc<Vec<Option<Arc<Group>>>>,
    len: u64,
    pages: u64,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Space that the pages take.
    pub(super) fn allocated_bytes(&self) -> u64 {
        self.pages * PAGE_BYTES
    }

    /// Fills `buf` from `offset`; zeros past the end.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) {
        let mut rest = buf;
        let mut at = offset;
        while !rest.is_empty() {
            let (start, take) = within_page(at, rest.len());
            let (part, after) = rest.split_at_mut(take);
            match self
                .page(at / PAGE_BYTES)
                .and_then(|page| page.get(start..start + take))
            {
                Some(bytes) => part.copy_from_slice(bytes),
                None => part.fill(0),
            }
            rest = after;
            at += as_u64(take);
        }
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; as_usize(self.len)];
        self.read(&mut bytes, 0);
        bytes
    }

    /// Writes `bytes`; the caller has checked the end against [`MAX_FILE_BYTES`].
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            let (start, take) = within_page(at, rest.len());
            let (part, after) = rest.split_at(take);
            if let Some(target) = self.page_mut(at / PAGE_BYTES).get_mut(start..start + take) {
                target.copy_from_slice(part);
            }
            rest = after;
            at += as_u64(take);
        }
        if !bytes.is_empty() {
            self.len = self.len.max(at);
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let groups = Arc::make_mut(&mut self.groups);
            let kept_pages = as_usize(len.div_ceil(PAGE_BYTES));
            groups.truncate(kept_pages.div_ceil(PAGES_PER_GROUP));
            if !kept_pages.is_multiple_of(PAGES_PER_GROUP)
                && let Some(Some(last)) = groups.get_mut(kept_pages / PAGES_PER_GROUP)
            {
                for page in Arc::make_mut(last)
                    .iter_mut()
                    .skip(kept_pages % PAGES_PER_GROUP)
                {
                    *page = None;
                }
            }
            let zero_from = as_usize(len % PAGE_BYTES);
            if zero_from > 0
                && self.page(len / PAGE_BYTES).is_some()
                && let Some(tail) = self.page_mut(len / PAGE_BYTES).get_mut(zero_from..)
            {
                tail.fill(0);
            }
            self.pages = self
                .groups
                .iter()
                .flatten()
                .map(|group| as_u64(group.iter().flatten().count()))
                .sum();
        }
        self.len = len;
    }

    /// How many of `len` bytes at `offset` can be written when `free_pages` can be added.
    pub(super) fn room(&self, offset: u64, len: usize, free_pages: u64) -> usize {
        let mut free = free_pages;
        let mut fits = 0;
        while fits < len {
            let at = offset + as_u64(fits);
            if self.page(at / PAGE_BYTES).is_none() {
                match free.checked_sub(1) {
                    Some(left) => free = left,
                    None => break,
                }
            }
            fits += within_page(at, len - fits).1;
        }
        fits
    }

    fn page(&self, number: u64) -> Option<&Page> {
        let number = as_usize(number);
        let group = self.groups.get(number / PAGES_PER_GROUP)?.as_ref()?;
        group.get(number % PAGES_PER_GROUP)?.as_ref()
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "resized above; a remainder is below its divisor"
    )]
    fn page_mut(&mut self, number: u64) -> &mut [u8; PAGE] {
        let number = as_usize(number);
        let groups = Arc::make_mut(&mut self.groups);
        let group = number / PAGES_PER_GROUP;
        if groups.len() <= group {
            groups.resize(group + 1, None);
        }
        let group =
            groups[group].get_or_insert_with(|| Arc::new([const { None }; PAGES_PER_GROUP]));
        let page = &mut Arc::make_mut(group)[number % PAGES_PER_GROUP];
        if page.is_none() {
            self.pages += 1;
        }
        Arc::make_mut(page.get_or_insert_with(|| Arc::new([0; PAGE])))
    }
}

/// Start within its page, and how much of `len` bytes from there lies in it.
fn within_page(at: u64, len: usize) -> (usize, usize) {
    let start = as_usize(at % PAGE_BYTES);
    (start, len.min(PAGE - start))
}

/// Values here are bounded by [`MAX_FILE_BYTES`]; a saturated one fails the next bounds check.
pub(super) fn as_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

pub(super) fn as_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_independent() {
        let mut one = Content::default();
        one.write(&[1; 10_000], 300_000);
        let mut two = one.clone();
        two.write(&[2; 10], 300_005);
        two.set_len(300_010);
        assert_eq!(one.len(), 310_000);
        let mut buf = [9; 12];
        one.read(&mut buf, 299_999);
        assert_eq!(buf, [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        two.read(&mut buf, 299_999);
        assert_eq!(buf, [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0]);
    }

    #[test]
    fn a_cut_tail_reads_as_zeros_and_frees_its_pages() {
        for cut in [
            0,
            1,
            4095,
            4096,
            4097,
            64 * 4096 - 1,
            64 * 4096,
            64 * 4096 + 1,
        ] {
            let mut content = Content::default();
            content.write(&vec![7; 130 * 4096], 0);
            assert_eq!(content.allocated_bytes(), 130 * 4096);
            content.set_len(cut);
            assert_eq!(
                content.allocated_bytes(),
                cut.next_multiple_of(4096),
                "cut at {cut}"
            );
            content.set_len(130 * 4096);
            let bytes = content.to_vec();
            let (kept, rest) = bytes.split_at(as_usize(cut));
            assert!(kept.iter().all(|b| *b == 7), "cut at {cut}");
            assert!(rest.iter().all(|b| *b == 0), "cut at {cut}");
        }
    }

    #[test]
    fn room_counts_only_missing_pages() {
        let mut content = Content::default();
        content.write(&[1; 4096], 4096);
        assert_eq!(content.room(0, 3 * 4096, 0), 0);
        assert_eq!(content.room(0, 3 * 4096, 1), 2 * 4096);
        assert_eq!(content.room(4096, 4096, 0), 4096);
        assert_eq!(content.room(100, 3 * 4096, 2), 3 * 4096 - 100);
    }
}
