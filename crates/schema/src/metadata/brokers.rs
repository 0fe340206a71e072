//! The records of brokers that are fenced and unfenced (KIP-631): their runs, and the epochs of these.

use millrace_types::limits::PARTITIONS_PER_BROKER_MAX;
use millrace_types::{BrokerEpoch, DirectoryId, IncarnationId, NodeId, PartitionIndex, TopicPartition};

use super::{NEWEST, sixteen};
use crate::{Frame, FrameError, wire};

/// What the records of a broker's directory may have lost before this run of it, as far as its recovery can tell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Losses {
    /// Nothing: a clean stop, or the same boot and mount as before.
    Nothing,
    /// What was not synced: the page cache may be gone.
    Unsynced,
    /// Anything: another directory than before.
    Anything,
}

/// A run of a broker that got its epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerStarted {
    /// Its node id.
    pub node: NodeId,
    /// Given once, to this run.
    pub epoch: BrokerEpoch,
    /// Which run asked.
    pub incarnation: IncarnationId,
    /// Its data directory.
    pub directory: DirectoryId,
    /// Its gRPC address for clients, `host:port`.
    pub grpc: String,
    /// Its Kafka address for clients, `host:port`; empty if it has no such door.
    pub kafka: String,
    /// Its address for other brokers, `host:port`.
    pub internal: String,
    /// What its directory may have lost.
    pub losses: Losses,
    /// Partitions in which it lost something for certain, each once.
    pub damaged: Vec<TopicPartition>,
}

/// One run of a broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BrokerRun {
    /// Its node id.
    pub node: NodeId,
    /// Its epoch; [`BrokerEpoch::NONE`] of a broker that registered without one.
    pub epoch: BrokerEpoch,
}

impl BrokerStarted {
    pub(super) fn to_wire(&self) -> wire::BrokerStarted {
        let mut damaged: Vec<wire::PartitionsOfTopic> = Vec::new();
        for at in &self.damaged {
            let topic = bytes::Bytes::copy_from_slice(&at.topic.0);
            match damaged.last_mut() {
                Some(last) if last.topic == topic => last.partitions.push(at.partition.0),
                _ => damaged.push(wire::PartitionsOfTopic { topic, partitions: vec![at.partition.0] }),
            }
        }
        wire::BrokerStarted {
            node: self.node.0,
            epoch: self.epoch.0,
            incarnation: self.incarnation.0.to_vec().into(),
            directory_id: self.directory.0.to_vec().into(),
            grpc: self.grpc.clone(),
            kafka: self.kafka.clone(),
            internal: self.internal.clone(),
            losses: match self.losses {
                Losses::Nothing => 0,
                Losses::Unsynced => 1,
                Losses::Anything => 2,
            },
            damaged,
        }
    }

    pub(super) fn from_wire(frame: &Frame<'_>) -> Result<BrokerStarted, FrameError> {
        let message: wire::BrokerStarted = frame.message(NEWEST)?;
        if message.epoch < 1 {
            return Err(frame.invalid("epoch", format!("{}, but they count from 1", message.epoch)));
        }
        let losses = match message.losses {
            0 => Losses::Nothing,
            1 => Losses::Unsynced,
            2 => Losses::Anything,
            other => return Err(frame.invalid("losses", format!("{other}, which has no meaning"))),
        };
        let mut damaged = Vec::new();
        for of_topic in &message.damaged {
            let topic = super::topic_id(frame, &of_topic.topic)?;
            let partitions = of_topic.partitions.iter().map(|number| PartitionIndex(*number));
            damaged.extend(partitions.map(|partition| TopicPartition { topic, partition }));
        }
        if u32::try_from(damaged.len()).map_or(true, |count| count > PARTITIONS_PER_BROKER_MAX) {
            return Err(frame.invalid("damaged", format!("{} partitions", damaged.len())));
        }
        Ok(BrokerStarted {
            node: node(frame, message.node)?,
            epoch: BrokerEpoch(message.epoch),
            incarnation: IncarnationId(sixteen(frame, "incarnation", &message.incarnation)?),
            directory: DirectoryId(sixteen(frame, "directory_id", &message.directory_id)?),
            grpc: message.grpc,
            kafka: message.kafka,
            internal: message.internal,
            losses,
            damaged,
        })
    }
}

impl BrokerRun {
    pub(super) fn to_wire(self) -> wire::BrokerRun {
        wire::BrokerRun { node: self.node.0, epoch: self.epoch.0 }
    }

    pub(super) fn from_wire(frame: &Frame<'_>) -> Result<BrokerRun, FrameError> {
        let message: wire::BrokerRun = frame.message(NEWEST)?;
        let epoch = BrokerEpoch(message.epoch);
        if epoch.0 < 1 && epoch != BrokerEpoch::NONE {
            return Err(frame.invalid("epoch", format!("{epoch}, but they count from 1")));
        }
        Ok(BrokerRun { node: node(frame, message.node)?, epoch })
    }
}

pub(super) fn node(frame: &Frame<'_>, number: i32) -> Result<NodeId, FrameError> {
    if number < 0 { Err(frame.invalid("node", "negative")) } else { Ok(NodeId(number)) }
}
