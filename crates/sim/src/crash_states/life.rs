//! The process that is going to crash: drives a data directory and writes into the ledger what it did and heard.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_env::Clock;
use millrace_env::sim::{Sim, SimRng};
use millrace_log::{Log, LogConfig, LogDir, LogDirOptions, PartitionMeta, Ticket};
use millrace_record::{Batch, BatchBuilder, BatchOptions, Checks, NO_HEADERS, Origin, ProducerStamp};
use millrace_types::limits::BATCH_BYTES_MAX;
use millrace_types::{
    NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, TimestampMs, TopicId, TopicName,
    TopicPartition,
};
use parking_lot::Mutex;

use super::raw;
use crate::ledger::{Fate, Keyed, Ledger, Partition, Sent, Stop, UnderWay};
use crate::policy::{Policy, SEGMENT_MS, SegmentOnDisk, retained_from};

/// What the text of an error begins with that no fault excuses.
pub(super) const BROKEN: &str = "a broken promise: ";

/// How many keys are in use at a time, so that records of one meet. They change slowly: some end as tombstones.
const KEYS: u64 = 6;
/// After so many batches another key comes into use, and one is not used any more.
const BATCHES_PER_KEY: u64 = 4;
/// What would be of this size is a tombstone of a key that is never written again.
pub(super) const FORGOTTEN_BYTES: usize = 1;
/// What would be larger than this is no tombstone: large records are there to fill segments.
const TOMBSTONE_BYTES_MAX: usize = 10_000;
/// Where the data directory lies.
const DATA: &str = "/data";

pub(super) fn partition_id(number: u32) -> TopicPartition {
    TopicPartition { topic: TopicId([7; 16]), partition: PartitionIndex(number) }
}

pub(super) fn meta(number: u32) -> Result<PartitionMeta, String> {
    let name = TopicName::new("orders").map_err(|e| e.to_string())?;
    Ok(PartitionMeta { id: partition_id(number), name, partitions: 16, replication_factor: 1 })
}

/// The wall time.
pub(super) fn wall(sim: &Sim) -> i64 {
    sim.clock().wall().0
}

/// What a partition is configured to be.
pub(super) fn config_of(ledger: &Ledger, partition: u32) -> LogConfig {
    ledger.partitions.get(&partition).map_or_else(|| Policy::Kept.config(), |is| is.policy.config())
}

pub(super) fn options() -> LogDirOptions {
    LogDirOptions { path: PathBuf::from(DATA), node: NodeId(1), tail_cache_bytes: 0, handles: None }
}

pub(super) fn offset(value: u64) -> Offset {
    Offset::from_count(value)
}

/// An offset as the ledger counts.
pub(super) fn count(offset: Offset) -> u64 {
    offset.get().cast_unsigned()
}

/// A batch of records of one size, as a client sends it.
pub(super) fn client_batch(
    timestamp: i64,
    values: &[Vec<u8>],
    producer: Option<(i64, i32)>,
) -> Result<Batch, String> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for value in values {
        builder.append(TimestampMs(timestamp), None, Some(value), NO_HEADERS).map_err(|e| e.to_string())?;
    }
    built(builder, producer)
}

/// A batch of records with keys.
pub(super) fn keyed_batch(
    timestamp: i64,
    keyed: &[Keyed],
    producer: Option<(i64, i32)>,
) -> Result<Batch, String> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for Keyed { key, value } in keyed {
        let appended = builder.append(TimestampMs(timestamp), Some(key), value.as_deref(), NO_HEADERS);
        appended.map_err(|e| e.to_string())?;
    }
    built(builder, producer)
}

fn built(mut builder: BatchBuilder, producer: Option<(i64, i32)>) -> Result<Batch, String> {
    if let Some((id, base_sequence)) = producer {
        builder.set_producer(ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(0), base_sequence });
    }
    checked(builder.build().map_err(|e| e.to_string())?.into_bytes())
}

/// What the door makes of a client's bytes.
pub(super) fn checked(bytes: Bytes) -> Result<Batch, String> {
    let checks = Checks { bytes_max: BATCH_BYTES_MAX, origin: Origin::Client };
    Batch::check(bytes, &checks).map_err(|e| e.to_string())
}

/// What a batch is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) records: usize,
    /// Of each value.
    pub(super) bytes: usize,
    pub(super) producer: Option<i64>,
}

