//! The command line of `millrace bench`.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand};

use super::{CompressionArg, DurabilityArg, from_one, parse_duration, parse_pair, parse_size};
use crate::table::ListFormat;

/// `bench ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum BenchCommand {
    /// Writes records; measures the time from when a record was due until it is acknowledged.
    Produce(BenchProduceArgs),
    /// Reads a topic from its beginning; measures the rate, and how long readers wait for their next batch.
    Consume(BenchConsumeArgs),
    /// Writes and reads at once; measures the time from when a record was due until a reader has it.
    EndToEnd(BenchEndToEndArgs),
}

/// Where the records lie, and how the figures are printed.
#[derive(Args, Debug)]
pub(crate) struct BenchTopicArgs {
    /// The topic, made for the run unless it exists; by default one with a random name.
    #[arg(long, value_name = "NAME")]
    pub(crate) topic: Option<String>,
    /// Leave the topic and its records there at the end. Without it the topic that was made is deleted, and one that
    /// existed before is not written to.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Partitions of the topic that is made.
    #[arg(long, value_name = "N", default_value = "1", value_parser = from_one::<NonZeroU32>)]
    pub(crate) partitions: NonZeroU32,
    /// A configuration of the topic that is made, such as sync.mode=os; may be repeated.
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub(crate) configs: Vec<(String, String)>,
    /// How to print the figures.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
}

/// What is written, and by whom.
#[derive(Args, Debug)]
pub(crate) struct BenchRecordArgs {
    /// Bytes of a record's value. They are random letters, of which a compressor saves a quarter.
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = parse_size)]
    pub(crate) record_size: ByteSize,
    /// How large a batch may grow.
    #[arg(long, value_name = "SIZE", default_value = "256KiB", value_parser = parse_size)]
    pub(crate) batch: ByteSize,
    /// How long a batch waits to fill.
    #[arg(long, value_name = "DURATION", default_value = "5ms", value_parser = parse_duration)]
    pub(crate) linger: Duration,
    /// How batches are compressed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) compression: CompressionArg,
    /// When a record counts as acknowledged.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) durability: DurabilityArg,
    /// Producers, each with a connection of its own.
    #[arg(long, value_name = "N", default_value = "1", value_parser = from_one::<NonZeroU32>)]
    pub(crate) producers: NonZeroU32,
    /// Memory of each producer for records that are not acknowledged; while it is used up, sending waits.
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = parse_size)]
    pub(crate) buffer: ByteSize,
}

/// When records are due, and for how long.
#[derive(Args, Debug)]
pub(crate) struct BenchLoadArgs {
    /// Records per second of all producers together, each due at a time of its own whatever became of those before (an
    /// open loop). Without it everybody sends as fast as the broker takes it (a closed loop).
    #[arg(long, value_name = "N", value_parser = from_one::<NonZeroU64>)]
    pub(crate) rate: Option<NonZeroU64>,
    /// Records of one producer that may wait for their acknowledgement in a closed loop; by default what its buffer holds.
    #[arg(long, value_name = "N", conflicts_with = "rate", value_parser = from_one::<NonZeroUsize>)]
    pub(crate) outstanding: Option<NonZeroUsize>,
    /// Stop after so many records (those of the warm-up not counted).
    #[arg(long, value_name = "N", value_parser = from_one::<NonZeroU64>)]
    pub(crate) records: Option<NonZeroU64>,
    /// Stop after that long (the warm-up not counted) [default: 10s, unless --records says where to stop].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// How long to go on before anything counts.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub(crate) warm_up: Duration,
}

/// `bench produce`.
#[derive(Args, Debug)]
pub(crate) struct BenchProduceArgs {
    #[command(flatten)]
    pub(crate) load: BenchLoadArgs,
    #[command(flatten)]
    pub(crate) record: BenchRecordArgs,
    #[command(flatten)]
    pub(crate) topic: BenchTopicArgs,
}

/// `bench consume`.
#[derive(Args, Debug)]
pub(crate) struct BenchConsumeArgs {
    /// How many records to read. If the topic is made for the run, so many are written first.
    #[arg(long, value_name = "N", default_value = "200000", value_parser = from_one::<NonZeroU64>)]
    pub(crate) records: NonZeroU64,
    /// Readers, each with a connection of its own and its share of the partitions.
    #[arg(long, value_name = "N", default_value = "1", value_parser = from_one::<NonZeroU32>)]
    pub(crate) readers: NonZeroU32,
    /// The most bytes of one fetch.
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = parse_size)]
    pub(crate) fetch: ByteSize,
    #[command(flatten)]
    pub(crate) record: BenchRecordArgs,
    #[command(flatten)]
    pub(crate) topic: BenchTopicArgs,
}

/// `bench end-to-end`.
#[derive(Args, Debug)]
pub(crate) struct BenchEndToEndArgs {
    /// Readers, each with a connection of its own and its share of the partitions.
    #[arg(long, value_name = "N", default_value = "1", value_parser = from_one::<NonZeroU32>)]
    pub(crate) readers: NonZeroU32,
    #[command(flatten)]
    pub(crate) load: BenchLoadArgs,
    #[command(flatten)]
    pub(crate) record: BenchRecordArgs,
    #[command(flatten)]
    pub(crate) topic: BenchTopicArgs,
}
