//! What a consumer may be given: by a leader, or by a follower that is nearer (KIP-392).
//!
//! ```text
//!   ├──── served ────┤── empty: it comes ──┤── out of range: no leader ever had it
//!                    ▲ high watermark      ▲ the leader's end
//! ```
//! Only a leader says "out of range", and only when those in sync have fetched from it in its epoch: a follower, or a leader that
//! was replaced before it heard of its election, does not know what is committed elsewhere, and a consumer that hears it begins
//! anew somewhere else. What a later leader commits is of a later epoch. So a consumer that tells the epoch of what it has read is
//! never told "out of range" of what is there; one that tells no epoch at all may be, by a leader that is none any more.

use millrace_types::{LeaderEpoch, Offset};

use crate::divergence::{Comparison, EpochEnd, compare};
use crate::leader::Leader;
use crate::partition::LogFacts;
use crate::replica::Replica;

/// Where a consumer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The offset that it wants next.
    pub next: Offset,
    /// The leader epoch that it knows, if it does.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the record before `next`, if it has read one (KIP-320).
    pub last_epoch: Option<LeaderEpoch>,
}

/// What it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Served {
    /// Records from its position up to this offset; none if it is there already.
    UpTo(Offset),
    /// What it wants is not known here yet (Kafka's OFFSET_NOT_AVAILABLE): ask again, here or at the leader.
    NotAvailable,
    /// What it has read is not in this log (LOG_TRUNCATED).
    Truncated(EpochEnd),
    /// There never was such an offset, or it is gone (OFFSET_OUT_OF_RANGE).
    OutOfRange,
    /// It knows an earlier leader (FENCED_LEADER_EPOCH).
    Fenced,
    /// It knows a later leader (UNKNOWN_LEADER_EPOCH).
    Unknown,
    /// Nothing is known here of the partition.
    NotAReplica,
}

/// Decides a read. `found` is where the log has the position's `last_epoch` end.
#[must_use]
pub fn serve(replica: &Replica, position: Position, found: Option<EpochEnd>, log: LogFacts) -> Served {
    let Some(view) = replica.view() else { return Served::NotAReplica };
    match position.leader_epoch {
        Some(epoch) if epoch < view.leader_epoch => return Served::Fenced,
        Some(epoch) if epoch > view.leader_epoch => return Served::Unknown,
        _ => {}
    }
    let Position { next, last_epoch, .. } = position;
    if last_epoch.is_some_and(|epoch| epoch > view.leader_epoch) {
        // It has read what a later leader has written: whoever leads here does not any more, and does not know it.
        return Served::Unknown;
    }
    let readable = replica.high_watermark();
    #[cfg(feature = "teeth")]
    let readable = millrace_types::planted!(FollowerServesBeyond, if replica.follower().is_some() { log.held } else { readable }, else readable);
    if next < log.start {
        return Served::OutOfRange;
    }
    if next <= readable {
        return match last_epoch.map(|epoch| compare(next, epoch, found, readable.max(next))) {
            Some(Comparison::Parts(theirs)) => Served::Truncated(theirs),
            Some(Comparison::Agrees) | None => Served::UpTo(readable),
        };
    }
    let knows = replica.leader().is_some_and(Leader::is_confirmed);
    if knows && next > log.end { Served::OutOfRange } else { Served::NotAvailable }
}

#[cfg(test)]
mod tests;
