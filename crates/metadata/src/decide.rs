//! Decisions: what a command becomes, given what the cluster knows. One file for each kind of decision:
//!
//! | file | decides about |
//! |---|---|
//! | `topics` | making, altering and growing topics |
//! | `place` | which brokers hold a new partition |
//! | `register` | runs of brokers and their epochs (KIP-631) |
//! | `fence` | which runs may lead and be in sync (KIP-631, KIP-841) |
//! | `alter_partition` | what a leader says of its in-sync replicas (KIP-497, KIP-903, KIP-966) |
//! | `elect` | elections that are asked for (KIP-460, KIP-966) |
//! | `reassign` | moving partitions to other brokers (KIP-455) |
//! | `raise` | more replicas for the product's own topics, as brokers join |
//!
//! What follows from a decision for a partition (who is eligible, who leads) stands in `partition/`.

use millrace_schema::{MetadataRecord, PartitionChanged, ProducerIdsTaken};
use millrace_types::{NodeId, TopicPartition};

use crate::{ApplyError, Command, FEATURE_LEVEL_NEWEST, Image, Partition, Refusal, Topic};

pub(crate) mod alter_partition;
pub(crate) mod elect;
pub(crate) mod fence;
mod place;
mod raise;
pub(crate) mod reassign;
pub(crate) mod register;
mod topics;

/// The level from which brokers have epochs and partitions change hands.
const CLUSTERS_SINCE: u32 = 3;

/// Turns a command into the records that carry it out; none at all if there is nothing to change.
///
/// # Errors
/// [`Refusal`]; nothing is to be written then.
pub fn decide(image: &Image, command: &Command) -> Result<Vec<MetadataRecord>, Refusal> {
    match command {
        Command::CreateTopic(topic) => topics::create_topic(image, topic),
        Command::DeleteTopic { id } => {
            topics::topic_of_a_user(image, *id)?;
            Ok(vec![MetadataRecord::TopicDeleted { id: *id }])
        }
        Command::AlterTopic { id, changes } => topics::alter_topic(image, *id, changes),
        Command::ConfigureTopic { id, configs } => topics::configure_topic(image, *id, configs),
        Command::CreatePartitions { id, count } => topics::create_partitions(image, *id, *count),
        Command::RegisterBroker { node, directory, grpc } => {
            register::without_epoch(image, *node, *directory, grpc)
        }
        Command::StartBroker(run) => register::start(image, run),
        Command::RemoveBroker { node } => register::remove(image, *node),
        Command::FenceBroker { node, epoch } => fence::fence(image, *node, *epoch),
        Command::UnfenceBroker { node, epoch, applied } => fence::unfence(image, *node, *epoch, *applied),
        Command::DrainBroker { node, epoch } => fence::drain(image, *node, *epoch),
        Command::AlterPartition(change) => alter_partition::decide(image, change),
        Command::RaiseLeaderEpoch { node, broker_epoch, at, above } => {
            alter_partition::raise_epoch(image, (*node, *broker_epoch), *at, *above)
        }
        Command::ElectPreferred { at } => elect::preferred(image, *at),
        Command::ElectUnclean { at, node } => elect::unclean(image, *at, *node),
        Command::RecoverLeader { at, ends } => elect::recover(image, *at, ends),
        Command::Reassign { at, replicas } => reassign::begin(image, *at, replicas),
        Command::CancelReassignment { at } => reassign::cancel(image, *at),
        Command::RaiseReplication { id } => raise::raise(image, *id),
        Command::RaiseFeatureLevel { level } => raise_feature_level(image, *level),
        Command::TakeProducerIds { node, count } => take_producer_ids(image, *node, *count),
    }
}

/// Decides commands one after the other, each on what those before it leave: all that they become can be written as
/// one, in their order, and each is answered for itself.
///
/// # Errors
/// [`ApplyError`]: what was decided does not fold, which is a bug of this crate. Nothing is to be written then.
pub fn decide_each<'a>(
    image: &Image,
    commands: impl IntoIterator<Item = &'a Command>,
) -> Result<Vec<Result<Vec<MetadataRecord>, Refusal>>, ApplyError> {
    let mut image = image.clone();
    let mut answers = Vec::new();
    for command in commands {
        let answer = decide(&image, command);
        for record in answer.iter().flatten() {
            image = image.apply(record)?;
        }
        answers.push(answer);
    }
    Ok(answers)
}

fn take_producer_ids(image: &Image, node: NodeId, count: u32) -> Result<Vec<MetadataRecord>, Refusal> {
    image.broker(node).ok_or(Refusal::UnknownBroker(node))?;
    let first = image.next_producer_id();
    // The block must end below the largest number, so that the next block has a first id.
    if count == 0 || first.0.checked_add(i64::from(count)).is_none() {
        return Err(Refusal::ProducerIds(count));
    }
    Ok(vec![MetadataRecord::ProducerIdsTaken(ProducerIdsTaken { node, first, count })])
}

fn raise_feature_level(image: &Image, level: u32) -> Result<Vec<MetadataRecord>, Refusal> {
    if level > FEATURE_LEVEL_NEWEST {
        return Err(Refusal::FeatureLevel { wanted: level, newest: FEATURE_LEVEL_NEWEST });
    }
    if level <= image.feature_level() {
        return Ok(Vec::new());
    }
    Ok(vec![MetadataRecord::FeatureLevelRaised { level }])
}

fn check_level(image: &Image, wanted: u32) -> Result<(), Refusal> {
    let found = image.feature_level();
    if found < wanted { Err(Refusal::FeatureLevelTooLow { wanted, found }) } else { Ok(()) }
}

/// A topic and a partition of it.
fn partition_of(image: &Image, at: TopicPartition) -> Result<(&Topic, &Partition), Refusal> {
    let topic = image.topic_by_id(at.topic).ok_or(Refusal::UnknownTopic(at.topic))?;
    let partition = topic.partition(at.partition).ok_or(Refusal::UnknownPartition(at))?;
    Ok((topic, partition))
}

/// The record of a change; none if it changes nothing.
fn record_of(at: TopicPartition, after: Option<Partition>) -> Vec<MetadataRecord> {
    let changed =
        |after: Partition| MetadataRecord::PartitionChanged(PartitionChanged { at, state: after.to_state() });
    after.map(changed).into_iter().collect()
}

#[cfg(test)]
mod tests;
