//! What the suites of this crate share: asking the machine for what they need, and finding the binary.
//!
//! A suite that needs more than Rust and a C compiler opens with
//!
//! ```
//! # use millrace_tests::{Need, require};
//! if !require("dump_tool_agrees", &[Need::Program("java"), Need::Program("mvn")]) {
//!     return;
//! }
//! ```
//!
//! Names of test files say where they run: `exam_*.rs` are judged by somebody else's program (Kafka's tools, a client in
//! Python), `client_*.rs` run our client against a broker in the test's own process, `surface_*.rs`, `hostile_*.rs` and `overload.rs` the binary as
//! it is shipped, `crash_*.rs` kill processes and cut power, `soak_*` tests are `#[ignore]`d and long.

#![allow(clippy::expect_used, reason = "a suite fails by panicking, here as in its tests")]

pub mod broker;
pub mod cluster;
mod crate_source;
pub mod crew;
pub mod cutting_proxy;
pub mod cycles;
pub mod dev_cluster;
pub mod disk;
pub mod embedded;
pub mod group_load;
pub mod group_log;
pub mod history;
pub mod hostile;
pub mod judged;
pub mod kafka_clients;
pub mod kafka_door;
pub mod kafka_tools;
pub mod librdkafka;
pub mod load;
mod need;
mod program;
pub mod rdkafka;
pub mod read;
mod report;
mod runtime;
mod seed;
pub mod single_faults;
pub mod tool;
pub mod trio;
pub mod wire;

pub use need::{Need, require};
pub use program::millrace_program;
pub use report::say;
pub use runtime::on_two_workers;
pub use seed::Seed;
