//! Planted histories: each must be found, and a clean one must not.

mod planted;
mod script;
mod size;

use script::judge;

use super::super::Analysis;

/// Two writers, a reader, a group of two, and whole readings at the end; with everything that is allowed.
const CLEAN: &str = "
    10 r assign p0@0 p1@0
    11 a send 1 p0
    12 a send 2 p0
    13 b send 101 p0
    14 b send 102 p1
    20 a acked 1 0
    21 a acked 2 1
    22 b acked 101 2
    23 b acked 102 0
    24 g assigned p0
    25 g polled 24 p0: 0=1 1=2
    30 r polled 26 p0: 0=1 1=2 2=101 ; p1: 0=102
    31 g revoked p0
    32 h assigned p0
    33 h polled 32 p0: 1=2 2=101
    34 a send 3 p1
    35 a failed 3
    36 a send 4 p1
    37 a unknown 4
    38 a send 5 p1
    39 a acked 5 2
    40 a send 6 p1
    41 a unknown 6
    42 r polled 38 p1: 1=4 2=5
    43 r polled 42
    44 r seek p0@1
    45 r polled 44 p0: 1=2
    50 f assign p0@0 p1@0
    51 f polled 50 p0: 0=1 1=2 2=101 ; p1: 0=102 1=4 2=5
    52 f whole 50 p0 0..3
    53 f whole 50 p1 0..3
    60 e assign p0@1
    61 e polled 60 p0: 1=2 2=101
    62 e whole 60 p0 1..3";

#[test]
fn a_clean_history_is_clean() {
    let verdict = judge(CLEAN);
    assert!(verdict.is_clean(), "{verdict}");
    let tally = verdict.tally;
    assert_eq!((tally.sent, tally.acked, tally.failed, tally.unknown), (8, 5, 1, 2));
    assert_eq!((tally.unknown_found, tally.wholes, tally.unjudged), (1, 3, 0));
}

#[test]
fn every_planted_anomaly_is_found_and_nothing_else() {
    for (number, planted) in planted::ALL.iter().enumerate() {
        let verdict = judge(planted.script);
        assert_eq!(verdict.kinds(), planted.finds, "planted history {number}: {}\n{verdict}", planted.script);
    }
}

#[test]
fn every_analysis_is_planted_at_least_three_times() {
    for analysis in Analysis::ALL {
        let times = planted::ALL.iter().filter(|planted| planted.finds.contains(&analysis)).count();
        assert!(times >= 3, "{}: {times}", analysis.name());
    }
}

#[test]
fn the_worst_lag_is_that_of_who_asked_long_after_somebody_knew() {
    // Known at 20 by its acknowledgement; asked for at 25 and 70, answered only then.
    let late = "10 r assign p0@0
        11 a send 1 p0
        20 a acked 1 0
        30 r polled 25
        71 r polled 70
        80 r polled 75 p0: 0=1";
    assert_eq!(judge(late).lag.worst.as_nanos(), 50);
    // Known by the reading of another.
    let other = "10 r assign p0@0
        11 a send 1 p0
        15 s assign p0@0
        18 s polled 16 p0: 0=1
        20 a acked 1 0
        30 r polled 25
        31 r polled 30 p0: 0=1";
    assert_eq!(judge(other).lag.worst.as_nanos(), 7);
    // Who does not hold the partition, or does not know where it is, is not late.
    let none = "10 r assign p0@0
        11 a send 1 p0
        20 a acked 1 0
        21 r revoked p0
        50 r polled 49
        51 r assigned p0
        60 r polled 55";
    assert_eq!(judge(none).lag.worst.as_nanos(), 0);
}

#[test]
fn what_no_whole_reading_follows_is_not_judged() {
    let verdict = judge("10 a send 1 p0\n 20 a acked 1 0\n 30 a send 2 p0\n 40 a acked 2 1");
    assert!(verdict.is_clean());
    assert_eq!(verdict.tally.unjudged, 2);
}
