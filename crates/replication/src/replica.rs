//! What a broker is to a partition, and how that changes with the metadata.
//!
//! ```text
//!              leader is me, in a later epoch                  leader is another, or nobody, in a later epoch
//!   follower ────────────────────────────────► leader ────────────────────────────────────────► follower
//! ```
//! The metadata come in order, but not every state of them is seen: a step goes from any state to any later one.

use millrace_types::{BrokerEpoch, LeaderEpoch, NodeId, Offset};

use crate::effect::Effect;
use crate::fetch::{Fetch, FetchAnswer, FetchRefusal, Fetched};
use crate::follower::{Follower, FollowerEvent, Place};
use crate::leader::{Leader, LeaderEvent, Seat};
use crate::partition::{Brokers, LogFacts, Moment, PartitionView, Timing};

/// What a replica hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The metadata, as far as this broker has applied them.
    Metadata {
        /// The partition.
        view: PartitionView,
        /// The brokers.
        brokers: Brokers,
        /// The log at this moment.
        log: LogFacts,
    },
    /// Its log has grown, or was cut, or more of it is held.
    Log(LogFacts),
    /// Something for the leader. A follower says that it is none, and does nothing with it.
    Leader(LeaderEvent),
    /// Something for the follower. A leader does nothing with it.
    Follower(FollowerEvent),
    /// Time has passed. To be stepped at least as often as the shortest time of [`Timing`].
    Tick,
}

/// One partition on one broker, in one run of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replica {
    me: NodeId,
    my_epoch: BrokerEpoch,
    timing: Timing,
    role: Role,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Role {
    /// The metadata have not come yet. What is committed is known from the log, if at all.
    New(Offset),
    Leader(Box<Leader>),
    Follower(Box<Follower>),
}

impl Replica {
    /// A replica that knows nothing yet but what an earlier run has left: `high_watermark` is what is certainly committed of the
    /// log; its start, if nothing more is known.
    #[must_use]
    pub fn new(me: NodeId, my_epoch: BrokerEpoch, timing: Timing, high_watermark: Offset) -> Replica {
        Replica { me, my_epoch, timing, role: Role::New(high_watermark) }
    }

    /// Hears something.
    pub fn step(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        match (event, &mut self.role) {
            (Event::Metadata { view, brokers, log }, _) => self.metadata(view, (brokers, log), now),
            (Event::Log(log), Role::Leader(leader)) => leader.step(LeaderEvent::Log(log), now),
            (Event::Log(log), Role::Follower(follower)) => follower.step(FollowerEvent::Log(log), now),
            (Event::Leader(event), Role::Leader(leader)) => leader.step(event, now),
            (Event::Follower(event), Role::Follower(follower)) => follower.step(event, now),
            // Who asks learns of that sooner than by silence.
            (Event::Leader(LeaderEvent::Fetch { fetch, .. }), Role::New(_) | Role::Follower(_)) => {
                let answer = FetchAnswer::Refused(FetchRefusal::NotLeader);
                let Fetch { id, partition, leader_epoch, .. } = fetch;
                let answer = Fetched { id, partition, leader_epoch, answer };
                vec![Effect::Answer { to: fetch.replica, answer }]
            }
            (Event::Tick, Role::Leader(leader)) => leader.step(LeaderEvent::Tick, now),
            (Event::Tick, Role::Follower(follower)) => follower.step(FollowerEvent::Tick, now),
            (Event::Log(_) | Event::Leader(_) | Event::Follower(_) | Event::Tick, _) => Vec::new(),
        }
    }

    /// It, as a leader.
    #[must_use]
    pub fn leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            Role::New(_) | Role::Follower(_) => None,
        }
    }

    /// It, as a follower.
    #[must_use]
    pub fn follower(&self) -> Option<&Follower> {
        match &self.role {
            Role::Follower(follower) => Some(follower),
            Role::New(_) | Role::Leader(_) => None,
        }
    }

    /// What is known to be committed of its log.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        match &self.role {
            Role::New(high_watermark) => *high_watermark,
            Role::Leader(leader) => leader.high_watermark(),
            Role::Follower(follower) => follower.high_watermark(),
        }
    }

    /// The newest leader epoch that it knows.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.view().map_or(LeaderEpoch::NONE, |view| view.leader_epoch)
    }

    /// The partition as it is known here.
    #[must_use]
    pub fn view(&self) -> Option<&PartitionView> {
        match &self.role {
            Role::New(_) => None,
            Role::Leader(leader) => Some(leader.view()),
            Role::Follower(follower) => Some(follower.view()),
        }
    }

    fn metadata(&mut self, view: PartitionView, told: (Brokers, LogFacts), now: Moment) -> Vec<Effect> {
        let (brokers, log) = told;
        // Metadata from before this run registered speak of an earlier one: what that led, this one does not.
        let knows_me = brokers.get(&self.me).is_some_and(|broker| broker.epoch == self.my_epoch);
        if !knows_me || view.leader_epoch < self.leader_epoch() {
            return Vec::new();
        }
        if view.leader_epoch == self.leader_epoch() {
            return match &mut self.role {
                Role::Leader(leader) => leader.step(LeaderEvent::Metadata { view, brokers }, now),
                Role::Follower(follower) => follower.step(FollowerEvent::Metadata(view), now),
                Role::New(_) => Vec::new(),
            };
        }
        if view.leader == Some(self.me) {
            if let Role::Leader(leader) = &mut self.role {
                return leader.begin_again(view, brokers, log, now);
            }
            let seat = Seat { me: self.me, my_epoch: self.my_epoch, brokers, timing: self.timing };
            let (leader, effects) = Leader::begin(seat, view, log, self.high_watermark(), now);
            self.role = Role::Leader(Box::new(leader));
            return effects;
        }
        let mut effects = Vec::new();
        let new = Role::New(self.high_watermark());
        let (high_watermark, fetches) = match std::mem::replace(&mut self.role, new) {
            Role::New(high_watermark) => ((high_watermark, LeaderEpoch::NONE), 0),
            Role::Follower(follower) => follower.leave(),
            Role::Leader(leader) => {
                let epoch = leader.leader_epoch();
                let (high_watermark, mut doubts) = leader.resign();
                effects.push(Effect::Follow);
                effects.append(&mut doubts);
                // Its answers are told apart by the leader epoch.
                ((high_watermark, epoch), 0)
            }
        };
        let place =
            Place { me: self.me, my_epoch: self.my_epoch, timing: self.timing, high_watermark, fetches };
        let (follower, mut begun) = Follower::begin(place, view, log, now);
        self.role = Role::Follower(Box::new(follower));
        effects.append(&mut begun);
        effects
    }
}

#[cfg(test)]
mod tests;
