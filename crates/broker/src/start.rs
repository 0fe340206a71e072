//! How a broker starts: directory, metadata, partitions, committed offsets, in this order.
//!
//! What the metadata says and what the disk holds are compared, and the metadata wins by words only: a log is deleted
//! only because a committed record says that its topic was, never because its topic is absent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_env::{Env, RngExt};
use millrace_log::{
    DirError, Log, LogConfig, LogDir, LogDirOptions, OpenedDir, PartitionMeta, Replication, StagedLog,
};
use millrace_metadata::{Command, CreateTopic, FEATURE_LEVEL_ALONE, Image, Owner};
use millrace_types::{CleanupPolicy, ErrorCode, PartitionIndex, TopicId, TopicName, TopicPartition, limits};

use crate::cluster::{self, Cluster, ClusterOptions, OpenedCluster, QUORUM_LOG};
use crate::groups::{FoundOffsets, Groups, replay_groups};
use crate::io_pool::{each_on_pool, on_pool};
use crate::metadata::Metadata;
use crate::metadata_log::{MetadataLog, Replayed, metadata_log_config, replay_metadata};
use crate::metrics::GroupCounters;
use crate::partitions::{CONSUMER_OFFSETS, Held, Partitions, log_config, numbers, partition_meta};
use crate::{ApiError, BrokerConfig};

/// The name of the topic that holds the cluster's decisions. It is no topic of the image: the image is made of it.
pub(crate) const CLUSTER_METADATA: &str = "__cluster_metadata";
/// `segment.bytes` of [`CONSUMER_OFFSETS`] (Kafka's `offsets.topic.segment.bytes`).
const OFFSETS_SEGMENT_BYTES: u64 = 100 * 1024 * 1024;
/// The share of the memory budget that the logs keep for readers at the tail: one part in this many.
const TAIL_CACHE_SHARE: u64 = 8;
/// The share of the memory budget that clients may send unasked: HTTP/2 lets them fill its windows before anybody takes a permit.
const UNASKED_SHARE: u64 = 5;
/// The largest share of the memory budget that is kept as its reserve.
const MEMORY_RESERVE_SHARE: u64 = 8;

/// What a start has opened.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) dir: Arc<LogDir>,
    pub(crate) metadata: Metadata,
    pub(crate) partitions: Arc<Partitions>,
    pub(crate) groups: Groups,
    /// Logs on the disk that belong to no topic that the metadata knows. Left alone.
    pub(crate) orphans: Vec<TopicPartition>,
    /// Partitions that cannot be served, as text for the operator.
    pub(crate) unavailable: Vec<String>,
}

/// How the directory is opened.
pub(crate) fn dir_options(config: &BrokerConfig) -> LogDirOptions {
    LogDirOptions {
        path: config.data_dir.clone(),
        node: config.node,
        tail_cache_bytes: usize::try_from(tail_cache_bytes(config)).unwrap_or(usize::MAX),
        handles: None,
    }
}

/// Of the memory budget, what the logs may keep for readers at the tail.
pub(crate) fn tail_cache_bytes(config: &BrokerConfig) -> u64 {
    config.memory_budget_bytes / TAIL_CACHE_SHARE
}

/// Of the memory budget, what clients may send unasked.
pub(crate) fn unasked_bytes(config: &BrokerConfig) -> u64 {
    (config.memory_budget_bytes / UNASKED_SHARE).min(u64::from(limits::HTTP_WINDOWS_BYTES_MAX))
}

/// Of the memory budget, what is kept for requests that need more than they were granted.
pub(crate) fn memory_reserve_bytes(config: &BrokerConfig) -> usize {
    let share = config.memory_budget_bytes / MEMORY_RESERVE_SHARE;
    usize::try_from(share).unwrap_or(usize::MAX).min(limits::MEMORY_RESERVE_BYTES)
}

/// Opens everything.
///
/// # Errors
/// What keeps the broker from starting.
pub(crate) async fn open(
    env: &Env,
    config: &BrokerConfig,
    counters: &GroupCounters,
) -> Result<Started, ApiError> {
    let options = dir_options(config);
    let inner = env.clone();
    let OpenedDir { dir, found } = on_pool(env, move || LogDir::open(&inner, options)).await??;
    // A start that fails from here on drops the directory without closing it. A close would leave a clean mark behind,
    // over logs that this start never came to recover.
    open_logs(env, config, counters, (&dir, found)).await
}

