//! Consumer groups as pure values. For now: the offsets that groups have committed.
//!
//! ```text
//!   event ── step ──► Persist(id, records) ──► (driver appends)
//!                 └─► Reply                       ├─ committed(id): what was persisted becomes visible; reply now
//!                                                 ├─ refused(id):   nothing was appended; it is undone
//!                                                 └─ unknown:       drop the value, rebuild it from its log
//! ```
//! One value holds one partition of `__consumer_offsets`. Events may be stepped while earlier records are still on
//! their way to the disk; what others can see changes in the order of the log, when the log says committed.

pub mod assign;
pub mod classic;
pub mod consumer;
mod fence;
mod ids;
mod offsets;
mod outbox;
mod partition_of;
mod state;
mod topics;

pub use fence::{CommitRefused, Committer, Refusal, Stranger};
pub use ids::{GroupEpoch, IdError, InstanceId, MemberId, Moment, Now, Pattern, RackId};
pub use millrace_schema::{OffsetCommitKey, OffsetCommitValue, OffsetsError, OffsetsKey};
pub use offsets::{Commit, CommitRefusal, Effect, Event, GroupOffsets, OffsetRecord, PersistId, ReplayError};
pub use outbox::{Outbox, PersistTicket};
pub use partition_of::partition_of;
pub use state::{Current, GroupMeta, GroupRecord, GroupState, Profile, Standing};
pub use topics::{Subscription, TopicView, Topics};
