//! How much room the file system of the data directory has, and who may still use it.
//!
//! ```text
//!   used  0 %                              85 %      90 %      95 %                   100 %
//!         ├────────────── ample ────────────┼── low ──┼─ scarce ─┼─────── full ────────┤
//!                                        it says so   nothing    produce and new topics refused;
//!                                                     ahead      commits use the reserve down to
//!                                                                metadata's share, metadata all of it
//! ```
//! Sampled by the janitor, at once after a call that found no room, and whenever what was appended since the last sample
//! may have used what was left: no producer is fast enough to run through the reserve between two samples.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use millrace_env::{Fs, SpaceLeft};
use millrace_types::TopicId;
use millrace_types::limits::{
    STORAGE_FULL_PERCENT, STORAGE_HYSTERESIS_PERCENT, STORAGE_LOW_PERCENT, STORAGE_RESERVE_BYTES,
    STORAGE_RESERVE_METADATA_SHARE, STORAGE_SCARCE_PERCENT,
};
use parking_lot::Mutex;

use crate::PartitionMeta;

/// How full the file system of the data directory is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum StorageLevel {
    /// There is room.
    #[default]
    Ample,
    /// 85 %: time to do something about it.
    Low,
    /// 90 %: nothing is made ahead of need.
    Scarce,
    /// 95 %: produce and new topics are refused, everything else goes on.
    Full,
}

impl StorageLevel {
    /// All of them, the fullest first, and how full the file system is from each of them on.
    const FALLING: [(StorageLevel, u64); 3] = [
        (StorageLevel::Full, STORAGE_FULL_PERCENT),
        (StorageLevel::Scarce, STORAGE_SCARCE_PERCENT),
        (StorageLevel::Low, STORAGE_LOW_PERCENT),
    ];

    /// As a number, for a gauge: 0 is ample, 3 is full.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            StorageLevel::Ample => 0,
            StorageLevel::Low => 1,
            StorageLevel::Scarce => 2,
            StorageLevel::Full => 3,
        }
    }

    /// The level of a file system that was at `before`: it is left a little later than it is entered.
    fn of(space: SpaceLeft, before: StorageLevel) -> StorageLevel {
        let reached = |(level, percent): &(StorageLevel, u64)| {
            space.available < free_bytes(space.total, free_percent(*percent, *level <= before))
        };
        StorageLevel::FALLING
            .iter()
            .find(|step| reached(step))
            .map_or(StorageLevel::Ample, |(level, _)| *level)
    }
}

impl fmt::Display for StorageLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StorageLevel::Ample => "ample",
            StorageLevel::Low => "low",
            StorageLevel::Scarce => "scarce",
            StorageLevel::Full => "full",
        })
    }
}

fn free_percent(used: u64, is_entered: bool) -> u64 {
    100 - used + if is_entered { STORAGE_HYSTERESIS_PERCENT } else { 0 }
}

/// That many percent of `total`.
fn free_bytes(total: u64, percent: u64) -> u64 {
    (total / 100).saturating_mul(percent) + total % 100 * percent / 100
}

/// The file system of a data directory as it was seen last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StorageRoom {
    /// Its size in bytes.
    pub total: u64,
    /// What this process may still use, in bytes.
    pub available: u64,
    /// How full that is.
    pub level: StorageLevel,
}

impl StorageRoom {
    /// What commits and metadata may use of it while it is full, in bytes.
    #[must_use]
    pub fn reserve(&self) -> u64 {
        STORAGE_RESERVE_BYTES.min(free_bytes(self.total, 100 - STORAGE_FULL_PERCENT))
    }

    /// What has to stay free, whoever asks.
    fn floor(&self, claim: Claim) -> i64 {
        let percent = |used, level| free_bytes(self.total, free_percent(used, level <= self.level));
        signed(match claim {
            Claim::Ahead => percent(STORAGE_SCARCE_PERCENT, StorageLevel::Scarce),
            Claim::User => percent(STORAGE_FULL_PERCENT, StorageLevel::Full),
            Claim::Commits => self.reserve() / STORAGE_RESERVE_METADATA_SHARE,
            Claim::Metadata => return i64::MIN,
        })
    }
}

/// What room is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Claim {
    /// Something that may be needed later.
    Ahead,
    /// A record of a user, or a new topic.
    User,
    /// A committed offset.
    Commits,
    /// What the cluster decides: a deletion is a record too.
    Metadata,
}

impl Claim {
    /// What appends to a log are.
    pub(crate) fn of(meta: &PartitionMeta) -> Claim {
        if meta.id.topic == TopicId::CLUSTER_METADATA {
            Claim::Metadata
        } else if meta.name.is_internal() {
            Claim::Commits
        } else {
            Claim::User
        }
    }
}

