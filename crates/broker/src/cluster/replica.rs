//! One partition on this broker: the value that decides, the log that it decides about, and who waits.
//!
//! One lock for the value and for doing what it asks, so that effects happen in the order of the steps. Steps that may write or
//! sync (those of a follower, and changes of leadership) are taken on the I/O pool; the others do not block.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use millrace_log::{Isolation, Log, ReadPlan, ReadRequest, ReplicaAppendError, Ticket};
use millrace_record::BatchHeader;
use millrace_replication::{
    AlterAnswer, AppendId, Brokers, Doubt, Effect, EpochEnd, Event, Fetch, FetchAnswer, Fetched,
    FollowerEvent, LeaderEvent, LogFacts, PartitionView, ProduceRefusal, Replica, Timing,
};
use millrace_types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::outbox::{Newest, ReplicaOutbox};

/// A partition that this broker has a replica of.
#[derive(Debug)]
pub(crate) struct PartitionReplica {
    at: TopicPartition,
    me: NodeId,
    my_epoch: BrokerEpoch,
    log: Arc<Log>,
    outbox: Arc<ReplicaOutbox>,
    /// Who is to hear of what is written, while it leads.
    followers: ArcSwap<Vec<Arc<Newest<()>>>>,
    /// Whether the leader's log may have holes.
    compacted: AtomicBool,
    /// Whether no other replica has the records that are damaged here.
    beyond_mending: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    replica: Replica,
    appends: u64,
    waiting: BTreeMap<AppendId, oneshot::Sender<Result<(), Doubt>>>,
    /// The epoch of the log was found to be higher than the one in which to lead: a higher one was asked for.
    outrun: Option<LeaderEpoch>,
    /// What others were told that it is.
    told: Option<Standing>,
}

/// Why a step of a replica could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplicaFault {
    /// The log has failed, or is not what the value takes it for.
    #[error(transparent)]
    Log(#[from] millrace_log::DirError),
    /// What the leader has sent cannot be appended.
    #[error(transparent)]
    Append(#[from] ReplicaAppendError),
    /// The leader has sent records of an epoch that it does not lead, or that come before what is here.
    #[error("a batch of epoch {found} came from the leader of epoch {leader}")]
    Epoch {
        /// The batch's.
        found: LeaderEpoch,
        /// The leader's.
        leader: LeaderEpoch,
    },
}

/// What a step leaves to its caller.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// A follower is to be told.
    pub(crate) answer: Option<Fetched>,
    /// Something was appended that is to be held before the next fetch.
    pub(crate) ticket: Option<Ticket>,
}

/// The append of a client, in the epoch in which it was begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LedBy(LeaderEpoch);

impl LedBy {
    pub(crate) fn epoch(self) -> LeaderEpoch {
        self.0
    }
}

/// What a replica is at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    /// The newest leader epoch that it knows.
    pub(crate) epoch: LeaderEpoch,
    /// Whether it leads.
    pub(crate) leads: bool,
    /// Whether it leads and knows everything that earlier leaders have committed.
    pub(crate) complete: bool,
}

impl PartitionReplica {
    pub(crate) fn new(
        at: TopicPartition,
        (me, my_epoch): (NodeId, BrokerEpoch),
        timing: Timing,
        log: Arc<Log>,
        outbox: Arc<ReplicaOutbox>,
    ) -> PartitionReplica {
        let replica = Replica::new(me, my_epoch, timing, log.offsets().high_watermark);
        let waiting = BTreeMap::new();
        let state = State { replica, appends: 0, waiting, outrun: None, told: None };
        let (followers, compacted) = (ArcSwap::default(), AtomicBool::new(false));
        let beyond_mending = AtomicBool::new(false);
        let state = Mutex::new(state);
        PartitionReplica { at, me, my_epoch, log, outbox, followers, compacted, beyond_mending, state }
    }

    /// Whether compaction may leave holes in the log of the leader.
    pub(crate) fn set_compacted(&self, compacted: bool) {
        self.compacted.store(compacted, Ordering::Relaxed);
    }

