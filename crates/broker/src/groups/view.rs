//! What operators do with groups: look, count, delete, forget single offsets.

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_group::classic::{self, ClassicMember};
use millrace_group::consumer::ConsumerGroup;
use millrace_group::{
    Event as OffsetsEvent, Front, GroupEpoch, InstanceId, MemberId, OffsetCommitKey, partition_of,
};
use millrace_types::{ErrorCode, GroupId, TimestampMs, TopicName};
use tokio::sync::oneshot;

use super::coordinated::{Coordinated, Group};
use super::membership::answer_of;
use super::{Groups, Look, draft::Answered};
use crate::admission::{InFlight, Operation, Resource};
use crate::core::Core;
use crate::{ApiError, Context};

/// How many groups and members there are.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// By kind and stage.
    pub(crate) groups: BTreeMap<(&'static str, &'static str), usize>,
    pub(crate) members: usize,
    /// What the members take, as they are written down.
    pub(crate) bytes: usize,
}

/// How far a group is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Nobody is in it.
    Empty,
    /// Somebody is on the way to what it is to own.
    Reconciling,
    /// Everybody owns what it is to own.
    Stable,
}

impl Group {
    /// How far it is.
    pub(crate) fn stage(&self) -> Stage {
        let is_settled = match self {
            Group::Stored(_) => false,
            Group::Consumer(_) => self.consumer().is_some_and(ConsumerGroup::is_settled),
            Group::Classic(live) => live.group().stage() == classic::Stage::Stable,
        };
        match (self.members(), is_settled) {
            (0, _) => Stage::Empty,
            (_, true) => Stage::Stable,
            (_, false) => Stage::Reconciling,
        }
    }
}

/// A classic group in a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassicListing {
    /// Its name.
    pub group: GroupId,
    /// How far its newest generation is.
    pub stage: classic::Stage,
    /// `consumer`, `connect` and the like; empty if nobody was ever in it.
    pub protocol_type: String,
    /// How many are in it or wait for the next generation.
    pub members: usize,
}

/// A classic group as it is now: those who wait for the next generation are in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassicDescription {
    /// How far its newest generation is. Kafka says `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable`.
    pub stage: classic::Stage,
    /// Counts the generations.
    pub generation: GroupEpoch,
    /// `consumer`, `connect` and the like; empty if nobody was ever in it.
    pub protocol_type: String,
    /// How its newest generation assigns.
    pub protocol: Option<String>,
    /// Who assigns.
    pub leader: Option<MemberId>,
    /// By id.
    pub members: Vec<ClassicMemberDescription>,
}

/// A member of a classic group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassicMemberDescription {
    /// Its id.
    pub member: MemberId,
    /// The lasting name of a static member.
    pub instance: Option<InstanceId>,
    /// Name of the client, for people.
    pub client_id: String,
    /// Address of the client, for people.
    pub client_host: String,
    /// What it has told the leader, with the protocol of the newest generation.
    pub metadata: Bytes,
    /// What the leader gave it.
    pub assignment: Bytes,
}

impl ClassicDescription {
    fn of(group: &classic::ClassicGroup) -> ClassicDescription {
        let state = group.state();
        let member = |(id, known): (&MemberId, &ClassicMember)| {
            let chosen =
                known.protocols.iter().find(|offered| Some(&offered.name) == state.protocol.as_ref());
            ClassicMemberDescription {
                member: id.clone(),
                instance: known.instance.clone(),
                client_id: known.client_id.clone(),
                client_host: known.client_host.clone(),
                metadata: chosen.map(|offered| offered.metadata.clone()).unwrap_or_default(),
                assignment: known.assignment.clone(),
            }
        };
        ClassicDescription {
            stage: group.stage(),
            generation: state.generation,
            protocol_type: state.protocol_type.clone(),
            protocol: state.protocol.clone(),
            leader: state.leader.clone(),
            members: group.members().map(member).collect(),
        }
    }
}

impl<'a> Look<'a> {
    /// A group, if it is a classic one.
    pub(crate) fn classic(&self, id: &GroupId) -> Option<ClassicDescription> {
        self.value.group(id).and_then(Group::classic).map(ClassicDescription::of)
    }

    /// The classic groups, also those of which nothing is written down yet.
    pub(crate) fn classics(&self) -> impl Iterator<Item = ClassicListing> + use<'a> {
        let listed = |(id, group): (&GroupId, &Group)| {
            let group = group.classic()?;
            Some(ClassicListing {
                group: id.clone(),
                stage: group.stage(),
                protocol_type: group.state().protocol_type.clone(),
                members: group.members().count(),
            })
        };
        self.value.groups().filter_map(listed)
    }
}

impl Group {
    /// The group, if a member assigns and it has come to life.
    fn classic(&self) -> Option<&classic::ClassicGroup> {
        match self {
            Group::Classic(live) => Some(live.group()),
            Group::Consumer(_) | Group::Stored(_) => None,
        }
    }
}

