//! The storage engine from the outside, on the simulated file system and on the real one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod appending;
mod compacting;
mod counted;
mod crashing;
mod cutting;
mod failing;
mod full;
mod inspected;
mod library;
mod living;
mod located;
mod mending;
mod model;
mod modes;
mod open_files;
mod racing;
mod recovering;
mod replica_crashing;
mod replica_failing;
mod replica_model;
mod replicating;
mod retention;
mod scrubbing;
mod seeds;
mod shortened;
mod starting;
mod world;
