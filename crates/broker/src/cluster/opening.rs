//! How a broker of a cluster starts: directory, quorum, logs, in this order. Nothing that the directory holds is deleted or served
//! before the cluster has registered this run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace_env::{Env, FsExt, RngExt};
use millrace_log::{DirError, LogDir, LogDirOptions, OpenedDir, PartitionMeta, Replication};
use millrace_metadata::{FEATURE_LEVEL_ALONE, Image, Losses};
use millrace_quorum::{FoundError, MetadataQuorum, QuorumOptions, QuorumPace, quorum_log_config};
use millrace_replication::Timing;
use millrace_replication::completeness::{Completeness, LastRun, Synced, of_log};
use millrace_types::{
    ClusterId, ErrorCode, IncarnationId, NodeId, PartitionIndex, SyncMode, TopicId, TopicPartition,
};
use tokio::sync::watch;

use super::network::{AddressBook, Suspects, WatchedNetwork};
use super::outbox::ReplicaOutbox;
use super::peers::{Greeting, PeerAnswer, PeerCall, PeerRequest};
use super::replicas::Replicas;
use super::{Addresses, Cluster, ClusterMetadata, ClusterOptions, Found, unreported};
use crate::io_pool::{each_on_pool, on_pool};
use crate::partitions::{Held, log_config};
use crate::start::{CLUSTER_METADATA, Opened, open_metadata, product_name, settle};
use crate::{ApiError, BrokerConfig};

/// The quorum's log. Partition 0 is the log of a node that decides alone.
pub(crate) const QUORUM_LOG: TopicPartition =
    TopicPartition { topic: TopicId::CLUSTER_METADATA, partition: PartitionIndex(1) };
/// Where the small files of the quorum lie, in the data directory.
const QUORUM_DIR: &str = "quorum";
const RETRY_AFTER: Duration = Duration::from_millis(200);
const GREET_WITHIN: Duration = Duration::from_secs(2);

/// What a start has opened.
#[derive(Debug)]
pub(crate) struct OpenedCluster {
    pub(crate) dir: Arc<LogDir>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) unavailable: Vec<String>,
}

/// Opens everything.
///
/// # Errors
/// What keeps the broker from starting.
pub(crate) async fn open(
    env: &Env,
    config: &BrokerConfig,
    options: &ClusterOptions,
    dir_options: LogDirOptions,
) -> Result<OpenedCluster, ApiError> {
    let path = config.data_dir.as_path();
    let io = |error: std::io::Error| {
        ApiError::new(ErrorCode::StorageFailed, format!("{}: {error}", path.display()))
    };
    if !options.join.is_empty() && !env.fs.exists(&path.join("node.meta")).map_err(io)? {
        let id = cluster_of(env, config.node, options).await;
        let (inner, path, node) = (env.clone(), path.to_owned(), config.node);
        on_pool(env, move || LogDir::format(&inner, &path, node, id)).await??;
    }
    let unreported = unreported::before_open(env, path).map_err(io)?;
    let inner = env.clone();
    let OpenedDir { dir, found } = on_pool(env, move || LogDir::open(&inner, dir_options)).await??;
    let network = Network::new(options);
    let quorum = open_quorum(env, config.node, &dir, &found, &network).await?;
    found_quorum(env, &dir, &found, &quorum, options).await?;
    let image = quorum.image();
    let logs = open_logs(env, &dir, &image, &found).await?;
    let unavailable = logs.iter().filter_map(|(at, held)| match held {
        Held::Unavailable(why) => Some(format!("{at}: {why}")),
        Held::Open(_) => None,
    });
    let unavailable = unavailable.collect();
    let found = found_of((config.node, &dir), &image, &logs, unreported);
    if found.losses == Losses::Nothing && !unreported {
        unreported::forget(env, path).map_err(io)?;
    }
    let cluster = assemble(env, config, options, (dir.clone(), quorum, network), (found, logs));
    Ok(OpenedCluster { dir, cluster, unavailable })
}

/// The way to others, as the quorum is given it.
struct Network {
    book: Arc<AddressBook>,
    suspects: Arc<Suspects>,
    watched: Arc<WatchedNetwork>,
}

impl Network {
    fn new(options: &ClusterOptions) -> Network {
        let (book, suspects) = (Arc::<AddressBook>::default(), Arc::<Suspects>::default());
        let peers = Arc::clone(&options.peers);
        let watched = WatchedNetwork { peers, book: Arc::clone(&book), suspects: Arc::clone(&suspects) };
        Network { book, suspects, watched: Arc::new(watched) }
    }
}

