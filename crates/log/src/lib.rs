//! The storage engine: one directory is one partition log, one data directory holds many.
//!
//! ```text
//!   log start        local start                             synced end   high watermark  end offset
//!       │                 │                                     │              │              │
//!       ▼                 ▼                                     ▼              ▼              ▼
//!       ├── (tiered, later) ──┬── sealed segments ──┬── active segment ────────┼── written ───┤
//!       │      readable by consumers                │                          │ not yet safe │
//! ```
//! `log start <= local start <= high watermark <= held <= end offset` and `synced end <= end offset`, at every moment. What a node
//! *holds* is what the topic's sync mode lets be acknowledged: the synced end with `always`, more than that with `interval`
//! and `os`. On a single node the high watermark is just that; on a replicated log it is given
//! ([`Log::raise_high_watermark`]), and batches come from clients or, as they were stored there, from a leader
//! ([`Log::append_replica`]). Synchronous and free of any runtime: waiting is a [`Ticket`] or an
//! [`OffsetWait`], both plain futures that block nobody's thread but the one that syncs.
#![warn(missing_docs)]

mod append;
pub mod cleaning;
mod compaction;
mod config;
mod cut;
mod damage;
mod dir;
pub mod epochs;
mod error;
mod failure;
#[cfg(test)]
mod fixture;
mod flusher;
pub mod format;
mod handles;
mod inner;
pub mod inspect;
mod log;
mod mending;
pub mod names;
mod passing;
pub mod producers;
mod queue;
mod read;
mod reader;
mod recovery;
mod replacement;
mod room;
mod segment;
mod tail_cache;
mod tally;
mod ticket;
mod upkeep;
mod waiters;
mod writer;

pub use append::Appended;
pub use config::{CompactionConfig, LogConfig, PARTS_PER_MILLION, Replication, TimestampType};
pub use damage::{DamageTotal, DamagedRange};
pub use dir::{Fatal, LogDir, LogDirOptions, OpenedDir, ScrubReport, StagedLog, StartReport};
pub use error::{AppendError, DirError, ReadError, ReplicaAppendError};
pub use flusher::SyncDueWait;
pub use handles::{HandleLimits, HandlesOpen};
pub use log::{Log, LogOffsets, PartitionMeta};
pub use mending::{MendError, MendStep, Mending};
pub use producers::ActiveProducer;
pub use read::{Isolation, ReadAnswer, ReadRequest, TimeHit};
pub use reader::{Extent, FileRange, ReadPlan};
pub use room::{StorageLevel, StorageRoom};
pub use tally::{DirStats, TallySnapshot};
pub use ticket::Ticket;
pub use waiters::OffsetWait;
