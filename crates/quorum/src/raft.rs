//! openraft's types, and how ours become its and back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use millrace_schema::{
    MetadataRecord, QuorumBallot, QuorumEntry, QuorumMembers, QuorumPayload, QuorumPosition, QuorumVoter,
};
use millrace_types::NodeId;
use openraft::anyerror::AnyError;
use openraft::impls::OneshotResponder;
use openraft::{
    CommittedLeaderId, Entry, EntryPayload, ErrorSubject, ErrorVerb, LogId, Membership, RaftTypeConfig,
    StorageError, StorageIOError, Vote,
};

use crate::runtime::EnvRuntime;

/// What openraft is made of here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Consensus;

impl RaftTypeConfig for Consensus {
    type D = Proposal;
    type R = Outcome;
    type NodeId = RaftId;
    type Node = Address;
    type Entry = Entry<Consensus>;
    type SnapshotData = Bytes;
    type AsyncRuntime = EnvRuntime;
    type Responder = OneshotResponder<Consensus>;
}

/// Facts under the condition that the image is of version `base`.
///
/// The condition is what keeps a decision from being folded into another image than it was taken on, whoever led when it
/// was taken and whoever when it was written: every node checks it when it applies the entry, with the same answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Proposal {
    pub(crate) base: u64,
    pub(crate) records: Vec<MetadataRecord>,
}

/// What applying an entry has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// An entry without facts.
    Nothing,
    /// The facts are in the image.
    Folded,
    /// The image was another one by then: nothing was folded.
    Stale,
}

/// A voter, as openraft knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RaftId(pub(crate) QuorumVoter);

impl Default for RaftId {
    fn default() -> RaftId {
        RaftId(QuorumVoter { node: NodeId(0), incarnation: 0 })
    }
}

impl fmt::Display for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where the internal listener of a voter is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Address(pub(crate) String);

pub(crate) type RaftLogId = LogId<RaftId>;
pub(crate) type RaftVote = Vote<RaftId>;
pub(crate) type RaftMembership = Membership<RaftId, Address>;
pub(crate) type RaftStorageError = StorageError<RaftId>;

/// Ours of openraft's.
pub(crate) fn position_of(id: &RaftLogId) -> QuorumPosition {
    QuorumPosition { term: id.leader_id.term, leader: id.leader_id.node_id.0, index: id.index }
}

/// openraft's of ours.
pub(crate) fn log_id_of(at: &QuorumPosition) -> RaftLogId {
    LogId::new(CommittedLeaderId::new(at.term, RaftId(at.leader)), at.index)
}

/// Ours of openraft's.
pub(crate) fn ballot_of(vote: &RaftVote) -> QuorumBallot {
    let leader = vote.leader_id();
    QuorumBallot { term: leader.term, candidate: leader.node_id.0, elected: vote.is_committed() }
}

/// openraft's of ours.
pub(crate) fn vote_of(ballot: &QuorumBallot) -> RaftVote {
    let candidate = RaftId(ballot.candidate);
    if ballot.elected {
        Vote::new_committed(ballot.term, candidate)
    } else {
        Vote::new(ballot.term, candidate)
    }
}

/// Ours of openraft's.
pub(crate) fn members_of(membership: &RaftMembership) -> QuorumMembers {
    let configs = membership.get_joint_config().iter();
    QuorumMembers {
        configs: configs.map(|config| config.iter().map(|id| id.0).collect()).collect(),
        nodes: membership.nodes().map(|(id, address)| (id.0, address.0.clone())).collect(),
    }
}

/// openraft's of ours.
pub(crate) fn membership_of(members: &QuorumMembers) -> RaftMembership {
    let configs: Vec<BTreeSet<RaftId>> =
        members.configs.iter().map(|config| config.iter().copied().map(RaftId).collect()).collect();
    let nodes: BTreeMap<RaftId, Address> =
        members.nodes.iter().map(|(voter, address)| (RaftId(*voter), Address(address.clone()))).collect();
    Membership::new(configs, nodes)
}

/// Ours of openraft's.
pub(crate) fn entry_of(entry: &Entry<Consensus>) -> QuorumEntry {
    let payload = match &entry.payload {
        EntryPayload::Blank => QuorumPayload::Blank,
        EntryPayload::Normal(Proposal { base, records }) => {
            QuorumPayload::Proposal { base: *base, records: records.clone() }
        }
        EntryPayload::Membership(membership) => QuorumPayload::Members(members_of(membership)),
    };
    QuorumEntry { at: position_of(&entry.log_id), payload }
}

/// openraft's of ours.
pub(crate) fn raft_entry_of(entry: QuorumEntry) -> Entry<Consensus> {
    let payload = match entry.payload {
        QuorumPayload::Blank => EntryPayload::Blank,
        QuorumPayload::Proposal { base, records } => EntryPayload::Normal(Proposal { base, records }),
        QuorumPayload::Members(members) => EntryPayload::Membership(membership_of(&members)),
    };
    Entry { log_id: log_id_of(&entry.at), payload }
}

/// What openraft must hear when the storage fails: it stops at once.
pub(crate) fn storage_error(
    subject: ErrorSubject<RaftId>,
    verb: ErrorVerb,
    error: impl fmt::Display,
) -> RaftStorageError {
    StorageIOError::new(subject, verb, AnyError::error(error)).into()
}
