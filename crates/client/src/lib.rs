//! The Rust client of Millrace: [`Client`] connects, [`Producer`] writes, [`Reader`] reads, [`Consumer`] reads as a member of a
//! group, [`Admin`] administers.
//!
//! It speaks the native API (gRPC, `proto/millrace/v1`) and never depends on the broker. Everything that it does to
//! the machine goes through [`millrace_env::Env`], so that it runs in the simulator as well.
//!
//! ```no_run
//! use millrace_client::{Client, ClientOptions, ProducerRecord, Until};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(["127.0.0.1:7070"], ClientOptions::default()).await?;
//!
//! let producer = client.producer().build()?;
//! let delivery = producer.send(ProducerRecord::new("flights", "JFK 09:15").key("UA1545")).await?;
//! println!("stored at {:?}", delivery.await?.offset);
//! producer.close().await?;
//!
//! let mut reader = client.reader().topic("flights").until(Until::EndAtStart).start().await?;
//! while let Some(record) = reader.next().await {
//!     println!("{:?}", record?.value);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A [`Reader`] is told which partitions to read and where to begin. The members of a group share the partitions of its topics
//! among them, the group remembers how far it has come, and whoever goes is replaced:
//!
//! ```no_run
//! # use std::time::Duration;
//! # async fn run(client: millrace_client::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let mut consumer = client.consumer("tower").topic("flights").start().await?;
//! for record in consumer.poll(Duration::from_secs(1)).await? {
//!     println!("{:?}", record.value);
//! }
//! consumer.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! Every error says whether the request can have had an effect ([`Outcome`]): *definite* means it has not and will
//! not, *indefinite* means nobody knows.
#![warn(missing_docs)]

mod admin;
mod backoff;
mod client;
mod connection;
mod consumer;
mod error;
mod metadata;
mod options;
mod producer;
mod reader;
mod records;
mod scatter;
mod whereabouts;

pub use admin::{
    Admin, BrokerChange, BrokerDescription, BrokerState, BrokerStatus, ClusterDescription, ClusterStatus,
    CommittedOffset, ConfigChange, ConfigEntry, GroupDescription, GroupKind, GroupListing,
    GroupMemberDescription, GroupReset, GroupStage, NewTopic, OffsetAnswer, OffsetAt, OffsetCommit,
    OffsetQuery, OffsetReset, PartitionDescription, PartitionLag, PartitionMove, PartitionsOfTopic,
    RecordsToDelete, ResetTo, TopicDescription, TopicSummary,
};
pub use client::Client;
pub use consumer::{
    AssignedPartition, CommitError, CommitFailure, ConsumeError, Consumer, ConsumerBuilder, ConsumerHandle,
    GroupAssignor, PendingCommit, ReadIsolation, RebalanceCallbacks,
};
pub use error::{ClientError, Refusal};
pub use millrace_record::{Compression, Header};
pub use millrace_types::{
    ErrorCode, GroupId, LeaderEpoch, Offset, Outcome, PartitionIndex, TimestampMs, TopicName,
};
pub use options::{CLIENT_ID_KEY, ClientOptions};
pub use producer::{Delivery, Durability, Idempotence, ProduceError, Producer, ProducerBuilder};
pub use reader::{
    ConsumedBatch, ConsumedRecords, OnOutOfRange, PartitionProgress, Position, ReadError, Reader,
    ReaderBuilder, Until,
};
pub use records::{ConsumedRecord, ProducerRecord, RecordMetadata};
