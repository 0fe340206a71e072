//! Starts the parts of a broker and stops them.
//!
//! Start: listeners first, so that a taken port is known before the data directory is touched; then HTTP, which says
//! `starting` while the broker recovers; then the broker; then its doors. Stop, the other way round: health says no, the
//! doors answer what is in flight, the broker leaves its clean mark.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::{Stream, StreamExt};
use millrace_broker::{ApiError, Broker, BrokerConfig};
use millrace_env::{Env, Listener};
use millrace_grpc::{GrpcDoor, OpenError};
use millrace_kafka::KafkaDoor;
use millrace_types::NodeId;

use crate::config::{InForce, Key, Origin, ServerConfig};
use crate::http::{HttpDoor, Readiness};
use crate::metrics::Measured;
use crate::{Exit, Listen};

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

    let listeners = Listeners { grpc: grpc_listeners, kafka: kafka_listeners };
    match start_broker(&env, &config, listeners, &grpc).await {
        Ok(Parts { broker, grpc: door, kafka: kafka_door }) => {
            let took = env.clock.monotonic().since(started);
            tracing::info!(node = %config.node, ?grpc, ?kafka, http = ?http_addrs, ?took, "accepting");
            let _first = measured.broker.set(Arc::clone(&broker));
            let _first = measured.door.set(Arc::clone(&door));
            let _first = measured.kafka.set(Arc::clone(&kafka_door));
            readiness.set_ready();
            let (node, pid) = (config.node, std::process::id());
            let info = ServerInfo { node, pid, grpc, kafka, http: http_addrs };
            let drain_timeout = config.drain_timeout;
            Ok(RunningServer {
                env,
                info,
                drain_timeout,
                readiness,
                broker,
                grpc: door,
                kafka: kafka_door,
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

struct Listeners {
    grpc: Vec<Box<dyn Listener>>,
    kafka: Vec<Box<dyn Listener>>,
}

struct Parts {
    broker: Arc<Broker>,
    grpc: Arc<GrpcDoor>,
    kafka: Arc<KafkaDoor>,
}

async fn start_broker(
    env: &Env,
    config: &ServerConfig,
    listeners: Listeners,
    addrs: &[SocketAddr],
) -> Result<Parts, StartError> {
    let advertised = addrs.first().map(SocketAddr::to_string).unwrap_or_default();
    let broker_config = BrokerConfig {
        data_dir: config.data_dir.clone(),
        node: config.node,
        memory_budget_bytes: config.memory_budget_bytes,
        grpc_advertised: advertised,
        groups: config.groups,
        cluster: None,
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
    Ok(Parts { broker, grpc: Arc::new(grpc), kafka: Arc::new(kafka) })
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

    /// Answers what is in flight, leaves the clean mark, closes everything.
    pub async fn drain(&self) -> Exit {
        let begun = self.env.clock.monotonic();
        self.readiness.set_draining();
        let (grpc, kafka) =
            futures::join!(self.grpc.drain(self.drain_timeout), self.kafka.drain(self.drain_timeout));
        if !grpc || !kafka {
            tracing::warn!("some calls were not answered within the drain timeout");
        }
        let spent = self.env.clock.monotonic().since(begun);
        let stopped = self.broker.shut_down(self.drain_timeout.saturating_sub(spent)).await;
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
