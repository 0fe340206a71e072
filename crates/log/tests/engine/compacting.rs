//! Compaction against a plain map: random histories of keyed records, tombstones, producers and codecs, with rolls, trims,
//! restarts, kills and power cuts, and a power cut before every call that a compaction makes.
//!
//! Seeds: see `seeds.rs`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace_env::Clock;
use millrace_env::sim::{Sim, Survival};
use millrace_log::inspect::{Depth, Inspection};
use millrace_log::{CompactionConfig, Log, LogConfig, LogDir, ReadRequest};
use millrace_record::{Batch, BatchBuilder, BatchOptions, Compression, Record};
use millrace_types::limits::SEGMENT_BYTES_MIN;
use millrace_types::{CleanupPolicy, LeaderEpoch, TimestampMs};

use crate::replicating::written;
use crate::seeds::each_seed;
use crate::world::{batches, meta, offset, open_dir, partition, split, stamp};

const TOMBSTONES_MS: u64 = 60_000;

fn config() -> LogConfig {
    let compaction =
        CompactionConfig { dirty_parts_min: 0, tombstones_ms: TOMBSTONES_MS, ..CompactionConfig::default() };
    LogConfig {
        segment_bytes: SEGMENT_BYTES_MIN,
        segment_ms: 3_600_000,
        cleanup: CleanupPolicy::Compact,
        compaction,
        ..LogConfig::default()
    }
}

/// A record that was acknowledged, and when.
#[derive(Clone, Debug)]
struct Sent {
    record: Record,
    at: i64,
}

/// What was acknowledged, whatever compaction has left of it.
#[derive(Clone, Debug, Default)]
struct Ledger {
    sent: Vec<Sent>,
    log_start: u64,
    /// The last batch of each producer: its base offset, its first sequence, and itself.
    producers: BTreeMap<i64, (u64, i32, Batch)>,
}

fn records_of(batch: &Batch) -> Vec<Record> {
    batch.records().unwrap().into_iter().map(Result::unwrap).collect()
}

fn stored(log: &Log) -> Vec<Record> {
    let start = log.offsets().log_start;
    batches(log).iter().flat_map(records_of).filter(|record| record.offset >= start).collect()
}

impl Ledger {
    fn end(&self) -> u64 {
        self.sent.len() as u64
    }

    fn take(&mut self, batch: &Batch, at: i64) {
        let base = self.end();
        if let Some(stamp) = batch.producer() {
            self.producers.insert(stamp.id.0, (base, stamp.base_sequence, batch.clone()));
        }
        for (record, place) in records_of(batch).into_iter().zip(base..) {
            self.sent.push(Sent { record: Record { offset: offset(place), ..record }, at });
        }
    }

    /// Everything that a reader of a compacted log relies on.
    fn check(&self, log: &Log, now: i64) {
        let offsets = log.offsets();
        assert_eq!(offsets.end, offset(self.end()), "offsets never change");
        assert_eq!(offsets.log_start, offset(self.log_start));
        let found = stored(log);
        assert!(found.is_sorted_by_key(|record| record.offset));
        for record in &found {
            let sent = &self.sent[usize::try_from(record.offset.get()).unwrap()];
            assert_eq!(*record, sent.record, "what is left is what was sent");
        }
        let mut last: BTreeMap<&[u8], &Sent> = BTreeMap::new();
        for sent in self.sent.iter().skip(usize::try_from(self.log_start).unwrap()) {
            last.insert(sent.record.key.as_deref().unwrap(), sent);
        }
        for (key, sent) in last {
            let of_key = |record: &&Record| record.key.as_deref() == Some(key);
            let newest = found.iter().rev().find(of_key).map(|record| record.offset);
            let may_be_gone =
                sent.record.value.is_none() && now - sent.at >= i64::try_from(TOMBSTONES_MS).unwrap();
            // A tombstone goes behind everything that it deletes.
            let is_right = newest == Some(sent.record.offset) || (newest.is_none() && may_be_gone);
            assert!(is_right, "key {key:?}: {newest:?} is the last one, {:?} is due", sent.record.offset);
        }
    }

    /// A read of any offset goes on at the next record that there is.
    fn check_read(&self, log: &Log, from: u64, bytes_max: usize) {
        let found = stored(log);
        let request = ReadRequest { from: offset(from), until: None, bytes_max };
        let answer = log.read(&request).unwrap().load().unwrap();
        let read: Vec<Record> = answer.extents.iter().flat_map(split).flat_map(|b| records_of(&b)).collect();
        assert!(answer.range.end > offset(from), "a read gets on");
        let read: Vec<_> = read.into_iter().filter(|record| record.offset >= offset(from)).collect();
        let within = |record: &&Record| record.offset >= offset(from) && record.offset < answer.range.end;
        let due: Vec<Record> = found.iter().filter(within).cloned().collect();
        assert_eq!(read, due, "from {from}");
    }

