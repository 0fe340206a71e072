//! Lists, describes and deletes groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_group::{Front, GroupEpoch, GroupState, MemberId, Profile, Standing, partition_of};
use millrace_metadata::Image;
use millrace_types::{ErrorCode, GroupId, Offset, PartitionIndex, TopicPartition};

use crate::admission::{Operation, Resource};
use crate::core::{Core, both};
use crate::{ApiError, Context, TopicRef};

/// What kind of group it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupKind {
    /// Offsets only: nobody was ever a member.
    Offsets,
    /// The coordinator assigns.
    Consumer,
    /// A member assigns (Kafka's join and sync).
    Classic,
}

/// How far a group is with its assignment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupStage {
    /// Nobody is in it.
    Empty,
    /// Somebody is on the way to what it is to own.
    Reconciling,
    /// Everybody owns what it is to own.
    Stable,
}

/// A group in a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupListing {
    /// Its name.
    pub group: GroupId,
    /// What kind of group it is.
    pub kind: GroupKind,
    /// How far it is.
    pub stage: GroupStage,
    /// How many are in it.
    pub members: usize,
}

/// A group, in full.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupDescription {
    /// As in a list.
    pub listing: GroupListing,
    /// Counts the changes of the group.
    pub epoch: GroupEpoch,
    /// Who computed the assignment: an assignor of ours, or the protocol of a classic group; empty if nobody has.
    pub assignor: String,
    /// By id.
    pub members: Vec<GroupMemberDescription>,
}

/// Partitions by topic, with the topic's name where it still exists.
pub type ByTopic = Vec<(TopicRef, Vec<PartitionIndex>)>;

/// A member of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupMemberDescription {
    /// Its id.
    pub member: MemberId,
    /// What it is and wants.
    pub profile: Profile,
    /// The epoch that it was told last.
    pub epoch: GroupEpoch,
    /// What it owns and is to keep.
    pub owned: ByTopic,
    /// What it owns and is to let go.
    pub revoking: ByTopic,
    /// What it is to own in the end.
    pub target: ByTopic,
}

/// As a list has it.
fn listing(group: &GroupId, state: &GroupState) -> GroupListing {
    let kind = match state.front() {
        None => GroupKind::Offsets,
        Some(Front::Consumer) => GroupKind::Consumer,
        Some(Front::Classic) => GroupKind::Classic,
    };
    let members = member_count(state);
    let is_stable = state.classic.as_ref().map_or_else(|| is_settled(state), |classic| classic.synced);
    let stage = match (members, is_stable) {
        (0, _) => GroupStage::Empty,
        (_, true) => GroupStage::Stable,
        (_, false) => GroupStage::Reconciling,
    };
    GroupListing { group: group.clone(), kind, stage, members }
}

/// How many are in a group, whoever assigns.
pub(crate) fn member_count(state: &GroupState) -> usize {
    state.members.len() + state.classic.as_ref().map_or(0, |classic| classic.members.len())
}

/// Refuses what only a group without members allows.
pub(crate) fn check_empty(group: &GroupId, state: &GroupState) -> Result<(), ApiError> {
    match member_count(state) {
        0 => Ok(()),
        members => {
            let message = format!("group {group} has {members} members");
            Err(ApiError::new(ErrorCode::GroupNotEmpty, message))
        }
    }
}

fn is_settled(state: &GroupState) -> bool {
    state.currents.iter().all(|(member, current)| {
        current.standing == Standing::Departed
            || (current.epoch == state.meta.epoch
                && current.revoking.is_empty()
                && state.targets.get(member) == Some(&current.assigned))
    })
}

