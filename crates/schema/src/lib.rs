//! The bytes of the records that the product writes for itself.

#![deny(clippy::indexing_slicing)]

mod frame;
mod groups;
mod metadata;
mod offsets;
mod quorum;
mod wire;

pub use frame::{FRAME_HEADER_BYTES, Frame, FrameError, decode_frame, encode_frame};
pub use groups::{
    GroupPart, GroupsKey, GroupsValue, StoredClassic, StoredClassicMember, StoredCurrent, StoredMember,
    StoredMeta, decode_groups_key,
};
pub use metadata::{
    BrokerRegistered, BrokerResumed, BrokerRun, BrokerStarted, ImageResumed, Losses, LossyElection,
    MetadataRecord, PartitionChanged, PartitionPlaced, PartitionState, PartitionsAdded, ProducerIdsTaken,
    Standing, TopicConfigured, TopicCreated, TopicResumed,
};
pub use offsets::{OffsetCommitKey, OffsetCommitValue, OffsetsError, OffsetsKey, decode_offsets_key};
pub use quorum::{
    QuorumAnswer, QuorumAsk, QuorumBallot, QuorumEntry, QuorumMembers, QuorumPayload, QuorumPosition,
    QuorumRequest, QuorumSnapshot, QuorumVote, QuorumVoter, decode_quorum_purged, encode_quorum_purged,
};
