//! `DescribeGroups` (15), versions 0 to 6: groups whose members assign each other.
//!
//! A group that the coordinator assigns is none of those, and answered like one that is not there: `GROUP_ID_NOT_FOUND` from version
//! 6 on, before that the state `Dead`. Tools then ask `ConsumerGroupDescribe`. Not there: authorized operations.

use millrace_broker::{ClassicDescription, ClassicMemberDescription, ClassicStage, GroupKind};
use millrace_kafka_wire::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use millrace_kafka_wire::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::list_groups::classic_state_name;
use crate::answers::Reply;
use crate::bill::Bill;
use crate::error_map::{Fault, KafkaError};
use crate::group_parts;
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::request_memory::{RequestMemory, Unanswered};

/// From here on it is an error that there is no such group.
const NOT_FOUND_FROM: i16 = 6;
/// What a member takes until it is answered, besides what its leader and itself have said.
const MEMBER_BYTES: usize = 1024;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: DescribeGroupsRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let mut bill = Bill::new(memory);
    let (mut groups, mut error) = (Vec::new(), None);
    for group_id in request.groups {
        let group = match describe(api, caller, &group_id).await {
            Ok(None) => {
                DescribedGroup { group_state: "Empty".to_owned(), group_id, ..DescribedGroup::default() }
            }
            Ok(Some(described)) => {
                let opaque =
                    |member: &ClassicMemberDescription| member.metadata.len() + member.assignment.len();
                bill.add(described.members.iter().map(|member| MEMBER_BYTES + opaque(member)).sum()).await?;
                to_wire(group_id, described)
            }
            Err(fault) => {
                error = error.or(Some(fault.error));
                refused(group_id, fault, asked.version)
            }
        };
        groups.push(group);
    }
    api.requests.count(Operation::DescribeGroups, error);
    let response = DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() };
    let reply = asked.reply::<DescribeGroupsRequest>(&response)?;
    bill.settle(reply.rope.len());
    Ok(reply)
}

/// `None`: it has offsets, and nobody was ever in it.
async fn describe(api: &Handlers, caller: &Caller, name: &str) -> Result<Option<ClassicDescription>, Fault> {
    let group = group_parts::group(name)?;
    let classic =
        api.broker.describe_classic(&caller.context, &group).await.map_err(Fault::of_coordinator)?;
    if classic.is_some() {
        return Ok(classic);
    }
    let described =
        api.broker.describe_group(&caller.context, &group).await.map_err(Fault::of_coordinator)?;
    match described.listing.kind {
        GroupKind::Classic | GroupKind::Offsets => Ok(None),
        GroupKind::Consumer => {
            Err(Fault::new(KafkaError::GroupIdNotFound, format!("Group {name} is not a classic group.")))
        }
    }
}

fn refused(group_id: String, fault: Fault, version: i16) -> DescribedGroup {
    let is_missing = fault.error == KafkaError::GroupIdNotFound;
    DescribedGroup {
        error_code: if is_missing && version < NOT_FOUND_FROM { 0 } else { fault.code() },
        error_message: (version >= NOT_FOUND_FROM).then_some(fault.message),
        group_id,
        group_state: if is_missing { "Dead".to_owned() } else { String::new() },
        ..DescribedGroup::default()
    }
}

fn to_wire(group_id: String, described: ClassicDescription) -> DescribedGroup {
    // While the members are being assigned, what was agreed on before counts no more.
    let is_stable = described.stage == ClassicStage::Stable;
    DescribedGroup {
        group_id,
        group_state: classic_state_name(described.stage).to_owned(),
        protocol_type: described.protocol_type,
        protocol_data: described.protocol.filter(|_| is_stable).unwrap_or_default(),
        members: described.members.into_iter().map(|member| member_to_wire(member, is_stable)).collect(),
        ..DescribedGroup::default()
    }
}

fn member_to_wire(member: ClassicMemberDescription, is_stable: bool) -> DescribedGroupMember {
    let known = DescribedGroupMember {
        member_id: member.member.to_string(),
        group_instance_id: member.instance.map(|instance| instance.to_string()),
        client_id: member.client_id,
        client_host: member.client_host,
        ..DescribedGroupMember::default()
    };
    if !is_stable {
        return known;
    }
    DescribedGroupMember { member_metadata: member.metadata, member_assignment: member.assignment, ..known }
}