/// The gauge: one for a data directory.
pub(crate) struct Room {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    /// What is available, less what was taken since it was looked up. Files that were made ahead count twice until the
    /// next look: too little is on the safe side.
    estimate: AtomicI64,
    /// What the files of rolled segments will take once they are written: nobody else may count on it.
    owed: AtomicI64,
    floors: Floors,
    seen: Mutex<StorageRoom>,
}

/// What must stay free, for those who do not wait for `seen`.
#[derive(Debug, Default)]
struct Floors {
    ahead: AtomicI64,
    user: AtomicI64,
    commits: AtomicI64,
}

impl Floors {
    fn of(&self, claim: Claim) -> i64 {
        match claim {
            Claim::Ahead => self.ahead.load(Ordering::SeqCst),
            Claim::User => self.user.load(Ordering::SeqCst),
            Claim::Commits => self.commits.load(Ordering::SeqCst),
            Claim::Metadata => i64::MIN,
        }
    }

    fn follow(&self, room: &StorageRoom) {
        self.ahead.store(room.floor(Claim::Ahead), Ordering::SeqCst);
        self.user.store(room.floor(Claim::User), Ordering::SeqCst);
        self.commits.store(room.floor(Claim::Commits), Ordering::SeqCst);
    }
}

impl Room {
    pub(crate) fn new(fs: Arc<dyn Fs>, path: PathBuf) -> Room {
        let estimate = AtomicI64::new(i64::MAX);
        let owed = AtomicI64::new(0);
        let room = Room { fs, path, estimate, owed, floors: Floors::default(), seen: Mutex::default() };
        room.look();
        room
    }

    /// What was seen last.
    pub(crate) fn seen(&self) -> StorageRoom {
        *self.seen.lock()
    }

    /// Looks how much room there is.
    pub(crate) fn look(&self) {
        let mut seen = self.seen.lock();
        let space = match self.fs.space_left(&self.path) {
            Ok(space) => space,
            // Whoever needs room finds out by himself whether there is any.
            Err(error) => {
                tracing::debug!(%error, "the room on the disk is not known");
                return;
            }
        };
        let before = seen.level;
        let owed = self.owed.load(Ordering::SeqCst);
        let level = StorageLevel::of(less(space, owed), before);
        *seen = StorageRoom { total: space.total, available: space.available, level };
        self.floors.follow(&seen);
        self.estimate.store(signed(space.available).saturating_sub(owed), Ordering::SeqCst);
        let (available, total) = (space.available, space.total);
        if level > before {
            tracing::warn!(%level, available, total, "the disk is filling up");
        } else if level < before {
            tracing::info!(%level, available, total, "there is more room on the disk again");
        }
    }

    /// Keeps `bytes` more for files that are still to be written, or fewer.
    pub(crate) fn owe(&self, bytes: i64) {
        self.owed.fetch_add(bytes, Ordering::SeqCst);
        self.estimate.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Takes room for `bytes`, unless they belong to somebody who must leave what is left to others.
    #[must_use]
    pub(crate) fn take(&self, claim: Claim, bytes: u64) -> bool {
        if self.take_of_estimate(claim, bytes) {
            return true;
        }
        if claim == Claim::Ahead {
            return false;
        }
        // The estimate is on the safe side, and what was full may have room again.
        self.look();
        if self.take_of_estimate(claim, bytes) {
            return true;
        }
        self.refuse();
        false
    }

    /// Whether there was room for `bytes` when it was looked at last.
    pub(crate) fn had(&self, claim: Claim, bytes: u64) -> bool {
        self.estimate.load(Ordering::SeqCst).saturating_sub(signed(bytes)) >= self.floors.of(claim)
    }

    /// What is refused while only a little more than the reserve is left says that the disk is full, and it stays so until
    /// there is room to speak of: otherwise small batches would pass where large ones do not.
    fn refuse(&self) {
        let mut seen = self.seen.lock();
        let space = SpaceLeft { total: seen.total, available: seen.available };
        let space = less(space, self.owed.load(Ordering::SeqCst));
        if seen.level < StorageLevel::Full
            && StorageLevel::of(space, StorageLevel::Full) == StorageLevel::Full
        {
            seen.level = StorageLevel::Full;
            self.floors.follow(&seen);
            tracing::warn!(level = %seen.level, seen.available, seen.total, "the disk is full: produce is refused");
        }
    }

    fn take_of_estimate(&self, claim: Claim, bytes: u64) -> bool {
        let bytes = signed(bytes);
        let left = self.estimate.fetch_sub(bytes, Ordering::SeqCst).saturating_sub(bytes);
        if left >= self.floors.of(claim) {
            return true;
        }
        self.estimate.fetch_add(bytes, Ordering::SeqCst);
        false
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("seen", &self.seen()).finish_non_exhaustive()
    }
}

fn less(space: SpaceLeft, bytes: i64) -> SpaceLeft {
    SpaceLeft { available: space.available.saturating_sub(u64::try_from(bytes).unwrap_or(0)), ..space }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
