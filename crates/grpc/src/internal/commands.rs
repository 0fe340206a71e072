//! What brokers propose, as messages.

use std::collections::BTreeSet;

use millrace_broker::{
    AlterPartition, Command, ConfigChange, CreateTopic, InSync, Losses, Owner, ReplicaEnd, StartBroker,
};
use millrace_proto::internal;
use millrace_proto::internal::command::Command as Wire;
use millrace_proto::internal::config_change::Change;
use millrace_types::limits::PARTITIONS_PER_BROKER_MAX;
use millrace_types::{BrokerEpoch, DirectoryId, IncarnationId, NodeId, TopicId, TopicName};

use super::calls::too_many;
use super::wire::{
    Malformed, broker_epoch, bytes_of, leader_epoch, node, offset, partition, sixteen, to_partition,
};

pub(super) fn to_command(command: Command) -> internal::Command {
    let command = match command {
        Command::CreateTopic(topic) => Wire::CreateTopic(to_create_topic(topic)),
        Command::DeleteTopic { id } => Wire::DeleteTopic(to_topic(id)),
        Command::AlterTopic { id, changes } => Wire::AlterTopic(internal::AlterTopic {
            id: bytes_of(id.0),
            changes: changes.into_iter().map(to_change).collect(),
        }),
        Command::ConfigureTopic { id, configs } => {
            Wire::ConfigureTopic(internal::ConfigureTopic { id: bytes_of(id.0), configs })
        }
        Command::CreatePartitions { id, count } => {
            Wire::CreatePartitions(internal::CreatePartitions { id: bytes_of(id.0), count })
        }
        Command::RegisterBroker { node, directory, grpc } => {
            let directory = bytes_of(directory.0);
            Wire::RegisterBroker(internal::RegisterBroker { node: node.0, directory, grpc })
        }
        Command::StartBroker(start) => Wire::StartBroker(to_start_broker(start)),
        Command::FenceBroker { node, epoch } => Wire::FenceBroker(to_run(node, epoch)),
        Command::UnfenceBroker { node, epoch, applied } => {
            Wire::UnfenceBroker(internal::UnfenceBroker { node: node.0, epoch: epoch.0, applied })
        }
        Command::DrainBroker { node, epoch } => Wire::DrainBroker(to_run(node, epoch)),
        Command::RemoveBroker { node } => Wire::RemoveBroker(node.0),
        Command::AlterPartition(alter) => Wire::AlterPartition(internal::AlterPartition {
            node: alter.node.0,
            broker_epoch: alter.broker_epoch.0,
            at: Some(to_partition(alter.at)),
            leader_epoch: alter.leader_epoch.0,
            partition_epoch: alter.partition_epoch,
            isr: alter.isr.iter().map(|one| to_run(one.node, one.epoch)).collect(),
        }),
        Command::RaiseLeaderEpoch { node, broker_epoch, at, above } => {
            Wire::RaiseLeaderEpoch(internal::RaiseLeaderEpoch {
                node: node.0,
                broker_epoch: broker_epoch.0,
                at: Some(to_partition(at)),
                above: above.0,
            })
        }
        Command::ElectPreferred { at } => Wire::ElectPreferred(to_partition(at)),
        Command::ElectUnclean { at, node } => {
            Wire::ElectUnclean(internal::ElectUnclean { at: Some(to_partition(at)), node: node.0 })
        }
        Command::RecoverLeader { at, ends } => Wire::RecoverLeader(internal::RecoverLeader {
            at: Some(to_partition(at)),
            ends: ends.into_iter().map(to_end).collect(),
        }),
        Command::Reassign { at, replicas } => Wire::Reassign(internal::Reassign {
            at: Some(to_partition(at)),
            replicas: replicas.iter().map(|node| node.0).collect(),
        }),
        Command::CancelReassignment { at } => Wire::CancelReassignment(to_partition(at)),
        Command::RaiseReplication { id } => Wire::RaiseReplication(to_topic(id)),
        Command::RaiseFeatureLevel { level } => Wire::RaiseFeatureLevel(level),
        Command::TakeProducerIds { node, count } => {
            Wire::TakeProducerIds(internal::TakeProducerIds { node: node.0, count })
        }
    };
    internal::Command { command: Some(command) }
}

