//! Random histories of three replicas of one log: leaders change, replicas crash, whoever follows copies, truncates and catches
//! up. What was committed once stays, byte for byte; when all is calm, all logs are the same.
//!
//! Who leads is decided by the test, and all three must hold what is committed: the rules of replication are tested elsewhere.
//! Seeds: see `seeds.rs`.

use std::sync::Arc;

use millrace_env::sim::{Sim, Survival};
use millrace_log::{AppendError, Appended, Isolation, Log, LogDir, LogDirOptions, ReadRequest, Ticket};
use millrace_record::Batch;
use millrace_types::{LeaderEpoch, Offset, TimestampMs};

use crate::replicating::{all_bytes, replicated};
use crate::seeds::each_seed;
use crate::world::{batch_at, meta, options, partition, split, stamp};

const REPLICAS: usize = 3;

#[derive(Debug)]
struct Replica {
    sim: Sim,
    tail_cache_bytes: usize,
    dir: Option<Arc<LogDir>>,
    log: Option<Arc<Log>>,
    /// What it holds, as the leader has heard in its epoch.
    reported: Option<Offset>,
}

impl Replica {
    fn new(seed: u64) -> Replica {
        let sim = Sim::new(seed);
        let tail_cache_bytes = if sim.rng().chance(1, 2) { 60_000 } else { 0 };
        let mut replica = Replica { sim, tail_cache_bytes, dir: None, log: None, reported: None };
        let dir = LogDir::open(&replica.sim.env(), replica.options()).unwrap().dir;
        replica.log = Some(dir.create(meta(0), replicated()).unwrap());
        replica.dir = Some(dir);
        replica
    }

    fn options(&self) -> LogDirOptions {
        options(self.tail_cache_bytes)
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn end(&self) -> Offset {
        self.log().offsets().end
    }

    fn restart(&mut self, survival: Option<Survival>) {
        self.reported = None;
        self.log = None;
        let held = self.dir.take().unwrap();
        let env = match survival {
            None => {
                held.close().unwrap();
                drop(held);
                self.sim.env()
            }
            Some(survival) => {
                drop(held);
                self.sim.power_cut(survival)
            }
        };
        let dir = LogDir::open(&env, self.options()).unwrap().dir;
        self.log = Some(dir.open_log(partition(0), replicated()).unwrap());
        assert_eq!(dir.start_report().damaged, Vec::<String>::new());
        self.dir = Some(dir);
    }
}

/// A batch of a producer, as it was sent first, and where it was committed if it was.
#[derive(Clone, Debug)]
struct Sent {
    sequence: i32,
    base: Option<Offset>,
}

#[derive(Debug)]
struct Cluster {
    dice: Sim,
    replicas: Vec<Replica>,
    leader: usize,
    epoch: LeaderEpoch,
    /// The bytes below the highest high watermark that there was, and that.
    committed: Vec<u8>,
    high_watermark: Offset,
    /// What the leader has not acknowledged yet.
    tickets: Vec<Ticket>,
    clock: i64,
    /// The producer sends one batch until that is committed.
    sending: Sent,
}

impl Cluster {
    fn new(seed: u64) -> Cluster {
        let replicas = (0..REPLICAS).map(|number| Replica::new(seed * 10 + number as u64)).collect();
        let mut cluster = Cluster {
            dice: Sim::new(seed),
            replicas,
            leader: 0,
            epoch: LeaderEpoch(0),
            committed: Vec::new(),
            high_watermark: Offset::ZERO,
            tickets: Vec::new(),
            clock: 0,
            sending: Sent { sequence: 0, base: None },
        };
        cluster.elect();
        cluster
    }

    fn below(&self, bound: u64) -> u64 {
        self.dice.rng().below(bound)
    }

    fn any(&self) -> usize {
        usize::try_from(self.below(REPLICAS as u64)).unwrap()
    }

    fn leader(&self) -> &Log {
        self.replicas[self.leader].log()
    }

