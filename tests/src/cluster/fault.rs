//! Faults as values, and how each is done and undone.

use std::fmt;
use std::time::{Duration, Instant};

use super::net::CLIENTS;
use super::{Cluster, PATIENCE};
use crate::Seed;

/// Which broker, by what it does at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Who leads this partition.
    Leader(usize),
    /// Who follows in it.
    Follower(usize),
    /// Who leads the metadata.
    Controller,
    /// Who coordinates a group.
    Coordinator,
    /// Any.
    Any,
}

/// What happens. What lasts for a time is undone after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL.
    Kill(Who),
    /// SIGKILL of all.
    KillAll,
    /// It stands still.
    Pause(Who, Duration),
    /// It hears of no other broker, and no other of it.
    Isolate(Who, Duration),
    /// It hears of one other broker, but is not heard there.
    Mute(Who, Duration),
    /// It and one other do not hear of each other.
    Part(Who, Duration),
    /// The clients are not heard there.
    Deafen(Who, Duration),
    /// Its disk is full.
    FillDisk(Who, Duration),
    /// The power of its disk is cut, and it with it.
    CutPower(Who),
    /// The same, of all at once.
    CutPowerOfAll,
    /// It is killed, a file of it changes, it is started again.
    Corrupt(Who),
    /// All but the leader of that partition fall behind for want of room; when it is alone in sync, it is killed.
    LeaveAloneAndKill(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A fault that is done to brokers of a topic.
pub(super) struct Doing<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) topic: &'a str,
    pub(super) seed: &'a mut Seed,
}

impl Doing<'_> {
    /// Does it, waits as long as it lasts, and undoes it: all brokers run afterwards. Answers in words what was done to whom.
    pub(super) fn run(&mut self, fault: Fault) -> String {
        let numbers = self.cluster.numbers();
        let (whom, what) = match fault {
            Fault::Kill(who) => self.to(who, Cluster::kill),
            Fault::KillAll => {
                numbers.iter().for_each(|number| self.cluster.kill(*number));
                (0, String::new())
            }
            Fault::Pause(who, time) => self.to(who, |cluster, whom| {
                cluster.pause(whom);
                std::thread::sleep(time);
                cluster.go_on(whom);
            }),
            Fault::Isolate(who, time) => self.cut(who, time, |cluster, whom, _| cluster.lab.isolate(whom)),
            Fault::Mute(who, time) => {
                self.cut(who, time, |cluster, whom, other| cluster.lab.cut(whom, other))
            }
            Fault::Part(who, time) => {
                self.cut(who, time, |cluster, whom, other| cluster.lab.cut_both_ways(whom, other))
            }
            Fault::Deafen(who, time) => {
                self.cut(who, time, |cluster, whom, _| cluster.lab.cut(CLIENTS, whom))
            }
            Fault::FillDisk(who, time) => {
                let left = self.seed.between(0, 2 * 1024 * 1024);
                self.to(who, |cluster, whom| {
                    cluster.fill_disk(whom, left);
                    std::thread::sleep(time);
                    cluster.free_disk(whom);
                })
            }
            Fault::CutPower(who) => self.to(who, |cluster, whom| cluster.cut_power(&[whom])),
            Fault::CutPowerOfAll => {
                self.cluster.cut_power(&numbers);
                (0, String::new())
            }
            Fault::Corrupt(who) => {
                let (whom, role) = self.to(who, Cluster::kill);
                let what = self.cluster.corrupt(whom, self.seed).unwrap_or_default();
                (whom, format!("{role}: {what}"))
            }
            Fault::LeaveAloneAndKill(partition) => self.leave_alone_and_kill(partition),
        };
        self.cluster.start_all();
        if whom == 0 { format!("{fault}") } else { format!("{fault}, which is b{whom}{what}") }
    }

    fn to(&mut self, who: Who, act: impl FnOnce(&mut Cluster, u8)) -> (u8, String) {
        let whom = self.number_of(who);
        act(self.cluster, whom);
        (whom, String::new())
    }

    /// Something with the network, between that broker and one other.
    fn cut(&mut self, who: Who, time: Duration, cut: impl FnOnce(&Cluster, u8, u8)) -> (u8, String) {
        let whom = self.number_of(who);
        let other = self.another(whom);
        cut(self.cluster, whom, other);
        std::thread::sleep(time);
        self.cluster.lab.heal();
        (whom, format!(" (other: b{other})"))
    }

    fn another(&mut self, than: u8) -> u8 {
        let others: Vec<u8> = self.cluster.numbers().into_iter().filter(|number| *number != than).collect();
        pick(&others, self.seed).unwrap_or(CLIENTS)
    }

    /// Who that is now. Where nobody knows, anybody will do.
    fn number_of(&mut self, who: Who) -> u8 {
        let partition = |index: usize| self.cluster.describe(self.topic).get(index).cloned();
        let found = match who {
            Who::Leader(index) => partition(index).and_then(|partition| partition.leader),
            Who::Follower(index) => partition(index).and_then(|partition| {
                let followers: Vec<u8> = partition
                    .replicas
                    .into_iter()
                    .filter(|replica| Some(*replica) != partition.leader)
                    .collect();
                pick(&followers, self.seed)
            }),
            Who::Controller => self.cluster.controller(),
            Who::Coordinator => self.cluster.coordinator(),
            Who::Any => None,
        };
        let numbers = self.cluster.numbers();
        found
            .filter(|number| numbers.contains(number))
            .or_else(|| pick(&numbers, self.seed))
            .expect("a broker")
    }

    fn leave_alone_and_kill(&mut self, partition: usize) -> (u8, String) {
        let leader = self.number_of(Who::Leader(partition));
        let others: Vec<u8> = self.cluster.numbers().into_iter().filter(|number| *number != leader).collect();
        others.iter().for_each(|other| self.cluster.fill_disk(*other, 0));
        let end = Instant::now() + PATIENCE / 6;
        let is_alone = loop {
            let described = self.cluster.describe(self.topic);
            if described.get(partition).is_some_and(|partition| partition.in_sync == [leader]) {
                break true;
            }
            if Instant::now() > end {
                break false;
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        self.cluster.kill(leader);
        others.iter().for_each(|other| self.cluster.free_disk(*other));
        (leader, format!(" (alone in sync: {is_alone})"))
    }
}

fn pick(numbers: &[u8], seed: &mut Seed) -> Option<u8> {
    let index = usize::try_from(seed.draw() % (numbers.len() as u64).max(1)).unwrap_or(0);
    numbers.get(index).copied()
}
