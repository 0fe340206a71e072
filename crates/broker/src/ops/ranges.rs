//! Where reading begins and ends: places and times, turned into offsets once.
//!
//! "From time T" means what Kafka's ListOffsets means by it: the first record, in the order of *offsets*, whose timestamp is
//! T or later. Records behind it belong to the range whatever their timestamps. An end is the same look-up, and exclusive:
//! two ranges that meet at a time share no record and leave none out.

use std::sync::Arc;

use millrace_types::{Offset, PartitionIndex, TimestampMs};

use crate::admission::{Operation, Resource};
use crate::core::{Core, check_complete, check_partition_count};
use crate::io_pool::on_pool;
use crate::led_log::LedLog;
use crate::{ApiError, Context, TopicRef};

/// Where reading begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// At this offset.
    Offset(Offset),
    /// At the first record of this time or later; at the high watermark if there is none.
    Time(TimestampMs),
    /// At the log start.
    Earliest,
    /// At the high watermark.
    Latest,
}

/// Where reading ends. What lies there is not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// At this offset, which may be yet to come.
    Offset(Offset),
    /// At the first record of this time or later; at the high watermark if there is none.
    Time(TimestampMs),
    /// At the high watermark.
    Latest,
}

/// A question about one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeQuery {
    /// The topic.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
    /// Where to begin.
    pub begin: Begin,
    /// Where to end; `None` reads on.
    pub end: Option<End>,
}

/// What a range means in offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResolvedRange {
    /// First offset wanted.
    pub begin: Offset,
    /// First offset not wanted.
    pub end: Option<Offset>,
}

/// A range of a log that was found.
#[derive(Clone, Debug)]
pub(crate) struct RangeOfLog {
    pub(crate) led: LedLog,
    pub(crate) begin: Begin,
    pub(crate) end: Option<End>,
}

impl Core {
    pub(crate) async fn resolve_ranges(
        self: &Arc<Self>,
        ctx: &Context,
        queries: &[RangeQuery],
    ) -> Result<Vec<Result<ResolvedRange, ApiError>>, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::ListOffsets, Resource::Cluster)?;
        check_partition_count(queries.len())?;
        let ranges = queries.iter().map(|query| {
            let led = self.led_for(ctx, Operation::ListOffsets, &query.topic, query.partition)?;
            Ok(RangeOfLog { led, begin: query.begin, end: query.end })
        });
        self.resolved(ranges.collect()).await
    }

    /// The offsets of all ranges; on the I/O pool if a time has to be looked up.
    pub(crate) async fn resolved(
        &self,
        ranges: Vec<Result<RangeOfLog, ApiError>>,
    ) -> Result<Vec<Result<ResolvedRange, ApiError>>, ApiError> {
        let blocks = ranges.iter().flatten().any(RangeOfLog::blocks);
        let run = move || ranges.into_iter().map(|range| range.and_then(|range| range.resolve())).collect();
        let resolved: Vec<Result<ResolvedRange, ApiError>> =
            if blocks { on_pool(&self.env, run).await? } else { run() };
        Ok(resolved.into_iter().map(|range| range.map_err(|error| self.unless_closing(error))).collect())
    }

    /// The log of a partition that is to be read, by whoever asks where it ends.
    pub(crate) fn led_for(
        &self,
        ctx: &Context,
        operation: Operation,
        topic: &TopicRef,
        partition: PartitionIndex,
    ) -> Result<LedLog, ApiError> {
        let topic = self.topic(topic)?;
        self.admission.authorize(ctx, operation, Resource::Topic(&topic.name))?;
        let led = self.led(&topic, partition)?;
        check_complete(&led)?;
        Ok(led)
    }
}

impl RangeOfLog {
    fn blocks(&self) -> bool {
        matches!(self.begin, Begin::Time(_)) || matches!(self.end, Some(End::Time(_)))
    }

    fn resolve(&self) -> Result<ResolvedRange, ApiError> {
        // Before the look-ups: a record that comes in between is behind the end, and not part of the range.
        let log = self.led.log();
        let offsets = log.offsets();
        let at_time = |time| -> Result<Offset, ApiError> {
            let hit = log.offset_for_time(time)?;
            Ok(hit.map_or(offsets.high_watermark, |hit| hit.offset.min(offsets.high_watermark)))
        };
        let begin = match self.begin {
            Begin::Offset(offset) => offset,
            Begin::Time(time) => at_time(time)?,
            Begin::Earliest => offsets.log_start,
            Begin::Latest => offsets.high_watermark,
        };
        let end = match self.end {
            None => None,
            Some(End::Offset(offset)) => Some(offset),
            Some(End::Time(time)) => Some(at_time(time)?),
            Some(End::Latest) => Some(offsets.high_watermark),
        };
        Ok(ResolvedRange { begin, end })
    }
}
