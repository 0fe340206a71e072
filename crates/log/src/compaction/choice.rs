//! What is compacted next: a pure function of what is known of the segments, the topic's configuration and the time.
//!
//! ```text
//!   ├─ clean: cleaned to its end ─┼─ dirty, cleanable ─────────────┼─ not yet: too young, no seal, above the limit ─┤
//!   0                        first dirty                      cleanable end
//!   ratio = dirty bytes / (clean bytes + dirty bytes)
//! ```
//! Source: Kafka's `LogCleanerManager` (`grabFilthiestCompactedLog`, `cleanableOffsets`) and `Cleaner.groupSegmentsBySize`.

use std::ops::Range;

use millrace_types::{Offset, TimestampMs};

use crate::CompactionConfig;
use crate::config::PARTS_PER_MILLION;
use crate::format::offset_index::relative_offset;

/// What is known of a sealed segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentFacts {
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    /// Up to where it was cleaned, if compaction was there.
    pub(crate) cleaned_to: Option<Offset>,
    /// When the first of its tombstones may go; none if no tombstone waits.
    pub(crate) tombstones_due: TimestampMs,
    pub(crate) largest_timestamp: TimestampMs,
}

/// What is known of a log: its sealed segments from the first one on, none of which reaches above what may be compacted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LogFacts {
    pub(crate) segments: Vec<SegmentFacts>,
    /// The timestamp of the first dirty batch, where `max.compaction.lag.ms` asks for it.
    pub(crate) dirty_since: TimestampMs,
}

/// Why a log is compacted; the later ones first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Reason {
    /// Tombstones have waited for long enough. Nothing else is looked at.
    Tombstones,
    /// So many parts per million of it are dirty.
    Dirty(u32),
    /// A record has been dirty for too long.
    Overdue,
}

/// A pass over one log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Choice {
    pub(crate) reason: Reason,
    /// Keys are looked for from here on.
    pub(crate) first_dirty: Offset,
    /// How many of the segments take part.
    pub(crate) segments: usize,
}

impl LogFacts {
    /// Up to where the log was cleaned.
    pub(crate) fn first_dirty(&self) -> Offset {
        let dirty = self.segments.iter().find(|segment| segment.cleaned_to != Some(segment.end));
        match dirty {
            Some(segment) => segment.cleaned_to.unwrap_or(segment.base),
            None => self.segments.last().map_or(Offset::ZERO, |segment| segment.end),
        }
    }
}

/// What there is to do for a log, if anything.
pub(crate) fn choose(facts: &LogFacts, config: &CompactionConfig, now: TimestampMs) -> Option<Choice> {
    let first_dirty = facts.first_dirty();
    let clean = facts.segments.partition_point(|segment| segment.end <= first_dirty);
    let (clean_segments, dirty) = facts.segments.split_at(clean);
    let age = |timestamp: TimestampMs| now.0.saturating_sub(timestamp.0);
    let is_old = |segment: &&SegmentFacts| age(segment.largest_timestamp) >= signed(config.lag_ms_min);
    let cleanable = dirty.iter().take_while(is_old).count();
    let bytes = |segments: &[SegmentFacts]| segments.iter().map(|segment| segment.bytes).sum::<u64>();
    let dirty_bytes = bytes(dirty.get(..cleanable).unwrap_or_default());
    if dirty_bytes > 0 {
        let whole = bytes(clean_segments).saturating_add(dirty_bytes);
        let parts = u128::from(dirty_bytes) * u128::from(PARTS_PER_MILLION) / u128::from(whole);
        let parts = u32::try_from(parts).unwrap_or(PARTS_PER_MILLION);
        let is_overdue = facts.dirty_since.is_some() && age(facts.dirty_since) > signed(config.lag_ms_max);
        let reason = match is_overdue {
            true => Some(Reason::Overdue),
            false => (parts > config.dirty_parts_min).then_some(Reason::Dirty(parts)),
        };
        if let Some(reason) = reason {
            return Some(Choice { reason, first_dirty, segments: clean + cleanable });
        }
    }
    let is_due = |segment: &SegmentFacts| is_due(segment, now);
    let last_due = clean_segments.iter().rposition(is_due)?;
    Some(Choice { reason: Reason::Tombstones, first_dirty, segments: last_due + 1 })
}

/// Which neighbours become one segment: those whose bytes fit into one together. Segments from `mapped_to` on are left out:
/// of their keys nothing is known.
pub(crate) fn group(
    segments: &[SegmentFacts],
    choice: &Choice,
    (mapped_to, segment_bytes): (Offset, u64),
    now: TimestampMs,
) -> Vec<Range<usize>> {
    let known = segments.iter().take_while(|segment| segment.base < mapped_to).count();
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0_u64;
    for (number, segment) in segments.iter().enumerate().take(known) {
        if choice.reason == Reason::Tombstones {
            if is_due(segment, now) {
                groups.push(number..number + 1);
            }
            continue;
        }
        let joined = groups.last_mut().filter(|group| {
            let base = segments.get(group.start).map_or(segment.base, |first| first.base);
            bytes.saturating_add(segment.bytes) <= segment_bytes
                && relative_offset(base, segment.end.saturating_sub(1)).is_some()
        });
        match joined {
            Some(group) => {
                group.end = number + 1;
                bytes = bytes.saturating_add(segment.bytes);
            }
            None => {
                groups.push(number..number + 1);
                bytes = segment.bytes;
            }
        }
    }
    groups
}

