//! The names of the product: offsets, ids, validated names, limits and the error codes that every door speaks.
//!
//! Nothing in here does I/O, reads a clock or allocates more than a name.
#![warn(missing_docs)]

mod cleanup;
mod error_code;
mod ids;
pub mod limits;
mod names;
mod offset;
mod sync_mode;
#[cfg(feature = "teeth")]
pub mod teeth;
mod time;

pub use cleanup::{CleanupPolicy, CleanupPolicyError};
pub use error_code::{ErrorCode, Outcome};
pub use ids::{
    BrokerEpoch, ClusterId, DirectoryId, IncarnationId, LeaderEpoch, NodeId, PartitionIndex, ProducerEpoch,
    ProducerId, TopicId, TopicPartition,
};
pub use names::{GroupId, NameError, TopicName};
pub use offset::{Offset, OffsetRange};
pub use sync_mode::{SyncInterval, SyncMode, SyncModeError};
pub use time::TimestampMs;
