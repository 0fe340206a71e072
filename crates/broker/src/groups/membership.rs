//! A member's place in its group, as the door that serves it holds it.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use millrace_env::RngExt;
use millrace_group::consumer::{Assignment, Event, Heartbeat, Join, Leaving};
use millrace_group::{Front, GroupEpoch, InstanceId, MemberId, Pattern, Profile, Subscription, partition_of};
use millrace_types::{ErrorCode, GroupId, PartitionIndex, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::coordinated::Coordinated;
use super::draft::{Answer, Answered, Delivery, of_another_kind};
use super::partition::GroupsPartition;
use super::streams::Stream;
use crate::admission::{Operation, Resource};
use crate::core::Core;
use crate::ops::groups::by_topic;
use crate::{ApiError, Context, TopicRef};

/// A consumer wants to be a member, or comes back after its stream broke.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinGroupRequest {
    /// The group.
    pub group: GroupId,
    /// One life of a consumer; `None` lets the coordinator draw the id.
    pub member: Option<MemberId>,
    /// What it is and wants.
    pub profile: Profile,
    /// It is a member already. One that is none any more is refused, and must let go of everything before it joins anew.
    pub resume: Option<MemberProgress>,
}

/// What a member says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberProgress {
    /// The epoch that it was told last.
    pub epoch: GroupEpoch,
    /// The revision of the newest assignment that it has heard.
    pub heard: u64,
    /// What it owns, if it says so.
    pub owned: Option<BTreeSet<TopicPartition>>,
}

/// What a member is to own, all of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupAssignment {
    /// The member.
    pub member: MemberId,
    /// To heartbeat and commit with from now on.
    pub epoch: GroupEpoch,
    /// To be sent back as [`MemberProgress::heard`].
    pub revision: u64,
    /// By topic, in the order of their ids; with name and id where the topic still exists.
    pub assigned: Vec<(TopicRef, Vec<PartitionIndex>)>,
    /// How many more it will get as soon as others have let them go.
    pub waiting: usize,
    /// How often it should be heard of, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// How long it may be silent, in milliseconds.
    pub session_timeout_ms: u64,
}

/// A member that can be reached. When it is dropped, the member has
/// [`MEMBER_RECONNECT_MS`](millrace_types::limits::MEMBER_RECONNECT_MS) to come back; a static one what is left of its session.
#[derive(Debug)]
pub struct GroupMembership {
    core: Arc<Core>,
    ctx: Context,
    group: GroupId,
    member: MemberId,
    instance: Option<InstanceId>,
    stream: Arc<Stream>,
    /// Up to what the news were heard.
    heard: u64,
    /// What the member was told last: epoch, revision, how many wait.
    told: Mutex<Option<(GroupEpoch, u64, usize)>>,
}

impl Core {
    pub(crate) async fn join_group(
        self: &Arc<Self>,
        ctx: &Context,
        request: JoinGroupRequest,
    ) -> Result<(GroupMembership, GroupAssignment), ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::JoinGroup, Resource::Group(&request.group))?;
        let JoinGroupRequest { group, member, profile, resume } = request;
        let member = member.map_or_else(|| self.draw_member(ctx), Ok)?;
        let membership = GroupMembership {
            core: Arc::clone(self),
            ctx: ctx.clone(),
            group,
            member: member.clone(),
            instance: profile.instance.clone(),
            stream: Arc::default(),
            heard: 0,
            told: Mutex::default(),
        };
        let pattern = profile.subscription.pattern.clone();
        let event = match resume {
            None => Event::Join(Join { member, profile }),
            Some(progress) => Event::Heartbeat(membership.heartbeat_of(progress, Some(profile))),
        };
        let open = Open::This(Arc::clone(&membership.stream));
        let assignment = membership.assigned(event, open, pattern).await?;
        Ok((membership, assignment))
    }

    pub(super) fn draw_member(&self, ctx: &Context) -> Result<MemberId, ApiError> {
        let id: String = self.env.rng.uuid_v4().iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("{}-{id}", ctx.client_id);
        MemberId::new(&name).map_err(|error| ApiError::new(ErrorCode::InvalidRequest, error.to_string()))
    }

    /// What a door tells the member.
    pub(super) fn group_assignment(&self, assignment: Assignment) -> GroupAssignment {
        GroupAssignment {
            member: assignment.member,
            epoch: assignment.epoch,
            revision: assignment.revision,
            assigned: by_topic(&self.metadata.image(), &assignment.assigned),
            waiting: assignment.waiting,
            heartbeat_interval_ms: self.config.groups.heartbeat_interval_ms,
            session_timeout_ms: self.config.groups.session_timeout_ms,
        }
    }
}

/// Whether the step opens a stream, when it is answered.
pub(super) enum Open {
    This(Arc<Stream>),
    Nothing,
}

