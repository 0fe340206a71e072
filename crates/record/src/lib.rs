//! Kafka's record batch, message format v2, byte for byte. Bytes to structs and back: no I/O, no clock.
//!
//! - [`Batch`]: a checked view over [`bytes::Bytes`]. [`Batch::check`] is for batches that are to be appended,
//!   [`Batch::parse_stored`] and [`split_batches`] for those that a log holds. [`BatchHeader::parse`] alone steps
//!   through a file without its payloads.
//! - Placing a batch in a log: [`Batch::head_with`] (16 bytes) in front of [`Batch::tail`], written as one vectored
//!   write; the payload is never copied. [`Batch::with_log_append_time`] is the one change that copies.
//! - Reading records: [`Batch::records`] gives [`Records`], whose [`Records::views`] borrow and whose iterator yields
//!   [`Record`]s that share the payload's memory. What is inside of a batch is treated as hostile.
//! - Writing records: [`BatchBuilder`]. What compaction leaves of a batch: [`Batch::filtered`], [`Batch::emptied`].
//! - [`ControlRecord`] and [`transaction_marker`]: what control batches say.
//! - [`partition_for_key`]: Kafka's partitioner.
//!
//! Every function that reads bytes is total: it answers an error and never panics, whatever the bytes.
#![warn(missing_docs)]
#![deny(clippy::indexing_slicing)]

mod batch;
mod builder;
mod codec;
mod compression;
mod control;
mod error;
mod filtered;
mod header;
mod murmur2;
mod records;
pub mod varint;
mod view;

pub use batch::{Batch, Checks, Origin, ProducerStamp, SplitBatches, split_batches};
pub use builder::{AppendError, BatchBuilder, BatchOptions, BuildError, NO_HEADERS};
pub use compression::{Compression, CompressionError};
pub use control::{ControlError, ControlRecord, ControlType, TransactionEnd, transaction_marker};
pub use error::{BatchError, DecompressError, RecordError};
pub use filtered::FilterError;
pub use header::{
    Attributes, BatchHeader, BatchKind, CRC_START, HEAD_BYTES, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC,
    crc32c,
};
pub use murmur2::{murmur2, partition_for_key};
pub use records::{Header, Record, RecordIter, RecordViews, Records};
pub use view::{HeaderViews, RecordView};
