//! A member that is heard of by single heartbeats: nothing reaches it but the answers to them (KIP-848 as clients of Kafka speak it).
//!
//! It is a member like those that hold a stream, of the same groups. It has no stream that could break, so only its silence takes
//! it out; and it cannot say up to where it has heard, so what it says of its partitions is believed if its epoch is the newest.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_group::assign::Assignor;
use millrace_group::consumer::{Assignment, Event, Heartbeat, Join, Leaving};
use millrace_group::{GroupEpoch, InstanceId, MemberId, Pattern, Profile, RackId, Standing};
use millrace_types::{ErrorCode, GroupId, TopicName, TopicPartition};

use super::coordinated::{Coordinated, Group};
use super::draft::{Answered, of_another_kind};
use super::membership::Open;
use crate::admission::{Operation, Resource};
use crate::core::Core;
use crate::{ApiError, Context, GroupAssignment};

/// A sign of life, by a member that holds no stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupHeartbeatRequest {
    /// The group.
    pub group: GroupId,
    /// One life of a consumer; `None` lets the coordinator draw the id, of one that joins.
    pub member: Option<MemberId>,
    /// Its lasting name, if it is static and says so.
    pub instance: Option<InstanceId>,
    /// What it says.
    pub says: MemberSays,
}

/// What a member says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MemberSays {
    /// It wants to be a member, or begins anew and owns nothing.
    Joins(Profile),
    /// It is there.
    Lives {
        /// The epoch that it was told last.
        epoch: GroupEpoch,
        /// What it owns, if it says so.
        owned: Option<BTreeSet<TopicPartition>>,
        /// What it wants from now on.
        changes: ProfileChanges,
        /// What it wants to hear.
        tell: Tell,
    },
    /// It goes.
    Leaves(Leaving),
}

impl MemberSays {
    /// As what it is counted.
    pub(crate) fn operation(&self) -> Operation {
        match self {
            MemberSays::Joins(_) => Operation::JoinGroup,
            MemberSays::Lives { .. } => Operation::GroupHeartbeat,
            MemberSays::Leaves(_) => Operation::LeaveGroup,
        }
    }
}

/// What has changed of what a member is and wants; `None` where nothing has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProfileChanges {
    /// Where it stands.
    pub rack: Option<RackId>,
    /// How long it may take to let go of partitions, in milliseconds.
    pub rebalance_timeout_ms: Option<u64>,
    /// Topics by name.
    pub names: Option<BTreeSet<TopicName>>,
    /// And those whose name a pattern matches; `Some(None)` if there is none any more.
    pub pattern: Option<Option<Pattern>>,
    /// By whom it wants to be assigned.
    pub assignor: Option<Assignor>,
}

/// When a member hears what it is to own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tell {
    /// When that has changed.
    Changes,
    /// In any case.
    Always,
}

/// The answer to a sign of life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupHeartbeatAnswer {
    /// It is a member.
    Lives {
        /// Its id, its epoch, and all that it is to own.
        assignment: GroupAssignment,
        /// Whether what it is to own is something that it has not heard.
        is_news: bool,
    },
    /// It is none any more, or not for now.
    Left,
}

impl Core {
    pub(crate) async fn group_heartbeat(
        self: &Arc<Self>,
        ctx: &Context,
        request: GroupHeartbeatRequest,
    ) -> Result<GroupHeartbeatAnswer, ApiError> {
        let GroupHeartbeatRequest { group, member, instance, says } = request;
        let _in_flight = self.admission.admit(ctx, says.operation(), Resource::Group(&group))?;
        let joins = matches!(says, MemberSays::Joins(_));
        let member = match member {
            Some(member) => member,
            None if joins => self.draw_member(ctx)?,
            None => return Err(ApiError::new(ErrorCode::UnknownMember, "the heartbeat names no member")),
        };
        match says {
            MemberSays::Joins(profile) => {
                let pattern = profile.subscription.pattern.clone();
                let event = Event::Join(Join { member: member.clone(), profile });
                let make = |value: &Coordinated| {
                    value.check_instance_is_free(&group, &member, instance.as_ref())?;
                    Ok(event.clone())
                };
                let answered = self.step_member(&group, Open::Nothing, pattern, make).await?;
                self.lives(assignment_of(answered)?, true)
            }
            MemberSays::Lives { epoch, owned, changes, tell } => {
                let life = Life { group, member, instance, epoch, owned, changes };
                self.hear_of(life, tell).await
            }
            MemberSays::Leaves(leaving) => {
                let event = Event::Leave { member, instance, epoch: None, leaving };
                self.step_member(&group, Open::Nothing, None, |_| Ok(event.clone())).await?;
                Ok(GroupHeartbeatAnswer::Left)
            }
        }
    }

