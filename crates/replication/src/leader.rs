//! The leader of a partition: what is committed, who is in sync, who is answered.
//!
//! ```text
//!   end ─────────────► followers are sent up to here
//!   held, theirs too ─► high watermark = the least over the maximal in-sync set, while enough are committed to be in sync
//!   epoch start ──────► below it the high watermark may be an old one: no follower joins, no latest offset is told
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millrace_types::{BrokerEpoch, LeaderEpoch, NodeId, Offset};

use crate::divergence::{Comparison, EpochEnd, compare};
use crate::effect::{AppendId, Doubt, Effect};
use crate::fetch::{Fetch, FetchAnswer, FetchRefusal, Fetched};
use crate::in_sync::{Alter, AlterAnswer, InSync};
use crate::partition::{Brokers, LogFacts, Moment, PartitionEpoch, PartitionView, Timing};
use crate::progress::{Heard, Progress};

/// What a leader hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeaderEvent {
    /// Its log has grown, or more of it is held.
    Log(LogFacts),
    /// A batch was appended that is to be told of once it is committed. The log's facts follow.
    Appended {
        /// Which.
        id: AppendId,
        /// The offset of its last record.
        last: Offset,
    },
    /// A follower asks. `found` is where this log has the fetch's `last_epoch` end (see [`compare`]).
    Fetch {
        /// What it asks.
        fetch: Fetch,
        /// What the log has of its last epoch.
        found: Option<EpochEnd>,
    },
    /// The controller has answered.
    Altered(AlterAnswer),
    /// The metadata have changed, the leader has not.
    Metadata {
        /// The partition.
        view: PartitionView,
        /// The brokers.
        brokers: Brokers,
    },
    /// Time has passed.
    Tick,
}

/// Why an append with acks=all is not begun. Definite: nothing was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProduceRefusal {
    /// Kafka's NOT_ENOUGH_REPLICAS.
    #[error("{found} replicas are in sync, {needed} are needed")]
    NotEnoughReplicas {
        /// How many are in sync.
        found: usize,
        /// How many must be.
        needed: usize,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Waiting {
    id: AppendId,
    last: Offset,
}

/// A broker that leads a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leader {
    me: NodeId,
    my_epoch: BrokerEpoch,
    view: PartitionView,
    brokers: Brokers,
    timing: Timing,
    log: LogFacts,
    epoch_start: Offset,
    high_watermark: Offset,
    /// Whether all who may be in sync have said in this epoch that their logs are the beginning of this one.
    confirmed: bool,
    in_sync: InSync,
    progress: BTreeMap<NodeId, Progress>,
    began: Moment,
    waiting: VecDeque<Waiting>,
}

/// Who leads, and by what it goes.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) me: NodeId,
    pub(crate) my_epoch: BrokerEpoch,
    pub(crate) brokers: Brokers,
    pub(crate) timing: Timing,
}

impl Leader {
    /// Begins to lead. The effects begin the epoch in the log before anything else.
    pub(crate) fn begin(
        seat: Seat,
        view: PartitionView,
        log: LogFacts,
        high_watermark: Offset,
        now: Moment,
    ) -> (Leader, Vec<Effect>) {
        let Seat { me, my_epoch, brokers, timing } = seat;
        let mut leader = Leader {
            me,
            my_epoch,
            in_sync: InSync::new(view.isr.clone()),
            brokers,
            timing,
            log,
            epoch_start: log.end,
            high_watermark,
            confirmed: false,
            progress: BTreeMap::new(),
            began: now,
            waiting: VecDeque::new(),
            view,
        };
        let mut effects = vec![Effect::BeginEpoch(leader.view.leader_epoch)];
        leader.look(now, &mut effects);
        (leader, effects)
    }

    /// Is elected again, in a later epoch. Nothing that a follower said before counts: it may have been taken from the replicas and
    /// added anew in between, without its records.
    pub(crate) fn begin_again(
        &mut self,
        view: PartitionView,
        brokers: Brokers,
        log: LogFacts,
        now: Moment,
    ) -> Vec<Effect> {
        let mut effects = vec![Effect::BeginEpoch(view.leader_epoch)];
        self.in_sync.commit(view.isr.clone());
        self.view = view;
        self.brokers = brokers;
        self.log = log;
        self.epoch_start = log.end;
        self.confirmed = false;
        self.began = now;
        self.forget();
        self.look(now, &mut effects);
        effects
    }

