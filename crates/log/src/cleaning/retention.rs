//! Carrying retention out, a bounded part of it in each step of the janitor.
//!
//! Nothing here holds what an append waits for: the files that go are unlinked, and the small ones written, beside the
//! writer.

use std::sync::Arc;

use millrace_types::limits::{RETENTION_LOGS_PER_STEP_MAX, RETENTION_SEGMENTS_PER_STEP_MAX};
use millrace_types::{TimestampMs, TopicPartition};

use super::{AgeClock, RetentionPolicy, SegmentFacts, retained_from};
use crate::inner::LogInner;
use crate::writer::Role;
use crate::{DirError, Log};

/// What is remembered from step to step.
#[derive(Debug, Default)]
pub(crate) struct Round {
    clock: AgeClock,
    /// The log that comes first in the next step, if this one could not get to it.
    next: Option<TopicPartition>,
}

/// What one step may still do.
struct Budget {
    logs: usize,
    segments: usize,
}

impl Round {
    /// One step over all logs, from where the last one has left off. A failure of one log does not keep the others from
    /// their turn.
    pub(crate) fn step(&mut self, logs: &[Arc<Log>]) {
        let Some(first) = logs.first() else { return };
        let (now, jumped) = self.clock.read(&*first.inner().shared.env.clock);
        let mut left =
            Budget { logs: RETENTION_LOGS_PER_STEP_MAX, segments: RETENTION_SEGMENTS_PER_STEP_MAX };
        let from = self.next.take().map_or(0, |next| logs.partition_point(|log| log.meta().id < next));
        let (behind, ahead) = logs.split_at(from);
        for log in ahead.iter().chain(behind) {
            if left.logs == 0 || left.segments == 0 {
                self.next = Some(log.meta().id);
                return;
            }
            match log.inner().retain(now, jumped, left.segments) {
                Ok(0) => {}
                Ok(segments) => {
                    left.logs -= 1;
                    left.segments = left.segments.saturating_sub(segments);
                }
                Err(error) => {
                    tracing::warn!(partition = %log.meta().id, %error, "retention could not be carried out");
                }
            }
        }
    }
}

impl LogInner {
    /// Lets go what is too old or too much; answers how many segments that were.
    fn retain(
        self: &Arc<Self>,
        now: TimestampMs,
        jumped: TimestampMs,
        segments_max: usize,
    ) -> Result<usize, DirError> {
        let policy = RetentionPolicy::of(&self.config());
        if policy.keeps_all() || self.is_closed() || self.shared.failure.is_failed() {
            return Ok(0);
        }
        if self.turn().role == Role::Following {
            // Its leader decides where the log begins, and no follower's begins behind that.
            return Ok(0);
        }
        let _upkeep = self.upkeep.lock();
        if self.is_closed() {
            return Ok(0);
        }
        let (segments, high_watermark) = {
            let view = self.view.read();
            (Arc::clone(&view.segments), view.high_watermark)
        };
        let facts: Vec<SegmentFacts> = segments
            .iter()
            .map(|segment| {
                let body = segment.body.read();
                let appended = body.appended_last;
                #[cfg(feature = "teeth")]
                let appended = millrace_types::planted!(AgeOfRecords, body.largest.map_or(appended, |largest| largest.timestamp), else appended);
                let appended_last = if appended.is_some() { appended.max(jumped) } else { appended };
                SegmentFacts { base: segment.base, end: body.end, bytes: body.size, appended_last }
            })
            .collect();
        let cleaned = retained_from(&policy, &facts, &[], (now, high_watermark, segments_max));
        let Some(cleaned) = cleaned else { return Ok(0) };
        self.trim(cleaned.log_start)?;
        let bytes = facts.iter().take(cleaned.segments).map(|segment| segment.bytes).sum();
        self.shared.tallies.retention_removed(cleaned.segments, bytes);
        tracing::info!(
            partition = %self.meta.id,
            log_start = %cleaned.log_start,
            segments = cleaned.segments,
            reason = ?cleaned.reason,
            "retention has let segments go"
        );
        Ok(cleaned.segments)
    }
}
