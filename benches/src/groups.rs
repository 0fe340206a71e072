//! Consumer groups at scale: one large group, many small ones, and commits beside the log that they are written to.
//!
//! The members are the generated client's streams with nothing behind them: no reader, no records. A task drives all
//! members of one connection, so that the broker is what is measured and not its clients.

pub mod board;
pub mod commits;
pub mod fleet;
pub mod large;
mod line;
pub mod many;