    fn check_time(&self, log: &Log, wanted: i64) {
        let found = stored(log);
        let due = found.iter().find(|record| record.timestamp.0 >= wanted).map(|record| record.offset);
        let hit = log.offset_for_time(TimestampMs(wanted)).unwrap().map(|hit| hit.offset);
        assert_eq!(hit, due, "time {wanted}");
        let largest = log.largest_timestamp().unwrap().map(|hit| hit.timestamp);
        assert_eq!(largest, found.iter().map(|record| record.timestamp).max());
    }

    /// The last batch of a producer is known for what it is, though nothing of it may be left.
    fn check_retries(&self, log: &Log) {
        for (base, _, batch) in self.producers.values().filter(|(base, ..)| *base >= self.log_start) {
            let answer = log.append(batch.clone()).unwrap().wait().unwrap();
            assert_eq!((answer.base_offset, answer.duplicate), (offset(*base), true));
        }
    }
}

#[derive(Debug)]
struct Model {
    sim: Sim,
    dir: Option<Arc<LogDir>>,
    log: Option<Arc<Log>>,
    ledger: Ledger,
    clock: i64,
}

impl Model {
    fn new(seed: u64) -> Model {
        let sim = Sim::new(seed);
        let dir = open_dir(&sim.env());
        let log = dir.create(meta(0), config()).unwrap();
        Model { sim, dir: Some(dir), log: Some(log), ledger: Ledger::default(), clock: 1_000 }
    }

    fn below(&self, bound: u64) -> u64 {
        self.sim.rng().below(bound)
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn now(&self) -> i64 {
        self.sim.clock().wall().0
    }

    fn append(&mut self) {
        let codecs =
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
        let compression = codecs[usize::try_from(self.below(5)).unwrap()];
        let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
        let count = 1 + self.below(4);
        for _ in 0..count {
            let key = format!("key {}", self.below(12));
            let mut value = vec![0; usize::try_from(1 + self.below(9_000)).unwrap()];
            millrace_env::Rng::fill(&**self.sim.rng(), &mut value);
            let value = (self.below(4) > 0).then_some(&value[..]);
            self.clock += i64::try_from(self.below(50)).unwrap() - 10;
            let header = [self.below(200).to_le_bytes()[0]];
            let headers = [(&b"h"[..], Some(&header[..])), (&b"none"[..], None)];
            builder.append(TimestampMs(self.clock), Some(key.as_bytes()), value, headers).unwrap();
        }
        if self.below(2) == 0 {
            let id = 1 + i64::try_from(self.below(3)).unwrap();
            let next =
                |(_, first, batch): &(u64, i32, Batch)| first + i32::try_from(batch.record_count()).unwrap();
            let sequence = self.ledger.producers.get(&id).map_or(0, next);
            builder.set_producer(stamp(id, sequence).unwrap());
        }
        let batch = builder.build().unwrap();
        let answer = self.log().append(batch.clone()).unwrap().wait().unwrap();
        assert_eq!((answer.base_offset, answer.duplicate), (offset(self.ledger.end()), false));
        self.ledger.take(&batch, self.now());
    }

    fn step(&mut self) {
        let choice = self.below(100);
        match choice {
            0..60 => self.append(),
            60..78 => {
                self.sim.clock().advance(Duration::from_secs(self.below(100)));
                self.dir.as_ref().unwrap().janitor_step();
            }
            78..80 => self.sim.clock().advance(Duration::from_secs(4_000)),
            80..88 => {
                let from = self.ledger.log_start;
                if from < self.ledger.end() {
                    let from = from + self.below(self.ledger.end() - from);
                    let bytes_max = usize::try_from(self.below(40_000)).unwrap();
                    self.ledger.check_read(self.log(), from, bytes_max);
                }
            }
            88..91 => {
                let wanted = 900 + i64::try_from(self.below(self.clock.unsigned_abs())).unwrap();
                self.ledger.check_time(self.log(), wanted);
            }
            91..93 => {
                let left = self.ledger.end() - self.ledger.log_start;
                let start = self.ledger.log_start + self.below(left / 3 + 1);
                self.log().trim_to(offset(start)).unwrap();
                self.ledger.log_start = start;
            }
            93..95 => self.restart(),
            95..97 => self.crash(None),
            97..99 => self.crash(Some(Survival::Nothing)),
            _ => self.crash(Some(Survival::Random)),
        }
        if choice >= 60 {
            self.ledger.check(self.log(), self.now());
        }
    }

    fn restart(&mut self) {
        self.dir.as_ref().unwrap().close().unwrap();
        (self.log, self.dir) = (None, None);
        let inspection = Inspection::open(self.sim.env().fs, Path::new("/data")).unwrap();
        let report = inspection.verify(Depth::Records);
        let findings: Vec<_> = report.partitions.iter().flat_map(|p| p.all_findings()).collect();
        assert!(findings.is_empty(), "{findings:#?}");
        drop(inspection);
        self.start();
        assert!(self.dir.as_ref().unwrap().start_report().clean);
    }

    fn crash(&mut self, cut: Option<Survival>) {
        (self.log, self.dir) = (None, None);
        let _env = match cut {
            None => self.sim.kill(),
            Some(survival) => self.sim.power_cut(survival),
        };
        self.start();
        self.ledger.check_retries(self.log());
    }

    fn start(&mut self) {
        let dir = open_dir(&self.sim.env());
        self.log = Some(dir.open_log(partition(0), config()).unwrap());
        assert_eq!(dir.start_report().damaged, Vec::<String>::new());
        self.dir = Some(dir);
    }

    /// Seals all that there is and compacts it: then no key is there twice, and in the end no tombstone.
    fn compact_all(&mut self) {
        for _ in 0..4 {
            self.sim.clock().advance(Duration::from_secs(4_000));
            self.dir.as_ref().unwrap().janitor_step();
        }
        self.ledger.check(self.log(), self.now());
        let found = stored(self.log());
        let mut keys: Vec<_> = found.iter().map(|record| record.key.clone()).collect();
        keys.sort();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "a key is there twice");
        assert!(found.iter().all(|record| record.value.is_some()), "a tombstone is left");
    }
}

