//! The native door: gRPC on one side, the broker's own words on the other.
//!
//! ```text
//!  entrance -> connection -> call -> (request_body | answer_body) -> service -> handlers/* -> broker
//! ```
//!
//! A door holds nothing that outlives its connection. Memory is granted for each message before it is read
//! (`request_body`) and comes back when its call is done; what the broker refuses goes through one table (`error_map`).
//!
//! Beside it the internal door (`internal`), by which brokers speak to each other.

mod answer_body;
mod call;
mod caller;
mod connection;
mod decode;
mod door;
mod error_map;
mod error_page;
#[cfg(fuzzing)]
pub mod fuzzing;
mod group_parts;
mod handlers;
mod internal;
mod metered;
mod pace;
mod parts;
mod permits;
mod request_body;
mod route;
mod service;
mod unread;
mod windows;

pub use door::{GrpcDoor, OpenError, Patience};
pub use error_map::grpc_code;
pub use error_page::error_page;
pub use internal::{InternalDoor, InternalPeers};
