//! Commits and fetches the offsets of consumer groups.

use std::sync::Arc;

use millrace_group::{
    Commit, Committer, Event, GroupOffsets, OffsetCommitKey, OffsetCommitValue, partition_of,
};
use millrace_types::{
    ErrorCode, GroupId, LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicName, TopicPartition,
};

use crate::admission::{InFlight, Operation, Resource};
use crate::core::{Core, both, check_partition_count, placed};
use crate::groups::By;
use crate::{ApiError, Context, TopicRef};

/// One partition's committed position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetCommit {
    /// The topic.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next offset to read.
    pub offset: Offset,
    /// Epoch of the last record read.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Free text, at most [`millrace_types::limits::OFFSET_METADATA_BYTES_MAX`] bytes.
    pub metadata: String,
}

/// A commit of any number of partitions, stored as one batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitOffsetsRequest {
    /// The group.
    pub group: GroupId,
    /// At most [`millrace_types::limits::PARTITIONS_PER_REQUEST_MAX`].
    pub offsets: Vec<OffsetCommit>,
    /// The member that commits; `None` commits from outside, which only a group without members allows.
    pub member: Option<Committer>,
}

/// A question for committed offsets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchOffsetsRequest {
    /// The group.
    pub group: GroupId,
    /// Which partitions; `None` answers all that the group has committed.
    pub partitions: Option<Vec<(TopicRef, PartitionIndex)>>,
    /// The member that asks; one of another epoch is refused. `None` asks from outside.
    pub member: Option<Committer>,
}

/// What a group has committed for a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommittedOffset {
    /// The topic, with name and id.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next offset to read; `None` if nothing was committed.
    pub offset: Option<Offset>,
    /// Epoch of the last record read.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Free text.
    pub metadata: String,
    /// When it was committed; [`TimestampMs::NONE`] if nothing was.
    pub commit_time: TimestampMs,
}

impl Core {
    pub(crate) async fn commit_offsets(
        self: &Arc<Self>,
        ctx: &Context,
        request: CommitOffsetsRequest,
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        let group = Resource::Group(&request.group);
        let in_flight = self.admission.admit(ctx, Operation::CommitOffsets, group)?;
        check_partition_count(request.offsets.len())?;
        let CommitOffsetsRequest { group, offsets, member } = request;
        let by = By::Committer(member.unwrap_or_default());
        self.commit_by(ctx, in_flight, by, (&group, &offsets)).await
    }

    /// Commits positions of a group; who may not commit is refused under the lock of the step.
    pub(crate) async fn commit_by(
        &self,
        ctx: &Context,
        in_flight: InFlight,
        by: By,
        (group, offsets): (&GroupId, &[OffsetCommit]),
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        let mut resolved: Vec<Result<(), ApiError>> = Vec::new();
        // Resolved under the lock of the step: a topic whose deletion is published before it gets no commit behind
        // the tombstones that the deletion steps after it.
        let make = || {
            let commits = offsets.iter().map(|commit| self.resolve(ctx, commit));
            let commits: Vec<Result<Commit, ApiError>> = commits.collect();
            resolved =
                commits.iter().map(|commit| commit.as_ref().map(|_| ()).map_err(Clone::clone)).collect();
            let commits = commits.into_iter().filter_map(Result::ok).collect();
            Event::Commit { group: group.clone(), commits }
        };
        let committed = self.groups.commit(in_flight, group, &by, make).await;
        if let Err(refused) = &committed {
            self.metrics.groups().commit_refused(refused.code);
        }
        let reply = committed?;
        let mut reply = reply.into_iter();
        // The value answers those that could be resolved, in their order.
        let answers = resolved.into_iter().map(|known| {
            known?;
            reply.next().unwrap_or(Ok(())).map_err(ApiError::from)
        });
        let answers: Vec<Result<(), ApiError>> = answers.collect();
        self.note_commits(group, offsets, &answers);
        Ok(answers)
    }

