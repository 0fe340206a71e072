//! The answers that keep replicas from diverging.

use super::*;

fn at(offset: u64) -> Offset {
    Offset::from_count(offset)
}

fn cache(entries: &[(i32, u64)]) -> EpochCache {
    let entries =
        entries.iter().map(|&(epoch, start)| EpochEntry { epoch: LeaderEpoch(epoch), start: at(start) });
    EpochCache::from_entries(entries.collect()).unwrap()
}

fn end_of(cache: &EpochCache, epoch: i32, log_end: u64) -> Option<(i32, i64)> {
    cache.end_of(LeaderEpoch(epoch), at(log_end)).map(|end| (end.epoch.0, end.end.get()))
}

#[test]
fn an_epoch_ends_where_the_next_begins_and_the_latest_at_the_log_end() {
    let cache = cache(&[(1, 0), (4, 40), (5, 95)]);
    assert_eq!(end_of(&cache, 1, 120), Some((1, 40)));
    assert_eq!(end_of(&cache, 4, 120), Some((4, 95)));
    assert_eq!(end_of(&cache, 5, 120), Some((5, 120)));
}

#[test]
fn an_epoch_that_wrote_nothing_answers_with_the_one_before_it() {
    let cache = cache(&[(1, 0), (4, 40)]);
    assert_eq!(end_of(&cache, 2, 120), Some((1, 40)));
    assert_eq!(end_of(&cache, 3, 120), Some((1, 40)));
}

#[test]
fn an_unknown_epoch_has_no_end() {
    assert_eq!(end_of(&cache(&[(1, 0)]), 2, 10), None);
    assert_eq!(end_of(&cache(&[(1, 0)]), -1, 10), None);
    assert_eq!(end_of(&EpochCache::default(), 0, 10), None);
}

#[test]
fn an_epoch_before_all_known_ends_where_the_first_known_begins() {
    assert_eq!(end_of(&cache(&[(5, 100), (7, 200)]), 3, 300), Some((3, 100)));
}

/// KIP-101, scenario 1: a follower that had fetched m2 but did not know it committed must not drop it.
#[test]
fn a_restarted_follower_keeps_what_the_leader_of_its_epoch_has() {
    let leader = cache(&[(0, 0)]);
    let follower_end = 2;
    let answer = end_of(&leader, 0, 2).unwrap();
    assert_eq!(answer.1.min(follower_end), 2, "nothing is truncated");
}

/// KIP-101, scenario 2: two replicas wrote different records at one offset, in epochs 1 and 2.
#[test]
fn replicas_that_diverged_cut_back_to_where_the_epochs_agree() {
    let leader = cache(&[(0, 0), (2, 1)]);
    let mut follower = cache(&[(0, 0), (1, 1)]);
    // The follower asks for its latest epoch, 1, which the leader never saw: the answer is about epoch 0.
    let (epoch, end) = end_of(&leader, 1, 3).unwrap();
    assert_eq!((epoch, end), (0, 1));
    // It cuts to the smaller of that and its own end of that epoch.
    let own = end_of(&follower, epoch, 2).unwrap();
    let cut = end.min(own.1);
    assert_eq!(cut, 1);
    assert_eq!(follower.truncate_from_end(Offset::new(cut).unwrap()), Change::Changed);
    assert_eq!(follower, cache(&[(0, 0)]));
}

/// KIP-279: after fast leader changes neither side knows the other's latest epochs; asking again converges.
#[test]
fn divergence_over_several_epochs_converges_by_asking_again() {
    let leader = cache(&[(0, 0), (1, 10), (3, 20), (5, 30)]);
    let leader_end = 40;
    let mut follower = cache(&[(0, 0), (1, 10), (2, 15), (4, 25)]);
    let mut follower_end = 35;
    let mut asked = follower.latest().unwrap();
    let mut rounds = 0;
    loop {
        rounds += 1;
        assert!(rounds < 10, "does not converge");
        let (epoch, end) = end_of(&leader, asked.0, leader_end).unwrap();
        let own = end_of(&follower, epoch, follower_end).unwrap();
        let cut = end.min(own.1);
        let _ = follower.truncate_from_end(Offset::new(cut).unwrap());
        follower_end = u64::try_from(cut).unwrap();
        if own.0 == epoch {
            break;
        }
        asked = LeaderEpoch(own.0);
    }
    assert_eq!(follower_end, 15);
    assert_eq!(follower, cache(&[(0, 0), (1, 10)]));
}