/// Asks until somebody says which cluster it is that is to be joined.
async fn cluster_of(env: &Env, node: NodeId, options: &ClusterOptions) -> ClusterId {
    let mut said = false;
    loop {
        for address in &options.join {
            let greeting = Greeting { voter: None, internal: options.internal.clone() };
            let call = PeerCall { cluster: None, from: node, request: PeerRequest::Greet(greeting) };
            match options.peers.ask(address, call, GREET_WITHIN).await {
                Ok(PeerAnswer::Greeted(greeted)) => return greeted.cluster,
                Ok(_) => {}
                Err(error) if !said => tracing::info!(%address, %error, "waiting for a cluster to join"),
                Err(_) => {}
            }
        }
        said = true;
        env.clock.sleep(RETRY_AFTER).await;
    }
}

async fn open_quorum(
    env: &Env,
    node: NodeId,
    dir: &Arc<LogDir>,
    found: &[PartitionMeta],
    network: &Network,
) -> Result<Arc<MetadataQuorum>, ApiError> {
    let exists = found.iter().any(|meta| meta.id == QUORUM_LOG);
    let (inner, fs, name) = (Arc::clone(dir), Arc::clone(&env.fs), product_name(CLUSTER_METADATA)?);
    let path = dir.path().join(QUORUM_DIR);
    let files = path.clone();
    let log = on_pool(env, move || -> Result<_, DirError> {
        let io = |source| DirError::Io { context: format!("making {}", files.display()), source };
        fs.create_dir_all(&files).map_err(io)?;
        fs.sync_dir(files.parent().unwrap_or(Path::new("."))).map_err(io)?;
        if exists {
            return inner.open_log(QUORUM_LOG, quorum_log_config());
        }
        let meta = PartitionMeta { id: QUORUM_LOG, name, partitions: 2, replication_factor: 1 };
        inner.create(meta, quorum_log_config())
    });
    let log = log.await??;
    let watched = Arc::clone(&network.watched);
    let options = QuorumOptions { node, log, dir: path, network: watched, pace: QuorumPace::default() };
    let mut deciding = env.clone();
    if let Some(tasks) = network.watched.peers.tasks() {
        deciding.tasks = tasks;
    }
    MetadataQuorum::open(&deciding, options).await.map_err(|error| {
        let message = format!("the metadata quorum: {error}");
        ApiError::new(ErrorCode::Corrupt, message)
    })
}

