//! What `dev-cluster`, `cluster` and the operators' part of `topic` take.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use millrace_types::NodeId;

use crate::table::{DumpFormat, ListFormat};

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

/// `cluster ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum ClusterCommand {
    /// Tells how the cluster is; answers 3 if not all is well.
    Status {
        /// How to print it.
        #[arg(long, value_enum, default_value_t)]
        format: ListFormat,
    },
    /// Lists the brokers, and what each of them has.
    Brokers {
        /// How to print them.
        #[arg(long, value_enum, default_value_t)]
        format: ListFormat,
    },
    /// Gives a broker that has joined its share of the partitions; ends when it has it.
    Add(ClusterChangeArgs),
    /// Moves everything off a broker, and takes it out of the cluster once it has stopped.
    Remove(ClusterChangeArgs),
}

/// `cluster add`, `cluster remove`.
#[derive(Args, Debug)]
pub(crate) struct ClusterChangeArgs {
    /// The broker's node id.
    #[arg(value_parser = parse_node)]
    pub(crate) node: NodeId,
    /// Only print what would move.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How to print what would move.
    #[arg(long, value_enum, default_value_t, requires = "dry_run")]
    pub(crate) format: ListFormat,
}

/// `topic reassign`.
#[derive(Args, Debug)]
pub(crate) struct TopicReassignArgs {
    /// The topic.
    pub(crate) topic: String,
    /// The partition.
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partition: i32,
    /// The brokers on which it is to lie, the preferred leader first.
    #[arg(
        value_name = "NODE,...",
        value_delimiter = ',',
        value_parser = parse_node,
        required_unless_present = "cancel",
        conflicts_with = "cancel"
    )]
    pub(crate) nodes: Vec<NodeId>,
    /// Take back what is under way: it stays where it was.
    #[arg(long)]
    pub(crate) cancel: bool,
}

/// `topic elect`.
#[derive(Args, Debug)]
pub(crate) struct TopicElectArgs {
    /// The topic.
    pub(crate) topic: String,
    /// The partition.
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partition: i32,
    /// The replica that is to lead a partition that nobody leads; by default the preferred leader, if it is in sync.
    #[arg(value_parser = parse_node)]
    pub(crate) node: Option<NodeId>,
    /// Whatever the node does not hold may be lost, records that were acknowledged too.
    #[arg(long, requires = "node")]
    pub(crate) accept_loss: bool,
}

fn parse_node(text: &str) -> Result<NodeId, String> {
    let number = text.parse().ok().filter(|number: &i32| *number >= 1);
    number.map(NodeId).ok_or_else(|| "a node id is a number from 1".to_owned())
}
