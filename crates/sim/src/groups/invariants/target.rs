//! G2, as it is written down: everything that somebody subscribes to is to be one subscriber's, and nothing else is; nobody owns
//! what another does; no member is ahead of its group; and where all want the same they get as much.

use std::collections::{BTreeMap, BTreeSet};

use millrace_group::{GroupEpoch, GroupState, Subscription};
use millrace_types::{PartitionIndex, TopicPartition};

use super::{Invariant, Scene, Verdict};
use crate::groups::coordinator::matches;
use crate::groups::wire::Topic;

#[derive(Default)]
pub(crate) struct LegalTarget {
    /// The epoch that was looked at last, and for how many members.
    seen: Option<(GroupEpoch, usize)>,
}

/// Whether a subscription covers a topic.
pub(crate) fn covers(wants: &Subscription, topic: &Topic) -> bool {
    wants.names.contains(&topic.name)
        || wants.pattern.as_ref().is_some_and(|pattern| matches(pattern, &topic.name))
}

/// Its partitions.
pub(crate) fn partitions(topic: &Topic) -> impl Iterator<Item = TopicPartition> {
    let id = topic.id;
    (0..topic.partitions).map(move |number| TopicPartition { topic: id, partition: PartitionIndex(number) })
}

fn owners(state: &GroupState) -> Verdict {
    let mut owners = BTreeMap::new();
    for (member, current) in &state.currents {
        for partition in current.held() {
            if let Some(other) = owners.insert(partition, member) {
                return Err(format!("{other} and {member} are written down as owners of {partition}"));
            }
        }
        if current.epoch > state.meta.epoch || current.previous_epoch > current.epoch {
            return Err(format!("{member} is at {}, the group at {}", current.epoch, state.meta.epoch));
        }
    }
    Ok(())
}

impl Invariant for LegalTarget {
    fn name(&self) -> &'static str {
        "the target is legal"
    }

    fn after(&mut self, scene: Scene<'_>) -> Verdict {
        let Some(state) = scene.state else { return Ok(()) };
        owners(state)?;
        let seen = Some((state.meta.epoch, state.members.len()));
        if self.seen == seen {
            return Ok(());
        }
        self.seen = seen;
        let mut wanted = BTreeSet::new();
        for topic in scene.topics {
            if state.members.values().any(|profile| covers(&profile.subscription, topic)) {
                wanted.extend(partitions(topic));
            }
        }
        let mut targeted = BTreeSet::new();
        for (member, target) in &state.targets {
            let profile = state.members.get(member).ok_or_else(|| format!("{member} has a target alone"))?;
            for partition in target {
                let topic = scene.topics.iter().find(|topic| topic.id == partition.topic);
                if !topic.is_some_and(|topic| covers(&profile.subscription, topic)) {
                    return Err(format!("{member} is to own {partition}, which it does not want"));
                }
                if !targeted.insert(*partition) {
                    return Err(format!("{partition} is to be {member}'s and another's"));
                }
            }
        }
        if targeted != wanted {
            return Err(format!("{wanted:?} are wanted, {targeted:?} are given"));
        }
        balance(state)
    }
}

fn balance(state: &GroupState) -> Verdict {
    let wants: BTreeSet<_> = state.members.values().map(|profile| &profile.subscription).collect();
    let sizes = || state.targets.values().map(BTreeSet::len);
    match (wants.len(), sizes().min(), sizes().max()) {
        (1, Some(least), Some(most)) if most - least > 1 => {
            Err(format!("one is to own {least} and another {most}, and they want the same"))
        }
        _ => Ok(()),
    }
}
