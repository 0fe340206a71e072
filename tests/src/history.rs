//! Histories: what clients did to a cluster and what they were told, and the judgement on it.
//!
//! Each client appends to a file of its own, one JSON object for each line ([`Line`]): before it sends a record, when it hears of
//! it, after each poll, whenever its place in a partition changes by anything but reading. The times are of the machine's
//! monotonic clock, the same for all processes, so that a line that says "told" is never older than what it tells of, and one that
//! says "asked" never younger.
//!
//! [`History`] is the lot of them, and [`check`] looks for what must not be: the analyses C1 to C17, after Jepsen's of Kafka, Redpanda
//! and Bufstream. It is code of its own: it knows neither the client library nor a decoder of the broker.

mod chain;
mod check;
mod clock;
mod events;
mod journal;
mod line;
mod value;
mod verdict;

pub use chain::Chain;
pub use check::check;
pub use clock::monotonic_nanos;
pub use events::{History, HistoryError, Outcome, Poll, Read, ReaderEvent, ReaderLog, Send, Whole};
pub use journal::Journal;
pub use line::{Event, Line, Place, Why};
pub use value::{payload, value_of};
pub use verdict::{Analysis, Finding, Lag, Tally, Verdict};
