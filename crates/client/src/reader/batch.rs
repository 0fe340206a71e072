//! Batches as a reader hands them out, and the records in them.

use millrace_record::{Batch, RecordIter};
use millrace_types::{LeaderEpoch, Offset, PartitionIndex, TopicName};
use tokio::sync::OwnedSemaphorePermit;

use super::ReadError;
use crate::ConsumedRecord;

/// A batch that was read, its checksum checked, still compressed as it is stored.
#[derive(Debug)]
pub struct ConsumedBatch {
    pub(crate) topic: TopicName,
    pub(crate) partition: PartitionIndex,
    pub(crate) batch: Batch,
    pub(crate) from: Offset,
    pub(crate) end: Option<Offset>,
    /// The reader's prefetch memory, given back with the batch.
    #[expect(dead_code, reason = "held for its Drop")]
    pub(crate) memory: Option<OwnedSemaphorePermit>,
}

impl ConsumedBatch {
    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> PartitionIndex {
        self.partition
    }

    /// The batch as stored. It may hold records outside of what was asked for, which [`ConsumedBatch::records`]
    /// leaves out.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The offset behind the last record that was asked for: where to go on.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        let next = self.batch.next_offset();
        self.end.map_or(next, |end| end.min(next))
    }

    /// Decompresses the batch; returns those of its records that were asked for.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] if the batch does not decompress. A record that cannot be decoded is an error of the
    /// iterator, which ends with it.
    pub fn records(&self) -> Result<ConsumedRecords, ReadError> {
        let place = Place {
            topic: self.topic.clone(),
            partition: self.partition,
            leader_epoch: self.batch.leader_epoch(),
            from: self.from,
            end: self.end,
            next: self.from.max(self.batch.base_offset()),
        };
        match self.batch.records() {
            Ok(records) => Ok(ConsumedRecords { records: records.into_iter(), place, is_done: false }),
            Err(error) => Err(place.corrupt(error.to_string())),
        }
    }
}

/// The records of a batch that were asked for, in order.
#[derive(Debug)]
pub struct ConsumedRecords {
    records: RecordIter,
    place: Place,
    is_done: bool,
}

#[derive(Debug)]
struct Place {
    topic: TopicName,
    partition: PartitionIndex,
    leader_epoch: LeaderEpoch,
    from: Offset,
    end: Option<Offset>,
    next: Offset,
}

impl Place {
    fn corrupt(&self, reason: String) -> ReadError {
        ReadError::Corrupt { topic: self.topic.clone(), partition: self.partition, offset: self.next, reason }
    }
}

impl Iterator for ConsumedRecords {
    type Item = Result<ConsumedRecord, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_done {
            let record = match self.records.next() {
                Some(Ok(record)) => record,
                Some(Err(error)) => {
                    self.is_done = true;
                    return Some(Err(self.place.corrupt(error.to_string())));
                }
                None => break,
            };
            if record.offset < self.place.from {
                continue;
            }
            if self.place.end.is_some_and(|end| end <= record.offset) {
                break;
            }
            self.place.next = record.offset.next();
            return Some(Ok(ConsumedRecord {
                topic: self.place.topic.clone(),
                partition: self.place.partition,
                offset: record.offset,
                timestamp: record.timestamp,
                leader_epoch: self.place.leader_epoch,
                key: record.key,
                value: record.value,
                headers: record.headers,
            }));
        }
        self.is_done = true;
        None
    }
}
