//! Which runs of brokers may lead and be in sync (KIP-631, KIP-841).
//!
//! A run that was not heard of is *fenced*: one record, from which the fold takes it out of every in-sync set and
//! gives what it led to others. It is *unfenced* once it has applied its own registration, or what fenced it. A run
//! that is about to stop is *draining*: it hands over in the same way, while it still answers.

use millrace_schema::{BrokerRun, MetadataRecord};
use millrace_types::{BrokerEpoch, NodeId};

use super::{CLUSTERS_SINCE, check_level};
use crate::{Broker, Image, Refusal, Standing};

/// Why the standing of a broker stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StandingRefusal {
    /// Another run of the broker has come since.
    #[error("node {node} runs under broker epoch {current}, not {given}")]
    StaleBrokerEpoch {
        /// The node.
        node: NodeId,
        /// The epoch that was named.
        given: BrokerEpoch,
        /// The one that is known.
        current: BrokerEpoch,
    },
    /// It has not applied enough of the metadata.
    #[error("node {node} has applied metadata up to version {applied}; it needs {needed}")]
    Behind {
        /// The node.
        node: NodeId,
        /// How far it is.
        applied: u64,
        /// How far it must be.
        needed: u64,
    },
    /// It is about to stop.
    #[error("node {0} is draining")]
    Draining(NodeId),
}

/// Takes a run out of everything.
pub(super) fn fence(image: &Image, node: NodeId, epoch: BrokerEpoch) -> Result<Vec<MetadataRecord>, Refusal> {
    Ok(match run(image, node, epoch)?.standing {
        Standing::Fenced => Vec::new(),
        Standing::Active | Standing::Draining => {
            vec![MetadataRecord::BrokerFenced(BrokerRun { node, epoch })]
        }
    })
}

/// Lets a run lead and be in sync. `applied` is the version of the image that it has.
pub(super) fn unfence(
    image: &Image,
    node: NodeId,
    epoch: BrokerEpoch,
    applied: u64,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let broker = run(image, node, epoch)?;
    let needed = broker.standing_since;
    match broker.standing {
        Standing::Active => Ok(Vec::new()),
        Standing::Draining => Err(StandingRefusal::Draining(node).into()),
        Standing::Fenced if applied < needed => Err(StandingRefusal::Behind { node, applied, needed }.into()),
        Standing::Fenced => Ok(vec![MetadataRecord::BrokerUnfenced(BrokerRun { node, epoch })]),
    }
}

/// Takes what a run leads from it before it stops.
pub(super) fn drain(image: &Image, node: NodeId, epoch: BrokerEpoch) -> Result<Vec<MetadataRecord>, Refusal> {
    Ok(match run(image, node, epoch)?.standing {
        Standing::Active => vec![MetadataRecord::BrokerDraining(BrokerRun { node, epoch })],
        Standing::Draining | Standing::Fenced => Vec::new(),
    })
}

fn run(image: &Image, node: NodeId, given: BrokerEpoch) -> Result<&Broker, Refusal> {
    check_level(image, CLUSTERS_SINCE)?;
    let broker = image.broker(node).ok_or(Refusal::UnknownBroker(node))?;
    let current = broker.epoch;
    if current == given {
        Ok(broker)
    } else {
        Err(StandingRefusal::StaleBrokerEpoch { node, given, current }.into())
    }
}