impl GroupMembership {
    /// The group.
    #[must_use]
    pub fn group(&self) -> &GroupId {
        &self.group
    }

    /// The member.
    #[must_use]
    pub fn member(&self) -> &MemberId {
        &self.member
    }

    /// The member is there; with a subscription if it wants another from now on.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER, FENCED_MEMBER_EPOCH, FENCED_INSTANCE: it is a member no more. INVALID_PATTERN, INVALID_REQUEST: nothing has
    /// changed. COORDINATOR_LOADING, and what an append may be refused for: repeat it.
    pub async fn heartbeat(
        &self,
        progress: MemberProgress,
        subscription: Option<Subscription>,
    ) -> Result<GroupAssignment, ApiError> {
        self.core.metrics.groups().heartbeat();
        let result = self.heartbeat_now(progress, subscription).await;
        self.core.metrics.count(Operation::GroupHeartbeat, result)
    }

    async fn heartbeat_now(
        &self,
        progress: MemberProgress,
        subscription: Option<Subscription>,
    ) -> Result<GroupAssignment, ApiError> {
        let group = Resource::Group(&self.group);
        let _in_flight = self.core.admission.admit(&self.ctx, Operation::GroupHeartbeat, group)?;
        // One that lost its place is not to go on by this stream, though it may be a member by another.
        self.stream.due()?;
        let pattern = subscription.as_ref().and_then(|subscription| subscription.pattern.clone());
        let mut heartbeat = self.heartbeat_of(progress, None);
        if let Some(subscription) = subscription {
            heartbeat.profile = self.changed_profile(subscription)?;
        }
        self.assigned(Event::Heartbeat(heartbeat), Open::Nothing, pattern).await
    }

    /// Completes when the coordinator has something new for the member. Dropped before, nothing is lost.
    ///
    /// # Errors
    /// Why it is a member no more, or SHUTTING_DOWN.
    pub async fn news(&mut self) -> Result<GroupAssignment, ApiError> {
        loop {
            let stream = Arc::clone(&self.stream);
            let mut changed = pin!(stream.changed());
            changed.as_mut().enable();
            let due = stream.due()?;
            if due > self.heard {
                let before = *self.told.lock();
                let poll = Event::Poll { member: self.member.clone() };
                match self.assigned(poll, Open::Nothing, None).await {
                    Ok(assignment) => {
                        self.heard = due;
                        if *self.told.lock() != before {
                            return Ok(assignment);
                        }
                        continue;
                    }
                    // It is told again when the groups are there again.
                    Err(error) if error.code == ErrorCode::CoordinatorLoading => {}
                    Err(error) => return Err(error),
                }
            }
            tokio::select! {
                biased;
                () = self.core.admission.closed() => {
                    return Err(ApiError::new(ErrorCode::ShuttingDown, "the broker is shutting down"));
                }
                () = changed => {}
            }
        }
    }

    /// The member goes; answers when that is durable.
    ///
    /// # Errors
    /// As [`GroupMembership::heartbeat`].
    pub async fn leave(self, leaving: Leaving) -> Result<(), ApiError> {
        let result = self.leave_now(leaving).await;
        self.core.metrics.count(Operation::LeaveGroup, result)
    }

    async fn leave_now(&self, leaving: Leaving) -> Result<(), ApiError> {
        let group = Resource::Group(&self.group);
        let _in_flight = self.core.admission.admit(&self.ctx, Operation::LeaveGroup, group)?;
        let event = Event::Leave {
            member: self.member.clone(),
            instance: self.instance.clone(),
            epoch: None,
            leaving,
        };
        self.stepped(event, Open::Nothing, None).await.map(|_done| ())
    }

    fn heartbeat_of(&self, progress: MemberProgress, profile: Option<Profile>) -> Heartbeat {
        Heartbeat {
            member: self.member.clone(),
            instance: self.instance.clone(),
            epoch: progress.epoch,
            heard: Some(progress.heard),
            owned: progress.owned,
            profile,
        }
    }

    /// What the member is and wants, with another subscription.
    fn changed_profile(&self, subscription: Subscription) -> Result<Option<Profile>, ApiError> {
        let profile = self.core.groups.look(partition_of(&self.group), |look| {
            look.group(&self.group).and_then(|state| state.members.get(&self.member).cloned())
        })?;
        Ok(profile.map(|profile| Profile { subscription, ..profile }))
    }

    async fn assigned(
        &self,
        event: Event,
        open: Open,
        pattern: Option<Pattern>,
    ) -> Result<GroupAssignment, ApiError> {
        let Answered::Assignment(assignment) = self.stepped(event, open, pattern).await? else {
            return Err(of_another_kind());
        };
        *self.told.lock() = Some((assignment.epoch, assignment.revision, assignment.waiting));
        Ok(self.core.group_assignment(assignment))
    }

