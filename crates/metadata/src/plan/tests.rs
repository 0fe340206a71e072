//! What moves, and what does not.

use std::collections::BTreeSet;

use millrace_schema::{Losses, MetadataRecord};
use millrace_types::{DirectoryId, IncarnationId};

use super::*;
use crate::{Command, CreateTopic, FEATURE_LEVEL_NEWEST, Owner, StartBroker, decide};

fn run(image: &Image, command: &Command) -> Image {
    let records: Vec<MetadataRecord> = decide(image, command).unwrap();
    records.iter().fold(image.clone(), |image, record| image.apply(record).unwrap())
}

fn with_broker(image: &Image, number: i32) -> Image {
    let node = NodeId(number);
    let start = StartBroker {
        node,
        incarnation: IncarnationId([1; 16]),
        directory: DirectoryId([u8::try_from(number).unwrap(); 16]),
        grpc: String::new(),
        kafka: String::new(),
        internal: format!("127.0.0.1:{number}"),
        losses: Losses::Nothing,
        damaged: BTreeSet::new(),
    };
    let image = run(image, &Command::StartBroker(start));
    let (epoch, applied) = (image.broker(node).unwrap().epoch, image.version());
    run(&image, &Command::UnfenceBroker { node, epoch, applied })
}

fn fence(image: &Image, number: i32) -> Image {
    let node = NodeId(number);
    run(image, &Command::FenceBroker { node, epoch: image.broker(node).unwrap().epoch })
}

fn brokers(count: i32) -> Image {
    let raised = run(&Image::default(), &Command::RaiseFeatureLevel { level: FEATURE_LEVEL_NEWEST });
    (1..=count).fold(raised, |image, number| with_broker(&image, number))
}

fn with_topic(image: &Image, number: u8, partitions: u32, replicas: u32) -> Image {
    let topic = CreateTopic {
        id: TopicId([number; 16]),
        name: TopicName::new(&format!("topic-{number}")).unwrap(),
        partitions: Some(partitions),
        replication_factor: Some(replicas),
        configs: BTreeMap::new(),
        owner: Owner::User,
    };
    run(image, &Command::CreateTopic(topic))
}

/// Carries a plan out: moves begin, and every leader says that all are in sync.
fn carried_out(image: &Image, moves: &[Move]) -> Image {
    let mut image = image.clone();
    for Move { at, to, .. } in moves {
        image = run(&image, &Command::Reassign { at: *at, replicas: to.clone() });
        let partition = image.partition(*at).unwrap().clone();
        if !partition.is_reassigned() {
            continue;
        }
        let leader = partition.leader.unwrap();
        let epoch = |node: NodeId| image.broker(node).unwrap().epoch;
        let isr = partition.replicas.iter().filter(|node| image.broker(**node).unwrap().is_active());
        let wanted = crate::AlterPartition {
            node: leader,
            broker_epoch: epoch(leader),
            at: *at,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            isr: isr.map(|node| crate::InSync { node: *node, epoch: epoch(*node) }).collect(),
        };
        image = run(&image, &Command::AlterPartition(wanted));
        assert_eq!(*image.partition(*at).unwrap().replicas, **to);
    }
    image
}

fn loads(image: &Image) -> Vec<(usize, usize)> {
    let draft = Draft::of(image, image.partitions());
    draft.loads.values().map(|load| (load.replicas, load.first)).collect()
}

#[test]
fn a_broker_that_comes_gets_its_share_and_nothing_else_moves() {
    let image = with_broker(&with_topic(&with_topic(&brokers(3), 1, 8, 3), 2, 4, 3), 4);
    assert_eq!(loads(&image), [(12, 4), (12, 4), (12, 4), (0, 0)]);
    let moves = plan_addition(&image, NodeId(4)).unwrap();
    assert_eq!(moves.len(), 9, "a quarter of 36 replicas");
    for Move { from, to, .. } in &moves {
        assert_eq!(to.iter().filter(|node| !from.contains(node)).collect::<Vec<_>>(), [&NodeId(4)]);
    }
    let image = carried_out(&image, &moves);
    assert_eq!(loads(&image), [(9, 3), (9, 3), (9, 3), (9, 3)]);
    assert_eq!(plan_addition(&image, NodeId(4)).unwrap(), [], "it has its share");
}

