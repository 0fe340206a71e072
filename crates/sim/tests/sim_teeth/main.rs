//! Every planted bug is caught, and nothing is reported where none is planted.
//!
//! Each bug has one check here that must report it; [`check_of`] does not compile without one for a new bug. A check
//! draws what it does from a seed. It is run seed after seed until it reports something, at most [`SEEDS_MAX`] times,
//! and [`SEEDS_CLEAN`] times without any bug, when it must report nothing.
#![cfg(feature = "teeth")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod absence;
mod brokers;
mod cleaning;
mod cuts;
mod damage;
mod enumerated;
mod groups;
mod quorum;
mod replication;
mod starts;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use millrace_types::teeth::{Bug, plant};

/// Seeds after which a bug counts as not caught.
const SEEDS_MAX: u64 = 1_000;
/// Seeds without a bug, for every check.
const SEEDS_CLEAN: u64 = 100;
/// What half of the bugs take at most.
const SEEDS_MEDIAN: u64 = 100;

/// What a check says: which promise is broken, if one is.
type Outcome = Result<(), String>;

/// Does something with the real code, as the seed says, and holds the outcome against a promise.
#[derive(Clone, Copy)]
struct Check {
    promise: &'static str,
    run: fn(u64) -> Outcome,
}

/// What must catch a bug.
fn check_of(bug: Bug) -> Check {
    let check = |promise, run| Check { promise, run };
    match bug {
        Bug::AckBeforeSync => check("what is acknowledged outlives a power cut", cuts::acknowledged_records),
        Bug::CreateWithoutDirSync => check("a new partition outlives a power cut", cuts::new_partition),
        Bug::RenameWithoutDirSync => check("a trim outlives a power cut", cuts::trim),
        Bug::RollWithoutDirSync => check("records behind a roll outlive a power cut", cuts::rolled_records),
        Bug::RenameWithoutFileSync => check("a power cut damages no small file", cuts::small_files),
        Bug::RecoverWithoutSync => {
            check("what a start serves outlives a power cut", starts::served_after_a_kill)
        }
        Bug::RecoverThroughCache => {
            check("what a start serves is on the medium", starts::served_after_a_failed_sync)
        }
        Bug::CutBelowMark => check("damage below the mark costs its own range only", damage::below_the_mark),
        Bug::RetryFailedSync => {
            check("nothing is acknowledged after a failed sync", cuts::acknowledged_after_a_failed_sync)
        }
        Bug::MarkAheadOfSync => check("the synced mark covers nothing unsynced", damage::beside_the_janitor),
        Bug::CleanMarkNotBelieved => check("a start after a clean stop reads nothing", starts::clean),
        Bug::CleanMarkNotNeeded => check("an unclean start begins an epoch", starts::unclean),
        Bug::RunningMarkTrusted => check("a remount counts as a lost cache", starts::remounted),
        Bug::IndexBeyondMark => {
            check("a log ends at the first byte that was lost", damage::index_ahead_of_the_log)
        }
        Bug::HalfIndexEntry => check("a full disk leaves whole index entries", damage::index_on_a_full_disk),
        Bug::DedupWindowOfOne => check("retries get their first offsets", cuts::retries),
        Bug::SnapshotNotTruncated => check("a truncation is forgotten whole", starts::truncated_producers),
        Bug::ProducerIdsTwice => check("no producer id is given twice", brokers::producer_ids),
        Bug::CompactedWithoutSync | Bug::SealBeforeNames => {
            check("a power cut leaves what was compacted, or what it was made of", cleaning::compacted_keys)
        }
        Bug::TombstoneTooSoon => check("a tombstone is there until its time is over", cleaning::tombstones),
        Bug::AgeOfRecords => check("history with old times is as young as its loading", cleaning::history),
        Bug::UnlinkBeforeLogStart => {
            check("a power cut damages no log that is shortened", cleaning::shortened)
        }
        Bug::DeleteAbsent => check("nothing is deleted because it is absent", brokers::strangers),
        Bug::StaleCommitTaken
        | Bug::FencedInstanceTaken
        | Bug::EpochNotRaised
        | Bug::StaleListAcknowledges => check("who is not to commit does not", groups::core),
        Bug::TwoOwners => check("no partition has two owners", groups::core),
        Bug::ExpiredUnderMember | Bug::ToldBeforePersisted | Bug::FetchedBeforePersisted => {
            check("a fetch answers the last commit", groups::core)
        }
        Bug::StaleGenerationTaken => check("a commit of an old generation is refused", groups::generations),
        Bug::GenerationAgain => check("the number of a generation never comes again", groups::generations),
        Bug::FollowerAssigns => check("only its leader assigns a generation", groups::generations),
        Bug::ServedBeforeLoaded => check("a coordinator reads its log first", groups::broker),
        Bug::FailedPersistTold => check("what is answered is durable", groups::broker),
        Bug::QuorumVoteBeforeSync => check("a voter never goes back behind a promise", quorum::nodes),
        Bug::QuorumAppendBeforeSync => {
            check("what a majority has acknowledged outlives a power cut", quorum::nodes)
        }
        Bug::TruncateToHighWatermark
        | Bug::JoinBelowEpochStart
        | Bug::HighWatermarkOfCurrentSet
        | Bug::IsrJoinWithoutEpoch
        | Bug::QuickReboot
        | Bug::JoinWithoutFetchOfEpoch
        | Bug::OldPartitionEpochTaken
        | Bug::ElrKept => check("who may be elected holds what is committed", replication::partition),
        Bug::HighWatermarkWithoutMinimum | Bug::FollowerCountsUnsynced | Bug::LeaderCountsUnsynced => {
            check("what is committed is held by enough replicas", replication::partition)
        }
        Bug::LatestBeforeEpochStart | Bug::FollowerServesBeyond => {
            check("consumers hear of what is committed, and of all of it", replication::partition)
        }
        Bug::MarkOfDeletedBelieved => {
            check("what was deleted before a crash can be made anew", starts::deleted_and_made_anew)
        }
        Bug::CacheTrustedAfterFailedSync => {
            check("a failed sync counts as a lost cache", starts::told_of_a_failed_sync)
        }
        Bug::TopicIdNotChecked => {
            check("a topic has nothing of one that had its name", replication::partition)
        }
    }
}

