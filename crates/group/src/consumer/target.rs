//! A new epoch: who assigns, over what, and what comes out.

use std::collections::{BTreeMap, BTreeSet};

use millrace_types::TopicPartition;

use super::ConsumerGroup;
use crate::assign::{AssignInput, Assignor, MemberInput, assign};
use crate::ids::{MemberId, Now};
use crate::state::{GroupMeta, GroupRecord};
use crate::topics::{DigestOver, Subscription, digest};

impl ConsumerGroup {
    /// The group has changed: a new epoch, and a target for it.
    pub(super) fn begin_epoch(&mut self, now: Now) {
        let empty = self.state.members.is_empty();
        let assignor = self.chosen_assignor();
        let meta = GroupMeta {
            epoch: self.state.meta.epoch.next(),
            assignor,
            digest: self.digest(),
            emptied_at: empty.then_some(now.wall),
        };
        self.write(GroupRecord::Meta(Some(meta)));
        for (member, target) in assign(assignor, &self.assign_input()) {
            if self.state.targets.get(&member) != Some(&target) {
                self.draft.due.insert(member.clone());
                self.set_target(&member, target);
            }
        }
    }

    /// Writes what a member is to own.
    pub(super) fn set_target(&mut self, member: &MemberId, target: BTreeSet<TopicPartition>) {
        self.untarget(member);
        self.targeted.extend(target.iter().map(|partition| (*partition, member.clone())));
        self.write(GroupRecord::Target { member: member.clone(), value: Some(target) });
    }

    /// Takes a member's target out of the index.
    pub(super) fn untarget(&mut self, member: &MemberId) {
        for partition in self.state.targets.get(member).into_iter().flatten() {
            // Another's new target may name it already.
            if self.targeted.get(partition) == Some(member) {
                self.targeted.remove(partition);
            }
        }
    }

    /// Of the topics that the members' subscriptions resolve to.
    pub(super) fn digest(&self) -> u64 {
        let subscriptions: BTreeSet<&Subscription> =
            self.state.members.values().map(|profile| &profile.subscription).collect();
        let topics: BTreeMap<_, _> =
            subscriptions.into_iter().flat_map(|subscription| self.topics.resolve(subscription)).collect();
        let over = match self.chosen_assignor() {
            Assignor::Rack => DigestOver::CountsAndRacks,
            Assignor::Range | Assignor::Uniform | Assignor::Sticky => DigestOver::Counts,
        };
        digest(topics.into_iter(), over)
    }

    /// What most of those who say anything say; of two with as many, the first in the list.
    fn chosen_assignor(&self) -> Assignor {
        let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
        for wanted in self.state.members.values().filter_map(|profile| profile.assignor) {
            *votes.entry(wanted).or_default() += 1;
        }
        let most = votes.values().copied().max();
        let chosen = votes.into_iter().find(|(_, count)| Some(*count) == most);
        chosen.map_or(self.config.assignor, |(assignor, _)| assignor)
    }

    fn assign_input(&self) -> AssignInput {
        // Members mostly subscribe to the same, so each subscription is resolved once.
        let mut resolved: BTreeMap<&Subscription, BTreeSet<_>> = BTreeMap::new();
        let mut input = AssignInput::default();
        for profile in self.state.members.values() {
            resolved.entry(&profile.subscription).or_insert_with(|| {
                let topics = self.topics.resolve(&profile.subscription);
                topics
                    .map(|(_, view)| (view.id, &view.shape))
                    .map(|(id, shape)| {
                        input.topics.entry(id).or_insert_with(|| shape.clone());
                        id
                    })
                    .collect()
            });
        }
        for (id, profile) in &self.state.members {
            let member = MemberInput {
                topics: resolved.get(&profile.subscription).cloned().unwrap_or_default(),
                rack: profile.rack.clone(),
                instance: profile.instance.clone(),
                owned: self.state.targets.get(id).cloned().unwrap_or_default(),
            };
            input.members.insert(id.clone(), member);
        }
        input
    }
}