pub(super) fn command(message: internal::Command) -> Result<Command, Malformed> {
    Ok(match message.command.ok_or(Malformed::missing("command"))? {
        Wire::CreateTopic(topic) => Command::CreateTopic(create_topic(topic)?),
        Wire::DeleteTopic(topic_id) => Command::DeleteTopic { id: topic(&topic_id.id)? },
        Wire::AlterTopic(alter) => Command::AlterTopic {
            id: topic(&alter.id)?,
            changes: alter.changes.into_iter().map(change).collect::<Result<_, _>>()?,
        },
        Wire::ConfigureTopic(message) => {
            Command::ConfigureTopic { id: topic(&message.id)?, configs: message.configs }
        }
        Wire::CreatePartitions(create) => {
            Command::CreatePartitions { id: topic(&create.id)?, count: create.count }
        }
        Wire::RegisterBroker(broker) => Command::RegisterBroker {
            node: node("node", broker.node)?,
            directory: DirectoryId(sixteen("directory", &broker.directory)?),
            grpc: broker.grpc,
        },
        Wire::StartBroker(start) => Command::StartBroker(start_broker(start)?),
        Wire::FenceBroker(message) => {
            let InSync { node, epoch } = run(message)?;
            Command::FenceBroker { node, epoch }
        }
        Wire::UnfenceBroker(unfence) => Command::UnfenceBroker {
            node: node("node", unfence.node)?,
            epoch: broker_epoch("epoch", unfence.epoch)?,
            applied: unfence.applied,
        },
        Wire::DrainBroker(message) => {
            let InSync { node, epoch } = run(message)?;
            Command::DrainBroker { node, epoch }
        }
        Wire::RemoveBroker(number) => Command::RemoveBroker { node: node("node", number)? },
        Wire::AlterPartition(alter) => Command::AlterPartition(alter_partition(alter)?),
        Wire::RaiseLeaderEpoch(raise) => Command::RaiseLeaderEpoch {
            node: node("node", raise.node)?,
            broker_epoch: broker_epoch("broker_epoch", raise.broker_epoch)?,
            at: partition(raise.at)?,
            above: leader_epoch("above", raise.above)?,
        },
        Wire::ElectPreferred(at) => Command::ElectPreferred { at: partition(Some(at))? },
        Wire::ElectUnclean(elect) => {
            Command::ElectUnclean { at: partition(elect.at)?, node: node("node", elect.node)? }
        }
        Wire::RecoverLeader(recover) => Command::RecoverLeader {
            at: partition(recover.at)?,
            ends: recover.ends.into_iter().map(end).collect::<Result<_, _>>()?,
        },
        Wire::Reassign(reassign) => Command::Reassign {
            at: partition(reassign.at)?,
            replicas: reassign
                .replicas
                .into_iter()
                .map(|number| node("replicas", number))
                .collect::<Result<_, _>>()?,
        },
        Wire::CancelReassignment(at) => Command::CancelReassignment { at: partition(Some(at))? },
        Wire::RaiseReplication(topic_id) => Command::RaiseReplication { id: topic(&topic_id.id)? },
        Wire::RaiseFeatureLevel(level) => Command::RaiseFeatureLevel { level },
        Wire::TakeProducerIds(take) => {
            Command::TakeProducerIds { node: node("node", take.node)?, count: take.count }
        }
    })
}

fn to_topic(id: TopicId) -> internal::TopicId {
    internal::TopicId { id: bytes_of(id.0) }
}

fn topic(bytes: &[u8]) -> Result<TopicId, Malformed> {
    sixteen("topic id", bytes).map(TopicId)
}

fn to_run(node: NodeId, epoch: BrokerEpoch) -> internal::BrokerRun {
    internal::BrokerRun { node: node.0, epoch: epoch.0 }
}

fn run(message: internal::BrokerRun) -> Result<InSync, Malformed> {
    Ok(InSync { node: node("node", message.node)?, epoch: broker_epoch("epoch", message.epoch)? })
}

fn to_create_topic(topic: CreateTopic) -> internal::CreateTopic {
    let owner = match topic.owner {
        Owner::User => internal::Owner::User,
        Owner::Product => internal::Owner::Product,
    };
    internal::CreateTopic {
        id: bytes_of(topic.id.0),
        name: topic.name.to_string(),
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        configs: topic.configs,
        owner: owner.into(),
    }
}