/// A node that is to join nobody founds a quorum of its own, once, and brings what it has decided alone.
async fn found_quorum(
    env: &Env,
    dir: &Arc<LogDir>,
    found: &[PartitionMeta],
    quorum: &Arc<MetadataQuorum>,
    options: &ClusterOptions,
) -> Result<(), ApiError> {
    let status = quorum.status();
    let alone = TopicPartition { topic: TopicId::CLUSTER_METADATA, partition: PartitionIndex(0) };
    let decided_alone = found.iter().any(|meta| meta.id == alone);
    if !options.join.is_empty() {
        if decided_alone {
            let message = format!(
                "{} is of cluster {}, which has decided alone: it cannot join another one",
                dir.path().display(),
                dir.cluster_id()
            );
            return Err(ApiError::new(ErrorCode::InvalidRequest, message));
        }
        return Ok(());
    }
    let is_member = !status.members.nodes.is_empty();
    let is_alone = status.members.nodes.len() == 1 && status.members.nodes.contains_key(&quorum.own());
    if is_member && !is_alone {
        return Ok(());
    }
    let failed = |error: String| ApiError::new(ErrorCode::Internal, format!("founding the quorum: {error}"));
    if !is_member {
        let voters = BTreeMap::from([(quorum.own(), options.internal.clone())]);
        match quorum.found(voters).await {
            Ok(()) | Err(FoundError::Founded) => {}
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    if decided_alone {
        let (log, _) = open_metadata(env, dir, found).await?;
        let image = log.image();
        if image.feature_level() < FEATURE_LEVEL_ALONE {
            return Err(failed(format!("its metadata are of level {}", image.feature_level())));
        }
        quorum.until(|status| status.leader.clone()).await.map_err(failed)?;
        quorum.adopt(&image).await.map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
}

/// Opens every log that was found, whoever it belongs to.
async fn open_logs(
    env: &Env,
    dir: &Arc<LogDir>,
    image: &Image,
    found: &[PartitionMeta],
) -> Result<BTreeMap<TopicPartition, Held>, ApiError> {
    let of_topics = found.iter().filter(|meta| meta.id.topic != TopicId::CLUSTER_METADATA);
    let items = of_topics.map(|meta| {
        let config = image.topic_by_id(meta.id.topic).map(|topic| log_config(topic, Replication::Replicated));
        let unknown = millrace_log::LogConfig { replication: Replication::Replicated, ..Default::default() };
        (meta.id, config.unwrap_or(unknown))
    });
    let inner = Arc::clone(dir);
    let opened = each_on_pool(env, items.collect(), move |(at, config)| match inner.stage_log(at, config) {
        Ok(staged) => Ok((at, Opened::Staged(staged))),
        Err(DirError::Damaged { path, what }) => {
            Ok((at, Opened::Held(Held::Unavailable(format!("{path}: {what}").into()))))
        }
        Err(error @ (DirError::Conflict(_) | DirError::Io { .. })) => {
            Ok((at, Opened::Held(Held::Unavailable(error.to_string().into()))))
        }
        Err(error) => Err(ApiError::from(error)),
    });
    let opened = opened.await?.into_iter().collect::<Result<Vec<_>, _>>()?;
    let inner = Arc::clone(dir);
    on_pool(env, move || settle(&inner, opened)).await?
}

/// What the directory may have lost, as the cluster is told.
fn found_of(
    (me, dir): (NodeId, &LogDir),
    image: &Image,
    logs: &BTreeMap<TopicPartition, Held>,
    unreported: bool,
) -> Found {
    let report = dir.start_report();
    let last_run = match (report.clean, report.cache_may_be_lost) {
        (true, _) => LastRun::Clean,
        (false, true) => LastRun::CacheLost,
        (false, false) => LastRun::Killed,
    };
    // What that means to a topic depends on how it syncs: the controller knows.
    let lossy = of_log(last_run, SyncMode::Os, Synced::Intact) == Completeness::Lossy;
    let losses = if lossy || unreported { Losses::Unsynced } else { Losses::Nothing };
    let is_damaged = |held: &Held| match held {
        Held::Open(log) => !log.damaged().is_empty(),
        Held::Unavailable(_) => true,
    };
    let mut damaged: BTreeSet<TopicPartition> =
        logs.iter().filter(|(_, held)| is_damaged(held)).map(|(at, _)| *at).collect();
    if report.clean {
        // A clean stop leaves no replica without its log.
        let mine = image.partitions().filter(|(_, partition)| partition.replicas.contains(&me));
        damaged.extend(mine.map(|(at, _)| at).filter(|at| !logs.contains_key(at)));
    }
    Found { losses, damaged }
}

fn assemble(
    env: &Env,
    config: &BrokerConfig,
    options: &ClusterOptions,
    (dir, quorum, network): (Arc<LogDir>, Arc<MetadataQuorum>, Network),
    (found, logs): (Found, BTreeMap<TopicPartition, Held>),
) -> Arc<Cluster> {
    let (me, id) = (config.node, dir.cluster_id());
    let Network { book, suspects, .. } = network;
    let peers = Arc::clone(&options.peers);
    let metadata = ClusterMetadata::new(env, (me, id), quorum, Arc::clone(&peers), Arc::clone(&book));
    let metadata = Arc::new(metadata);
    let outbox = Arc::new(ReplicaOutbox::new(Arc::clone(&env.clock), Timing::default()));
    let replicas = Replicas::new(env, me, &dir, &outbox, logs);
    Arc::new(Cluster {
        env: env.clone(),
        id,
        me,
        directory: dir.directory_id(),
        incarnation: IncarnationId(env.rng.uuid_v4()),
        data_dir: config.data_dir.clone(),
        options: Addresses {
            internal: options.internal.clone(),
            grpc: config.grpc_advertised.clone(),
            kafka: options.kafka.clone(),
            join: options.join.clone(),
        },
        found,
        peers,
        book,
        suspects,
        metadata,
        replicas,
        sending: super::Sending::default(),
        sessions: super::controller::Sessions::default(),
        active: watch::Sender::new(false),
        draining: watch::Sender::new(false),
        may_stop: watch::Sender::new(false),
    })
}
