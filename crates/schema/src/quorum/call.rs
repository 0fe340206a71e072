//! What voters say to each other.
//!
//! A request names the *voter* that it is for, not just the node: a node that has lost its files is another voter, and what
//! was meant for the one that it was must not count for it.

use bytes::Bytes;

use super::{NEWEST, QuorumBallot, QuorumEntry, QuorumPosition, QuorumVoter, frame_of};
use crate::wire::quorum_answer::Answer;
use crate::wire::quorum_request::Ask;
use crate::{Frame, FrameError, encode_frame, wire};

const REQUEST: u16 = 70;
const ANSWER: u16 = 71;

/// A request of one voter to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumRequest {
    /// Who is asked. Anybody else refuses.
    pub to: QuorumVoter,
    /// Who leads, or wants to.
    pub ballot: QuorumBallot,
    /// What.
    pub ask: QuorumAsk,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QuorumAsk {
    /// Take these entries; a heartbeat if there are none.
    Append {
        /// The entry before the first one.
        previous: Option<QuorumPosition>,
        /// In order, without gaps.
        entries: Vec<QuorumEntry>,
        /// Up to where entries are committed, as far as the leader knows.
        commit: Option<QuorumPosition>,
    },
    /// Vote for the candidate of the ballot.
    Vote {
        /// The candidate's last entry.
        last: Option<QuorumPosition>,
    },
    /// Take everything up to an entry: the bytes of a [`QuorumSnapshot`](crate::QuorumSnapshot).
    Snapshot(Bytes),
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QuorumAnswer {
    /// To an append: all of it is synced.
    Appended,
    /// To an append: what is up to here is synced.
    AppendedUpTo(Option<QuorumPosition>),
    /// To an append: another entry is in the place of `previous`, or none.
    Conflict,
    /// To an append: somebody newer has a promise of this voter.
    Newer(QuorumBallot),
    /// To a vote.
    Voted {
        /// The newest vote of the voter.
        ballot: QuorumBallot,
        /// Whether it is for who asked.
        granted: bool,
        /// The voter's last entry.
        last: Option<QuorumPosition>,
    },
    /// To a snapshot: the newest vote of the voter; the snapshot is in place if it is that of who sent it.
    Installed(QuorumBallot),
}

impl QuorumRequest {
    /// The bytes of the request.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let position = |at: &Option<QuorumPosition>| at.map(QuorumPosition::to_wire);
        let ask = match &self.ask {
            QuorumAsk::Append { previous, entries, commit } => Ask::Append(wire::QuorumAppend {
                previous: position(previous),
                entries: entries.iter().map(|entry| entry.encode().into()).collect(),
                commit: position(commit),
            }),
            QuorumAsk::Vote { last } => Ask::Vote(wire::QuorumCanvass { last: position(last) }),
            QuorumAsk::Snapshot(snapshot) => Ask::Snapshot(snapshot.clone()),
        };
        let message = wire::QuorumRequest {
            to: Some(self.to.to_wire()),
            ballot: Some(self.ballot.to_wire()),
            ask: Some(ask),
        };
        encode_frame(REQUEST, NEWEST, &message)
    }

    /// Reads the bytes of a request.
    ///
    /// # Errors
    /// [`FrameError`] names the kind and the version, and the field that breaks its rule.
    pub fn decode(bytes: &[u8]) -> Result<QuorumRequest, FrameError> {
        let frame = frame_of(REQUEST, bytes)?;
        let message: wire::QuorumRequest = frame.message(NEWEST)?;
        let position = |at| QuorumPosition::maybe_from_wire(&frame, at);
        let ask = match message.ask {
            None => return Err(frame.invalid("ask", "missing")),
            Some(Ask::Append(append)) => QuorumAsk::Append {
                previous: position(append.previous)?,
                entries: append
                    .entries
                    .iter()
                    .map(|entry| QuorumEntry::decode(entry))
                    .collect::<Result<_, _>>()?,
                commit: position(append.commit)?,
            },
            Some(Ask::Vote(vote)) => QuorumAsk::Vote { last: position(vote.last)? },
            Some(Ask::Snapshot(snapshot)) => QuorumAsk::Snapshot(snapshot),
        };
        let to = QuorumVoter::from_wire(&frame, message.to)?;
        Ok(QuorumRequest { to, ballot: ballot(&frame, message.ballot)?, ask })
    }
}

impl QuorumAnswer {
    /// The bytes of the answer.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let appended =
            |last: Option<QuorumPosition>| wire::QuorumAppended { last: last.map(QuorumPosition::to_wire) };
        let answer = match self {
            QuorumAnswer::Appended => Answer::Appended(appended(None)),
            QuorumAnswer::AppendedUpTo(last) => Answer::AppendedUpTo(appended(*last)),
            QuorumAnswer::Conflict => Answer::Conflict(appended(None)),
            QuorumAnswer::Newer(ballot) => Answer::Newer(ballot.to_wire()),
            QuorumAnswer::Voted { ballot, granted, last } => Answer::Voted(wire::QuorumVoted {
                ballot: Some(ballot.to_wire()),
                granted: *granted,
                last: last.map(QuorumPosition::to_wire),
            }),
            QuorumAnswer::Installed(ballot) => Answer::Installed(ballot.to_wire()),
        };
        encode_frame(ANSWER, NEWEST, &wire::QuorumAnswer { answer: Some(answer) })
    }

    /// Reads the bytes of an answer.
    ///
    /// # Errors
    /// As [`QuorumRequest::decode`].
    pub fn decode(bytes: &[u8]) -> Result<QuorumAnswer, FrameError> {
        let frame = frame_of(ANSWER, bytes)?;
        let message: wire::QuorumAnswer = frame.message(NEWEST)?;
        let position = |at| QuorumPosition::maybe_from_wire(&frame, at);
        Ok(match message.answer {
            None => return Err(frame.invalid("answer", "missing")),
            Some(Answer::Appended(_)) => QuorumAnswer::Appended,
            Some(Answer::AppendedUpTo(appended)) => QuorumAnswer::AppendedUpTo(position(appended.last)?),
            Some(Answer::Conflict(_)) => QuorumAnswer::Conflict,
            Some(Answer::Newer(newer)) => QuorumAnswer::Newer(ballot(&frame, Some(newer))?),
            Some(Answer::Voted(voted)) => QuorumAnswer::Voted {
                ballot: ballot(&frame, voted.ballot)?,
                granted: voted.granted,
                last: position(voted.last)?,
            },
            Some(Answer::Installed(newest)) => QuorumAnswer::Installed(ballot(&frame, Some(newest))?),
        })
    }
}

fn ballot(frame: &Frame<'_>, message: Option<wire::QuorumBallot>) -> Result<QuorumBallot, FrameError> {
    QuorumBallot::from_wire(frame, message.ok_or_else(|| frame.invalid("ballot", "missing"))?)
}
