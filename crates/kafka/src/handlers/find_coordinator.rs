//! `FindCoordinator` (10), versions 0 to 6: who coordinates a group; several at once from version 4 on (KIP-699).
//!
//! There is one node, and it coordinates every group. Not there: transactions and share groups; the key of one is answered
//! `UNSUPPORTED_VERSION`.

use millrace_kafka_wire::find_coordinator_response::Coordinator;
use millrace_kafka_wire::{FindCoordinatorRequest, FindCoordinatorResponse, WireError};

use crate::answers::Reply;
use crate::error_map::{Fault, KafkaError};
use crate::group_parts;
use crate::handlers::{Asked, Caller, Handlers, Operation};

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
    let found: Vec<_> = keys.into_iter().map(|key| (check(kind, &key).err(), key)).collect();
    api.requests.count(
        Operation::FindCoordinator,
        found.iter().find_map(|(fault, _)| fault.as_ref()).map(|fault| fault.error),
    );
    let mut coordinators: Vec<_> =
        found.into_iter().map(|(fault, key)| to_wire(api, caller, fault, key)).collect();
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

fn check(kind: i8, key: &str) -> Result<(), Fault> {
    match kind {
        GROUP => group_parts::group(key).map(|_| ()),
        TRANSACTION => Err(Fault::new(KafkaError::UnsupportedVersion, "there are no transactions")),
        SHARE => Err(Fault::new(KafkaError::UnsupportedVersion, "there are no share groups")),
        unknown => {
            Err(Fault::new(KafkaError::InvalidRequest, format!("{unknown} is no kind of coordinator")))
        }
    }
}

fn to_wire(api: &Handlers, caller: &Caller, fault: Option<Fault>, key: String) -> Coordinator {
    match fault {
        None => Coordinator {
            key,
            node_id: api.settings.node.0,
            host: caller.advertised.host.clone(),
            port: i32::from(caller.advertised.port),
            ..Coordinator::default()
        },
        Some(fault) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: fault.code(),
            error_message: Some(fault.message),
            ..Coordinator::default()
        },
    }
}
