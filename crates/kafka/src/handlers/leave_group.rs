//! `LeaveGroup` (13), versions 0 to 5: members go, and the others need not wait for their sessions.
//!
//! From 3 on several at once, static ones by their lasting name alone (KIP-345). Reasons (KIP-800) are read and go nowhere.

use millrace_broker::{Committer, LeaveClassicRequest};
use millrace_kafka_wire::leave_group_request::MemberIdentity;
use millrace_kafka_wire::leave_group_response::MemberResponse;
use millrace_kafka_wire::{LeaveGroupRequest, LeaveGroupResponse, WireError};

use crate::answers::Reply;
use crate::error_map::{Fault, KafkaError};
use crate::group_parts;
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts;

/// From here on a request names several members, and each is answered.
const SEVERAL_FROM: i16 = 3;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: LeaveGroupRequest,
) -> Result<Reply, WireError> {
    let several = asked.version >= SEVERAL_FROM;
    let members = if several {
        request.members
    } else {
        vec![MemberIdentity { member_id: request.member_id, ..MemberIdentity::default() }]
    };
    let left = leave(api, caller, &request.group_id, &members).await;
    let first = match &left {
        Ok(left) => left.iter().find_map(|left| left.as_ref().err()).map(|fault| fault.error),
        Err(fault) => Some(fault.error),
    };
    api.requests.count(Operation::LeaveGroup, first);
    let response = match left {
        Ok(left) if several => {
            let one = |(who, left): (MemberIdentity, Result<(), Fault>)| MemberResponse {
                member_id: who.member_id,
                group_instance_id: who.group_instance_id,
                error_code: left.map_or_else(|fault| fault.code(), |()| 0),
                ..MemberResponse::default()
            };
            let members = members.into_iter().zip(left).map(one).collect();
            LeaveGroupResponse { members, ..LeaveGroupResponse::default() }
        }
        Ok(_) | Err(_) => LeaveGroupResponse {
            error_code: first.map_or(0, KafkaError::code),
            ..LeaveGroupResponse::default()
        },
    };
    asked.reply::<LeaveGroupRequest>(&response)
}

async fn leave(
    api: &Handlers,
    caller: &Caller,
    group: &str,
    members: &[MemberIdentity],
) -> Result<Vec<Result<(), Fault>>, Fault> {
    let group = group_parts::group(group)?;
    let (members, faults) = parts::readable(members.iter().map(leaver).collect());
    let request = LeaveClassicRequest { group, members };
    let left = api.broker.leave_classic(&caller.context, request).await.map_err(Fault::of_coordinator)?;
    Ok(faults.between(left.into_iter().map(|left| left.map_err(Fault::of_coordinator)).collect()))
}

fn leaver(who: &MemberIdentity) -> Result<Committer, Fault> {
    let instance = group_parts::instance(who.group_instance_id.as_deref())?;
    Ok(Committer { member: group_parts::member_if_any(&who.member_id)?, instance, epoch: None })
}
