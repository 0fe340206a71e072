//! `FindCoordinator` (10), versions 0 to 6: who coordinates a group; several at once from version 4 on (KIP-699).
//!
//! That is the leader of the partition of `__consumer_offsets` that has the group; while there is none, the answer is
//! `COORDINATOR_NOT_AVAILABLE`. Not there: transactions and share groups; the key of one is answered `UNSUPPORTED_VERSION`.

use millrace_kafka_wire::find_coordinator_response::Coordinator;
use millrace_kafka_wire::{FindCoordinatorRequest, FindCoordinatorResponse, WireError};
use millrace_types::NodeId;

use crate::answers::Reply;
use crate::door::Endpoint;
use crate::error_map::{Fault, KafkaError};
use crate::group_parts;
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::served::endpoint_of;

/// From here on a request asks for several.
const SEVERAL_FROM: i16 = 4;
/// What a key is of.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

pub(super) fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: FindCoordinatorRequest,
) -> Result<Reply, WireError> {
    let several = asked.version >= SEVERAL_FROM;
    let kind = request.key_type;
    let keys = if several { request.coordinator_keys } else { vec![request.key] };
    let found: Vec<_> = keys.into_iter().map(|key| (find(api, caller, kind, &key), key)).collect();
    let error = found.iter().find_map(|(found, _)| found.as_ref().err()).map(|fault| fault.error);
    api.requests.count(Operation::FindCoordinator, error);
    let mut coordinators: Vec<_> = found.into_iter().map(|(found, key)| to_wire(found, key)).collect();
    let response = match coordinators.pop() {
        Some(only) if !several => FindCoordinatorResponse {
            error_code: only.error_code,
            error_message: only.error_message,
            node_id: only.node_id,
            host: only.host,
            port: only.port,
            ..FindCoordinatorResponse::default()
        },
        last => {
            coordinators.extend(last);
            FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() }
        }
    };
    asked.reply::<FindCoordinatorRequest>(&response)
}

fn find(api: &Handlers, caller: &Caller, kind: i8, key: &str) -> Result<(NodeId, Endpoint), Fault> {
    let group = match kind {
        GROUP => group_parts::group(key)?,
        TRANSACTION => return Err(Fault::new(KafkaError::UnsupportedVersion, "there are no transactions")),
        SHARE => return Err(Fault::new(KafkaError::UnsupportedVersion, "there are no share groups")),
        unknown => {
            let message = format!("{unknown} is no kind of coordinator");
            return Err(Fault::new(KafkaError::InvalidRequest, message));
        }
    };
    let coordinator = api.broker.coordinator_of(&group).and_then(|node| api.broker.member(node));
    let endpoint = coordinator.and_then(|broker| Some((broker.node, endpoint_of(api, caller, &broker)?)));
    endpoint.ok_or_else(|| {
        Fault::new(KafkaError::CoordinatorNotAvailable, "no broker coordinates the group at present")
    })
}

fn to_wire(found: Result<(NodeId, Endpoint), Fault>, key: String) -> Coordinator {
    match found {
        Ok((node, endpoint)) => Coordinator {
            key,
            node_id: node.0,
            host: endpoint.host,
            port: i32::from(endpoint.port),
            ..Coordinator::default()
        },
        Err(fault) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: fault.code(),
            error_message: Some(fault.message),
            ..Coordinator::default()
        },
    }
}
