//! The command line.

mod bench;
mod cluster;
mod group;
mod serve;

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum};
use millrace_client::Header;

pub(crate) use self::bench::{
    BenchCommand, BenchConsumeArgs, BenchEndToEndArgs, BenchLoadArgs, BenchProduceArgs, BenchRecordArgs,
    BenchTopicArgs,
};
pub(crate) use self::cluster::{
    ClusterChangeArgs, ClusterCommand, DevClusterArgs, TopicElectArgs, TopicReassignArgs,
};
pub(crate) use self::group::{GroupCommand, GroupResetArgs, ResetToArgs, WatchArgs};
pub(crate) use self::serve::ServeArgs;
use crate::position::Place;
use crate::table::{DumpFormat, ListFormat};

/// A durable, partitioned commit log: one binary, nothing to install.
#[derive(Parser, Debug)]
#[command(name = "millrace", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    /// gRPC addresses of the brokers that a tool talks to.
    #[arg(
        long,
        global = true,
        env = "MILLRACE_SERVER",
        value_name = "ADDR",
        value_delimiter = ',',
        default_value = "127.0.0.1:7070",
        help_heading = "Tools"
    )]
    pub(crate) server: Vec<String>,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Runs a broker.
    Serve(ServeArgs),
    /// Shows the whole thing on real data: streams, kills the broker, replays, counts.
    Demo(DemoArgs),
    /// Runs three brokers of one cluster on this machine, and stops them when it is stopped.
    DevCluster(DevClusterArgs),
    /// Tells how a cluster is, and gives brokers partitions or takes them away.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Creates, lists, describes, alters and deletes topics.
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Appends records to a topic; ends when every one is acknowledged.
    Produce(ProduceArgs),
    /// Reads a topic from the beginning to the end as it stands at start.
    Consume(ConsumeArgs),
    /// Tells the offsets of a topic's partitions, or finds those of a time.
    Offsets(OffsetsArgs),
    /// Lists, describes, resets and deletes consumer groups, and tells how far they are behind.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Deletes the records before a place, for good.
    DeleteRecords(DeleteRecordsArgs),
    /// Looks into the files of a log that is not being served.
    #[command(subcommand)]
    Log(LogCommand),
    /// Mends a data directory that is not being served.
    #[command(subcommand)]
    Repair(RepairCommand),
    /// Prints the configuration in force and where each value came from.
    Config(ConfigArgs),
    /// Measures a broker under load.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Prints what a shell needs to complete our command line.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: ShellArg,
    },
}

/// Shells that we write completions for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ShellArg {
    /// bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

/// `config`.
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    /// What `serve` would be started with.
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
}

/// `demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Where to keep the broker's files; a scratch directory that is removed by default.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Be a worker of the second act, which the demo starts by itself.
    #[arg(long, hide = true)]
    pub(crate) worker: bool,
}

/// `topic ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum TopicCommand {
    /// Creates a topic.
    Create(TopicCreateArgs),
    /// Lists the topics.
    List {
        /// Also those that belong to the product.
        #[arg(long)]
        internal: bool,
        /// How to print them.
        #[arg(long, value_enum, default_value_t)]
        format: ListFormat,
    },
    /// Describes a topic, one row for each partition.
    Describe {
        /// The topic.
        name: String,
        /// Its configuration instead of its partitions.
        #[arg(long)]
        configs: bool,
        /// How to print it.
        #[arg(long, value_enum, default_value_t)]
        format: ListFormat,
    },
    /// Changes the configuration of a topic, or adds partitions to it.
    Alter(TopicAlterArgs),
    /// Moves a partition to other brokers; ends when it has moved.
    Reassign(TopicReassignArgs),
    /// Has a partition led by its preferred leader; or, if nobody leads it, by a replica that may not hold everything.
    Elect(TopicElectArgs),
    /// Deletes a topic with everything in it.
    Delete {
        /// The topic.
        name: String,
    },
}

