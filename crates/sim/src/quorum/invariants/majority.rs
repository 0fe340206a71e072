//! Who leads commits only what a majority has acknowledged to it.
//!
//! Seen from outside, in what travels: an append tells how far its leader has committed, and of an entry of the leader's own term
//! (the Raft paper, 5.4.2) a majority must have acknowledged it by then. An answer counts from when it is given, which is before
//! the leader hears it. Who the voters are is an entry as well: where it is not known which of several is in force, any will do.

use std::collections::{BTreeMap, BTreeSet};

use millrace_quorum::{QuorumAnswer, QuorumAsk, QuorumRequest};
use millrace_schema::{QuorumPayload, QuorumPosition, QuorumSnapshot, QuorumVoter};

use super::who;

/// One set of voters, or two while one takes the place of the other.
type Configs = Vec<Vec<QuorumVoter>>;

/// What each leader was told.
#[derive(Debug, Default)]
pub(in crate::quorum) struct Majority {
    /// By ballot: how far each of the others has acknowledged.
    reached: BTreeMap<(u64, QuorumVoter), BTreeMap<QuorumVoter, u64>>,
    /// By index and term: the entries that were sent, with the voters where they are about those.
    entries: BTreeMap<u64, BTreeMap<u64, Option<Configs>>>,
    /// As far as any leader has committed.
    committed: u64,
    /// The first commit of a minority.
    pub(in crate::quorum) broken: Option<String>,
}

impl Majority {
    /// A leader sends entries, and says how far it has committed.
    pub(in crate::quorum) fn say(&mut self, request: &QuorumRequest) {
        let QuorumAsk::Append { entries, commit, .. } = &request.ask else { return };
        for entry in entries {
            let configs = match &entry.payload {
                QuorumPayload::Members(members) => Some(members.configs.clone()),
                QuorumPayload::Blank | QuorumPayload::Proposal { .. } => None,
            };
            self.entries.entry(entry.at.index).or_default().insert(entry.at.term, configs);
        }
        if let Some(commit) = commit.filter(|commit| commit.term == request.ballot.term) {
            self.judge(request, commit);
            self.committed = self.committed.max(commit.index);
        }
    }

    fn judge(&mut self, request: &QuorumRequest, commit: QuorumPosition) {
        let ballot = &request.ballot;
        let others = self.reached.get(&who(ballot)).into_iter().flatten();
        let others = others.filter(|(_, reached)| **reached >= commit.index).map(|(voter, _)| *voter);
        let have: BTreeSet<_> = others.chain([ballot.candidate]).collect();
        if self.broken.is_none() && !self.in_force().any(|configs| is_majority(&have, configs)) {
            let what = format!("{ballot:?} has committed {commit:?}, which only {have:?} have");
            self.broken = Some(what);
        }
    }

    /// The voters of the last entry that is certainly in force, and of all behind it.
    fn in_force(&self) -> impl Iterator<Item = &Configs> {
        let known = self.entries.range(..=self.committed).rev();
        let last = known.filter(|(_, terms)| terms.len() == 1 && terms.values().all(Option::is_some));
        let first = last.map(|(index, _)| *index).next().unwrap_or(0);
        self.entries.range(first..).flat_map(|(_, terms)| terms.values().flatten())
    }

    pub(in crate::quorum) fn hear(&mut self, request: &QuorumRequest, answer: &QuorumAnswer) {
        let at = match (&request.ask, answer) {
            (QuorumAsk::Append { previous, entries, .. }, QuorumAnswer::Appended) => {
                entries.last().map(|entry| entry.at).or(*previous)
            }
            (QuorumAsk::Append { .. }, QuorumAnswer::AppendedUpTo(at)) => *at,
            (QuorumAsk::Snapshot(bytes), QuorumAnswer::Installed(now))
                if who(now) == who(&request.ballot) =>
            {
                QuorumSnapshot::decode(bytes).ok().and_then(|snapshot| snapshot.last)
            }
            _ => None,
        };
        let Some(at) = at else { return };
        let reached = self.reached.entry(who(&request.ballot)).or_default().entry(request.to).or_default();
        *reached = (*reached).max(at.index);
    }
}

fn is_majority(have: &BTreeSet<QuorumVoter>, configs: &Configs) -> bool {
    let is_one =
        |voters: &Vec<_>| 2 * voters.iter().filter(|voter| have.contains(voter)).count() > voters.len();
    configs.iter().all(is_one)
}
