//! What a replica is told: by the metadata, by its log, by the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use millrace_types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, TopicPartition};

/// A time in milliseconds, counted from anywhere, that never goes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// The milliseconds since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Counts the changes of a partition in the metadata: of leader, replicas, in-sync replicas and their minimum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PartitionEpoch(pub i32);

impl PartitionEpoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> PartitionEpoch {
        PartitionEpoch(self.0.saturating_add(1))
    }
}

impl fmt::Display for PartitionEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the committed metadata say of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionView {
    /// Which partition. A topic that was deleted and made again under its name has another id.
    pub id: TopicPartition,
    /// Who leads it.
    pub leader: Option<NodeId>,
    /// Counts the leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts the changes of all this.
    pub partition_epoch: PartitionEpoch,
    /// Who has it.
    pub replicas: BTreeSet<NodeId>,
    /// Which of them are in sync.
    pub isr: BTreeSet<NodeId>,
    /// How many must be, for anything to be committed (`min.insync.replicas`).
    pub isr_min: usize,
    /// The epoch of the newest leader that was elected by command although records may be lost with that. Only under
    /// such a leader, or a later one, may a replica cut off what it knows to be committed.
    pub unclean_epoch: Option<LeaderEpoch>,
}

impl PartitionView {
    /// Whether enough replicas are in sync for anything to be committed.
    #[must_use]
    pub fn can_commit(&self) -> bool {
        self.isr.len() >= self.isr_min
    }
}

/// What the metadata say of a broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BrokerView {
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// Whether it is neither fenced nor about to stop: only then may it join the in-sync replicas.
    pub may_join: bool,
}

/// What the metadata say of all brokers.
pub type Brokers = BTreeMap<NodeId, BrokerView>;

/// The ends of a log at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogFacts {
    /// First readable offset.
    pub start: Offset,
    /// First offset that is not held as the topic's sync mode wants it before it is acknowledged.
    pub held: Offset,
    /// First unwritten offset.
    pub end: Offset,
    /// The epoch of the last record; [`LeaderEpoch::NONE`] without one.
    pub last_epoch: LeaderEpoch,
}

/// The times that replication goes by, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// How long a follower may be behind before it is not in sync any more (`replica.lag.time.max.ms`).
    pub lag_ms_max: u64,
    /// After which time a request that was not answered is sent again, and one that was refused is made anew.
    pub retry_ms: u64,
    /// How long a follower that has everything waits before it asks again. A driver whose leader holds such fetches back
    /// until there is something may set 0.
    pub idle_ms: u64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing { lag_ms_max: 10_000, retry_ms: 1_000, idle_ms: 0 }
    }
}
