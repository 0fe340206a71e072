//! `DeleteTopic`.

use std::sync::Arc;

use millrace_proto::v1;
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::status_of;
use crate::parts;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::DeleteTopicRequest,
) -> Result<v1::DeleteTopicResponse, Status> {
    let topic = parts::topic(request.topic.as_ref()).map_err(status_of)?;
    let (broker, context) = (Arc::clone(&api.broker), caller.context.clone());
    api.complete("delete topic", async move { broker.delete_topic(&context, topic).await }).await?;
    Ok(v1::DeleteTopicResponse {})
}
