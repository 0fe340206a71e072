//! What a step asks its driver to do.

use millrace_types::{LeaderEpoch, NodeId, Offset};

use crate::divergence::EpochEnd;
use crate::fetch::{Fetch, FetchId, Fetched};
use crate::in_sync::Alter;

/// Names an append that waits to be committed. Given by the driver.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AppendId(pub u64);

/// Why it is not known whether an append is committed, or will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// Too few replicas are in sync since (Kafka's NOT_ENOUGH_REPLICAS_AFTER_APPEND).
    NotEnoughReplicas,
    /// Another broker leads now.
    NotLeader,
}

/// Why a replica does nothing any more: going on would break what replication promises. For an operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Halt {
    /// The leader's log parts from this one below what is known to be committed, and nobody has commanded that.
    #[error("the leader's log differs below the high watermark {high_watermark}: it would be cut to {to}")]
    CutBelowHighWatermark {
        /// Where it would have to be cut.
        to: Offset,
        /// What is known to be committed.
        high_watermark: Offset,
    },
}

/// What the driver does, in the order of the list, each before the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Begin a leader epoch at the end of the log, durably.
    BeginEpoch(LeaderEpoch),
    /// Lead no longer: refuse what is queued to be appended.
    Follow,
    /// Cut the log to this offset, durably, then tell [`crate::FollowerEvent::Log`].
    Truncate {
        /// The first offset that goes.
        to: Offset,
        /// Whether an unclean election was commanded, so that this may reach below the high watermark.
        below_high_watermark: bool,
    },
    /// Empty the log: it starts and ends here. Then tell [`crate::FollowerEvent::Log`].
    Reset(Offset),
    /// Append the batches of the answer that this step was given, then tell [`crate::FollowerEvent::Log`].
    Append {
        /// Where the first of them belongs: the log's end.
        from: Offset,
    },
    /// Records before this offset are not readable any more.
    Trim(Offset),
    /// What lies below this is committed.
    HighWatermark(Offset),
    /// Ask the leader.
    Fetch {
        /// Who leads.
        to: NodeId,
        /// What to send.
        fetch: Fetch,
    },
    /// Answer a follower. To records the driver adds what the log has from the offset asked for.
    Answer {
        /// Who asked.
        to: NodeId,
        /// What it is told.
        answer: Fetched,
    },
    /// Find this log's own end of the epoch, and step [`crate::FollowerEvent::Diverged`] with both.
    LookUp {
        /// The fetch that was answered.
        fetch: FetchId,
        /// What the leader's log has.
        theirs: EpochEnd,
    },
    /// Ask the controller to change the in-sync replicas.
    Alter(Alter),
    /// The append is committed: tell its producer.
    Committed(AppendId),
    /// Nobody knows what becomes of the append: tell its producer.
    InDoubt(AppendId, Doubt),
    /// Stop, and let somebody look.
    Halted(Halt),
}
