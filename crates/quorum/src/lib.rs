//! The metadata quorum: openraft between *propose* and *apply*, contained in this crate.
//!
//! ```text
//!   Command ── decide(image) ──► facts ── propose ──► openraft ──► log of a majority (synced)
//!                                                         │
//!                       readers ◄── image ◄── fold ◄── apply (on every node, in the same order)
//! ```
//! The log is a [`millrace_log`] of its own, votes and snapshots are small files beside it, the formats of all of them are
//! ours. openraft's clock, tasks and random numbers are env's.
#![warn(missing_docs)]

mod entries;
mod error;
mod files;
mod log_store;
mod network;
mod options;
mod peer;
mod quorum;
mod raft;
mod runtime;
mod state_machine;
#[cfg(test)]
mod suite;
mod watchdog;

pub use entries::{EntriesError, quorum_log_config};
pub use error::{FoundError, MembersError, OpenError, ProposeError, ReadError};
pub use files::FileError;
pub use log_store::StoreError;
pub use millrace_schema::{
    QuorumAnswer, QuorumAsk, QuorumBallot, QuorumEntry, QuorumPayload, QuorumPosition, QuorumRequest,
    QuorumVoter,
};
pub use network::{CallError, Peer, QuorumNetwork};
pub use options::{QuorumOptions, QuorumPace};
pub use quorum::{DecidedRecords, MetadataQuorum, QuorumRole, QuorumStatus};
