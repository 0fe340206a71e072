//! The seven ways in which two logs may lie beside each other after an election.

use super::*;

/// The epoch of each record, from offset 0, and the epoch that the leader has begun behind them.
struct Log {
    records: Vec<i32>,
    begun: Option<i32>,
}

fn offset(number: usize) -> Offset {
    Offset::from_count(number as u64)
}

impl Log {
    fn of(records: &[i32]) -> Log {
        Log { records: records.to_vec(), begun: None }
    }

    fn led(records: &[i32], epoch: i32) -> Log {
        Log { records: records.to_vec(), begun: Some(epoch) }
    }

    fn end(&self) -> Offset {
        offset(self.records.len())
    }

    fn last_epoch(&self) -> LeaderEpoch {
        self.records.last().map_or(LeaderEpoch::NONE, |epoch| LeaderEpoch(*epoch))
    }

    /// As a log answers: nothing beyond its latest epoch, the first start of all before its first.
    fn end_of(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        let latest = self.begun.or(self.records.last().copied())?;
        if epoch.0 > latest {
            return None;
        }
        let end = self.records.iter().position(|found| *found > epoch.0).unwrap_or(self.records.len());
        let floor = self.records.iter().rev().find(|found| **found <= epoch.0);
        let floor = if self.begun == Some(epoch.0) { Some(&epoch.0) } else { floor };
        Some(EpochEnd { epoch: floor.map_or(epoch, |epoch| LeaderEpoch(*epoch)), end: offset(end) })
    }

    /// Cuts until the leader has nothing more to say; answers after how many rounds.
    fn reconcile(&mut self, leader: &Log) -> usize {
        for round in 0..10 {
            let found = leader.end_of(self.last_epoch());
            match compare(self.end(), self.last_epoch(), found, leader.end()) {
                Comparison::Agrees => return round,
                Comparison::Parts(theirs) => {
                    let to = cut(theirs, self.end_of(theirs.epoch), (Offset::ZERO, self.end()));
                    assert!(to < self.end(), "a round that cuts nothing never ends");
                    self.records.truncate(usize::try_from(to.get()).unwrap());
                }
            }
        }
        panic!("it does not end");
    }
}

#[track_caller]
fn is_cut(leader: &[i32], epoch: i32, follower: &[i32], kept: usize) {
    let leader = Log::led(leader, epoch);
    let mut log = Log::of(follower);
    log.reconcile(&leader);
    assert_eq!(log.records, follower[..kept]);
    assert_eq!(log.records, leader.records[..kept], "and what is left is a prefix of the leader's");
}

#[test]
fn case_a_behind_in_the_same_epoch_keeps_all() {
    is_cut(&[1, 1, 1, 1], 2, &[1, 1], 2);
}

#[test]
fn case_b_behind_by_an_epoch_keeps_all() {
    is_cut(&[1, 1, 2, 2], 3, &[1, 1], 2);
}

#[test]
fn case_c_ahead_in_the_same_epoch_is_cut_to_the_leaders_end() {
    is_cut(&[1, 1], 2, &[1, 1, 1, 1], 2);
}

#[test]
fn case_d_ahead_by_an_epoch_is_cut_to_the_leaders_end() {
    is_cut(&[1, 1], 3, &[1, 1, 2, 2], 2);
}

#[test]
fn case_e_two_epochs_part_where_the_common_one_ended() {
    is_cut(&[1, 1, 3, 3], 4, &[1, 1, 2, 2], 2);
}

#[test]
fn case_f_the_leader_went_on_in_the_common_epoch() {
    is_cut(&[1, 1, 1], 3, &[1, 2, 2], 1);
}

#[test]
fn case_g_no_common_epoch_leaves_nothing() {
    is_cut(&[1, 1], 3, &[2, 2], 0);
}

#[test]
fn forks_over_several_epochs_take_several_rounds() {
    let leader = Log::led(&[1, 1, 3, 5, 5], 6);
    let mut log = Log::of(&[1, 1, 2, 2, 4, 4]);
    assert_eq!(log.reconcile(&leader), 2);
    assert_eq!(log.records, [1, 1]);
}

#[test]
fn an_empty_follower_has_nothing_to_cut() {
    is_cut(&[1, 1], 2, &[], 0);
    is_cut(&[], 2, &[], 0);
}

#[test]
fn an_empty_leader_leaves_nothing() {
    is_cut(&[], 2, &[1, 1], 0);
}

/// Whether both can be logs of one partition: who has records of an epoch has what its leader had before them.
fn can_meet(a: &[i32], b: &[i32]) -> bool {
    let start = |log: &[i32], epoch| log.iter().position(|found| *found == epoch);
    a.iter().all(|epoch| match (start(a, *epoch), start(b, *epoch)) {
        (Some(in_a), Some(in_b)) => a[..in_a] == b[..in_b],
        _ => true,
    })
}

/// Every pair of logs with up to four records and epochs that rise: what is left is the longest common prefix.
#[test]
fn every_small_pair_of_logs_ends_in_a_common_prefix() {
    let mut logs = vec![Vec::new()];
    for length in 1..=4 {
        let shorter: Vec<Vec<i32>> =
            logs.iter().filter(|log: &&Vec<i32>| log.len() == length - 1).cloned().collect();
        for log in shorter {
            for epoch in log.last().copied().unwrap_or(1)..=4 {
                let mut longer = log.clone();
                longer.push(epoch);
                logs.push(longer);
            }
        }
    }
    for leader in &logs {
        for follower in logs.iter().filter(|follower| can_meet(leader, follower)) {
            let led = Log::led(leader, 5);
            let mut log = Log::of(follower);
            log.reconcile(&led);
            let common = leader.iter().zip(follower).take_while(|(a, b)| a == b).count();
            assert_eq!(log.records, follower[..common], "leader {leader:?}, follower {follower:?}");
        }
    }
}