/// Opens everything of a broker of a cluster.
///
/// # Errors
/// What keeps the broker from starting.
pub(crate) async fn open_clustered(
    env: &Env,
    config: &BrokerConfig,
    options: &ClusterOptions,
    counters: &GroupCounters,
) -> Result<(Started, Option<Arc<Cluster>>), ApiError> {
    let opened = cluster::open(env, config, options, dir_options(config)).await?;
    let OpenedCluster { dir, cluster, unavailable } = opened;
    let metadata = Arc::clone(cluster.metadata());
    let partitions = Arc::clone(cluster.replicas().partitions());
    let groups = Groups::elsewhere(env, &config.groups, counters.clone());
    let orphans = Vec::new();
    let started =
        Started { dir, metadata: Metadata::Quorum(metadata), partitions, groups, orphans, unavailable };
    Ok((started, Some(cluster)))
}

async fn open_logs(
    env: &Env,
    config: &BrokerConfig,
    counters: &GroupCounters,
    (dir, found): (&Arc<LogDir>, Vec<PartitionMeta>),
) -> Result<Started, ApiError> {
    if found.iter().any(|meta| meta.id == QUORUM_LOG) {
        let message = format!(
            "{} is that of a broker of a cluster, which decides together with others: start it with --internal",
            dir.path().display()
        );
        return Err(ApiError::new(ErrorCode::Unsupported, message));
    }
    let (metadata, deleted) = open_metadata(env, dir, &found).await?;
    found_cluster(env, config, dir, &metadata).await?;
    let image = metadata.image();
    let mut reconciled = reconcile(&image, &found, &deleted);
    delete_leftovers(env, dir, std::mem::take(&mut reconciled.leftovers)).await?;
    let topics = open_partitions(env, dir, &image, reconciled.present).await?;
    let unavailable = report(&image, &topics, &reconciled.orphans);
    let found = replay_all_groups(env, &image, &topics, counters).await?;
    let groups = Groups::new(env, &config.groups, counters.clone(), &image, found);
    let stale: BTreeSet<TopicId> = groups.topic_ids().intersection(&deleted).copied().collect();
    if !stale.is_empty() {
        groups.forget(&stale).await?;
    }
    groups.catch_up().await;
    let partitions = Arc::new(Partitions::default());
    partitions.insert_all(topics);
    let (orphans, metadata) = (reconciled.orphans, Metadata::Alone(metadata));
    Ok(Started { dir: Arc::clone(dir), metadata, partitions, groups, orphans, unavailable })
}

/// Opens and replays the metadata log, or makes it in an empty directory.
pub(crate) async fn open_metadata(
    env: &Env,
    dir: &Arc<LogDir>,
    found: &[PartitionMeta],
) -> Result<(MetadataLog, BTreeSet<TopicId>), ApiError> {
    let id = TopicPartition { topic: TopicId::CLUSTER_METADATA, partition: PartitionIndex(0) };
    let exists = found.iter().any(|meta| meta.id == id);
    if !exists && !found.is_empty() {
        let message = format!(
            "{} holds {} partition logs but no {CLUSTER_METADATA}: nothing is served and nothing is deleted; {}",
            dir.path().display(),
            found.len(),
            repair_hint(dir)
        );
        return Err(ApiError::new(ErrorCode::Corrupt, message));
    }
    let name = product_name(CLUSTER_METADATA)?;
    let inner = Arc::clone(dir);
    let opened = on_pool(env, move || -> Result<_, ApiError> {
        let log = if exists {
            inner.open_log(id, metadata_log_config())?
        } else {
            let meta = PartitionMeta { id, name, partitions: 1, replication_factor: 1 };
            inner.create(meta, metadata_log_config())?
        };
        let replayed = replay_metadata(&log).map_err(|error| ApiError {
            message: format!("{}; {}", error.message, repair_hint(&inner)),
            ..error
        })?;
        Ok((log, replayed))
    });
    let (log, Replayed { image, deleted }) = opened.await??;
    Ok((MetadataLog::new(log, Arc::clone(&env.clock), image), deleted))
}

fn repair_hint(dir: &LogDir) -> String {
    format!("`millrace repair metadata --data-dir {}` tells what can be built anew", dir.path().display())
}

