//! `scrub.progress`: how far the scrub has come, so that a restart goes on about there.
//!
//! ```text
//!  envelope(kind ScrubProgress, version 1):
//!  ┌────────────┬────────────┬───────────────┬──────────┬───────────┬──────────┬───────┐
//!  │ pass began │ pass ended │ under way     │ topic id │ partition │ base     │ item  │
//!  │ i64 ms     │ i64 ms, -1 │ u8 (0, 1)     │ 16 bytes │ u32       │ i64      │ u32   │
//!  └────────────┴────────────┴───────────────┴──────────┴───────────┴──────────┴───────┘
//! ```
//! The place is zero unless a pass is under way. The file is a hint: without it, or if it lies, a pass begins anew.

use millrace_types::{Offset, PartitionIndex, TimestampMs, TopicId, TopicPartition};

use super::envelope::{self, DecodeError, FileKind};
use super::fields::Fields;

/// The newest version that this build reads, and the one that it writes.
pub const VERSION: u16 = 1;
/// The largest that the file can be.
pub const BYTES_MAX: usize = 128;

/// What is checked next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ScrubPlace {
    /// In which log.
    pub partition: TopicPartition,
    /// In which segment.
    pub base: Offset,
    /// Which part of it: the blocks of the `.log` in order, then the other files.
    pub item: u32,
}

/// Where the scrub stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScrubProgress {
    /// Wall time at which the last pass began.
    pub began: TimestampMs,
    /// Wall time at which the last whole pass ended; [`TimestampMs::NONE`] if there was none.
    pub ended: TimestampMs,
    /// What is checked next; `None` between two passes.
    pub next: Option<ScrubPlace>,
}

/// The content of the file.
#[must_use]
pub fn encode(progress: &ScrubProgress) -> Vec<u8> {
    let nowhere = ScrubPlace {
        partition: TopicPartition { topic: TopicId([0; 16]), partition: PartitionIndex(0) },
        base: Offset::ZERO,
        item: 0,
    };
    let place = progress.next.unwrap_or(nowhere);
    let mut body = Vec::with_capacity(BYTES_MAX);
    body.extend_from_slice(&progress.began.0.to_be_bytes());
    body.extend_from_slice(&progress.ended.0.to_be_bytes());
    body.push(u8::from(progress.next.is_some()));
    body.extend_from_slice(&place.partition.topic.0);
    body.extend_from_slice(&place.partition.partition.0.to_be_bytes());
    body.extend_from_slice(&place.base.get().to_be_bytes());
    body.extend_from_slice(&place.item.to_be_bytes());
    envelope::seal(FileKind::ScrubProgress, VERSION, &body)
}

/// Reads the content of the file.
///
/// # Errors
/// Damage or a newer version: a pass begins anew then.
pub fn decode(bytes: &[u8]) -> Result<ScrubProgress, DecodeError> {
    let opened = envelope::open(FileKind::ScrubProgress, VERSION, bytes)?;
    let mut fields = Fields::new(opened.body);
    let (began, ended, under_way) = (fields.timestamp()?, fields.timestamp()?, fields.byte()?);
    let topic = TopicId(fields.array()?);
    let partition = TopicPartition { topic, partition: PartitionIndex(fields.u32()?) };
    let place = ScrubPlace { partition, base: fields.offset()?, item: fields.u32()? };
    fields.end()?;
    let next = match under_way {
        0 => None,
        1 => Some(place),
        _ => return Err(DecodeError::Invalid("a pass that is neither under way nor over")),
    };
    Ok(ScrubProgress { began, ended, next })
}

#[cfg(test)]
mod tests {
    use super::super::exam;
    use super::*;

    fn example() -> ScrubProgress {
        let partition = TopicPartition { topic: TopicId([7; 16]), partition: PartitionIndex(3) };
        let next = Some(ScrubPlace { partition, base: Offset::from_count(1000), item: 12 });
        ScrubProgress { began: TimestampMs(1_700_000_000_000), ended: TimestampMs::NONE, next }
    }

    #[test]
    fn it_comes_back() {
        for progress in [example(), ScrubProgress { next: None, ended: TimestampMs(5), ..example() }] {
            assert_eq!(decode(&encode(&progress)), Ok(progress));
            assert!(encode(&progress).len() <= BYTES_MAX);
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let bytes = encode(&example());
        exam::every_cut_is_refused(&bytes, decode);
        exam::every_flip_is_refused(&bytes, decode);
    }
}