    async fn hear_of(&self, life: Life, tell: Tell) -> Result<GroupHeartbeatAnswer, ApiError> {
        self.metrics.groups().heartbeat();
        let pattern = life.changes.pattern.clone().flatten();
        // What it was told last: epoch and partitions.
        let mut told = None;
        let make = |value: &Coordinated| {
            let state = value.group(&life.group).map(Group::state);
            let current = state.and_then(|state| state.currents.get(&life.member));
            told = current.map(|current| (current.epoch, current.assigned.clone()));
            let profile = state.and_then(|state| state.members.get(&life.member));
            Ok(Event::Heartbeat(life.heartbeat(profile)))
        };
        let answered = self.step_member(&life.group, Open::Nothing, pattern, make).await?;
        let assignment = assignment_of(answered)?;
        // Who comes with the epoch before has not got the answer that told it the newest.
        let is_news = tell == Tell::Always
            || told.is_none_or(|(epoch, assigned)| epoch != life.epoch || assigned != assignment.assigned);
        self.lives(assignment, is_news)
    }

    fn lives(&self, assignment: Assignment, is_news: bool) -> Result<GroupHeartbeatAnswer, ApiError> {
        Ok(GroupHeartbeatAnswer::Lives { assignment: self.group_assignment(assignment), is_news })
    }
}

/// A member that says that it is there.
struct Life {
    group: GroupId,
    member: MemberId,
    instance: Option<InstanceId>,
    epoch: GroupEpoch,
    owned: Option<BTreeSet<TopicPartition>>,
    changes: ProfileChanges,
}

impl Life {
    /// `profile` is what the member was and wanted before.
    fn heartbeat(&self, profile: Option<&Profile>) -> Heartbeat {
        let changed = profile.filter(|_| self.changes != ProfileChanges::default());
        Heartbeat {
            member: self.member.clone(),
            instance: self.instance.clone(),
            epoch: self.epoch,
            heard: None,
            owned: self.owned.clone(),
            profile: changed.map(|profile| self.changes.of(profile)).filter(|next| Some(next) != profile),
        }
    }
}

impl ProfileChanges {
    fn of(&self, before: &Profile) -> Profile {
        let mut next = before.clone();
        if let Some(names) = &self.names {
            next.subscription.names.clone_from(names);
        }
        if let Some(pattern) = &self.pattern {
            next.subscription.pattern.clone_from(pattern);
        }
        next.rack = self.rack.clone().or(next.rack);
        next.assignor = self.assignor.or(next.assignor);
        next.rebalance_timeout_ms = self.rebalance_timeout_ms.unwrap_or(next.rebalance_timeout_ms);
        next
    }
}

fn assignment_of(answered: Answered) -> Result<Assignment, ApiError> {
    match answered {
        Answered::Assignment(assignment) => Ok(assignment),
        _ => Err(of_another_kind()),
    }
}

impl Coordinated {
    /// Refuses a new life of a static member whose last one is still there. One that has a stream takes the place of its last
    /// life at once: it would know if that were alive.
    fn check_instance_is_free(
        &self,
        id: &GroupId,
        member: &MemberId,
        instance: Option<&InstanceId>,
    ) -> Result<(), ApiError> {
        let (Some(instance), Some(group)) = (instance, self.group(id)) else { return Ok(()) };
        let state = group.state();
        let is_here =
            |id: &MemberId| state.currents.get(id).is_some_and(|current| current.standing == Standing::Here);
        let holds = |(id, profile): (&MemberId, &Profile)| {
            id != member && profile.instance.as_ref() == Some(instance) && is_here(id)
        };
        if state.members.iter().any(holds) {
            let message = format!("another life of {instance} is still a member of the group");
            return Err(ApiError::new(ErrorCode::InstanceInUse, message));
        }
        Ok(())
    }
}
