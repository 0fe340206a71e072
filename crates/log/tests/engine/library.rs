//! A library of many partitions and few handles, over random histories: everything is readable, nothing is closed too early.

use std::path::PathBuf;
use std::sync::Arc;

use millrace_env::Env;
use millrace_env::sim::{Sim, Survival};
use millrace_log::{HandleLimits, Log, LogDir, ReadError, ReadRequest, Ticket};
use millrace_types::TimestampMs;

use crate::open_files::{read_at, tight};
use crate::seeds::each_seed;
use crate::world::{append, batch, meta, offset, partition, small, values};

const PARTITIONS: u32 = 24;

/// A partition and what it should hold: the first offset, and the records from there on.
#[derive(Debug)]
struct Shelf {
    log: Option<Arc<Log>>,
    start: u64,
    records: Vec<Vec<u8>>,
    /// How many of them are acknowledged.
    acked: usize,
    tickets: Vec<Ticket>,
}

impl Shelf {
    fn end(&self) -> u64 {
        self.start + self.records.len() as u64
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }
}

/// Dozens of partitions behind four files and two maps.
#[derive(Debug)]
struct Library {
    sim: Sim,
    dir: Option<Arc<LogDir>>,
    shelves: Vec<Shelf>,
    limits: HandleLimits,
    written: u64,
}

impl Library {
    fn new(seed: u64) -> Library {
        let sim = Sim::new(seed);
        let limits = HandleLimits { files: 4, maps: 2 };
        let dir = LogDir::open(&sim.env(), tight(limits.files, limits.maps)).unwrap().dir;
        let shelf = |index| Shelf {
            log: Some(dir.create(meta(index), small()).unwrap()),
            start: 0,
            records: Vec::new(),
            acked: 0,
            tickets: Vec::new(),
        };
        let shelves = (0..PARTITIONS).map(shelf).collect();
        Library { sim, dir: Some(dir), shelves, limits, written: 0 }
    }

    fn below(&self, bound: u64) -> u64 {
        self.sim.rng().below(bound)
    }

    fn step(&mut self) {
        let index = usize::try_from(self.below(PARTITIONS.into())).unwrap();
        let mut reset = false;
        match self.below(200) {
            0..90 => self.append(index),
            90..140 => self.read(index),
            140..150 => self.look_up_time(index),
            150..160 => self.tidy_up(),
            160..172 => self.trim(index),
            172..182 => self.truncate(index),
            182..190 => {
                self.reset(index);
                reset = true;
            }
            190..194 => {
                self.delete(index);
                reset = true;
            }
            194..196 => self.stop(),
            196..198 => self.crash(Sim::kill),
            _ => self.crash(|sim| sim.power_cut(Survival::Random)),
        }
        self.check_handles(reset);
    }

    fn tidy_up(&mut self) {
        self.dir.as_ref().unwrap().janitor_step();
        for shelf in &mut self.shelves {
            shelf.acked = shelf.records.len();
        }
    }

    fn append(&mut self, index: usize) {
        let size = usize::try_from(1000 + self.below(25_000)).unwrap();
        let mut value = vec![u8::try_from(index).unwrap(); size];
        self.written += 1;
        value[..8].copy_from_slice(&self.written.to_be_bytes());
        let wait = self.below(2) == 0;
        let shelf = &mut self.shelves[index];
        let ticket = shelf.log().append(batch(&[&value])).unwrap();
        shelf.records.push(value);
        if wait {
            let appended = ticket.wait().unwrap();
            shelf.acked = shelf.records.len();
            assert_eq!(appended.base_offset, offset(shelf.end() - 1));
        } else {
            shelf.tickets.push(ticket);
        }
    }

    fn read(&self, index: usize) {
        let shelf = &self.shelves[index];
        if shelf.acked == 0 {
            return;
        }
        let at = usize::try_from(self.below(shelf.acked as u64)).unwrap();
        let plan = shelf.log().read(&read_at(shelf.start + at as u64)).unwrap();
        let answer = plan.load().unwrap();
        let batches: Vec<_> = answer.extents.iter().flat_map(crate::world::split).collect();
        let records = batches[0].records().unwrap();
        let value = records.views().next().unwrap().unwrap().value.unwrap().to_vec();
        assert!(value == shelf.records[at], "partition {index}, record {at}: {:?}", &value[..9]);
    }

    fn look_up_time(&self, index: usize) {
        let shelf = &self.shelves[index];
        let found = shelf.log().offset_for_time(TimestampMs(1)).unwrap();
        let readable = shelf.log().offsets().high_watermark > shelf.log().offsets().log_start;
        assert_eq!(found.map(|hit| hit.offset), readable.then(|| offset(shelf.start)));
    }

    fn trim(&mut self, index: usize) {
        let dropped = usize::try_from(self.below(self.shelves[index].acked as u64 + 1)).unwrap();
        let shelf = &mut self.shelves[index];
        shelf.start += dropped as u64;
        shelf.records.drain(..dropped);
        shelf.acked -= dropped;
        shelf.log().trim_to(offset(shelf.start)).unwrap();
        // To drop segments it syncs what is written.
        shelf.acked =
            usize::try_from(u64::try_from(shelf.log().offsets().high_watermark.get()).unwrap() - shelf.start)
                .unwrap();
    }

