//! The door for clients of Kafka: its wire protocol on one side, the broker's own words on the other.
//!
//! ```text
//!  entrance -> connection -> frames -> request -> handlers/* -> broker
//!                  ^                                  |
//!                  +-------- answers <- answer <------+
//! ```
//!
//! One task serves a connection. It reads every frame that is there before it looks after answers, so that what came in
//! together is appended, synced and answered together. Produces overlap; any other request waits until all before it are
//! answered, as in Kafka. Memory is granted for a frame before its body is read, and comes back when its answer is written.
//!
//! What is served, and from which version to which, stands at the top of each file in `handlers`.

mod answer;
mod answers;
mod assignment;
mod bill;
mod config_resource;
mod connection;
mod door;
mod error_map;
mod fetch_session;
mod frames;
#[cfg(fuzzing)]
pub mod fuzzing;
mod group_parts;
mod handlers;
mod metrics;
mod parts;
mod reach;
mod request;
mod request_memory;
mod served;
mod socket;

pub use door::{BrokerSetting, Endpoint, KafkaDoor, NewTopics, Patience, Settings};
pub use error_map::{KafkaError, kafka_error};
