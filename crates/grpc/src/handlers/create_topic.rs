//! `CreateTopic`.

use std::sync::Arc;

use millrace_broker::CreateTopicRequest;
use millrace_proto::v1;
use tonic::Status;

use crate::caller::Caller;
use crate::handlers::describe_topic::topic_to_wire;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::CreateTopicRequest,
) -> Result<v1::CreateTopicResponse, Status> {
    let request = CreateTopicRequest {
        name: request.name,
        partitions: Some(request.partitions).filter(|partitions| *partitions > 0),
        replication_factor: Some(request.replication_factor).filter(|factor| *factor > 0),
        configs: request.configs.into_iter().collect(),
        validate_only: request.validate_only,
    };
    let (broker, context) = (Arc::clone(&api.broker), caller.context.clone());
    let created = api.complete("create topic", async move { broker.create_topic(&context, request).await });
    Ok(v1::CreateTopicResponse { topic: Some(topic_to_wire(created.await?)) })
}