    /// Remembers where the group stands, for an estimate of when it will have caught up.
    fn note_commits(&self, group: &GroupId, offsets: &[OffsetCommit], answers: &[Result<(), ApiError>]) {
        let now = self.env.clock.monotonic();
        for (commit, _) in offsets.iter().zip(answers).filter(|(_, answer)| answer.is_ok()) {
            let Ok(topic) = self.topic(&commit.topic) else { continue };
            let at = TopicPartition { topic: topic.id, partition: commit.partition };
            self.lag_windows.note(group, at, (now, commit.offset), || {
                self.log(&topic, commit.partition).ok().map(|log| log.offsets().high_watermark)
            });
        }
    }

    fn resolve(&self, ctx: &Context, commit: &OffsetCommit) -> Result<Commit, ApiError> {
        let topic = self.topic(&commit.topic)?;
        self.admission.authorize(ctx, Operation::CommitOffsets, Resource::Topic(&topic.name))?;
        placed(&topic, commit.partition)?;
        Ok(Commit {
            topic: topic.name.clone(),
            topic_id: topic.id,
            partition: commit.partition,
            offset: commit.offset,
            leader_epoch: commit.leader_epoch,
            metadata: commit.metadata.clone(),
        })
    }

    pub(crate) async fn fetch_offsets(
        self: &Arc<Self>,
        ctx: &Context,
        request: &FetchOffsetsRequest,
    ) -> Result<Vec<Result<CommittedOffset, ApiError>>, ApiError> {
        let group = Resource::Group(&request.group);
        let _in_flight = self.admission.admit(ctx, Operation::FetchOffsets, group)?;
        // What a coordinator knows that was replaced and has not heard of it may be older than what another has acknowledged.
        self.metadata.confirm().await.map_err(unconfirmed)?;
        if let Some(member) = &request.member {
            self.groups.check_reader(&request.group, member)?;
        }
        let partition = partition_of(&request.group);
        let Some(wanted) = &request.partitions else {
            return self.groups.look(partition, |look| {
                look.whole()?;
                Ok(self.all_of(&request.group, look.offsets))
            })?;
        };
        check_partition_count(wanted.len())?;
        self.groups.look(partition, |look| {
            let one = |(topic, partition): &(TopicRef, PartitionIndex)| {
                let topic = self.topic(topic)?;
                self.admission.authorize(ctx, Operation::FetchOffsets, Resource::Topic(&topic.name))?;
                let key = key_of(&request.group, &topic.name, *partition);
                let value = look.fetch(&key, topic.id)?;
                Ok(committed(both(&topic.name, topic.id), *partition, value))
            };
            wanted.iter().map(one).collect()
        })
    }

    /// Everything a group has committed for topics that still exist.
    fn all_of(&self, group: &GroupId, value: &GroupOffsets) -> Vec<Result<CommittedOffset, ApiError>> {
        let image = self.metadata.image();
        let alive = value.of_group(group).filter(|(_, value)| image.topic_by_id(value.topic_id).is_some());
        alive
            .map(|(key, value)| Ok(committed(both(&key.topic, value.topic_id), key.partition, Some(value))))
            .collect()
    }
}

fn unconfirmed(error: ApiError) -> ApiError {
    let message =
        format!("whether another broker coordinates the group by now cannot be known: {}", error.message);
    ApiError::new(ErrorCode::CoordinatorLoading, message)
}

fn key_of(group: &GroupId, topic: &TopicName, partition: PartitionIndex) -> OffsetCommitKey {
    OffsetCommitKey { group: group.clone(), topic: topic.clone(), partition }
}

fn committed(
    topic: TopicRef,
    partition: PartitionIndex,
    value: Option<&OffsetCommitValue>,
) -> CommittedOffset {
    CommittedOffset {
        topic,
        partition,
        offset: value.map(|value| value.offset),
        leader_epoch: value.map(|value| value.leader_epoch).filter(|epoch| *epoch != LeaderEpoch::NONE),
        metadata: value.map(|value| value.metadata.clone()).unwrap_or_default(),
        commit_time: value.map_or(TimestampMs::NONE, |value| value.committed_at),
    }
}