/// A replica that copies a compacted log says the same, without a hole, and knows the producers.
fn check_replica(model: &Model) {
    let log = model.log();
    let (_sim, _dir, replica) = crate::replicating::replica(model.ledger.end());
    replica.reset_to(log.offsets().log_start).unwrap();
    while replica.offsets().end < log.offsets().end {
        let bytes = written(log, replica.offsets().end, 20_000);
        // The log may begin within a batch.
        let batches = split(&bytes);
        let first = batches.first().unwrap().base_offset();
        if first < replica.offsets().end {
            replica.reset_to(first).unwrap();
        }
        let is_whole = batches.windows(2).all(|pair| pair[0].next_offset() == pair[1].base_offset())
            && first == replica.offsets().end;
        let strict = replica.append_replica(&bytes);
        assert_eq!(strict.is_ok(), is_whole);
        let ticket = strict.unwrap_or_else(|_| replica.append_compacted_replica(&bytes).unwrap());
        ticket.wait().unwrap();
    }
    replica.raise_high_watermark(replica.offsets().held);
    let copied = split(&crate::replicating::all_bytes(&replica).into());
    assert!(copied.windows(2).all(|pair| pair[0].next_offset() == pair[1].base_offset()));
    let start = log.offsets().log_start;
    let found: Vec<_> = stored(&replica).into_iter().filter(|record| record.offset >= start).collect();
    let due = stored(log);
    let differ = found.iter().zip(&due).position(|(one, other)| one != other);
    let offsets = |records: &[Record]| records.iter().map(|record| record.offset.get()).collect::<Vec<_>>();
    assert!(found == due, "{differ:?}: {:?} instead of {:?}", offsets(&found), offsets(&due));
    replica.begin_epoch(LeaderEpoch(i32::MAX)).unwrap();
    model.ledger.check_retries(&replica);
}

fn run(seed: u64) {
    let mut model = Model::new(seed);
    for _ in 0..150 {
        model.step();
    }
    check_replica(&model);
    model.compact_all();
    model.restart();
    model.ledger.check(model.log(), model.now());
    assert_eq!(model.dir.as_ref().unwrap().damaged_ranges(), 0);
}

#[test]
fn random_histories_keep_the_last_record_of_every_key() {
    each_seed(40, run);
}

/// A log of four sealed segments, of which the first two were compacted before.
fn before_compaction(seed: u64) -> Model {
    let mut model = Model::new(seed);
    for _ in 0..2 {
        while model.log().size_bytes() < 2 * SEGMENT_BYTES_MIN + 1 {
            model.append();
        }
        for _ in 0..12 {
            model.append();
        }
        model.sim.clock().advance(Duration::from_secs(100));
        model.dir.as_ref().unwrap().janitor_step();
    }
    for _ in 0..25 {
        model.append();
    }
    model
}

/// Cuts the power before call number `at` of what the janitor does then. Answers whether it makes so many.
fn cut_before(at: u64, survival: Survival) -> bool {
    let mut model = before_compaction(at);
    let cut = model.sim.plan_cut(at, survival);
    model.sim.clock().advance(Duration::from_secs(100));
    model.dir.as_ref().unwrap().janitor_step();
    let happened = cut.happened();
    drop(cut);
    model.crash(Some(survival));
    model.ledger.check(model.log(), model.now());
    model.compact_all();
    happened
}

#[test]
fn a_power_cut_before_any_call_of_a_compaction_leaves_the_old_segments_or_the_new_ones() {
    for survival in [Survival::Nothing, Survival::Random, Survival::Everything] {
        let mut at = 0;
        while cut_before(at, survival) {
            at += 1;
        }
        assert!(at > 30, "a compaction makes {at} calls only");
    }
}
