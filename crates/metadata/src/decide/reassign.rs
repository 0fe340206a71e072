//! Moving a partition to other brokers (KIP-455): grow, catch up, shrink.
//!
//! ```text
//!   replicas  1 2 3        begin   1 2 4 3 (adding 4, removing 3)     complete   1 2 4
//!   in sync   1 2 3                1 2 3   ... the leader adds 4: 1 2 3 4          1 2 4
//! ```
//! Nobody is in sync because of a reassignment: its leader says so once they have caught up. It is complete, in the
//! same change, once all new ones are in sync and at least `min.insync.replicas` stay (`partition/change.rs`). The
//! end of one begins a leader epoch: what the leader knew of a replica that was removed, and perhaps added again, is
//! forgotten with the old one.

use millrace_schema::MetadataRecord;
use millrace_types::limits::BROKERS_MAX;
use millrace_types::{ErrorCode, NodeId, TopicPartition};

use super::{CLUSTERS_SINCE, check_level, partition_of, record_of};
use crate::partition::Change;
use crate::{Image, Refusal};

/// Why a partition stays where it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReassignRefusal {
    /// It is being moved already.
    #[error("{0} is being reassigned: wait, or cancel that first")]
    UnderWay(TopicPartition),
    /// There is nothing to cancel.
    #[error("{0} is not being reassigned")]
    NotUnderWay(TopicPartition),
    /// None, too many, or one twice.
    #[error("{at} cannot lie on {count} nodes: each is named once, and there are 1 to {BROKERS_MAX}")]
    Replicas {
        /// The partition.
        at: TopicPartition,
        /// How many were named.
        count: usize,
    },
    /// The partition could never commit a record again.
    #[error("{at} would have {replicas} replicas, and min.insync.replicas is {min_insync}")]
    BelowMinInsync {
        /// The partition.
        at: TopicPartition,
        /// How many there would be.
        replicas: usize,
        /// The topic's.
        min_insync: usize,
    },
    /// Those that stay are not in sync.
    #[error("{at} would have {in_sync} replicas in sync, and min.insync.replicas is {min_insync}")]
    TooFewInSync {
        /// The partition.
        at: TopicPartition,
        /// How many would be.
        in_sync: usize,
        /// The topic's.
        min_insync: usize,
    },
}

impl ReassignRefusal {
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            ReassignRefusal::UnderWay(_) | ReassignRefusal::NotUnderWay(_) => ErrorCode::InvalidRequest,
            ReassignRefusal::Replicas { .. } | ReassignRefusal::BelowMinInsync { .. } => {
                ErrorCode::InvalidReplicationFactor
            }
            ReassignRefusal::TooFewInSync { .. } => ErrorCode::NotEnoughReplicas,
        }
    }
}

/// Begins to move a partition to these nodes, the preferred leader first.
pub(super) fn begin(
    image: &Image,
    at: TopicPartition,
    target: &[NodeId],
) -> Result<Vec<MetadataRecord>, Refusal> {
    check_level(image, CLUSTERS_SINCE)?;
    let (topic, partition) = partition_of(image, at)?;
    if partition.is_reassigned() {
        return Err(ReassignRefusal::UnderWay(at).into());
    }
    let count = target.len();
    let twice =
        target.iter().enumerate().any(|(index, node)| target.iter().skip(index + 1).any(|n| n == node));
    if count == 0 || count > BROKERS_MAX || twice {
        return Err(ReassignRefusal::Replicas { at, count }.into());
    }
    if let Some(stranger) = target.iter().find(|node| image.broker(**node).is_none()) {
        return Err(Refusal::UnknownBroker(*stranger));
    }
    let min_insync = topic.min_insync();
    if count < min_insync {
        return Err(ReassignRefusal::BelowMinInsync { at, replicas: count, min_insync }.into());
    }
    let was = &partition.replicas;
    let adding: Vec<_> = target.iter().copied().filter(|node| !was.contains(node)).collect();
    let removing: Vec<_> = was.iter().copied().filter(|node| !target.contains(node)).collect();
    let replicas = [target, &removing].concat();
    let change = Change::new(image.rules(topic), partition).replicas(replicas, adding, removing);
    Ok(record_of(at, change.finish()))
}

/// Takes a reassignment back: the partition lies where it lay before.
pub(super) fn cancel(image: &Image, at: TopicPartition) -> Result<Vec<MetadataRecord>, Refusal> {
    check_level(image, CLUSTERS_SINCE)?;
    let (topic, partition) = partition_of(image, at)?;
    if !partition.is_reassigned() {
        return Err(ReassignRefusal::NotUnderWay(at).into());
    }
    let stays = |node: &NodeId| !partition.adding.contains(node);
    let replicas: Vec<_> = partition.replicas.iter().copied().filter(stays).collect();
    let isr: Vec<_> = partition.isr.iter().copied().filter(stays).collect();
    let (in_sync, min_insync) = (isr.len(), topic.min_insync());
    // With a new replica may go what only that one holds, unless enough others are in sync.
    let complete = [&*partition.isr, &partition.elr, &partition.last_known_elr].concat();
    if in_sync < min_insync && complete.iter().any(|node| !stays(node)) {
        return Err(ReassignRefusal::TooFewInSync { at, in_sync, min_insync }.into());
    }
    let change = Change::new(image.rules(topic), partition);
    Ok(record_of(at, change.in_sync(isr).replicas(replicas, Vec::new(), Vec::new()).finish()))
}
