//! The Kafka door over real sockets, in front of a real broker.
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

#[path = "door/administration.rs"]
mod administration;
#[path = "door/classic.rs"]
mod classic;
#[path = "door/configs.rs"]
mod configs;
#[path = "door/cut.rs"]
mod cut;
#[path = "door/frames.rs"]
mod frames;
#[path = "door/groups.rs"]
mod groups;
#[path = "door/handshake.rs"]
mod handshake;
#[path = "door/members.rs"]
mod members;
#[path = "door/mixed_groups.rs"]
mod mixed_groups;
#[path = "door/offsets.rs"]
mod offsets;
#[path = "door/reading.rs"]
mod reading;
#[path = "door/sessions.rs"]
mod sessions;
#[path = "door/topics.rs"]
mod topics;
#[path = "door/world.rs"]
mod world;
#[path = "door/writing.rs"]
mod writing;