/// Says what every start says; what is known already writes nothing.
async fn found_cluster(
    env: &Env,
    config: &BrokerConfig,
    dir: &LogDir,
    metadata: &MetadataLog,
) -> Result<(), ApiError> {
    metadata.propose(&Command::RaiseFeatureLevel { level: FEATURE_LEVEL_ALONE }).await?;
    let (node, directory, grpc) = (config.node, dir.directory_id(), config.grpc_advertised.clone());
    metadata.propose(&Command::RegisterBroker { node, directory, grpc }).await?;
    let name = product_name(CONSUMER_OFFSETS)?;
    if metadata.image().topic_by_name(&name).is_some() {
        return Ok(());
    }
    metadata.propose(&create_offsets(env)?).await?;
    Ok(())
}

/// Makes [`CONSUMER_OFFSETS`].
pub(crate) fn create_offsets(env: &Env) -> Result<Command, ApiError> {
    Ok(Command::CreateTopic(CreateTopic {
        id: TopicId(env.rng.uuid_v4()),
        name: product_name(CONSUMER_OFFSETS)?,
        partitions: Some(limits::CONSUMER_OFFSETS_PARTITIONS),
        replication_factor: None,
        configs: offsets_configs(),
        owner: Owner::Product,
    }))
}

/// What [`CONSUMER_OFFSETS`] sets itself.
pub(crate) fn offsets_configs() -> BTreeMap<String, String> {
    let config = |key: &str, value: u64| (key.to_owned(), value.to_string());
    BTreeMap::from([
        config("segment.bytes", OFFSETS_SEGMENT_BYTES),
        config("max.message.bytes", limits::BATCH_BYTES_MAX as u64),
        ("cleanup.policy".to_owned(), CleanupPolicy::Compact.to_string()),
    ])
}

pub(crate) fn product_name(name: &str) -> Result<TopicName, ApiError> {
    TopicName::new(name).map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))
}

/// The disk against the metadata.
#[derive(Debug, Default)]
struct Reconciled {
    /// Logs of topics that exist.
    present: BTreeSet<TopicPartition>,
    /// Logs of topics whose deletion is committed: a crash came before the directory was gone.
    leftovers: Vec<TopicPartition>,
    /// Logs of topics that the metadata never heard of.
    orphans: Vec<TopicPartition>,
}

fn reconcile(image: &Image, found: &[PartitionMeta], deleted: &BTreeSet<TopicId>) -> Reconciled {
    let mut reconciled = Reconciled::default();
    for PartitionMeta { id, .. } in found {
        let topic = image.topic_by_id(id.topic);
        if id.topic == TopicId::CLUSTER_METADATA {
            continue;
        }
        if topic.is_some_and(|topic| topic.partition(id.partition).is_some()) {
            reconciled.present.insert(*id);
            continue;
        }
        #[cfg(feature = "teeth")]
        millrace_types::planted!(DeleteAbsent => { reconciled.leftovers.push(*id); continue; });
        if deleted.contains(&id.topic) {
            reconciled.leftovers.push(*id);
        } else {
            reconciled.orphans.push(*id);
        }
    }
    reconciled
}

async fn delete_leftovers(
    env: &Env,
    dir: &Arc<LogDir>,
    leftovers: Vec<TopicPartition>,
) -> Result<(), ApiError> {
    let inner = Arc::clone(dir);
    for result in each_on_pool(env, leftovers, move |id| inner.delete(id)).await? {
        result?;
    }
    Ok(())
}

/// Opens the logs of all topics, and makes those that a crash kept from being made.
async fn open_partitions(
    env: &Env,
    dir: &Arc<LogDir>,
    image: &Image,
    present: BTreeSet<TopicPartition>,
) -> Result<BTreeMap<TopicId, Vec<Held>>, ApiError> {
    let mut items = Vec::new();
    for topic in image.topics() {
        for partition in numbers(topic) {
            let meta = partition_meta(topic, partition);
            let exists = present.contains(&meta.id);
            items.push((meta, log_config(topic, Replication::Alone), exists));
        }
    }
    // A clean stop leaves no topic without its logs, except on the very first start.
    let clean = dir.start_report().clean && !present.is_empty();
    let inner = Arc::clone(dir);
    let opened = each_on_pool(env, items, move |(meta, config, exists)| {
        let topic = meta.id.topic;
        open_one(&inner, meta, config, (exists, clean)).map(|opened| (topic, opened))
    });
    let opened = opened.await?.into_iter().collect::<Result<Vec<_>, _>>()?;
    let inner = Arc::clone(dir);
    let settled: Vec<(TopicId, Held)> = on_pool(env, move || settle(&inner, opened)).await??;
    let mut topics: BTreeMap<TopicId, Vec<Held>> = BTreeMap::new();
    for (topic, held) in settled {
        topics.entry(topic).or_default().push(held);
    }
    Ok(topics)
}

