//! `DeleteGroup`: forgets a group that nobody is in.

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
    request: v1::DeleteGroupRequest,
) -> Result<v1::DeleteGroupResponse, Status> {
    let group = parts::group(&request.group).map_err(status_of)?;
    let (broker, context) = (Arc::clone(&api.broker), caller.context.clone());
    api.complete("delete a group", async move { broker.delete_group(&context, &group).await }).await?;
    Ok(v1::DeleteGroupResponse {})
}