    fn step(&mut self) {
        match self.below(100) {
            0..30 => self.append(),
            30..40 => self.produce(),
            40..80 => self.fetch(self.any()),
            80..84 => self.elect(),
            84..88 => self.janitor(),
            88..92 => self.restart(None),
            92..95 => self.restart(Some(Survival::Everything)),
            95..98 => self.restart(Some(Survival::Random)),
            _ => self.restart(Some(Survival::Nothing)),
        }
        self.commit();
        self.check();
    }

    fn append(&mut self) {
        self.clock += 1;
        let size = if self.below(10) == 0 { 20_000 } else { 1 + self.below(3_000) };
        let value = vec![u8::try_from(self.below(256)).unwrap(); usize::try_from(size).unwrap()];
        let ticket = self.leader().append(batch_at(self.clock, &[&value, b"and"], None)).unwrap();
        self.keep_or_wait(ticket);
    }

    fn keep_or_wait(&mut self, ticket: Ticket) {
        if self.below(3) == 0 {
            self.tickets.push(ticket);
        } else {
            ticket.wait().unwrap();
        }
    }

    /// Sends the producer's batch, again if it was not committed: it is never stored twice, nor after one that is missing.
    fn produce(&mut self) {
        let sequence = self.sending.sequence;
        let sent = self.leader().append(batch_at(7, &[&sequence.to_be_bytes()], stamp(4, sequence)));
        let Appended { base_offset, duplicate, .. } = match sent.unwrap().wait() {
            Ok(appended) => appended,
            Err(error) => panic!("sequence {sequence}: {error}, {:?}", self.leader().producers(9)),
        };
        if base_offset < self.high_watermark {
            assert!(duplicate && self.sending.base.is_none_or(|base| base == base_offset));
            self.sending = Sent { sequence: sequence + 1, base: None };
        }
    }

    /// One fetch of a follower, and what it does with the answer.
    fn fetch(&mut self, who: usize) {
        if who == self.leader {
            return;
        }
        let (leader, follower) = (self.leader(), self.replicas[who].log());
        follower.follow();
        let (next, last) = (follower.offsets().end, follower.last_epoch());
        if let Some(last) = last {
            let known = leader.end_of_epoch(last);
            let (epoch, end) = known.unwrap_or((LeaderEpoch::NONE, Offset::ZERO));
            if epoch != last || end < next {
                let own = follower.end_of_epoch(epoch).map_or(Offset::ZERO, |(_, end)| end);
                return follower.truncate_to(own.min(end)).unwrap();
            }
        }
        let bytes_max = usize::try_from(self.below(30_000)).unwrap();
        let request = ReadRequest { from: next, until: None, bytes_max };
        let answer = leader.read_as(Isolation::Held, &request).unwrap().load().unwrap();
        let held = follower.offsets().held;
        if let Some(bytes) = (!answer.extents.is_empty()).then(|| answer.extents.concat().into()) {
            let ticket = follower.append_replica(&bytes).unwrap();
            if self.below(3) > 0 {
                ticket.wait().unwrap();
            }
        }
        follower.raise_high_watermark(leader.offsets().high_watermark);
        self.replicas[who].reported = Some(held);
    }

    /// Another leader, or the same, with a new epoch. Who has everything that is committed: each of them.
    fn elect(&mut self) {
        let former = self.leader;
        self.leader = self.any();
        self.epoch = self.epoch.next();
        self.replicas.iter_mut().for_each(|replica| replica.reported = None);
        if self.below(2) == 0 {
            self.replicas[former].log().follow();
        }
        let end = self.replicas[self.leader].end();
        assert_eq!(self.leader().begin_epoch(self.epoch).unwrap(), end);
        // Those that a truncation takes hear that.
        let settled = std::mem::take(&mut self.tickets);
        for ticket in settled {
            if former == self.leader {
                ticket.wait().unwrap();
            }
        }
    }

    fn janitor(&self) {
        let who = &self.replicas[self.any()];
        who.sim.clock().advance(std::time::Duration::from_secs(5));
        who.dir.as_ref().unwrap().janitor_step();
    }

    fn restart(&mut self, survival: Option<Survival>) {
        let who = self.any();
        if who == self.leader {
            self.tickets.clear();
        }
        self.replicas[who].restart(survival);
        if who == self.leader {
            assert_eq!(
                self.leader().append(batch_at(1, &[b"x"], None)).unwrap().wait(),
                Err(AppendError::NotLeading)
            );
            self.elect();
        }
    }

