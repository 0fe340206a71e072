//! Commits and fetches the offsets of consumer groups.

use millrace_types::{GroupId, LeaderEpoch, Offset, PartitionIndex, TimestampMs};

use crate::TopicRef;

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
}

/// A question for committed offsets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchOffsetsRequest {
    /// The group.
    pub group: GroupId,
    /// Which partitions; `None` answers all that the group has committed.
    pub partitions: Option<Vec<(TopicRef, PartitionIndex)>>,
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
