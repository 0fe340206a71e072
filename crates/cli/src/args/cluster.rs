//! What `dev-cluster` takes.

use std::path::PathBuf;

use clap::Args;

use crate::table::DumpFormat;

/// The largest port from which three in a row can be counted.
const BASE_PORT_MAX: i64 = 65_533;

/// `dev-cluster`.
#[derive(Args, Debug)]
pub(crate) struct DevClusterArgs {
    /// Where the brokers keep their files, in node-1 to node-3, and their logs. The same directory is the same cluster.
    #[arg(long, value_name = "DIR", default_value = "./millrace-dev-cluster")]
    pub(crate) data_dir: PathBuf,
    /// The gRPC port of node 1; nodes 2 and 3 take the next ones. 0 picks ports.
    #[arg(long, value_name = "PORT", default_value_t = 7070, value_parser = base_port())]
    pub(crate) grpc_port: u16,
    /// The Kafka port of node 1, and so on.
    #[arg(long, value_name = "PORT", default_value_t = 9092, value_parser = base_port())]
    pub(crate) kafka_port: u16,
    /// The port of health and metrics of node 1, and so on.
    #[arg(long, value_name = "PORT", default_value_t = 7080, value_parser = base_port())]
    pub(crate) http_port: u16,
    /// The port at which node 1 talks to the others, and so on. What was picked for 0 is kept in DIR for the next time.
    #[arg(long, value_name = "PORT", default_value_t = 7090, value_parser = base_port())]
    pub(crate) internal_port: u16,
    /// What the brokers log, such as `info` or `millrace_broker=debug`.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub(crate) log_level: String,
    /// How to print the brokers: a table, or one JSON object for each, once all of them accept.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: DumpFormat,
}

fn base_port() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(0..=BASE_PORT_MAX)
}