    pub(crate) fn at(&self) -> TopicPartition {
        self.at
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Whether records that its leader finds damaged here may be had from another replica.
    pub(crate) fn may_be_mended(&self) -> bool {
        !self.followers.load().is_empty() && !self.beyond_mending.load(Ordering::Relaxed)
    }

    /// All other replicas were asked for what is damaged here, and none has it; or that is not so any more.
    pub(crate) fn set_beyond_mending(&self, beyond: bool) {
        if self.beyond_mending.swap(beyond, Ordering::Relaxed) != beyond && beyond {
            tracing::error!(at = %self.at, "records are damaged here, and no other replica has them");
        }
    }

    /// What it is now.
    pub(crate) fn standing(&self) -> Standing {
        let state = self.state.lock();
        standing(&state.replica)
    }

    /// Whether it follows that leader.
    pub(crate) fn follows(&self, leader: NodeId) -> bool {
        self.state.lock().replica.follower().is_some_and(|follower| follower.view().leader == Some(leader))
    }

    /// The metadata say so. May block.
    pub(crate) fn learn(&self, view: PartitionView, brokers: Brokers) -> Result<(), ReplicaFault> {
        self.step(|log| Event::Metadata { view, brokers, log }, None).map(|_| ())
    }

    /// Whether a client's batch may be appended, and in which epoch it is.
    ///
    /// # Errors
    /// `None`: this broker does not lead. Else what the topic demands is not there.
    pub(crate) fn admit(&self, committed: bool) -> Result<LedBy, Option<ProduceRefusal>> {
        let state = self.state.lock();
        let leader = state.replica.leader().ok_or(None)?;
        if committed {
            leader.admit()?;
        }
        Ok(LedBy(leader.leader_epoch()))
    }

    /// Something was written: followers that wait for news have some.
    pub(crate) fn wrote(&self) {
        for follower in self.followers.load().iter() {
            follower.put(self.at, ());
        }
    }

    /// Completes when what ends with `last`, appended since [`PartitionReplica::admit`] and held here, is committed. The sender
    /// is dropped if the replica goes.
    pub(crate) fn committed(&self, by: LedBy, last: Offset) -> oneshot::Receiver<Result<(), Doubt>> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        // The same epoch, so it has led all the time, and nothing was cut.
        if state.replica.leader().map(millrace_replication::Leader::leader_epoch) != Some(by.0) {
            let _gone = sender.send(Err(Doubt::NotLeader));
            return receiver;
        }
        state.appends += 1;
        let id = AppendId(state.appends);
        state.waiting.insert(id, sender);
        self.note(&mut state, LeaderEvent::Appended { id, last });
        self.note(&mut state, LeaderEvent::Log(self.facts()));
        receiver
    }

    /// A follower asks. The plan is of what it is to be sent.
    pub(crate) fn asked(&self, fetch: Fetch, bytes_max: usize) -> (Option<Fetched>, Option<ReadPlan>) {
        let mut state = self.state.lock();
        let found = self.end_of(fetch.last_epoch);
        let known = LeaderEvent::Log(self.facts());
        self.note(&mut state, known);
        let asks = Event::Leader(LeaderEvent::Fetch { fetch, found });
        let done = match self.perform(&mut state, asks, None) {
            Ok(done) => done,
            Err(fault) => {
                self.failed(&fault);
                return (None, None);
            }
        };
        let plan = match done.answer.map(|answer| answer.answer) {
            Some(FetchAnswer::Records { from, .. }) if from < self.log.offsets().end && bytes_max > 0 => {
                // Under the lock: what is planned is what this leader has.
                let request = ReadRequest { from, until: None, bytes_max };
                self.log.read_as(Isolation::Held, &request).ok()
            }
            _ => None,
        };
        (done.answer, plan)
    }

    /// The leader has answered. May block; the ticket is to be waited for before [`PartitionReplica::caught_up`].
    pub(crate) fn answered(&self, answer: Fetched, batches: &Bytes) -> Result<Option<Ticket>, ReplicaFault> {
        if matches!(answer.answer, FetchAnswer::Records { .. }) {
            check_epochs(batches, answer.leader_epoch)?;
        }
        let event = Event::Follower(FollowerEvent::Fetched(answer));
        self.step(|_| event, Some(batches)).map(|done| done.ticket)
    }