impl Core {
    pub(crate) fn list_classic(&self, ctx: &Context) -> Result<Vec<ClassicListing>, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::ListGroups, Resource::Cluster)?;
        let mut listings = Vec::new();
        self.groups.look_at_each(|look| {
            listings.extend(look.classics());
            Ok(())
        })?;
        listings.retain(|listing| {
            let group = Resource::Group(&listing.group);
            self.admission.authorize(ctx, Operation::ListGroups, group).is_ok()
        });
        listings.sort_by(|one, other| one.group.cmp(&other.group));
        Ok(listings)
    }

    pub(crate) fn describe_classic(
        &self,
        ctx: &Context,
        group: &GroupId,
    ) -> Result<Option<ClassicDescription>, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::DescribeGroup, Resource::Group(group))?;
        self.groups.look(partition_of(group), |look| look.classic(group))
    }
}

impl Groups {
    /// Counts groups and members.
    pub(crate) fn census(&self) -> Census {
        let mut census = Census::default();
        for kind in ["consumer", "classic"] {
            for stage in ["empty", "reconciling", "stable"] {
                census.groups.insert((kind, stage), 0);
            }
        }
        for partition in &self.partitions {
            partition.each_group(|group| {
                let kind = if group.front() == Some(Front::Classic) { "classic" } else { "consumer" };
                let stage = match group.stage() {
                    Stage::Empty => "empty",
                    Stage::Reconciling => "reconciling",
                    Stage::Stable => "stable",
                };
                *census.groups.entry((kind, stage)).or_default() += 1;
                census.members += group.members();
            });
        }
        census.bytes = self.members_bytes();
        census
    }

    /// Forgets a group that nobody is in, with all that it has committed; answers when that is committed.
    ///
    /// # Errors
    /// GROUP_NOT_EMPTY, GROUP_NOT_FOUND, or as an append.
    pub(crate) async fn delete_group(&self, guard: InFlight, id: &GroupId) -> Result<(), ApiError> {
        let partition = self.partition(partition_of(id))?;
        let (sender, receiver) = oneshot::channel();
        let stepped = partition.step(Some(guard), |value, now, draft| {
            value.catch_up(id, draft, now);
            if let Err(refused) = value.check_nobody(id) {
                draft.reply(sender, Err(refused));
                return Ok(());
            }
            let keys: Vec<_> = value.offsets.of_group(id).map(|(key, _)| key.clone()).collect();
            if value.group(id).is_none() && keys.is_empty() {
                let message = format!("there is no group {id}");
                draft.reply(sender, Err(ApiError::new(ErrorCode::GroupNotFound, message)));
                return Ok(());
            }
            value.step_offsets(OffsetsEvent::Forgotten { keys }, now, draft, None);
            value.delete(id, now, draft);
            draft.reply(sender, Ok(Answered::Done));
            Ok(())
        });
        stepped.await?;
        answer_of(receiver).await.map(|_done| ())
    }

    /// Forgets single positions of a group, but for topics that its members read; answers each, in order, when that is
    /// committed.
    ///
    /// # Errors
    /// GROUP_NOT_FOUND, or as an append; of a single position GROUP_NOT_EMPTY.
    pub(crate) async fn delete_offsets(
        &self,
        guard: InFlight,
        id: &GroupId,
        keys: &[&OffsetCommitKey],
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        let partition = self.partition(partition_of(id))?;
        let (sender, receiver) = oneshot::channel();
        let mut answers = Vec::new();
        let stepped = partition.step(Some(guard), |value, now, draft| {
            value.catch_up(id, draft, now);
            if value.group(id).is_none() && value.offsets.of_group(id).next().is_none() {
                let message = format!("there is no group {id}");
                draft.reply(sender, Err(ApiError::new(ErrorCode::GroupNotFound, message)));
                return Ok(());
            }
            answers = keys.iter().map(|key| value.check_unread(id, &key.topic)).collect();
            let free = keys.iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
            let keys = free.map(|(key, _)| OffsetCommitKey::clone(key)).collect();
            value.step_offsets(OffsetsEvent::Forgotten { keys }, now, draft, None);
            draft.reply(sender, Ok(Answered::Done));
            Ok(())
        });
        stepped.await?;
        answer_of(receiver).await?;
        Ok(answers)
    }
}

impl Coordinated {
    /// Refuses what is only to be done to a topic that no member of the group reads. What members read who assign themselves is not
    /// known here.
    fn check_unread(&self, id: &GroupId, topic: &TopicName) -> Result<(), ApiError> {
        let Some(group) = self.group(id) else { return Ok(()) };
        let whenever = TimestampMs(0);
        let is_read = match group.consumer() {
            // What members read does not expire.
            Some(group) => group.expires_from(topic, whenever).is_none(),
            None => group.members() > 0,
        };
        if is_read {
            let message = format!("members of group {id} read topic {topic}");
            return Err(ApiError::new(ErrorCode::GroupNotEmpty, message));
        }
        Ok(())
    }

    /// Refuses what is only to be done while a group has no members.
    pub(super) fn check_nobody(&self, id: &GroupId) -> Result<(), ApiError> {
        let members = self.group(id).map_or(0, Group::members);
        if members == 0 {
            return Ok(());
        }
        let message = format!("the group has {members} members");
        Err(ApiError::new(ErrorCode::GroupNotEmpty, message))
    }
}
