//! The internal door: opened over listeners, drained, closed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace_broker::PeerService;
use millrace_env::{Entrance, Env, Listener, Tasks};
use millrace_proto::internal::internal_server::InternalServer;
use millrace_types::limits::{PEER_CONNECTIONS_MAX, PEER_MESSAGE_BYTES_MAX, PEER_PARTS_AT_ONCE_MAX};
use tokio::sync::Semaphore;
use tonic::service::Routes;

use super::connection::Connections;
use super::service::Answering;

/// The internal door, open. Dropping it leaves it open; [`InternalDoor::drain`] closes it.
#[derive(Debug)]
pub struct InternalDoor {
    addrs: Vec<SocketAddr>,
    entrance: Entrance,
}

impl InternalDoor {
    /// Opens the door over `listeners`; `service` answers. Connections are driven by the tasks of `env`, what reads logs for followers
    /// runs as `reading`. What it is asked it may be asked again, and nobody may be there any
    /// more to hear the answer: its future is dropped then.
    ///
    /// # Errors
    /// A listener does not say where it listens.
    pub fn open(
        env: &Env,
        reading: Arc<dyn Tasks>,
        service: Arc<dyn PeerService>,
        listeners: Vec<Box<dyn Listener>>,
    ) -> io::Result<InternalDoor> {
        let addrs = listeners.iter().map(|listener| listener.local_addr()).collect::<io::Result<Vec<_>>>()?;
        let entrance = Entrance::new(env, "internal", PEER_CONNECTIONS_MAX);
        let answering =
            Answering { service, parts: Arc::new(Semaphore::new(PEER_PARTS_AT_ONCE_MAX)), reading };
        let internal = InternalServer::new(answering).max_decoding_message_size(PEER_MESSAGE_BYTES_MAX);
        let connections = Connections {
            routes: Routes::new(internal).prepare(),
            clock: Arc::clone(&env.clock),
            tasks: Arc::clone(&env.tasks),
            draining: entrance.draining(),
            ending: entrance.ending(),
        };
        entrance.accept(listeners, move |number, stream| connections.clone().serve(number, stream));
        Ok(InternalDoor { addrs, entrance })
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

    /// Stops accepting, tells every broker to go away, answers what is in flight, and closes what is left after `patience`.
    /// Returns whether everything was answered.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.entrance.drain(patience).await
    }
}
