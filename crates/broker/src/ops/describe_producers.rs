//! The idempotent producers that partitions remember.

use std::sync::Arc;

use millrace_log::{ActiveProducer, Log};
use millrace_types::limits::{PRODUCER_ENTRY_BYTES, PRODUCERS_DESCRIBED_MAX};
use millrace_types::{ErrorCode, PartitionIndex};

use crate::admission::{Operation, Resource};
use crate::core::{Core, check_partition_count};
use crate::io_pool::each_on_pool;
use crate::{ApiError, Context, Permit, TopicRef};

impl Core {
    /// Answers each partition, in order. The memory of the answer is added to `permit` before anything is copied.
    pub(crate) async fn describe_producers(
        self: &Arc<Self>,
        ctx: &Context,
        partitions: &[(TopicRef, PartitionIndex)],
        permit: &mut Permit,
    ) -> Result<Vec<Result<Vec<ActiveProducer>, ApiError>>, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::DescribeTopic, Resource::Cluster)?;
        check_partition_count(partitions.len())?;
        let mut room = PRODUCERS_DESCRIBED_MAX;
        let found: Vec<Result<(Arc<Log>, usize), ApiError>> = partitions
            .iter()
            .map(|(topic, partition)| {
                let topic = self.topic(topic)?;
                self.admission.authorize(ctx, Operation::DescribeTopic, Resource::Topic(&topic.name))?;
                let log = self.log(&topic, *partition)?;
                let count = log.producer_count();
                room = room.checked_sub(count).ok_or_else(too_many)?;
                Ok((log, count))
            })
            .collect();
        self.memory.more(permit, (PRODUCERS_DESCRIBED_MAX - room) * PRODUCER_ENTRY_BYTES).await?;
        // Whoever came meanwhile is told to who asks next.
        let list =
            |found: Result<(Arc<Log>, usize), ApiError>| found.map(|(log, count)| log.producers(count));
        each_on_pool(&self.env, found, list).await
    }
}

fn too_many() -> ApiError {
    let message =
        format!("one answer tells of {PRODUCERS_DESCRIBED_MAX} producers at most: ask for fewer partitions");
    ApiError::new(ErrorCode::InvalidRequest, message)
}
