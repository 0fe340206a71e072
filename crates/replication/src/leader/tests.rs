//! One rule, one test: a leader of three replicas, by hand.

use std::collections::BTreeMap;

use millrace_types::{PartitionIndex, TopicId, TopicPartition};

use super::*;
use crate::fetch::FetchId;
use crate::in_sync::AlterRefusal;
use crate::partition::BrokerView;

const LAG_MS: u64 = 1_000;

fn offset(number: u64) -> Offset {
    Offset::from_count(number)
}

fn nodes(ids: &[i32]) -> BTreeSet<NodeId> {
    ids.iter().map(|id| NodeId(*id)).collect()
}

fn view(isr: &[i32], partition_epoch: i32) -> PartitionView {
    PartitionView {
        id: TopicPartition { topic: TopicId([1; 16]), partition: PartitionIndex(0) },
        leader: Some(NodeId(1)),
        leader_epoch: LeaderEpoch(5),
        partition_epoch: PartitionEpoch(partition_epoch),
        replicas: nodes(&[1, 2, 3]),
        isr: nodes(isr),
        isr_min: 2,
        unclean_epoch: None,
    }
}

fn brokers() -> Brokers {
    let broker =
        |id: i32| (NodeId(id), BrokerView { epoch: BrokerEpoch(i64::from(id) * 10), may_join: true });
    (1..=3).map(broker).collect()
}

fn log(held: u64, end: u64) -> LogFacts {
    LogFacts { start: Offset::ZERO, held: offset(held), end: offset(end), last_epoch: LeaderEpoch(4) }
}

/// A leader whose log ends at 10, of which 8 are known to be committed.
fn leader(isr: &[i32]) -> Leader {
    let seat = Seat {
        me: NodeId(1),
        my_epoch: BrokerEpoch(10),
        brokers: brokers(),
        timing: Timing { lag_ms_max: LAG_MS, retry_ms: 100, idle_ms: 0 },
    };
    let (leader, effects) = Leader::begin(seat, view(isr, 1), log(10, 10), offset(8), Moment(0));
    assert_eq!(effects, [Effect::BeginEpoch(LeaderEpoch(5))], "what must be durable comes first");
    leader
}

fn fetch(from: i32, next: u64, held: u64) -> Fetch {
    Fetch {
        id: FetchId(1),
        partition: view(&[], 0).id,
        replica: NodeId(from),
        broker_epoch: BrokerEpoch(i64::from(from) * 10),
        leader_epoch: LeaderEpoch(5),
        next: offset(next),
        last_epoch: LeaderEpoch(4),
        held: offset(held),
    }
}

/// A fetch of a follower whose log agrees with this one.
fn hear(leader: &mut Leader, fetch: Fetch, now: u64) -> Vec<Effect> {
    let found = Some(EpochEnd { epoch: fetch.last_epoch, end: Offset::MAX });
    leader.step(LeaderEvent::Fetch { fetch, found }, Moment(now))
}

fn answer(effects: &[Effect]) -> FetchAnswer {
    match effects.last() {
        Some(Effect::Answer { answer, .. }) => answer.answer,
        other => panic!("no answer but {other:?}"),
    }
}

fn asked(effects: &[Effect]) -> Option<BTreeMap<NodeId, BrokerEpoch>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Alter(alter) => Some(alter.isr.clone()),
        _ => None,
    })
}

#[test]
fn only_what_everybody_in_sync_holds_is_committed() {
    let mut leader = leader(&[1, 2, 3]);
    hear(&mut leader, fetch(2, 10, 10), 1);
    assert_eq!(leader.high_watermark(), offset(8));
    hear(&mut leader, fetch(3, 10, 9), 2);
    assert_eq!(leader.high_watermark(), offset(9), "what is written and not held does not count");
    hear(&mut leader, fetch(3, 10, 10), 3);
    assert_eq!(leader.high_watermark(), offset(10));
}

#[test]
fn its_own_records_count_once_it_holds_them() {
    let mut leader = leader(&[1, 2]);
    leader.step(LeaderEvent::Log(log(10, 12)), Moment(1));
    hear(&mut leader, fetch(2, 12, 12), 2);
    assert_eq!(leader.high_watermark(), offset(10));
    leader.step(LeaderEvent::Log(log(12, 12)), Moment(3));
    assert_eq!(leader.high_watermark(), offset(12));
}

#[test]
fn with_too_few_in_sync_nothing_is_committed_and_nothing_begun() {
    let mut leader = leader(&[1]);
    assert_eq!(leader.admit(), Err(ProduceRefusal::NotEnoughReplicas { found: 1, needed: 2 }));
    leader.step(LeaderEvent::Log(log(12, 12)), Moment(1));
    assert_eq!(leader.high_watermark(), offset(8));
}

