//! A simulated machine with one partition, driven by a seed, and the list of what was written to it.

use std::path::PathBuf;
use std::sync::Arc;

use millrace_env::sim::{Sim, Survival};
use millrace_log::{
    Appended, Log, LogConfig, LogDir, LogDirOptions, PartitionMeta, ReadError, ReadRequest, StartReport,
    Ticket,
};
use millrace_record::{Batch, BatchBuilder, BatchOptions, Checks, NO_HEADERS, Origin, ProducerStamp};
use millrace_types::limits::{BATCH_BYTES_MAX, SEGMENT_BYTES_MIN};
use millrace_types::{
    NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, TimestampMs, TopicId, TopicName,
    TopicPartition,
};

pub(crate) const DATA: &str = "/data";

pub(crate) fn id() -> TopicPartition {
    TopicPartition { topic: TopicId([7; 16]), partition: PartitionIndex(0) }
}

pub(crate) fn meta(id: TopicPartition) -> PartitionMeta {
    PartitionMeta { id, name: TopicName::new("orders").unwrap(), partitions: 1, replication_factor: 1 }
}

pub(crate) fn config() -> LogConfig {
    LogConfig { segment_bytes: SEGMENT_BYTES_MIN, ..LogConfig::default() }
}

/// The machine, the process that runs on it, and what that was told.
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) dir: Arc<LogDir>,
    pub(crate) log: Arc<Log>,
    config: LogConfig,
    /// The values of all records, in order.
    pub(crate) written: Vec<Vec<u8>>,
    /// How many of them were acknowledged.
    pub(crate) acked: usize,
}

fn open_dir(sim: &Sim) -> Result<Arc<LogDir>, String> {
    let options =
        LogDirOptions { path: PathBuf::from(DATA), node: NodeId(1), tail_cache_bytes: 0, handles: None };
    let opened = LogDir::open(&sim.env(), options).map_err(|e| format!("the directory does not open: {e}"));
    Ok(opened?.dir)
}

impl World {
    /// A new partition without a record.
    pub(crate) fn new(seed: u64) -> World {
        World::with(seed, config())
    }

    pub(crate) fn with(seed: u64, config: LogConfig) -> World {
        let sim = Sim::new(seed);
        let dir = open_dir(&sim).unwrap();
        let log = dir.create(meta(id()), config.clone()).unwrap();
        World { sim, dir, log, config, written: Vec::new(), acked: 0 }
    }

    /// From 1 to `most`.
    pub(crate) fn draw(&self, most: u64) -> usize {
        usize::try_from(1 + self.sim.rng().below(most)).unwrap()
    }

    /// A value of at most `bytes`, another one at each offset.
    fn value(&self, bytes: usize) -> Vec<u8> {
        let number = self.written.len();
        (0..bytes).map(|at| u8::try_from((number * 31 + at) % 251).unwrap() + 1).collect()
    }

    /// Appends one record of `bytes` and waits for nothing.
    pub(crate) fn write(&mut self, bytes: usize) -> Result<Ticket, String> {
        let value = self.value(bytes);
        let ticket =
            self.log.append(batch(self.written.len(), &value, None)).map_err(|e| format!("refused: {e}"))?;
        self.written.push(value);
        Ok(ticket)
    }

    /// Appends `count` records of `bytes` each, every one acknowledged.
    pub(crate) fn append(&mut self, count: usize, bytes: usize) -> Result<(), String> {
        for _ in 0..count {
            let appended = self.write(bytes)?.wait().map_err(|e| format!("not acknowledged: {e}"))?;
            self.acked = self.written.len();
            if appended.last_offset != offset(self.acked - 1) {
                return Err(format!("{} was due, {} was given", self.acked - 1, appended.last_offset));
            }
        }
        Ok(())
    }

    /// The power goes, another process opens the directory.
    pub(crate) fn cut(self, survival: Survival) -> Result<World, String> {
        self.sim.disk().power_cut(survival);
        self.start_again()
    }

    /// The process dies, another one opens the directory.
    pub(crate) fn kill(self) -> Result<World, String> {
        self.sim.disk().kill();
        self.start_again()
    }

    /// Stops cleanly and starts again.
    pub(crate) fn restart(self) -> Result<World, String> {
        self.dir.close().map_err(|e| format!("it does not close: {e}"))?;
        self.kill()
    }

