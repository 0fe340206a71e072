//! What the cluster knows: commands, the records that they become, and the image that the records fold into.
//!
//! ```text
//!   Command ── decide(image) ──► records ──(log: committed)──► apply ──► image
//!                    └─► Refusal: nothing is written
//! ```
//! Pure values: nothing here waits, reads a clock or draws a number. Whoever proposes draws topic ids and passes
//! them in; whoever drives keeps one proposal under way at a time, so that a decision is never taken on an image
//! that another decision is about to change. The same records fold into the same image on every node.

mod command;
mod decide;
mod image;
mod refusal;
mod topic_config;
mod topic_keys;

pub use command::{Command, ConfigChange, CreateTopic, Owner};
pub use decide::decide;
pub use image::{ApplyError, FEATURE_LEVEL_NEWEST, Image, Partition, Topic};
pub use millrace_schema::{
    BrokerRegistered, FrameError, MetadataRecord, PartitionPlaced, PartitionsAdded, ProducerIdsTaken,
    TopicConfigured, TopicCreated,
};
pub use refusal::Refusal;
pub use topic_config::{CompactionBounds, ConfigError, RecordTime, TopicConfig};
pub use topic_keys::{KEYS, Key, Meaning, Problem, ValueKind};