#[test]
fn an_epoch_is_noted_once() {
    let mut cache = EpochCache::default();
    assert_eq!(cache.assign(LeaderEpoch(0), at(0)), Change::Changed);
    assert_eq!(cache.assign(LeaderEpoch(0), at(5)), Change::Unchanged);
    assert_eq!(cache.assign(LeaderEpoch(2), at(9)), Change::Changed);
    assert_eq!(cache.assign(LeaderEpoch::NONE, at(10)), Change::Unchanged);
    assert_eq!(cache, self::cache(&[(0, 0), (2, 9)]));
    assert_eq!(cache.latest(), Some(LeaderEpoch(2)));
}

#[test]
fn a_new_epoch_drops_what_contradicts_it() {
    let mut wrote_nothing = cache(&[(0, 0), (1, 10)]);
    assert_eq!(wrote_nothing.assign(LeaderEpoch(2), at(10)), Change::Changed);
    assert_eq!(wrote_nothing, cache(&[(0, 0), (2, 10)]));
    let mut went_back = cache(&[(0, 0), (3, 10), (4, 20)]);
    assert_eq!(went_back.assign(LeaderEpoch(2), at(15)), Change::Changed);
    assert_eq!(went_back, cache(&[(0, 0), (2, 15)]));
    let mut earlier_start = cache(&[(0, 0), (3, 10)]);
    assert_eq!(earlier_start.assign(LeaderEpoch(3), at(5)), Change::Changed);
    assert_eq!(earlier_start, cache(&[(0, 0), (3, 5)]));
}

#[test]
fn trimming_moves_the_start_of_the_epoch_that_holds_it() {
    let mut cache = cache(&[(1, 0), (4, 40), (5, 95)]);
    assert_eq!(cache.trim_from_start(at(0)), Change::Unchanged);
    assert_eq!(cache.trim_from_start(at(60)), Change::Changed);
    assert_eq!(cache, self::cache(&[(4, 60), (5, 95)]));
    assert_eq!(cache.trim_from_start(at(95)), Change::Changed);
    assert_eq!(cache, self::cache(&[(5, 95)]));
    assert_eq!(cache.trim_from_start(at(50)), Change::Unchanged);
}

#[test]
fn truncation_keeps_an_epoch_that_begins_before_the_cut() {
    let mut cache = cache(&[(1, 0), (4, 40), (5, 95)]);
    assert_eq!(cache.truncate_from_end(at(96)), Change::Unchanged);
    assert_eq!(cache.truncate_from_end(at(95)), Change::Changed);
    assert_eq!(cache.truncate_from_end(at(41)), Change::Unchanged);
    assert_eq!(cache, self::cache(&[(1, 0), (4, 40)]));
    assert_eq!(cache.truncate_from_end(at(0)), Change::Changed);
    assert_eq!(cache, EpochCache::default());
}

#[test]
fn the_epoch_of_an_offset() {
    let cache = cache(&[(1, 10), (4, 40)]);
    assert_eq!(cache.epoch_of(at(9)), None);
    assert_eq!(cache.epoch_of(at(10)), Some(LeaderEpoch(1)));
    assert_eq!(cache.epoch_of(at(39)), Some(LeaderEpoch(1)));
    assert_eq!(cache.epoch_of(at(1000)), Some(LeaderEpoch(4)));
}

#[test]
fn entries_that_do_not_rise_are_refused() {
    let entry = |epoch, start| EpochEntry { epoch: LeaderEpoch(epoch), start: at(start) };
    assert_eq!(EpochCache::from_entries(vec![entry(1, 0), entry(1, 5)]), None);
    assert_eq!(EpochCache::from_entries(vec![entry(1, 5), entry(2, 5)]), None);
    assert_eq!(EpochCache::from_entries(vec![entry(-1, 5)]), None);
}
