//! Compaction: keeps the last record of each key, where the topic says so (`cleanup.policy=compact`).
//!
//! ```text
//!   choice   which log, which segments, which of them become one: pure
//!   pass     the keys of what is dirty, then what is kept of each segment: in steps, at the pace of the janitor
//! ```
//! Offsets never change. A batch keeps its base offset and its last one, so there are holes within batches, and between batches
//! where all records of one are gone. Two batches stay as bare headers: the last of a segment, so that the next one begins
//! behind it, and the last of a producer that is still known. One log is compacted at a time, in bounded memory.
#![deny(clippy::indexing_slicing)]

mod choice;
mod key_map;
mod pass;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use millrace_record::{BatchHeader, HEADER_BYTES};
use millrace_types::{TimestampMs, TopicPartition};

use crate::Log;
use crate::dir::pace::Pace;
use crate::inner::LogInner;
use crate::passing::is_passing;
use crate::replacement::Beside;
use crate::segment::Segment;
use choice::{Choice, LogFacts, SegmentFacts, choose};
use pass::{Ended, Pass, Progress};

/// The compaction of a directory, between two steps of the janitor.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    pass: Option<Pass>,
    /// Logs in which something is damaged, and how often they had been mended: left alone until they are again.
    left_alone: BTreeMap<TopicPartition, u64>,
}

impl Compaction {
    /// Works as far as the pace allows.
    pub(crate) fn step(&mut self, logs: &[Arc<Log>], pace: &mut Pace) {
        while pace.has() {
            let Some(pass) = self.pass.take().or_else(|| self.next(logs)) else { return };
            self.go_on(pass, pace);
        }
    }

    fn go_on(&mut self, mut pass: Pass, pace: &mut Pace) {
        let ended = match pass.step(pace) {
            Ok(Progress::GoesOn) => {
                self.pass = Some(pass);
                return;
            }
            Ok(Progress::Through) => return,
            Err(ended) => ended,
        };
        let (partition, inner) = (pass.log().meta().id, pass.log().inner());
        match ended {
            Ended::Changed => tracing::debug!(%partition, "the log has changed while it was compacted"),
            Ended::Unusable(what) => {
                tracing::error!(%partition, what, "the log is not compacted any more");
                self.left_alone.insert(partition, inner.mended.load(Ordering::SeqCst));
            }
            Ended::Failed(error) if inner.is_closed() => {
                tracing::debug!(%partition, %error, "the log was closed while it was compacted");
            }
            Ended::Failed(error) => {
                // Not again in this step; what is left of the pace is nobody's.
                pace.spend();
                let error = inner.soft_error("compacting", error);
                tracing::warn!(%partition, %error, "compaction could not go on");
            }
        }
        match pass.discard() {
            Err(error) if !is_passing(&error) && !inner.is_closed() => {
                inner.fail("discarding what compaction has written", error);
            }
            _ => {}
        }
    }

    /// The log that needs it most.
    fn next(&self, logs: &[Arc<Log>]) -> Option<Pass> {
        let mut best: Option<(Choice, &Arc<Log>)> = None;
        for log in logs {
            let inner = log.inner();
            let mended = inner.mended.load(Ordering::SeqCst);
            if self.left_alone.get(&log.meta().id).is_some_and(|then| *then == mended) {
                continue;
            }
            let Some(config) = inner.config().compacts() else { continue };
            if inner.is_closed() || inner.written_beside.load(Ordering::SeqCst) {
                continue;
            }
            let (facts, _) = facts_of(inner);
            let Some(choice) = choose(&facts, &config, inner.shared.env.clock.wall()) else { continue };
            if best.is_none_or(|(known, _)| known.reason < choice.reason) {
                best = Some((choice, log));
            }
        }
        let (choice, log) = best?;
        let config = log.inner().config().compacts()?;
        let (facts, segments) = facts_of(log.inner());
        if facts.segments.len() < choice.segments {
            return None;
        }
        let beside = Beside::take(log.inner())?;
        Some(Pass::new((log, beside), (facts, segments), config, choice))
    }
}

/// The sealed segments of a log below its high watermark, from the first one on.
fn facts_of(inner: &LogInner) -> (LogFacts, Vec<Arc<Segment>>) {
    let (segments, limit) = {
        let view = inner.view.read();
        (Arc::clone(&view.segments), view.high_watermark.min(view.synced_end))
    };
    let mut taken = Vec::new();
    let mut facts = LogFacts { segments: Vec::new(), dirty_since: TimestampMs::NONE };
    for segment in segments.iter() {
        let (Some(sealed), true) = (segment.sealed(), segment.end() <= limit) else { break };
        let compacted = sealed.seal().compacted;
        facts.segments.push(SegmentFacts {
            base: segment.base,
            end: segment.end(),
            bytes: segment.size(),
            cleaned_to: compacted.map(|compacted| compacted.cleaned_to),
            tombstones_due: compacted.map_or(TimestampMs::NONE, |compacted| compacted.tombstones_due),
            largest_timestamp: sealed.seal().records.largest_timestamp,
        });
        taken.push(Arc::clone(segment));
    }
    let asks = inner.config().compacts().is_some_and(|config| config.lag_ms_max < i64::MAX.unsigned_abs());
    if asks {
        let first_dirty = facts.first_dirty();
        let dirty = taken.iter().find(|segment| segment.end() > first_dirty);
        facts.dirty_since = dirty.and_then(|segment| first_timestamp(segment)).unwrap_or(TimestampMs::NONE);
    }
    (facts, taken)
}

/// The largest timestamp of the first batch.
fn first_timestamp(segment: &Segment) -> Option<TimestampMs> {
    let mut head = [0; HEADER_BYTES];
    segment.file().ok()?.read_exact_at(&mut head, 0).ok()?;
    BatchHeader::parse(&head).ok().map(|header| TimestampMs(header.max_timestamp))
}
