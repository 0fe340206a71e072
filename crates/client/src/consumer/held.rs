//! One partition that the member holds: how far it was handed out, and how far the application is done with it.

use std::fmt;

use millrace_types::{LeaderEpoch, Offset, PartitionIndex, TopicName};

use crate::Position;

/// A partition of a topic, by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AssignedPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
}

impl fmt::Display for AssignedPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Where a partition stands between being assigned and being let go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Assigned; the application was not told yet.
    Announced,
    /// The application is being told.
    Opening,
    /// It is read.
    Open,
    /// To be let go. Nothing of it is handed out any more.
    Doomed,
    /// The application is being told that it goes.
    Parting,
}

/// Where to begin while the position is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Begin {
    /// At what the group has committed.
    Committed,
    /// There.
    At(Position),
}

/// What may be committed of a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub(super) offset: Offset,
    pub(super) leader_epoch: Option<LeaderEpoch>,
    pub(super) metadata: String,
}

/// A partition that is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) name: AssignedPartition,
    /// Counts the times that partitions were taken up: what was meant for an earlier one does not count for this.
    pub(super) hold: u64,
    pub(super) stage: Stage,
    pub(super) begin: Begin,
    /// The next offset to be handed out.
    pub(super) position: Option<Offset>,
    /// The lowest offset that was handed out since it is held, or would have been.
    pub(super) floor: Option<Offset>,
    pub(super) last_epoch: Option<LeaderEpoch>,
    /// What the application is done with.
    pub(super) done: Option<Mark>,
    /// What the broker has acknowledged.
    pub(super) committed: Option<Offset>,
    pub(super) is_paused: bool,
    /// An error was told: it is not read until somebody says where to go on.
    pub(super) has_failed: bool,
    /// The fetching that fills the buffer for it; what comes of another is thrown away.
    pub(super) feed: Option<u64>,
    pub(super) high_watermark: Option<Offset>,
}

impl Held {
    pub(super) fn new(name: AssignedPartition, hold: u64) -> Held {
        Held {
            name,
            hold,
            stage: Stage::Announced,
            begin: Begin::Committed,
            position: None,
            floor: None,
            last_epoch: None,
            done: None,
            committed: None,
            is_paused: false,
            has_failed: false,
            feed: None,
            high_watermark: None,
        }
    }

    /// Whether it is on its way out.
    pub(super) fn is_going(&self) -> bool {
        matches!(self.stage, Stage::Doomed | Stage::Parting)
    }

    /// Whether it should be fetched.
    pub(super) fn wants_feed(&self) -> bool {
        self.stage == Stage::Open
            && !self.is_paused
            && !self.has_failed
            && self.position.is_some()
            && self.feed.is_none()
    }

    /// Whether somebody has to find out where to begin.
    pub(super) fn wants_start(&self) -> bool {
        self.stage == Stage::Open && !self.has_failed && self.position.is_none()
    }

    /// Everything that was handed out is done with.
    pub(super) fn settle(&mut self) {
        if let Some(offset) = self.position {
            self.done = Some(Mark { offset, leader_epoch: self.last_epoch, metadata: String::new() });
        }
    }

    /// What there is to commit automatically.
    pub(super) fn due(&self) -> Option<Mark> {
        self.done.clone().filter(|done| self.committed != Some(done.offset))
    }
}