/// A panic of the real code is a broken promise like any other.
fn run(check: Check, seed: u64) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| (check.run)(seed))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panicked: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default()))
    })
}

#[test]
fn every_planted_bug_is_caught() {
    let mut holes = Vec::new();
    let mut taken = Vec::new();
    for bug in Bug::ALL {
        let check = check_of(*bug);
        let _planted = plant(*bug);
        let caught = (0..SEEDS_MAX).find_map(|seed| run(check, seed).err().map(|what| (seed + 1, what)));
        match caught {
            Some((seeds, what)) => {
                println!("{bug:?}: caught by \"{}\" after {seeds} seed(s): {what}", check.promise);
                taken.push(seeds);
            }
            None => {
                println!("{bug:?}: NOT caught by \"{}\" in {SEEDS_MAX} seeds", check.promise);
                holes.push(*bug);
            }
        }
    }
    assert!(holes.is_empty(), "holes: {holes:?}");
    taken.sort_unstable();
    let median = taken[taken.len() / 2];
    println!("{} bugs; seeds: {taken:?}, median {median}", Bug::ALL.len());
    assert!(median <= SEEDS_MEDIAN, "half of the bugs take more than {SEEDS_MEDIAN} seeds");
}

#[test]
fn without_a_bug_no_check_reports_anything() {
    let _nothing = plant(None);
    for bug in Bug::ALL {
        let check = check_of(*bug);
        for seed in 0..SEEDS_CLEAN {
            if let Err(what) = run(check, seed) {
                panic!("\"{}\" is broken without a bug, seed {seed}: {what}", check.promise);
            }
        }
    }
}
