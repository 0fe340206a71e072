//! Planted bugs: what the suites must catch, or they have no teeth.
//!
//! Built only with the feature `teeth`, which no crate turns on by itself. Each bug is one statement at each of its
//! places, behind the same feature:
//!
//! ```text
//!   #[cfg(feature = "teeth")]
//!   millrace_types::planted!(AckBeforeSync => return Some(Ok(())));
//! ```
//! and does nothing until a suite plants it. At most one is planted at a time, and whoever holds a [`Planted`] has the
//! process for itself: suites of one process take turns.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A text that every program with planted bugs in it carries, and no other program.
pub const MARKER: &str = "millrace: this build has planted bugs in it";

/// Makes [`MARKER`] a part of the program, whatever the linker thinks of it.
#[used]
static CARRIED: &str = MARKER;

macro_rules! bugs {
    ($($(#[doc = $text:literal])+ $name:ident,)+) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Bug {
            $($(#[doc = $text])+ $name,)+
        }

        impl Bug {
            /// Every bug, in the order in which they are listed here.
            pub const ALL: &[Bug] = &[$(Bug::$name,)+];
        }
    };
}

bugs! {
    /// An append is acknowledged as soon as it is written.
    AckBeforeSync,
    /// The entry of a new partition's directory is not synced.
    CreateWithoutDirSync,
    /// A small file is replaced without a sync of the directory behind the rename.
    RenameWithoutDirSync,
    /// A roll renames a file, and the directory is not synced with the first records in it.
    RollWithoutDirSync,
    /// A small file is replaced by a temporary one that was not synced.
    RenameWithoutFileSync,
    /// Recovery reads back and counts what it has not synced.
    RecoverWithoutSync,
    /// Recovery believes the page cache.
    RecoverThroughCache,
    /// Recovery cuts a log at its first bad batch, also below the synced mark.
    CutBelowMark,
    /// A failed sync is repeated, and the second answer is believed.
    RetryFailedSync,
    /// The synced mark names the end of what is written.
    MarkAheadOfSync,
    /// A start recovers whether or not the last stop was clean.
    CleanMarkNotBelieved,
    /// A start counts as one after a clean stop whether or not there is a clean mark.
    CleanMarkNotNeeded,
    /// The page cache is believed to have survived a remount.
    RunningMarkTrusted,
    /// Recovery begins at an index entry that lies above what was synced.
    IndexBeyondMark,
    /// Half an index entry that a full disk let through stays, and the next entries follow it.
    HalfIndexEntry,
    /// Of each idempotent producer the last batch only is remembered.
    DedupWindowOfOne,
    /// A truncation leaves snapshots of producers behind that describe what was cut.
    SnapshotNotTruncated,
    /// A compacted segment takes the place of others before its batches are synced.
    CompactedWithoutSync,
    /// The seal of a compacted segment is put in place before the names of its files are synced.
    SealBeforeNames,
    /// A tombstone goes at the second pass that sees it, whatever its time.
    TombstoneTooSoon,
    /// Retention counts from the times of the records, not from the append.
    AgeOfRecords,
    /// A trim unlinks segments before the new log start is written.
    UnlinkBeforeLogStart,
    /// Taking a block of producer ids does not take it away.
    ProducerIdsTwice,
    /// A directory is deleted because the image does not mention it.
    DeleteAbsent,
    /// A commit of an epoch that its member has left behind is taken.
    StaleCommitTaken,
    /// A static member whose place another has is taken for a member.
    FencedInstanceTaken,
    /// A member is given what another has not let go of yet.
    TwoOwners,
    /// Letting go does not raise the epoch of who lets go.
    EpochNotRaised,
    /// A list of partitions acknowledges what its sender has not heard.
    StaleListAcknowledges,
    /// Positions expire, whoever reads by them.
    ExpiredUnderMember,
    /// What a step lets others see does not wait for what it rests on.
    ToldBeforePersisted,
    /// A fetch answers what was committed before it is durable.
    FetchedBeforePersisted,
    /// A coordinator answers before it has read its log.
    ServedBeforeLoaded,
    /// A commit of an old generation is taken.
    StaleGenerationTaken,
    /// The next generation has the number of the last.
    GenerationAgain,
    /// What a follower brings is taken for the assignments of its leader.
    FollowerAssigns,
    /// A persist of groups that failed is answered as if it had not.
    FailedPersistTold,
    /// A replica joins the in-sync ones on the word of an earlier run of its broker.
    IsrJoinWithoutEpoch,
    /// A change of the in-sync replicas is taken that was asked for before another one.
    OldPartitionEpochTaken,
    /// Eligible leaders stay eligible when `min.insync.replicas` changes.
    ElrKept,
    /// A broker that starts again before it was fenced stays in sync under its new epoch.
    QuickReboot,
    /// A vote of the quorum is given before it is on the disk.
    QuorumVoteBeforeSync,
    /// An entry of the quorum's log counts before it is synced.
    QuorumAppendBeforeSync,
    /// Who becomes a follower cuts its log to the high watermark.
    TruncateToHighWatermark,
    /// A follower that is behind the start of the leader's epoch joins the in-sync replicas.
    JoinBelowEpochStart,
    /// The high watermark does not wait for who was asked to be in sync.
    HighWatermarkOfCurrentSet,
    /// The high watermark moves with too few replicas in sync.
    HighWatermarkWithoutMinimum,
    /// A follower joins the in-sync replicas that was not heard in this leader epoch.
    JoinWithoutFetchOfEpoch,
    /// A follower says that it holds what it has not synced.
    FollowerCountsUnsynced,
    /// A leader counts what it has not synced itself.
    LeaderCountsUnsynced,
    /// A new leader tells a latest offset before it knows what is committed.
    LatestBeforeEpochStart,
    /// A follower gives consumers what is not known to be committed.
    FollowerServesBeyond,
    /// Replicas do not look at the topic's id.
    TopicIdNotChecked,
    /// A partition that was deleted before a crash is taken for lost, because the synced marks still name it.
    MarkOfDeletedBelieved,
    /// The page cache is believed by the start after a failed sync, as after a process that was killed.
    CacheTrustedAfterFailedSync,
}

/// The planted bug, counted from 1; 0 for none.
static PLANTED: AtomicU8 = AtomicU8::new(0);
static TURN: Mutex<()> = Mutex::new(());

/// A bug, or none, for as long as this lives. Nobody else in the process can plant one meanwhile.
#[derive(Debug)]
pub struct Planted {
    _turn: MutexGuard<'static, ()>,
}

/// Plants a bug, or makes sure that there is none. Waits for its turn.
#[must_use]
pub fn plant(bug: impl Into<Option<Bug>>) -> Planted {
    // A suite that failed while it held its turn has taken its bug away nevertheless.
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    PLANTED.store(bug.into().map_or(0, |bug| bug as u8 + 1), Ordering::SeqCst);
    Planted { _turn: turn }
}

impl Drop for Planted {
    fn drop(&mut self) {
        PLANTED.store(0, Ordering::SeqCst);
    }
}

/// Whether this bug is planted now.
#[must_use]
pub fn planted(bug: Bug) -> bool {
    PLANTED.load(Ordering::SeqCst) == bug as u8 + 1
}

/// Does something wrong, or takes a wrong value instead of the right one, if that bug is planted.
#[macro_export]
macro_rules! planted {
    ($bug:ident, $wrong:expr, else $right:expr) => {
        if $crate::teeth::planted($crate::teeth::Bug::$bug) { $wrong } else { $right }
    };
    ($bug:ident => $($wrong:tt)+) => {
        if $crate::teeth::planted($crate::teeth::Bug::$bug) {
            $($wrong)+
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_is_there_only_while_it_is_planted() {
        for bug in Bug::ALL {
            let planting = plant(*bug);
            let found: Vec<_> = Bug::ALL.iter().filter(|bug| planted(**bug)).collect();
            assert_eq!(found, [bug]);
            drop(planting);
        }
        let _nobody = plant(None);
        assert!(!Bug::ALL.iter().any(|bug| planted(*bug)));
    }
}
