//! What a voter must not forget: its votes and its log.
//!
//! Every answer waits for the sync of what it promises, and one write is done before the next begins: openraft calls from
//! one task, and nothing here goes on behind its back.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use millrace_env::{Env, RngExt};
use millrace_log::Log;
use millrace_schema::{QuorumEntry, QuorumPosition, QuorumVote, QuorumVoter};
use millrace_types::NodeId;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{Entry, ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::entries::{Entries, EntriesError};
use crate::files::{FileError, QuorumFiles};
use crate::raft::{
    Consensus, RaftLogId, RaftStorageError, RaftVote, ballot_of, entry_of, log_id_of, position_of,
    raft_entry_of, storage_error, vote_of,
};
use crate::runtime::blocking;
use crate::state_machine::Covered;

/// Why a node cannot take part with the files that it has. Nothing is repaired by guessing: a voter that has forgotten
/// a promise would give it twice. Such a node takes its quorum files out of the way and joins as a new voter.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// One of the files.
    #[error(transparent)]
    File(#[from] FileError),
    /// The log.
    #[error(transparent)]
    Entries(#[from] EntriesError),
    /// The log is damaged where it is needed.
    #[error("the quorum's log is damaged: {0}")]
    LogDamaged(String),
    /// There is a log, but nobody knows whom the node has voted for.
    #[error("quorum.vote is missing, but there is {0}")]
    VoteMissing(&'static str),
    /// The files are those of another node.
    #[error("the quorum files belong to node {found}, this is node {expected}")]
    OtherNode {
        /// The node that they belong to.
        found: i32,
        /// This node.
        expected: i32,
    },
    /// Entries are missing between what was purged or put into a snapshot and what is in the log.
    #[error("the quorum's log begins at {first}, but what is before {first} is known up to {known} only")]
    Hole {
        /// The first entry in the log.
        first: u64,
        /// How many entries from the beginning on are known otherwise.
        known: u64,
    },
}

/// Votes and entries of one node. Cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct LogStore {
    env: Arc<Env>,
    entries: Entries,
    files: QuorumFiles,
    state: Arc<Mutex<State>>,
    /// What the newest snapshot covers: nothing behind that is purged. The suite purges without snapshots.
    covered: Option<watch::Receiver<Covered>>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    vote: QuorumVote,
    purged: Option<QuorumPosition>,
    /// The last entry that is in the log.
    last: Option<QuorumPosition>,
}

impl LogStore {
    /// Reads what is there. Blocks.
    pub(crate) fn open(
        env: &Arc<Env>,
        log: Arc<Log>,
        files: QuorumFiles,
        node: NodeId,
    ) -> Result<LogStore, StoreError> {
        let entries = Entries::new(Arc::clone(env), log);
        let purged = files.purged()?;
        let snapshot = files.snapshot()?;
        let vote = match files.vote()? {
            Some(vote) if vote.own.node == node => not_leading(vote),
            Some(vote) => {
                return Err(StoreError::OtherNode { found: vote.own.node.0, expected: node.0 });
            }
            None => {
                let what = match (purged, &snapshot) {
                    _ if entries.range() != (0..0) => Some("a log"),
                    (Some(_), _) => Some("quorum.purged"),
                    (None, Some(_)) => Some("quorum.snapshot"),
                    (None, None) => None,
                };
                if let Some(what) = what {
                    return Err(StoreError::VoteMissing(what));
                }
                let own = QuorumVoter { node, incarnation: env.rng.next_u64() };
                let vote = QuorumVote { own, ballot: None };
                files.write_vote(&vote)?;
                vote
            }
        };
        let kept_from = purged.map_or(0, |purged| purged.index + 1);
        if let Some(damage) = entries.damage(kept_from) {
            return Err(StoreError::LogDamaged(damage));
        }
        // A power cut may have come between the file and the log.
        entries.begin_at(kept_from)?;
        let range = entries.range();
        if range.start > kept_from {
            return Err(StoreError::Hole { first: range.start, known: kept_from });
        }
        let snapshot_end = snapshot.and_then(|snapshot| snapshot.last).map_or(0, |last| last.index + 1);
        if kept_from > snapshot_end {
            return Err(StoreError::Hole { first: kept_from, known: snapshot_end });
        }
        let last = if range.is_empty() { None } else { Some(entries.position(range.end - 1)?) };
        let state = Arc::new(Mutex::new(State { vote, purged, last }));
        Ok(LogStore { env: Arc::clone(env), entries, files, state, covered: None })
    }

    /// Lets purges wait for the snapshot that makes up for what they take: openraft asks for both at once, and goes on to
    /// acknowledge entries behind a snapshot that may not be on the disk yet.
    pub(crate) fn behind(self, covered: watch::Receiver<Covered>) -> LogStore {
        LogStore { covered: Some(covered), ..self }
    }

    async fn until_covered(&self, index: u64) -> Result<(), RaftStorageError> {
        let Some(mut covered) = self.covered.clone() else { return Ok(()) };
        let seen = covered.wait_for(|covered| covered.has_failed || covered.index >= Some(index)).await;
        if seen.is_ok_and(|seen| !seen.has_failed) {
            return Ok(());
        }
        let what = format!("there will be no snapshot that covers {index}");
        Err(storage_error(ErrorSubject::LogIndex(index), ErrorVerb::Delete, what))
    }

    /// Who the node is, for as long as it keeps these files.
    pub(crate) fn own(&self) -> QuorumVoter {
        self.state.lock().vote.own
    }

    fn first(&self) -> u64 {
        self.state.lock().purged.map_or(self.entries.range().start, |purged| purged.index + 1)
    }

    fn append_at(&self, entries: &[QuorumEntry]) -> Result<(), EntriesError> {
        let Some(first) = entries.first() else { return Ok(()) };
        if !entries.is_sorted_by(|one, next| one.at.index + 1 == next.at.index) {
            let what = "the entries behind it are not the next ones".to_owned();
            return Err(EntriesError::Entry { index: first.at.index, what });
        }
        let range = self.entries.range();
        if first.at.index == range.end {
            return Ok(());
        }
        let is_blank = range.is_empty() && self.state.lock().purged.is_none();
        if !is_blank {
            let what = format!("the entry is not the next one: the log ends at {}", range.end);
            return Err(EntriesError::Entry { index: first.at.index, what });
        }
        // A log that never held anything begins wherever it is told to.
        blocking(&self.env, || self.entries.reset(first.at.index))
    }
}

/// A node that led does not go on to lead when it starts again. What was committed it knows up to its snapshot only, and
/// openraft would let it answer reads by that; elected anew, it commits an entry of its own first. What it promised stays.
fn not_leading(mut vote: QuorumVote) -> QuorumVote {
    if let Some(ballot) = vote.ballot.as_mut().filter(|ballot| ballot.candidate == vote.own) {
        ballot.elected = false;
    }
    vote
}

fn write_logs(error: impl std::fmt::Display) -> RaftStorageError {
    storage_error(ErrorSubject::Logs, ErrorVerb::Write, error)
}

impl RaftLogReader<Consensus> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<Consensus>>, RaftStorageError> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let mut from = start.max(self.first());
        let end = end.min(self.entries.range().end);
        let mut found = Vec::new();
        while from < end {
            let read = blocking(&self.env, || self.entries.read(from..end));
            let read = read.map_err(|e| storage_error(ErrorSubject::LogIndex(from), ErrorVerb::Read, e))?;
            from += read.len() as u64;
            found.extend(read.into_iter().map(raft_entry_of));
        }
        Ok(found)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry<Consensus>>, RaftStorageError> {
        let read = blocking(&self.env, || self.entries.read(start..end));
        match read {
            Ok(read) => Ok(read.into_iter().map(raft_entry_of).collect()),
            // A stream to a peer that is behind asks for what was purged meanwhile. Told that there is nothing, it asks
            // where the peer is and finds that a snapshot is needed. Entries from further on would leave a hole there.
            Err(_) if start < self.first() => Ok(Vec::new()),
            Err(error) => Err(storage_error(ErrorSubject::LogIndex(start), ErrorVerb::Read, error)),
        }
    }
}

impl RaftLogStorage<Consensus> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Consensus>, RaftStorageError> {
        let State { purged, last, .. } = *self.state.lock();
        let last_purged_log_id = purged.as_ref().map(log_id_of);
        let last_log_id = last.as_ref().map(log_id_of).or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), RaftStorageError> {
        let mut state = *self.state.lock();
        state.vote.ballot = Some(ballot_of(vote));
        #[cfg(feature = "teeth")]
        millrace_types::planted!(QuorumVoteBeforeSync => {
            self.state.lock().vote = state.vote;
            return Ok(());
        });
        let written = blocking(&self.env, || self.files.write_vote(&state.vote));
        written.map_err(|error| storage_error(ErrorSubject::Vote, ErrorVerb::Write, error))?;
        self.state.lock().vote = state.vote;
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, RaftStorageError> {
        Ok(self.state.lock().vote.ballot.as_ref().map(vote_of))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Consensus>) -> Result<(), RaftStorageError>
    where
        I: IntoIterator<Item = Entry<Consensus>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let purged = self.state.lock().purged;
        let entries = entries.into_iter().map(|entry| entry_of(&entry));
        // What is purged was committed: it is there, in a better form.
        let entries: Vec<QuorumEntry> =
            entries.filter(|entry| purged.is_none_or(|purged| entry.at.index > purged.index)).collect();
        self.append_at(&entries).map_err(write_logs)?;
        self.entries.append(&entries).await.map_err(write_logs)?;
        if let Some(last) = entries.last() {
            self.state.lock().last = Some(last.at);
        }
        // Synced by now, which is later than openraft would allow, and simpler.
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: RaftLogId) -> Result<(), RaftStorageError> {
        let change = || -> Result<_, EntriesError> {
            self.entries.truncate(log_id.index)?;
            let range = self.entries.range();
            if range.is_empty() { Ok(None) } else { self.entries.position(range.end - 1).map(Some) }
        };
        let last = blocking(&self.env, change);
        self.state.lock().last =
            last.map_err(|e| storage_error(ErrorSubject::Log(log_id), ErrorVerb::Delete, e))?;
        Ok(())
    }

    async fn purge(&mut self, log_id: RaftLogId) -> Result<(), RaftStorageError> {
        let purged = position_of(&log_id);
        self.until_covered(purged.index).await?;
        // The file first: whoever starts in between finds entries that it does not need. The other way round it would
        // not know what they were.
        let change = || -> Result<bool, StoreError> {
            self.files.write_purged(purged)?;
            self.entries.begin_at(purged.index + 1)?;
            Ok(self.entries.range().is_empty())
        };
        let is_empty = blocking(&self.env, change)
            .map_err(|error| storage_error(ErrorSubject::Log(log_id), ErrorVerb::Delete, error))?;
        let mut state = self.state.lock();
        state.purged = Some(purged);
        if is_empty {
            state.last = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod crashing;
#[cfg(test)]
mod tests;
