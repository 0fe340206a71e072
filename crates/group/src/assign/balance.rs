//! Uniform and sticky: the table of who holds how much, filled from below and levelled from the top.
//!
//! 1. What a member holds and may hold, it keeps (sticky only).
//! 2. What nobody holds goes to the subscriber with least, topics with few subscribers first.
//! 3. As long as some member holds two more than another subscriber of one of its topics, the fullest such gives one up.
//!
//! With equal subscriptions that moves as few partitions as balance allows: step 2 only ever lifts the lowest, and each
//! move of step 3 is one that the giver must give or the taker must get. Topics with the same subscribers are one *class*,
//! so that the common case, all subscribed to the same, keeps one sorted set and not one per topic.

use std::collections::{BTreeMap, BTreeSet};

use millrace_types::{TopicId, TopicPartition};

use super::{AssignInput, MemberInput, Target, dealing_order};
use crate::ids::MemberId;

/// What of the present is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keep {
    Nothing,
    Owned,
}

pub(super) fn assign(input: &AssignInput, keep: Keep) -> Target {
    let mut table = Table::new(input);
    table.fill(keep);
    table.level();
    table.into_target()
}

/// Topics with the same subscribers.
#[derive(Debug, Default)]
struct Class {
    topics: Vec<TopicId>,
    /// Load and place of each subscriber.
    by_load: BTreeSet<(usize, usize)>,
}

/// Who holds what, members by their place in the dealing order.
#[derive(Debug)]
pub(super) struct Table<'a> {
    input: &'a AssignInput,
    pub(super) members: Vec<(&'a MemberId, &'a MemberInput)>,
    classes: Vec<Class>,
    class_of_topic: BTreeMap<TopicId, usize>,
    classes_of_member: Vec<Vec<usize>>,
    /// Per member and class, what it holds.
    held: Vec<BTreeMap<usize, BTreeSet<TopicPartition>>>,
    load: Vec<usize>,
    /// All members by load.
    by_load: BTreeSet<(usize, usize)>,
    pub(super) owners: BTreeMap<TopicPartition, usize>,
}

