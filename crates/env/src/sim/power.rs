//! Power cuts: which of the changes that were not synced reach the medium.
//!
//! The fault model. What a successful sync moved is on the medium. Of the rest any subset may be there:
//! - a page of 4 KiB reaches the medium whole, not at all, or torn into sectors of 512 B; a sector is never torn;
//! - the length of a file that grew stops at any page boundary, or is complete; bytes that were lost below the
//!   length are zeros, or what was there before they were overwritten;
//! - a file that was shortened keeps its old length, and then its old bytes, or not;
//! - creating, renaming and unlinking are atomic, each survives or not, in any order; only those that concern the
//!   same file, directory or name keep their order. Journaled file systems keep the order of all of them: what holds
//!   here holds there;
//! - old file systems that show other files' deleted blocks (`data=writeback`) are not modelled.

use std::path::PathBuf;

use super::rng::SimRng;

/// What the medium writes in one piece.
pub const SECTOR_BYTES: usize = 512;
/// What the cache holds and writes back in one piece.
pub const PAGE_BYTES: usize = 4096;

/// A change of one file that no sync has moved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileChange {
    /// The file was shortened to `to` bytes.
    Cut {
        /// The shortest length since the last sync.
        to: u64,
    },
    /// The file grew `from` .. `to`; asked once per page boundary, in order, up to the first "no".
    Length {
        /// The length on the medium.
        from: u64,
        /// The length in the cache.
        to: u64,
        /// Whether the length reaches this.
        len: u64,
    },
    /// The sector at `position` was written.
    Sector {
        /// A multiple of 512.
        position: u64,
    },
}

/// A change that no sync has moved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pending {
    /// Of a file's bytes or length.
    File {
        /// The file's identity: files are numbered as they are created.
        file: u64,
        /// What changed.
        change: FileChange,
    },
    /// Of directory entries: a creation, a renaming or an unlinking.
    Entry {
        /// The names that the change sets or removes, full paths.
        paths: Vec<PathBuf>,
    },
}

/// What survives of the changes that were not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// Everything, as if all had been synced just before.
    Everything,
    /// A subset drawn from the seed, torn pages included.
    Random,
}

impl Survival {
    /// Any of the three.
    pub fn draw(rng: &SimRng) -> Survival {
        rng.one_of([Survival::Nothing, Survival::Everything, Survival::Random])
    }
}

/// Draws what survives. Each cut has its own odds, so that both "nearly all" and "nearly nothing" come up, and each
/// page its own fate, so that both whole and torn pages do.
#[derive(Debug)]
pub(super) struct Draw<'a> {
    rng: &'a SimRng,
    odds_of_eight: u64,
    page: Option<(u64, u64)>,
    fate: Fate,
    length: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Whole,
    Lost,
    Torn,
}

impl<'a> Draw<'a> {
    pub(super) fn new(rng: &'a SimRng) -> Draw<'a> {
        Draw { rng, odds_of_eight: 1 + rng.below(7), page: None, fate: Fate::Lost, length: None }
    }

    pub(super) fn survives(&mut self, pending: &Pending) -> bool {
        match pending {
            Pending::Entry { .. } | Pending::File { change: FileChange::Cut { .. }, .. } => self.toss(),
            Pending::File { file, change: FileChange::Length { from, to, len } } => {
                let goal = match self.length {
                    Some((of, goal)) if of == *file => goal,
                    _ if self.toss() => *to,
                    _ => from + self.rng.below(to - from),
                };
                self.length = Some((*file, goal));
                *len <= goal
            }
            Pending::File { file, change: FileChange::Sector { position } } => {
                let page = (*file, position / PAGE_BYTES as u64);
                if self.page.replace(page) != Some(page) {
                    self.fate = match self.rng.below(4) {
                        0 => Fate::Torn,
                        _ if self.toss() => Fate::Whole,
                        _ => Fate::Lost,
                    };
                }
                match self.fate {
                    Fate::Whole => true,
                    Fate::Lost => false,
                    Fate::Torn => self.rng.chance(1, 2),
                }
            }
        }
    }

    fn toss(&self) -> bool {
        self.rng.chance(self.odds_of_eight, 8)
    }
}
