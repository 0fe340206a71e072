//! `DeleteGroups` (42), versions 0 to 2: forgets groups that nobody is in, and what they have committed.

use millrace_kafka_wire::delete_groups_response::DeletableGroupResult;
use millrace_kafka_wire::{DeleteGroupsRequest, DeleteGroupsResponse, WireError};

use crate::answers::Reply;
use crate::error_map::Fault;
use crate::group_parts;
use crate::handlers::{Asked, Caller, Handlers, Operation};

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: DeleteGroupsRequest,
) -> Result<Reply, WireError> {
    let (mut results, mut error) = (Vec::with_capacity(request.groups_names.len()), None);
    for group_id in request.groups_names {
        let deleted = delete(api, caller, &group_id).await;
        error = error.or(deleted.as_ref().err().map(|fault| fault.error));
        let error_code = deleted.map_or_else(|fault| fault.code(), |()| 0);
        results.push(DeletableGroupResult { group_id, error_code, ..DeletableGroupResult::default() });
    }
    api.requests.count(Operation::DeleteGroups, error);
    let response = DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() };
    asked.reply::<DeleteGroupsRequest>(&response)
}

async fn delete(api: &Handlers, caller: &Caller, group: &str) -> Result<(), Fault> {
    let group = group_parts::group(group)?;
    api.broker.delete_group(&caller.context, &group).await.map_err(Fault::of_coordinator)
}