    fn forget(&mut self) {
        #[cfg(feature = "teeth")]
        millrace_types::planted!(JoinWithoutFetchOfEpoch => return);
        self.progress.clear();
    }

    /// Hears something.
    pub fn step(&mut self, event: LeaderEvent, now: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            LeaderEvent::Log(log) => self.log = log,
            LeaderEvent::Appended { id, last } => self.waiting.push_back(Waiting { id, last }),
            LeaderEvent::Fetch { fetch, found } => {
                let answer = self.fetch(&fetch, found, now);
                // The answer tells of the high watermark that this fetch has made.
                self.look(now, &mut effects);
                let answer = match answer {
                    FetchAnswer::Records { from, log_start, .. } => {
                        FetchAnswer::Records { from, high_watermark: self.high_watermark, log_start }
                    }
                    other => other,
                };
                let fetched = Fetched {
                    id: fetch.id,
                    partition: fetch.partition,
                    leader_epoch: fetch.leader_epoch,
                    answer,
                };
                effects.push(Effect::Answer { to: fetch.replica, answer: fetched });
                return effects;
            }
            LeaderEvent::Altered(answer) => self.altered(answer, now),
            LeaderEvent::Metadata { view, brokers } => {
                self.brokers = brokers;
                if self.is_newer(view.partition_epoch) {
                    self.take(view);
                } else if view.partition_epoch == self.view.partition_epoch {
                    // The metadata come in order: at the same partition epoch theirs is the later word.
                    self.view.isr_min = view.isr_min;
                    self.view.unclean_epoch = view.unclean_epoch;
                }
            }
            LeaderEvent::Tick => {}
        }
        self.look(now, &mut effects);
        effects
    }

    /// Whether a batch with acks=all may be appended.
    ///
    /// # Errors
    /// [`ProduceRefusal`]: definite.
    pub fn admit(&self) -> Result<(), ProduceRefusal> {
        let (found, needed) = (self.in_sync.committed().len(), self.view.isr_min);
        if found < needed { Err(ProduceRefusal::NotEnoughReplicas { found, needed }) } else { Ok(()) }
    }

    /// What is known to be committed. Less than what is, until it has reached [`Leader::epoch_start`].
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Where its log ended when it was elected.
    #[must_use]
    pub fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    /// The end of what is committed, for who asks where the partition ends; `None` while an earlier leader may have committed
    /// more than is known here.
    #[must_use]
    pub fn latest_offset(&self) -> Option<Offset> {
        let known = self.high_watermark >= self.epoch_start;
        #[cfg(feature = "teeth")]
        let known = millrace_types::planted!(LatestBeforeEpochStart, true, else known);
        known.then_some(self.high_watermark)
    }

    /// Whether nothing of an earlier leader can be committed any more that it does not hold. Until those in sync have fetched from
    /// it in its epoch that is not known: it may have been replaced before it heard of its election, and the next leader may have
    /// committed what this one never had.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// The partition as it is committed.
    #[must_use]
    pub fn view(&self) -> &PartitionView {
        &self.view
    }

    /// All who are in sync, or may be.
    #[must_use]
    pub fn maximal_isr(&self) -> BTreeSet<NodeId> {
        self.in_sync.maximal().collect()
    }

    /// Whether the controller was asked and has not answered.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.in_sync.is_under_way()
    }

    /// Whether a request for other in-sync replicas was made whose outcome is not certain.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.in_sync.is_under_way() || self.in_sync.is_in_doubt()
    }

    /// How far a follower is.
    #[must_use]
    pub fn progress(&self, follower: NodeId) -> Option<&Progress> {
        self.progress.get(&follower)
    }

    /// Gives up leading: those who wait are told that nobody knows.
    pub(crate) fn resign(self) -> (Offset, Vec<Effect>) {
        let doubts = self.waiting.iter().map(|waiting| Effect::InDoubt(waiting.id, Doubt::NotLeader));
        (self.high_watermark, doubts.collect())
    }

    fn is_newer(&self, partition_epoch: PartitionEpoch) -> bool {
        let newer = partition_epoch > self.view.partition_epoch;
        #[cfg(feature = "teeth")]
        let newer = millrace_types::planted!(OldPartitionEpochTaken, partition_epoch != self.view.partition_epoch, else newer);
        newer
    }

    fn take(&mut self, view: PartitionView) {
        self.in_sync.commit(view.isr.clone());
        self.progress.retain(|node, _| view.replicas.contains(node));
        self.view = view;
    }

    fn altered(&mut self, answer: AlterAnswer, now: Moment) {
        match answer.outcome {
            Ok(view) if view.leader_epoch == self.view.leader_epoch => {
                if self.is_newer(view.partition_epoch) {
                    self.take(view);
                }
            }
            Err(refusal) if answer.asked == self.view.partition_epoch && self.in_sync.is_under_way() => {
                self.in_sync.refused(refusal, Moment(now.0 + self.timing.retry_ms));
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Counts a fetch, if it is one that counts.
    fn fetch(&mut self, fetch: &Fetch, found: Option<EpochEnd>, now: Moment) -> FetchAnswer {
        if let Some(refusal) = self.refusal(fetch) {
            return FetchAnswer::Refused(refusal);
        }
        if fetch.next < self.log.start || self.is_unknown(fetch, found) {
            return FetchAnswer::BelowStart { log_start: self.log.start };
        }
        if let Comparison::Parts(theirs) = compare(fetch.next, fetch.last_epoch, found, self.log.end) {
            return FetchAnswer::Diverging(theirs);
        }
        let heard = Heard { at: now, end: self.log.end, lag_ms_max: self.timing.lag_ms_max };
        self.progress
            .entry(fetch.replica)
            .and_modify(|progress| {
                if progress.broker_epoch == fetch.broker_epoch && progress.leader_epoch == fetch.leader_epoch
                {
                    progress.note(fetch, heard);
                } else {
                    // Whoever has registered anew may hold less than it did before.
                    *progress = Progress::new(fetch, heard);
                }
            })
            .or_insert_with(|| Progress::new(fetch, heard));
        FetchAnswer::Records {
            from: fetch.next,
            high_watermark: self.high_watermark,
            log_start: self.log.start,
        }
    }

    /// Whether a follower that is where this log starts may have had other records before that: they are of an epoch from before all
    /// that is known here, since what this log had of it is deleted.
    fn is_unknown(&self, fetch: &Fetch, found: Option<EpochEnd>) -> bool {
        let before_all = EpochEnd { epoch: fetch.last_epoch, end: self.log.start };
        let is_last = fetch.last_epoch == self.log.last_epoch;
        fetch.next == self.log.start
            && !is_last
            && fetch.last_epoch != LeaderEpoch::NONE
            && found == Some(before_all)
    }

    fn refusal(&self, fetch: &Fetch) -> Option<FetchRefusal> {
        let other_topic = fetch.partition != self.view.id;
        #[cfg(feature = "teeth")]
        let other_topic = millrace_types::planted!(TopicIdNotChecked, false, else other_topic);
        if other_topic {
            return Some(FetchRefusal::OtherTopic);
        }
        if fetch.leader_epoch < self.view.leader_epoch {
            return Some(FetchRefusal::FencedLeaderEpoch);
        }
        if fetch.leader_epoch > self.view.leader_epoch {
            return Some(FetchRefusal::UnknownLeaderEpoch);
        }
        if !self.view.replicas.contains(&fetch.replica) || fetch.replica == self.me {
            return Some(FetchRefusal::NotAReplica);
        }
        let heard = self.progress.get(&fetch.replica).map(|progress| progress.broker_epoch);
        let registered = self.brokers.get(&fetch.replica).map(|broker| broker.epoch);
        let stale = heard.max(registered).is_some_and(|newest| fetch.broker_epoch < newest);
        stale.then_some(FetchRefusal::StaleBrokerEpoch)
    }

    /// Does what is due: moves the high watermark, answers who waits, asks for other in-sync replicas.
    fn look(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.advance(effects);
        self.answer(effects);
        if let Some(again) = self.in_sync.overdue(now, self.timing.retry_ms) {
            effects.push(Effect::Alter(again));
        }
        self.ask(now, effects);
    }

    fn advance(&mut self, effects: &mut Vec<Effect>) {
        let enough = self.view.can_commit();
        #[cfg(feature = "teeth")]
        let enough = millrace_types::planted!(HighWatermarkWithoutMinimum, true, else enough);
        if !enough {
            return;
        }
        let mine = self.log.held;
        #[cfg(feature = "teeth")]
        let mine = millrace_types::planted!(LeaderCountsUnsynced, self.log.end, else mine);
        let others: Vec<NodeId> = self.in_sync.maximal().filter(|node| *node != self.me).collect();
        #[cfg(feature = "teeth")]
        let others = millrace_types::planted!(
            HighWatermarkOfCurrentSet,
            self.in_sync.committed().iter().copied().filter(|node| *node != self.me).collect(),
            else others
        );
        let least =
            others.iter().map(|node| self.progress.get(node).map_or(Offset::ZERO, |found| found.held)).min();
        let to = least.map_or(mine, |least| least.min(mine));
        self.confirmed |= to >= self.epoch_start;
        if to > self.high_watermark {
            self.high_watermark = to;
            effects.push(Effect::HighWatermark(to));
        }
    }

    fn answer(&mut self, effects: &mut Vec<Effect>) {
        let high_watermark = self.high_watermark;
        let enough = self.view.can_commit();
        // An exact retry waits for an offset that is not the last, so the line is not in order.
        self.waiting.retain(|waiting| {
            if waiting.last < high_watermark {
                effects.push(Effect::Committed(waiting.id));
                return false;
            }
            if !enough {
                effects.push(Effect::InDoubt(waiting.id, Doubt::NotEnoughReplicas));
            }
            enough
        });
    }

    fn ask(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if !self.in_sync.may_ask(now) {
            return;
        }
        let wanted = self.wanted(now);
        if wanted == *self.in_sync.committed() && !self.in_sync.is_in_doubt() {
            return;
        }
        let alter = Alter {
            partition: self.view.id,
            leader: self.me,
            broker_epoch: self.my_epoch,
            leader_epoch: self.view.leader_epoch,
            partition_epoch: self.view.partition_epoch,
            isr: wanted.into_iter().map(|node| (node, self.registration(node))).collect(),
        };
        self.in_sync.ask(&alter, now);
        effects.push(Effect::Alter(alter));
    }

    /// The registration under which a replica was heard; as the metadata know it if it was not.
    fn registration(&self, node: NodeId) -> BrokerEpoch {
        if node == self.me {
            return self.my_epoch;
        }
        let heard = self.progress.get(&node).map(|progress| progress.broker_epoch);
        #[cfg(feature = "teeth")]
        let heard = millrace_types::planted!(IsrJoinWithoutEpoch, None, else heard);
        let registered = self.brokers.get(&node).map(|broker| broker.epoch);
        heard.or(registered).unwrap_or(BrokerEpoch::NONE)
    }

    /// Who ought to be in sync.
    fn wanted(&self, now: Moment) -> BTreeSet<NodeId> {
        let committed = self.in_sync.committed();
        let stays = |node: &NodeId| {
            let caught_up = self.progress.get(node).and_then(|progress| progress.caught_up_at);
            *node == self.me || now.since(caught_up.unwrap_or(self.began)) <= self.timing.lag_ms_max
        };
        let mut wanted: BTreeSet<NodeId> = committed.iter().copied().filter(stays).collect();
        wanted.extend(
            self.view.replicas.difference(committed).copied().filter(|node| self.may_join(*node, now)),
        );
        wanted
    }

    /// Whether a replica certainly holds all that is committed, and its broker is one that may be elected.
    fn may_join(&self, node: NodeId, now: Moment) -> bool {
        let Some(progress) = self.progress.get(&node) else { return false };
        let Some(broker) = self.brokers.get(&node) else { return false };
        let heard_now = progress.leader_epoch == self.view.leader_epoch;
        #[cfg(feature = "teeth")]
        let heard_now = millrace_types::planted!(JoinWithoutFetchOfEpoch, true, else heard_now);
        let same_run = broker.epoch == progress.broker_epoch;
        #[cfg(feature = "teeth")]
        let same_run = millrace_types::planted!(IsrJoinWithoutEpoch, true, else same_run);
        // The high watermark of a new leader may be an old one; where its epoch starts is not.
        let complete = progress.held >= self.high_watermark && progress.held >= self.epoch_start;
        // Whoever joins and is behind would be taken out again at once.
        let lately = progress.caught_up_at.is_some_and(|at| now.since(at) <= self.timing.lag_ms_max);
        let is_in_sync = complete && lately;
        #[cfg(feature = "teeth")]
        let is_in_sync = millrace_types::planted!(JoinBelowEpochStart, progress.held >= self.high_watermark, else is_in_sync);
        broker.may_join && heard_now && same_run && is_in_sync
    }

    /// The epoch in which it leads.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.view.leader_epoch
    }
}

#[cfg(test)]
mod tests;
