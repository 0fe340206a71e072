//! Who moves where when a broker comes or goes.
//!
//! ```text
//!   add 4     1 2 3    1 2 3    1 2 3    1 2 3    (12 replicas on 3 brokers: 4 brokers get 3 each)
//!             4 2 3    1 4 3    1 2 4    1 2 3
//!   remove 2  4 1 3    1 4 3    1 3 4    1 4 3
//! ```
//! A broker that comes takes over the place of whoever has most, so that nothing moves but what it gets; of what it has it leads its
//! share. Of a broker that goes, each replica goes to whoever has fewest and holds the partition not yet, into the same place.
//! Nothing that is on its way already is planned again.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use millrace_types::{NodeId, TopicId, TopicName, TopicPartition};

use crate::{Image, Partition, Refusal, Standing};

/// A partition that is to lie elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    /// The partition.
    pub at: TopicPartition,
    /// Where it lies, or will when what is on its way has come.
    pub from: Vec<NodeId>,
    /// Where it is to lie, the preferred leader first.
    pub to: Vec<NodeId>,
}

/// Why there is no plan.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlanRefusal {
    /// It could not hold anything.
    #[error("node {0} is not active: start it first")]
    NotActive(NodeId),
    /// There is nobody left for a replica.
    #[error(
        "topic {topic} has {replicas} replicas on as many brokers as are active without node {node}: add a broker first"
    )]
    NowhereElse {
        /// The broker that goes.
        node: NodeId,
        /// A topic of it.
        topic: TopicName,
        /// How many replicas a partition of it has.
        replicas: usize,
    },
    /// What lies on it is being moved in another way.
    #[error("{0} is being reassigned: wait until that is done, or cancel it")]
    UnderWay(TopicPartition),
}

/// Gives a broker its share of the partitions of users.
///
/// # Errors
/// [`Refusal::UnknownBroker`] and [`PlanRefusal::NotActive`].
pub fn plan_addition(image: &Image, node: NodeId) -> Result<Vec<Move>, Refusal> {
    let broker = image.broker(node).ok_or(Refusal::UnknownBroker(node))?;
    if broker.standing != Standing::Active {
        return Err(PlanRefusal::NotActive(node).into());
    }
    let topics = image.topics().filter(|topic| !topic.name.is_internal());
    let partitions = topics.flat_map(|topic| topic.numbered());
    let mut draft = Draft::of(image, partitions.filter(|(_, partition)| !partition.is_reassigned()));
    while draft.take_one(node) {}
    while draft.lead_one(node) {}
    Ok(draft.moves())
}

/// Moves everything off a broker.
///
/// # Errors
/// [`Refusal::UnknownBroker`], [`PlanRefusal::NowhereElse`] and [`PlanRefusal::UnderWay`].
pub fn plan_removal(image: &Image, node: NodeId) -> Result<Vec<Move>, Refusal> {
    if image.broker(node).is_none() {
        return Err(Refusal::UnknownBroker(node));
    }
    let mut draft = Draft::of(image, image.partitions());
    let held: Vec<_> = draft.placed.iter().filter(|(_, placed)| placed.now.contains(&node)).collect();
    let held: Vec<_> = held.into_iter().map(|(at, _)| *at).collect();
    for at in held {
        if image.partition(at).is_some_and(Partition::is_reassigned) {
            return Err(PlanRefusal::UnderWay(at).into());
        }
        if !draft.give_away(image, at, node) {
            let topic = image.topic_by_id(at.topic).ok_or(Refusal::UnknownPartition(at))?;
            let replicas = image.partition(at).map_or(0, |partition| partition.replicas.len());
            return Err(PlanRefusal::NowhereElse { node, topic: topic.name.clone(), replicas }.into());
        }
    }
    Ok(draft.moves())
}

/// Where a partition lies when everything that is under way is done.
fn target_of(partition: &Partition) -> Vec<NodeId> {
    partition.replicas.iter().copied().filter(|node| !partition.removing.contains(node)).collect()
}

/// How much a broker has.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Load {
    replicas: usize,
    /// Of how many partitions it is the preferred leader.
    first: usize,
}

#[derive(Debug)]
struct Placed {
    was: Vec<NodeId>,
    now: Vec<NodeId>,
}

/// A plan that is being made.
#[derive(Debug)]
struct Draft {
    placed: BTreeMap<TopicPartition, Placed>,
    loads: BTreeMap<NodeId, Load>,
    /// How many partitions of each topic the new broker has got.
    got: BTreeMap<TopicId, usize>,
}

