//! Makes a node no broker of the cluster any more. It has stopped and holds nothing; the quorum takes its vote by itself.

use std::sync::Arc;

use millrace_metadata::Command;
use millrace_types::NodeId;

use crate::admission::{Operation, Resource};
use crate::core::Core;
use crate::io_pool::to_its_end;
use crate::{ApiError, Context};

impl Core {
    pub(crate) async fn remove_broker(self: &Arc<Self>, ctx: &Context, node: NodeId) -> Result<(), ApiError> {
        let in_flight = self.admission.admit(ctx, Operation::RemoveBroker, Resource::Cluster)?;
        let core = Arc::clone(self);
        let remove = async move {
            let _in_flight = in_flight;
            core.metadata.propose(&Command::RemoveBroker { node }).await.map(|_records| ())
        };
        to_its_end(&self.env, "remove a broker", Box::pin(remove)).await
    }
}
