//! `ReassignPartitions`: begins to move partitions, or takes that back.

use std::sync::Arc;

use millrace_broker::{ApiError, Reassignment};
use millrace_proto::v1;
use millrace_types::NodeId;
use millrace_types::limits::BROKERS_MAX;
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::{error_in_answer, status_of};
use crate::parts;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::ReassignPartitionsRequest,
) -> Result<v1::ReassignPartitionsResponse, Status> {
    parts::check_count(request.partitions.len()).map_err(status_of)?;
    let wanted: Vec<_> = request.partitions.iter().map(reassignment).collect();
    let (broker, context) = (Arc::clone(&api.broker), caller.context.clone());
    let begun = api.complete("reassign partitions", async move {
        parts::ask_readable(wanted, async |wanted| broker.reassign(&context, wanted).await).await
    });
    let answers = request.partitions.into_iter().zip(begun.await?).map(|(asked, begun)| v1::Reassigned {
        topic: asked.topic,
        partition: asked.partition,
        error: begun.err().map(error_in_answer),
    });
    Ok(v1::ReassignPartitionsResponse { partitions: answers.collect() })
}

fn reassignment(wire: &v1::Reassignment) -> Result<Reassignment, ApiError> {
    let count = wire.replicas.len();
    if count > BROKERS_MAX {
        return Err(parts::invalid(format!(
            "{count} replicas are named; a cluster has {BROKERS_MAX} brokers"
        )));
    }
    Ok(Reassignment {
        topic: parts::topic(wire.topic.as_ref())?,
        partition: parts::partition(wire.partition)?,
        replicas: wire.replicas.iter().copied().map(NodeId).collect(),
    })
}
