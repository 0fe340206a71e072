//! Random histories against an oracle that is a plain list: appends, retries, reads, cuts, retention, restarts, kills, power
//! cuts.
//!
//! Seeds: see `seeds.rs`.

use std::sync::Arc;
use std::time::Duration;

use millrace_env::sim::{Sim, Survival};
use millrace_log::{HandleLimits, Log, LogConfig, LogDir, LogDirOptions, LogOffsets, ReadRequest, Ticket};
use millrace_types::limits::SEGMENT_BYTES_MIN;
use millrace_types::{SyncMode, TimestampMs};

use crate::seeds::each_seed;
use crate::world::{batch_at, meta, offset, options, partition, split, stamp, values};

/// A file that is still held after this long is held for good.
const LETTING_GO_MAX: Duration = Duration::from_secs(60);

/// A batch that the log should hold.
#[derive(Clone, Debug)]
struct Held {
    base: u64,
    values: Vec<Vec<u8>>,
    timestamp: i64,
    /// Wall time of the append.
    appended: i64,
    producer: Option<(i64, i32)>,
}

impl Held {
    fn end(&self) -> u64 {
        self.base + self.values.len() as u64
    }
}

#[derive(Debug)]
struct Model {
    sim: Sim,
    /// The sync mode, of this process or the next.
    mode: SyncMode,
    in_force: SyncMode,
    dir: Option<Arc<LogDir>>,
    log: Option<Arc<Log>>,
    tail_cache_bytes: usize,
    /// How many files and maps are kept open: few, or as many as there are.
    handles: Option<HandleLimits>,
    /// `retention.ms` and `retention.bytes`.
    retention: (Option<u64>, Option<u64>),
    held: Vec<Held>,
    /// What was appended last, where `held` is empty.
    start: u64,
    log_start: u64,
    acked_end: u64,
    next_producer: i64,
    producers: Vec<(i64, i32)>,
    clock: i64,
    unsettled: Vec<Ticket>,
}

impl Model {
    fn new(seed: u64) -> Model {
        let sim = Sim::new(seed);
        let tail_cache_bytes = if sim.rng().chance(1, 2) { 60_000 } else { 0 };
        let one_to_four = || 1 + usize::try_from(sim.rng().below(4)).unwrap();
        let handles = HandleLimits { files: one_to_four(), maps: one_to_four() };
        let handles = sim.rng().chance(2, 3).then_some(handles);
        let retention = (
            sim.rng().chance(1, 3).then(|| 1_800_000 * (1 + sim.rng().below(8))),
            sim.rng().chance(1, 4).then(|| 50_000 * sim.rng().below(6)),
        );
        let mut model = Model {
            sim,
            retention,
            mode: SyncMode::Always,
            in_force: SyncMode::Always,
            dir: None,
            log: None,
            tail_cache_bytes,
            handles,
            held: Vec::new(),
            start: 0,
            log_start: 0,
            acked_end: 0,
            next_producer: 1,
            producers: Vec::new(),
            clock: 1000,
            unsettled: Vec::new(),
        };
        model.mode = model.pick_mode();
        model.in_force = model.mode;
        let dir = LogDir::open(&model.sim.env(), model.options()).unwrap().dir;
        model.log = Some(dir.create(meta(0), model.config()).unwrap());
        model.dir = Some(dir);
        model
    }

    fn options(&self) -> LogDirOptions {
        LogDirOptions { handles: self.handles, ..options(self.tail_cache_bytes) }
    }

    fn config(&self) -> LogConfig {
        let (segment_bytes, sync_mode) = (SEGMENT_BYTES_MIN, self.mode);
        let (retention_ms, retention_bytes) = self.retention;
        let segment_ms = 3_600_000;
        LogConfig {
            segment_bytes,
            segment_ms,
            sync_mode,
            retention_ms,
            retention_bytes,
            ..LogConfig::default()
        }
    }

    fn pick_mode(&self) -> SyncMode {
        let modes = ["always", "interval=1000,8192", "interval=3600000,65536", "os"];
        modes[usize::try_from(self.below(4)).unwrap()].parse().unwrap()
    }

    /// While it runs, or with the next process.
    fn change_mode(&mut self) {
        self.mode = self.pick_mode();
        if self.below(2) == 0 {
            self.log().configure(self.config()).unwrap();
            self.in_force = self.mode;
        }
    }

    fn below(&self, bound: u64) -> u64 {
        self.sim.rng().below(bound)
    }

