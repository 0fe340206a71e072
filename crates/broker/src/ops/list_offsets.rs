//! Finds offsets by position or by time.

use std::sync::Arc;

use millrace_log::{Log, LogOffsets, ReadError, TimeHit};
use millrace_types::{LeaderEpoch, Offset, PartitionIndex, TimestampMs};

use crate::admission::{Operation, Resource};
use crate::core::{Core, check_complete, check_leader_epoch, check_partition_count};
use crate::io_pool::on_pool;
use crate::led_log::LedLog;
use crate::{ApiError, Context, TopicRef};

/// Which offset is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffsetPoint {
    /// The log start.
    Earliest,
    /// The high watermark.
    Latest,
    /// The first record at or after this time.
    Time(TimestampMs),
    /// The record with the largest timestamp (KIP-734).
    LargestTimestamp,
}

/// A question about one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetQuery {
    /// The topic.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
    /// Which offset.
    pub point: OffsetPoint,
    /// The epoch in which the client believes the partition's leader to be; another one is refused (KIP-320).
    pub leader_epoch: Option<LeaderEpoch>,
}

/// The answer; both `None` if no record matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetAnswer {
    /// The offset.
    pub offset: Option<Offset>,
    /// The timestamp of the record found, for points in time.
    pub timestamp: Option<TimestampMs>,
    /// For [`OffsetPoint::Earliest`] the epoch in which that record was appended (`None` if there is none), for
    /// [`OffsetPoint::Latest`] the leader's own; `None` for points in time.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// A query whose log is known.
enum Lookup {
    /// Answered by the marks of the log, or refused.
    Known(Result<OffsetAnswer, ApiError>),
    /// To be looked up in the indexes, which may block.
    Time(Arc<Log>, TimestampMs),
    /// As [`Lookup::Time`].
    Largest(Arc<Log>),
}

impl Core {
    pub(crate) async fn list_offsets(
        self: &Arc<Self>,
        ctx: &Context,
        queries: Vec<OffsetQuery>,
    ) -> Result<Vec<Result<OffsetAnswer, ApiError>>, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::ListOffsets, Resource::Cluster)?;
        check_partition_count(queries.len())?;
        let lookups: Vec<Lookup> = queries.iter().map(|query| self.lookup(ctx, query)).collect();
        let blocks = lookups.iter().any(|lookup| !matches!(lookup, Lookup::Known(_)));
        let run = move || lookups.into_iter().map(Lookup::run).collect();
        let answers: Vec<_> = if blocks { on_pool(&self.env, run).await? } else { run() };
        Ok(answers.into_iter().map(|answer| answer.map_err(|error| self.unless_closing(error))).collect())
    }

    fn lookup(&self, ctx: &Context, query: &OffsetQuery) -> Lookup {
        let led = match self.led_for_lookup(ctx, query) {
            Ok(led) => led,
            Err(error) => return Lookup::Known(Err(error)),
        };
        let log = Arc::clone(led.log());
        let known = |offset, leader_epoch| {
            Lookup::Known(Ok(OffsetAnswer { offset: Some(offset), timestamp: None, leader_epoch }))
        };
        match query.point {
            OffsetPoint::Earliest => {
                let LogOffsets { log_start, high_watermark, .. } = log.offsets();
                let has_record = log_start < high_watermark;
                known(log_start, log.epoch_of(log_start).filter(|_| has_record))
            }
            OffsetPoint::Latest => match check_complete(&led) {
                Err(error) => Lookup::Known(Err(error)),
                Ok(()) => known(log.offsets().high_watermark, Some(log.leader_epoch())),
            },
            OffsetPoint::Time(timestamp) => Lookup::Time(log, timestamp),
            OffsetPoint::LargestTimestamp => Lookup::Largest(log),
        }
    }

    fn led_for_lookup(&self, ctx: &Context, query: &OffsetQuery) -> Result<LedLog, ApiError> {
        let topic = self.topic(&query.topic)?;
        self.admission.authorize(ctx, Operation::ListOffsets, Resource::Topic(&topic.name))?;
        let led = self.led(&topic, query.partition)?;
        check_leader_epoch(led.log(), query.leader_epoch)?;
        Ok(led)
    }
}

impl Lookup {
    fn run(self) -> Result<OffsetAnswer, ApiError> {
        let hit = |found: Result<Option<TimeHit>, ReadError>| {
            let found = found?;
            Ok(OffsetAnswer {
                offset: found.map(|hit| hit.offset),
                timestamp: found.map(|hit| hit.timestamp),
                leader_epoch: None,
            })
        };
        match self {
            Lookup::Known(answer) => answer,
            Lookup::Time(log, timestamp) => hit(log.offset_for_time(timestamp)),
            Lookup::Largest(log) => hit(log.largest_timestamp()),
        }
    }
}
