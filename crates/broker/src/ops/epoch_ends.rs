//! Where leader epochs ended (KIP-101, KIP-279): what a reader asks that may have read what an unclean stop took.

use std::sync::Arc;

use millrace_types::{LeaderEpoch, Offset, PartitionIndex};

use crate::admission::{Operation, Resource};
use crate::core::{Core, check_leader_epoch, check_partition_count};
use crate::{ApiError, Context, TopicRef};

/// A question about one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EpochQuery {
    /// The topic.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
    /// The epoch whose end is wanted.
    pub epoch: LeaderEpoch,
    /// The epoch in which the client believes the partition's leader to be; another one is refused (KIP-320).
    pub leader_epoch: Option<LeaderEpoch>,
}

/// The largest epoch that is not above the one asked for, and where it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The first offset behind it; of the current epoch the high watermark, behind which nobody has read.
    pub end: Offset,
}

impl Core {
    /// Answers each query, in order; `None` if the log knows nothing of such an epoch.
    pub(crate) fn epoch_ends(
        self: &Arc<Self>,
        ctx: &Context,
        queries: &[EpochQuery],
    ) -> Result<Vec<Result<Option<EpochEnd>, ApiError>>, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::ListOffsets, Resource::Cluster)?;
        check_partition_count(queries.len())?;
        let answers = queries.iter().map(|query| self.epoch_end(ctx, query));
        Ok(answers.map(|answer| answer.map_err(|error| self.unless_closing(error))).collect())
    }

    fn epoch_end(&self, ctx: &Context, query: &EpochQuery) -> Result<Option<EpochEnd>, ApiError> {
        let topic = self.topic(&query.topic)?;
        self.admission.authorize(ctx, Operation::ListOffsets, Resource::Topic(&topic.name))?;
        let log = self.log(&topic, query.partition)?;
        check_leader_epoch(&log, query.leader_epoch)?;
        // Not held back to the high watermark: a new leader's is behind what was committed, and what consumers have read, until those
        // in sync have fetched from it. They would be told of a loss that there was not.
        let found = log.end_of_epoch(query.epoch);
        Ok(found.map(|(epoch, end)| EpochEnd { epoch, end }))
    }
}
