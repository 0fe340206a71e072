//! Side by side with other brokers: the same client, in turn, at like durability.
//!
//! ```text
//!   bin/peers ─► stage: rounds in turn ─► results ─► table (text), picture (SVG), JSON
//!                  │
//!                  ├─ brokers: Millrace, Apache Kafka, Redis, as processes
//!                  ├─ client: one warm Java process with Kafka's own tools
//!                  ├─ groups: what members of a group do
//!                  └─ resp: the load for Redis
//! ```
//! Apache Kafka comes from Maven and Redis from the machine; neither is needed for anything but this measurement.

pub mod brokers;
pub mod client;
pub mod durability;
pub mod groups;
pub mod kafka_jars;
pub mod pages;
pub mod picture;
pub mod resp;
pub mod results;
pub mod stage;
pub mod starts;
pub mod table;
pub mod verdict;
