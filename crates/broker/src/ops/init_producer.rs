//! Hands out producer ids (KIP-98).

use std::sync::Arc;

use millrace_types::{ProducerEpoch, ProducerId};

use crate::admission::{Operation, Resource};
use crate::core::Core;
use crate::io_pool::to_its_end;
use crate::{ApiError, Context};

/// The identity of an idempotent producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerIdentity {
    /// Never handed out before.
    pub id: ProducerId,
    /// Its epoch: 0 for a new id.
    pub epoch: ProducerEpoch,
}

impl Core {
    pub(crate) async fn init_producer(self: &Arc<Self>, ctx: &Context) -> Result<ProducerIdentity, ApiError> {
        let in_flight = self.admission.admit(ctx, Operation::InitProducer, Resource::Cluster)?;
        let core = Arc::clone(self);
        let take = async move {
            let _in_flight = in_flight;
            core.producer_ids.take(core.config.node, &core.metadata).await
        };
        let id = to_its_end(&self.env, "init producer", Box::pin(take)).await?;
        Ok(ProducerIdentity { id, epoch: ProducerEpoch(0) })
    }
}
