//! The quorum as the rest of the product sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures::future::{Either, select};
use millrace_env::{Env, TaskHandle};
use millrace_metadata::{Command, Image, MetadataRecord, Refusal, decide_each};
use millrace_schema::{
    QuorumAnswer, QuorumAsk, QuorumEntry, QuorumMembers, QuorumPosition, QuorumRequest, QuorumSnapshot,
    QuorumVoter,
};
use openraft::error::{CheckIsLeaderError, ClientWriteError, Fatal, InitializeError, RaftError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use openraft::{ChangeMembers, Raft, RaftMetrics, ServerState, Snapshot, SnapshotMeta, StoredMembership};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::{FoundError, MembersError, OpenError, ProposeError, ReadError};
use crate::files::QuorumFiles;
use crate::log_store::LogStore;
use crate::network::{CallError, Peer};
use crate::options::{QuorumOptions, QuorumPace};
use crate::peer::Connections;
use crate::raft::{
    Address, Consensus, Outcome, Proposal, RaftId, ballot_of, log_id_of, members_of, membership_of,
    position_of, raft_entry_of, vote_of,
};
use crate::runtime::{blocking, within};
use crate::state_machine::{Published, StateMachine};
use crate::watchdog;

/// Decisions that are taken anew because others were quicker.
const ATTEMPTS_MAX: usize = 16;

/// What one of several commands has become.
pub type DecidedRecords = Result<Vec<MetadataRecord>, Refusal>;

/// What a node is in the quorum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QuorumRole {
    /// It hears, and has no vote.
    Learner,
    /// It has a vote.
    Follower,
    /// It wants to lead.
    Candidate,
    /// It leads, or does not know yet that another one does.
    Leader,
    /// It takes no part any more.
    Stopped,
}

/// Where a node stands, at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumStatus {
    /// What it is.
    pub role: QuorumRole,
    /// Its term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<Peer>,
    /// The index of its last entry.
    pub last_index: Option<u64>,
    /// What it has applied.
    pub applied: Option<QuorumPosition>,
    /// What its newest snapshot covers.
    pub snapshot: Option<QuorumPosition>,
    /// What it has purged.
    pub purged: Option<QuorumPosition>,
    /// Who votes and who learns, as far as it knows.
    pub members: QuorumMembers,
    /// Of a leader: up to where each of them has its entries. Who is far behind had better not become a voter yet.
    pub reached: BTreeMap<QuorumVoter, Option<QuorumPosition>>,
    /// Why it has stopped.
    pub stopped: Option<String>,
}

/// One node of the metadata quorum.
///
/// A node that has been stopped by its storage does not start again in this process: its files are read anew by the next
/// one.
#[derive(Debug)]
pub struct MetadataQuorum {
    env: Arc<Env>,
    raft: Node,
    own: QuorumVoter,
    pace: QuorumPace,
    published: Arc<Published>,
    metrics: watch::Receiver<RaftMetrics<RaftId, Address>>,
    /// One decision of this node at a time, so that they are not taken on images that they change for each other.
    proposing: tokio::sync::Mutex<()>,
    watchdog: Mutex<Option<Box<dyn TaskHandle>>>,
}

/// openraft's handle, which does not say what it is.
struct Node(Raft<Consensus>);

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Raft")
    }
}

/// Why a call of openraft gave nothing.
enum Failed<E> {
    Raft(E),
    TimedOut,
}

