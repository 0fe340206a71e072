//! `ElectLeader`: the preferred leader, or whoever is named, with what that may cost.

use std::sync::Arc;

use millrace_proto::v1;
use millrace_types::NodeId;
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::status_of;
use crate::parts;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::ElectLeaderRequest,
) -> Result<v1::ElectLeaderResponse, Status> {
    let topic = parts::topic(request.topic.as_ref()).map_err(status_of)?;
    let partition = parts::partition(request.partition).map_err(status_of)?;
    let lossy = request.node.map(NodeId);
    if lossy.is_some() != request.accept_loss {
        let message = match lossy {
            Some(node) => format!("to make node {node} lead may lose acknowledged records: set accept_loss"),
            None => "accept_loss goes with the node that is to lead".to_owned(),
        };
        return Err(status_of(parts::invalid(message)));
    }
    let (broker, context) = (Arc::clone(&api.broker), caller.context.clone());
    let elected = api.complete("elect a leader", async move {
        broker.elect_leader(&context, &topic, partition, lossy).await
    });
    elected.await?;
    Ok(v1::ElectLeaderResponse {})
}
