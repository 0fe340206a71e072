//! Starts the parts of a broker and stops them.
//!
//! Start: listeners first, so that a taken port is known before the data directory is touched; then HTTP, which says
//! `starting` while the broker recovers; then the broker; then its doors. One of several opens its internal door first, and those
//! for clients once it is one of its cluster. Stop, the other way round: health says no, others lead what it led, the doors answer
//! what is in flight, the broker leaves its clean mark, and the internal door closes.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::{Stream, StreamExt};
use millrace_broker::{ApiError, Broker, BrokerConfig, ClusterOptions};
use millrace_env::real::OwnThread;
use millrace_env::{Env, Listener};
use millrace_grpc::{GrpcDoor, InternalDoor, InternalPeers, OpenError};
use millrace_kafka::{Endpoint, KafkaDoor};
use millrace_types::{ErrorCode, NodeId};
use tokio::sync::oneshot;

use crate::config::{InForce, Key, Origin, ServerConfig};
use crate::http::{HttpDoor, Readiness};
use crate::metrics::Measured;
use crate::{Exit, Listen};

/// How long a stop waits until others lead what the broker led. It takes a moment; longer only where there is nobody to take it.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(5);
/// How long other brokers may take to hear their last answers.
const INTERNAL_PATIENCE: Duration = Duration::from_secs(1);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A door cannot listen.
    #[error("{key} = {listen}: {source}")]
    Listen {
        /// Which door.
        key: Key,
        /// Where it should listen.
        listen: Listen,
        /// What the operating system said.
        source: io::Error,
    },
    /// The broker did not start.
    #[error(transparent)]
    Broker(#[from] ApiError),
    /// The native door did not open.
    #[error("grpc: {0}")]
    Grpc(#[from] OpenError),
    /// The Kafka door did not open.
    #[error("kafka: {0}")]
    Kafka(#[source] io::Error),
    /// The internal door did not open.
    #[error("internal: {0}")]
    Internal(#[source] io::Error),
}

/// What others need to know of a running server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerInfo {
    /// This node's number.
    pub node: NodeId,
    /// The process.
    pub pid: u32,
    /// Where the native door listens; one port.
    pub grpc: Vec<SocketAddr>,
    /// Where the Kafka door listens; one port.
    pub kafka: Vec<SocketAddr>,
    /// Where the internal door listens, if there is one; one port.
    pub internal: Vec<SocketAddr>,
    /// Where health and metrics are served; one port.
    pub http: Vec<SocketAddr>,
}

/// A server that accepts.
#[derive(Debug)]
pub struct RunningServer {
    env: Env,
    info: ServerInfo,
    drain_timeout: Duration,
    readiness: Arc<Readiness>,
    broker: Arc<Broker>,
    grpc: Arc<GrpcDoor>,
    kafka: Arc<KafkaDoor>,
    internal: Option<InternalDoor>,
    /// Drives what decides in the cluster, apart from records.
    _deciding: Option<OwnThread>,
    http: HttpDoor,
}

/// Starts a server.
///
/// # Errors
/// [`StartError`].
pub async fn start(env: Env, config: ServerConfig) -> Result<RunningServer, StartError> {
    let started = env.clock.monotonic();
    let (grpc_listeners, grpc) = listen(&env, Key::Grpc, config.grpc).await?;
    let (kafka_listeners, kafka) = listen(&env, Key::Kafka, config.kafka).await?;
    let deciding = match &config.cluster {
        Some(_) => Some(OwnThread::start("deciding").map_err(StartError::Internal)?),
        None => None,
    };
    let (internal_listeners, internal) = match (&config.cluster, &deciding) {
        (Some(cluster), Some(deciding)) => listen_there(&env, deciding, cluster.internal).await?,
        _ => (Vec::new(), Vec::new()),
    };
    let (http_listeners, http_addrs) = listen(&env, Key::Http, config.http).await?;
    let readiness = Arc::new(Readiness::starting());
    let measured = Arc::new(Measured {
        clock: Arc::clone(&env.clock),
        started,
        readiness: Arc::clone(&readiness),
        broker: OnceLock::new(),
        door: OnceLock::new(),
        kafka: OnceLock::new(),
    });
    let http = HttpDoor::open(&env, Arc::clone(&measured), http_listeners);

    let listeners = Listeners { grpc: grpc_listeners, kafka: kafka_listeners, internal: internal_listeners };
    let addresses = Addresses::of(&config, &grpc, &kafka, &internal);
    match start_broker(&env, &config, deciding.as_ref(), listeners, addresses).await {
        Ok(Parts { broker, grpc: door, kafka: kafka_door, internal: internal_door }) => {
            let took = env.clock.monotonic().since(started);
            tracing::info!(node = %config.node, ?grpc, ?kafka, ?internal, http = ?http_addrs, ?took, "accepting");
            let _first = measured.broker.set(Arc::clone(&broker));
            let _first = measured.door.set(Arc::clone(&door));
            let _first = measured.kafka.set(Arc::clone(&kafka_door));
            readiness.set_ready();
            let (node, pid) = (config.node, std::process::id());
            let info = ServerInfo { node, pid, grpc, kafka, internal, http: http_addrs };
            let drain_timeout = config.drain_timeout;
            Ok(RunningServer {
                env,
                info,
                drain_timeout,
                readiness,
                broker,
                grpc: door,
                kafka: kafka_door,
                internal: internal_door,
                _deciding: deciding,
                http,
            })
        }
        Err(error) => {
            http.close().await;
            Err(error)
        }
    }
}

async fn listen(
    env: &Env,
    key: Key,
    listen: Listen,
) -> Result<(Vec<Box<dyn Listener>>, Vec<SocketAddr>), StartError> {
    let failed = |source| StartError::Listen { key, listen, source };
    let listeners = listen.open(env).await.map_err(failed)?;
    let addrs = listeners.iter().map(|listener| listener.local_addr()).collect::<io::Result<_>>();
    Ok((listeners, addrs.map_err(failed)?))
}

/// The environment as it is on a thread of its own.
fn env_there(env: &Env, there: &OwnThread) -> Env {
    Env { tasks: there.tasks(), ..env.clone() }
}

/// As [`listen`], but connections are noticed by the thread that will drive them: a socket belongs to the runtime in which it was made.
async fn listen_there(
    env: &Env,
    there: &OwnThread,
    at: Listen,
) -> Result<(Vec<Box<dyn Listener>>, Vec<SocketAddr>), StartError> {
    let (env, (tell, heard)) = (env_there(env, there), oneshot::channel());
    let inner = env.clone();
    let listening = async move {
        let _waits = tell.send(listen(&inner, Key::Internal, at).await);
    };
    let _runs_on = env.tasks.spawn("internal listener", Box::pin(listening));
    heard.await.unwrap_or_else(|_| Err(StartError::Internal(io::ErrorKind::BrokenPipe.into())))
}

struct Listeners {
    grpc: Vec<Box<dyn Listener>>,
    kafka: Vec<Box<dyn Listener>>,
    internal: Vec<Box<dyn Listener>>,
}

/// What others are told to connect to, as `host:port`.
struct Addresses {
    grpc: String,
    kafka: String,
    internal: String,
}

impl Addresses {
    /// What is configured, or else where the door listens.
    fn of(
        config: &ServerConfig,
        grpc: &[SocketAddr],
        kafka: &[SocketAddr],
        internal: &[SocketAddr],
    ) -> Addresses {
        let told = |advertised: &Option<Endpoint>, bound: &[SocketAddr]| match advertised {
            Some(endpoint) => endpoint.to_string(),
            None => bound.first().map(SocketAddr::to_string).unwrap_or_default(),
        };
        let of_internal = config.cluster.as_ref().and_then(|cluster| cluster.advertised.clone());
        Addresses {
            grpc: told(&config.grpc_advertised, grpc),
            kafka: told(&config.kafka_advertised, kafka),
            internal: told(&of_internal, internal),
        }
    }
}

struct Parts {
    broker: Arc<Broker>,
    grpc: Arc<GrpcDoor>,
    kafka: Arc<KafkaDoor>,
    internal: Option<InternalDoor>,
}

async fn start_broker(
    env: &Env,
    config: &ServerConfig,
    deciding: Option<&OwnThread>,
    listeners: Listeners,
    addresses: Addresses,
) -> Result<Parts, StartError> {
    let broker_config = BrokerConfig {
        data_dir: config.data_dir.clone(),
        node: config.node,
        memory_budget_bytes: config.memory_budget_bytes,
        grpc_advertised: addresses.grpc.clone(),
        groups: config.groups,
        cluster: cluster_options(env, config, deciding, &addresses),
    };
    let broker = Broker::start(env.clone(), broker_config).await?;
    broker.memory().on_scattered(millrace_env::real::give_freed_memory_back);
    let report = broker.start_report();
    tracing::info!(
        clean = report.clean,
        cache_may_be_lost = report.cache_may_be_lost,
        bytes_read = report.bytes_read,
        files_max = env.fs.handles_max().files,
        "the data directory is open"
    );
    for cut in &report.cut {
        tracing::warn!(%cut, "a torn tail was cut; it was never synced");
    }
    for damaged in &report.damaged {
        tracing::error!(%damaged, "damage below a synced mark; it is kept and not served");
    }
    let internal = open_internal(env, deciding, &broker, listeners.internal)?;
    tokio::select! {
        biased;
        fatal = broker.failed() => {
            let message = format!("the data directory failed: {fatal:?}");
            return Err(ApiError::new(ErrorCode::StorageFailed, message).into());
        }
        () = broker.joined() => {}
    }
    let patience = millrace_grpc::Patience::default();
    let grpc = GrpcDoor::open(env.clone(), Arc::clone(&broker), listeners.grpc, patience).await?;
    let settings = millrace_kafka::Settings {
        node: config.node,
        advertised: config.kafka_advertised.clone(),
        new_topics: config.new_topics,
        configs: told_to_clients(config),
        patience: millrace_kafka::Patience::default(),
    };
    let kafka = KafkaDoor::open(env.clone(), Arc::clone(&broker), listeners.kafka, settings);
    let kafka = kafka.map_err(StartError::Kafka)?;
    Ok(Parts { broker, grpc: Arc::new(grpc), kafka: Arc::new(kafka), internal })
}

fn cluster_options(
    env: &Env,
    config: &ServerConfig,
    deciding: Option<&OwnThread>,
    addresses: &Addresses,
) -> Option<ClusterOptions> {
    let (cluster, deciding) = config.cluster.as_ref().zip(deciding)?;
    Some(ClusterOptions {
        peers: Arc::new(InternalPeers::new(env.clone()).deciding_on(deciding.tasks())),
        internal: addresses.internal.clone(),
        kafka: addresses.kafka.clone(),
        join: cluster.join.iter().map(Endpoint::to_string).collect(),
    })
}

/// A broker that is alone has no listeners for others.
fn open_internal(
    env: &Env,
    deciding: Option<&OwnThread>,
    broker: &Arc<Broker>,
    listeners: Vec<Box<dyn Listener>>,
) -> Result<Option<InternalDoor>, StartError> {
    let Some(deciding) = deciding else { return Ok(None) };
    let (answers, reading) = (Arc::clone(broker), Arc::clone(&env.tasks));
    let opened = InternalDoor::open(&env_there(env, deciding), reading, answers, listeners);
    opened.map(Some).map_err(StartError::Internal)
}

/// What the broker was started with, as clients of Kafka are told of it.
fn told_to_clients(config: &ServerConfig) -> Vec<millrace_kafka::BrokerSetting> {
    let setting = |key: &InForce| millrace_kafka::BrokerSetting {
        name: key.key.name().to_owned(),
        value: key.value.clone(),
        is_default: key.origin == Origin::Default,
        about: key.key.about(),
    };
    config.in_force().iter().map(setting).collect()
}

impl RunningServer {
    /// Where it listens and who it is.
    #[must_use]
    pub fn info(&self) -> &ServerInfo {
        &self.info
    }

    /// The broker, for a process that embeds one.
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Runs until the first of `stops` (then it drains; a second one ends that at once) or until the data directory
    /// fails (then the process has to end at once: what it believes about its files is no longer true).
    pub async fn run(self, mut stops: impl Stream<Item = ()> + Unpin) -> Exit {
        tokio::select! {
            biased;
            fatal = self.broker.failed() => {
                tracing::error!(?fatal, "the data directory failed; a new process has to read it again");
                return Exit::StorageFailed;
            }
            _stop = stops.next() => {}
        }
        tracing::info!(patience = ?self.drain_timeout, "draining");
        tokio::select! {
            biased;
            fatal = self.broker.failed() => {
                tracing::error!(?fatal, "the data directory failed while draining");
                Exit::StorageFailed
            }
            exit = self.drain() => exit,
            Some(()) = stops.next() => {
                tracing::warn!("stopped while draining; the next start recovers");
                Exit::Interrupted
            }
        }
    }

    /// Has others lead what this broker leads, answers what is in flight, leaves the clean mark, closes everything.
    pub async fn drain(&self) -> Exit {
        let begun = self.env.clock.monotonic();
        self.readiness.set_draining();
        if !self.broker.hand_over(self.drain_timeout.min(HAND_OVER_PATIENCE)).await {
            tracing::warn!("nobody took over what this broker leads; clients will find out by themselves");
        }
        let (grpc, kafka) =
            futures::join!(self.grpc.drain(self.drain_timeout), self.kafka.drain(self.drain_timeout));
        if !grpc || !kafka {
            tracing::warn!("some calls were not answered within the drain timeout");
        }
        let spent = self.env.clock.monotonic().since(begun);
        let stopped = self.broker.shut_down(self.drain_timeout.saturating_sub(spent)).await;
        if let Some(internal) = &self.internal {
            internal.drain(INTERNAL_PATIENCE).await;
        }
        self.http.close().await;
        match stopped {
            Ok(()) => {
                tracing::info!("stopped cleanly");
                Exit::Clean
            }
            Err(error) => {
                tracing::error!(%error, "no clean mark was left; the next start recovers");
                Exit::Failed
            }
        }
    }
}