fn is_due(segment: &SegmentFacts, now: TimestampMs) -> bool {
    segment.tombstones_due.is_some() && segment.tombstones_due <= now
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_000_000);

    fn segment(base: u64, end: u64, cleaned_to: Option<u64>) -> SegmentFacts {
        SegmentFacts {
            base: Offset::from_count(base),
            end: Offset::from_count(end),
            bytes: 100,
            cleaned_to: cleaned_to.map(Offset::from_count),
            tombstones_due: TimestampMs::NONE,
            largest_timestamp: TimestampMs(0),
        }
    }

    fn facts(segments: Vec<SegmentFacts>) -> LogFacts {
        LogFacts { segments, dirty_since: TimestampMs::NONE }
    }

    #[test]
    fn what_is_dirty_is_chosen_once_there_is_more_of_it_than_the_ratio_allows() {
        let log = facts(vec![
            segment(0, 10, Some(10)),
            segment(10, 20, Some(20)),
            segment(20, 30, None),
            segment(30, 40, None),
        ]);
        let config = |dirty_parts_min| CompactionConfig { dirty_parts_min, ..CompactionConfig::default() };
        assert_eq!(choose(&log, &config(500_000), NOW), None, "half of it is not more than half");
        let choice = choose(&log, &config(499_999), NOW).unwrap();
        let expected =
            Choice { reason: Reason::Dirty(500_000), first_dirty: Offset::from_count(20), segments: 4 };
        assert_eq!(choice, expected);
    }

    #[test]
    fn a_segment_that_was_cleaned_in_part_is_dirty_from_there_on() {
        let log = facts(vec![segment(0, 10, Some(10)), segment(10, 20, Some(14)), segment(20, 30, Some(30))]);
        assert_eq!(log.first_dirty(), Offset::from_count(14));
        assert_eq!(facts(vec![segment(0, 10, Some(10))]).first_dirty(), Offset::from_count(10));
        assert_eq!(facts(Vec::new()).first_dirty(), Offset::ZERO);
    }

    #[test]
    fn what_is_too_young_waits_and_so_does_all_behind_it() {
        let young = SegmentFacts { largest_timestamp: TimestampMs(NOW.0 - 10), ..segment(10, 20, None) };
        let log = facts(vec![segment(0, 10, None), young, segment(20, 30, None)]);
        let config = CompactionConfig { lag_ms_min: 11, ..CompactionConfig::default() };
        assert_eq!(choose(&log, &config, NOW).map(|choice| choice.segments), Some(1));
        let config = CompactionConfig { lag_ms_min: 10, ..CompactionConfig::default() };
        assert_eq!(choose(&log, &config, NOW).map(|choice| choice.segments), Some(3));
    }

    #[test]
    fn what_is_overdue_and_tombstones_that_are_due_do_not_wait_for_the_ratio() {
        let mut log = facts(vec![segment(0, 10, Some(10)), segment(10, 20, None)]);
        let config = CompactionConfig { lag_ms_max: 50, ..CompactionConfig::default() };
        log.dirty_since = TimestampMs(NOW.0 - 50);
        assert_eq!(choose(&log, &config, NOW), None);
        log.dirty_since = TimestampMs(NOW.0 - 51);
        assert_eq!(choose(&log, &config, NOW).map(|choice| choice.reason), Some(Reason::Overdue));
        log.dirty_since = TimestampMs::NONE;
        log.segments[0].tombstones_due = TimestampMs(NOW.0 + 1);
        assert_eq!(choose(&log, &config, NOW), None);
        log.segments[0].tombstones_due = NOW;
        let choice = choose(&log, &config, NOW).unwrap();
        assert_eq!((choice.reason, choice.segments), (Reason::Tombstones, 1));
        let groups = group(&log.segments, &choice, (choice.first_dirty, 1_000), NOW);
        assert_eq!(groups, [Range { start: 0, end: 1 }]);
    }

    #[test]
    fn neighbours_become_one_segment_while_their_bytes_fit() {
        let log = facts((0..5).map(|n| segment(n * 10, n * 10 + 10, None)).collect());
        let choice = choose(&log, &CompactionConfig::default(), NOW).unwrap();
        let grouped = |mapped_to: u64| {
            let bounds = (Offset::from_count(mapped_to), 250);
            group(&log.segments, &choice, bounds, NOW)
        };
        assert_eq!(grouped(50), [0..2, 2..4, 4..5]);
        assert_eq!(grouped(20), [Range { start: 0, end: 2 }], "behind what is mapped nothing is touched");
        assert_eq!(grouped(21), [0..2, 2..3]);
        let far = facts(vec![segment(0, 10, None), segment(10, 1 << 40, None)]);
        assert_eq!(group(&far.segments, &choice, (Offset::MAX, 1_000), NOW), [0..1, 1..2]);
    }
}
