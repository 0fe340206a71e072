//! `CommitOffsets`: what a group has read. Of the parts that can be read all are stored as one batch.

use std::sync::Arc;

use millrace_broker::{ApiError, CommitOffsetsRequest, OffsetCommit};
use millrace_proto::v1;
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::{error_in_answer, status_of};
use crate::group_parts;
use crate::parts;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::CommitOffsetsRequest,
) -> Result<v1::CommitOffsetsResponse, Status> {
    parts::check_count(request.offsets.len()).map_err(status_of)?;
    let group = parts::group(&request.group).map_err(status_of)?;
    let member = group_parts::committer(request.member).map_err(status_of)?;
    let commits = request.offsets.iter().map(commit).collect();
    let (broker, context) = (Arc::clone(&api.broker), caller.context.clone());
    let stored = api.complete("commit offsets", async move {
        let store = async |offsets| {
            broker.commit_offsets(&context, CommitOffsetsRequest { group, offsets, member }).await
        };
        parts::ask_readable(commits, store).await
    });
    let answers =
        request.offsets.into_iter().zip(stored.await?).map(|(commit, answer)| v1::OffsetCommitted {
            topic: commit.topic,
            partition: commit.partition,
            error: answer.err().map(error_in_answer),
        });
    Ok(v1::CommitOffsetsResponse { offsets: answers.collect() })
}

pub(crate) fn commit(wire: &v1::OffsetCommit) -> Result<OffsetCommit, ApiError> {
    Ok(OffsetCommit {
        topic: parts::topic(wire.topic.as_ref())?,
        partition: parts::partition(wire.partition)?,
        offset: parts::offset("offset", wire.offset)?,
        leader_epoch: parts::epoch(wire.leader_epoch),
        metadata: wire.metadata.clone(),
    })
}