impl MetadataQuorum {
    /// Reads what the node has and takes part: as the voter or learner that it was, or as nobody yet, who waits to be made
    /// a member by [`MetadataQuorum::found`] or by the leader of others.
    ///
    /// # Errors
    /// [`OpenError`]. Nothing is repaired by guessing.
    pub async fn open(env: &Env, options: QuorumOptions) -> Result<Arc<MetadataQuorum>, OpenError> {
        let env = Arc::new(env.clone());
        let QuorumOptions { node, log, dir, network, pace } = options;
        let config = pace.config().map_err(OpenError::Pace)?;
        let files = QuorumFiles::new(Arc::clone(&env.fs), dir);
        let opening = || -> Result<_, OpenError> {
            let store = LogStore::open(&env, log, files.clone(), node)?;
            let machine = StateMachine::open(&env, files)?;
            Ok((store.behind(machine.covered()), machine))
        };
        let (store, machine) = blocking(&env, opening)?;
        let own = store.own();
        let published = machine.published();
        let starting = Raft::new(RaftId(own), Arc::new(config), Connections { network }, store, machine);
        let raft = within(&env, starting).await.map_err(|error| OpenError::Stopped(error.to_string()))?;
        let metrics = raft.metrics();
        let elected = within(&env, elect_if_alone(&raft, RaftId(own))).await;
        elected.map_err(|error| OpenError::Stopped(error.to_string()))?;
        let watching = within(&env, watchdog::watch(Arc::clone(&env), raft.clone(), pace));
        let watchdog = env.tasks.spawn("quorum watchdog", Box::pin(watching));
        Ok(Arc::new(MetadataQuorum {
            env,
            raft: Node(raft),
            own,
            pace,
            published,
            metrics,
            proposing: tokio::sync::Mutex::default(),
            watchdog: Mutex::new(Some(watchdog)),
        }))
    }

    /// Who this node is, for as long as it keeps its files.
    #[must_use]
    pub fn own(&self) -> QuorumVoter {
        self.own
    }

    /// Begins a quorum with these voters. Once in the life of a cluster, by one node or by all of them with the same voters.
    ///
    /// # Errors
    /// [`FoundError`].
    pub async fn found(&self, voters: BTreeMap<QuorumVoter, String>) -> Result<(), FoundError> {
        let nodes: BTreeMap<RaftId, Address> =
            voters.into_iter().map(|(voter, address)| (RaftId(voter), Address(address))).collect();
        within(&self.env, self.raft.0.initialize(nodes)).await.map_err(|error| match error {
            RaftError::APIError(InitializeError::NotAllowed(_)) => FoundError::Founded,
            RaftError::APIError(InitializeError::NotInMembers(_)) => FoundError::NotAVoter,
            RaftError::Fatal(fatal) => FoundError::Stopped(fatal.to_string()),
        })
    }

    /// Makes a node a learner: it hears everything and has no vote. Does not wait until it has caught up.
    ///
    /// # Errors
    /// [`MembersError`].
    pub async fn add_learner(&self, learner: Peer) -> Result<(), MembersError> {
        let nodes = BTreeMap::from([(RaftId(learner.voter), Address(learner.address))]);
        self.change(ChangeMembers::AddNodes(nodes)).await
    }

