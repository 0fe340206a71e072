//! Forgets single offsets that a group has committed.

use std::sync::Arc;

use millrace_group::OffsetCommitKey;
use millrace_types::{GroupId, PartitionIndex, TopicPartition};

use crate::admission::{Operation, Resource};
use crate::core::{Core, check_partition_count, placed};
use crate::{ApiError, Context, TopicRef};

/// Positions that a group is to lose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteOffsetsRequest {
    /// The group, which must exist.
    pub group: GroupId,
    /// At most [`millrace_types::limits::PARTITIONS_PER_REQUEST_MAX`].
    pub partitions: Vec<(TopicRef, PartitionIndex)>,
}

/// A position that was found.
type Found = (OffsetCommitKey, TopicPartition);

impl Core {
    pub(crate) async fn delete_offsets(
        self: &Arc<Self>,
        ctx: &Context,
        request: DeleteOffsetsRequest,
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        let DeleteOffsetsRequest { group, partitions } = request;
        let in_flight = self.admission.admit(ctx, Operation::DeleteOffsets, Resource::Group(&group))?;
        check_partition_count(partitions.len())?;
        let found: Vec<Result<Found, ApiError>> =
            partitions.iter().map(|position| self.position(ctx, &group, position)).collect();
        let keys: Vec<&OffsetCommitKey> = found.iter().flatten().map(|(key, _)| key).collect();
        let deleted = self.groups.delete_offsets(in_flight, &group, &keys).await?;
        let mut deleted = deleted.into_iter();
        let answers = found.into_iter().map(|found| {
            let (_, at) = found?;
            deleted.next().unwrap_or(Ok(()))?;
            self.lag_windows.forget(&group, at);
            Ok(())
        });
        Ok(answers.collect())
    }

    fn position(
        &self,
        ctx: &Context,
        group: &GroupId,
        (topic, partition): &(TopicRef, PartitionIndex),
    ) -> Result<Found, ApiError> {
        let (topic, partition) = (self.topic(topic)?, *partition);
        self.admission.authorize(ctx, Operation::DeleteOffsets, Resource::Topic(&topic.name))?;
        placed(&topic, partition)?;
        let key = OffsetCommitKey { group: group.clone(), topic: topic.name.clone(), partition };
        Ok((key, TopicPartition { topic: topic.id, partition }))
    }
}