/// `topic create`.
#[derive(Args, Debug)]
pub(crate) struct TopicCreateArgs {
    /// The topic's name: 1 to 249 of a-z A-Z 0-9 . _ -
    pub(crate) name: String,
    /// How many partitions.
    #[arg(long, value_name = "N", default_value = "1", value_parser = from_one::<NonZeroU32>)]
    pub(crate) partitions: NonZeroU32,
    /// How many replicas; by default three, or as many as there are brokers.
    #[arg(long, value_name = "R", value_parser = from_one::<NonZeroU32>)]
    pub(crate) replication_factor: Option<NonZeroU32>,
    /// A topic configuration, such as segment.bytes=1048576; may be repeated.
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub(crate) configs: Vec<(String, String)>,
}

/// `topic alter`.
#[derive(Args, Debug)]
pub(crate) struct TopicAlterArgs {
    /// The topic.
    pub(crate) name: String,
    /// What is to be changed.
    #[command(flatten)]
    pub(crate) changes: TopicChangesArgs,
}

/// What `topic alter` changes: one of these at least.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct TopicChangesArgs {
    /// Set a configuration, such as retention.ms=604800000; may be repeated.
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub(crate) configs: Vec<(String, String)>,
    /// Go back to the default of a configuration; may be repeated.
    #[arg(long = "unset", value_name = "KEY")]
    pub(crate) unset: Vec<String>,
    /// How many partitions it shall have: more than now.
    #[arg(long, value_name = "N", value_parser = from_one::<NonZeroU32>)]
    pub(crate) partitions: Option<NonZeroU32>,
}

/// `delete-records`.
#[derive(Args, Debug)]
pub(crate) struct DeleteRecordsArgs {
    /// The topic.
    pub(crate) topic: String,
    /// Of this partition only; may be repeated. All by default.
    #[arg(long = "partition", value_name = "N")]
    pub(crate) partitions: Vec<u32>,
    /// What is to be kept begins here: an offset, a time (2013-01-31T12:00:00Z, @MILLIS), how long ago (-15m), or `end`.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(crate) before: Place,
    /// How to print where the partitions begin then.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
}

/// How the records of a produce are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum CompressionArg {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// snappy.
    Snappy,
    /// lz4.
    Lz4,
    /// zstd.
    Zstd,
}

/// When a produce counts as acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum DurabilityArg {
    /// When every in-sync replica holds it.
    #[default]
    Committed,
    /// When the leader holds it.
    Leader,
}

/// `produce`.
#[derive(Args, Debug)]
pub(crate) struct ProduceArgs {
    /// The topic; it must exist.
    pub(crate) topic: String,
    /// The file to read; standard input by default.
    pub(crate) file: Option<PathBuf>,
    /// Splits each line into key and value at its first occurrence.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["csv", "key_column", "time_column"])]
    pub(crate) key_separator: Option<String>,
    /// The input is CSV with a header row; each row becomes a record, the header does not.
    #[arg(long)]
    pub(crate) csv: bool,
    /// The column of a CSV that holds the key (implies --csv).
    #[arg(long, value_name = "COLUMN")]
    pub(crate) key_column: Option<String>,
    /// The column of a CSV that holds the record's time, RFC 3339 or milliseconds (implies --csv).
    #[arg(long, value_name = "COLUMN")]
    pub(crate) time_column: Option<String>,
    /// Each line is a JSON object as `consume --format json` prints it; its topic, partition and offset are not looked at.
    #[arg(long, conflicts_with_all = ["csv", "key_column", "time_column", "key_separator"])]
    pub(crate) json: bool,
    /// Adds a header to every record, behind those that the record has; may be repeated, also with one key. Without `=` it
    /// has no value.
    #[arg(long = "header", value_name = "KEY=VALUE", value_parser = parse_header)]
    pub(crate) headers: Vec<Header>,
    /// Send everything to this partition.
    #[arg(long, value_name = "N")]
    pub(crate) partition: Option<u32>,
    /// How batches are compressed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) compression: CompressionArg,
    /// When a record counts as acknowledged.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) durability: DurabilityArg,
    /// How long a batch waits to fill.
    #[arg(long, value_name = "DURATION", default_value = "5ms", value_parser = parse_duration)]
    pub(crate) linger: Duration,
    /// How large a batch may grow.
    #[arg(long, value_name = "SIZE", default_value = "256KiB", value_parser = parse_size)]
    pub(crate) batch_size: ByteSize,
    /// Give up on a record that was not acknowledged for so long.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

/// How consumed records are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum RecordFormat {
    /// The value, and a newline behind each.
    #[default]
    Value,
    /// One JSON object per line.
    Json,
    /// The value and nothing else.
    Raw,
    /// CSV with a header row (RFC 4180).
    Csv,
}

