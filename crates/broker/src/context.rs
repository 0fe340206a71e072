//! Who asks, through which door, and until when.

use std::sync::Arc;

use millrace_env::Monotonic;

/// Who is asking. Until there is authentication everybody is [`Principal::Anonymous`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Principal {
    /// Nobody in particular.
    Anonymous,
}

/// The door through which a request came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ListenerName {
    /// The native door.
    Grpc,
    /// The door for clients of Kafka.
    Kafka,
}

/// Counts the connections of a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConnectionId(pub u64);

/// What every broker call takes.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who asks.
    pub principal: Principal,
    /// What the client calls itself; cut to [`millrace_types::limits::CLIENT_ID_BYTES_MAX`] by the door.
    pub client_id: Arc<str>,
    /// Through which door.
    pub listener: ListenerName,
    /// On which connection.
    pub connection: ConnectionId,
    /// When the client stops waiting.
    pub deadline: Option<Monotonic>,
}
