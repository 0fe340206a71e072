//! `FetchOffsets`: what a group has committed.

use millrace_broker::{ApiError, CommittedOffset, FetchOffsetsRequest, TopicRef};
use millrace_proto::v1;
use millrace_types::PartitionIndex;
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::{error_in_answer, status_of};
use crate::group_parts;
use crate::parts;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::FetchOffsetsRequest,
) -> Result<v1::FetchOffsetsResponse, Status> {
    parts::check_count(request.partitions.len()).map_err(status_of)?;
    let group = parts::group(&request.group).map_err(status_of)?;
    let member = group_parts::committer(request.member).map_err(status_of)?;
    let ask = async |partitions| {
        api.broker.fetch_offsets(&caller.context, FetchOffsetsRequest { group, partitions, member }).await
    };
    if request.partitions.is_empty() {
        let answers = ask(None).await.map_err(status_of)?;
        let offsets = answers.into_iter().map(|answer| to_wire(v1::OffsetKey::default(), answer)).collect();
        return Ok(v1::FetchOffsetsResponse { offsets });
    }
    let questions = request.partitions.iter().map(question).collect();
    let answers = parts::ask_readable(questions, async |partitions| ask(Some(partitions)).await)
        .await
        .map_err(status_of)?;
    let offsets =
        request.partitions.into_iter().zip(answers).map(|(key, answer)| to_wire(key, answer)).collect();
    Ok(v1::FetchOffsetsResponse { offsets })
}

pub(crate) fn question(key: &v1::OffsetKey) -> Result<(TopicRef, PartitionIndex), ApiError> {
    Ok((parts::topic(key.topic.as_ref())?, parts::partition(key.partition)?))
}

fn to_wire(asked: v1::OffsetKey, answer: Result<CommittedOffset, ApiError>) -> v1::CommittedOffset {
    match answer {
        Ok(committed) => v1::CommittedOffset {
            topic: Some(parts::topic_to_wire(&committed.topic)),
            partition: committed.partition.get(),
            offset: committed.offset.map(millrace_types::Offset::get),
            leader_epoch: committed.leader_epoch.map(|epoch| epoch.0),
            metadata: committed.metadata,
            commit_time_ms: committed.commit_time.0,
            error: None,
        },
        Err(error) => v1::CommittedOffset {
            topic: asked.topic,
            partition: asked.partition,
            error: Some(error_in_answer(error)),
            ..Default::default()
        },
    }
}
