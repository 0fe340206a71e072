//! Where two logs part: by epoch and end offset, never by the high watermark (KIP-101, KIP-279, KIP-320).
//!
//! ```text
//!   leader     1 1 1 1 │ 3 3              a fetch says: next = 6, the record before it is of epoch 2
//!   follower   1 1 1 1   2 2              the leader:   the last epoch up to 2 is 1, it ended at 4   ─► cut to 4
//!                        ▲ parts here
//! ```
//! A leader compares what a fetch says with the epochs of its own log. If they part, the follower cuts to the end of the epoch
//! that both know, in whichever log it ended first, and asks again. Each round takes away at least one epoch, so it ends.

use millrace_types::{LeaderEpoch, Offset};

/// Where an epoch ended in a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    /// The largest epoch of the log at or below the one asked for.
    pub epoch: LeaderEpoch,
    /// The first offset that does not belong to it.
    pub end: Offset,
}

/// What a leader finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// The follower's log is a prefix of this one.
    Agrees,
    /// It is not.
    Parts(EpochEnd),
}

/// Holds what a fetch says against the leader's log.
///
/// `found` is where the leader's log has `last_epoch` end, or the largest epoch below it; `None` if it knows no such epoch,
/// because all of its own are later, or earlier. `end` is the leader's.
#[must_use]
pub fn compare(next: Offset, last_epoch: LeaderEpoch, found: Option<EpochEnd>, end: Offset) -> Comparison {
    if last_epoch == LeaderEpoch::NONE {
        // There is nothing before `next` that could differ.
        return if next <= end {
            Comparison::Agrees
        } else {
            Comparison::Parts(EpochEnd { epoch: last_epoch, end })
        };
    }
    let found = found.unwrap_or(EpochEnd { epoch: last_epoch, end });
    if found.epoch < last_epoch || found.end < next { Comparison::Parts(found) } else { Comparison::Agrees }
}

/// Where a follower cuts its log: `theirs` is what the leader has said, `ours` where its own log has that epoch end, or the
/// largest one below it (`None` if it knows none at or above it).
#[must_use]
pub fn cut(theirs: EpochEnd, ours: Option<EpochEnd>, log: (Offset, Offset)) -> Offset {
    let (start, end) = log;
    let ours = ours.map_or(end, |ours| ours.end);
    // The leader's end of a later epoch says nothing of an earlier one, but it is no smaller than that one's.
    theirs.end.min(ours).max(start).min(end)
}

#[cfg(test)]
mod tests;