/// What came of opening a log.
#[derive(Debug)]
pub(crate) enum Opened {
    Staged(StagedLog),
    Held(Held),
}

/// Makes durable together what the logs need before they are served; answers each in its place.
pub(crate) fn settle<K, T>(dir: &LogDir, opened: Vec<(K, Opened)>) -> Result<T, ApiError>
where
    T: FromIterator<(K, Held)>,
{
    let (mut staged, mut places) = (Vec::new(), Vec::new());
    for (key, opened) in opened {
        match opened {
            Opened::Staged(log) => {
                staged.push(log);
                places.push((key, None));
            }
            Opened::Held(held) => places.push((key, Some(held))),
        }
    }
    let mut logs = dir.settle(staged)?.into_iter().map(Held::Open);
    Ok(places.into_iter().filter_map(|(key, held)| Some((key, held.or_else(|| logs.next())?))).collect())
}

fn open_one(
    dir: &LogDir,
    meta: PartitionMeta,
    config: LogConfig,
    (exists, clean): (bool, bool),
) -> Result<Opened, ApiError> {
    let (name, id, is_internal) = (meta.name.clone(), meta.id, meta.name.is_internal());
    let unavailable = |why: String| Ok(Opened::Held(Held::Unavailable(why.into())));
    let opened = if exists {
        dir.stage_log(id, config).map(Opened::Staged)
    } else if clean {
        // Made anew it would be empty, and its lost records would look as if they had never been.
        return unavailable("its log is missing from the data directory".to_owned());
    } else {
        // On the very first start these are the logs of the product's own topics.
        tracing::info!(partition = %id, %name, "making a log that is not there yet");
        dir.create(meta, config).map(|log| Opened::Held(Held::Open(log)))
    };
    match opened {
        Ok(opened) => Ok(opened),
        // The rest of the directory stays readable.
        Err(DirError::Damaged { path, what }) => unavailable(format!("{path}: {what}")),
        // A directory without a `partition.meta` that opens.
        Err(DirError::Conflict(what)) => unavailable(what),
        // A medium that does not give the files of one log keeps nobody from the others. Where the directory itself has
        // failed, the next log says so; and without the logs of the product's own topics there is nothing to serve.
        Err(error @ DirError::Io { .. }) if !is_internal => unavailable(error.to_string()),
        Err(error) => Err(error.into()),
    }
}

fn report(image: &Image, topics: &BTreeMap<TopicId, Vec<Held>>, orphans: &[TopicPartition]) -> Vec<String> {
    for id in orphans {
        tracing::warn!(partition = %id, "a log belongs to no topic that the metadata knows; it is left alone");
    }
    let mut unavailable = Vec::new();
    for topic in image.topics() {
        for (partition, held) in topics.get(&topic.id).into_iter().flatten().enumerate() {
            if let Held::Unavailable(why) = held {
                tracing::error!(topic = %topic.name, partition, %why, "a partition cannot be served");
                unavailable.push(format!("{} partition {partition}: {why}", topic.name));
            }
        }
    }
    unavailable
}

/// Replays the groups and what they have committed.
async fn replay_all_groups(
    env: &Env,
    image: &Image,
    topics: &BTreeMap<TopicId, Vec<Held>>,
    counters: &GroupCounters,
) -> Result<Vec<FoundOffsets>, ApiError> {
    let began = env.clock.monotonic();
    let id = image.topic_by_name(&product_name(CONSUMER_OFFSETS)?).map(|topic| topic.id);
    let logs = id.and_then(|id| topics.get(&id)).into_iter().flatten();
    let logs = logs.map(|held| match held {
        Held::Open(log) => Ok(Arc::clone(log)),
        Held::Unavailable(why) => {
            Err(ApiError::new(ErrorCode::Corrupt, format!("{CONSUMER_OFFSETS}: {why}")))
        }
    });
    // Groups whose offsets are lost are told so when they ask; the others, and all records, are served.
    let found = each_on_pool(env, logs.collect(), |log: Result<Arc<Log>, ApiError>| {
        log.map(|log| {
            let replayed = replay_groups(&log);
            (log, replayed)
        })
    });
    let found = found.await?;
    counters.replayed(env.clock.monotonic().since(began));
    Ok(found)
}