#[test]
fn shares_are_equal_but_for_one_whatever_the_numbers() {
    for (count, partitions, replicas) in [(1, 7, 1), (2, 5, 2), (3, 10, 2), (5, 23, 3), (3, 1, 3)] {
        let new = count + 1;
        let image = with_broker(&with_topic(&brokers(count), 1, partitions, replicas), new);
        let moves = plan_addition(&image, NodeId(new)).unwrap();
        let image = carried_out(&image, &moves);
        let loads = loads(&image);
        let spread = |of: fn(&(usize, usize)) -> usize| {
            loads.iter().map(of).max().unwrap() - loads.iter().map(of).min().unwrap()
        };
        assert!(spread(|load| load.0) <= 1, "{count} {partitions} {replicas}: {loads:?}");
    }
}

#[test]
fn a_broker_that_goes_leaves_nothing_behind() {
    let image = with_topic(&brokers(4), 1, 12, 3);
    let moves = plan_removal(&image, NodeId(2)).unwrap();
    assert_eq!(moves.len(), 9);
    let image = carried_out(&image, &moves);
    let loads = loads(&image);
    assert_eq!(loads[1], (0, 0));
    assert_eq!([loads[0], loads[2], loads[3]], [(12, 4), (12, 4), (12, 4)]);
    assert_eq!(plan_removal(&image, NodeId(2)).unwrap(), []);
    let image = fence(&image, 2);
    let image = run(&image, &Command::RemoveBroker { node: NodeId(2) });
    assert_eq!(image.broker(NodeId(2)), None);
}

#[test]
fn a_broker_that_is_gone_for_good_is_replaced() {
    let image = with_broker(&fence(&with_topic(&brokers(3), 1, 6, 3), 3), 4);
    let moves = plan_removal(&image, NodeId(3)).unwrap();
    assert_eq!(moves.len(), 6);
    let image = carried_out(&image, &moves);
    assert_eq!(loads(&image)[2], (0, 0));
}

#[test]
fn where_there_is_nobody_else_it_is_refused() {
    let image = with_topic(&brokers(3), 1, 6, 3);
    let refused = plan_removal(&image, NodeId(3)).unwrap_err();
    assert!(matches!(&refused, Refusal::Plan(PlanRefusal::NowhereElse { replicas: 3, .. })), "{refused}");
    let away = fence(&with_broker(&image, 4), 4);
    assert!(plan_removal(&away, NodeId(3)).is_err(), "the fourth is not active");
    assert_eq!(plan_addition(&away, NodeId(4)), Err(PlanRefusal::NotActive(NodeId(4)).into()));
    assert_eq!(plan_addition(&image, NodeId(9)), Err(Refusal::UnknownBroker(NodeId(9))));
}

#[test]
fn what_is_under_way_is_not_planned_again() {
    let image = with_broker(&with_topic(&brokers(3), 1, 6, 3), 4);
    let moves = plan_removal(&image, NodeId(3)).unwrap();
    let first = &moves[0];
    let image = run(&image, &Command::Reassign { at: first.at, replicas: first.to.clone() });
    assert_eq!(plan_removal(&image, NodeId(3)).unwrap(), moves[1..], "it is on its way");
    assert_eq!(plan_removal(&image, NodeId(4)), Err(PlanRefusal::UnderWay(first.at).into()));
    let added = plan_addition(&image, NodeId(4)).unwrap();
    assert!(added.iter().all(|planned| planned.at != first.at));
}
