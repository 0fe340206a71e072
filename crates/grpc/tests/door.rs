//! The native door over real sockets, in front of a real broker.
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

#[path = "door/altering.rs"]
mod altering;
#[path = "door/bad_input.rs"]
mod bad_input;
#[path = "door/calls.rs"]
mod calls;
#[path = "door/draining.rs"]
mod draining;
#[path = "door/group_admin.rs"]
mod group_admin;
#[path = "door/hostile_members.rs"]
mod hostile_members;
#[path = "door/members.rs"]
mod members;
#[path = "door/raw.rs"]
mod raw;
#[path = "door/streams.rs"]
mod streams;
#[path = "door/subscribe.rs"]
mod subscribe;
#[path = "door/world.rs"]
mod world;
