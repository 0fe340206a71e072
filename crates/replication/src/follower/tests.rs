//! One rule, one test: a follower, by hand.

use std::collections::BTreeSet;

use millrace_types::{PartitionIndex, TopicId, TopicPartition};

use super::*;
use crate::partition::PartitionEpoch;

fn offset(number: u64) -> Offset {
    Offset::from_count(number)
}

fn view() -> PartitionView {
    let nodes: BTreeSet<NodeId> = (1..=3).map(NodeId).collect();
    PartitionView {
        id: TopicPartition { topic: TopicId([1; 16]), partition: PartitionIndex(0) },
        leader: Some(NodeId(1)),
        leader_epoch: LeaderEpoch(5),
        partition_epoch: PartitionEpoch(1),
        replicas: nodes.clone(),
        isr: nodes,
        isr_min: 2,
        unclean_epoch: None,
    }
}

fn log(held: u64, end: u64) -> LogFacts {
    LogFacts { start: Offset::ZERO, held: offset(held), end: offset(end), last_epoch: LeaderEpoch(4) }
}

/// A follower with ten records, eight of which it knows to be committed since leader epoch 4; and its first fetch.
fn follower(view: PartitionView) -> (Follower, Fetch) {
    follower_of(BrokerEpoch(20), view)
}

fn follower_of(my_epoch: BrokerEpoch, view: PartitionView) -> (Follower, Fetch) {
    let place = Place {
        me: NodeId(2),
        my_epoch,
        timing: Timing { lag_ms_max: 1_000, retry_ms: 100, idle_ms: 10 },
        high_watermark: (offset(8), LeaderEpoch(4)),
        fetches: 0,
    };
    let (follower, effects) = Follower::begin(place, view, log(9, 10), Moment(0));
    let sent = sent(&effects).unwrap();
    (follower, sent)
}

fn sent(effects: &[Effect]) -> Option<Fetch> {
    effects.iter().find_map(|effect| match effect {
        Effect::Fetch { to: NodeId(1), fetch } => Some(*fetch),
        _ => None,
    })
}

fn answered(fetch: Fetch, answer: FetchAnswer) -> FollowerEvent {
    FollowerEvent::Fetched(Fetched {
        id: fetch.id,
        partition: fetch.partition,
        leader_epoch: fetch.leader_epoch,
        answer,
    })
}

fn records(fetch: Fetch, high_watermark: u64) -> FollowerEvent {
    let (from, high_watermark) = (fetch.next, offset(high_watermark));
    answered(fetch, FetchAnswer::Records { from, high_watermark, log_start: Offset::ZERO })
}

#[test]
fn it_tells_what_it_holds_apart_from_what_it_has_written() {
    let (_, fetch) = follower(view());
    assert_eq!((fetch.next, fetch.held, fetch.last_epoch), (offset(10), offset(9), LeaderEpoch(4)));
}

#[test]
fn its_high_watermark_is_the_leaders_as_far_as_it_holds_it() {
    let (mut follower, fetch) = follower(view());
    let effects = follower.step(records(fetch, 12), Moment(1));
    assert_eq!(effects, [Effect::HighWatermark(offset(9)), Effect::Append { from: offset(10) }]);
    let effects = follower.step(FollowerEvent::Log(log(9, 12)), Moment(1));
    assert_eq!(sent(&effects).unwrap().next, offset(12), "the next is asked for before this is held");
    let effects = follower.step(FollowerEvent::Log(log(12, 12)), Moment(2));
    assert_eq!(effects, [Effect::HighWatermark(offset(12))]);
}

#[test]
fn an_answer_counts_once_and_only_the_newest() {
    let (mut follower, first) = follower(view());
    let effects = follower.step(FollowerEvent::Tick, Moment(100));
    let second = sent(&effects).unwrap();
    assert!(second.id > first.id);
    assert_eq!(follower.step(records(first, 12), Moment(101)), []);
    assert_ne!(follower.step(records(second, 12), Moment(101)), []);
    assert_eq!(follower.step(records(second, 12), Moment(101)), []);
}

