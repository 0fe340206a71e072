//! Deletes the records before an offset: the log start moves there, durably, before it is answered.

use std::sync::Arc;

use millrace_log::{DirError, Log};
use millrace_types::{ErrorCode, Offset, PartitionIndex};

use crate::admission::{Operation, Resource};
use crate::core::{Core, check_partition_count};
use crate::io_pool::{each_on_pool, to_its_end};
use crate::{ApiError, Context, TopicRef};

/// What is to be deleted of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordsToDelete {
    /// The topic.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
    /// The first offset that stays; `None` stands for the high watermark: everything that is committed goes.
    pub before: Option<Offset>,
}

impl Core {
    /// Answers the log start of each, in order.
    pub(crate) async fn delete_records(
        self: &Arc<Self>,
        ctx: &Context,
        partitions: Vec<RecordsToDelete>,
    ) -> Result<Vec<Result<Offset, ApiError>>, ApiError> {
        let in_flight = self.admission.admit(ctx, Operation::DeleteRecords, Resource::Cluster)?;
        check_partition_count(partitions.len())?;
        let found: Vec<_> = partitions.iter().map(|wanted| self.log_to_trim(ctx, wanted)).collect();
        let core = Arc::clone(self);
        let delete = async move {
            let _in_flight = in_flight;
            each_on_pool(&core.env, found, |found| found.and_then(|(log, before)| trim(&log, before))).await
        };
        let answers = to_its_end(&self.env, "delete records", Box::pin(delete)).await?;
        Ok(answers.into_iter().map(|answer| answer.map_err(|error| self.unless_closing(error))).collect())
    }

    fn log_to_trim(
        &self,
        ctx: &Context,
        wanted: &RecordsToDelete,
    ) -> Result<(Arc<Log>, Option<Offset>), ApiError> {
        let topic = self.topic(&wanted.topic)?;
        self.admission.authorize(ctx, Operation::DeleteRecords, Resource::Topic(&topic.name))?;
        let refused = |why: &str| {
            let message = format!("topic {} {why}", topic.name);
            Err(ApiError::new(ErrorCode::InvalidRequest, message))
        };
        if topic.name.is_internal() {
            return refused("belongs to the product; users do not change it");
        }
        if !topic.config.cleanup.deletes() {
            // The last record of a key would be gone with no later one in its place (Kafka's rule).
            return refused("is only compacted: its cleanup.policy does not delete");
        }
        Ok((self.log(&topic, wanted.partition)?, wanted.before))
    }
}

fn trim(log: &Log, before: Option<Offset>) -> Result<Offset, ApiError> {
    let high_watermark = log.offsets().high_watermark;
    let before = before.unwrap_or(high_watermark);
    if before > high_watermark {
        let message =
            format!("records before {before} cannot be deleted, the high watermark is {high_watermark}");
        return Err(ApiError::new(ErrorCode::OffsetOutOfRange, message));
    }
    log.trim_to(before).map_err(|error| match error {
        // The topic was deleted under the request's hands.
        DirError::Conflict(what) => ApiError::new(ErrorCode::UnknownTopicOrPartition, what),
        error => error.into(),
    })?;
    Ok(log.offsets().log_start)
}
