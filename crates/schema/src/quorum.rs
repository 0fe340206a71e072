//! What the voters of the metadata quorum write down: log entries, snapshots, votes, and what they have purged.
//!
//! ```text
//!   kind  record           newest version
//!   64    Blank entry      0
//!   65    Proposal entry   0
//!   66    Members entry    0
//!   67    Snapshot         0
//!   68    Vote             0
//!   69    Purged           0
//!   70    Request          0    (not stored: what voters say to each other)
//!   71    Answer           0
//! ```
//! The messages are in `proto/millrace/storage/v1/quorum.proto`. What is not known, or contradicts itself, is an error: a
//! voter that guesses what it promised is worse than none.

mod call;

use std::collections::BTreeMap;

use millrace_types::NodeId;

use crate::{Frame, FrameError, MetadataRecord, decode_frame, encode_frame, wire};

pub use call::{QuorumAnswer, QuorumAsk, QuorumRequest};

const BLANK: u16 = 64;
const PROPOSAL: u16 = 65;
const MEMBERS: u16 = 66;
const SNAPSHOT: u16 = 67;
const VOTE: u16 = 68;
const PURGED: u16 = 69;

/// The newest version of every kind; there are no newer ones yet.
const NEWEST: u16 = 0;

/// One life of a node's quorum files: a node that has lost them is another voter, which nobody counts yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QuorumVoter {
    /// The node.
    pub node: NodeId,
    /// Drawn when its quorum files were made.
    pub incarnation: u64,
}

/// A place in the quorum's log and who put it there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QuorumPosition {
    /// The term.
    pub term: u64,
    /// The leader of that term.
    pub leader: QuorumVoter,
    /// The place: entries are counted from 0 without gaps.
    pub index: u64,
}

/// Who votes and who learns.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuorumMembers {
    /// One set of voters, or two while one takes the place of the other.
    pub configs: Vec<Vec<QuorumVoter>>,
    /// Voters and learners with the addresses of their internal listeners.
    pub nodes: BTreeMap<QuorumVoter, String>,
}

/// What an entry is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QuorumPayload {
    /// Nothing.
    Blank,
    /// Facts, if the image is of version `base`; else nothing.
    Proposal {
        /// The version of the image that they were decided on.
        base: u64,
        /// The facts, one at least.
        records: Vec<MetadataRecord>,
    },
    /// Who votes and who learns from here on.
    Members(QuorumMembers),
}

/// An entry of the quorum's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumEntry {
    /// Where it stands.
    pub at: QuorumPosition,
    /// What it says.
    pub payload: QuorumPayload,
}

/// Everything up to an entry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuorumSnapshot {
    /// The last entry that is in it; `None` before there was any.
    pub last: Option<QuorumPosition>,
    /// Who votes and who learns.
    pub members: QuorumMembers,
    /// The entry that said so.
    pub members_at: Option<QuorumPosition>,
    /// The version of the image.
    pub version: u64,
    /// Facts that fold into the image.
    pub records: Vec<MetadataRecord>,
}

/// A vote, or the promise that goes with it: who has given one takes nothing from candidates and leaders below it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuorumBallot {
    /// The term.
    pub term: u64,
    /// Who wants to lead it.
    pub candidate: QuorumVoter,
    /// Whether a majority has voted for it.
    pub elected: bool,
}

/// Who this node is in the quorum, and whom it has voted for last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuorumVote {
    /// Itself.
    pub own: QuorumVoter,
    /// The newest vote, if there ever was one.
    pub ballot: Option<QuorumBallot>,
}

impl std::fmt::Display for QuorumVoter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{:016x}", self.node.0, self.incarnation)
    }
}

impl QuorumVoter {
    fn to_wire(self) -> wire::QuorumVoter {
        wire::QuorumVoter { node: self.node.0, incarnation: self.incarnation }
    }

    fn from_wire(frame: &Frame<'_>, message: Option<wire::QuorumVoter>) -> Result<QuorumVoter, FrameError> {
        let message = message.ok_or_else(|| frame.invalid("voter", "missing"))?;
        if message.node < 0 {
            return Err(frame.invalid("node", "negative"));
        }
        Ok(QuorumVoter { node: NodeId(message.node), incarnation: message.incarnation })
    }
}