    /// Lets a learner go: it hears nothing any more.
    ///
    /// # Errors
    /// [`MembersError`]; a voter is refused.
    pub async fn remove_learner(&self, learner: QuorumVoter) -> Result<(), MembersError> {
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([RaftId(learner)]))).await
    }

    /// Makes these the voters; each must be a voter or a learner. Who was one before is no member any more. One change at a
    /// time; it is made in two steps, and whoever leads finishes it when it is asked for again.
    ///
    /// # Errors
    /// [`MembersError`].
    pub async fn change_voters(&self, voters: BTreeSet<QuorumVoter>) -> Result<(), MembersError> {
        let voters = voters.into_iter().map(RaftId).collect();
        self.change(ChangeMembers::ReplaceAllVoters(voters)).await
    }

    async fn change(&self, changes: ChangeMembers<RaftId, Address>) -> Result<(), MembersError> {
        let changing = self.raft.0.change_membership(changes, false);
        match self.in_time(changing).await {
            Ok(_) => Ok(()),
            Err(Failed::TimedOut) => Err(MembersError::TimedOut(self.pace.answer)),
            Err(Failed::Raft(RaftError::Fatal(fatal))) => Err(MembersError::Stopped(fatal.to_string())),
            Err(Failed::Raft(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                Err(MembersError::NotLeader(peer(forward.leader_id, forward.leader_node)))
            }
            Err(Failed::Raft(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
                Err(MembersError::Refused(error.to_string()))
            }
        }
    }

    /// Carries out a command; answers the records that it became, when a majority has them and this node has folded them.
    ///
    /// The decision is taken on this node's image, and written under the condition that the image is still the same when it
    /// is applied. A refusal, and that there is nothing to do, is answered only when the image is certainly the newest.
    ///
    /// # Errors
    /// [`ProposeError`] says what is definite.
    pub async fn propose(&self, command: &Command) -> Result<Vec<MetadataRecord>, ProposeError> {
        let decided = self.propose_each(std::slice::from_ref(command)).await?;
        decided
            .into_iter()
            .next()
            .map_or_else(|| Ok(Vec::new()), |answer| answer.map_err(ProposeError::Refused))
    }

    /// As [`MetadataQuorum::propose`], of commands of which each stands for itself: one that is refused keeps the others from
    /// nothing. All that they become is one entry. Answers each, in order.
    ///
    /// # Errors
    /// Of all together.
    pub async fn propose_each(&self, commands: &[Command]) -> Result<Vec<DecidedRecords>, ProposeError> {
        let _turn = self.proposing.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let image = self.image();
            // What does not fold must never reach the log.
            let decided = decide_each(&image, commands)?;
            let records: Vec<MetadataRecord> = decided.iter().flatten().flatten().cloned().collect();
            if records.is_empty() {
                let newest = self.read().await.map_err(in_proposal)?;
                if newest.version() == image.version() {
                    return Ok(decided);
                }
                continue;
            }
            if self.write(Proposal { base: image.version(), records }).await? {
                return Ok(decided);
            }
        }
        Err(ProposeError::Busy)
    }

    /// Takes over what a node knew that decided alone until now. Without effect on a quorum that knows anything already.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn adopt(&self, image: &Image) -> Result<(), ProposeError> {
        let _turn = self.proposing.lock().await;
        if self.image().version() > 0 {
            return Ok(());
        }
        let records = image.to_records();
        records.iter().try_fold(Image::default(), Image::apply)?;
        self.write(Proposal { base: 0, records }).await.map(|_folded| ())
    }

    /// Writes a proposal, and tells whether it was folded.
    async fn write(&self, proposal: Proposal) -> Result<bool, ProposeError> {
        let QuorumStatus { role, leader, .. } = self.status();
        if role != QuorumRole::Leader {
            return Err(ProposeError::NotLeader(leader));
        }
        match self.in_time(self.raft.0.client_write(proposal)).await {
            Ok(written) => {
                // The others apply it when they hear that it is committed: now, not with the next heartbeat.
                let _stopped = within(&self.env, async { self.raft.0.trigger().heartbeat().await }).await;
                Ok(written.data == Outcome::Folded)
            }
            Err(Failed::TimedOut) => Err(ProposeError::TimedOut(self.pace.answer)),
            Err(Failed::Raft(RaftError::Fatal(fatal))) => Err(ProposeError::Stopped(fatal.to_string())),
            Err(Failed::Raft(RaftError::APIError(error))) => match error {
                // Its entry was cut away here, perhaps with others that a snapshot has brought back.
                ClientWriteError::ForwardToLeader(forward) => {
                    Err(ProposeError::Deposed(peer(forward.leader_id, forward.leader_node)))
                }
                ClientWriteError::ChangeMembershipError(error) => {
                    Err(ProposeError::Stopped(format!("a proposal changed the members: {error}")))
                }
            },
        }
    }

    /// The image with everything in it that was answered to anybody before this call.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(&self) -> Result<Arc<Image>, ReadError> {
        match self.in_time(self.raft.0.ensure_linearizable()).await {
            Ok(_) => Ok(self.image()),
            Err(Failed::TimedOut) => Err(ReadError::TimedOut(self.pace.answer)),
            Err(Failed::Raft(RaftError::Fatal(fatal))) => Err(ReadError::Stopped(fatal.to_string())),
            Err(Failed::Raft(RaftError::APIError(error))) => match error {
                CheckIsLeaderError::ForwardToLeader(forward) => {
                    Err(ReadError::NotLeader(peer(forward.leader_id, forward.leader_node)))
                }
                CheckIsLeaderError::QuorumNotEnough(_) => Err(ReadError::NoMajority),
            },
        }
    }

    /// What this node has folded so far. After a start it may be older than what the node had folded before.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.published.image()
    }

    /// Hears of every image after this call, by its version; several may be heard of as one.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.published.changes()
    }

    /// Where this node stands.
    #[must_use]
    pub fn status(&self) -> QuorumStatus {
        status_of(&self.metrics.borrow())
    }

    /// Completes with what `wanted` answers when it answers something, of the present status or of a later one.
    ///
    /// # Errors
    /// Why the node has stopped, if it stops before that.
    pub async fn until<T>(&self, mut wanted: impl FnMut(&QuorumStatus) -> Option<T>) -> Result<T, String> {
        let mut metrics = self.metrics.clone();
        loop {
            let status = status_of(&metrics.borrow_and_update());
            if let Some(answer) = wanted(&status) {
                return Ok(answer);
            }
            if let Some(reason) = status.stopped {
                return Err(reason);
            }
            if metrics.changed().await.is_err() {
                return Err("it was shut down".to_owned());
            }
        }
    }

    /// Answers a request of another voter.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn answer(&self, request: QuorumRequest) -> Result<QuorumAnswer, CallError> {
        if request.to != self.own {
            return Err(CallError::OtherVoter { found: self.own });
        }
        let stopped = |error: &dyn std::fmt::Display| CallError::Stopped(error.to_string());
        let vote = vote_of(&request.ballot);
        match request.ask {
            QuorumAsk::Append { previous, entries, commit } => {
                check_order(previous, &entries)?;
                let request = AppendEntriesRequest {
                    vote,
                    prev_log_id: previous.as_ref().map(log_id_of),
                    entries: entries.into_iter().map(raft_entry_of).collect(),
                    leader_commit: commit.as_ref().map(log_id_of),
                };
                let answer = within(&self.env, self.raft.0.append_entries(request)).await;
                Ok(match answer.map_err(|error| stopped(&error))? {
                    AppendEntriesResponse::Success => QuorumAnswer::Appended,
                    AppendEntriesResponse::PartialSuccess(last) => {
                        QuorumAnswer::AppendedUpTo(last.as_ref().map(position_of))
                    }
                    AppendEntriesResponse::Conflict => QuorumAnswer::Conflict,
                    AppendEntriesResponse::HigherVote(vote) => QuorumAnswer::Newer(ballot_of(&vote)),
                })
            }
            QuorumAsk::Vote { last } => {
                let request = VoteRequest::new(vote, last.as_ref().map(log_id_of));
                let answer = within(&self.env, self.raft.0.vote(request)).await;
                let answer = answer.map_err(|error| stopped(&error))?;
                let last = answer.last_log_id.as_ref().map(position_of);
                Ok(QuorumAnswer::Voted {
                    ballot: ballot_of(&answer.vote),
                    granted: answer.vote_granted,
                    last,
                })
            }
            QuorumAsk::Snapshot(snapshot) => {
                let decoded = QuorumSnapshot::decode(&snapshot);
                let decoded = decoded.map_err(|error| CallError::Protocol(error.to_string()))?;
                let snapshot = Snapshot { meta: meta_of(&decoded), snapshot: Box::new(snapshot) };
                let installing = self.raft.0.install_full_snapshot(vote, snapshot);
                let answer = within(&self.env, installing).await.map_err(|error| stopped(&error))?;
                Ok(QuorumAnswer::Installed(ballot_of(&answer.vote)))
            }
        }
    }

    /// Takes a snapshot now, whatever the threshold says. Does not wait for it.
    ///
    /// # Errors
    /// Why the node has stopped.
    pub async fn take_snapshot(&self) -> Result<(), String> {
        within(&self.env, async { self.raft.0.trigger().snapshot().await })
            .await
            .map_err(|error: Fatal<RaftId>| error.to_string())
    }

    /// Stops taking part. What was proposed and not answered by then may still be carried out by the others.
    pub async fn stop(&self) {
        let watchdog = self.watchdog.lock().take();
        if let Some(watchdog) = watchdog {
            watchdog.abort();
            watchdog.join().await;
        }
        // It answers that it cannot join a task that has ended in an error; ended it is.
        let _ended = within(&self.env, self.raft.0.shutdown()).await;
    }

    async fn in_time<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, Failed<E>> {
        let work = pin!(within(&self.env, work));
        match select(work, self.env.clock.sleep(self.pace.answer)).await {
            Either::Left((answer, _)) => answer.map_err(Failed::Raft),
            Either::Right(_) => Err(Failed::TimedOut),
        }
    }
}

