//! Where things are, as far as this client has heard: the brokers, who leads a partition, who coordinates a group.
//!
//! ```text
//!   NOT_LEADER and its hint ─┐                          ┌─► Home: nobody has said; whoever is asked knows better
//!   a topic's description ───┼─► leaders, by partition ─┼─► At(address)
//!   a connection that broke ─┘                          └─► Unknown: wait, it is being looked up
//! ```
//! With one broker nothing of this matters: it is home. Pure but for the look-up in `client/look_up.rs`.

use std::collections::{BTreeMap, BTreeSet};

use millrace_types::{LeaderEpoch, NodeId, TopicId, TopicPartition};
use parking_lot::Mutex;

use crate::connection;

/// The most partitions whose leaders are remembered; whoever leads another is asked for.
const LEADERS_MAX: usize = 200_000;
/// The most groups whose coordinators are remembered.
const COORDINATORS_MAX: usize = 10_000;

/// Whom to ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Whichever broker the client asks first.
    Home,
    /// That one, `host:port`.
    At(String),
    /// Nobody knows at present: a moment later somebody may.
    Unknown,
}

/// Who leads a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Leader {
    Node(NodeId),
    /// As another broker said.
    At(String),
    /// Nobody did when it was looked up, or its leader does not answer.
    Nobody,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Led {
    epoch: LeaderEpoch,
    leader: Leader,
}

/// A partition, and who leads it.
pub(crate) type Leadership = (TopicPartition, Option<NodeId>, LeaderEpoch);

/// Where things are.
#[derive(Debug, Default)]
pub(crate) struct Whereabouts {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    brokers: BTreeMap<NodeId, String>,
    leaders: BTreeMap<TopicPartition, Led>,
    coordinators: BTreeMap<String, String>,
    /// The topics that are to be looked up.
    wanted: BTreeSet<TopicId>,
    is_looking: bool,
}

impl State {
    fn is_cluster(&self) -> bool {
        self.brokers.len() > 1
    }

    /// Remembers a leader, unless something newer is known.
    fn set(&mut self, at: TopicPartition, epoch: LeaderEpoch, leader: Leader) {
        if self.leaders.get(&at).is_some_and(|known| known.epoch > epoch) {
            return;
        }
        if self.leaders.len() >= LEADERS_MAX && !self.leaders.contains_key(&at) {
            self.leaders.clear();
        }
        self.leaders.insert(at, Led { epoch, leader });
    }

    fn address<'a>(&'a self, leader: &'a Leader) -> Option<&'a str> {
        match leader {
            Leader::Node(node) => self.brokers.get(node).map(String::as_str),
            Leader::At(address) => Some(address),
            Leader::Nobody => None,
        }
    }
}

impl Whereabouts {
    /// Whether there are several brokers to choose from.
    pub(crate) fn is_cluster(&self) -> bool {
        self.state.lock().is_cluster()
    }

    /// The addresses of the brokers, if there are several.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let state = self.state.lock();
        let brokers = state.brokers.values().filter(|_| state.is_cluster());
        brokers.cloned().collect()
    }

    /// Who leads a partition.
    pub(crate) fn leader(&self, at: TopicPartition) -> Place {
        let state = self.state.lock();
        let Some(led) = state.leaders.get(&at) else { return Place::Home };
        match &led.leader {
            Leader::At(address) => Place::At(address.clone()),
            _ if !state.is_cluster() => Place::Home,
            Leader::Nobody => Place::Unknown,
            Leader::Node(node) => state.brokers.get(node).cloned().map_or(Place::Home, Place::At),
        }
    }

    /// Takes what a broker says of all. An address that nobody can dial is none.
    pub(crate) fn learn_brokers(&self, brokers: impl IntoIterator<Item = (NodeId, String)>) {
        let can_be_dialled = |address: &str| {
            let host = address.rsplit_once(':').map_or("", |(host, _)| host);
            connection::check_address(address).is_ok() && !matches!(host, "0.0.0.0" | "[::]")
        };
        let brokers: BTreeMap<_, _> =
            brokers.into_iter().filter(|(_, address)| can_be_dialled(address)).collect();
        if !brokers.is_empty() {
            self.state.lock().brokers = brokers;
        }
    }

    /// Takes what a broker says of leaders.
    pub(crate) fn learn_leaders(&self, leaders: impl IntoIterator<Item = Leadership>) {
        let mut state = self.state.lock();
        for (at, leader, epoch) in leaders {
            state.set(at, epoch, leader.map_or(Leader::Nobody, Leader::Node));
        }
    }

    /// A broker that was asked does not lead the partition; another does, if it could name one.
    pub(crate) fn not_leader(&self, at: TopicPartition, named: Option<&str>) {
        let mut state = self.state.lock();
        match named {
            Some(address) if connection::check_address(address).is_ok() => {
                let epoch = state.leaders.get(&at).map_or(LeaderEpoch(0), |led| led.epoch);
                state.set(at, epoch, Leader::At(address.to_owned()));
            }
            _ if state.is_cluster() => {
                let epoch = state.leaders.get(&at).map_or(LeaderEpoch(0), |led| led.epoch);
                state.set(at, epoch, Leader::Nobody);
            }
            _ => drop(state.leaders.remove(&at)),
        }
    }

    /// A broker does not answer: whatever it leads or coordinates may be another's soon.
    pub(crate) fn lost(&self, address: &str) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let is_its = |state: &State, led: &Led| state.address(&led.leader) == Some(address);
        let lost: Vec<_> =
            state.leaders.iter().filter(|(_, led)| is_its(state, led)).map(|(at, _)| *at).collect();
        for at in lost {
            if !state.is_cluster() {
                state.leaders.remove(&at);
            } else if let Some(led) = state.leaders.get_mut(&at) {
                led.leader = Leader::Nobody;
            }
        }
        state.coordinators.retain(|_, coordinator| coordinator != address);
    }

    /// Who coordinates a group, if anybody has said.
    pub(crate) fn coordinator(&self, group: &str) -> Option<String> {
        self.state.lock().coordinators.get(group).cloned()
    }

    /// The broker that was asked does not coordinate the group; another does, if it could name one.
    pub(crate) fn not_coordinator(&self, group: &str, named: Option<&str>) {
        let mut state = self.state.lock();
        match named.filter(|address| connection::check_address(address).is_ok()) {
            Some(address) => {
                if state.coordinators.len() >= COORDINATORS_MAX {
                    state.coordinators.clear();
                }
                state.coordinators.insert(group.to_owned(), address.to_owned());
            }
            None => drop(state.coordinators.remove(group)),
        }
    }

    /// Asks that a topic be looked up; answers whether nobody is looking yet.
    pub(super) fn want(&self, topic: TopicId) -> bool {
        let mut state = self.state.lock();
        state.wanted.insert(topic);
        !std::mem::replace(&mut state.is_looking, true)
    }

    /// The topics of the next round; none ends the looking.
    pub(super) fn next_round(&self) -> BTreeSet<TopicId> {
        let mut state = self.state.lock();
        state.is_looking = !state.wanted.is_empty();
        std::mem::take(&mut state.wanted)
    }
}