/// One process and its data directory.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) sim: Arc<Sim>,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    draw: SimRng,
    dir: Option<Arc<LogDir>>,
    logs: BTreeMap<u32, Arc<Log>>,
    clock: i64,
    serial: u64,
}

impl Life {
    pub(super) fn new(seed: u64) -> Life {
        Life {
            sim: Arc::new(Sim::new(seed)),
            ledger: Arc::default(),
            draw: SimRng::new(seed ^ 0x5eed),
            dir: None,
            logs: BTreeMap::new(),
            clock: 1_000,
            serial: 0,
        }
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.draw.below(bound)
    }

    fn note<R>(&self, note: impl FnOnce(&mut Ledger) -> R) -> R {
        let mut ledger = self.ledger.lock();
        ledger.revision += 1;
        note(&mut ledger)
    }

    fn note_of<R>(&self, partition: u32, note: impl FnOnce(&mut Partition) -> R) -> R {
        self.note(|ledger| note(ledger.partitions.entry(partition).or_default()))
    }

    fn begin(&self, operation: &'static str) {
        self.note(|ledger| ledger.operation = operation);
    }

    fn dir(&self) -> Result<&Arc<LogDir>, String> {
        self.dir.as_ref().ok_or_else(|| "the directory is not open".to_owned())
    }

    fn log(&self, partition: u32) -> Result<&Arc<Log>, String> {
        self.logs.get(&partition).ok_or_else(|| format!("partition {partition} is not open"))
    }

    /// Opens the directory and every partition that is there.
    pub(super) fn open(&mut self) -> Result<(), String> {
        self.note(|ledger| (ledger.operation, ledger.stop) = ("open", Stop::Opening));
        let opened = LogDir::open(&self.sim.env(), options()).map_err(|e| e.to_string())?;
        self.note(|ledger| ledger.stop = Stop::Running);
        let staged = opened.found.iter().map(|found| {
            let config = config_of(&self.ledger.lock(), found.id.partition.0);
            opened.dir.stage_log(found.id, config)
        });
        let staged = staged.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
        for log in opened.dir.settle(staged).map_err(|e| e.to_string())? {
            self.logs.insert(log.meta().id.partition.0, log);
        }
        self.dir = Some(opened.dir);
        Ok(())
    }

    pub(super) fn create(&mut self, partition: u32) -> Result<(), String> {
        self.create_as(partition, Policy::Kept)
    }

    pub(super) fn create_as(&mut self, partition: u32, policy: Policy) -> Result<(), String> {
        self.begin("create");
        self.note_of(partition, |is| {
            *is = Partition { fate: Fate::Creating, policy, ..Partition::default() };
        });
        let log = self.dir()?.create(meta(partition)?, policy.config()).map_err(|e| e.to_string())?;
        self.note_of(partition, |is| is.fate = Fate::There);
        self.logs.insert(partition, log);
        Ok(())
    }

    pub(super) fn delete(&mut self, partition: u32) -> Result<(), String> {
        self.begin("delete");
        self.note_of(partition, |is| is.fate = Fate::Deleting);
        self.logs.remove(&partition);
        self.dir()?.delete(partition_id(partition)).map_err(|e| e.to_string())?;
        self.note_of(partition, |is| *is = Partition::default());
        Ok(())
    }

