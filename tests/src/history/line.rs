//! One line of a history.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What one client did or was told, as a line of JSON: `{"t":..,"p":"..","e":{"acked":{"value":7,"offset":3}}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// When it was written, in nanoseconds of the monotonic clock.
    pub t: u64,
    /// Which client: each runs one thing after the other, or sends in one order.
    pub p: String,
    /// What.
    pub e: Event,
}

/// Where a reader goes on in a partition: the next offset, if the client knows it.
pub type Place = (String, Option<i64>);

/// What happened. Partitions are named `TOPIC-INDEX`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// A record is about to be sent. No two have the same value.
    Send {
        /// What is sent.
        value: u64,
        /// To which partition.
        at: String,
    },
    /// It was acknowledged.
    Acked {
        /// Which.
        value: u64,
        /// Where it lies. A client of Kafka does not know if a broker has found it in its log and no longer knows where.
        offset: Option<i64>,
    },
    /// It was refused for good: it is not in the log and will not be.
    Failed {
        /// Which.
        value: u64,
        /// By what.
        why: String,
    },
    /// Nobody knows whether it is or will be there.
    Unknown {
        /// Which.
        value: u64,
        /// What the client was told.
        why: String,
    },
    /// The client's place has changed by something else than reading.
    Moved {
        /// By what.
        why: Why,
        /// Where.
        at: Vec<Place>,
    },
    /// An application was handed records, or none.
    Polled {
        /// When it asked.
        since: u64,
        /// Offset and value of each, by partition, in their order; no value where the bytes are nobody's.
        records: BTreeMap<String, Vec<(i64, Option<u64>)>>,
    },
    /// A group's offsets were to be committed.
    Committed {
        /// When that began.
        since: u64,
        /// The offsets.
        at: Vec<(String, i64)>,
        /// Why they may not be.
        error: Option<String>,
    },
    /// The client has read everything of a partition between two offsets, and nothing else since it was moved there.
    Whole {
        /// When it began.
        since: u64,
        /// Which partition.
        at: String,
        /// The first offset.
        from: i64,
        /// The offset behind the last.
        to: i64,
        /// [`super::Chain`] of what it has read.
        hash: u64,
    },
    /// The client was told that the offset with which it wants to go on is not there any more, or never was.
    ThrownOut {
        /// Which partition, as far as the client says.
        at: String,
        /// What it was told.
        why: String,
    },
    /// For whoever reads the file: faults, errors that say nothing about a record.
    Note(String),
}

/// Why a reader's place has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It has chosen its partitions.
    Assign,
    /// It goes on elsewhere.
    Seek,
    /// A group gave it partitions.
    Assigned,
    /// A group took them, or it has let them go.
    Revoked,
}
