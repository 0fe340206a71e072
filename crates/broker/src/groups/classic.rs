//! What the door of members asks who assign each other: join, sync, heartbeat, leave.
//!
//! A join waits for the others, a sync for the leader, for as long as it takes. Meanwhile the broker may close: no guard is held.
//! What is dropped while it waits counts as hung up.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use millrace_group::classic::{
    Came, ClassicAnswer, ClassicEvent, ClassicJoin, ClassicMember, ClassicSync, RequestId, Role,
};
use millrace_group::{Committer, Front, GroupEpoch, MemberId, partition_of};
use millrace_types::{ErrorCode, GroupId};
use tokio::sync::oneshot;

use super::draft::{Answer, Answered, of_another_kind};
use super::partition::GroupsPartition;
use crate::admission::{InFlight, Operation, Resource};
use crate::core::Core;
use crate::{ApiError, Context};

/// As whom a consumer comes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClassicIdentity {
    /// With the id that it was given.
    Known(MemberId),
    /// As somebody new.
    Fresh,
    /// As somebody new who comes back with the id that it is given (KIP-394).
    FreshAndReturns,
}

/// A consumer wants to be in the next generation of a classic group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinClassicRequest {
    /// The group.
    pub group: GroupId,
    /// As whom it comes.
    pub identity: ClassicIdentity,
    /// What it is and wants. The metadata of its protocols is copied; the assignment does not count.
    pub profile: ClassicMember,
    /// `consumer`, `connect` and the like; the same for all members.
    pub protocol_type: String,
}

/// What becomes of a join.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClassicJoined {
    /// It is in a generation.
    Generation {
        /// The member.
        member: MemberId,
        /// The generation, to sync, heartbeat and commit with.
        generation: GroupEpoch,
        /// `consumer`, `connect` and the like.
        protocol_type: String,
        /// How it assigns.
        protocol: String,
        /// Who assigns.
        leader: MemberId,
        /// What this member has to do.
        role: Role,
    },
    /// It is to join again with this id.
    ComeBackAs(MemberId),
}

/// A member wants its assignment; the leader brings all of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncClassicRequest {
    /// The group.
    pub group: GroupId,
    /// The member, and the generation that it was told.
    pub who: Committer,
    /// The kind of protocol that it joined with, if it says so.
    pub protocol_type: Option<String>,
    /// The protocol that it was told, if it says so.
    pub protocol: Option<String>,
    /// By the leader: what each member is to own. The bytes are copied.
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// A member's assignment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassicSynced {
    /// `consumer`, `connect` and the like.
    pub protocol_type: String,
    /// How it was assigned.
    pub protocol: String,
    /// What the leader gave; opaque to us.
    pub assignment: Bytes,
}

/// Members leave: each by its id, or a static one by its lasting name alone (KIP-345).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaveClassicRequest {
    /// The group.
    pub group: GroupId,
    /// Who.
    pub members: Vec<Committer>,
}

/// A request that waits for its group.
struct Waiting {
    core: Arc<Core>,
    group: GroupId,
    request: RequestId,
    receiver: oneshot::Receiver<Answer>,
    answered: bool,
}

/// A join that waits for its generation. Dropping it gives it up.
#[derive(Debug)]
pub struct PendingJoin(Waiting);

/// A sync that waits for the leader. Dropping it gives it up.
#[derive(Debug)]
pub struct PendingSync(Waiting);

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("group", &self.group)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

impl Waiting {
    async fn answer(&mut self) -> Answer {
        let answer = tokio::select! {
            biased;
            // Whoever would have answered was dropped with its value.
            answer = &mut self.receiver => answer.unwrap_or_else(|_dropped| Err(self.core.groups.gone(&self.group))),
            () = self.core.admission.closed() => {
                return Err(ApiError::new(ErrorCode::ShuttingDown, "the broker is shutting down"));
            }
        };
        self.answered = true;
        answer
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        if let Ok(partition) = self.core.groups.partition(partition_of(&self.group)) {
            partition.hung_up(&self.group, self.request);
        }
    }
}

impl PendingJoin {
    /// The generation, once it is formed and written down.
    ///
    /// # Errors
    /// [`ApiError`]: UNKNOWN_MEMBER, FENCED_INSTANCE, GROUP_KIND_MISMATCH (no protocol that all know), GROUP_FULL, INVALID_REQUEST.
    /// REBALANCE_IN_PROGRESS, COORDINATOR_LOADING and SHUTTING_DOWN: join again.
    pub async fn joined(mut self) -> Result<ClassicJoined, ApiError> {
        let result = match self.0.answer().await {
            Ok(Answered::Classic(ClassicAnswer::Joined {
                member,
                generation,
                protocol_type,
                protocol,
                leader,
                role,
            })) => {
                Ok(ClassicJoined::Generation { member, generation, protocol_type, protocol, leader, role })
            }
            Ok(Answered::ComeBackAs(member)) => Ok(ClassicJoined::ComeBackAs(member)),
            Ok(_) => Err(of_another_kind()),
            Err(error) => Err(error),
        };
        self.0.core.metrics.count(Operation::JoinGroup, result)
    }
}