    /// Appends batches and waits for every one; `together` of them are written before the first wait.
    pub(super) fn append(&mut self, partition: u32, shapes: &[Shape], together: usize) -> Result<(), String> {
        self.begin("append");
        for shapes in shapes.chunks(together.max(1)) {
            let tickets = shapes.iter().map(|shape| self.send(partition, *shape));
            let tickets = tickets.collect::<Result<Vec<_>, _>>()?;
            for (ticket, sent) in tickets {
                self.acknowledged(partition, ticket, &sent)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, partition: u32, shape: Shape) -> Result<(Ticket, Arc<Sent>), String> {
        self.serial += 1;
        self.clock += 7;
        let value = |record: usize| {
            let text = format!("{}.{record}.", self.serial);
            text.bytes().cycle().take(shape.bytes.max(1)).collect::<Vec<u8>>()
        };
        let values: Vec<Vec<u8>> = (0..shape.records).map(value).collect();
        let log = Arc::clone(self.log(partition)?);
        let (base, sequence, policy) =
            self.note_of(partition, |is| (is.end(), next_sequence(&is.sent, shape.producer), is.policy));
        let producer = shape.producer.map(|id| (id, sequence));
        let keyed = if policy.compacts() { self.keyed(values.clone()) } else { Vec::new() };
        let batch = match keyed.is_empty() {
            true => client_batch(self.clock, &values, producer)?,
            false => keyed_batch(self.clock, &keyed, producer)?,
        };
        let sent = Arc::new(Sent {
            base,
            records: shape.records as u64,
            timestamp: self.clock,
            producer,
            bytes: batch.bytes().clone(),
            appended: wall(&self.sim),
            keyed,
        });
        self.note_of(partition, |is| is.sent.push(Arc::clone(&sent)));
        let ticket = log.append(batch).map_err(|e| e.to_string())?;
        Ok((ticket, sent))
    }

    /// Some of the small ones are tombstones.
    fn keyed(&self, values: Vec<Vec<u8>>) -> Vec<Keyed> {
        let keyed = values.into_iter().map(|value| {
            let key = format!("key {}", self.serial / BATCHES_PER_KEY + self.draw.below(KEYS)).into_bytes();
            if value.len() == FORGOTTEN_BYTES {
                return Keyed { key: b"forgotten".to_vec(), value: None };
            }
            let is_tombstone = value.len() < TOMBSTONE_BYTES_MAX && self.draw.below(4) == 0;
            Keyed { key, value: (!is_tombstone).then_some(value) }
        });
        keyed.collect()
    }

    fn acknowledged(&self, partition: u32, ticket: Ticket, sent: &Arc<Sent>) -> Result<(), String> {
        let appended = ticket.wait().map_err(|e| e.to_string())?;
        if appended.base_offset != offset(sent.base) || appended.duplicate {
            return Err(format!("{BROKEN}offset {} was due, {appended:?} was answered", sent.base));
        }
        self.counts_as_safe(partition, sent.end())
    }

    /// The log says that everything below `end` is safe: the medium must hold it (S3).
    fn counts_as_safe(&self, partition: u32, end: u64) -> Result<(), String> {
        let acked = self.note_of(partition, |is| {
            let before = is.acked;
            is.acked = before.max(end);
            let new = is.sent.iter().filter(|sent| sent.base >= before && sent.end() <= is.acked);
            new.map(Arc::clone).collect::<Vec<_>>()
        });
        let path = raw::partition_path(partition_id(partition));
        raw::is_durable(self.sim.disk(), &path, &acked).map_err(|what| format!("{BROKEN}{what}"))
    }

    /// Sends an old batch once more: it must get its old answer.
    pub(super) fn retry(&self, partition: u32, producer: i64, back: usize) -> Result<(), String> {
        self.begin("append");
        let sent = self.note_of(partition, |is| {
            let mine =
                is.sent.iter().rev().filter(|sent| sent.producer.is_some_and(|(id, _)| id == producer));
            mine.map(Arc::clone).nth(back)
        });
        let Some(sent) = sent else { return Ok(()) };
        let ticket = self.log(partition)?.append(checked(sent.bytes.clone())?).map_err(|e| e.to_string())?;
        let appended = ticket.wait().map_err(|e| format!("an exact retry: {e}"))?;
        if appended.base_offset != offset(sent.base) || !appended.duplicate {
            return Err(format!("{BROKEN}a retry of offset {} was answered {appended:?}", sent.base));
        }
        Ok(())
    }

    pub(super) fn truncate(&self, partition: u32, to: u64) -> Result<(), String> {
        self.change("truncate", partition, UnderWay::Truncation(to), |log| log.truncate_to(offset(to)))
    }

    pub(super) fn trim(&self, partition: u32, to: u64) -> Result<(), String> {
        self.change("trim", partition, UnderWay::Trim(to), |log| log.trim_to(offset(to)))
    }

    pub(super) fn reset(&self, partition: u32, to: u64) -> Result<(), String> {
        self.change("reset", partition, UnderWay::Reset(to), |log| log.reset_to(offset(to)))
    }

    fn change(
        &self,
        operation: &'static str,
        partition: u32,
        under_way: UnderWay,
        change: impl FnOnce(&Log) -> Result<(), millrace_log::DirError>,
    ) -> Result<(), String> {
        self.begin(operation);
        self.note_of(partition, |is| is.under_way = under_way);
        change(self.log(partition)?).map_err(|e| e.to_string())?;
        self.note_of(partition, Partition::settle);
        Ok(())
    }

    /// Seals, snapshots, marks, indexes and what was deleted.
    pub(super) fn janitor(&self) -> Result<(), String> {
        self.begin("seal, snapshot, marks");
        self.dir()?.janitor_step();
        for (partition, log) in &self.logs {
            self.counts_as_safe(*partition, count(log.offsets().synced_end))?;
        }
        self.note(|ledger| ledger.partitions.values_mut().for_each(|is| is.marked = is.acked));
        Ok(())
    }

    /// The same where it also lets old records go: by age, by size, by key. Tells what the ledger says of that.
    pub(super) fn clean(&self, operation: &'static str) -> Result<(), String> {
        self.begin(operation);
        let fs = self.sim.disk().fs();
        let mut due = Vec::new();
        for partition in self.logs.keys() {
            let mut files = raw::segments(&*fs, &raw::partition_path(partition_id(*partition)))?;
            let now = wall(&self.sim);
            self.note_of(*partition, |is| {
                let active = files.last().map_or(is.end(), |file| file.base);
                let rolls = is.sent.iter().find(|sent| sent.base >= active);
                let rolls = rolls.is_some_and(|first| (now - first.appended).unsigned_abs() >= SEGMENT_MS);
                if rolls {
                    files.push(SegmentOnDisk { base: is.end(), bytes: 0 });
                }
                is.dirty_from = files.last().map_or(active, |file| file.base);
                let start = retained_from(is, &files, now);
                if start > is.log_start {
                    is.under_way = UnderWay::Trim(start);
                }
                due.push((*partition, start));
            });
        }
        self.dir()?.janitor_step();
        for (partition, start) in due {
            let offsets = self.log(partition)?.offsets();
            if count(offsets.log_start) != start {
                return Err(format!("retention left {}, {start} was due", offsets.log_start));
            }
            self.note_of(partition, Partition::settle);
            self.counts_as_safe(partition, count(offsets.synced_end))?;
        }
        self.note(|ledger| ledger.partitions.values_mut().for_each(|is| is.marked = is.acked));
        Ok(())
    }

    /// Bytes of a log, to see that it was cleaned.
    pub(super) fn size_of(&self, partition: u32) -> Result<u64, String> {
        Ok(self.log(partition)?.size_bytes())
    }

    /// S12: after a failed sync nothing is acknowledged any more, by no partition.
    pub(super) fn is_refused(&mut self) -> Result<(), String> {
        for partition in self.logs.keys().copied().collect::<Vec<_>>() {
            let shape = Shape { records: 1, bytes: 10, producer: None };
            let answer = self.append(partition, &[shape], 1);
            if answer.is_ok() {
                return Err(format!("{BROKEN}partition {partition} acknowledged behind a failed sync"));
            }
        }
        Ok(())
    }

    /// Lets the clock go on: segments come of age.
    pub(super) fn wait(&self, time: Duration) {
        self.sim.clock().advance(time);
    }

    pub(super) fn close(&mut self) -> Result<(), String> {
        self.note(|ledger| (ledger.operation, ledger.stop) = ("close", Stop::Closing));
        self.dir()?.close().map_err(|e| e.to_string())?;
        self.note(|ledger| {
            ledger.stop = Stop::Closed;
            for is in ledger.partitions.values_mut() {
                is.acked = is.end();
                is.marked = is.acked;
            }
        });
        self.end();
        Ok(())
    }

    /// The process is gone.
    pub(super) fn end(&mut self) {
        self.logs.clear();
        self.dir = None;
    }

    pub(super) fn end_of(&self, partition: u32) -> u64 {
        self.ledger.lock().partitions.get(&partition).map_or(0, Partition::end)
    }
}

/// The sequence that a producer's next batch carries.
pub(super) fn next_sequence(sent: &[Arc<Sent>], producer: Option<i64>) -> i32 {
    let last = sent.iter().rev().find_map(|sent| {
        let (id, sequence) = sent.producer?;
        (Some(id) == producer).then_some((sequence, sent.records))
    });
    last.map_or(0, |(sequence, records)| sequence + i32::try_from(records).unwrap_or(0))
}
