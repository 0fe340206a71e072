//! `ListGroups`: every group that somebody is in or that has committed something.

use millrace_broker::{GroupKind, GroupListing, GroupStage};
use millrace_proto::v1;
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::status_of;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    _request: v1::ListGroupsRequest,
) -> Result<v1::ListGroupsResponse, Status> {
    let groups = api.broker.list_groups(&caller.context).await.map_err(status_of)?;
    let answer = v1::ListGroupsResponse { groups: groups.iter().map(listing_to_wire).collect() };
    api.pay_for(caller, &answer).await?;
    Ok(answer)
}

pub(crate) fn listing_to_wire(listing: &GroupListing) -> v1::GroupListing {
    let kind = match listing.kind {
        GroupKind::Offsets => v1::GroupKind::Offsets,
        GroupKind::Consumer => v1::GroupKind::Consumer,
        GroupKind::Classic => v1::GroupKind::Classic,
    };
    let stage = match listing.stage {
        GroupStage::Empty => v1::GroupStage::Empty,
        GroupStage::Reconciling => v1::GroupStage::Reconciling,
        GroupStage::Stable => v1::GroupStage::Stable,
    };
    v1::GroupListing {
        group: listing.group.to_string(),
        kind: kind.into(),
        stage: stage.into(),
        members: u32::try_from(listing.members).unwrap_or(u32::MAX),
    }
}
