//! The broker: what the doors hold.

mod operator;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millrace_env::{Env, TaskHandle};
use millrace_log::{Extent, Fatal, StartReport};
use millrace_types::{ErrorCode, GroupId, LeaderEpoch, NodeId, Offset, PartitionIndex, TopicPartition};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::{OnceCell, watch};

use crate::admission::{Admission, Operation};
use crate::cluster::{Cluster, ClusterOptions};
use crate::core::Core;
use crate::io_pool::on_pool;
use crate::lag_windows::LagWindows;
use crate::metrics::{BrokerMetrics, GroupCounters};
use crate::producer_ids::ProducerIds;
use crate::scrape;
use crate::unfinished::Unfinished;
use crate::{
    ActiveProducer, AlterTopicsRequest, ApiError, BrokerDescription, ClassicDescription, ClassicListing,
    ClusterDescription, CommitOffsetsRequest, CommittedOffset, Committer, Context, CreatePartitionsRequest,
    CreateTopicRequest, DeleteOffsetsRequest, DoorMetrics, EpochEnd, EpochQuery, FetchOffsetsRequest,
    FetchRequest, FetchResponse, GroupAssignment, GroupDescription, GroupHeartbeatAnswer,
    GroupHeartbeatRequest, GroupListing, GroupMembership, GroupSettings, JoinClassicRequest,
    JoinGroupRequest, LeaveClassicRequest, LogDirDescription, MemoryBudget, OffsetAnswer, OffsetQuery,
    OffsetReset, PartitionLag, PendingJoin, PendingProduce, PendingSync, Permit, ProduceRequest,
    ProducerIdentity, RangeQuery, RecordsToDelete, ResetGroupRequest, ResolvedRange, SubscribeRequest,
    Subscription, SyncClassicRequest, TopicConfigs, TopicDescription, TopicLayout, TopicRef, TopicSummary,
    groups, janitor, start, sync_timer,
};

/// What a broker is started with.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// The data directory.
    pub data_dir: PathBuf,
    /// This node's id.
    pub node: NodeId,
    /// Bytes that requests, answers and caches may hold together.
    pub memory_budget_bytes: u64,
    /// The gRPC address to tell clients, as `host:port`.
    pub grpc_advertised: String,
    /// What groups are run by.
    pub groups: GroupSettings,
    /// Set: it is one of several, or may become so. Else it decides alone.
    pub cluster: Option<ClusterOptions>,
}

/// One broker. Shared by the doors; every operation may be called at any time from any task.
#[derive(Debug)]
pub struct Broker {
    core: Arc<Core>,
    fatal: watch::Receiver<Option<Fatal>>,
    /// The janitor, the timer of the syncs and that of the groups.
    background: Mutex<Vec<Box<dyn TaskHandle>>>,
    /// What a broker of a cluster does beside requests. It has no end of its own.
    clustered: Mutex<Vec<Box<dyn TaskHandle>>>,
    stopped: OnceCell<Result<(), ApiError>>,
    orphans: Vec<TopicPartition>,
    unavailable: Vec<String>,
}

