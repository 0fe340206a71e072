//! The one place where a request is let in: while the broker takes requests, within quota, and authorized.

use std::sync::Arc;

use millrace_types::{ErrorCode, GroupId, TopicName};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::{ApiError, Context};

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Operation {
    InitProducer,
    Produce,
    Fetch,
    Subscribe,
    ListOffsets,
    CommitOffsets,
    FetchOffsets,
    ListGroups,
    DescribeGroup,
    DeleteGroup,
    DeleteOffsets,
    ResetGroup,
    GroupLag,
    JoinGroup,
    SyncGroup,
    GroupHeartbeat,
    LeaveGroup,
    CreateTopic,
    DeleteTopic,
    AlterTopics,
    CreatePartitions,
    DeleteRecords,
    ListTopics,
    DescribeTopic,
    DescribeCluster,
    ClusterStatus,
    PlanMoves,
    ReassignPartitions,
    ElectLeader,
    RemoveBroker,
}

impl Operation {
    pub(crate) const ALL: [Operation; 30] = [
        Operation::InitProducer,
        Operation::Produce,
        Operation::Fetch,
        Operation::Subscribe,
        Operation::ListOffsets,
        Operation::CommitOffsets,
        Operation::FetchOffsets,
        Operation::ListGroups,
        Operation::DescribeGroup,
        Operation::DeleteGroup,
        Operation::DeleteOffsets,
        Operation::ResetGroup,
        Operation::GroupLag,
        Operation::JoinGroup,
        Operation::SyncGroup,
        Operation::GroupHeartbeat,
        Operation::LeaveGroup,
        Operation::CreateTopic,
        Operation::DeleteTopic,
        Operation::AlterTopics,
        Operation::CreatePartitions,
        Operation::DeleteRecords,
        Operation::ListTopics,
        Operation::DescribeTopic,
        Operation::DescribeCluster,
        Operation::ClusterStatus,
        Operation::PlanMoves,
        Operation::ReassignPartitions,
        Operation::ElectLeader,
        Operation::RemoveBroker,
    ];

    /// The name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::InitProducer => "init_producer",
            Operation::Produce => "produce",
            Operation::Fetch => "fetch",
            Operation::Subscribe => "subscribe",
            Operation::ListOffsets => "list_offsets",
            Operation::CommitOffsets => "commit_offsets",
            Operation::FetchOffsets => "fetch_offsets",
            Operation::ListGroups => "list_groups",
            Operation::DescribeGroup => "describe_group",
            Operation::DeleteGroup => "delete_group",
            Operation::DeleteOffsets => "delete_offsets",
            Operation::ResetGroup => "reset_group",
            Operation::GroupLag => "group_lag",
            Operation::JoinGroup => "join_group",
            Operation::SyncGroup => "sync_group",
            Operation::GroupHeartbeat => "group_heartbeat",
            Operation::LeaveGroup => "leave_group",
            Operation::CreateTopic => "create_topic",
            Operation::DeleteTopic => "delete_topic",
            Operation::AlterTopics => "alter_topics",
            Operation::CreatePartitions => "create_partitions",
            Operation::DeleteRecords => "delete_records",
            Operation::ListTopics => "list_topics",
            Operation::DescribeTopic => "describe_topic",
            Operation::DescribeCluster => "describe_cluster",
            Operation::ClusterStatus => "cluster_status",
            Operation::PlanMoves => "plan_moves",
            Operation::ReassignPartitions => "reassign_partitions",
            Operation::ElectLeader => "elect_leader",
            Operation::RemoveBroker => "remove_broker",
        }
    }
}

/// What it is asked of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resource<'a> {
    Topic(&'a TopicName),
    Group(&'a GroupId),
    Cluster,
}

/// Says who may do what. There is one kind so far: everybody may do everything.
#[derive(Debug, Default)]
struct Authorizer;

impl Authorizer {
    fn allows(&self, _ctx: &Context, _operation: Operation, _resource: Resource<'_>) -> bool {
        true
    }
}

/// Says how much a principal may ask for. There is one kind so far: as much as it likes.
#[derive(Debug, Default)]
struct Quota;

impl Quota {
    fn allows(&self, _ctx: &Context, _operation: Operation) -> bool {
        true
    }
}

#[derive(Debug, Default)]
struct Gate {
    in_flight: usize,
}

/// Lets requests in and counts them.
#[derive(Debug)]
pub(crate) struct Admission {
    authorizer: Authorizer,
    quota: Quota,
    gate: Mutex<Gate>,
    emptied: Notify,
    closing: watch::Sender<bool>,
}

/// A request under way. The broker does not close its logs before the last one is dropped, or patience ends.
#[derive(Debug)]
pub(crate) struct InFlight {
    admission: Arc<Admission>,
}

impl Admission {
    pub(crate) fn new() -> Arc<Admission> {
        let (closing, _) = watch::channel(false);
        Arc::new(Admission {
            authorizer: Authorizer,
            quota: Quota,
            gate: Mutex::default(),
            emptied: Notify::new(),
            closing,
        })
    }

    /// Lets one request in.
    pub(crate) fn admit(
        self: &Arc<Self>,
        ctx: &Context,
        operation: Operation,
        resource: Resource<'_>,
    ) -> Result<InFlight, ApiError> {
        let in_flight = self.enter()?;
        if !self.quota.allows(ctx, operation) {
            return Err(ApiError::new(ErrorCode::Throttled, "over quota"));
        }
        self.authorize(ctx, operation, resource)?;
        Ok(in_flight)
    }

    /// Checks one more resource of a request that was let in.
    pub(crate) fn authorize(
        &self,
        ctx: &Context,
        operation: Operation,
        resource: Resource<'_>,
    ) -> Result<(), ApiError> {
        if self.authorizer.allows(ctx, operation, resource) {
            return Ok(());
        }
        let message = format!("{} is not allowed for this principal", operation.name());
        Err(ApiError::new(ErrorCode::NotAuthorized, message))
    }

    fn enter(self: &Arc<Self>) -> Result<InFlight, ApiError> {
        let mut gate = self.gate.lock();
        // Read under the gate's lock: whoever closes takes it after closing, and then sees everybody who got in.
        if self.is_closing() {
            return Err(ApiError::new(ErrorCode::ShuttingDown, "the broker is shutting down"));
        }
        gate.in_flight += 1;
        Ok(InFlight { admission: Arc::clone(self) })
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Refuses requests from now on.
    pub(crate) fn close(&self) {
        let _gate = self.gate.lock();
        self.closing.send_replace(true);
    }

    /// Completes when the broker has begun to refuse requests.
    pub(crate) async fn closed(&self) {
        // The sender lives in `self`, so the channel cannot close before the value comes.
        let mut closing = self.closing.subscribe();
        let _closed = closing.wait_for(|closing| *closing).await;
    }

    /// Completes when no request is under way.
    pub(crate) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.gate.lock().in_flight == 0 {
                return;
            }
            emptied.await;
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.gate.lock().in_flight
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut gate = self.admission.gate.lock();
        gate.in_flight = gate.in_flight.saturating_sub(1);
        if gate.in_flight == 0 {
            self.admission.emptied.notify_waiters();
        }
    }
}
