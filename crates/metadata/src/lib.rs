//! What the cluster knows: commands, the records that they become, and the image that the records fold into.
//!
//! ```text
//!   Command ── decide(image) ──► records ──(log: committed)──► apply ──► image
//!                    └─► Refusal: nothing is written
//! ```
//! Pure values: nothing here waits, reads a clock or draws a number. Whoever proposes draws topic ids and passes
//! them in; whoever drives keeps one proposal under way at a time, so that a decision is never taken on an image
//! that another decision is about to change. The same records fold into the same image on every node.

mod broker;
mod command;
mod decide;
mod image;
mod partition;
mod plan;
mod refusal;
mod topic_config;
mod topic_keys;

pub use broker::Broker;
pub use command::{
    AlterPartition, Command, ConfigChange, CreateTopic, InSync, Owner, ReplicaEnd, StartBroker,
};
pub use decide::alter_partition::{AlterPartitionRefusal, Ineligible};
pub use decide::elect::ElectRefusal;
pub use decide::fence::StandingRefusal;
pub use decide::reassign::ReassignRefusal;
pub use decide::register::RegisterRefusal;
pub use decide::{decide, decide_each};
pub use image::{ApplyError, FEATURE_LEVEL_ALONE, FEATURE_LEVEL_NEWEST, Image, Topic};
pub use millrace_schema::{
    BrokerRegistered, BrokerResumed, BrokerRun, BrokerStarted, FrameError, ImageResumed, Losses,
    LossyElection, MetadataRecord, PartitionChanged, PartitionPlaced, PartitionState, PartitionsAdded,
    ProducerIdsTaken, Standing, TopicConfigured, TopicCreated, TopicResumed,
};
pub use partition::Partition;
pub use plan::{Move, PlanRefusal, plan_addition, plan_removal};
pub use refusal::Refusal;
pub use topic_config::{CompactionBounds, ConfigError, RecordTime, TopicConfig};
pub use topic_keys::{KEYS, Key, Meaning, Problem, ValueKind};