/// Where nobody else can lead there is no need to wait for a silence.
async fn elect_if_alone(raft: &Raft<Consensus>, own: RaftId) -> Result<(), Fatal<RaftId>> {
    let is_alone =
        raft.with_raft_state(move |state| state.membership_state.effective().voter_ids().eq([own])).await?;
    if is_alone { raft.trigger().elect().await } else { Ok(()) }
}

/// A hole in the log must not even be asked for.
fn check_order(previous: Option<QuorumPosition>, entries: &[QuorumEntry]) -> Result<(), CallError> {
    let first = previous.map_or(0, |previous| previous.index + 1);
    match entries.iter().zip(first..).find(|(entry, index)| entry.at.index != *index) {
        Some((entry, index)) => {
            Err(CallError::Protocol(format!("entry {} came where {index} was due", entry.at.index)))
        }
        None => Ok(()),
    }
}

fn in_proposal(error: ReadError) -> ProposeError {
    match error {
        ReadError::NotLeader(leader) => ProposeError::NotLeader(leader),
        unconfirmed => ProposeError::Unconfirmed(unconfirmed),
    }
}

fn peer(id: Option<RaftId>, address: Option<Address>) -> Option<Peer> {
    Some(Peer { voter: id?.0, address: address?.0 })
}

fn meta_of(snapshot: &QuorumSnapshot) -> SnapshotMeta<RaftId, Address> {
    let last_log_id = snapshot.last.as_ref().map(log_id_of);
    let members_at = snapshot.members_at.as_ref().map(log_id_of);
    SnapshotMeta {
        last_log_id,
        last_membership: StoredMembership::new(members_at, membership_of(&snapshot.members)),
        snapshot_id: last_log_id.map_or_else(|| "none".to_owned(), |last| last.to_string()),
    }
}