#[test]
fn who_waits_is_told_when_it_is_committed_or_when_nobody_can_know() {
    let mut leader = leader(&[1, 2]);
    leader.step(LeaderEvent::Appended { id: AppendId(1), last: offset(10) }, Moment(1));
    leader.step(LeaderEvent::Appended { id: AppendId(2), last: offset(11) }, Moment(1));
    leader.step(LeaderEvent::Log(log(12, 12)), Moment(1));
    let effects = hear(&mut leader, fetch(2, 12, 11), 2);
    assert_eq!(effects[..2], [Effect::HighWatermark(offset(11)), Effect::Committed(AppendId(1))]);
    let fewer = LeaderEvent::Metadata { view: view(&[1], 2), brokers: brokers() };
    assert_eq!(leader.step(fewer, Moment(3)), [Effect::InDoubt(AppendId(2), Doubt::NotEnoughReplicas)]);
}

#[test]
fn who_joins_has_reached_the_epochs_start_and_is_waited_for_from_then_on() {
    let mut leader = leader(&[1, 2]);
    hear(&mut leader, fetch(2, 10, 8), 1);
    assert_eq!(
        asked(&hear(&mut leader, fetch(3, 10, 9), 2)),
        None,
        "9 is above the high watermark, which may be old"
    );
    let joins = asked(&hear(&mut leader, fetch(3, 10, 10), 3)).unwrap();
    assert_eq!(joins[&NodeId(3)], BrokerEpoch(30), "as the run that was heard");
    assert_eq!(leader.maximal_isr(), nodes(&[1, 2, 3]));
    leader.step(LeaderEvent::Log(log(12, 12)), Moment(4));
    hear(&mut leader, fetch(2, 12, 12), 5);
    assert_eq!(leader.high_watermark(), offset(10), "3 may be in sync by now, and has 10");
}

#[test]
fn another_run_of_a_broker_begins_anew() {
    let mut leader = leader(&[1, 2]);
    hear(&mut leader, fetch(2, 10, 10), 1);
    let mut known = brokers();
    known.insert(NodeId(3), BrokerView { epoch: BrokerEpoch(31), may_join: true });
    leader.step(LeaderEvent::Metadata { view: view(&[1, 2], 1), brokers: known }, Moment(2));
    let effects = hear(&mut leader, fetch(3, 10, 10), 3);
    assert_eq!(answer(&effects), FetchAnswer::Refused(FetchRefusal::StaleBrokerEpoch));
    let again = Fetch { broker_epoch: BrokerEpoch(31), ..fetch(3, 0, 0) };
    hear(&mut leader, Fetch { last_epoch: LeaderEpoch::NONE, ..again }, 4);
    assert_eq!(leader.progress(NodeId(3)).unwrap().held, Offset::ZERO);
}

#[test]
fn who_is_about_to_stop_or_fenced_does_not_join() {
    let mut leader = leader(&[1, 2]);
    let mut known = brokers();
    known.insert(NodeId(3), BrokerView { epoch: BrokerEpoch(30), may_join: false });
    leader.step(LeaderEvent::Metadata { view: view(&[1, 2], 1), brokers: known }, Moment(1));
    assert_eq!(asked(&hear(&mut leader, fetch(3, 10, 10), 2)), None);
}

#[test]
fn a_new_epoch_of_the_same_leader_forgets_what_followers_said() {
    let mut leader = leader(&[1, 2]);
    hear(&mut leader, fetch(2, 10, 10), 1);
    let next = PartitionView { leader_epoch: LeaderEpoch(6), ..view(&[1, 2], 2) };
    let effects = leader.begin_again(next, brokers(), log(12, 12), Moment(2));
    assert_eq!(effects, [Effect::BeginEpoch(LeaderEpoch(6))]);
    assert!(leader.progress(NodeId(2)).is_none());
    let old = hear(&mut leader, fetch(2, 12, 12), 3);
    assert_eq!(answer(&old), FetchAnswer::Refused(FetchRefusal::FencedLeaderEpoch));
    assert_eq!(leader.latest_offset(), None, "12 were written before, and may be committed");
}

#[test]
fn who_is_behind_for_too_long_is_taken_out() {
    let mut leader = leader(&[1, 2, 3]);
    hear(&mut leader, fetch(2, 10, 10), LAG_MS);
    let effects = leader.step(LeaderEvent::Tick, Moment(LAG_MS + 1));
    assert_eq!(asked(&effects).unwrap().into_keys().collect::<BTreeSet<_>>(), nodes(&[1, 2]));
    assert_eq!(leader.maximal_isr(), nodes(&[1, 2, 3]), "until that is committed");
    let answer = AlterAnswer { asked: PartitionEpoch(1), outcome: Ok(view(&[1, 2], 2)) };
    leader.step(LeaderEvent::Altered(answer), Moment(LAG_MS + 2));
    assert_eq!(leader.maximal_isr(), nodes(&[1, 2]));
    assert_eq!(leader.high_watermark(), offset(10));
}