    fn truncate(&mut self, index: usize) {
        let kept = self.below(self.shelves[index].records.len() as u64 + 1);
        let shelf = &mut self.shelves[index];
        if kept == shelf.records.len() as u64 {
            return;
        }
        shelf.log().truncate_to(offset(shelf.start + kept)).unwrap();
        shelf.records.truncate(usize::try_from(kept).unwrap());
        shelf.acked = shelf.records.len();
        shelf.tickets.clear();
    }

    fn reset(&mut self, index: usize) {
        let start = self.below(self.shelves[index].end() + 2);
        let shelf = &mut self.shelves[index];
        shelf.log().reset_to(offset(start)).unwrap();
        shelf.records.clear();
        (shelf.start, shelf.acked) = (start, 0);
        shelf.tickets.clear();
    }

    /// Deletes a log and makes it anew, under the same name.
    fn delete(&mut self, index: usize) {
        let id = u32::try_from(index).unwrap();
        let dir = self.dir.as_ref().unwrap();
        let old = self.shelves[index].log.take().unwrap();
        let plan = old.read(&ReadRequest { from: old.offsets().log_start, until: None, bytes_max: 1 });
        dir.delete(partition(id)).unwrap();
        let log = dir.create(meta(id), small()).unwrap();
        append(&log, b"of the new log").unwrap();
        if let Ok(plan) = plan {
            assert_eq!(plan.load().unwrap_err(), ReadError::Closed);
        }
        // The synced marks still tell of the old one. A topic's id is never given twice, so only a test sees that.
        dir.janitor_step();
        for shelf in self.shelves.iter_mut().filter(|shelf| shelf.log.is_some()) {
            shelf.acked = shelf.records.len();
        }
        let records = vec![b"of the new log".to_vec()];
        self.shelves[index] = Shelf { log: Some(log), start: 0, records, acked: 1, tickets: Vec::new() };
    }

    fn stop(&mut self) {
        self.dir.as_ref().unwrap().close().unwrap();
        assert_eq!((self.sim.disk().open_files().now, self.sim.disk().live_maps().now), (1, 0));
        let env = self.sim.env();
        self.start(&env);
        for shelf in &mut self.shelves {
            shelf.acked = shelf.records.len();
        }
        self.check_all();
    }

    fn crash(&mut self, crash: impl FnOnce(&Sim) -> Env) {
        self.forget_process();
        let env = crash(&self.sim);
        self.start(&env);
        assert_eq!(self.dir.as_ref().unwrap().start_report().damaged, Vec::<String>::new());
        for (index, shelf) in self.shelves.iter_mut().enumerate() {
            let end = u64::try_from(shelf.log().offsets().end.get()).unwrap();
            let left = usize::try_from(end - shelf.start).unwrap();
            let written = shelf.records.len();
            assert!(
                (shelf.acked..=written).contains(&left),
                "partition {index}: {left}, not {} to {written}",
                shelf.acked
            );
            shelf.records.truncate(left);
            shelf.acked = left;
        }
        self.check_all();
    }

    fn forget_process(&mut self) {
        for shelf in &mut self.shelves {
            shelf.tickets.clear();
            shelf.log = None;
        }
        self.dir = None;
    }

    fn start(&mut self, env: &Env) {
        self.forget_process();
        let dir = LogDir::open(env, tight(self.limits.files, self.limits.maps)).unwrap().dir;
        for (index, shelf) in (0..).zip(&mut self.shelves) {
            shelf.log = Some(dir.open_log(partition(index), small()).unwrap());
        }
        self.dir = Some(dir);
    }

    fn check_handles(&self, dropped: bool) {
        let disk = self.sim.disk();
        let closed: Vec<PathBuf> = disk.take_closed_unsynced();
        let logs = closed.iter().filter(|path| path.extension().is_some_and(|kind| kind == "log"));
        assert!(dropped || logs.count() == 0, "closed with unsynced bytes: {closed:?}");
        let handles = self.dir.as_ref().unwrap().handles();
        assert_eq!(disk.open_files().now, handles.files as u64 + 1, "and the synced marks");
        assert_eq!(disk.live_maps().now, handles.maps as u64);
        assert!(handles.maps <= self.limits.maps);
        let dirty: usize = self
            .shelves
            .iter()
            .map(|shelf| shelf.log().offsets())
            .filter(|offsets| offsets.synced_end < offsets.end)
            .count();
        // A log that is not synced may have rolled since.
        assert!(handles.files <= self.limits.files.max(4 * dirty), "{handles:?} with {dirty} unsynced");
    }

    fn check_all(&self) {
        for (index, shelf) in self.shelves.iter().enumerate() {
            let expected: Vec<(i64, Vec<u8>)> =
                (i64::try_from(shelf.start).unwrap()..).zip(shelf.records.iter().cloned()).collect();
            assert!(values(shelf.log()) == expected, "partition {index}");
        }
    }
}

#[test]
fn dozens_of_partitions_live_behind_four_files_and_two_maps() {
    each_seed(12, |seed| {
        let mut library = Library::new(seed);
        for _ in 0..500 {
            library.step();
        }
        library.stop();
    });
}