fn status_of(metrics: &RaftMetrics<RaftId, Address>) -> QuorumStatus {
    let membership = metrics.membership_config.membership();
    let leader = metrics.current_leader.map(|id| Peer {
        voter: id.0,
        address: membership.get_node(&id).map(|address| address.0.clone()).unwrap_or_default(),
    });
    let stopped = metrics.running_state.as_ref().err().map(ToString::to_string);
    let role = match metrics.state {
        _ if stopped.is_some() => QuorumRole::Stopped,
        ServerState::Learner => QuorumRole::Learner,
        ServerState::Follower => QuorumRole::Follower,
        ServerState::Candidate => QuorumRole::Candidate,
        ServerState::Leader => QuorumRole::Leader,
        ServerState::Shutdown => QuorumRole::Stopped,
    };
    let reached = metrics.replication.iter().flatten();
    let reached = reached.map(|(id, last)| (id.0, last.as_ref().map(position_of))).collect();
    QuorumStatus {
        role,
        reached,
        term: metrics.current_term,
        leader,
        last_index: metrics.last_log_index,
        applied: metrics.last_applied.as_ref().map(position_of),
        snapshot: metrics.snapshot.as_ref().map(position_of),
        purged: metrics.purged.as_ref().map(position_of),
        members: members_of(membership),
        stopped,
    }
}
