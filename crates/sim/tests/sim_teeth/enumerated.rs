//! What the enumerator of crash states sees of the planted bugs.

use millrace_sim::crash_states::{Budget, Report, run};
use millrace_types::teeth::{Bug, plant};

/// Crash states within which a bug must show.
const STATES_MAX: u64 = 1_000;
/// What half of those that it sees take at most.
const STATES_MEDIAN: u64 = 100;

/// Whether crashes alone show a bug.
enum Enumerated {
    /// In this workload.
    Seen(&'static str),
    /// No: it takes more than a crash, or another workload than there is.
    Blind(&'static str),
}

fn enumerated(bug: Bug) -> Enumerated {
    use Enumerated::{Blind, Seen};
    match bug {
        Bug::AckBeforeSync
        | Bug::CreateWithoutDirSync
        | Bug::RenameWithoutDirSync
        | Bug::RollWithoutDirSync
        | Bug::RenameWithoutFileSync
        | Bug::RecoverWithoutSync
        | Bug::RecoverThroughCache
        | Bug::CleanMarkNotBelieved
        | Bug::CleanMarkNotNeeded
        | Bug::DedupWindowOfOne => Seen("cuts"),
        Bug::CutBelowMark | Bug::RetryFailedSync | Bug::MarkOfDeletedBelieved => Seen("partitions"),
        Bug::MarkAheadOfSync | Bug::IndexBeyondMark => Blind("nobody appends beside the janitor"),
        Bug::RunningMarkTrusted => Blind("nothing is remounted"),
        Bug::HalfIndexEntry => Blind("no disk is full"),
        Bug::SnapshotNotTruncated => Seen("rewound"),
        Bug::CompactedWithoutSync | Bug::SealBeforeNames | Bug::TombstoneTooSoon => Seen("compaction"),
        Bug::AgeOfRecords | Bug::UnlinkBeforeLogStart => Seen("retention"),
        Bug::ProducerIdsTwice | Bug::DeleteAbsent => Seen("topics"),
        Bug::StaleCommitTaken
        | Bug::FencedInstanceTaken
        | Bug::TwoOwners
        | Bug::EpochNotRaised
        | Bug::StaleListAcknowledges
        | Bug::ExpiredUnderMember
        | Bug::ToldBeforePersisted
        | Bug::FetchedBeforePersisted
        | Bug::ServedBeforeLoaded
        | Bug::StaleGenerationTaken
        | Bug::GenerationAgain
        | Bug::FollowerAssigns
        | Bug::FailedPersistTold => Blind("no group has members"),
        Bug::IsrJoinWithoutEpoch
        | Bug::OldPartitionEpochTaken
        | Bug::ElrKept
        | Bug::QuickReboot
        | Bug::TruncateToHighWatermark
        | Bug::JoinBelowEpochStart
        | Bug::HighWatermarkOfCurrentSet
        | Bug::HighWatermarkWithoutMinimum
        | Bug::JoinWithoutFetchOfEpoch
        | Bug::FollowerCountsUnsynced
        | Bug::LeaderCountsUnsynced
        | Bug::LatestBeforeEpochStart
        | Bug::FollowerServesBeyond
        | Bug::TopicIdNotChecked
        | Bug::CacheTrustedAfterFailedSync => Blind("there is one broker"),
        Bug::QuorumVoteBeforeSync | Bug::QuorumAppendBeforeSync => Blind("there is no quorum"),
    }
}

/// One round of a workload, up to the first broken promise.
fn crash(workload: &str) -> Report {
    run(&Budget {
        seed: 1,
        second_one_in: 50,
        violations_max: 1,
        workload: Some(workload.to_owned()),
        ..Budget::default()
    })
}

#[test]
fn the_enumerator_sees_what_crashes_show() {
    let mut taken = Vec::new();
    let mut holes = Vec::new();
    for bug in Bug::ALL {
        let workload = match enumerated(*bug) {
            Enumerated::Seen(workload) => workload,
            Enumerated::Blind(why) => {
                println!("{bug:?}: not looked for in crash states: {why}");
                continue;
            }
        };
        let report = {
            let _planted = plant(*bug);
            crash(workload)
        };
        match report.violations.first() {
            Some(violation) if report.states <= STATES_MAX => {
                println!("{bug:?}: seen after {} crash states: {}", report.states, violation.what);
                taken.push(report.states);
            }
            _ => holes.push(format!("{bug:?} in {} states of {workload}", report.states)),
        }
    }
    assert!(holes.is_empty(), "not seen: {holes:?}");
    taken.sort_unstable();
    let median = taken[taken.len() / 2];
    println!("{} bugs of {}; crash states: {taken:?}, median {median}", taken.len(), Bug::ALL.len());
    assert!(median <= STATES_MEDIAN, "half of them take more than {STATES_MEDIAN} states");
}

#[test]
fn without_a_bug_the_enumerator_sees_nothing() {
    let _nothing = plant(None);
    for workload in ["cuts", "partitions", "compaction", "retention", "topics"] {
        let report = crash(workload);
        assert!(report.violations.is_empty(), "{}", report.violations[0]);
        println!("{workload}: {} crash states, no broken promise", report.states);
        assert!(report.states > STATES_MAX, "{workload} has {} states", report.states);
    }
}