fn create_topic(message: internal::CreateTopic) -> Result<CreateTopic, Malformed> {
    let owner = match internal::Owner::try_from(message.owner) {
        Ok(internal::Owner::User) => Owner::User,
        Ok(internal::Owner::Product) => Owner::Product,
        Ok(internal::Owner::Unspecified) | Err(_) => {
            return Err(Malformed::new("owner", format!("{}, which has no meaning", message.owner)));
        }
    };
    Ok(CreateTopic {
        id: topic(&message.id)?,
        name: TopicName::new(&message.name).map_err(|error| Malformed::new("name", error))?,
        partitions: message.partitions,
        replication_factor: message.replication_factor,
        configs: message.configs,
        owner,
    })
}

fn to_change(change: ConfigChange) -> internal::ConfigChange {
    let (key, change) = match change {
        ConfigChange::Set { key, value } => (key, Change::Set(value)),
        ConfigChange::Unset { key } => (key, Change::Unset(true)),
        ConfigChange::Append { key, value } => (key, Change::Append(value)),
        ConfigChange::Subtract { key, value } => (key, Change::Subtract(value)),
    };
    internal::ConfigChange { key, change: Some(change) }
}

fn change(message: internal::ConfigChange) -> Result<ConfigChange, Malformed> {
    let key = message.key;
    Ok(match message.change.ok_or(Malformed::missing("change"))? {
        Change::Set(value) => ConfigChange::Set { key, value },
        Change::Unset(true) => ConfigChange::Unset { key },
        Change::Unset(false) => return Err(Malformed::new("unset", "false")),
        Change::Append(value) => ConfigChange::Append { key, value },
        Change::Subtract(value) => ConfigChange::Subtract { key, value },
    })
}

fn to_start_broker(start: StartBroker) -> internal::StartBroker {
    let losses = match start.losses {
        Losses::Nothing => internal::Losses::Nothing,
        Losses::Unsynced => internal::Losses::Unsynced,
        Losses::Anything => internal::Losses::Anything,
    };
    internal::StartBroker {
        node: start.node.0,
        incarnation: bytes_of(start.incarnation.0),
        directory: bytes_of(start.directory.0),
        grpc: start.grpc,
        kafka: start.kafka,
        internal: start.internal,
        losses: losses.into(),
        damaged: start.damaged.into_iter().map(to_partition).collect(),
    }
}

fn start_broker(message: internal::StartBroker) -> Result<StartBroker, Malformed> {
    let losses = match internal::Losses::try_from(message.losses) {
        Ok(internal::Losses::Nothing) => Losses::Nothing,
        Ok(internal::Losses::Unsynced) => Losses::Unsynced,
        Ok(internal::Losses::Anything) => Losses::Anything,
        Ok(internal::Losses::Unspecified) | Err(_) => {
            return Err(Malformed::new("losses", format!("{}, which has no meaning", message.losses)));
        }
    };
    let (count, max) = (message.damaged.len(), PARTITIONS_PER_BROKER_MAX as usize);
    if count > max {
        return Err(too_many(count, max));
    }
    let damaged = message.damaged.into_iter().map(|at| partition(Some(at)));
    Ok(StartBroker {
        node: node("node", message.node)?,
        incarnation: IncarnationId(sixteen("incarnation", &message.incarnation)?),
        directory: DirectoryId(sixteen("directory", &message.directory)?),
        grpc: message.grpc,
        kafka: message.kafka,
        internal: message.internal,
        losses,
        damaged: damaged.collect::<Result<BTreeSet<_>, _>>()?,
    })
}

fn alter_partition(message: internal::AlterPartition) -> Result<AlterPartition, Malformed> {
    Ok(AlterPartition {
        node: node("node", message.node)?,
        broker_epoch: broker_epoch("broker_epoch", message.broker_epoch)?,
        at: partition(message.at)?,
        leader_epoch: leader_epoch("leader_epoch", message.leader_epoch)?,
        partition_epoch: message.partition_epoch,
        isr: message.isr.into_iter().map(run).collect::<Result<_, _>>()?,
    })
}

fn to_end(end: ReplicaEnd) -> internal::ReplicaEnd {
    internal::ReplicaEnd {
        node: end.node.0,
        epoch: end.epoch.0,
        leader_epoch: end.leader_epoch.0,
        end: end.end.get(),
    }
}

fn end(message: internal::ReplicaEnd) -> Result<ReplicaEnd, Malformed> {
    Ok(ReplicaEnd {
        node: node("node", message.node)?,
        epoch: broker_epoch("epoch", message.epoch)?,
        leader_epoch: leader_epoch("leader_epoch", message.leader_epoch)?,
        end: offset("end", message.end)?,
    })
}

#[cfg(test)]
pub(in crate::internal) mod tests;
