//! The configuration of a broker: file, then environment, then flags; unknown keys are errors.

mod key;
mod layers;

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
pub use key::{Key, KeyStatus};
pub use layers::{Layers, Origin};
use millrace_broker::GroupSettings;
use millrace_kafka::{Endpoint, NewTopics};
use millrace_types::limits::{
    BROKERS_MAX, CLASSIC_INITIAL_DELAY_MS_MAX, HEARTBEAT_INTERVAL_MS_DEFAULT, PARTITIONS_PER_TOPIC_MAX,
    REQUEST_BYTES_MAX, SESSION_TIMEOUT_MS_MAX, SESSION_TIMEOUT_MS_MIN,
};
use millrace_types::{ErrorCode, NodeId};

use crate::Listen;

/// Why a configuration is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is no TOML.
    #[error("configuration file: {0}")]
    Syntax(String),
    /// A key does not exist.
    #[error("{key} ({origin}): there is no such key; `millrace config` lists those there are")]
    Unknown {
        /// The key as it was written.
        key: String,
        /// Where.
        origin: Origin,
    },
    /// What the key configures is not built yet.
    #[error("UNSUPPORTED: {}: not there yet", key.as_written_in(*origin))]
    NotThereYet {
        /// The key.
        key: Key,
        /// Where it was set.
        origin: Origin,
    },
    /// A value cannot be read.
    #[error("{} = {value:?}: {reason}", key.as_written_in(*origin))]
    Value {
        /// The key.
        key: Key,
        /// The value as it was written.
        value: String,
        /// Where.
        origin: Origin,
        /// What is wrong with it.
        reason: String,
    },
}

impl ConfigError {
    /// The error code that the tools show.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            ConfigError::NotThereYet { .. } => ErrorCode::Unsupported,
            _ => ErrorCode::InvalidConfig,
        }
    }
}

/// How the log looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// What is in force for one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InForce {
    /// The key.
    pub key: Key,
    /// Its value.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// A configuration, read and checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where the native door listens.
    pub grpc: Listen,
    /// What clients and brokers are told of the native door, as `host:port`; without it, where it listens.
    pub grpc_advertised: Option<Endpoint>,
    /// What makes it one of several brokers; without it, it is alone.
    pub cluster: Option<ClusterConfig>,
    /// Where the Kafka door listens.
    pub kafka: Listen,
    /// What Kafka clients are told to connect to; without it, the address that they have reached.
    pub kafka_advertised: Option<Endpoint>,
    /// What becomes of topics that Kafka clients ask for and that are not there.
    pub new_topics: NewTopics,
    /// Where health and metrics are served.
    pub http: Listen,
    /// This node's number.
    pub node: NodeId,
    /// What requests, answers and caches may hold together.
    pub memory_budget_bytes: u64,
    /// What groups are run by.
    pub groups: GroupSettings,
    /// How long a stop lets requests in flight end.
    pub drain_timeout: Duration,
    /// How much is logged; the syntax is the subscriber's, who checks it.
    pub log_level: String,
    /// How the log looks.
    pub log_format: LogFormat,
    in_force: Vec<InForce>,
}

/// How a broker is one of several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterConfig {
    /// Where the internal door listens.
    pub internal: Listen,
    /// What other brokers are told of it; without it, where it listens.
    pub advertised: Option<Endpoint>,
    /// Brokers of the cluster to join.
    pub join: Vec<Endpoint>,
}

impl ServerConfig {
    /// Reads the layers.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(layers: &Layers) -> Result<ServerConfig, ConfigError> {
        let insecure = read(layers, Key::InsecureListen, boolean)?;
        let listen = |key| {
            read(layers, key, |text| {
                let listen: Listen = text.parse()?;
                match listen.beyond_loopback() {
                    Some(addr) if !insecure => Err(format!(
                        "{addr} is not loopback, and there is no TLS and no authentication yet; \
                         --insecure-listen says that the network is trusted"
                    )),
                    _ => Ok(listen),
                }
            })
        };
        let in_force = Key::ALL.iter().filter(|key| key.status() == KeyStatus::Enforced).map(|key| {
            let (value, origin) = layers.get(*key);
            InForce { key: *key, value, origin }
        });
        Ok(ServerConfig {
            data_dir: read(layers, Key::DataDir, directory)?,
            grpc: listen(Key::Grpc)?,
            grpc_advertised: read(layers, Key::GrpcAdvertised, endpoint)?,
            cluster: cluster(layers, listen)?,
            kafka: listen(Key::Kafka)?,
            kafka_advertised: read(layers, Key::KafkaAdvertised, endpoint)?,
            new_topics: NewTopics {
                auto_create: read(layers, Key::AutoCreateTopics, boolean)?,
                partitions: read(layers, Key::NumPartitions, partitions)?,
            },
            http: listen(Key::Http)?,
            node: read(layers, Key::NodeId, node_id)?,
            memory_budget_bytes: read(layers, Key::MemoryBudget, memory_budget)?,
            groups: GroupSettings {
                offsets_retention: read(layers, Key::OffsetsRetentionMinutes, minutes)?,
                classic_initial_delay_ms: read(layers, Key::GroupInitialDelayMs, initial_delay)?,
                ..read(layers, Key::GroupSessionTimeoutMs, session_timeout)?
            },
            drain_timeout: read(layers, Key::DrainTimeout, |text| {
                humantime::parse_duration(text).map_err(|_| "a duration is written 30s or 2m".to_owned())
            })?,
            log_level: read(layers, Key::LogLevel, |text| Ok(text.to_owned()))?,
            log_format: read(layers, Key::LogFormat, log_format)?,
            in_force: in_force.collect(),
        })
    }

    /// Every key with its value and where that came from, for `millrace config`.
    #[must_use]
    pub fn in_force(&self) -> &[InForce] {
        &self.in_force
    }
}

