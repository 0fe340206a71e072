//! How a replica changes its role.

use std::collections::BTreeSet;

use millrace_types::{PartitionIndex, TopicId, TopicPartition};

use super::*;
use crate::partition::{BrokerView, PartitionEpoch};

fn view(leader: i32, leader_epoch: i32) -> PartitionView {
    let nodes: BTreeSet<NodeId> = (1..=2).map(NodeId).collect();
    PartitionView {
        id: TopicPartition { topic: TopicId([1; 16]), partition: PartitionIndex(0) },
        leader: Some(NodeId(leader)),
        leader_epoch: LeaderEpoch(leader_epoch),
        partition_epoch: PartitionEpoch(leader_epoch),
        replicas: nodes.clone(),
        isr: nodes,
        isr_min: 1,
        unclean_epoch: None,
    }
}

fn told(view: PartitionView, my_epoch: i64) -> Event {
    let brokers = Brokers::from([(NodeId(1), BrokerView { epoch: BrokerEpoch(my_epoch), may_join: true })]);
    Event::Metadata { view, brokers, log: LogFacts::default() }
}

fn replica() -> Replica {
    Replica::new(NodeId(1), BrokerEpoch(7), Timing::default(), Offset::ZERO)
}

#[test]
fn it_leads_and_follows_as_it_is_told() {
    let mut replica = replica();
    let effects = replica.step(told(view(1, 1), 7), Moment(0));
    assert_eq!(effects.first(), Some(&Effect::BeginEpoch(LeaderEpoch(1))));
    assert!(replica.leader().is_some());
    let effects = replica.step(told(view(2, 2), 7), Moment(1));
    assert_eq!(effects.first(), Some(&Effect::Follow), "nothing is appended by who does not lead");
    assert!(matches!(effects.last(), Some(Effect::Fetch { to: NodeId(2), .. })));
}

#[test]
fn an_older_leader_is_not_believed() {
    let mut replica = replica();
    replica.step(told(view(2, 2), 7), Moment(0));
    assert_eq!(replica.step(told(view(1, 1), 7), Moment(1)), []);
    assert!(replica.follower().is_some());
}

#[test]
fn what_an_earlier_run_led_this_one_does_not() {
    let mut replica = replica();
    assert_eq!(replica.step(told(view(1, 1), 6), Moment(0)), []);
    assert!(replica.leader().is_none());
}
