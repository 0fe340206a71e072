//! Records as they are sent and as they are read.

use std::sync::Arc;

use bytes::Bytes;
use millrace_record::Header;
use millrace_types::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicName};

/// A record to be sent.
///
/// ```
/// # use millrace_client::ProducerRecord;
/// let record = ProducerRecord::new("flights", "JFK 09:15").key("UA1545").header("source", "radar");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProducerRecord {
    /// The topic it goes to. Cloning an `Arc<str>` made once saves an allocation for each record.
    pub topic: Arc<str>,
    /// The partition; `None` lets the key decide (Kafka's murmur2), and without a key the producer.
    pub partition: Option<PartitionIndex>,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers, in order; names may repeat.
    pub headers: Vec<Header>,
    /// When it happened; `None` is the time of [`crate::Producer::send`].
    pub timestamp: Option<TimestampMs>,
}

impl ProducerRecord {
    /// A record with a value and nothing else.
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>, value: impl Into<Bytes>) -> ProducerRecord {
        let value = Some(value.into());
        let topic = topic.into();
        ProducerRecord { topic, partition: None, key: None, value, headers: Vec::new(), timestamp: None }
    }

    /// A record without a value: in a compacted topic it deletes `key`.
    #[must_use]
    pub fn tombstone(topic: impl Into<Arc<str>>, key: impl Into<Bytes>) -> ProducerRecord {
        ProducerRecord { key: Some(key.into()), value: None, ..ProducerRecord::new(topic, Bytes::new()) }
    }

    /// With a key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> ProducerRecord {
        self.key = Some(key.into());
        self
    }

    /// To that partition.
    #[must_use]
    pub fn partition(mut self, partition: PartitionIndex) -> ProducerRecord {
        self.partition = Some(partition);
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) -> ProducerRecord {
        self.headers.push(Header { key: name.into(), value: Some(value.into()) });
        self
    }

    /// With the time at which it happened.
    #[must_use]
    pub fn timestamp(mut self, timestamp: TimestampMs) -> ProducerRecord {
        self.timestamp = Some(timestamp);
        self
    }

    /// The bytes of key, value and headers.
    pub(crate) fn payload_bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers = self
            .headers
            .iter()
            .map(|header| header.key.len() + length(&header.value) + HEADER_OVERHEAD_BYTES);
        length(&self.key) + length(&self.value) + headers.sum::<usize>()
    }
}

/// The most that the two lengths of a header take, as varints.
const HEADER_OVERHEAD_BYTES: usize = 10;

/// Where a record came to lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordMetadata {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset. `None` with [`crate::Durability::None`], and for a retry that the broker recognised too late to
    /// tell where the first attempt went.
    pub offset: Option<Offset>,
    /// The record's time: its own, or the broker's where the topic says so.
    pub timestamp: TimestampMs,
}

/// A record that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumedRecord {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// Its place in the partition.
    pub offset: Offset,
    /// Its time; -1 for none.
    pub timestamp: TimestampMs,
    /// The epoch of the leader that took it, for [`crate::OffsetCommit`].
    pub leader_epoch: LeaderEpoch,
    /// The key, if it has one. Key, value and headers share the memory of the batch: copy what is kept for long.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<Header>,
}