#[cfg(test)]
mod tests {
    use millrace_types::PartitionIndex;

    use super::*;

    const TOPIC: TopicId = TopicId([7; 16]);

    fn at(partition: u32) -> TopicPartition {
        TopicPartition { topic: TOPIC, partition: PartitionIndex(partition) }
    }

    fn place(address: &str) -> Place {
        Place::At(address.to_owned())
    }

    fn three() -> Whereabouts {
        let known = Whereabouts::default();
        known.learn_brokers((1..=3).map(|node| (NodeId(node), format!("h{node}:1"))));
        known
    }

    #[test]
    fn with_one_broker_everything_is_at_home() {
        let known = Whereabouts::default();
        known.learn_brokers([(NodeId(1), "h1:1".to_owned())]);
        known.learn_leaders([(at(0), Some(NodeId(1)), LeaderEpoch(3)), (at(1), None, LeaderEpoch(3))]);
        assert_eq!((known.leader(at(0)), known.leader(at(1))), (Place::Home, Place::Home));
        assert!(known.addresses().is_empty());
        known.lost("h1:1");
        assert_eq!(known.leader(at(0)), Place::Home);
    }

    #[test]
    fn a_leader_is_found_followed_and_looked_for_when_it_is_gone() {
        let known = three();
        assert_eq!(known.leader(at(0)), Place::Home, "nobody has said");
        known.learn_leaders([(at(0), Some(NodeId(2)), LeaderEpoch(3))]);
        assert_eq!(known.leader(at(0)), place("h2:1"));
        known.lost("h2:1");
        assert_eq!(known.leader(at(0)), Place::Unknown);
        known.learn_leaders([(at(0), Some(NodeId(1)), LeaderEpoch(2))]);
        assert_eq!(known.leader(at(0)), Place::Unknown, "of a broker that is behind");
        known.learn_leaders([(at(0), Some(NodeId(3)), LeaderEpoch(4))]);
        assert_eq!(known.leader(at(0)), place("h3:1"));
        known.not_leader(at(0), Some("h1:1"));
        assert_eq!(known.leader(at(0)), place("h1:1"));
        known.not_leader(at(0), None);
        assert_eq!(known.leader(at(0)), Place::Unknown);
    }

    #[test]
    fn addresses_that_nobody_can_dial_are_none() {
        let known = Whereabouts::default();
        let given =
            [(NodeId(1), "0.0.0.0:7070"), (NodeId(2), "[::]:7070"), (NodeId(3), ""), (NodeId(4), "h:1")];
        known.learn_brokers(given.map(|(node, address)| (node, address.to_owned())));
        assert!(!known.is_cluster(), "only one is left");
    }

    #[test]
    fn a_coordinator_is_remembered_until_it_is_lost() {
        let known = three();
        known.not_coordinator("g", Some("h2:1"));
        assert_eq!(known.coordinator("g").as_deref(), Some("h2:1"));
        known.lost("h2:1");
        assert_eq!(known.coordinator("g"), None);
        known.not_coordinator("g", Some("nonsense"));
        assert_eq!(known.coordinator("g"), None);
    }

    #[test]
    fn one_looks_for_all() {
        let known = three();
        assert!(known.want(TOPIC));
        assert!(!known.want(TopicId([8; 16])));
        assert_eq!(known.next_round().len(), 2);
        assert!(!known.want(TOPIC), "somebody is still looking");
        assert_eq!(known.next_round().len(), 1);
        assert!(known.next_round().is_empty());
        assert!(known.want(TOPIC));
    }
}
