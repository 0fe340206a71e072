//! `DescribeGroup`: who is in a group, what each owns, and what each is to own.

use millrace_broker::GroupMemberDescription;
use millrace_proto::v1;
use tonic::Status;

use super::list_groups::listing_to_wire;
use crate::caller::Caller;
use crate::error_map::status_of;
use crate::group_parts::{partitions_to_wire, subscription_to_wire};
use crate::parts;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::DescribeGroupRequest,
) -> Result<v1::DescribeGroupResponse, Status> {
    let group = parts::group(&request.group).map_err(status_of)?;
    let described = api.broker.describe_group(&caller.context, &group).await.map_err(status_of)?;
    let answer = v1::DescribeGroupResponse {
        listing: Some(listing_to_wire(&described.listing)),
        epoch: described.epoch.0,
        assignor: described.assignor,
        members: described.members.into_iter().map(member_to_wire).collect(),
    };
    api.pay_for(caller, &answer).await?;
    Ok(answer)
}

fn member_to_wire(member: GroupMemberDescription) -> v1::GroupMember {
    let GroupMemberDescription { member, profile, epoch, owned, revoking, target } = member;
    v1::GroupMember {
        member: member.to_string(),
        instance: profile.instance.map(|instance| instance.to_string()),
        rack: profile.rack.map(|rack| rack.to_string()),
        epoch: epoch.0,
        subscription: Some(subscription_to_wire(&profile.subscription)),
        client_id: profile.client_id,
        client_host: profile.client_host,
        owned: partitions_to_wire(owned),
        revoking: partitions_to_wire(revoking),
        target: partitions_to_wire(target),
    }
}