impl Draft {
    fn of<'a>(image: &Image, partitions: impl Iterator<Item = (TopicPartition, &'a Partition)>) -> Draft {
        let loads = image.brokers().map(|broker| (broker.node, Load::default())).collect();
        let mut draft = Draft { placed: BTreeMap::new(), loads, got: BTreeMap::new() };
        for (at, partition) in partitions {
            let was = target_of(partition);
            for (place, node) in was.iter().enumerate() {
                let load = draft.loads.entry(*node).or_default();
                load.replicas += 1;
                load.first += usize::from(place == 0);
            }
            draft.placed.insert(at, Placed { now: was.clone(), was });
        }
        draft
    }

    fn load(&self, node: NodeId) -> Load {
        self.loads.get(&node).copied().unwrap_or_default()
    }

    /// Has `node` take over one replica of whoever has most; `false` if that would make nobody more equal.
    fn take_one(&mut self, node: NodeId) -> bool {
        let own = self.load(node).replicas;
        let mut donors: Vec<_> = self
            .loads
            .iter()
            .filter(|(_, load)| load.replicas > own + 1)
            .map(|(n, load)| (*load, *n))
            .collect();
        donors.sort_unstable_by_key(|(load, donor)| (std::cmp::Reverse(load.replicas), *donor));
        for (_, donor) in donors {
            let takes = |(_, placed): &(&TopicPartition, &Placed)| {
                placed.now.contains(&donor) && !placed.now.contains(&node)
            };
            // Of each topic as many as of any other, and leaders only once they are wanted.
            let key = |(at, placed): &(&TopicPartition, &Placed)| {
                let got = self.got.get(&at.topic).copied().unwrap_or_default();
                (got, placed.now.first() == Some(&donor), **at)
            };
            let best = self.placed.iter().filter(takes).min_by_key(key).map(|(at, _)| *at);
            if let Some(at) = best {
                *self.got.entry(at.topic).or_default() += 1;
                self.replace(at, donor, node);
                return true;
            }
        }
        false
    }

    /// Has `node` be first in one more partition that it holds; `false` if that would make nobody more equal.
    fn lead_one(&mut self, node: NodeId) -> bool {
        let own = self.load(node).first;
        let first_of = |placed: &Placed| placed.now.first().copied().map(|first| self.load(first).first);
        let held = self.placed.iter().filter(|(_, placed)| {
            placed.now.contains(&node) && first_of(placed).is_some_and(|first| first > own + 1)
        });
        let most = held.max_by_key(|(at, placed)| (first_of(placed), std::cmp::Reverse(**at)));
        let Some((at, index)) = most
            .and_then(|(at, placed)| Some((*at, placed.now.iter().position(|replica| *replica == node)?)))
        else {
            return false;
        };
        let Some(placed) = self.placed.get_mut(&at) else { return false };
        let before = placed.now.first().copied();
        placed.now.swap(0, index);
        if let Some(load) = before.and_then(|before| self.loads.get_mut(&before)) {
            load.first -= 1;
        }
        self.loads.entry(node).or_default().first += 1;
        true
    }

    /// Gives a replica to whoever has fewest; `false` if nobody can take it.
    fn give_away(&mut self, image: &Image, at: TopicPartition, node: NodeId) -> bool {
        let Some(placed) = self.placed.get(&at) else { return false };
        let is_first = placed.now.first() == Some(&node);
        let others = image
            .brokers()
            .filter(|broker| broker.is_active() && broker.node != node && !placed.now.contains(&broker.node));
        let key = |other: NodeId| {
            let Load { replicas, first } = self.load(other);
            if is_first { (first, replicas, other) } else { (replicas, first, other) }
        };
        match others.map(|broker| broker.node).min_by_key(|other| key(*other)) {
            Some(other) => {
                self.replace(at, node, other);
                true
            }
            None => false,
        }
    }

    fn replace(&mut self, at: TopicPartition, old: NodeId, new: NodeId) {
        let Some(placed) = self.placed.get_mut(&at) else { return };
        let Some(index) = placed.now.iter().position(|replica| *replica == old) else { return };
        if let Some(place) = placed.now.get_mut(index) {
            *place = new;
        }
        let first = usize::from(index == 0);
        let load = self.loads.entry(old).or_default();
        load.replicas -= 1;
        load.first -= first;
        let load = self.loads.entry(new).or_default();
        load.replicas += 1;
        load.first += first;
    }

    fn moves(self) -> Vec<Move> {
        let changed = self.placed.into_iter().filter(|(_, placed)| placed.was != placed.now);
        changed.map(|(at, Placed { was, now })| Move { at, from: was, to: now }).collect()
    }
}