impl QuorumPosition {
    fn to_wire(self) -> wire::QuorumPosition {
        wire::QuorumPosition { term: self.term, leader: Some(self.leader.to_wire()), index: self.index }
    }

    fn from_wire(
        frame: &Frame<'_>,
        message: Option<wire::QuorumPosition>,
    ) -> Result<QuorumPosition, FrameError> {
        let message = message.ok_or_else(|| frame.invalid("position", "missing"))?;
        // Offsets of a log are signed: an index beyond them has no place.
        if i64::try_from(message.index).is_err() {
            return Err(frame.invalid("index", "too large"));
        }
        let leader = QuorumVoter::from_wire(frame, message.leader)?;
        Ok(QuorumPosition { term: message.term, leader, index: message.index })
    }

    fn maybe_from_wire(
        frame: &Frame<'_>,
        message: Option<wire::QuorumPosition>,
    ) -> Result<Option<QuorumPosition>, FrameError> {
        message.map(|message| QuorumPosition::from_wire(frame, Some(message))).transpose()
    }
}

impl QuorumMembers {
    fn to_wire(&self) -> wire::QuorumMembers {
        let place = |voter: &QuorumVoter| self.nodes.keys().position(|node| node == voter);
        let numbers = |voters: &Vec<QuorumVoter>| {
            voters.iter().filter_map(|voter| u32::try_from(place(voter)?).ok()).collect()
        };
        let node = |(voter, address): (&QuorumVoter, &String)| wire::QuorumNode {
            voter: Some(voter.to_wire()),
            address: address.clone(),
        };
        wire::QuorumMembers {
            configs: self
                .configs
                .iter()
                .map(|config| wire::QuorumVoters { nodes: numbers(config) })
                .collect(),
            nodes: self.nodes.iter().map(node).collect(),
        }
    }

    fn from_wire(
        frame: &Frame<'_>,
        message: Option<wire::QuorumMembers>,
    ) -> Result<QuorumMembers, FrameError> {
        let message = message.ok_or_else(|| frame.invalid("members", "missing"))?;
        let mut voters = Vec::with_capacity(message.nodes.len());
        let mut nodes = BTreeMap::new();
        for node in message.nodes {
            let voter = QuorumVoter::from_wire(frame, node.voter)?;
            if nodes.insert(voter, node.address).is_some() {
                return Err(frame.invalid("nodes", "one of them twice"));
            }
            voters.push(voter);
        }
        let voter = |number: &u32| {
            let found = usize::try_from(*number).ok().and_then(|number| voters.get(number));
            found.copied().ok_or_else(|| frame.invalid("configs", "with a voter that is no node"))
        };
        let configs = message.configs.iter();
        let configs = configs
            .map(|config| config.nodes.iter().map(voter).collect::<Result<Vec<_>, _>>())
            .collect::<Result<_, _>>()?;
        Ok(QuorumMembers { configs, nodes })
    }
}

fn records_to_wire(records: &[MetadataRecord]) -> Vec<bytes::Bytes> {
    records.iter().map(|record| record.encode().into()).collect()
}

fn records_from_wire(records: &[bytes::Bytes]) -> Result<Vec<MetadataRecord>, FrameError> {
    records.iter().map(|record| MetadataRecord::decode(record)).collect()
}

/// A frame of the only kind that may stand here.
fn frame_of(kind: u16, bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    let frame = decode_frame(bytes)?;
    if frame.kind == kind { Ok(frame) } else { Err(frame.unknown_kind()) }
}