/// `consume`.
#[derive(Args, Debug)]
pub(crate) struct ConsumeArgs {
    /// The topic.
    pub(crate) topic: String,
    /// As a member of this group, which shares the partitions with its other members; what was printed is committed.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["to", "partitions"])]
    pub(crate) group: Option<String>,
    /// Where to begin: an offset, a time (2013-01-31T12:00:00Z, @MILLIS), how long ago (-15m), `beginning` or `end`. With a
    /// group only where it has committed nothing.
    #[arg(long, value_name = "PLACE", default_value = "beginning", allow_hyphen_values = true)]
    pub(crate) from: Place,
    /// Where to stop, exclusive; by default the end as it stands at start.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true, conflicts_with = "follow")]
    pub(crate) to: Option<Place>,
    /// Read this partition only; may be repeated.
    #[arg(long = "partition", value_name = "N")]
    pub(crate) partitions: Vec<u32>,
    /// How to print records.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: RecordFormat,
    /// Go on past the end, waiting for new records.
    #[arg(long, short = 'f')]
    pub(crate) follow: bool,
    /// Stop after so many records.
    #[arg(short = 'n', value_name = "N", value_parser = from_one::<NonZeroU64>)]
    pub(crate) count: Option<NonZeroU64>,
}

/// `offsets`.
#[derive(Args, Debug)]
pub(crate) struct OffsetsArgs {
    /// The topic.
    pub(crate) topic: String,
    /// Find this place instead of the start and the end.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(crate) at: Option<Place>,
    /// This partition only; may be repeated.
    #[arg(long = "partition", value_name = "N")]
    pub(crate) partitions: Vec<u32>,
    /// How to print them.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
}

/// `log ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum LogCommand {
    /// Prints the batches of a segment file, a partition directory or a data directory.
    Dump {
        /// A `.log` file, a partition directory or a data directory.
        path: PathBuf,
        /// Also the records in each batch.
        #[arg(long)]
        records: bool,
        /// How to print them.
        #[arg(long, value_enum, default_value_t)]
        format: DumpFormat,
    },
    /// Checks every byte of a partition directory or a data directory; answers 1 if anything is wrong.
    Verify {
        /// A partition directory or a data directory.
        path: PathBuf,
        /// How to print what was found.
        #[arg(long, value_enum, default_value_t)]
        format: ListFormat,
    },
}

/// `repair ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum RepairCommand {
    /// Builds the cluster's metadata anew from the partitions, and tells what it guesses. Changes nothing without --write.
    ///
    /// For a data directory whose metadata log is lost or damaged: `serve` refuses it and says so. What the metadata knew
    /// and no partition tells is lost: the configuration of a topic, unless its record can still be read. Nothing is
    /// deleted: what is taken out of the way is renamed.
    Metadata(RepairMetadataArgs),
}

/// `repair metadata`.
#[derive(Args, Debug)]
pub(crate) struct RepairMetadataArgs {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Do it. Without this flag it is only told what would be done.
    #[arg(long)]
    pub(crate) write: bool,
    /// Build the metadata anew even if it looks intact.
    #[arg(long)]
    pub(crate) force: bool,
    /// What becomes of logs whose topic the metadata does not know. While there are any, every start counts as unclean.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) orphans: OrphanChoice,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
}

/// What becomes of orphans.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum OrphanChoice {
    /// They stay as they are.
    #[default]
    Leave,
    /// Their topics are entered into the metadata, with default configurations.
    Adopt,
    /// Their directories are renamed, so that no start looks into them.
    SetAside,
}

fn from_one<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "a number from 1 is wanted".to_owned())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "a duration is written 500ms, 30s or 2m".to_owned())
}

fn parse_size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| "a size is written 64KiB or 1MiB".to_owned())
}

fn parse_header(text: &str) -> Result<Header, String> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned().into())),
        None => (text, None),
    };
    if key.is_empty() {
        return Err(format!("{text:?} is not KEY=VALUE or KEY"));
    }
    Ok(Header { key: key.to_owned().into(), value })
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}
