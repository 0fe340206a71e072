//! The bytes of a file, twice: in the cache and on the medium.
//!
//! ```text
//!            write, set_len                    sync
//!   process ───────────────► cache ─────────────────────────► medium
//!                              ▲   dirty pages, cut, length      │
//!                              └───── drop_cache (stale pages) ──┘
//! ```
//! A page is *dirty* when a sync has to move it, and *stale* when cache and medium differ although the cache calls
//! the page clean: after a failed sync, or when the medium rots. Length and cut belong to the inode: a failed sync
//! leaves them waiting, so that the next successful one brings a file of the right length full of zeros, which is
//! the nastiest thing that a real file system does.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::power::{FileChange, PAGE_BYTES, SECTOR_BYTES};

#[derive(Clone, Default, Debug)]
pub(super) struct Content {
    /// Shared with the copies that a fork of the disk has made, until either is written.
    cache: Arc<Vec<u8>>,
    medium: Arc<Vec<u8>>,
    dirty: BTreeSet<usize>,
    stale: BTreeSet<usize>,
    /// The smallest length since the last sync: what lies beyond it on the medium is not part of the file any more.
    cut: Option<usize>,
}

fn page_of(position: usize) -> usize {
    position / PAGE_BYTES
}

fn pages(from: usize, to: usize) -> std::ops::Range<usize> {
    if from >= to { 0..0 } else { page_of(from)..to.div_ceil(PAGE_BYTES) }
}

/// Copies what both have of `from..to`; `target` gets zeros where `source` has ended.
fn copy_range(source: &[u8], target: &mut [u8], from: usize, to: usize) {
    let to = to.min(target.len());
    let Some(target) = target.get_mut(from..to) else {
        return;
    };
    let source = source.get(from..to.min(source.len())).unwrap_or_default();
    let (filled, rest) = target.split_at_mut(source.len());
    filled.copy_from_slice(source);
    rest.fill(0);
}

