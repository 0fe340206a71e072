//! What goes and what stays, case by case.

use super::*;

const NOW: TimestampMs = TimestampMs(1_000_000);
const ALL: usize = usize::MAX;

fn offset(value: u64) -> Offset {
    Offset::from_count(value)
}

/// Segments of ten records and a hundred bytes each, appended to last at these times.
fn segments(times: &[i64]) -> Vec<SegmentFacts> {
    let segment = |(number, time): (u64, &i64)| SegmentFacts {
        base: offset(number * 10),
        end: offset(number * 10 + 10),
        bytes: 100,
        appended_last: TimestampMs(*time),
    };
    (0..).zip(times).map(segment).collect()
}

fn cleaned(policy: RetentionPolicy, times: &[i64], pins: &[Pin]) -> Option<(u64, Reason)> {
    let bounds = (NOW, offset(times.len() as u64 * 10), ALL);
    let cleaned = retained_from(&policy, &segments(times), pins, bounds)?;
    assert_eq!(cleaned.log_start, offset(cleaned.segments as u64 * 10));
    Some((u64::try_from(cleaned.log_start.get()).unwrap(), cleaned.reason))
}

fn by_age(ms: u64) -> RetentionPolicy {
    RetentionPolicy { ms: Some(ms), bytes: None }
}

fn by_size(bytes: u64) -> RetentionPolicy {
    RetentionPolicy { ms: None, bytes: Some(bytes) }
}

#[test]
fn without_a_policy_nothing_goes() {
    assert_eq!(cleaned(RetentionPolicy::default(), &[1, 2, 3], &[]), None);
    assert!(RetentionPolicy::default().keeps_all());
}

#[test]
fn segments_go_once_their_last_append_is_too_old_and_the_active_one_never() {
    let times = [100_000, 200_000, 900_000, 950_000];
    assert_eq!(cleaned(by_age(900_000), &times, &[]), None, "an age of exactly the bound stays");
    assert_eq!(cleaned(by_age(899_999), &times, &[]), Some((10, Reason::Age)));
    assert_eq!(cleaned(by_age(500_000), &times, &[]), Some((20, Reason::Age)));
    assert_eq!(cleaned(by_age(0), &times, &[]), Some((30, Reason::Age)));
}

#[test]
fn an_old_segment_behind_a_young_one_cannot_be_and_both_count_as_old() {
    // The clock was ahead when the first was written, or what it says was lost.
    for first in [2_000_000, TimestampMs::NONE.0] {
        assert_eq!(cleaned(by_age(500_000), &[first, 100_000, 900_000], &[]), Some((20, Reason::Age)));
    }
    // Nothing is known of any: all are as young as can be.
    assert_eq!(cleaned(by_age(0), &[-1, -1, -1], &[]), None);
    assert_eq!(cleaned(by_age(0), &[2_000_000, 2_000_000, -1], &[]), None);
}

#[test]
fn the_oldest_go_as_long_as_enough_is_left_without_them() {
    let times = [1, 2, 3, 4];
    assert_eq!(cleaned(by_size(400), &times, &[]), None);
    assert_eq!(cleaned(by_size(301), &times, &[]), None);
    assert_eq!(cleaned(by_size(300), &times, &[]), Some((10, Reason::Size)));
    assert_eq!(cleaned(by_size(101), &times, &[]), Some((20, Reason::Size)));
    assert_eq!(cleaned(by_size(0), &times, &[]), Some((30, Reason::Size)));
}

#[test]
fn either_bound_is_enough() {
    let policy = RetentionPolicy { ms: Some(500_000), bytes: Some(200) };
    assert_eq!(cleaned(policy, &[1, 900_000, 900_000, 900_000], &[]), Some((20, Reason::Size)));
    assert_eq!(cleaned(policy, &[1, 1, 1, 900_000], &[]), Some((30, Reason::Age)));
}

#[test]
fn nothing_above_a_pin_or_the_high_watermark_goes() {
    let pin = |lowest| Pin { name: "cut".to_owned(), lowest: offset(lowest), reason: "a reader".to_owned() };
    let times = [1, 2, 3, 4];
    assert_eq!(cleaned(by_age(0), &times, &[pin(25)]), Some((20, Reason::Age)));
    assert_eq!(cleaned(by_age(0), &times, &[pin(30), pin(9)]), None);
    let bounds = (NOW, offset(29), ALL);
    let cleaned = retained_from(&by_age(0), &segments(&times), &[], bounds);
    assert_eq!(cleaned.map(|cleaned| cleaned.log_start), Some(offset(20)));
}

#[test]
fn no_more_go_at_once_than_were_allowed() {
    let segments = segments(&[1, 2, 3, 4]);
    for (most, start) in [(0, None), (1, Some(10)), (2, Some(20)), (9, Some(30))] {
        let cleaned = retained_from(&by_age(0), &segments, &[], (NOW, offset(40), most));
        assert_eq!(cleaned.map(|cleaned| cleaned.log_start), start.map(offset));
    }
    assert_eq!(retained_from(&by_age(0), &[], &[], (NOW, offset(40), ALL)), None);
}

#[test]
fn a_policy_that_does_not_delete_keeps_all() {
    let limits = LogConfig { retention_ms: Some(1), retention_bytes: Some(1), ..LogConfig::default() };
    for policy in CleanupPolicy::ALL {
        let retention = RetentionPolicy::of(&LogConfig { cleanup: policy, ..limits.clone() });
        assert_eq!(retention.keeps_all(), !policy.deletes(), "{policy}");
    }
}
