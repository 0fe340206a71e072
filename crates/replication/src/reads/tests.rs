//! What consumers are given.

use std::collections::BTreeSet;

use millrace_types::{BrokerEpoch, NodeId, PartitionIndex, TopicId, TopicPartition};

use super::*;
use crate::fetch::{Fetch, FetchId};
use crate::leader::LeaderEvent;
use crate::partition::{BrokerView, Brokers, Moment, PartitionEpoch, PartitionView, Timing};
use crate::replica::Event;

fn offset(number: u64) -> Offset {
    Offset::from_count(number)
}

const LOG: (u64, u64) = (8, 10);

fn facts() -> LogFacts {
    LogFacts { start: offset(2), held: offset(LOG.1), end: offset(LOG.1), last_epoch: LeaderEpoch(3) }
}

/// What is said of the partition: two replicas, leader epoch 4.
fn told(leader: i32) -> (PartitionView, Brokers) {
    let nodes: BTreeSet<NodeId> = (1..=2).map(NodeId).collect();
    let view = PartitionView {
        id: TopicPartition { topic: TopicId([1; 16]), partition: PartitionIndex(0) },
        leader: Some(NodeId(leader)),
        leader_epoch: LeaderEpoch(4),
        partition_epoch: PartitionEpoch(1),
        replicas: nodes.clone(),
        isr: nodes,
        isr_min: 2,
        unclean_epoch: None,
    };
    (view, Brokers::from([(NodeId(1), BrokerView { epoch: BrokerEpoch(7), may_join: true })]))
}

/// A replica that knows of eight committed records.
fn replica(leader: i32) -> Replica {
    let (view, brokers) = told(leader);
    let mut replica = Replica::new(NodeId(1), BrokerEpoch(7), Timing::default(), offset(LOG.0));
    replica.step(Event::Metadata { view, brokers, log: facts() }, Moment(0));
    replica
}

fn at(next: u64) -> Position {
    Position { next: offset(next), leader_epoch: None, last_epoch: None }
}

#[test]
fn both_serve_up_to_the_high_watermark_and_say_nothing_of_what_lies_behind() {
    for leader in [1, 2] {
        let replica = replica(leader);
        for next in [2, 5, 8] {
            assert_eq!(serve(&replica, at(next), None, facts()), Served::UpTo(offset(8)));
        }
        for next in [9, 10, 11, 99] {
            let served = serve(&replica, at(next), None, facts());
            assert_eq!(served, Served::NotAvailable, "{next}: more may be committed than is known here");
        }
        assert_eq!(serve(&replica, at(1), None, facts()), Served::OutOfRange, "it was trimmed");
    }
}

/// The other replica fetches in this epoch; it holds as much as it asks for what follows.
fn fetched(replica: &mut Replica, next: u64) {
    let fetch = Fetch {
        id: FetchId(1),
        partition: TopicPartition { topic: TopicId([1; 16]), partition: PartitionIndex(0) },
        replica: NodeId(2),
        broker_epoch: BrokerEpoch(1),
        leader_epoch: LeaderEpoch(4),
        next: offset(next),
        last_epoch: LeaderEpoch(3),
        held: offset(next),
    };
    let found = Some(EpochEnd { epoch: LeaderEpoch(3), end: Offset::MAX });
    replica.step(Event::Leader(LeaderEvent::Fetch { fetch, found }), Moment(1));
}

#[test]
fn what_never_was_is_told_by_a_leader_that_those_in_sync_have_fetched_from() {
    let mut replica = replica(1);
    let asked = |replica: &Replica, next| serve(replica, at(next), None, facts());
    fetched(&mut replica, 9);
    assert_eq!(
        asked(&replica, 11),
        Served::NotAvailable,
        "another may lead by now, and have an eleventh record"
    );
    fetched(&mut replica, 10);
    assert_eq!(asked(&replica, 11), Served::OutOfRange);
    assert_eq!(asked(&replica, 10), Served::UpTo(offset(10)));
}

#[test]
fn a_high_watermark_from_before_the_election_does_not_make_a_leader_certain() {
    let mut replica = Replica::new(NodeId(1), BrokerEpoch(7), Timing::default(), offset(LOG.1));
    let (view, brokers) = told(1);
    replica.step(Event::Metadata { view, brokers, log: facts() }, Moment(0));
    assert_eq!(replica.leader().and_then(Leader::latest_offset), Some(offset(10)));
    assert_eq!(serve(&replica, at(11), None, facts()), Served::NotAvailable);
}

#[test]
fn epochs_tell_who_knows_more() {
    let replica = replica(2);
    let of = |epoch| Position { leader_epoch: Some(LeaderEpoch(epoch)), ..at(5) };
    assert_eq!(serve(&replica, of(3), None, facts()), Served::Fenced);
    assert_eq!(serve(&replica, of(4), None, facts()), Served::UpTo(offset(8)));
    assert_eq!(serve(&replica, of(5), None, facts()), Served::Unknown);
    let later = Position { last_epoch: Some(LeaderEpoch(5)), ..at(5) };
    assert_eq!(
        serve(&replica, later, None, facts()),
        Served::Unknown,
        "it has read what a later leader wrote"
    );
}

#[test]
fn a_consumer_whose_records_are_gone_is_told_where_they_part() {
    let replica = replica(2);
    let position = Position { last_epoch: Some(LeaderEpoch(3)), ..at(8) };
    let found = EpochEnd { epoch: LeaderEpoch(2), end: offset(6) };
    assert_eq!(serve(&replica, position, Some(found), facts()), Served::Truncated(found));
}