impl QuorumEntry {
    /// The bytes of the entry, as the value of a record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut message = wire::QuorumEntry { at: Some(self.at.to_wire()), ..wire::QuorumEntry::default() };
        let kind = match &self.payload {
            QuorumPayload::Blank => BLANK,
            QuorumPayload::Proposal { base, records } => {
                message.base = *base;
                message.records = records_to_wire(records);
                PROPOSAL
            }
            QuorumPayload::Members(members) => {
                message.members = Some(members.to_wire());
                MEMBERS
            }
        };
        encode_frame(kind, NEWEST, &message)
    }

    /// Reads the bytes of an entry.
    ///
    /// # Errors
    /// [`FrameError`] names the kind and the version, and the field that breaks its rule.
    pub fn decode(bytes: &[u8]) -> Result<QuorumEntry, FrameError> {
        let frame = decode_frame(bytes)?;
        if ![BLANK, PROPOSAL, MEMBERS].contains(&frame.kind) {
            return Err(frame.unknown_kind());
        }
        let message: wire::QuorumEntry = frame.message(NEWEST)?;
        let at = QuorumPosition::from_wire(&frame, message.at)?;
        let payload = match frame.kind {
            BLANK => QuorumPayload::Blank,
            PROPOSAL => {
                let records = records_from_wire(&message.records)?;
                if records.is_empty() {
                    return Err(frame.invalid("records", "none"));
                }
                QuorumPayload::Proposal { base: message.base, records }
            }
            _ => QuorumPayload::Members(QuorumMembers::from_wire(&frame, message.members)?),
        };
        Ok(QuorumEntry { at, payload })
    }
}

impl QuorumSnapshot {
    /// The bytes of the snapshot.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let message = wire::QuorumSnapshot {
            last: self.last.map(QuorumPosition::to_wire),
            members: Some(self.members.to_wire()),
            members_at: self.members_at.map(QuorumPosition::to_wire),
            version: self.version,
            records: records_to_wire(&self.records),
        };
        encode_frame(SNAPSHOT, NEWEST, &message)
    }

    /// Reads the bytes of a snapshot.
    ///
    /// # Errors
    /// As [`QuorumEntry::decode`].
    pub fn decode(bytes: &[u8]) -> Result<QuorumSnapshot, FrameError> {
        let frame = frame_of(SNAPSHOT, bytes)?;
        let message: wire::QuorumSnapshot = frame.message(NEWEST)?;
        Ok(QuorumSnapshot {
            last: QuorumPosition::maybe_from_wire(&frame, message.last)?,
            members: QuorumMembers::from_wire(&frame, message.members)?,
            members_at: QuorumPosition::maybe_from_wire(&frame, message.members_at)?,
            version: message.version,
            records: records_from_wire(&message.records)?,
        })
    }
}

impl QuorumBallot {
    fn to_wire(self) -> wire::QuorumBallot {
        wire::QuorumBallot {
            term: self.term,
            candidate: Some(self.candidate.to_wire()),
            elected: self.elected,
        }
    }

    fn from_wire(frame: &Frame<'_>, message: wire::QuorumBallot) -> Result<QuorumBallot, FrameError> {
        let candidate = QuorumVoter::from_wire(frame, message.candidate)?;
        Ok(QuorumBallot { term: message.term, candidate, elected: message.elected })
    }
}

impl QuorumVote {
    /// The bytes of the vote.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let ballot = self.ballot.map(QuorumBallot::to_wire);
        encode_frame(VOTE, NEWEST, &wire::QuorumVote { own: Some(self.own.to_wire()), ballot })
    }

    /// Reads the bytes of a vote.
    ///
    /// # Errors
    /// As [`QuorumEntry::decode`].
    pub fn decode(bytes: &[u8]) -> Result<QuorumVote, FrameError> {
        let frame = frame_of(VOTE, bytes)?;
        let message: wire::QuorumVote = frame.message(NEWEST)?;
        let ballot = message.ballot.map(|ballot| QuorumBallot::from_wire(&frame, ballot));
        let own = QuorumVoter::from_wire(&frame, message.own)?;
        Ok(QuorumVote { own, ballot: ballot.transpose()? })
    }
}

/// The bytes that say what was purged, `last` included.
#[must_use]
pub fn encode_quorum_purged(last: QuorumPosition) -> Vec<u8> {
    encode_frame(PURGED, NEWEST, &wire::QuorumPurged { last: Some(last.to_wire()) })
}

/// Reads what was purged.
///
/// # Errors
/// As [`QuorumEntry::decode`].
pub fn decode_quorum_purged(bytes: &[u8]) -> Result<QuorumPosition, FrameError> {
    let frame = frame_of(PURGED, bytes)?;
    let message: wire::QuorumPurged = frame.message(NEWEST)?;
    QuorumPosition::from_wire(&frame, message.last)
}

#[cfg(test)]
mod tests;
