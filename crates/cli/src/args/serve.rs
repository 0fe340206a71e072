//! What `serve` is started with.

use std::path::PathBuf;

use clap::Args;

/// Where the configuration comes from besides the environment.
#[derive(Args, Debug, Default, Clone)]
pub(crate) struct ServeArgs {
    /// A TOML file; the environment (MILLRACE_...) and flags go above it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the logs lie.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where the gRPC door listens [default: loopback, port 7070]; port 0 picks one.
    #[arg(long, value_name = "ADDR")]
    pub(crate) grpc: Option<String>,
    /// What clients are told to connect to [default: where the gRPC door listens].
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) grpc_advertised: Option<String>,
    /// Where health and metrics are served [default: loopback, port 7080].
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<String>,
    /// Where the Kafka door listens [default: loopback, port 9092]; port 0 picks one.
    #[arg(long, value_name = "ADDR")]
    pub(crate) kafka: Option<String>,
    /// What Kafka clients are told to connect to [default: the address that they have reached].
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) kafka_advertised: Option<String>,
    /// Whether a topic that a Kafka client asks for is made [default: true].
    #[arg(long, value_name = "BOOL")]
    pub(crate) auto_create_topics_enable: Option<String>,
    /// How many partitions a topic gets from the Kafka door that leaves it open [default: 1].
    #[arg(long, value_name = "N")]
    pub(crate) num_partitions: Option<String>,
    /// How long committed offsets are kept once nobody reads by them [default: 10080].
    #[arg(long, value_name = "MINUTES")]
    pub(crate) offsets_retention_minutes: Option<String>,
    /// How long a member of a group may be silent before its partitions go to others [default: 10000].
    #[arg(long, value_name = "MS")]
    pub(crate) group_consumer_session_timeout_ms: Option<String>,
    /// How long a group of classic Kafka members waits for more of them before its first generation [default: 3000].
    #[arg(long, value_name = "MS")]
    pub(crate) group_initial_rebalance_delay_ms: Option<String>,
    /// The AMQP door; not there yet.
    #[arg(long, value_name = "ADDR")]
    pub(crate) amqp: Option<String>,
    /// Where this broker talks to the others of its cluster; port 0 picks one [default: it is alone].
    #[arg(long, value_name = "ADDR")]
    pub(crate) internal: Option<String>,
    /// What the other brokers are told to connect to [default: where the internal door listens].
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) internal_advertised: Option<String>,
    /// Internal addresses of brokers of the cluster to join [default: a directory that knows no cluster founds one].
    #[arg(long, value_name = "HOST:PORT,...")]
    pub(crate) join: Option<String>,
    /// This node's id.
    #[arg(long, value_name = "N")]
    pub(crate) node_id: Option<String>,
    /// Bytes that requests, answers and caches may hold together, such as 512MiB.
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_budget: Option<String>,
    /// How long a stop waits for requests in flight, such as 30s.
    #[arg(long, value_name = "DURATION")]
    pub(crate) drain_timeout: Option<String>,
    /// Listen on an address that is not loopback, without TLS and authentication.
    #[arg(long)]
    pub(crate) insecure_listen: bool,
    /// What to log, such as `info` or `millrace_log=debug`.
    #[arg(long, value_name = "FILTER")]
    pub(crate) log_level: Option<String>,
    /// How the log looks: auto (human on a terminal, JSON otherwise), human or json.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// Stop when standard input ends, as if a signal had come: whoever started it does so by going away.
    #[arg(long, hide = true)]
    pub(crate) stop_with_input: bool,
}
