//! `RemoveBroker`.

use std::sync::Arc;

use millrace_proto::v1;
use millrace_types::NodeId;
use tonic::Status;

use crate::caller::Caller;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::RemoveBrokerRequest,
) -> Result<v1::RemoveBrokerResponse, Status> {
    let (broker, context) = (Arc::clone(&api.broker), caller.context.clone());
    let node = NodeId(request.node);
    api.complete("remove a broker", async move { broker.remove_broker(&context, node).await }).await?;
    Ok(v1::RemoveBrokerResponse {})
}
