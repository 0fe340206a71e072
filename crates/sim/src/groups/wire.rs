//! What members ask of a coordinator, what they are told, and where that goes.

use std::collections::BTreeSet;

use millrace_group::consumer::{Assignment, Leaving};
use millrace_group::{Committer, GroupEpoch, InstanceId, MemberId, Profile, Subscription};
use millrace_types::{TopicId, TopicName, TopicPartition};

/// Counts the events of a run: what has the larger number happened later.
pub(crate) type Tick = u64;

/// A connection of a member. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub(crate) struct StreamNo(pub(crate) u64);

/// A request. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub(crate) struct RequestNo(pub(crate) u64);

/// What a member says of its partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Progress {
    pub(crate) epoch: GroupEpoch,
    pub(crate) heard: u64,
    pub(crate) owned: BTreeSet<TopicPartition>,
}

/// A position that is committed. The text is another one in every commit, so that a fetch tells whose value it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    pub(crate) partition: TopicPartition,
    pub(crate) offset: u64,
    pub(crate) text: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    /// The first message of a stream.
    Join {
        member: MemberId,
        profile: Profile,
    },
    /// The first message of a stream of who is a member already.
    Resume {
        member: MemberId,
        profile: Profile,
        progress: Progress,
    },
    Heartbeat {
        member: MemberId,
        instance: Option<InstanceId>,
        progress: Progress,
        wants: Option<Subscription>,
    },
    Leave {
        member: MemberId,
        instance: Option<InstanceId>,
        epoch: GroupEpoch,
        leaving: Leaving,
    },
    /// Beside any stream.
    Commit {
        who: Committer,
        position: Position,
    },
    /// Beside any stream.
    Fetch {
        partition: TopicPartition,
    },
}

/// Why something is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum No {
    /// It is no member, or none with that lasting name.
    Unknown,
    /// A newer life has its lasting name.
    Fenced,
    /// It must begin anew.
    FencedEpoch,
    /// A commit of another epoch, or of no member where there are some.
    Stale,
    /// There is no such partition.
    Nowhere,
    /// Another stream has taken the place of this one.
    StreamOver,
    /// Not now, and certainly nothing happened.
    Unavailable,
    /// It may have happened, or may happen yet.
    InDoubt,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    Assignment(Assignment),
    /// The commit is taken, or the member has left.
    Done,
    /// The newest commit: its offset and its text.
    Committed(Option<(u64, String)>),
    No(No),
}

/// To whom something is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Address {
    /// Who asked.
    Request(RequestNo),
    /// Whoever holds the stream, unasked.
    Stream(StreamNo),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Letter {
    pub(crate) to: Address,
    pub(crate) told: Told,
    /// The member that it is about, where it is an answer on behalf of one.
    pub(crate) member: Option<MemberId>,
}

/// A topic that exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    pub(crate) id: TopicId,
    pub(crate) partitions: u32,
}

/// What happens to topics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum TopicChange {
    Create(TopicName, u32),
    Grow(TopicName, u32),
    Delete(TopicName),
}