fn read<T>(layers: &Layers, key: Key, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, ConfigError> {
    let (value, origin) = layers.get(key);
    parse(&value).map_err(|reason| ConfigError::Value { key, value, origin, reason })
}

/// What makes a broker one of several, if it has an internal door. What others are told must be an address that can be dialled.
fn cluster(
    layers: &Layers,
    listen: impl Fn(Key) -> Result<Listen, ConfigError>,
) -> Result<Option<ClusterConfig>, ConfigError> {
    let join = read(layers, Key::Join, endpoints)?;
    let advertised = read(layers, Key::InternalAdvertised, endpoint)?;
    let is_set = |key| !layers.get(key).0.is_empty();
    if !is_set(Key::Internal) {
        for key in [Key::Join, Key::InternalAdvertised] {
            if is_set(key) {
                return Err(refused(layers, key, "only a broker with an internal door has others"));
            }
        }
        return Ok(None);
    }
    let internal = listen(Key::Internal)?;
    for (key, told) in [(Key::Internal, Key::InternalAdvertised), (Key::Grpc, Key::GrpcAdvertised)] {
        if listen(key)?.is_everywhere() && !is_set(told) {
            return Err(refused(layers, key, &format!("nobody can dial that; {told} says what others dial")));
        }
    }
    Ok(Some(ClusterConfig { internal, advertised, join }))
}

fn refused(layers: &Layers, key: Key, reason: &str) -> ConfigError {
    let (value, origin) = layers.get(key);
    ConfigError::Value { key, value, origin, reason: reason.to_owned() }
}

fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "neither true nor false".to_owned())
}

fn endpoint(text: &str) -> Result<Option<Endpoint>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || "an endpoint is written broker.example.org:9092 or [2001:db8::1]:9092".to_owned();
    Endpoint::read(text).map(Some).ok_or_else(wrong)
}

fn endpoints(text: &str) -> Result<Vec<Endpoint>, String> {
    let written = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let endpoints =
        written.map(|part| Ok(endpoint(part)?.into_iter())).collect::<Result<Vec<_>, String>>()?;
    let endpoints: Vec<Endpoint> = endpoints.into_iter().flatten().collect();
    if endpoints.len() > BROKERS_MAX {
        return Err(format!("{} addresses, {BROKERS_MAX} at most", endpoints.len()));
    }
    Ok(endpoints)
}

fn partitions(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| (1..=PARTITIONS_PER_TOPIC_MAX).contains(count));
    count.ok_or_else(|| format!("a number from 1 to {PARTITIONS_PER_TOPIC_MAX}"))
}

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes = text.parse::<u32>().ok().filter(|minutes| *minutes > 0);
    let minutes = minutes.ok_or_else(|| format!("a number of minutes from 1 to {}", u32::MAX))?;
    Ok(Duration::from_secs(60 * u64::from(minutes)))
}

/// Members are asked to be heard of three times as often as they must be.
fn session_timeout(text: &str) -> Result<GroupSettings, String> {
    let range = SESSION_TIMEOUT_MS_MIN..=SESSION_TIMEOUT_MS_MAX;
    let session_timeout_ms = text.parse::<u64>().ok().filter(|ms| range.contains(ms));
    let session_timeout_ms = session_timeout_ms
        .ok_or_else(|| format!("milliseconds from {SESSION_TIMEOUT_MS_MIN} to {SESSION_TIMEOUT_MS_MAX}"))?;
    let heartbeat_interval_ms = HEARTBEAT_INTERVAL_MS_DEFAULT.min(session_timeout_ms / 3);
    Ok(GroupSettings { session_timeout_ms, heartbeat_interval_ms, ..GroupSettings::default() })
}

fn initial_delay(text: &str) -> Result<u64, String> {
    let delay = text.parse().ok().filter(|ms| *ms <= CLASSIC_INITIAL_DELAY_MS_MAX);
    delay.ok_or_else(|| format!("milliseconds from 0 to {CLASSIC_INITIAL_DELAY_MS_MAX}"))
}

fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("a directory has a name".to_owned()) } else { Ok(PathBuf::from(text)) }
}

fn node_id(text: &str) -> Result<NodeId, String> {
    match text.parse::<i32>() {
        Ok(node) if node >= 1 => Ok(NodeId(node)),
        _ => Err("a node id is a number from 1 to 2147483647".to_owned()),
    }
}

fn memory_budget(text: &str) -> Result<u64, String> {
    // What one request may take, and as much again for its answer.
    let least = 2 * REQUEST_BYTES_MAX as u64;
    let size = text.parse::<ByteSize>().map_err(|_| "a size is written 512MiB or 1GiB".to_owned())?;
    let bytes = size.as_u64();
    if bytes < least { Err(format!("at least {}", ByteSize(least))) } else { Ok(bytes) }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        _ => Err("one of auto, human, json".to_owned()),
    }
}

#[cfg(test)]
mod tests;
