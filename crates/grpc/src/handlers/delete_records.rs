//! `DeleteRecords`: moves the start of partitions forward.

use std::sync::Arc;

use millrace_broker::{ApiError, RecordsToDelete};
use millrace_proto::v1;
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::{error_in_answer, status_of};
use crate::parts;
use crate::service::Api;

/// Stands for the high watermark (Kafka's, too).
const HIGH_WATERMARK: i64 = -1;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::DeleteRecordsRequest,
) -> Result<v1::DeleteRecordsResponse, Status> {
    parts::check_count(request.partitions.len()).map_err(status_of)?;
    let wanted: Vec<_> = request.partitions.iter().map(to_delete).collect();
    let (broker, context) = (Arc::clone(&api.broker), caller.context.clone());
    let deleted = api.complete("delete records", async move {
        parts::ask_readable(wanted, async |wanted| broker.delete_records(&context, wanted).await).await
    });
    let answers = request.partitions.into_iter().zip(deleted.await?).map(|(asked, deleted)| {
        let wire =
            v1::RecordsDeleted { topic: asked.topic, partition: asked.partition, ..Default::default() };
        match deleted {
            Ok(log_start) => v1::RecordsDeleted { log_start_offset: log_start.get(), ..wire },
            Err(error) => v1::RecordsDeleted { error: Some(error_in_answer(error)), ..wire },
        }
    });
    Ok(v1::DeleteRecordsResponse { partitions: answers.collect() })
}

fn to_delete(wire: &v1::RecordsToDelete) -> Result<RecordsToDelete, ApiError> {
    Ok(RecordsToDelete {
        topic: parts::topic(wire.topic.as_ref())?,
        partition: parts::partition(wire.partition)?,
        before: match wire.before_offset {
            HIGH_WATERMARK => None,
            offset => Some(parts::offset("before_offset", offset)?),
        },
    })
}