    async fn stepped(
        &self,
        event: Event,
        open: Open,
        pattern: Option<Pattern>,
    ) -> Result<Answered, ApiError> {
        self.core.step_member(&self.group, open, pattern, |_| Ok(event.clone())).await
    }
}

impl Core {
    /// Steps what `make` gives under the lock, once the group knows the newest topics and what the pattern matches.
    pub(super) async fn step_member(
        &self,
        group: &GroupId,
        open: Open,
        pattern: Option<Pattern>,
        mut make: impl FnMut(&Coordinated) -> Result<Event, ApiError> + Send,
    ) -> Result<Answered, ApiError> {
        let partition = self.groups.partition(partition_of(group))?;
        loop {
            let topics = self.groups.topics_with(pattern.as_ref())?;
            let (sender, receiver) = oneshot::channel();
            let stepped = partition.step(None, |value, now, draft| {
                value.set_topics(&topics);
                if pattern.as_ref().is_some_and(|pattern| !value.knows(pattern)) {
                    return Ok(Stepped::Again);
                }
                value.check_front(group, Front::Consumer)?;
                let mut event = make(value)?;
                match &event {
                    Event::Join(_) => value.begin_group(group, Front::Consumer, now, draft)?,
                    _ if !value.is_of(group, Front::Consumer) => return Err(stranger(&event)),
                    Event::Heartbeat(heartbeat) if heartbeat.profile.is_some() => value.check_memory()?,
                    _ => {}
                }
                let member = member_of(&event).cloned();
                value.catch_up(group, draft, now);
                if let (Event::Heartbeat(heartbeat), Open::Nothing) = (&mut event, &open) {
                    value.forgive_crossing(group, heartbeat);
                }
                let before = draft.deliveries.len();
                value.step(group, (event, Some(sender)), now, draft);
                if let (Open::This(stream), Some(member)) = (&open, member) {
                    place_before_reply(&mut draft.deliveries, before, || {
                        Delivery::Open(group.clone(), member, Arc::clone(stream))
                    });
                }
                Ok(Stepped::Answered)
            });
            if matches!(stepped.await?, Stepped::Answered) {
                return answer_of(receiver).await;
            }
        }
    }
}

/// Whose event it is.
fn member_of(event: &Event) -> Option<&MemberId> {
    match event {
        Event::Join(join) => Some(&join.member),
        Event::Heartbeat(heartbeat) => Some(&heartbeat.member),
        Event::Poll { member } | Event::Leave { member, .. } | Event::Disconnected { member } => Some(member),
        Event::Topics(_) | Event::Deadline | Event::Delete => None,
    }
}

fn stranger(event: &Event) -> ApiError {
    let who = member_of(event).map_or("nobody", MemberId::as_str);
    ApiError::new(ErrorCode::UnknownMember, format!("{who} is not a member of the group"))
}

enum Stepped {
    Answered,
    /// Somebody has thrown the pattern out meanwhile.
    Again,
}

/// Puts the opening of a stream directly before a reply that accepts it.
fn place_before_reply(deliveries: &mut Vec<Delivery>, from: usize, open: impl FnOnce() -> Delivery) {
    let accepted = |delivery: &Delivery| matches!(delivery, Delivery::Reply(waiter) if waiter.accepts());
    let place = deliveries.iter().skip(from).position(accepted);
    if let Some(place) = place {
        deliveries.insert(from + place, open());
    }
}

pub(super) async fn answer_of(receiver: oneshot::Receiver<Answer>) -> Answer {
    let lost = || ApiError::new(ErrorCode::OutcomeUnknown, "the broker lost track of its own work");
    receiver.await.map_err(|_| lost())?
}

impl Drop for GroupMembership {
    fn drop(&mut self) {
        self.stream.close();
        if let Ok(partition) = self.core.groups.partition(partition_of(&self.group)) {
            partition.disconnected(self);
        }
    }
}

impl GroupsPartition {
    /// A stream is closed. If the member was reached by it, it has a short time to come back; a static one has its whole session,
    /// for another life of it (KIP-345).
    fn disconnected(self: &Arc<Self>, of: &GroupMembership) {
        let GroupMembership { group, member, stream, .. } = of;
        let mut state = self.lock();
        if !state.streams.close(group, member, stream) || of.instance.is_some() {
            return;
        }
        // It writes nothing down, so it waits for no room.
        let told = self.begin(&mut state, |value, now, draft| {
            value.step(group, (Event::Disconnected { member: member.clone() }, None), now, draft);
            Ok(())
        });
        if let Ok(((), Some(begun))) = told {
            self.follow(begun, None);
        }
    }
}
