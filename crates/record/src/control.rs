//! Control records: the ends of transactions (KIP-98), and what a Kafka cluster notes in its own log (KIP-595, KIP-853).
//!
//! ```text
//!   key    i16 version = 0 | i16 type
//!   value  i16 version = 0 | i32 coordinator epoch       of commit and abort; others have their own
//! ```

use millrace_types::{ProducerEpoch, ProducerId, TimestampMs};

use crate::{Batch, BatchBuilder, BatchKind, BatchOptions, BuildError, NO_HEADERS, ProducerStamp};

/// What a control record says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ControlType {
    /// The producer's open transaction is aborted.
    Abort,
    /// The producer's open transaction is committed.
    Commit,
    /// A Kafka quorum has a new leader.
    LeaderChange,
    /// The start of a Kafka metadata snapshot.
    SnapshotHeader,
    /// The end of a Kafka metadata snapshot.
    SnapshotFooter,
    /// The version of a Kafka quorum's protocol.
    QuorumVersion,
    /// The voters of a Kafka quorum.
    QuorumVoters,
    /// A type that this build has no name for.
    Unknown(i16),
}

impl ControlType {
    /// The type of a number; there is one for every number.
    #[must_use]
    pub const fn from_number(number: i16) -> ControlType {
        match number {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            2 => ControlType::LeaderChange,
            3 => ControlType::SnapshotHeader,
            4 => ControlType::SnapshotFooter,
            5 => ControlType::QuorumVersion,
            6 => ControlType::QuorumVoters,
            other => ControlType::Unknown(other),
        }
    }

    /// The number in the key of a control record.
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            ControlType::Abort => 0,
            ControlType::Commit => 1,
            ControlType::LeaderChange => 2,
            ControlType::SnapshotHeader => 3,
            ControlType::SnapshotFooter => 4,
            ControlType::QuorumVersion => 5,
            ControlType::QuorumVoters => 6,
            ControlType::Unknown(number) => number,
        }
    }
}

/// A control record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ControlRecord {
    /// What it says.
    pub control_type: ControlType,
    /// The epoch of the transaction coordinator that wrote it; only of a commit or an abort.
    pub coordinator_epoch: Option<i32>,
}

/// Why a record of a control batch was not understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ControlError {
    /// The key is missing or too short for version and type.
    #[error("the key of a control record has {bytes} bytes, 4 are needed")]
    Key {
        /// The bytes of the key.
        bytes: usize,
    },
    /// The value of a transaction's end is missing or too short for version and epoch.
    #[error("the value of a transaction's end has {bytes} bytes, 6 are needed")]
    Value {
        /// The bytes of the value.
        bytes: usize,
    },
    /// A version below zero.
    #[error("a control record has version {version}")]
    Version {
        /// The version found.
        version: i16,
    },
}

impl ControlRecord {
    /// Reads the key and value of a record of a control batch. Later versions only append, so what follows the known
    /// fields is left alone.
    ///
    /// # Errors
    /// [`ControlError`] if the bytes are too short or have a negative version.
    pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<ControlRecord, ControlError> {
        let key = key.unwrap_or_default();
        let (version, rest) = split_i16(key).ok_or(ControlError::Key { bytes: key.len() })?;
        let (number, _) = split_i16(rest).ok_or(ControlError::Key { bytes: key.len() })?;
        if version < 0 {
            return Err(ControlError::Version { version });
        }
        let control_type = ControlType::from_number(number);
        let coordinator_epoch = match control_type {
            ControlType::Abort | ControlType::Commit => {
                let value = value.unwrap_or_default();
                let too_short = ControlError::Value { bytes: value.len() };
                let (version, rest) = split_i16(value).ok_or(too_short)?;
                if version < 0 {
                    return Err(ControlError::Version { version });
                }
                Some(i32::from_be_bytes(*rest.first_chunk().ok_or(too_short)?))
            }
            _ => None,
        };
        Ok(ControlRecord { control_type, coordinator_epoch })
    }
}

fn split_i16(bytes: &[u8]) -> Option<(i16, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (i16::from_be_bytes(*number), rest))
}

/// How a transaction ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TransactionEnd {
    /// Its records count.
    Commit,
    /// Its records never were.
    Abort,
}

/// A control batch that ends the open transaction of a producer.
///
/// # Errors
/// [`BuildError`]; there is no input for which it fails.
pub fn transaction_marker(
    end: TransactionEnd,
    (id, epoch): (ProducerId, ProducerEpoch),
    coordinator_epoch: i32,
    now: TimestampMs,
) -> Result<Batch, BuildError> {
    let control_type = match end {
        TransactionEnd::Commit => ControlType::Commit,
        TransactionEnd::Abort => ControlType::Abort,
    };
    let [high, low] = control_type.number().to_be_bytes();
    let key = [0, 0, high, low];
    let [a, b, c, d] = coordinator_epoch.to_be_bytes();
    let value = [0, 0, a, b, c, d];
    let mut builder = BatchBuilder::new(BatchOptions { kind: BatchKind::Control, ..BatchOptions::default() });
    builder.set_producer(ProducerStamp { id, epoch, base_sequence: -1 });
    builder.append(now, Some(&key), Some(&value), NO_HEADERS)?;
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_is_an_error() {
        let (key, value) = ([0, 0, 0, 1], [0, 0, 0, 0, 0, 6]);
        let whole = ControlRecord { control_type: ControlType::Commit, coordinator_epoch: Some(6) };
        assert_eq!(ControlRecord::decode(Some(&key), Some(&value)), Ok(whole));
        for bytes in 0..4 {
            let cut = ControlRecord::decode(Some(&key[..bytes]), Some(&value));
            assert_eq!(cut, Err(ControlError::Key { bytes }));
        }
        for bytes in 0..6 {
            let cut = ControlRecord::decode(Some(&key), Some(&value[..bytes]));
            assert_eq!(cut, Err(ControlError::Value { bytes }));
        }
        assert_eq!(ControlRecord::decode(None, None), Err(ControlError::Key { bytes: 0 }));
    }

    #[test]
    fn types_that_have_no_value_of_ours_are_named() {
        let record = ControlRecord::decode(Some(&[0, 0, 0, 2]), None).unwrap();
        assert_eq!(record.control_type, ControlType::LeaderChange);
        let record = ControlRecord::decode(Some(&[0, 0, 1, 0]), None).unwrap();
        assert_eq!(record.control_type, ControlType::Unknown(256));
        for number in -1..10 {
            assert_eq!(ControlType::from_number(number).number(), number);
        }
    }
}
