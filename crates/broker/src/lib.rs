//! The application, in the product's own words: what every door calls.
//!
//! One file per operation, each with its plain request and response. They are not wire types: a door converts.
//! Every call takes a [`Context`]; what is asked is checked by one authorizer and one quota at one place.
#![warn(missing_docs)]

mod admission;
mod api_error;
mod broker;
mod budget;
mod cluster;
mod context;
mod core;
mod groups;
mod io_pool;
mod janitor;
mod lag_windows;
mod led_log;
mod metadata;
mod metadata_log;
mod metrics;
mod ops;
mod partitions;
mod producer_ids;
pub mod repair;
mod replay;
mod scrape;
mod start;
mod sync_timer;
mod unfinished;

pub use api_error::{ApiError, Divergence};
pub use broker::{Broker, BrokerConfig};
pub use budget::{MemoryBudget, Permit};
pub use cluster::{
    ClusterOptions, Greeted, Greeting, HeartbeatAnswer, PeerAnswer, PeerCall, PeerError, PeerHeartbeat,
    PeerRequest, PeerService, Peers, ProposalOutcome, Proposed, RecordsQuestion, ReplicaFetch,
    ReplicaFetched, ReplicaTail,
};
pub use context::{ConnectionId, Context, ListenerName, Principal};
pub use groups::{
    ClassicDescription, ClassicIdentity, ClassicJoined, ClassicListing, ClassicMemberDescription,
    ClassicSynced, GroupAssignment, GroupHeartbeatAnswer, GroupHeartbeatRequest, GroupMembership,
    GroupSettings, JoinClassicRequest, JoinGroupRequest, LeaveClassicRequest, MemberProgress, MemberSays,
    PendingJoin, PendingSync, ProfileChanges, SyncClassicRequest, Tell,
};
pub use metrics::{ApiMetrics, DoorMetrics};
pub use millrace_group::classic::{
    ClassicMember, ClassicProtocol, Role as ClassicRole, Stage as ClassicStage,
};
pub use millrace_group::consumer::Leaving;
pub use millrace_group::{
    Committer, GroupEpoch, IdError, InstanceId, MemberId, Pattern, Profile, RackId,
    Subscription as GroupSubscription, assign::Assignor,
};
pub use millrace_log::{ActiveProducer, DamageTotal, Extent, FileRange};
pub use millrace_metadata::{
    AlterPartition, Command, CreateTopic, InSync, Losses, MetadataRecord, Owner, ReplicaEnd, StartBroker,
};
pub use millrace_metadata::{
    ConfigChange, KEYS as TOPIC_KEYS, Key as TopicKey, Meaning, Standing, ValueKind,
};
pub use millrace_quorum::{
    CallError, Peer, QuorumAnswer, QuorumAsk, QuorumNetwork, QuorumRequest, QuorumVoter,
};
pub use millrace_replication::{
    EpochEnd as FollowerEpochEnd, Fetch, FetchAnswer, FetchId, FetchRefusal, Fetched as FollowerFetched,
};
pub use ops::alter_topics::{AlterTopicsRequest, Alteration, TopicChanges};
pub use ops::cluster::{BrokerDescription, ClusterDescription};
pub use ops::cluster_status::{BrokerStatus, ClusterStatus};
pub use ops::create_partitions::{CreatePartitionsRequest, NewPartitions};
pub use ops::create_topic::CreateTopicRequest;
pub use ops::delete_offsets::DeleteOffsetsRequest;
pub use ops::delete_records::RecordsToDelete;
pub use ops::describe_log_dir::{LogDirDescription, TopicSizes};
pub use ops::describe_topic::{ConfigEntry, PartitionDescription, TopicDescription, TopicSummary};
pub use ops::epoch_ends::{EpochEnd, EpochQuery};
pub use ops::fetch::{FetchRequest, FetchResponse, Fetched, Isolation, PartitionFetch};
pub use ops::group_lag::{LagDistance, PartitionLag, PartitionOwner};
pub use ops::group_offsets::{CommitOffsetsRequest, CommittedOffset, FetchOffsetsRequest, OffsetCommit};
pub use ops::groups::{
    ByTopic, GroupDescription, GroupKind, GroupListing, GroupMemberDescription, GroupStage,
};
pub use ops::init_producer::ProducerIdentity;
pub use ops::layout::{PartitionLayout, TopicLayout};
pub use ops::list_offsets::{OffsetAnswer, OffsetPoint, OffsetQuery};
pub use ops::plan_moves::{BrokerChange, PartitionMove};
pub use ops::produce::{
    Durability, NewHeader, NewRecord, PartitionProduce, PendingProduce, ProduceData, ProduceRequest,
    ProduceResponse, Produced, SequenceStart,
};
pub use ops::ranges::{Begin, End, RangeQuery, ResolvedRange};
pub use ops::reassign::Reassignment;
pub use ops::reset_group::{OffsetReset, ResetGroupRequest, ResetMode, ResetTo, ResetWhile};
pub use ops::subscribe::{PartitionSubscribe, SubscribeRequest, Subscribed, SubscribedPart, Subscription};
pub use ops::topic_configs::TopicConfigs;
pub use ops::topic_ref::TopicRef;