    /// Opens the directory with the process that runs now.
    pub(crate) fn start_again(self) -> Result<World, String> {
        let World { sim, dir, log, config, written, acked } = self;
        drop((dir, log));
        let dir = open_dir(&sim)?;
        let log = dir.open_log(id(), config.clone()).map_err(|e| format!("the log does not open: {e}"))?;
        Ok(World { sim, dir, log, config, written, acked })
    }

    /// The log is deleted, the power goes, and another process makes it anew.
    pub(crate) fn is_made_anew(self) -> Result<(), String> {
        let World { sim, dir, log, config, .. } = self;
        dir.delete(id()).map_err(|e| format!("it is not deleted: {e}"))?;
        drop((dir, log));
        sim.disk().power_cut(Survival::Random);
        let made = open_dir(&sim)?.create(meta(id()), config);
        made.map(drop).map_err(|e| format!("no log is made: {e}"))
    }

    pub(crate) fn report(&self) -> StartReport {
        self.dir.start_report()
    }

    pub(crate) fn end(&self) -> usize {
        usize::try_from(self.log.offsets().end.get()).unwrap()
    }

    /// No damage was reported; the log is a prefix of what was written and holds what was acknowledged, from `start` on.
    pub(crate) fn is_whole_from(&self, start: usize) -> Result<(), String> {
        let damaged = self.report().damaged;
        if !damaged.is_empty() {
            return Err(format!("damage is reported where there is none: {damaged:?}"));
        }
        let (found, end) = (self.log.offsets().log_start, self.end());
        if found != offset(start) {
            return Err(format!("it starts at {found}, not at {start}"));
        }
        if end < self.acked || end > self.written.len() {
            return Err(format!("it ends at {end}; {} to {} were due", self.acked, self.written.len()));
        }
        for number in start..end {
            match self.read(number) {
                Ok(value) if value == self.written[number] => {}
                Ok(_) => return Err(format!("another record lies at {number}")),
                Err(error) => return Err(format!("{number} of {end} cannot be read: {error}")),
            }
        }
        Ok(())
    }

    pub(crate) fn is_whole(&self) -> Result<(), String> {
        self.is_whole_from(0)
    }

    /// The value of the record at an offset.
    pub(crate) fn read(&self, number: usize) -> Result<Vec<u8>, ReadError> {
        let request = ReadRequest { from: offset(number), until: None, bytes_max: 1 };
        let answer = self.log.read(&request)?.load()?;
        let bytes = answer.extents.first().ok_or_else(|| ReadError::Io("nothing is read".to_owned()))?;
        let batch = Batch::parse_stored(bytes).map_err(|e| ReadError::Io(e.to_string()))?;
        let records = batch.records().map_err(|e| ReadError::Io(e.to_string()))?;
        for record in records.views() {
            let record = record.map_err(|e| ReadError::Io(e.to_string()))?;
            if records.offset_of(&record) == offset(number) {
                return Ok(record.value.unwrap_or_default().to_vec());
            }
        }
        Err(ReadError::Io(format!("the batch does not hold {number}")))
    }

    /// Appends a record of an idempotent producer and waits for the answer.
    pub(crate) fn send(&mut self, producer: i64, sequence: i32, bytes: usize) -> Result<Appended, String> {
        let value = self.value(bytes);
        let stamp =
            ProducerStamp { id: ProducerId(producer), epoch: ProducerEpoch(0), base_sequence: sequence };
        let ticket = self.log.append(batch(self.written.len(), &value, Some(stamp)));
        let appended = ticket.and_then(Ticket::wait).map_err(|e| format!("sequence {sequence}: {e}"))?;
        if !appended.duplicate {
            self.written.push(value);
            self.acked = self.written.len();
        }
        Ok(appended)
    }
}

pub(crate) fn offset(number: usize) -> Offset {
    Offset::from_count(number as u64)
}

/// A batch of one record, the `number`th; its time is later than that of the one before.
pub(crate) fn batch(number: usize, value: &[u8], producer: Option<ProducerStamp>) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder
        .append(TimestampMs(1_000 + i64::try_from(number).unwrap()), None, Some(value), NO_HEADERS)
        .unwrap();
    if let Some(producer) = producer {
        builder.set_producer(producer);
    }
    let checks = Checks { bytes_max: BATCH_BYTES_MAX, origin: Origin::Client };
    Batch::check(builder.build().unwrap().into_bytes(), &checks).unwrap()
}
