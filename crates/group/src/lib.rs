//! Consumer groups as pure values: who is a member, who reads what, who may commit, and what was committed.
//!
//! | part | what it decides |
//! |---|---|
//! | [`assign`] | who is to own what: plain functions |
//! | [`consumer`] | a group that the coordinator assigns, member by member, without a barrier |
//! | [`classic`] | a group whose leader assigns, generation by generation |
//! | [`GroupState`], [`GroupRecord`] | what is written down of either, and the fold that reads it back |
//! | [`decode_record`], [`GroupRecord::encode`] | their bytes |
//! | [`GroupOffsets`] | what groups have committed |
//! | [`Outbox`] | what may be told once which records are committed |
//!
//! A coordinator holds, for each partition of `__consumer_offsets` that it leads, one [`GroupOffsets`], one [`Outbox`] and
//! the groups of that partition. It replays the partition to the high watermark of its own epoch before it steps anything. Then
//! each step, the append of what it persists, and the check of a commit with the append of its offsets happen under one lock,
//! so that the order of the log is the order of the decisions. A refused commit goes through the outbox too: what refuses it
//! may not be committed yet.
//!
//! ```text
//!   event ── step ──► Persist(id, records) ──► (driver appends)
//!                 └─► Reply                       ├─ committed(id): what was persisted becomes visible; reply now
//!                                                 ├─ refused(id):   nothing was appended; it is undone
//!                                                 └─ unknown:       drop the value, rebuild it from its log
//! ```
//! One [`GroupOffsets`] holds one partition of `__consumer_offsets`. Events may be stepped while earlier records are still on
//! their way to the disk; what others can see changes in the order of the log, when the log says committed.

pub mod assign;
pub mod classic;
pub mod consumer;
mod fence;
mod front;
mod ids;
mod offsets;
mod outbox;
mod partition_of;
mod state;
mod stored;
mod topics;

pub use fence::{CommitRefused, Committer, Refusal, Stranger};
pub use front::{Front, FrontError};
pub use ids::{GroupEpoch, IdError, InstanceId, MemberId, Moment, Now, Pattern, RackId};
pub use millrace_schema::{OffsetCommitKey, OffsetCommitValue, OffsetsError, OffsetsKey};
pub use offsets::{Commit, CommitRefusal, Effect, Event, GroupOffsets, OffsetRecord, PersistId, ReplayError};
pub use outbox::{Outbox, PersistTicket};
pub use partition_of::partition_of;
pub use state::{Current, GroupKey, GroupMeta, GroupRecord, GroupState, Profile, Standing};
pub use stored::{RecordBytes, Stored, StoredError, decode_record, members_dropped};
pub use topics::{Subscription, TopicView, Topics};