#[test]
fn another_topics_answer_is_ignored() {
    let (mut follower, fetch) = follower(view());
    let other = TopicPartition { topic: TopicId([2; 16]), partition: PartitionIndex(0) };
    assert_eq!(follower.step(records(Fetch { partition: other, ..fetch }, 12), Moment(1)), []);
}

#[test]
fn an_answer_to_an_earlier_run_of_the_broker_is_ignored() {
    let (_, earlier) = follower_of(BrokerEpoch(19), view());
    let (mut follower, fetch) = follower(view());
    assert_ne!(earlier.id, fetch.id, "both are the first");
    assert_eq!(follower.step(records(earlier, 12), Moment(1)), []);
}

#[test]
fn it_cuts_where_the_logs_part() {
    let (mut follower, fetch) = follower(view());
    let theirs = EpochEnd { epoch: LeaderEpoch(3), end: offset(9) };
    let effects = follower.step(answered(fetch, FetchAnswer::Diverging(theirs)), Moment(1));
    assert_eq!(effects, [Effect::LookUp { fetch: fetch.id, theirs }]);
    let ours = Some(EpochEnd { epoch: LeaderEpoch(3), end: offset(8) });
    let effects = follower.step(FollowerEvent::Diverged { fetch: fetch.id, theirs, ours }, Moment(1));
    assert_eq!(effects, [Effect::Truncate { to: offset(8), below_high_watermark: false }]);
    let effects = follower.step(FollowerEvent::Log(log(8, 8)), Moment(2));
    assert_eq!(sent(&effects).unwrap().next, offset(8), "and asks again");
}

#[test]
fn it_halts_rather_than_cut_what_is_committed() {
    let (mut follower, fetch) = follower(view());
    let theirs = EpochEnd { epoch: LeaderEpoch(3), end: offset(5) };
    follower.step(answered(fetch, FetchAnswer::Diverging(theirs)), Moment(1));
    let event = FollowerEvent::Diverged { fetch: fetch.id, theirs, ours: Some(theirs) };
    let halt = Halt::CutBelowHighWatermark { to: offset(5), high_watermark: offset(8) };
    assert_eq!(follower.step(event, Moment(1)), [Effect::Halted(halt)]);
    assert_eq!(follower.step(FollowerEvent::Tick, Moment(9_999)), [], "for good");
}

#[test]
fn by_command_it_cuts_what_was_committed_before() {
    for (unclean, cuts) in [(5, true), (4, false)] {
        let commanded = PartitionView { unclean_epoch: Some(LeaderEpoch(unclean)), ..view() };
        let (mut follower, fetch) = follower(commanded);
        let theirs = EpochEnd { epoch: LeaderEpoch(3), end: offset(5) };
        follower.step(answered(fetch, FetchAnswer::Diverging(theirs)), Moment(1));
        let event = FollowerEvent::Diverged { fetch: fetch.id, theirs, ours: Some(theirs) };
        let effects = follower.step(event, Moment(1));
        let cut = Effect::Truncate { to: offset(5), below_high_watermark: true };
        assert_eq!(effects == [cut], cuts, "unclean in epoch {unclean}, known since 4");
    }
}

#[test]
fn with_everything_it_waits_before_it_asks_again() {
    let (mut follower, fetch) = follower(view());
    follower.step(records(fetch, 8), Moment(1));
    assert_eq!(follower.step(FollowerEvent::Log(log(10, 10)), Moment(1)), []);
    assert!(sent(&follower.step(FollowerEvent::Tick, Moment(11))).is_some());
}

#[test]
fn where_its_leaders_log_starts_behind_its_own_end_it_begins_anew_and_all_before_is_committed() {
    let (mut follower, fetch) = follower(view());
    let log_start = offset(15);
    let effects = follower.step(answered(fetch, FetchAnswer::BelowStart { log_start }), Moment(1));
    assert_eq!(effects, [Effect::Reset(log_start)]);
    assert_eq!(follower.high_watermark(), log_start, "as its log says from then on");
    let reset = LogFacts { start: log_start, last_epoch: LeaderEpoch::NONE, ..log(15, 15) };
    let next = sent(&follower.step(FollowerEvent::Log(reset), Moment(2))).unwrap();
    assert_eq!((next.next, next.last_epoch), (log_start, LeaderEpoch::NONE));
}
