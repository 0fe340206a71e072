//! The records of a snapshot: an image as it was, not what led to it.

use std::collections::BTreeMap;

use millrace_types::limits::PARTITIONS_PER_TOPIC_MAX;
use millrace_types::{BrokerEpoch, DirectoryId, IncarnationId, NodeId, ProducerId, TopicId, TopicName};

use super::{NEWEST, PartitionState, brokers, configs_to_wire, sixteen, topic_id};
use crate::{Frame, FrameError, wire};

/// So many records are never folded: what is above it is damage.
const VERSION_MAX: u64 = 1 << 62;

/// A topic as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicResumed {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// How many replicas a new partition gets.
    pub replication_factor: u32,
    /// Its partitions in order, one at least.
    pub partitions: Vec<PartitionState>,
    /// What it sets itself.
    pub configs: BTreeMap<String, String>,
    /// Whether its sync mode was `always` ever since it was made.
    pub always_synced: bool,
}

/// A broker as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerResumed {
    /// Its node id.
    pub node: NodeId,
    /// Its epoch; [`BrokerEpoch::NONE`] of a broker that registered without one.
    pub epoch: BrokerEpoch,
    /// Its run; `None` of a broker that registered without an epoch.
    pub incarnation: Option<IncarnationId>,
    /// Its data directory.
    pub directory: DirectoryId,
    /// Its gRPC address for clients.
    pub grpc: String,
    /// Its Kafka address for clients; may be empty.
    pub kafka: String,
    /// Its address for other brokers; may be empty.
    pub internal: String,
    /// What it may do.
    pub standing: Standing,
    /// The version of the image that its standing came with.
    pub standing_since: u64,
}

/// What a broker may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It leads and is in sync where the partitions say so.
    Active,
    /// It leads nothing any more and will be in sync with nothing: it is about to stop.
    Draining,
    /// It leads nothing and is in sync with nothing, because it was not heard of, or has only just started.
    Fenced,
}

/// What an image counts. The last record of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageResumed {
    /// How many records were folded into it.
    pub version: u64,
    /// Which record kinds and file formats may be written.
    pub feature_level: u32,
    /// The first producer id that was never handed out.
    pub next_producer_id: ProducerId,
    /// The newest broker epoch that was given; 0 for none.
    pub broker_epoch: i64,
}

impl TopicResumed {
    pub(super) fn to_wire(&self) -> wire::TopicResumed {
        wire::TopicResumed {
            id: self.id.0.to_vec().into(),
            name: self.name.as_str().to_owned(),
            replication_factor: self.replication_factor,
            partitions: self.partitions.iter().map(PartitionState::to_wire).collect(),
            configs: configs_to_wire(&self.configs),
            always_synced: self.always_synced,
        }
    }

    pub(super) fn from_wire(frame: &Frame<'_>) -> Result<TopicResumed, FrameError> {
        let message: wire::TopicResumed = frame.message(NEWEST)?;
        let name = TopicName::new(&message.name).map_err(|problem| frame.invalid("name", problem))?;
        let count = message.partitions.len();
        if !u32::try_from(count).is_ok_and(|n| (1..=PARTITIONS_PER_TOPIC_MAX).contains(&n)) {
            return Err(frame.invalid("partitions", format!("{count} of them")));
        }
        let partitions = message.partitions.iter();
        Ok(TopicResumed {
            id: topic_id(frame, &message.id)?,
            name,
            replication_factor: message.replication_factor,
            partitions: partitions
                .map(|state| PartitionState::from_wire(frame, state))
                .collect::<Result<_, _>>()?,
            configs: message.configs.into_iter().map(|config| (config.key, config.value)).collect(),
            always_synced: message.always_synced,
        })
    }
}

impl BrokerResumed {
    pub(super) fn to_wire(&self) -> wire::BrokerResumed {
        wire::BrokerResumed {
            node: self.node.0,
            epoch: self.epoch.0,
            incarnation: self.incarnation.map(|id| id.0.to_vec()).unwrap_or_default().into(),
            directory_id: self.directory.0.to_vec().into(),
            grpc: self.grpc.clone(),
            kafka: self.kafka.clone(),
            internal: self.internal.clone(),
            standing: match self.standing {
                Standing::Active => 0,
                Standing::Draining => 1,
                Standing::Fenced => 2,
            },
            standing_since: self.standing_since,
        }
    }

    pub(super) fn from_wire(frame: &Frame<'_>) -> Result<BrokerResumed, FrameError> {
        let message: wire::BrokerResumed = frame.message(NEWEST)?;
        let epoch = BrokerEpoch(message.epoch);
        let incarnation = match message.incarnation.len() {
            0 => None,
            _ => Some(IncarnationId(sixteen(frame, "incarnation", &message.incarnation)?)),
        };
        let given = epoch.0 >= 1;
        if given != incarnation.is_some() || !given && epoch != BrokerEpoch::NONE {
            return Err(frame.invalid("epoch", format!("{epoch}, or no run that it was given to")));
        }
        let standing = match message.standing {
            0 => Standing::Active,
            1 => Standing::Draining,
            2 => Standing::Fenced,
            other => return Err(frame.invalid("standing", format!("{other}, which has no meaning"))),
        };
        Ok(BrokerResumed {
            node: brokers::node(frame, message.node)?,
            epoch,
            incarnation,
            directory: DirectoryId(sixteen(frame, "directory_id", &message.directory_id)?),
            grpc: message.grpc,
            kafka: message.kafka,
            internal: message.internal,
            standing,
            standing_since: message.standing_since,
        })
    }
}

impl ImageResumed {
    pub(super) fn to_wire(self) -> wire::ImageResumed {
        wire::ImageResumed {
            version: self.version,
            feature_level: self.feature_level,
            next_producer_id: self.next_producer_id.0,
            broker_epoch: self.broker_epoch,
        }
    }

    pub(super) fn from_wire(frame: &Frame<'_>) -> Result<ImageResumed, FrameError> {
        let message: wire::ImageResumed = frame.message(NEWEST)?;
        if message.next_producer_id < 0 || message.broker_epoch < 0 {
            return Err(frame.invalid("next_producer_id", "or the broker epoch is negative"));
        }
        // It is counted on from there.
        if message.version > VERSION_MAX {
            return Err(frame.invalid("version", format!("{}, so far nobody has counted", message.version)));
        }
        Ok(ImageResumed {
            version: message.version,
            feature_level: message.feature_level,
            next_producer_id: ProducerId(message.next_producer_id),
            broker_epoch: message.broker_epoch,
        })
    }
}
