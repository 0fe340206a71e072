//! What retention may delete: a pure function of the policy, the segments and the pins.

use millrace_types::{CleanupPolicy, Offset, TimestampMs};

use crate::LogConfig;

/// What retention needs to know of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentFacts {
    /// Its first offset.
    pub base: Offset,
    /// The offset behind its last record.
    pub end: Offset,
    /// Bytes of its `.log`.
    pub bytes: u64,
    /// Wall time of the last append to it; [`TimestampMs::NONE`] if it is not known.
    pub appended_last: TimestampMs,
}

/// How long and how much a log keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RetentionPolicy {
    /// Segments whose last append is older than so many milliseconds go (`retention.ms`); `None` keeps them for ever.
    pub ms: Option<u64>,
    /// The oldest segments go as long as so many bytes are left without them (`retention.bytes`); `None` keeps all.
    pub bytes: Option<u64>,
}

impl RetentionPolicy {
    /// What a log's configuration says; nothing goes where its `cleanup.policy` does not delete.
    #[must_use]
    pub fn of(config: &LogConfig) -> RetentionPolicy {
        match config.cleanup {
            CleanupPolicy::Delete | CleanupPolicy::CompactAndDelete => {
                RetentionPolicy { ms: config.retention_ms, bytes: config.retention_bytes }
            }
            CleanupPolicy::Compact => RetentionPolicy::default(),
        }
    }

    /// Whether nothing ever goes.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.ms.is_none() && self.bytes.is_none()
    }
}

/// Something that keeps records from being deleted by retention, whatever the policy says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pin {
    /// Whose it is.
    pub name: String,
    /// The first offset that must stay.
    pub lowest: Offset,
    /// Why.
    pub reason: String,
}

/// Why segments go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Their last append is longer ago than `retention.ms`.
    Age,
    /// Without them `retention.bytes` are left.
    Size,
}

/// What retention lets go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cleaned {
    /// The new log start.
    pub log_start: Offset,
    /// How many segments go, from the first on.
    pub segments: usize,
    /// Why the last of them goes.
    pub reason: Reason,
}

/// What of a log may go at `now`: whole segments, the oldest first, and never the last one, which is active. Of
/// `segments`, which lie one behind the other, at most the first `segments_max`. Nothing at or above `high_watermark`, nor
/// above a pin.
#[must_use]
pub fn retained_from(
    policy: &RetentionPolicy,
    segments: &[SegmentFacts],
    pins: &[Pin],
    (now, high_watermark, segments_max): (TimestampMs, Offset, usize),
) -> Option<Cleaned> {
    let bound = pins.iter().map(|pin| pin.lowest).fold(high_watermark, Offset::min);
    let ages = ages_of(segments, now);
    let mut left: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut cleaned = None;
    let rolled = segments.len().saturating_sub(1);
    let next_bases = segments.iter().skip(1).map(|next| next.base);
    let candidates = segments.iter().zip(ages).zip(next_bases).take(rolled.min(segments_max));
    for (number, ((segment, age_ms), next)) in candidates.enumerate() {
        let without = left.saturating_sub(segment.bytes);
        let reason = if policy.ms.is_some_and(|ms| age_ms > ms) {
            Reason::Age
        } else if policy.bytes.is_some_and(|bytes| without >= bytes) {
            Reason::Size
        } else {
            break;
        };
        // The bases count, not the ends: what a gap between two segments has lost is gone with the first of them.
        if next > bound {
            break;
        }
        left = without;
        cleaned = Some(Cleaned { log_start: next, segments: number + 1, reason });
    }
    cleaned
}

/// How long ago each segment was appended to last, in milliseconds. Appends come in the order of the segments, so a later
/// one bounds those before it: a time that is unknown, or was taken from a clock that was ahead, is replaced by it.
fn ages_of(segments: &[SegmentFacts], now: TimestampMs) -> Vec<u64> {
    let mut latest = now.0;
    let mut ages: Vec<u64> = segments
        .iter()
        .rev()
        .map(|segment| {
            if segment.appended_last.is_some() {
                latest = latest.min(segment.appended_last.0);
            }
            u64::try_from(now.0.saturating_sub(latest)).unwrap_or(0)
        })
        .collect();
    ages.reverse();
    ages
}

#[cfg(test)]
mod tests;
