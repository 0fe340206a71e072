//! What the tests inside the crate share: a simulated machine, a directory on it, batches.

use std::path::PathBuf;
use std::sync::Arc;

use millrace_env::Env;
use millrace_env::sim::Sim;
use millrace_record::{Batch, BatchBuilder, BatchOptions, Checks, NO_HEADERS, Origin, ProducerStamp};
use millrace_types::limits::{BATCH_BYTES_MAX, SEGMENT_BYTES_MIN};
use millrace_types::{
    NodeId, PartitionIndex, ProducerEpoch, ProducerId, TimestampMs, TopicId, TopicName, TopicPartition,
};

use crate::{Log, LogConfig, LogDir, LogDirOptions, PartitionMeta};

pub(crate) fn partition(index: u32) -> TopicPartition {
    TopicPartition { topic: TopicId([7; 16]), partition: PartitionIndex(index) }
}

pub(crate) fn meta(index: u32) -> PartitionMeta {
    let name = TopicName::new("orders").unwrap();
    PartitionMeta { id: partition(index), name, partitions: 2, replication_factor: 1 }
}

pub(crate) fn small() -> LogConfig {
    LogConfig { segment_bytes: SEGMENT_BYTES_MIN, ..LogConfig::default() }
}

pub(crate) fn open_dir(env: &Env) -> Arc<LogDir> {
    let options =
        LogDirOptions { path: PathBuf::from("/data"), node: NodeId(1), tail_cache_bytes: 0, handles: None };
    LogDir::open(env, options).unwrap().dir
}

pub(crate) fn fresh(seed: u64) -> (Sim, Arc<LogDir>, Arc<Log>) {
    let sim = Sim::new(seed);
    let dir = open_dir(&sim.env());
    let log = dir.create(meta(0), small()).unwrap();
    (sim, dir, log)
}

pub(crate) fn batch(values: &[&[u8]], producer: Option<ProducerStamp>) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    if let Some(producer) = producer {
        builder.set_producer(producer);
    }
    for value in values {
        builder.append(TimestampMs(1_000), None, Some(value), NO_HEADERS).unwrap();
    }
    let checks = Checks { bytes_max: BATCH_BYTES_MAX, origin: Origin::Client };
    Batch::check(builder.build().unwrap().into_bytes(), &checks).unwrap()
}

pub(crate) fn stamp(id: i64, sequence: i32) -> Option<ProducerStamp> {
    Some(ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(0), base_sequence: sequence })
}