    /// The leader moves the high watermark as far as all hold, and what it passes is committed for ever.
    fn commit(&mut self) {
        let leader = self.leader();
        let others = self.replicas.iter().enumerate().filter(|(number, _)| *number != self.leader);
        let reported: Option<Vec<Offset>> = others.map(|(_, replica)| replica.reported).collect();
        let Some(reported) = reported else { return };
        let held = reported.into_iter().fold(leader.offsets().held, Offset::min);
        let to = leader.raise_high_watermark(held);
        while self.high_watermark < to {
            let from = self.high_watermark;
            let request = ReadRequest { from, until: None, bytes_max: 100_000 };
            let answer = self.leader().read(&request).unwrap().load().unwrap();
            self.committed.extend_from_slice(&answer.extents.concat());
            self.high_watermark = answer.range.end;
        }
    }

    fn check(&self) {
        for replica in &self.replicas {
            let offsets = replica.log().offsets();
            assert!(offsets.log_start <= offsets.high_watermark && offsets.high_watermark <= offsets.held);
            assert!(offsets.held <= offsets.end && offsets.synced_end <= offsets.end);
            assert!(offsets.high_watermark <= self.high_watermark && self.high_watermark <= offsets.held);
        }
        if self.below(10) == 0 {
            let bytes = all_bytes(self.replicas[self.any()].log());
            assert!(bytes.starts_with(&self.committed), "something that was committed is not there");
            self.check_time(self.replicas[self.any()].log());
        }
    }

    /// What is looked up by time ends at the high watermark, wherever segments were rolled and sealed.
    fn check_time(&self, log: &Log) {
        let high_watermark = log.offsets().high_watermark;
        let batches = split(&self.committed.clone().into());
        let visible = || batches.iter().filter(|batch| batch.next_offset() <= high_watermark);
        let wanted = TimestampMs(i64::try_from(self.below(self.clock.unsigned_abs() + 2)).unwrap());
        let due = visible().find(|batch| batch.max_timestamp() >= wanted).map(Batch::base_offset);
        assert_eq!(log.offset_for_time(wanted).unwrap().map(|hit| hit.offset), due, "{wanted:?}");
        let largest = log.largest_timestamp().unwrap().map(|hit| hit.timestamp);
        assert_eq!(largest, visible().map(Batch::max_timestamp).max());
    }

    /// All is calm: everybody catches up.
    fn calm_down(&mut self) {
        self.elect();
        for _ in 0..2 {
            for who in 0..REPLICAS {
                while self.replicas[who].reported.is_none_or(|held| held < self.leader().offsets().end)
                    && who != self.leader
                {
                    self.fetch(who);
                    self.replicas[who].dir.as_ref().unwrap().janitor_step();
                }
            }
            self.replicas[self.leader].dir.as_ref().unwrap().janitor_step();
            self.commit();
        }
        assert_eq!(self.high_watermark, self.leader().offsets().end);
        let epochs: Vec<_> = (0..=self.epoch.0).map(LeaderEpoch).collect();
        for replica in &self.replicas {
            let log = replica.log();
            assert!(all_bytes(log) == self.committed);
            assert_eq!(log.producers(9), self.leader().producers(9));
            for batch in split(&self.committed.clone().into()) {
                assert_eq!(log.epoch_of(batch.base_offset()), Some(batch.leader_epoch()));
            }
            for epoch in epochs.iter().filter(|epoch| Some(**epoch) <= log.last_epoch()) {
                let ends = |log: &Log| log.end_of_epoch(*epoch).map(|(_, end)| end);
                assert_eq!(ends(log), ends(self.leader()), "{epoch}");
            }
        }
    }
}

fn run(seed: u64) {
    let mut cluster = Cluster::new(seed);
    for _ in 0..150 {
        cluster.step();
    }
    cluster.calm_down();
    for who in 0..REPLICAS {
        cluster.replicas[who].restart(Some(Survival::Nothing));
        assert!(all_bytes(cluster.replicas[who].log()) == cluster.committed);
    }
}

#[test]
fn replicas_of_one_log_stay_the_same() {
    each_seed(150, run);
}
