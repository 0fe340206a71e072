//! What followers and leaders say to each other.

use millrace_types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, TopicPartition};

use crate::divergence::EpochEnd;

/// Tells the fetches of a follower apart, so that a late answer is known for what it is: counted from one in each run of its
/// broker, below the broker's epoch, which no two runs have in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FetchId(pub u64);

impl FetchId {
    /// Bits of the count. Whatever is as many fetches old has been answered.
    const COUNT_BITS: u32 = 40;

    pub(crate) fn of(run: BrokerEpoch, count: u64) -> FetchId {
        FetchId((run.0.cast_unsigned() << FetchId::COUNT_BITS) | (count & ((1 << FetchId::COUNT_BITS) - 1)))
    }
}

/// A follower asks for what comes next, and says how far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fetch {
    /// Its number.
    pub id: FetchId,
    /// The partition that it means.
    pub partition: TopicPartition,
    /// Who asks.
    pub replica: NodeId,
    /// Under which registration.
    pub broker_epoch: BrokerEpoch,
    /// Which leader it believes to speak to.
    pub leader_epoch: LeaderEpoch,
    /// The first offset that it has not written.
    pub next: Offset,
    /// The epoch of the record before that; [`LeaderEpoch::NONE`] if it has none.
    pub last_epoch: LeaderEpoch,
    /// The first offset that it does not hold. Only this counts towards the high watermark.
    pub held: Offset,
}

/// What a fetch is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// The fetch.
    pub id: FetchId,
    /// The partition.
    pub partition: TopicPartition,
    /// Of which leader.
    pub leader_epoch: LeaderEpoch,
    /// What it says.
    pub answer: FetchAnswer,
}

/// The answers of a leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchAnswer {
    /// The two logs agree before `from`; what the leader's has from there on comes along.
    Records {
        /// As asked.
        from: Offset,
        /// What the leader knows to be committed.
        high_watermark: Offset,
        /// The leader's first readable offset.
        log_start: Offset,
    },
    /// The two logs part: this is where the epoch asked for, or the last one before it, ended in the leader's.
    Diverging(EpochEnd),
    /// What was asked for is not there any more.
    BelowStart {
        /// The leader's first readable offset.
        log_start: Offset,
    },
    /// No.
    Refused(FetchRefusal),
}

/// Why a fetch is refused. Nothing that it says was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchRefusal {
    /// It means a topic that had this one's name.
    OtherTopic,
    /// It was meant for an earlier leader.
    FencedLeaderEpoch,
    /// It was meant for a later leader: the metadata have not come here yet.
    UnknownLeaderEpoch,
    /// Its sender has registered again since.
    StaleBrokerEpoch,
    /// Its sender is no replica, as far as is known here.
    NotAReplica,
    /// This broker does not lead.
    NotLeader,
}
