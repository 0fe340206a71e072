//! The door: opened over listeners, drained, closed.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace_broker::{Broker, ConnectionId};
use millrace_env::{Entrance, Env, Listener};
use millrace_types::NodeId;
use millrace_types::limits::{CONNECTIONS_MAX, KAFKA_IDLE_MS_MAX};
use prometheus_client::registry::Registry;

use crate::connection::Connections;
use crate::fetch_session::SessionRoom;
use crate::frames::Budgets;
use crate::handlers::Handlers;
use crate::metrics::{Requests, Traffic};

/// How patient the door is with clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// How long a connection may be silent.
    pub idle: Duration,
    /// How long a frame that has begun to arrive may take; large ones get time for their size on top.
    pub frame: Duration,
    /// How long an answer may wait for its client to read it; large ones get time for their size on top.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        let half_a_minute = Duration::from_secs(30);
        Patience {
            idle: Duration::from_millis(KAFKA_IDLE_MS_MAX),
            frame: half_a_minute,
            answer: half_a_minute,
        }
    }
}

/// A host and a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// The endpoint that is written `broker.example.org:9092` or `[2001:db8::1]:9092`.
    #[must_use]
    pub fn read(text: &str) -> Option<Endpoint> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().ok().filter(|port| *port > 0)?;
        (!host.is_empty()).then(|| Endpoint { host: host.to_owned(), port })
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Endpoint {
        Endpoint { host: addr.ip().to_canonical().to_string(), port: addr.port() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Endpoint { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// A setting that the broker was started with, as clients are told of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerSetting {
    /// Its key.
    pub name: String,
    /// The value in force.
    pub value: String,
    /// Whether nobody has set it.
    pub is_default: bool,
    /// What it says, in a sentence.
    pub about: &'static str,
}

/// What becomes of topics that are asked for and not there, and how many partitions a topic gets that leaves it to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewTopics {
    /// Whether a topic is made when somebody asks for it (Kafka's `auto.create.topics.enable`).
    pub auto_create: bool,
    /// How many partitions it gets (Kafka's `num.partitions`).
    pub partitions: u32,
}

impl Default for NewTopics {
    fn default() -> NewTopics {
        NewTopics { auto_create: true, partitions: 1 }
    }
}

/// What a door is opened with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// This node's number.
    pub node: NodeId,
    /// What clients are told to connect to; without it, the address that they have reached us at.
    pub advertised: Option<Endpoint>,
    /// Topics that are made here.
    pub new_topics: NewTopics,
    /// What the broker was started with, for clients that ask.
    pub configs: Vec<BrokerSetting>,
    /// How patient the door is.
    pub patience: Patience,
}

/// The door for clients of Kafka, open. Dropping it leaves it open; [`KafkaDoor::drain`] closes it.
pub struct KafkaDoor {
    addrs: Vec<SocketAddr>,
    entrance: Entrance,
    requests: Requests,
}

impl KafkaDoor {
    /// Opens the door over `listeners`.
    ///
    /// # Errors
    /// A listener does not say where it listens.
    pub fn open(
        env: Env,
        broker: Arc<Broker>,
        listeners: Vec<Box<dyn Listener>>,
        settings: Settings,
    ) -> io::Result<KafkaDoor> {
        let addrs = listeners.iter().map(|listener| listener.local_addr()).collect::<io::Result<Vec<_>>>()?;
        let (entrance, requests) = (Entrance::new(&env, "kafka", CONNECTIONS_MAX), Requests::default());
        let (settings, draining) = (Arc::new(settings), entrance.draining());
        let budgets = Budgets::new(Arc::clone(broker.memory()));
        let traffic = Traffic::new(&broker, Arc::clone(&env.clock));
        let sessions = SessionRoom::new(broker.memory());
        let api = Handlers { broker, env, settings, draining, requests: requests.clone(), traffic, sessions };
        let connections = Connections { api, budgets, ending: entrance.ending(), reach: Arc::default() };
        entrance
            .accept(listeners, move |number, stream| connections.clone().serve(ConnectionId(number), stream));
        Ok(KafkaDoor { addrs, entrance, requests })
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

    /// Shows the door's counters in `registry`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.requests.register(registry);
    }

    /// Stops accepting and reading, answers the produces in flight, and closes what is left after `patience`. Returns
    /// whether everything was answered.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.entrance.drain(patience).await
    }
}

impl fmt::Debug for KafkaDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaDoor")
            .field("addrs", &self.addrs)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_is_read_is_written_the_same() {
        for text in ["broker.example.org:9092", "[2001:db8::1]:9092", "10.0.0.1:1"] {
            assert_eq!(Endpoint::read(text).unwrap().to_string(), text);
        }
        for wrong in ["", ":9092", "broker", "broker:", "broker:0", "broker:70000", "[]:9092"] {
            assert_eq!(Endpoint::read(wrong), None, "{wrong:?}");
        }
    }
}