impl Broker {
    /// Opens the data directory, recovers it, replays metadata and committed offsets, and opens every partition.
    ///
    /// # Errors
    /// What keeps it from starting, as text for the operator.
    pub async fn start(env: Env, config: BrokerConfig) -> Result<Arc<Broker>, ApiError> {
        let counters = GroupCounters::default();
        let (started, cluster) = match &config.cluster {
            None => (start::open(&env, &config, &counters).await?, None),
            Some(options) => start::open_clustered(&env, &config, options, &counters).await?,
        };
        let (sender, fatal) = watch::channel(None);
        started.dir.on_fatal(Box::new(move |fatal| {
            sender.send_replace(Some(fatal));
        }));
        let admission = Admission::new();
        let timer = sync_timer::start(&env, &started.dir, Arc::clone(&admission));
        let reserve = start::memory_reserve_bytes(&config);
        let elsewhere = start::tail_cache_bytes(&config) + start::unasked_bytes(&config) + reserve as u64;
        let budget = config.memory_budget_bytes - elsewhere;
        let core = Arc::new(Core {
            env,
            config,
            dir: started.dir,
            memory: MemoryBudget::with_reserve(budget, reserve),
            metadata: started.metadata,
            cluster,
            partitions: started.partitions,
            topics_change: tokio::sync::RwLock::default(),
            lag_windows: LagWindows::default(),
            groups: started.groups,
            producer_ids: ProducerIds::default(),
            unfinished: Unfinished::default(),
            admission,
            metrics: BrokerMetrics::new(counters),
        });
        let janitor = janitor::start(&core);
        let deadlines = groups::timer::start(&core);
        let clustered = core.cluster.as_ref().map(|cluster| cluster.begin(&core)).unwrap_or_default();
        Ok(Arc::new(Broker {
            core,
            fatal,
            background: Mutex::new(vec![janitor, timer, deadlines]),
            clustered: Mutex::new(clustered),
            stopped: OnceCell::new(),
            orphans: started.orphans,
            unavailable: started.unavailable,
        }))
    }

    /// Completes when this broker is one of its cluster: registered, and allowed to lead. At once, if it is alone. Doors for clients
    /// open then.
    pub async fn joined(&self) {
        if let Some(cluster) = &self.core.cluster {
            cluster.joined().await;
        }
    }

    /// Has other brokers lead what this one leads, before it stops; `false` if that was not done in time. A broker alone has
    /// nobody to hand over to.
    pub async fn hand_over(&self, patience: Duration) -> bool {
        match &self.core.cluster {
            Some(cluster) => cluster.hand_over(patience).await,
            None => true,
        }
    }