impl PendingSync {
    /// The assignment, once the leader has brought it and it is written down.
    ///
    /// # Errors
    /// [`ApiError`]: UNKNOWN_MEMBER, FENCED_INSTANCE, STALE_GENERATION, GROUP_KIND_MISMATCH, INVALID_REQUEST. REBALANCE_IN_PROGRESS,
    /// COORDINATOR_LOADING and SHUTTING_DOWN: join again.
    pub async fn synced(mut self) -> Result<ClassicSynced, ApiError> {
        let result = match self.0.answer().await {
            Ok(Answered::Classic(ClassicAnswer::Synced { protocol_type, protocol, assignment })) => {
                Ok(ClassicSynced { protocol_type, protocol, assignment })
            }
            Ok(_) => Err(of_another_kind()),
            Err(error) => Err(error),
        };
        self.0.core.metrics.count(Operation::SyncGroup, result)
    }
}

/// The bytes in memory of their own: a slice of a request keeps all of it.
fn owned(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

impl Core {
    pub(crate) async fn join_classic(
        self: &Arc<Self>,
        ctx: &Context,
        request: JoinClassicRequest,
    ) -> Result<PendingJoin, ApiError> {
        let in_flight = self.admission.admit(ctx, Operation::JoinGroup, Resource::Group(&request.group))?;
        let JoinClassicRequest { group, identity, profile, protocol_type } = request;
        let (member, came) = match identity {
            ClassicIdentity::Known(member) => (member, Came::WithId),
            ClassicIdentity::Fresh => (self.draw_member(ctx)?, Came::Fresh),
            ClassicIdentity::FreshAndReturns => (self.draw_member(ctx)?, Came::FreshAndReturns),
        };
        let mut join = ClassicJoin { member, came, profile, protocol_type };
        join.check()?;
        for protocol in &mut join.profile.protocols {
            protocol.metadata = owned(&protocol.metadata);
        }
        let event = |request| ClassicEvent::Join(request, join);
        self.ask_classic(&group, in_flight, event).await.map(PendingJoin)
    }

    pub(crate) async fn sync_classic(
        self: &Arc<Self>,
        ctx: &Context,
        request: SyncClassicRequest,
    ) -> Result<PendingSync, ApiError> {
        let in_flight = self.admission.admit(ctx, Operation::SyncGroup, Resource::Group(&request.group))?;
        let SyncClassicRequest { group, who, protocol_type, protocol, assignments } = request;
        let mut sync = ClassicSync { who, protocol_type, protocol, assignments };
        sync.check()?;
        sync.assignments.iter_mut().for_each(|(_, share)| *share = owned(share));
        let event = |request| ClassicEvent::Sync(request, sync);
        self.ask_classic(&group, in_flight, event).await.map(PendingSync)
    }

    pub(crate) async fn heartbeat_classic(
        self: &Arc<Self>,
        ctx: &Context,
        group: &GroupId,
        who: Committer,
    ) -> Result<(), ApiError> {
        self.metrics.groups().heartbeat();
        let in_flight = self.admission.admit(ctx, Operation::GroupHeartbeat, Resource::Group(group))?;
        let event = |request| ClassicEvent::Heartbeat(request, who);
        self.ask_classic(group, in_flight, event).await?.answer().await.map(|_done| ())
    }

    /// Each leaves in a step of its own: what one step writes must fit into a batch.
    pub(crate) async fn leave_classic(
        self: &Arc<Self>,
        ctx: &Context,
        request: LeaveClassicRequest,
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        let LeaveClassicRequest { group, members } = request;
        let mut pending = Vec::with_capacity(members.len());
        for who in members {
            let in_flight = self.admission.admit(ctx, Operation::LeaveGroup, Resource::Group(&group))?;
            let event = |request| ClassicEvent::Leave(request, who);
            pending.push(self.ask_classic(&group, in_flight, event).await);
        }
        let mut left = Vec::with_capacity(pending.len());
        for waiting in pending {
            left.push(match waiting {
                Ok(mut waiting) => waiting.answer().await.map(|_done| ()),
                Err(error) => Err(error),
            });
        }
        Ok(left)
    }

    /// Steps a classic group; the answer comes when the group has it.
    async fn ask_classic(
        self: &Arc<Self>,
        group: &GroupId,
        in_flight: InFlight,
        event: impl FnOnce(RequestId) -> ClassicEvent + Send,
    ) -> Result<Waiting, ApiError> {
        let partition = self.groups.partition(partition_of(group))?;
        let request = RequestId(self.groups.totals.requests.fetch_add(1, Ordering::Relaxed));
        let event = event(request);
        let (sender, receiver) = oneshot::channel();
        let stepped = partition.step(Some(in_flight), |value, now, draft| {
            match &event {
                ClassicEvent::Join(..) => value.begin_group(group, Front::Classic, now, draft)?,
                _ if !value.is_of(group, Front::Classic) => {
                    let message = "nobody who was told so is a member of the group";
                    draft.reply_of_many(sender, Err(ApiError::new(ErrorCode::UnknownMember, message)));
                    return Ok(());
                }
                ClassicEvent::Sync(_, sync) if !sync.assignments.is_empty() => value.check_memory()?,
                _ => {}
            }
            value.catch_up(group, draft, now);
            value.step_classic(group, (event, request, Some(sender)), now, draft);
            Ok(())
        });
        stepped.await?;
        Ok(Waiting { core: Arc::clone(self), group: group.clone(), request, receiver, answered: false })
    }
}

impl GroupsPartition {
    /// Nobody waits for the answer to that any more.
    fn hung_up(self: &Arc<Self>, group: &GroupId, request: RequestId) {
        let mut state = self.lock();
        // It writes nothing down, so it waits for no room.
        let told = self.begin(&mut state, |value, now, draft| {
            value.hung_up(group, request, now, draft);
            Ok(())
        });
        if let Ok(((), Some(begun))) = told {
            self.follow(begun, None);
        }
    }
}
