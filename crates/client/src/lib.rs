//! The Rust client of Millrace: [`Client`] connects, [`Admin`] administers.
//!
//! It speaks the native API (gRPC, `proto/millrace/v1`) and never depends on the broker. Everything that it does to
//! the machine goes through [`millrace_env::Env`], so that it runs in the simulator as well.
//!
//! Every error says whether the request can have had an effect ([`Outcome`]): *definite* means it has not and will
//! not, *indefinite* means nobody knows.
#![warn(missing_docs)]

mod admin;
mod backoff;
mod client;
mod connection;
mod error;
mod metadata;
mod options;
mod producer;
mod records;

pub use admin::{
    Admin, BrokerDescription, ClusterDescription, CommittedOffset, ConfigEntry, NewTopic, OffsetAnswer,
    OffsetAt, OffsetCommit, OffsetQuery, PartitionDescription, TopicDescription, TopicSummary,
};
pub use client::Client;
pub use error::{ClientError, Refusal};
pub use millrace_record::{Compression, Header};
pub use millrace_types::{
    ErrorCode, GroupId, LeaderEpoch, Offset, Outcome, PartitionIndex, TimestampMs, TopicName,
};
pub use options::{CLIENT_ID_KEY, ClientOptions};
pub use producer::{Delivery, Durability, Idempotence, ProduceError, Producer, ProducerBuilder};
pub use records::{ConsumedRecord, ProducerRecord, RecordMetadata};
