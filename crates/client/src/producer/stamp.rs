//! Puts a producer's identity on a batch that was already built.

use bytes::{Bytes, BytesMut};
use millrace_record::{BatchError, BatchHeader, CRC_START, HEADER_BYTES, ProducerStamp, crc32c};
use millrace_types::{ProducerEpoch, ProducerId};

/// Who a producer is to the brokers (KIP-98).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
}

impl Identity {
    /// The same producer one epoch later; `None` when the epochs are used up.
    pub(crate) fn next_epoch(self) -> Option<Identity> {
        let epoch = self.epoch.0.checked_add(1).map(ProducerEpoch)?;
        Some(Identity { id: self.id, epoch })
    }

    /// This identity with a sequence.
    pub(crate) fn at(self, base_sequence: i32) -> ProducerStamp {
        ProducerStamp { id: self.id, epoch: self.epoch, base_sequence }
    }
}

/// The batch with another stamp and the checksum that belongs to it. The records stay as they are, so nothing is
/// compressed again.
pub(crate) fn restamp(batch: &Bytes, stamp: ProducerStamp) -> Result<Bytes, BatchError> {
    let mut header = BatchHeader::parse(batch)?;
    header.producer_id = stamp.id.0;
    header.producer_epoch = stamp.epoch.0;
    header.base_sequence = stamp.base_sequence;
    let mut bytes = BytesMut::with_capacity(batch.len());
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(batch.get(HEADER_BYTES..).unwrap_or_default());
    header.crc = crc32c(bytes.get(CRC_START..).unwrap_or_default());
    if let Some(head) = bytes.first_chunk_mut::<HEADER_BYTES>() {
        *head = header.encode();
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use millrace_record::{Batch, BatchBuilder, BatchOptions, Checks, Compression, NO_HEADERS, Origin};
    use millrace_types::TimestampMs;

    use super::*;

    #[test]
    fn a_restamped_batch_is_whole_and_holds_the_same_records() {
        for compression in Compression::ALL {
            let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
            for n in 0..10 {
                builder.append(TimestampMs(n), Some(b"key"), Some(&[7; 100]), NO_HEADERS).unwrap();
            }
            let batch = builder.build().unwrap();
            let identity = Identity { id: ProducerId(5), epoch: ProducerEpoch(3) };
            let stamped = restamp(batch.bytes(), identity.at(i32::MAX)).unwrap();
            let checks = Checks { bytes_max: 1 << 20, origin: Origin::Client };
            let stamped = Batch::check(stamped, &checks).unwrap();
            assert_eq!(stamped.producer(), Some(identity.at(i32::MAX)));
            let records = |batch: &Batch| batch.records().unwrap().into_iter().collect::<Vec<_>>();
            assert_eq!(records(&stamped), records(&batch), "{compression}");
        }
    }

    #[test]
    fn epochs_end() {
        let last = Identity { id: ProducerId(5), epoch: ProducerEpoch(i16::MAX) };
        assert_eq!(last.next_epoch(), None);
    }
}