impl Content {
    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.cache
    }

    pub(super) fn medium(&self) -> &[u8] {
        &self.medium
    }

    /// Whether a sync would have pages to move.
    pub(super) fn has_dirty_pages(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(super) fn write(&mut self, bytes: &[u8], position: usize) {
        let end = position + bytes.len();
        if bytes.is_empty() {
            return;
        }
        let cache = Arc::make_mut(&mut self.cache);
        if end > cache.len() {
            cache.resize(end, 0);
        }
        if let Some(target) = cache.get_mut(position..end) {
            target.copy_from_slice(bytes);
        }
        for page in pages(position, end) {
            self.dirty.insert(page);
            // The whole page goes to the medium next time, with what an earlier failed sync left behind.
            self.stale.remove(&page);
        }
    }

    pub(super) fn set_len(&mut self, len: usize) {
        if len < self.cache.len() {
            self.cut = Some(self.cut.map_or(len, |cut| cut.min(len)));
            let beyond = len.div_ceil(PAGE_BYTES);
            self.dirty.retain(|page| *page < beyond);
            self.stale.retain(|page| *page < beyond);
        }
        Arc::make_mut(&mut self.cache).resize(len, 0);
    }

    pub(super) fn sync(&mut self) {
        let medium = Arc::make_mut(&mut self.medium);
        if let Some(cut) = self.cut.take() {
            medium.truncate(cut);
        }
        medium.resize(self.cache.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            copy_range(&self.cache, medium, page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
        }
    }

    /// A sync that failed: the pages count as clean, and nothing was moved.
    pub(super) fn fail_sync(&mut self) {
        self.stale.append(&mut self.dirty);
    }

    pub(super) fn drop_cache(&mut self) {
        let medium = self.medium.get(..self.cut.unwrap_or(usize::MAX)).unwrap_or(&self.medium);
        let cache = Arc::make_mut(&mut self.cache);
        for page in std::mem::take(&mut self.stale) {
            copy_range(medium, cache, page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
        }
    }

    /// Flips a bit on the medium. The cache shows it after the next `drop_cache`. False beyond the medium's end.
    pub(super) fn flip_bit(&mut self, position: usize, bit: u8) -> bool {
        let Some(byte) = Arc::make_mut(&mut self.medium).get_mut(position) else {
            return false;
        };
        *byte ^= 1 << (bit % 8);
        if !self.dirty.contains(&page_of(position)) && position < self.cache.len() {
            self.stale.insert(page_of(position));
        }
        true
    }

    /// Tells what a power cut would decide about.
    pub(super) fn pending(&self, mut note: impl FnMut(FileChange)) {
        self.clone().lose_power(&mut |change| {
            note(change);
            true
        });
    }

    /// The power goes: `survives` decides about each change that was not synced, in the order cut, length, sectors.
    pub(super) fn lose_power(&mut self, survives: &mut dyn FnMut(FileChange) -> bool) {
        let medium_len = self.medium.len();
        let mut len = medium_len;
        let mut sectors_end = usize::MAX;
        if let Some(cut) = self.cut.filter(|cut| *cut < medium_len) {
            if survives(FileChange::Cut { to: cut as u64 }) {
                len = cut;
            } else {
                // The old blocks stay; what was written beyond the cut went to new ones that are lost with it.
                sectors_end = cut;
            }
        }
        if sectors_end == usize::MAX {
            len = self.grown(len, survives);
        }
        let medium = Arc::make_mut(&mut self.medium);
        medium.truncate(self.cut.filter(|_| sectors_end == usize::MAX).unwrap_or(medium_len));
        medium.resize(len, 0);
        for page in std::mem::take(&mut self.dirty) {
            self.settle_page(page, sectors_end, survives);
        }
        self.cache = Arc::clone(&self.medium);
        self.stale.clear();
        self.cut = None;
    }

    /// How far the length got from `from` to that of the cache, page by page.
    fn grown(&self, from: usize, survives: &mut dyn FnMut(FileChange) -> bool) -> usize {
        let to = self.cache.len();
        let mut len = from;
        while len < to {
            let next = ((len / PAGE_BYTES + 1) * PAGE_BYTES).min(to);
            if !survives(FileChange::Length { from: from as u64, to: to as u64, len: next as u64 }) {
                break;
            }
            len = next;
        }
        len
    }

    fn settle_page(&mut self, page: usize, end: usize, survives: &mut dyn FnMut(FileChange) -> bool) {
        let page_end = ((page + 1) * PAGE_BYTES).min(end).min(self.medium.len()).min(self.cache.len());
        for from in (page * PAGE_BYTES..page_end).step_by(SECTOR_BYTES) {
            let to = (from + SECTOR_BYTES).min(page_end);
            let changed = self.cache.get(from..to) != self.medium.get(from..to);
            if changed && survives(FileChange::Sector { position: from as u64 }) {
                let medium: &mut Vec<u8> = Arc::make_mut(&mut self.medium);
                copy_range(&self.cache, medium, from, to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synced(bytes: &[u8]) -> Content {
        let mut content = Content::default();
        content.write(bytes, 0);
        content.sync();
        content
    }

    #[test]
    fn a_hole_reads_as_zeros_in_both_views() {
        let mut content = synced(b"ab");
        content.write(b"z", 10_000);
        content.sync();
        assert_eq!(content.bytes(), content.medium());
        assert!(content.bytes()[2..10_000].iter().all(|&b| b == 0));
    }

    #[test]
    fn bytes_that_were_cut_do_not_come_back_when_the_file_grows() {
        let mut content = synced(&[7; 5000]);
        content.set_len(100);
        content.set_len(5000);
        content.sync();
        assert_eq!(content.medium(), content.bytes());
        assert!(content.medium()[100..].iter().all(|&b| b == 0));
    }

    #[test]
    fn a_cut_that_is_lost_brings_the_old_bytes_back() {
        let mut content = synced(&[7; 5000]);
        content.set_len(100);
        content.write(&[9; 200], 50);
        content.lose_power(&mut |change| !matches!(change, FileChange::Cut { .. }));
        assert_eq!(content.len(), 5000);
        let expected: Vec<u8> = [[7; 50].as_slice(), &[9; 50], &[7; 4900]].concat();
        assert_eq!(content.bytes(), expected);
    }

    #[test]
    fn a_cut_that_survives_leaves_zeros_where_the_new_bytes_are_lost() {
        let mut content = synced(&[7; 5000]);
        content.set_len(100);
        content.write(&[9; 4900], 100);
        content.lose_power(&mut |change| !matches!(change, FileChange::Sector { .. }));
        assert_eq!(content.len(), 5000);
        assert!(content.bytes()[100..].iter().all(|&b| b == 0));
    }

    #[test]
    fn a_failed_sync_lies_until_the_cache_is_dropped() {
        let mut content = synced(&[1; 100]);
        content.write(&[2; 100], 0);
        content.fail_sync();
        content.sync();
        assert_eq!((content.bytes()[0], content.medium()[0]), (2, 1));
        content.drop_cache();
        assert_eq!(content.bytes()[0], 1);
    }

    #[test]
    fn dropping_the_cache_does_not_show_what_was_cut_off() {
        let mut content = synced(&[1; 8192]);
        content.write(&[2; 8192], 0);
        content.fail_sync();
        content.set_len(5000);
        content.set_len(8192);
        content.drop_cache();
        assert_eq!(content.bytes(), [[1; 5000].as_slice(), &[0; 3192]].concat());
    }

    #[test]
    fn writing_a_page_again_brings_back_what_a_failed_sync_left() {
        let mut content = synced(&[1; 100]);
        content.write(&[2; 50], 0);
        content.fail_sync();
        content.write(&[3; 50], 50);
        content.drop_cache();
        assert_eq!(content.bytes(), [[2; 50], [3; 50]].concat());
        content.sync();
        assert_eq!(content.medium(), [[2; 50], [3; 50]].concat());
    }

    #[test]
    fn a_cut_without_new_bytes_is_a_change_of_its_own() {
        let mut content = synced(&[1; 100]);
        content.set_len(10);
        let mut pending = Vec::new();
        content.pending(|change| pending.push(change));
        assert_eq!(pending, [FileChange::Cut { to: 10 }]);
        content.lose_power(&mut |_| true);
        assert_eq!(content.bytes(), [1; 10]);
        content.pending(|change| panic!("{change:?} is pending"));
    }
}
