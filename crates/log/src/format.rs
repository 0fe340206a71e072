//! The bytes on disk: one file of this module for each kind of file, each with its picture, its encoder and its decoder.
//!
//! `.log`, `.index` and `.timeindex` are Kafka's byte for byte. Everything else is ours and travels in one
//! [`envelope`] (magic, kind, version, length, checksum), so that no flipped bit and no cut goes unnoticed and a file
//! of a newer version is refused by name. All numbers are big endian, as Kafka's are. Every decoder takes a slice,
//! keeps nothing of it, never panics and allocates no more than a small multiple of the slice.
#![deny(clippy::indexing_slicing)]

pub mod compacted_to;
pub mod envelope;
pub mod epoch_file;
mod fields;
pub mod log_start;
pub mod node_meta;
pub mod offset_index;
pub mod partition_meta;
pub mod producer_snapshot;
pub mod run_mark;
pub mod scrub_progress;
pub mod seal;
mod single_offset;
pub mod synced_marks;
pub mod time_index;

#[cfg(test)]
mod exam;
#[cfg(test)]
mod fixtures;
