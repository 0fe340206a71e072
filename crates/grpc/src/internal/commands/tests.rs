//! Every command there and back, cut at every byte, and wrong.

use std::collections::BTreeMap;

use millrace_broker::Command::{
    AlterTopic, CancelReassignment, ConfigureTopic, CreatePartitions, DeleteTopic, DrainBroker,
    ElectPreferred, ElectUnclean, FenceBroker, RaiseFeatureLevel, RaiseLeaderEpoch, RaiseReplication,
    Reassign, RecoverLeader, RegisterBroker, RemoveBroker, TakeProducerIds, UnfenceBroker,
};
use millrace_types::{LeaderEpoch, Offset, PartitionIndex, TopicPartition};
use prost::Message;

use super::*;

pub(in crate::internal) fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic: TopicId([7; 16]), partition: PartitionIndex(partition) }
}

fn start(losses: Losses) -> StartBroker {
    StartBroker {
        node: NodeId(3),
        incarnation: IncarnationId([1; 16]),
        directory: DirectoryId([2; 16]),
        grpc: "a:1".to_owned(),
        kafka: "a:2".to_owned(),
        internal: "a:3".to_owned(),
        losses,
        damaged: BTreeSet::from([at(4), at(9)]),
    }
}

/// One of each kind, no field of it at its default where that could hide a loss.
pub(in crate::internal) fn every_command() -> Vec<Command> {
    let (id, node, epoch) = (TopicId([7; 16]), NodeId(3), BrokerEpoch(12));
    let text = |text: &str| text.to_owned();
    let configs =
        BTreeMap::from([(text("retention.ms"), text("5")), (text("cleanup.policy"), text("delete"))]);
    let topic = CreateTopic {
        id,
        name: TopicName::new("orders").unwrap(),
        partitions: Some(6),
        replication_factor: Some(3),
        configs: configs.clone(),
        owner: Owner::User,
    };
    let changes = vec![
        ConfigChange::Set { key: text("a"), value: text("1") },
        ConfigChange::Unset { key: text("b") },
        ConfigChange::Append { key: text("c"), value: text("x,y") },
        ConfigChange::Subtract { key: text("d"), value: text("z") },
    ];
    let isr = vec![InSync { node, epoch }, InSync { node: NodeId(0), epoch: BrokerEpoch::NONE }];
    let alter = AlterPartition {
        node,
        broker_epoch: epoch,
        at: at(1),
        leader_epoch: LeaderEpoch(8),
        partition_epoch: 11,
        isr,
    };
    let end = ReplicaEnd { node, epoch, leader_epoch: LeaderEpoch::NONE, end: Offset::from_count(77) };
    vec![
        Command::CreateTopic(topic.clone()),
        Command::CreateTopic(CreateTopic {
            partitions: None,
            replication_factor: None,
            configs: BTreeMap::new(),
            owner: Owner::Product,
            name: TopicName::new("__consumer_offsets").unwrap(),
            ..topic
        }),
        DeleteTopic { id },
        AlterTopic { id, changes },
        ConfigureTopic { id, configs },
        CreatePartitions { id, count: 24 },
        RegisterBroker { node, directory: DirectoryId([2; 16]), grpc: text("a:1") },
        Command::StartBroker(start(Losses::Nothing)),
        Command::StartBroker(start(Losses::Unsynced)),
        Command::StartBroker(start(Losses::Anything)),
        FenceBroker { node, epoch },
        UnfenceBroker { node, epoch, applied: 900 },
        DrainBroker { node, epoch },
        RemoveBroker { node },
        Command::AlterPartition(alter),
        RaiseLeaderEpoch { node, broker_epoch: epoch, at: at(1), above: LeaderEpoch(41) },
        ElectPreferred { at: at(1) },
        ElectUnclean { at: at(1), node },
        RecoverLeader { at: at(1), ends: vec![end, ReplicaEnd { node: NodeId(5), ..end }] },
        Reassign { at: at(1), replicas: vec![NodeId(3), NodeId(0), NodeId(1)] },
        CancelReassignment { at: at(1) },
        RaiseReplication { id },
        RaiseFeatureLevel { level: 4 },
        TakeProducerIds { node, count: 1000 },
    ]
}

#[test]
fn every_command_comes_back() {
    for told in every_command() {
        let bytes = to_command(told.clone()).encode_to_vec();
        let heard = internal::Command::decode(bytes.as_slice()).unwrap();
        assert_eq!(command(heard).unwrap(), told);
    }
}

#[test]
fn a_command_cut_anywhere_is_an_error_or_another_command() {
    for told in every_command() {
        let bytes = to_command(told.clone()).encode_to_vec();
        for length in 0..bytes.len() {
            let Ok(message) = internal::Command::decode(&bytes[..length]) else { continue };
            assert_ne!(command(message), Ok(told.clone()), "{told:?} at {length}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_named() {
    let said = |command: Wire| {
        let message = internal::Command { command: Some(command) };
        super::command(message).unwrap_err().to_string()
    };
    let run = internal::BrokerRun { node: -4, epoch: 1 };
    assert_eq!(said(Wire::FenceBroker(run)), "node: negative");
    assert_eq!(
        said(Wire::FenceBroker(internal::BrokerRun { node: 4, epoch: 0 })),
        "epoch: 0, but they count from 1"
    );
    assert_eq!(
        said(Wire::DeleteTopic(internal::TopicId { id: "short".into() })),
        "topic id: 5 bytes, not 16"
    );
    let topic = internal::CreateTopic { id: bytes_of([7; 16]), owner: 9, ..Default::default() };
    assert_eq!(said(Wire::CreateTopic(topic.clone())), "owner: 9, which has no meaning");
    let topic = internal::CreateTopic { owner: 1, name: "a/b".to_owned(), ..topic };
    assert!(said(Wire::CreateTopic(topic)).starts_with("name: "));
    assert_eq!(said(Wire::ElectUnclean(internal::ElectUnclean::default())), "partition: missing");
    assert_eq!(command(internal::Command { command: None }).unwrap_err().to_string(), "command: missing");
    let damaged = vec![to_partition(at(0)); PARTITIONS_PER_BROKER_MAX as usize + 1];
    let start = internal::StartBroker { losses: 1, damaged, ..Default::default() };
    assert_eq!(said(Wire::StartBroker(start)), "partitions: 10241, 10240 at most");
}
