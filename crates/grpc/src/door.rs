//! The door: opened over listeners, drained, closed.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace_broker::{Broker, ConnectionId, MemoryBudget};
use millrace_env::{Entrance, Env, Listener};
use millrace_proto::v1::millrace_server::MillraceServer;
use millrace_types::limits::{CONNECTIONS_MAX, MEMBER_MESSAGES_BYTES_MAX, REQUEST_BYTES_MAX};
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::call::Calls;
use crate::connection::Connections;
use crate::request_body::Admission;
use crate::route::METHODS;
use crate::service::Api;
use crate::windows::Windows;

/// How patient the door is with clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// How long a new connection may take to say that it speaks HTTP/2.
    pub preface: Duration,
    /// How long a message that has begun to arrive may stand still; large ones get time for their size on top.
    pub message: Duration,
    /// How long an answer may wait for its client to read it; large ones get time for their size on top.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        let (preface, half_a_minute) = (Duration::from_secs(10), Duration::from_secs(30));
        Patience { preface, message: half_a_minute, answer: half_a_minute }
    }
}

/// Why a door did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A listener does not say where it listens.
    #[error("listener: {0}")]
    Listener(#[from] io::Error),
    /// The descriptors that are compiled in cannot be served.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The native door, open. Dropping it leaves it open; [`GrpcDoor::drain`] closes it.
pub struct GrpcDoor {
    addrs: Vec<SocketAddr>,
    entrance: Entrance,
    health: HealthReporter,
}

impl GrpcDoor {
    /// Opens the door over `listeners`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        env: Env,
        broker: Arc<Broker>,
        listeners: Vec<Box<dyn Listener>>,
        patience: Patience,
    ) -> Result<GrpcDoor, OpenError> {
        let addrs = listeners.iter().map(|listener| listener.local_addr()).collect::<io::Result<Vec<_>>>()?;
        let entrance = Entrance::new(&env, "grpc", CONNECTIONS_MAX);
        let draining = entrance.draining();
        let admission = Admission {
            budget: Arc::clone(broker.memory()),
            members: MemoryBudget::new(MEMBER_MESSAGES_BYTES_MAX),
            clock: Arc::clone(&env.clock),
            message_patience: patience.message,
        };
        let metrics = broker.door_metrics("grpc", METHODS);
        let windows_bytes = u32::try_from(broker.unasked_bytes()).unwrap_or(u32::MAX);
        let api = Api { broker, env: env.clone(), draining: draining.clone() };
        let (health, routes) = routes(api).await?;
        let calls =
            Calls { routes, admission, clock: Arc::clone(&env.clock), draining: draining.clone(), metrics };
        let connections = Connections {
            calls: Arc::new(calls),
            clock: Arc::clone(&env.clock),
            tasks: Arc::clone(&env.tasks),
            windows: Windows::new(windows_bytes),
            preface_patience: patience.preface,
            answer_patience: patience.answer,
            draining,
            ending: entrance.ending(),
        };
        entrance
            .accept(listeners, move |number, stream| connections.clone().serve(ConnectionId(number), stream));
        Ok(GrpcDoor { addrs, entrance, health })
    }

    /// Where it listens.
    #[must_use]
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.entrance.connections()
    }

    /// Tells health checks that no new requests should come.
    pub async fn announce_draining(&self) {
        self.health.set_service_status("", ServingStatus::NotServing).await;
        self.health.set_not_serving::<MillraceServer<Api>>().await;
    }

    /// Stops accepting, tells every client to go away, answers what is in flight, and closes what is left after
    /// `patience`. Returns whether everything was answered.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.announce_draining().await;
        self.entrance.drain(patience).await
    }
}

impl fmt::Debug for GrpcDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcDoor")
            .field("addrs", &self.addrs)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

/// The services of the door: ours, health, and reflection in both of its versions.
async fn routes(api: Api) -> Result<(HealthReporter, Routes), OpenError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", ServingStatus::Serving).await;
    health.set_serving::<MillraceServer<Api>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(millrace_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let millrace = MillraceServer::new(api).max_decoding_message_size(REQUEST_BYTES_MAX);
    let routes = Routes::new(millrace)
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .prepare();
    Ok((health, routes))
}