fn described(image: &Image, group: &GroupId, state: &GroupState) -> GroupDescription {
    let listing = listing(group, state);
    if let Some(classic) = &state.classic {
        let members = classic.members.iter().map(|(member, known)| GroupMemberDescription {
            member: member.clone(),
            profile: Profile {
                instance: known.instance.clone(),
                client_id: known.client_id.clone(),
                client_host: known.client_host.clone(),
                rebalance_timeout_ms: known.rebalance_timeout_ms,
                ..Profile::default()
            },
            epoch: classic.generation,
            owned: ByTopic::new(),
            revoking: ByTopic::new(),
            target: ByTopic::new(),
        });
        let assignor = classic.protocol.clone().unwrap_or_default();
        return GroupDescription { listing, epoch: classic.generation, assignor, members: members.collect() };
    }
    let members = state.members.iter().map(|(member, profile)| {
        let current = state.currents.get(member).cloned().unwrap_or_default();
        GroupMemberDescription {
            member: member.clone(),
            profile: profile.clone(),
            epoch: current.epoch,
            owned: by_topic(image, &current.assigned),
            revoking: by_topic(image, &current.revoking),
            target: state.targets.get(member).map(|target| by_topic(image, target)).unwrap_or_default(),
        }
    });
    let assignor = state.front().map(|_| state.meta.assignor.name().to_owned()).unwrap_or_default();
    GroupDescription { listing, epoch: state.meta.epoch, assignor, members: members.collect() }
}

/// Partitions by topic, in the order of the ids.
pub(crate) fn by_topic(image: &Image, partitions: &BTreeSet<TopicPartition>) -> ByTopic {
    let mut topics: BTreeMap<_, Vec<PartitionIndex>> = BTreeMap::new();
    for at in partitions {
        topics.entry(at.topic).or_default().push(at.partition);
    }
    let named = topics.into_iter().map(|(id, partitions)| {
        let topic = image.topic_by_id(id).map_or(TopicRef::Id(id), |topic| both(&topic.name, id));
        (topic, partitions)
    });
    named.collect()
}

impl Core {
    pub(crate) fn list_groups(self: &Arc<Self>, ctx: &Context) -> Result<Vec<GroupListing>, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::ListGroups, Resource::Cluster)?;
        let mut groups = BTreeMap::new();
        let nobody = GroupState::default();
        self.groups.look_at_each(|look| {
            look.whole()?;
            let states = look.groups().filter(|(_, state)| !state.is_forgotten());
            groups.extend(states.map(|(group, state)| (group.clone(), listing(group, state))));
            for group in look.offsets.groups() {
                groups.entry(group.clone()).or_insert_with(|| listing(group, &nobody));
            }
            Ok(())
        })?;
        groups.retain(|group, _| {
            self.admission.authorize(ctx, Operation::ListGroups, Resource::Group(group)).is_ok()
        });
        Ok(groups.into_values().collect())
    }

    pub(crate) fn describe_group(
        self: &Arc<Self>,
        ctx: &Context,
        group: &GroupId,
    ) -> Result<GroupDescription, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::DescribeGroup, Resource::Group(group))?;
        let (state, _) = self.known_group(group)?;
        Ok(described(&self.metadata.image(), group, &state))
    }

    pub(crate) async fn delete_group(
        self: &Arc<Self>,
        ctx: &Context,
        group: &GroupId,
    ) -> Result<(), ApiError> {
        let in_flight = self.admission.admit(ctx, Operation::DeleteGroup, Resource::Group(group))?;
        self.groups.delete_group(in_flight, group).await
    }

    /// What is known of a group: its members, and where it is in each partition of topics that still exist.
    ///
    /// # Errors
    /// `GROUP_NOT_FOUND`, or why it cannot be said.
    pub(crate) fn known_group(
        &self,
        group: &GroupId,
    ) -> Result<(GroupState, BTreeMap<TopicPartition, Offset>), ApiError> {
        let (state, committed) = self.group_with_offsets(group)?;
        if state.is_forgotten() && committed.is_empty() {
            return Err(not_found(group));
        }
        Ok((state, committed))
    }

    /// The same of a group that need not be there.
    pub(crate) fn group_with_offsets(
        &self,
        group: &GroupId,
    ) -> Result<(GroupState, BTreeMap<TopicPartition, Offset>), ApiError> {
        let image = self.metadata.image();
        self.groups.look(partition_of(group), |look| {
            look.whole()?;
            let alive = look
                .offsets
                .of_group(group)
                .filter(|(_, value)| image.topic_by_id(value.topic_id).is_some())
                .map(|(key, value)| {
                    (TopicPartition { topic: value.topic_id, partition: key.partition }, value.offset)
                });
            Ok((look.group(group).cloned().unwrap_or_default(), alive.collect()))
        })?
    }
}

fn not_found(group: &GroupId) -> ApiError {
    let message = format!("nobody is in group {group}, and it has committed nothing");
    ApiError::new(ErrorCode::GroupNotFound, message)
}