    /// What was appended is held, or there was nothing: the value looks at its log and goes on.
    pub(crate) fn caught_up(&self) -> Result<(), ReplicaFault> {
        self.step(Event::Log, None).map(|_| ())
    }

    /// The controller has answered.
    pub(crate) fn altered(&self, answer: AlterAnswer) {
        let mut state = self.state.lock();
        self.note(&mut state, LeaderEvent::Altered(answer));
    }

    /// Time has passed.
    pub(crate) fn tick(&self) -> Result<(), ReplicaFault> {
        let mut state = self.state.lock();
        if state.replica.leader().is_some() {
            // Whoever waited for a sync may be gone.
            self.note(&mut state, LeaderEvent::Log(self.facts()));
        }
        self.perform(&mut state, Event::Tick, None).map(|_| ())
    }

    /// The replica goes: whoever waits hears that nobody knows.
    pub(crate) fn retire(&self) {
        let mut state = self.state.lock();
        let high_watermark = state.replica.high_watermark();
        state.replica = Replica::new(self.me, BrokerEpoch::NONE, Timing::default(), high_watermark);
        state.waiting.clear();
        self.log.follow();
    }

    fn facts(&self) -> LogFacts {
        let offsets = self.log.offsets();
        LogFacts {
            start: offsets.log_start,
            held: offsets.held,
            end: offsets.end,
            last_epoch: self.log.last_epoch().unwrap_or(LeaderEpoch::NONE),
        }
    }

    fn end_of(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.log.end_of_epoch(epoch).map(|(epoch, end)| EpochEnd { epoch, end })
    }

    /// Under the lock the log is asked how it is: what it was before another step is no fact.
    fn step(
        &self,
        event: impl FnOnce(LogFacts) -> Event,
        batches: Option<&Bytes>,
    ) -> Result<Done, ReplicaFault> {
        let mut state = self.state.lock();
        let event = event(self.facts());
        self.perform(&mut state, event, batches)
    }

    /// A step of a leader that asks for nothing that blocks.
    fn note(&self, state: &mut State, event: LeaderEvent) {
        if let Err(fault) = self.perform(state, Event::Leader(event), None) {
            self.failed(&fault);
        }
    }

    fn failed(&self, fault: &ReplicaFault) {
        // A directory that has failed ends the process; anything else is tried again by the next tick.
        tracing::error!(at = %self.at, %fault, "a replica could not do what it must");
    }

    /// A whole step, with those that follow from it; others hear what this replica is then.
    fn perform(
        &self,
        state: &mut State,
        event: Event,
        batches: Option<&Bytes>,
    ) -> Result<Done, ReplicaFault> {
        let mut done = Done::default();
        let outcome = self.carry_out(state, event, batches, &mut done);
        if outcome.is_err() {
            self.give_up(state);
        }
        self.tell_others(state);
        outcome.map(|()| done)
    }

    /// One step of the value, and all that it asks for, in this order.
    fn carry_out(
        &self,
        state: &mut State,
        event: Event,
        batches: Option<&Bytes>,
        done: &mut Done,
    ) -> Result<(), ReplicaFault> {
        for effect in state.replica.step(event, self.outbox.now()) {
            self.effect(state, effect, batches, done)?;
        }
        Ok(())
    }

    fn tell_others(&self, state: &mut State) {
        let followers = state.replica.leader().map(|leader| &leader.view().replicas);
        let followers = followers.into_iter().flatten().filter(|node| **node != self.me);
        if followers.clone().count() != self.followers.load().len() || state.told.is_none() {
            let followers = followers.map(|node| self.outbox.news_for(*node)).collect();
            self.followers.store(Arc::new(followers));
        }
        let standing = standing(&state.replica);
        if state.told != Some(standing) {
            state.told = Some(standing);
            self.outbox.roles.put(self.at, ());
            // Who has asked before this node knew that it leads waits to hear so.
            self.wrote();
        }
    }

    /// What the value believes is not so: it begins anew with the next metadata.
    fn give_up(&self, state: &mut State) {
        self.log.follow();
        let high_watermark = self.log.offsets().high_watermark;
        let timing = self.outbox.timing();
        state.replica = Replica::new(self.me, self.my_epoch, timing, high_watermark);
        state.waiting.clear();
        self.outbox.relearns.put(self.at, ());
    }

