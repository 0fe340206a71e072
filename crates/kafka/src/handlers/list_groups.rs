//! `ListGroups` (16), versions 0 to 5: every group, by state from version 4 on (KIP-518) and by type from version 5 on (KIP-848).
//!
//! Who joined by the native door or by KIP-848 makes a group `consumer`; whose members assign themselves, and what has nothing but
//! offsets, is `classic`, as in Kafka.

use std::collections::BTreeMap;

use millrace_broker::{ApiError, ClassicListing, ClassicStage, GroupKind, GroupListing, GroupStage};
use millrace_kafka_wire::list_groups_response::ListedGroup;
use millrace_kafka_wire::{ListGroupsRequest, ListGroupsResponse};
use millrace_types::GroupId;

use crate::answers::Reply;
use crate::bill::Bill;
use crate::error_map::Fault;
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::request_memory::{RequestMemory, Unanswered};

/// What a group takes until it is answered.
const GROUP_BYTES: usize = 512;

/// A group as it is listed.
struct Listed {
    group: GroupId,
    protocol_type: String,
    state: &'static str,
    kind: &'static str,
}

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: ListGroupsRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let mut bill = Bill::new(memory);
    let listed = list(api, caller).await.map_err(Fault::of_coordinator);
    api.requests.count(Operation::ListGroups, listed.as_ref().err().map(|fault| fault.error));
    let response = match listed {
        Ok(groups) => {
            bill.add(groups.len() * GROUP_BYTES).await?;
            let groups = groups.into_iter().filter(|group| is_wanted(group, &request)).map(to_wire);
            ListGroupsResponse { groups: groups.collect(), ..ListGroupsResponse::default() }
        }
        Err(fault) => ListGroupsResponse { error_code: fault.code(), ..ListGroupsResponse::default() },
    };
    let reply = asked.reply::<ListGroupsRequest>(&response)?;
    bill.settle(reply.rope.len());
    Ok(reply)
}

/// Every group, by name. Of classic groups it is known here what those are who wait for the next generation.
async fn list(api: &Handlers, caller: &Caller) -> Result<Vec<Listed>, ApiError> {
    let groups = api.broker.list_groups(&caller.context).await?.into_iter();
    let classics = api.broker.list_classic(&caller.context).await?.into_iter().map(Listed::classic);
    let listed = groups.filter(|group| group.kind != GroupKind::Classic).map(Listed::of).chain(classics);
    // One that nothing is written down of yet is among the offsets too.
    let by_name: BTreeMap<GroupId, Listed> = listed.map(|group| (group.group.clone(), group)).collect();
    Ok(by_name.into_values().collect())
}

impl Listed {
    fn of(group: GroupListing) -> Listed {
        let state = state_name(group.stage);
        let (kind, protocol_type) = match group.kind {
            GroupKind::Consumer => ("consumer", "consumer"),
            GroupKind::Classic | GroupKind::Offsets => ("classic", ""),
        };
        Listed { group: group.group, protocol_type: protocol_type.to_owned(), state, kind }
    }

    fn classic(group: ClassicListing) -> Listed {
        let state = classic_state_name(group.stage);
        Listed { group: group.group, protocol_type: group.protocol_type, state, kind: "classic" }
    }
}

fn is_wanted(group: &Listed, request: &ListGroupsRequest) -> bool {
    let among = |filter: &[String], word: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(word))
    };
    among(&request.states_filter, group.state) && among(&request.types_filter, group.kind)
}

fn to_wire(group: Listed) -> ListedGroup {
    ListedGroup {
        group_state: group.state.to_owned(),
        group_type: group.kind.to_owned(),
        group_id: group.group.to_string(),
        protocol_type: group.protocol_type,
        ..ListedGroup::default()
    }
}

/// What Kafka calls the state of a group that the coordinator assigns.
pub(super) fn state_name(stage: GroupStage) -> &'static str {
    match stage {
        GroupStage::Empty => "Empty",
        GroupStage::Stable => "Stable",
        GroupStage::Reconciling => "Reconciling",
    }
}

/// What Kafka calls the state of a group whose members assign each other.
pub(super) fn classic_state_name(stage: ClassicStage) -> &'static str {
    match stage {
        ClassicStage::Empty => "Empty",
        ClassicStage::Joining => "PreparingRebalance",
        ClassicStage::Syncing => "CompletingRebalance",
        ClassicStage::Stable => "Stable",
    }
}