    pub(crate) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.core.cluster.as_ref()
    }

    /// The memory budget, for doors to take permits from before they read a body.
    #[must_use]
    pub fn memory(&self) -> &Arc<MemoryBudget> {
        &self.core.memory
    }

    /// Bytes of the memory budget that are kept for what clients may send before anybody has taken a permit for it, over all
    /// connections.
    #[must_use]
    pub fn unasked_bytes(&self) -> u64 {
        start::unasked_bytes(&self.core.config)
    }

    /// How many partitions it has open.
    #[must_use]
    pub fn partitions_open(&self) -> usize {
        self.core.partitions.count()
    }

    /// What the start found. Partitions that cannot be served are listed as damage.
    #[must_use]
    pub fn start_report(&self) -> StartReport {
        let mut report = self.core.dir.start_report();
        report.damaged.extend(self.unavailable.iter().cloned());
        report
    }

    /// How many damaged ranges are known in the open logs: found at the start, by reads or by the scrub.
    #[must_use]
    pub fn damaged_ranges(&self) -> usize {
        self.core.dir.damaged_ranges()
    }

    /// Logs in the data directory that belong to no topic that the metadata knows. They are left alone.
    #[must_use]
    pub fn orphans(&self) -> &[TopicPartition] {
        &self.orphans
    }

    /// Shows the broker's metrics in `registry`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.core.metrics.register(registry);
        scrape::register(&self.core, registry);
    }

    /// The handles with which a door counts its calls: `door` is its name, `apis` are the names of its calls. To be asked
    /// for once.
    #[must_use]
    pub fn door_metrics(&self, door: &'static str, apis: &[&'static str]) -> DoorMetrics {
        self.core.metrics.door(door, apis)
    }

    /// Completes when the data directory has failed and the process must end (exit code 74).
    pub async fn failed(&self) -> Fatal {
        let mut fatal = self.fatal.clone();
        let failed = fatal.wait_for(Option::is_some).await.ok().and_then(|fatal| fatal.clone());
        match failed {
            Some(fatal) => fatal,
            // The directory is closed and can fail no more.
            None => std::future::pending().await,
        }
    }

    /// Refuses new requests, waits up to `patience` for those in flight, syncs, and leaves the clean mark. Waiting
    /// fetches answer at once. Called again, it answers what it answered the first time.
    ///
    /// # Errors
    /// If the clean mark could not be written.
    pub async fn shut_down(&self, patience: Duration) -> Result<(), ApiError> {
        self.stopped.get_or_init(|| self.stop(patience)).await.clone()
    }

    async fn stop(&self, patience: Duration) -> Result<(), ApiError> {
        self.core.admission.close();
        tokio::select! {
            biased;
            () = self.core.admission.empty() => {}
            () = self.core.env.clock.sleep(patience) => {
                let left = self.core.admission.in_flight();
                tracing::warn!(left, "closing the logs under requests that took too long");
            }
        }
        let background = std::mem::take(&mut *self.background.lock());
        for task in background {
            task.join().await;
        }
        self.core.finish().await;
        let clustered = std::mem::take(&mut *self.clustered.lock());
        for task in clustered {
            task.abort();
            task.join().await;
        }
        if let Some(cluster) = &self.core.cluster {
            cluster.stop().await;
        }
        if self.core.unfinished.has_half_made() {
            // A clean stop says that every topic has its logs, and the next start would take these for lost.
            let message =
                "a topic does not have all of its logs, and they could not be made, nor the topic taken back";
            return Err(ApiError::new(ErrorCode::StorageFull, message));
        }
        let dir = Arc::clone(&self.core.dir);
        Ok(on_pool(&self.core.env, move || dir.close()).await??)
    }

    /// Hands out an identity for an idempotent producer (KIP-98).
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn init_producer(&self, ctx: &Context) -> Result<ProducerIdentity, ApiError> {
        self.count(Operation::InitProducer, self.core.init_producer(ctx).await)
    }

    /// Checks and appends the batches, in the order of the request, before its first wait for a sync. Waits only
    /// while an append queue is full.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn produce(&self, ctx: &Context, request: ProduceRequest) -> Result<PendingProduce, ApiError> {
        let result = self.core.produce(ctx, request).await;
        // Counted when it is acknowledged, unless it never comes to that.
        if let Err(error) = &result {
            self.core.metrics.count_code(Operation::Produce, Some(error.code));
        }
        result
    }

    /// See [`FetchRequest`].
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn fetch(&self, ctx: &Context, request: FetchRequest) -> Result<FetchResponse, ApiError> {
        self.count(Operation::Fetch, self.core.fetch(ctx, request).await)
    }

    /// As [`Broker::fetch`], for a door that can send from files: what it can send is not loaded.
    ///
    /// # Errors
    /// As [`Broker::fetch`].
    pub async fn fetch_located(
        &self,
        ctx: &Context,
        request: FetchRequest,
    ) -> Result<FetchResponse<Extent>, ApiError> {
        self.count(Operation::Fetch, self.core.fetch(ctx, request).await)
    }

    /// Opens a subscription; see [`SubscribeRequest`].
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn subscribe(
        &self,
        ctx: &Context,
        request: SubscribeRequest,
    ) -> Result<Subscription, ApiError> {
        self.count(Operation::Subscribe, self.core.subscribe(ctx, request).await)
    }

    /// Turns places and times into offsets, in order.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn resolve_ranges(
        &self,
        ctx: &Context,
        queries: &[RangeQuery],
    ) -> Result<Vec<Result<ResolvedRange, ApiError>>, ApiError> {
        self.count(Operation::ListOffsets, self.core.resolve_ranges(ctx, queries).await)
    }

    /// Answers each query, in order.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn list_offsets(
        &self,
        ctx: &Context,
        queries: Vec<OffsetQuery>,
    ) -> Result<Vec<Result<OffsetAnswer, ApiError>>, ApiError> {
        self.count(Operation::ListOffsets, self.core.list_offsets(ctx, queries).await)
    }

    /// Stores the commits as one batch; answers each, in order, when they are synced.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn commit_offsets(
        &self,
        ctx: &Context,
        request: CommitOffsetsRequest,
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        self.count(Operation::CommitOffsets, self.core.commit_offsets(ctx, request).await)
    }

    /// Makes a consumer a member of a group, or lets one come back; answers what it is to own when that is durable.
    ///
    /// # Errors
    /// [`ApiError`]: what is wrong with the request, GROUP_FULL, GROUP_KIND_MISMATCH; with `resume` also UNKNOWN_MEMBER,
    /// FENCED_MEMBER_EPOCH and FENCED_INSTANCE, if it is a member no more.
    pub async fn join_group(
        &self,
        ctx: &Context,
        request: JoinGroupRequest,
    ) -> Result<(GroupMembership, GroupAssignment), ApiError> {
        self.count(Operation::JoinGroup, self.core.join_group(ctx, request).await)
    }

    /// A consumer wants to be in the next generation of a group whose members assign each other.
    ///
    /// # Errors
    /// [`ApiError`]: what is wrong with the request, GROUP_KIND_MISMATCH; THROTTLED if there are too many groups or members.
    pub async fn join_classic(
        &self,
        ctx: &Context,
        request: JoinClassicRequest,
    ) -> Result<PendingJoin, ApiError> {
        let pending = self.core.join_classic(ctx, request).await;
        // It is counted when it is answered.
        if pending.is_err() { self.count(Operation::JoinGroup, pending) } else { pending }
    }

    /// A member of such a group wants its assignment; the leader brings all.
    ///
    /// # Errors
    /// [`ApiError`]: what is wrong with the request.
    pub async fn sync_classic(
        &self,
        ctx: &Context,
        request: SyncClassicRequest,
    ) -> Result<PendingSync, ApiError> {
        let pending = self.core.sync_classic(ctx, request).await;
        if pending.is_err() { self.count(Operation::SyncGroup, pending) } else { pending }
    }

    /// A member of such a group is there.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER, FENCED_INSTANCE, STALE_GENERATION: it is a member no more. REBALANCE_IN_PROGRESS: it is to join again.
    pub async fn heartbeat_classic(
        &self,
        ctx: &Context,
        group: &GroupId,
        who: Committer,
    ) -> Result<(), ApiError> {
        self.count(Operation::GroupHeartbeat, self.core.heartbeat_classic(ctx, group, who).await)
    }

    /// Members of such a group go; answers each, in order. That alone is not written down: a broker that stops before the next
    /// generation is formed waits for their sessions.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn leave_classic(
        &self,
        ctx: &Context,
        request: LeaveClassicRequest,
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        self.count(Operation::LeaveGroup, self.core.leave_classic(ctx, request).await)
    }

    /// Every group whose members assign each other, sorted by name.
    ///
    /// # Errors
    /// [`ApiError`]; also if some groups cannot be read.
    pub async fn list_classic(&self, ctx: &Context) -> Result<Vec<ClassicListing>, ApiError> {
        self.count(Operation::ListGroups, self.core.list_classic(ctx))
    }

    /// One such group, with what its members have told the leader and what it gave them; `None` if it is none or not there.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn describe_classic(
        &self,
        ctx: &Context,
        group: &GroupId,
    ) -> Result<Option<ClassicDescription>, ApiError> {
        self.count(Operation::DescribeGroup, self.core.describe_classic(ctx, group))
    }

    /// What the groups are run by.
    #[must_use]
    pub fn group_settings(&self) -> &GroupSettings {
        &self.core.config.groups
    }

    /// A sign of life of a member that holds no stream: it joins, lives or leaves. Answered when that is durable.
    ///
    /// # Errors
    /// [`ApiError`]: as [`Broker::join_group`] and [`GroupMembership::heartbeat`]; INSTANCE_IN_USE to a static member that joins while
    /// its last life is there.
    pub async fn group_heartbeat(
        &self,
        ctx: &Context,
        request: GroupHeartbeatRequest,
    ) -> Result<GroupHeartbeatAnswer, ApiError> {
        self.count(request.says.operation(), self.core.group_heartbeat(ctx, request).await)
    }

    /// The committed offsets: in the order asked for, or sorted by topic name and partition.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn fetch_offsets(
        &self,
        ctx: &Context,
        request: FetchOffsetsRequest,
    ) -> Result<Vec<Result<CommittedOffset, ApiError>>, ApiError> {
        self.count(Operation::FetchOffsets, self.core.fetch_offsets(ctx, &request).await)
    }

    /// Every group that somebody is in, was in lately, or that has committed something; sorted by name.
    ///
    /// # Errors
    /// [`ApiError`]; also if some groups cannot be read.
    pub async fn list_groups(&self, ctx: &Context) -> Result<Vec<GroupListing>, ApiError> {
        self.count(Operation::ListGroups, self.core.list_groups(ctx))
    }

    /// One group: who is in it, what each owns, and what each is to own.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn describe_group(&self, ctx: &Context, group: &GroupId) -> Result<GroupDescription, ApiError> {
        self.count(Operation::DescribeGroup, self.core.describe_group(ctx, group))
    }

    /// Forgets a group that nobody is in, and what it has committed; answers when that is durable.
    ///
    /// # Errors
    /// [`ApiError`]: [`ErrorCode::GroupNotEmpty`], [`ErrorCode::GroupNotFound`].
    pub async fn delete_group(&self, ctx: &Context, group: &GroupId) -> Result<(), ApiError> {
        self.count(Operation::DeleteGroup, self.core.delete_group(ctx, group).await)
    }

    /// Forgets single offsets of a group, but for topics that its members read; answers each, in order, when that is durable.
    ///
    /// # Errors
    /// [`ApiError`]: [`ErrorCode::GroupNotFound`]; of a single offset [`ErrorCode::GroupNotEmpty`].
    pub async fn delete_offsets(
        &self,
        ctx: &Context,
        request: DeleteOffsetsRequest,
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        self.count(Operation::DeleteOffsets, self.core.delete_offsets(ctx, request).await)
    }

    /// Sets what a group has committed; answers each partition, in order, when all of it is durable.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn reset_group(
        &self,
        ctx: &Context,
        request: ResetGroupRequest,
    ) -> Result<Vec<OffsetReset>, ApiError> {
        self.count(Operation::ResetGroup, self.core.reset_group(ctx, request).await)
    }

    /// How far a group is behind in each partition that it has committed or that a member owns; sorted by name of the topic
    /// and partition.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn group_lag(&self, ctx: &Context, group: &GroupId) -> Result<Vec<PartitionLag>, ApiError> {
        self.count(Operation::GroupLag, self.core.group_lag(ctx, group).await)
    }

    /// Creates a topic; answers when its metadata and its logs are durable.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn create_topic(
        &self,
        ctx: &Context,
        request: CreateTopicRequest,
    ) -> Result<TopicDescription, ApiError> {
        self.count(Operation::CreateTopic, self.core.create_topic(ctx, request).await)
    }

    /// Deletes a topic and the offsets committed for it; answers when that is durable.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn delete_topic(&self, ctx: &Context, topic: TopicRef) -> Result<(), ApiError> {
        self.count(Operation::DeleteTopic, self.core.delete_topic(ctx, topic).await)
    }

    /// Changes the configurations of topics; answers each, in order, when it is durable and its open logs follow it.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn alter_topics(
        &self,
        ctx: &Context,
        request: AlterTopicsRequest,
    ) -> Result<Vec<Result<TopicDescription, ApiError>>, ApiError> {
        self.count(Operation::AlterTopics, self.core.alter_topics(ctx, request).await)
    }

    /// Adds partitions to topics; answers each, in order, when its metadata and its new logs are durable.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn create_partitions(
        &self,
        ctx: &Context,
        request: CreatePartitionsRequest,
    ) -> Result<Vec<Result<TopicDescription, ApiError>>, ApiError> {
        self.count(Operation::CreatePartitions, self.core.create_partitions(ctx, request).await)
    }

    /// Deletes the records before an offset of each partition; answers the log start of each, in order, when it is durable.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn delete_records(
        &self,
        ctx: &Context,
        partitions: Vec<RecordsToDelete>,
    ) -> Result<Vec<Result<Offset, ApiError>>, ApiError> {
        self.count(Operation::DeleteRecords, self.core.delete_records(ctx, partitions).await)
    }

    /// All topics, sorted by name, those of the product included.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn list_topics(&self, ctx: &Context) -> Result<Vec<TopicSummary>, ApiError> {
        self.count(Operation::ListTopics, self.core.list_topics(ctx))
    }

    /// One topic.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn describe_topic(&self, ctx: &Context, topic: TopicRef) -> Result<TopicDescription, ApiError> {
        self.count(Operation::DescribeTopic, self.core.describe_topic(ctx, &topic))
    }

    /// Where the partitions of `topics` live, in order; of all topics, sorted by name, if none are named.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub fn topic_layouts(
        &self,
        ctx: &Context,
        topics: Option<&[TopicRef]>,
    ) -> Result<Vec<Result<TopicLayout, ApiError>>, ApiError> {
        self.count(Operation::DescribeTopic, self.core.topic_layouts(ctx, topics))
    }

    /// Who leads a partition (nobody, if there is no leader) and since which epoch, as far as this node knows; `None` without such
    /// a partition.
    #[must_use]
    pub fn leadership(
        &self,
        topic: &TopicRef,
        partition: PartitionIndex,
    ) -> Option<(Option<NodeId>, LeaderEpoch)> {
        self.core.leadership(topic, partition)
    }

    /// One broker of the cluster.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<BrokerDescription> {
        self.core.member(node)
    }

    /// The broker that coordinates a group; `None` while none does.
    #[must_use]
    pub fn coordinator_of(&self, group: &GroupId) -> Option<NodeId> {
        self.core.coordinator_of(group)
    }

    /// The configurations of topics, in order.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub fn topic_configs(
        &self,
        ctx: &Context,
        topics: &[TopicRef],
    ) -> Result<Vec<Result<TopicConfigs, ApiError>>, ApiError> {
        self.count(Operation::DescribeTopic, self.core.topic_configs(ctx, topics))
    }

    /// Where leader epochs ended, in order; `None` where the log knows nothing of such an epoch.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub fn epoch_ends(
        &self,
        ctx: &Context,
        queries: &[EpochQuery],
    ) -> Result<Vec<Result<Option<EpochEnd>, ApiError>>, ApiError> {
        self.count(Operation::ListOffsets, self.core.epoch_ends(ctx, queries))
    }

    /// The idempotent producers that each partition remembers, in order. The memory of the answer is added to `permit`.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused, or there is no memory for the answer.
    pub async fn describe_producers(
        &self,
        ctx: &Context,
        partitions: &[(TopicRef, PartitionIndex)],
        permit: &mut Permit,
    ) -> Result<Vec<Result<Vec<ActiveProducer>, ApiError>>, ApiError> {
        let described = self.core.describe_producers(ctx, partitions, permit).await;
        self.count(Operation::DescribeTopic, described)
    }

    /// The data directory, and what the partitions that are named take of it; all that there are, if none are named.
    ///
    /// # Errors
    /// [`ApiError`].
    pub fn describe_log_dir(
        &self,
        ctx: &Context,
        topics: Option<&[(TopicRef, Vec<PartitionIndex>)]>,
    ) -> Result<LogDirDescription, ApiError> {
        self.count(Operation::DescribeTopic, self.core.describe_log_dir(ctx, topics))
    }

    /// The cluster.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn describe_cluster(&self, ctx: &Context) -> Result<ClusterDescription, ApiError> {
        self.count(Operation::DescribeCluster, self.core.describe_cluster(ctx))
    }

    fn count<T>(&self, operation: Operation, result: Result<T, ApiError>) -> Result<T, ApiError> {
        self.core.metrics.count(operation, result)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A broker that is dropped without a drain is a crash to its directory; these must not live on.
        for task in self.background.lock().drain(..) {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests;
