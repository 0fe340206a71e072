//! `InitProducer`: a producer id. Transactional ids come with transactions.

use std::sync::Arc;

use millrace_proto::v1;
use tonic::Status;

use crate::caller::Caller;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    _request: v1::InitProducerRequest,
) -> Result<v1::InitProducerResponse, Status> {
    let (broker, context) = (Arc::clone(&api.broker), caller.context.clone());
    let identity = api.complete("init producer", async move { broker.init_producer(&context).await }).await?;
    Ok(v1::InitProducerResponse { producer_id: identity.id.0, producer_epoch: i32::from(identity.epoch.0) })
}