#[test]
fn who_was_refused_is_waited_for_until_the_next_partition_epoch() {
    let mut leader = leader(&[1, 2]);
    hear(&mut leader, fetch(2, 10, 10), 1);
    hear(&mut leader, fetch(3, 10, 10), 1);
    let refused = AlterAnswer { asked: PartitionEpoch(1), outcome: Err(AlterRefusal::Ineligible) };
    leader.step(LeaderEvent::Altered(refused), Moment(2));
    let mut known = brokers();
    known.insert(NodeId(3), BrokerView { epoch: BrokerEpoch(30), may_join: false });
    leader.step(LeaderEvent::Metadata { view: view(&[1, 2], 1), brokers: known }, Moment(3));
    assert_eq!(leader.maximal_isr(), nodes(&[1, 2, 3]), "a copy of the request may still be accepted");
    let effects = leader.step(LeaderEvent::Tick, Moment(200));
    assert_eq!(asked(&effects).unwrap().into_keys().collect::<BTreeSet<_>>(), nodes(&[1, 2]));
    let answer = AlterAnswer { asked: PartitionEpoch(1), outcome: Ok(view(&[1, 2], 2)) };
    leader.step(LeaderEvent::Altered(answer), Moment(201));
    assert_eq!(leader.maximal_isr(), nodes(&[1, 2]));
}

#[test]
fn an_older_state_of_the_partition_is_ignored() {
    let mut leader = leader(&[1, 2]);
    leader.step(LeaderEvent::Metadata { view: view(&[1, 2, 3], 3), brokers: brokers() }, Moment(1));
    leader.step(LeaderEvent::Metadata { view: view(&[1], 2), brokers: brokers() }, Moment(2));
    assert_eq!(leader.maximal_isr(), nodes(&[1, 2, 3]));
}

#[test]
fn fetches_for_others_are_refused() {
    let mut leader = leader(&[1, 2]);
    let other = TopicPartition { topic: TopicId([2; 16]), partition: PartitionIndex(0) };
    let cases = [
        (Fetch { partition: other, ..fetch(2, 10, 10) }, FetchRefusal::OtherTopic),
        (Fetch { leader_epoch: LeaderEpoch(4), ..fetch(2, 10, 10) }, FetchRefusal::FencedLeaderEpoch),
        (Fetch { leader_epoch: LeaderEpoch(6), ..fetch(2, 10, 10) }, FetchRefusal::UnknownLeaderEpoch),
        (fetch(4, 10, 10), FetchRefusal::NotAReplica),
    ];
    for (fetch, refusal) in cases {
        assert_eq!(answer(&hear(&mut leader, fetch, 1)), FetchAnswer::Refused(refusal));
    }
    assert!(leader.progress(NodeId(2)).is_none());
}

#[test]
fn a_log_that_parts_does_not_count() {
    let mut leader = leader(&[1, 2]);
    let found = EpochEnd { epoch: LeaderEpoch(4), end: offset(9) };
    let event = LeaderEvent::Fetch { fetch: fetch(2, 10, 10), found: Some(found) };
    assert_eq!(answer(&leader.step(event, Moment(1))), FetchAnswer::Diverging(found));
    assert_eq!(leader.high_watermark(), offset(8));
}

#[test]
fn a_follower_whose_records_may_be_others_than_those_that_were_deleted_begins_anew() {
    let mut leader = leader(&[1, 2]);
    let trimmed = LogFacts { start: offset(10), ..log(12, 12) };
    leader.step(LeaderEvent::Log(trimmed), Moment(1));
    let mut ask = |last_epoch: i32, found: Option<EpochEnd>| {
        let fetch = Fetch { last_epoch: LeaderEpoch(last_epoch), ..fetch(2, 10, 10) };
        answer(&leader.step(LeaderEvent::Fetch { fetch, found }, Moment(2)))
    };
    let before_all = EpochEnd { epoch: LeaderEpoch(3), end: offset(10) };
    let anew = FetchAnswer::BelowStart { log_start: offset(10) };
    assert_eq!(ask(3, Some(before_all)), anew, "nobody knows which leader's records they are");
    let known = EpochEnd { epoch: LeaderEpoch(4), end: offset(12) };
    assert!(
        matches!(ask(4, Some(known)), FetchAnswer::Records { .. }),
        "one leader has written all of an epoch"
    );
    assert!(matches!(ask(-1, None), FetchAnswer::Records { .. }), "it has none");
}
