//! Hands out producer ids (KIP-98).

use millrace_types::{ProducerEpoch, ProducerId};

/// The identity of an idempotent producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerIdentity {
    /// Never handed out before.
    pub id: ProducerId,
    /// Its epoch: 0 for a new id.
    pub epoch: ProducerEpoch,
}
