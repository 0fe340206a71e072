//! Who calls the brokers of these worlds: nobody in particular, through no door.

use millrace_broker::{ConnectionId, Context, ListenerName, Principal};

/// As whom clients call.
pub(crate) fn ctx() -> Context {
    Context {
        principal: Principal::Anonymous,
        client_id: "sim".into(),
        listener: ListenerName::Grpc,
        connection: ConnectionId(1),
        deadline: None,
    }
}
