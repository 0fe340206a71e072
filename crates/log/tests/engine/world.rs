//! A data directory with one partition, and batches to put into it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use millrace_env::Env;
use millrace_env::sim::Sim;
use millrace_log::{
    AppendError, Appended, Log, LogConfig, LogDir, LogDirOptions, PartitionMeta, ReadRequest,
};
use millrace_record::{Batch, BatchBuilder, BatchOptions, Checks, NO_HEADERS, Origin, ProducerStamp};
use millrace_types::limits::{BATCH_BYTES_MAX, SEGMENT_BYTES_MIN};
use millrace_types::{
    NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, TimestampMs, TopicId, TopicName,
    TopicPartition,
};

pub(crate) fn offset(value: u64) -> Offset {
    Offset::from_count(value)
}

pub(crate) fn partition(index: u32) -> TopicPartition {
    TopicPartition { topic: TopicId([7; 16]), partition: PartitionIndex(index) }
}

pub(crate) fn meta(index: u32) -> PartitionMeta {
    PartitionMeta {
        id: partition(index),
        name: TopicName::new("orders").unwrap(),
        partitions: 64,
        replication_factor: 1,
    }
}

/// Segments of the smallest size, so that little is needed to roll.
pub(crate) fn small() -> LogConfig {
    LogConfig { segment_bytes: SEGMENT_BYTES_MIN, ..LogConfig::default() }
}

pub(crate) fn options(tail_cache_bytes: usize) -> LogDirOptions {
    LogDirOptions { path: PathBuf::from("/data"), node: NodeId(1), tail_cache_bytes, handles: None }
}

pub(crate) fn open_dir(env: &Env) -> Arc<LogDir> {
    LogDir::open(env, options(0)).unwrap().dir
}

/// A new machine with an open directory and an empty log of partition 0, without a tail cache.
pub(crate) fn fresh(seed: u64) -> (Sim, Arc<LogDir>, Arc<Log>) {
    let sim = Sim::new(seed);
    let dir = open_dir(&sim.env());
    let log = dir.create(meta(0), small()).unwrap();
    (sim, dir, log)
}

pub(crate) fn reopen(env: &Env) -> (Arc<LogDir>, Arc<Log>) {
    let dir = open_dir(env);
    let log = dir.open_log(partition(0), small()).unwrap();
    (dir, log)
}

/// A batch of records with these values.
pub(crate) fn batch_at(timestamp: i64, values: &[&[u8]], producer: Option<ProducerStamp>) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for value in values {
        builder.append(TimestampMs(timestamp), None, Some(value), NO_HEADERS).unwrap();
    }
    if let Some(producer) = producer {
        builder.set_producer(producer);
    }
    let checks = Checks { bytes_max: BATCH_BYTES_MAX, origin: Origin::Client };
    Batch::check(builder.build().unwrap().into_bytes(), &checks).unwrap()
}

pub(crate) fn batch(values: &[&[u8]]) -> Batch {
    batch_at(1_000, values, None)
}

pub(crate) fn stamp(id: i64, sequence: i32) -> Option<ProducerStamp> {
    Some(ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(0), base_sequence: sequence })
}

/// Appends one record and waits until it is safe.
pub(crate) fn append(log: &Log, value: &[u8]) -> Result<Appended, AppendError> {
    log.append(batch(&[value])).and_then(millrace_log::Ticket::wait)
}

/// All committed batches from the log start on.
pub(crate) fn batches(log: &Log) -> Vec<Batch> {
    let mut from = log.offsets().log_start;
    let mut found = Vec::new();
    loop {
        let answer =
            log.read(&ReadRequest { from, until: None, bytes_max: 100_000 }).unwrap().load().unwrap();
        if answer.extents.is_empty() {
            return found;
        }
        for extent in &answer.extents {
            found.extend(split(extent));
        }
        from = answer.range.end;
    }
}

pub(crate) fn split(extent: &Bytes) -> Vec<Batch> {
    let mut rest = extent.clone();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let batch = Batch::parse_stored(&rest).unwrap();
        rest = rest.slice(batch.size()..);
        found.push(batch);
    }
    found
}

/// The values of all committed records with their offsets.
pub(crate) fn values(log: &Log) -> Vec<(i64, Vec<u8>)> {
    let mut found = Vec::new();
    for batch in batches(log) {
        let records = batch.records().unwrap();
        for record in records.views() {
            let record = record.unwrap();
            found.push((records.offset_of(&record).get(), record.value.unwrap_or_default().to_vec()));
        }
    }
    found
}
