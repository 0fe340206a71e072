//! Decisions about a cluster one by one, and its invariants under random commands.

mod any_commands;
mod brokers;
mod elections;
mod in_sync;
mod moving;

use std::collections::{BTreeMap, BTreeSet};

use millrace_schema::Losses;
use millrace_types::{
    BrokerEpoch, DirectoryId, IncarnationId, LeaderEpoch, PartitionIndex, TopicId, TopicName,
};

use super::*;
use crate::{AlterPartition, CreateTopic, InSync, Owner, StartBroker};

const TOPIC: TopicId = TopicId([1; 16]);
const AT: TopicPartition = TopicPartition { topic: TOPIC, partition: PartitionIndex(0) };

fn nodes(numbers: &[i32]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

/// Decides and folds, as a driver does.
fn run(image: &Image, command: &Command) -> Result<Image, Refusal> {
    let records = decide(image, command)?;
    // Through the bytes, as the log keeps them.
    let records = records.iter().map(|record| MetadataRecord::decode(&record.encode()).unwrap());
    Ok(records.fold(image.clone(), |image, record| image.apply(&record).unwrap()))
}

/// A run of a broker, on the directory that all runs of it have.
fn start_of(node: i32, incarnation: u8) -> StartBroker {
    StartBroker {
        node: NodeId(node),
        incarnation: IncarnationId([incarnation; 16]),
        directory: DirectoryId([u8::try_from(node).unwrap(); 16]),
        grpc: format!("127.0.0.1:{}", 7000 + node),
        kafka: String::new(),
        internal: format!("127.0.0.1:{}", 7100 + node),
        losses: Losses::Nothing,
        damaged: BTreeSet::new(),
    }
}

fn start(image: &Image, node: i32, incarnation: u8) -> Image {
    run(image, &Command::StartBroker(start_of(node, incarnation))).unwrap()
}

fn epoch_of(image: &Image, node: i32) -> BrokerEpoch {
    image.broker(NodeId(node)).map_or(BrokerEpoch::NONE, |broker| broker.epoch)
}

fn fence(image: &Image, node: i32) -> Image {
    run(image, &Command::FenceBroker { node: NodeId(node), epoch: epoch_of(image, node) }).unwrap()
}

fn unfence(image: &Image, node: i32) -> Image {
    let (epoch, applied) = (epoch_of(image, node), image.version());
    run(image, &Command::UnfenceBroker { node: NodeId(node), epoch, applied }).unwrap()
}

fn drain(image: &Image, node: i32) -> Image {
    run(image, &Command::DrainBroker { node: NodeId(node), epoch: epoch_of(image, node) }).unwrap()
}

fn raised() -> Image {
    run(&Image::default(), &Command::RaiseFeatureLevel { level: FEATURE_LEVEL_NEWEST }).unwrap()
}

/// So many active brokers, from 1.
fn brokers(count: i32) -> Image {
    (1..=count).fold(raised(), |image, node| unfence(&start(&image, node, 1), node))
}

fn topic(partitions: u32, replication_factor: u32, configs: &[(&str, &str)]) -> CreateTopic {
    CreateTopic {
        id: TOPIC,
        name: TopicName::new("a").unwrap(),
        partitions: Some(partitions),
        replication_factor: Some(replication_factor),
        configs: configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        owner: Owner::User,
    }
}

/// Three active brokers with one partition on all of them, led by 1, of which two commit.
fn three() -> Image {
    run(&brokers(3), &Command::CreateTopic(topic(1, 3, &[]))).unwrap()
}

fn set_min_insync(image: &Image, min: u32) -> Image {
    let configs = BTreeMap::from([("min.insync.replicas".to_owned(), min.to_string())]);
    run(image, &Command::ConfigureTopic { id: TOPIC, configs }).unwrap()
}

fn partition(image: &Image) -> &Partition {
    image.partition(AT).unwrap()
}

/// What the leader would ask for now, to have these in sync.
fn wanted(image: &Image, isr: &[i32]) -> AlterPartition {
    let partition = partition(image);
    let node = partition.leader.unwrap();
    AlterPartition {
        node,
        broker_epoch: epoch_of(image, node.0),
        at: AT,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        isr: isr.iter().map(|node| InSync { node: NodeId(*node), epoch: epoch_of(image, *node) }).collect(),
    }
}

fn alter(image: &Image, isr: &[i32]) -> Image {
    run(image, &Command::AlterPartition(wanted(image, isr))).unwrap()
}

/// Leader, in sync, eligible, last known to be.
fn shape(image: &Image) -> (Option<i32>, Vec<i32>, Vec<i32>, Vec<i32>) {
    let partition = partition(image);
    let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
    (
        partition.leader.map(|node| node.0),
        numbers(&partition.isr),
        numbers(&partition.elr),
        numbers(&partition.last_known_elr),
    )
}
