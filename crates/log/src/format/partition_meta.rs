//! `partition.meta`: which partition a directory holds.
//!
//! ```text
//!  envelope(kind PartitionMeta, version 1):
//!  0          16          20           24                   28
//!  ┌──────────┬───────────┬────────────┬────────────────────┬──────────────────┐
//!  │ topic id │ partition │ partitions │ replication factor │ name             │
//!  │ 16 bytes │ u32       │ u32        │ u32                │ u16 length, text │
//!  └──────────┴───────────┴────────────┴────────────────────┴──────────────────┘
//! ```
//! So a directory explains itself without any metadata. The name is for people; the topic id is what counts.

use millrace_types::{PartitionIndex, TopicId, TopicName, TopicPartition};

use super::envelope::{self, DecodeError, FileKind};
use super::fields::{Fields, put_text};
use crate::PartitionMeta;

/// The newest version that this build reads, and the one that it writes.
pub const VERSION: u16 = 1;
/// The largest file.
pub const BYTES_MAX: usize = 4096;

/// The content of the file.
#[must_use]
pub fn encode(meta: &PartitionMeta) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&meta.id.topic.0);
    body.extend_from_slice(&meta.id.partition.0.to_be_bytes());
    body.extend_from_slice(&meta.partitions.to_be_bytes());
    body.extend_from_slice(&meta.replication_factor.to_be_bytes());
    put_text(&mut body, meta.name.as_str());
    envelope::seal(FileKind::PartitionMeta, VERSION, &body)
}

/// Reads the content of the file.
///
/// # Errors
/// Damage, a newer version, or a name that no topic can have.
pub fn decode(bytes: &[u8]) -> Result<PartitionMeta, DecodeError> {
    let opened = envelope::open(FileKind::PartitionMeta, VERSION, bytes)?;
    let mut fields = Fields::new(opened.body);
    let topic = TopicId(fields.array()?);
    let partition = PartitionIndex(fields.u32()?);
    let partitions = fields.u32()?;
    let replication_factor = fields.u32()?;
    let name = TopicName::new(fields.text()?).map_err(|_| DecodeError::Invalid("not the name of a topic"))?;
    fields.end()?;
    Ok(PartitionMeta { id: TopicPartition { topic, partition }, name, partitions, replication_factor })
}

#[cfg(test)]
mod tests {
    use super::super::exam;
    use super::*;

    fn example() -> PartitionMeta {
        PartitionMeta {
            id: TopicPartition { topic: TopicId([9; 16]), partition: PartitionIndex(3) },
            name: TopicName::new("flights").unwrap(),
            partitions: 8,
            replication_factor: 3,
        }
    }

    #[test]
    fn it_comes_back() {
        assert_eq!(decode(&encode(&example())), Ok(example()));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let bytes = encode(&example());
        exam::every_cut_is_refused(&bytes, decode);
        exam::every_flip_is_refused(&bytes, decode);
        let body = envelope::open(FileKind::PartitionMeta, VERSION, &bytes).unwrap().body;
        exam::every_cut_is_refused(body, |body| {
            decode(&envelope::seal(FileKind::PartitionMeta, VERSION, body))
        });
    }
}
