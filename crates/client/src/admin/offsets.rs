//! Offsets: found by position or time, committed and fetched for groups.

use std::time::Duration;

use futures::future::BoxFuture;
use millrace_proto::v1;
use millrace_types::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicName};

use super::{Admin, check_length, check_topic};
use crate::admin::topics::offset;
use crate::client::Retry;
use crate::connection::Rpc;
use crate::scatter::{Answers, Question};
use crate::{Client, ClientError, Refusal};

/// Which offset of a partition is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffsetAt {
    /// The log start: the first readable record.
    Earliest,
    /// The high watermark: behind the last readable record.
    Latest,
    /// The first record at or after this time.
    Time(TimestampMs),
    /// The record with the largest timestamp.
    LargestTimestamp,
}

/// A question for an offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetQuery {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// Which offset.
    pub at: OffsetAt,
}

/// The answer to an [`OffsetQuery`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetAnswer {
    /// The offset; `None` if there is no such record.
    pub offset: Option<Offset>,
    /// The timestamp of the record found, for points in time.
    pub timestamp: Option<TimestampMs>,
}

/// An offset to be committed for a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetCommit {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next offset to read.
    pub offset: Offset,
    /// The epoch of the last record read, where it is known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Free text, 4096 bytes at most.
    pub metadata: String,
}

/// What a group has committed for a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommittedOffset {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next offset to read; `None` if the group has committed nothing here.
    pub offset: Option<Offset>,
    /// The epoch of the last record read, where the group said so.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The group's free text.
    pub metadata: String,
    /// When it was committed.
    pub commit_time: TimestampMs,
}

impl Admin {
    /// Finds offsets; one result for each query, in order.
    ///
    /// # Errors
    /// [`ClientError`] of the whole call; what concerns one partition is its own result.
    pub async fn list_offsets(
        &self,
        queries: &[OffsetQuery],
    ) -> Result<Vec<Result<OffsetAnswer, Refusal>>, ClientError> {
        let questions = queries.iter().map(|query| {
            let name = check_topic(&query.topic)?;
            let question = v1::OffsetQuery {
                topic: Some(v1::TopicRef::by_name(&name)),
                partition: query.partition.get(),
                at: Some(at(query.at)),
            };
            Ok(Question { topic: name.to_string(), partition: query.partition, question })
        });
        let questions = questions.collect::<Result<_, ClientError>>()?;
        self.client.ask_leaders(Retry::Always, questions, ask_offsets).await
    }

    /// Commits offsets for a group; one result for each, in order.
    ///
    /// # Errors
    /// [`ClientError`] of the whole call; what concerns one partition is its own result.
    pub async fn commit_offsets(
        &self,
        group: &str,
        offsets: &[OffsetCommit],
    ) -> Result<Vec<Result<(), Refusal>>, ClientError> {
        let offsets = offsets.iter().map(|commit| {
            Ok(v1::OffsetCommit {
                topic: Some(v1::TopicRef::by_name(&check_topic(&commit.topic)?)),
                partition: commit.partition.get(),
                offset: commit.offset.get(),
                leader_epoch: commit.leader_epoch.map(|epoch| epoch.0),
                metadata: commit.metadata.clone(),
            })
        });
        let offsets: Vec<_> = offsets.collect::<Result<_, ClientError>>()?;
        let expected = offsets.len();
        let request = v1::CommitOffsetsRequest { group: group.to_owned(), offsets, member: None };
        let send = |mut rpc: Rpc, request| async move { rpc.commit_offsets(request).await };
        // Repeating a commit writes the same offsets again.
        let answer = self.client.call_coordinator(group, Retry::Always, request, send).await?;
        check_length(answer.offsets.len(), expected)?;
        let result = |committed: v1::OffsetCommitted| committed.error.map_or(Ok(()), |e| Err(Refusal::of(e)));
        Ok(answer.offsets.into_iter().map(result).collect())
    }

    /// Fetches what a group has committed: for `partitions` (topic and partition), or for every partition that it
    /// has committed if there are none.
    ///
    /// # Errors
    /// [`ClientError`], of the whole call or of the first partition that failed.
    pub async fn fetch_offsets(
        &self,
        group: &str,
        partitions: &[(&str, PartitionIndex)],
    ) -> Result<Vec<CommittedOffset>, ClientError> {
        let keys = partitions.iter().map(|(topic, partition)| {
            let topic = Some(v1::TopicRef::by_name(&check_topic(topic)?));
            Ok(v1::OffsetKey { topic, partition: partition.get() })
        });
        let partitions = keys.collect::<Result<_, ClientError>>()?;
        let request = v1::FetchOffsetsRequest { group: group.to_owned(), partitions, member: None };
        let send = |mut rpc: Rpc, request| async move { rpc.fetch_offsets(request).await };
        let answer = self.client.call_coordinator(group, Retry::Always, request, send).await?;
        answer.offsets.into_iter().map(committed).collect()
    }
}

/// Asks one broker.
fn ask_offsets(
    client: Client,
    server: String,
    limit: Duration,
    queries: Vec<v1::OffsetQuery>,
) -> BoxFuture<'static, Answers<OffsetAnswer>> {
    Box::pin(async move {
        let expected = queries.len();
        let send = |mut rpc: Rpc, request| async move { rpc.list_offsets(request).await };
        let answer = client.attempt(&server, limit, v1::ListOffsetsRequest { queries }, &send).await?;
        check_length(answer.answers.len(), expected)?;
        let results = answer.answers.into_iter().map(|answer| match answer.error {
            Some(error) => Ok(Err(Refusal::of(error))),
            None => Ok(Ok(OffsetAnswer {
                offset: answer.offset.map(offset).transpose()?,
                timestamp: answer.timestamp_ms.map(TimestampMs),
            })),
        });
        results.collect()
    })
}

fn at(at: OffsetAt) -> v1::offset_query::At {
    use v1::offset_query::{At, Earliest, LargestTimestamp, Latest};
    match at {
        OffsetAt::Earliest => At::Earliest(Earliest {}),
        OffsetAt::Latest => At::Latest(Latest {}),
        OffsetAt::Time(time) => At::TimestampMs(time.0),
        OffsetAt::LargestTimestamp => At::LargestTimestamp(LargestTimestamp {}),
    }
}

fn committed(answer: v1::CommittedOffset) -> Result<CommittedOffset, ClientError> {
    if let Some(error) = answer.error {
        return Err(ClientError::Refused(Refusal::of(error)));
    }
    let name = answer.topic.map(|topic| topic.name).unwrap_or_default();
    Ok(CommittedOffset {
        topic: TopicName::new(&name).map_err(|e| ClientError::Answer(format!("topic name {name:?}: {e}")))?,
        partition: PartitionIndex::new(answer.partition)
            .ok_or_else(|| ClientError::Answer(format!("partition {}", answer.partition)))?,
        offset: answer.offset.map(offset).transpose()?,
        leader_epoch: answer.leader_epoch.map(LeaderEpoch),
        metadata: answer.metadata,
        commit_time: TimestampMs(answer.commit_time_ms),
    })
}