impl<'a> Table<'a> {
    pub(super) fn new(input: &'a AssignInput) -> Table<'a> {
        let members = dealing_order(input);
        let mut topics_of: BTreeMap<Vec<usize>, Vec<TopicId>> = BTreeMap::new();
        for &topic in input.topics.keys() {
            let subscribers: Vec<usize> =
                (0..members.len()).filter(|&place| members[place].1.topics.contains(&topic)).collect();
            if !subscribers.is_empty() {
                topics_of.entry(subscribers).or_default().push(topic);
            }
        }
        let mut classes_of_member = vec![Vec::new(); members.len()];
        let mut class_of_topic = BTreeMap::new();
        let mut classes = Vec::with_capacity(topics_of.len());
        for (subscribers, topics) in topics_of {
            for &place in &subscribers {
                classes_of_member[place].push(classes.len());
            }
            class_of_topic.extend(topics.iter().map(|&topic| (topic, classes.len())));
            classes
                .push(Class { topics, by_load: subscribers.into_iter().map(|place| (0, place)).collect() });
        }
        Table {
            input,
            classes,
            class_of_topic,
            classes_of_member,
            held: vec![BTreeMap::new(); members.len()],
            load: vec![0; members.len()],
            by_load: (0..members.len()).map(|place| (0, place)).collect(),
            owners: BTreeMap::new(),
            members,
        }
    }

    /// Steps 1 and 2.
    pub(super) fn fill(&mut self, keep: Keep) {
        if keep == Keep::Owned {
            for place in 0..self.members.len() {
                let member = self.members[place].1;
                for &partition in &member.owned {
                    if self.may_own(place, partition) && !self.owners.contains_key(&partition) {
                        self.put(partition, place);
                    }
                }
            }
        }
        let mut order: Vec<usize> = (0..self.classes.len()).collect();
        order.sort_by_key(|&class| self.classes[class].by_load.len());
        for class in order {
            for topic in self.classes[class].topics.clone() {
                let Some(shape) = self.input.topics.get(&topic) else { continue };
                for partition in shape.indexes() {
                    let partition = TopicPartition { topic, partition };
                    if self.owners.contains_key(&partition) {
                        continue;
                    }
                    if let Some(&(_, place)) = self.classes[class].by_load.first() {
                        self.put(partition, place);
                    }
                }
            }
        }
    }

    /// Step 3. Each move makes the sum of the squares of the loads smaller, so there is an end.
    pub(super) fn level(&mut self) {
        let mut stuck = BTreeSet::new();
        while let Some((_, giver)) =
            self.by_load.iter().rev().copied().find(|(_, place)| !stuck.contains(place))
        {
            let Some((partition, taker)) = self.best_gift(giver) else {
                stuck.insert(giver);
                continue;
            };
            self.put(partition, taker);
            // The giver is lighter now: whoever shares a topic with it may be able to give to it.
            for &class in &self.classes_of_member[giver] {
                if self.classes[class].by_load.first().is_some_and(|&(_, place)| place == giver) {
                    for (_, place) in &self.classes[class].by_load {
                        stuck.remove(place);
                    }
                }
            }
        }
    }

    /// What `giver` would give first, and to whom: the lightest who is at least two below it.
    fn best_gift(&self, giver: usize) -> Option<(TopicPartition, usize)> {
        let lightest = |class: usize| self.classes[class].by_load.first().copied();
        let (load, taker, partition) = self.held[giver]
            .iter()
            .filter_map(|(&class, held)| {
                let (load, taker) = lightest(class)?;
                Some((load, taker, *held.last()?))
            })
            .min()?;
        (load + 2 <= self.load[giver]).then_some((partition, taker))
    }

    /// Whether, after a change between these two, nobody can give to anybody at least two below.
    pub(super) fn is_level_around(&self, giver: usize, taker: usize) -> bool {
        let heavier = self.classes_of_member[giver].iter().flat_map(|&class| {
            self.classes[class].by_load.range((self.load[giver] + 2, 0)..).map(|&(_, place)| place)
        });
        [giver, taker].into_iter().chain(heavier).all(|place| self.best_gift(place).is_none())
    }

    /// Whether the partition exists and the member subscribes to it.
    pub(super) fn may_own(&self, place: usize, partition: TopicPartition) -> bool {
        let exists = self.input.topics.get(&partition.topic).is_some_and(|shape| {
            usize::try_from(partition.partition.0).is_ok_and(|index| index < shape.partitions.len())
        });
        exists && self.members[place].1.topics.contains(&partition.topic)
    }

    pub(super) fn load(&self, place: usize) -> usize {
        self.load[place]
    }

    /// What a member holds, in order.
    pub(super) fn held(&self, place: usize) -> impl Iterator<Item = TopicPartition> + '_ {
        self.held[place].values().flatten().copied()
    }

    /// Gives a partition to a member, who subscribes to it, and takes it from whoever had it.
    pub(super) fn put(&mut self, partition: TopicPartition, place: usize) {
        let Some(&class) = self.class_of_topic.get(&partition.topic) else { return };
        if let Some(before) = self.owners.insert(partition, place) {
            if let Some(held) = self.held[before].get_mut(&class) {
                held.remove(&partition);
            }
            self.set_load(before, self.load[before] - 1);
        }
        self.held[place].entry(class).or_default().insert(partition);
        self.set_load(place, self.load[place] + 1);
    }

    fn set_load(&mut self, place: usize, load: usize) {
        let before = (self.load[place], place);
        self.load[place] = load;
        self.by_load.remove(&before);
        self.by_load.insert((load, place));
        for &class in &self.classes_of_member[place] {
            let by_load = &mut self.classes[class].by_load;
            by_load.remove(&before);
            by_load.insert((load, place));
        }
    }

    pub(super) fn into_target(self) -> Target {
        let held = self.held.into_iter().map(|held| held.into_values().flatten().collect());
        self.members.into_iter().map(|(id, _)| id.clone()).zip(held).collect()
    }
}
