//! Identifiers: of clusters, nodes, topics, partitions, producers, and the epochs of leaders and brokers.

use std::fmt;

macro_rules! id_of_16_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// Reads 32 hexadecimal digits, upper or lower case, without separators.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                let digits = text.as_bytes();
                if digits.len() != 32 {
                    return None;
                }
                let mut bytes = [0; 16];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    let [high, low] = pair else { return None };
                    let high = char::from(*high).to_digit(16)?;
                    let low = char::from(*low).to_digit(16)?;
                    *byte = u8::try_from(high * 16 + low).ok()?;
                }
                Some($name(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id_of_16_bytes! {
    /// Identifies a topic for ever: a topic that is deleted and created again under the same name has another id.
    TopicId
}
id_of_16_bytes! {
    /// Identifies a cluster; drawn when its first node starts on an empty directory.
    ClusterId
}
id_of_16_bytes! {
    /// Identifies a data directory; drawn when it is formatted.
    DirectoryId
}

id_of_16_bytes! {
    /// Identifies one run of a broker; drawn when its process starts. Who registers again under the same one asks for
    /// the same registration, because an answer was lost.
    IncarnationId
}

impl TopicId {
    /// No topic. Also what a client sends when it knows a topic by name only.
    pub const ZERO: TopicId = TopicId([0; 16]);
    /// The id of `__cluster_metadata`, the same in every Kafka cluster (KIP-595).
    pub const CLUSTER_METADATA: TopicId = TopicId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
}

/// A running process of the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub i32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a partition within its topic, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionIndex(pub u32);

impl PartitionIndex {
    /// The wire form. Partition counts are bounded by [`crate::limits::PARTITIONS_PER_TOPIC_MAX`], so it always fits.
    #[must_use]
    pub fn get(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }

    /// A partition from its wire form; `None` if it is negative.
    #[must_use]
    pub fn new(value: i32) -> Option<PartitionIndex> {
        u32::try_from(value).ok().map(PartitionIndex)
    }
}

impl fmt::Display for PartitionIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One ordered log: a topic's id and a partition of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition of that topic.
    pub partition: PartitionIndex,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Counts the leaders of a partition; every batch carries the epoch of the leader that appended it (KIP-101).
///
/// A start after an unclean stop begins a new epoch, on a single node too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LeaderEpoch(pub i32);

impl LeaderEpoch {
    /// "No epoch known", as the protocols write it.
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);

    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> LeaderEpoch {
        LeaderEpoch(self.0.saturating_add(1))
    }
}

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the registrations of brokers: the cluster gives each number once, to one run of one broker (KIP-631).
///
/// What a replica did under an older epoch says nothing of the one that runs now: it may have lost records between the
/// two. So whoever joins the in-sync replicas is named with the epoch under which it was heard (KIP-903).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BrokerEpoch(pub i64);

impl BrokerEpoch {
    /// A broker that registered without one, before brokers were fenced. Given ones begin with 1.
    pub const NONE: BrokerEpoch = BrokerEpoch(-1);
}

impl fmt::Display for BrokerEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifies an idempotent producer (KIP-98).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProducerId(pub i64);

impl ProducerId {
    /// A batch of a producer that is not idempotent.
    pub const NONE: ProducerId = ProducerId(-1);
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Fences older incarnations of a producer id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProducerEpoch(pub i16);

impl ProducerEpoch {
    /// A batch of a producer that is not idempotent.
    pub const NONE: ProducerEpoch = ProducerEpoch(-1);
}

impl fmt::Display for ProducerEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_writes() {
        let id = TopicId([0xab; 16]);
        assert_eq!(TopicId::from_hex(&id.to_string()), Some(id));
        assert_eq!(TopicId::from_hex("abc"), None);
        assert_eq!(TopicId::from_hex(&"g".repeat(32)), None);
        assert_eq!(TopicId::from_hex("é".repeat(16).as_str()), None);
    }
}