    fn wall(&self) -> i64 {
        self.sim.env().clock.wall().0
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn end(&self) -> u64 {
        self.held.last().map_or(self.start, Held::end)
    }

    fn step(&mut self) {
        let choice = self.below(100);
        if std::env::var_os("MODEL_TRACE").is_some() {
            eprintln!(
                "{choice} {:?} start {} end {} acked {}",
                self.producers,
                self.log_start,
                self.end(),
                self.acked_end
            );
        }
        match choice {
            0..48 => self.append(),
            48..50 => self.change_mode(),
            50..58 => self.retry(),
            58..68 => self.read(),
            68..74 => self.look_up_time(),
            74..82 => self.janitor(),
            82..85 => self.truncate(),
            85..88 => self.trim(),
            88 => self.reset(),
            89..92 => self.restart(),
            92..96 => self.kill(),
            _ => self.cut_power(),
        }
        self.check_handles(matches!(choice, 88));
        let offsets = self.log().offsets();
        assert!(
            offsets.log_start <= offsets.high_watermark && offsets.high_watermark <= offsets.end,
            "{offsets:?}"
        );
        assert_eq!(offsets.end, offset(self.end()));
        assert!(offsets.high_watermark >= offset(self.acked_end));
    }

    /// No more is open than the directory knows of and than the limits allow, and nothing was closed with bytes in it that
    /// were not synced: a write-back error would be lost with the handle.
    fn check_handles(&self, was_reset: bool) {
        let disk = self.sim.disk();
        let closed = disk.take_closed_unsynced();
        let closed = closed.iter().filter(|path| path.extension().is_some_and(|kind| kind == "log"));
        assert!(was_reset || closed.clone().count() == 0, "{:?}", closed.collect::<Vec<_>>());
        let dir = self.dir.as_ref().unwrap();
        let open = || (disk.open_files().now, disk.live_maps().now);
        // The synced marks are always open.
        let known = || (dir.handles().files as u64 + 1, dir.handles().maps as u64);
        // A thread of the flusher lets go of its file a moment after it has told that the sync is done.
        let clock = millrace_env::real::env().clock;
        let began = clock.monotonic();
        while open() != known() && clock.monotonic().since(began) < LETTING_GO_MAX {
            std::thread::yield_now();
        }
        assert_eq!(open(), known());
        if was_reset {
            // What it dropped may have been let go of only now.
            drop(disk.take_closed_unsynced());
        }
        let handles = dir.handles();
        assert!(handles.maps <= handles.limits.maps, "{handles:?}");
        if self.log().offsets().synced_end == self.log().offsets().end {
            assert!(handles.files <= handles.limits.files, "{handles:?}");
        }
    }

    fn append(&mut self) {
        let count = 1 + self.below(3);
        let size = if self.below(10) == 0 { 20_000 } else { 1 + self.below(2_000) };
        let values: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let mut value = vec![0; usize::try_from(size).unwrap()];
                millrace_env::Rng::fill(&**self.sim.rng(), &mut value[..1]);
                value
            })
            .collect();
        self.clock += i64::try_from(self.below(50)).unwrap() - 10;
        let producer = self.pick_producer(i32::try_from(count).unwrap());
        let appended = self.wall();
        let held = Held { base: self.end(), values, timestamp: self.clock, appended, producer };
        let ticket = self.send(&held);
        if self.below(3) > 0 || self.log().offsets().end == offset(held.base) {
            let appended = ticket.wait().unwrap();
            assert_eq!((appended.base_offset, appended.duplicate), (offset(held.base), false));
            self.acked_end = held.end();
        } else {
            self.unsettled.push(ticket);
        }
        self.held.push(held);
    }

    fn send(&self, held: &Held) -> Ticket {
        let values: Vec<&[u8]> = held.values.iter().map(Vec::as_slice).collect();
        let stamp = held.producer.and_then(|(id, sequence)| stamp(id, sequence));
        self.log().append(batch_at(held.timestamp, &values, stamp)).unwrap()
    }

    fn pick_producer(&mut self, count: i32) -> Option<(i64, i32)> {
        if self.below(2) == 0 {
            return None;
        }
        if self.producers.len() < 3 {
            self.producers.push((self.next_producer, 0));
            self.next_producer += 1;
        }
        let index = usize::try_from(self.below(self.producers.len() as u64)).unwrap();
        let (id, sequence) = &mut self.producers[index];
        let picked = (*id, *sequence);
        *sequence += count;
        Some(picked)
    }

    /// An exact retry of one of a producer's last five batches gets its first offset.
    fn retry(&mut self) {
        let Some(&(id, _)) = self.producers.first() else { return };
        let sent: Vec<Held> =
            self.held.iter().filter(|held| held.producer.is_some_and(|p| p.0 == id)).cloned().collect();
        let back = usize::try_from(self.below(5)).unwrap();
        let Some(held) = sent.iter().rev().nth(back).filter(|held| held.base >= self.log_start) else {
            return;
        };
        let appended = self.send(held).wait().unwrap();
        assert_eq!((appended.base_offset, appended.duplicate), (offset(held.base), true));
        self.acked_end = self.acked_end.max(held.end());
    }

    fn read(&self) {
        let committed = u64::try_from(self.log().offsets().high_watermark.get()).unwrap();
        if committed <= self.log_start {
            return;
        }
        let from = self.log_start + self.below(committed - self.log_start);
        let until = (self.below(2) == 0).then(|| from + 1 + self.below(20));
        let bytes_max = usize::try_from(self.below(50_000)).unwrap();
        let request = ReadRequest { from: offset(from), until: until.map(offset), bytes_max };
        let plan = self.log().read(&request).unwrap();
        let (resident, size) = (plan.is_resident(), plan.size_bytes());
        let answer = plan.load().unwrap();
        let bytes: usize = answer.extents.iter().map(bytes::Bytes::len).sum();
        assert!(bytes <= size && (!resident || bytes == size), "{bytes} bytes, {size} were planned");
        let batches: Vec<_> = answer.extents.iter().flat_map(split).collect();
        let first = self.held.iter().position(|held| held.end() > from).unwrap();
        assert!(!batches.is_empty());
        for (batch, held) in batches.iter().zip(&self.held[first..]) {
            assert_eq!(batch.base_offset(), offset(held.base));
            assert_eq!(batch.next_offset(), offset(held.end()));
            assert!(batch.next_offset() <= offset(committed));
            assert!(until.is_none_or(|until| held.base < until));
            let records = batch.records().unwrap();
            let values: Vec<Vec<u8>> = records.views().map(|r| r.unwrap().value.unwrap().to_vec()).collect();
            assert_eq!(values, held.values);
        }
        assert_eq!(answer.range.end, batches.last().unwrap().next_offset());
        assert!(batches.len() == 1 || bytes <= bytes_max);
    }

    fn look_up_time(&self) {
        let wanted =
            900 + i64::try_from(self.below(u64::try_from(self.clock.max(1000) - 900).unwrap() + 50)).unwrap();
        let committed = || u64::try_from(self.log().offsets().high_watermark.get()).unwrap();
        // A sync of the flusher may raise it while something is looked up. It does so once at most for each that is due.
        let (found, largest, committed) = loop {
            let before = committed();
            let found = self.log().offset_for_time(TimestampMs(wanted)).unwrap();
            let largest = self.log().largest_timestamp().unwrap();
            if committed() == before {
                break (found, largest, before);
            }
        };
        let visible =
            || self.held.iter().filter(|held| held.end() <= committed && held.end() > self.log_start);
        let expected =
            visible().find(|held| held.timestamp >= wanted).map(|held| held.base.max(self.log_start));
        assert_eq!(found.map(|hit| hit.offset), expected.map(offset), "time {wanted}");
        let largest = largest.map(|hit| hit.timestamp.0);
        assert_eq!(largest, visible().map(|held| held.timestamp).max());
    }

    fn janitor(&mut self) {
        self.sim.clock().advance(Duration::from_secs(self.below(4000)));
        self.dir.as_ref().unwrap().janitor_step();
        self.acked_end = u64::try_from(self.log().offsets().high_watermark.get()).unwrap();
        let start = u64::try_from(self.log().offsets().log_start.get()).unwrap();
        assert!(start >= self.log_start && start <= self.acked_end);
        self.check_retention(start);
        self.log_start = start;
    }

    /// Nothing goes before its time, nor while less is left than the topic keeps.
    fn check_retention(&self, start: u64) {
        if start == self.log_start {
            return;
        }
        let (ms, bytes) = self.retention;
        let gone = self.held.iter().filter(|held| held.end() > self.log_start && held.base < start);
        let Some(youngest) = gone.map(|held| held.appended).max() else { return };
        let age = u64::try_from(self.wall() - youngest).unwrap();
        let (is_old, left) = (ms.is_some_and(|ms| age > ms), self.log().size_bytes());
        let is_much = bytes.is_some_and(|bytes| left >= bytes);
        assert!(is_old || is_much, "{age} ms old, {left} bytes left; {ms:?} and {bytes:?} are kept");
    }

    fn truncate(&mut self) {
        let end = self.log_start + self.below(self.end() - self.log_start + 1);
        self.log().truncate_to(offset(end)).unwrap();
        while self.held.last().is_some_and(|last| last.end() > end) {
            let gone = self.held.pop().unwrap();
            self.start = gone.base;
        }
        self.acked_end = self.acked_end.min(self.end());
        self.log_start = self.log_start.min(self.end());
        self.forget_producers();
    }

    fn trim(&mut self) {
        let committed = u64::try_from(self.log().offsets().high_watermark.get()).unwrap();
        let start = self.log_start + self.below(committed - self.log_start + 1);
        self.log().trim_to(offset(start)).unwrap();
        self.log_start = start;
    }

    fn reset(&mut self) {
        let start = self.below(2 * self.end() + 2);
        self.log().reset_to(offset(start)).unwrap();
        self.held.clear();
        (self.start, self.log_start, self.acked_end) = (start, start, start);
        self.producers.clear();
    }

    /// Producers go on where the log says that they were.
    fn forget_producers(&mut self) {
        let held = &self.held;
        self.producers.retain_mut(|(id, next)| {
            let last = held.iter().rev().find(|held| held.producer.is_some_and(|p| p.0 == *id));
            let sequence =
                last.and_then(|held| Some(held.producer?.1 + i32::try_from(held.values.len()).ok()?));
            *next = sequence.unwrap_or(0);
            sequence.is_some()
        });
    }

    fn restart(&mut self) {
        self.dir.as_ref().unwrap().close().unwrap();
        self.acked_end = self.end();
        self.drop_process();
        self.start_process(self.sim.env());
        assert!(self.dir.as_ref().unwrap().start_report().clean);
        assert_eq!(self.dir.as_ref().unwrap().start_report().bytes_read, 0);
        assert_eq!(self.log().offsets().end, offset(self.end()));
    }

    fn kill(&mut self) {
        self.drop_process();
        let env = self.sim.kill();
        self.start_after_crash(env, self.acked_end);
        // What was written is in the page cache, which a kill does not touch.
        assert_eq!(self.log().offsets().end, offset(self.end()), "after a kill");
    }

    fn cut_power(&mut self) {
        let LogOffsets { synced_end, .. } = self.log().offsets();
        assert!(self.in_force != SyncMode::Always || synced_end >= offset(self.acked_end));
        self.drop_process();
        let survival = match self.below(4) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Random,
        };
        let env = self.sim.power_cut(survival);
        // Of what is not synced a suffix may be gone.
        self.start_after_crash(env, u64::try_from(synced_end.get()).unwrap());
    }

    fn start_after_crash(&mut self, env: millrace_env::Env, safe_end: u64) {
        self.start_process(env);
        let report = self.dir.as_ref().unwrap().start_report();
        assert!(!report.clean);
        assert_eq!(report.damaged, Vec::<String>::new());
        let end = u64::try_from(self.log().offsets().end.get()).unwrap();
        assert!(end >= safe_end, "{safe_end} were safe, {end} are left");
        while self.held.last().is_some_and(|last| last.end() > end) {
            self.start = self.held.pop().unwrap().base;
        }
        assert_eq!(end, self.end(), "the log ends on a batch that was appended");
        self.acked_end = end;
        if self.held.iter().all(|held| held.producer.is_none()) {
            self.producers.clear();
        }
        self.forget_producers();
        self.check_all();
    }

    fn drop_process(&mut self) {
        self.unsettled.clear();
        self.log = None;
        self.dir = None;
    }

    fn start_process(&mut self, env: millrace_env::Env) {
        let opened = LogDir::open(&env, self.options()).unwrap();
        assert_eq!(opened.found, vec![meta(0)]);
        self.in_force = self.mode;
        self.log = Some(opened.dir.open_log(partition(0), self.config()).unwrap());
        self.dir = Some(opened.dir);
    }

    fn check_all(&self) {
        let held = self.held.iter().filter(|held| held.end() > self.log_start);
        let expected: Vec<(i64, Vec<u8>)> = held
            .flat_map(|held| (held.base..).zip(&held.values))
            .map(|(at, value)| (i64::try_from(at).unwrap(), value.clone()))
            .collect();
        let found = values(self.log());
        let differ = found.iter().zip(&expected).position(|(a, b)| a != b);
        assert!(
            found == expected,
            "{} records instead of {}, the first other one is number {differ:?}: {:?} instead of {:?}; {self:?}",
            found.len(),
            expected.len(),
            differ.map(|at| (found[at].0, found[at].1.len())),
            differ.map(|at| (expected[at].0, expected[at].1.len())),
        );
    }
}

fn run(seed: u64) {
    let mut model = Model::new(seed);
    for _ in 0..120 {
        model.step();
    }
    model.restart();
    model.check_all();
}

#[test]
fn random_histories_hold() {
    each_seed(150, run);
}