    fn effect(
        &self,
        state: &mut State,
        effect: Effect,
        batches: Option<&Bytes>,
        done: &mut Done,
    ) -> Result<(), ReplicaFault> {
        match effect {
            Effect::BeginEpoch(epoch) => {
                let found = self.log.leader_epoch();
                if found >= epoch {
                    // A node that was alone has begun epochs of its own: the controller gives a higher one.
                    if state.outrun != Some(epoch) {
                        state.outrun = Some(epoch);
                        self.outbox.raises.put(self.at, found);
                    }
                    return Ok(());
                }
                let _start = self.log.begin_epoch(epoch)?;
            }
            Effect::Follow => self.log.follow(),
            Effect::Truncate { to, below_high_watermark } => {
                tracing::info!(at = %self.at, %to, below_high_watermark, "the log is cut to where it parts from its leader's");
                if below_high_watermark {
                    self.log.truncate_uncleanly_to(to)?;
                } else {
                    self.log.truncate_to(to)?;
                }
                self.again(state, done)?;
            }
            Effect::Reset(to) => {
                tracing::info!(at = %self.at, %to, "the log begins where its leader's does");
                self.log.reset_to(to)?;
                self.again(state, done)?;
            }
            Effect::Append { .. } => match batches {
                Some(batches) if !batches.is_empty() => {
                    let appended = if self.compacted.load(Ordering::Relaxed) {
                        self.log.append_compacted_replica(batches)
                    } else {
                        self.log.append_replica(batches)
                    };
                    done.ticket = Some(appended?);
                }
                _ => {}
            },
            Effect::Trim(to) => {
                let to = to.min(self.log.offsets().high_watermark);
                if to > self.log.offsets().log_start {
                    self.log.trim_to(to)?;
                }
            }
            Effect::HighWatermark(to) => {
                let _now = self.log.raise_high_watermark(to);
            }
            Effect::Fetch { to, fetch } => self.outbox.fetch(to, fetch),
            Effect::Answer { answer, .. } => done.answer = Some(answer),
            Effect::LookUp { fetch, theirs } => {
                let ours = self.end_of(theirs.epoch);
                let event = FollowerEvent::Diverged { fetch, theirs, ours };
                self.carry_out(state, Event::Follower(event), batches, done)?;
            }
            Effect::Alter(alter) => self.outbox.alters.put(self.at, alter),
            Effect::Committed(id) => tell(state, id, Ok(())),
            Effect::InDoubt(id, doubt) => tell(state, id, Err(doubt)),
            Effect::Halted(halt) => {
                tracing::error!(at = %self.at, %halt, "the replica has stopped; somebody must look");
            }
        }
        Ok(())
    }

    /// The log was cut: the value hears of it at once.
    fn again(&self, state: &mut State, done: &mut Done) -> Result<(), ReplicaFault> {
        self.carry_out(state, Event::Log(self.facts()), None, done)
    }
}

fn standing(replica: &Replica) -> Standing {
    let leader = replica.leader();
    Standing {
        epoch: replica.leader_epoch(),
        leads: leader.is_some(),
        complete: leader.is_some_and(|leader| leader.latest_offset().is_some()),
    }
}

fn tell(state: &mut State, id: AppendId, outcome: Result<(), Doubt>) {
    if let Some(sender) = state.waiting.remove(&id) {
        // Nobody to hear it: whoever asked has given up.
        let _told = sender.send(outcome);
    }
}

/// A batch's checksum does not cover its epoch: what a leader sends is held against the epoch in which it leads. The rest is
/// checked by the append, which also finds whatever stops this walk.
fn check_epochs(batches: &Bytes, leader: LeaderEpoch) -> Result<(), ReplicaFault> {
    let mut rest: &[u8] = batches;
    while let Ok(header) = BatchHeader::parse(rest) {
        let found = LeaderEpoch(header.partition_leader_epoch);
        if found > leader {
            return Err(ReplicaFault::Epoch { found, leader });
        }
        rest = rest.get(header.size()..).unwrap_or_default();
    }
    Ok(())
}
