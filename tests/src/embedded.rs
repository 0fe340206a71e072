//! A broker inside the test's own process, on a scratch directory and a free port that it keeps over restarts.

use std::net::SocketAddr;

use millrace_client::{Client, ClientOptions, NewTopic};
use millrace_env::Env;
use millrace_server::config::{Key, Layers};
use millrace_server::{Exit, RunningServer, ServerConfig, start};

/// A broker. Dropping it removes its data.
#[derive(Debug)]
pub struct Embedded {
    env: Env,
    directory: tempfile::TempDir,
    grpc: SocketAddr,
    running: Option<RunningServer>,
}

impl Embedded {
    /// Starts a broker on an empty directory.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Embedded {
        let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("no scratch directory: {error}"));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let env = millrace_env::real::env();
        let mut broker = Embedded { env, directory, grpc: any, running: None };
        broker.resume().await;
        broker
    }

    /// Where its native door listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.grpc
    }

    /// Stops it cleanly.
    ///
    /// # Panics
    /// When it leaves no clean mark.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            assert_eq!(running.drain().await, Exit::Clean);
        }
    }

    /// Starts it again, on the same directory and port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn resume(&mut self) {
        let data = self.directory.path().join("data").display().to_string();
        let any = || "127.0.0.1:0".to_owned();
        let flags = [
            (Key::DataDir, data),
            (Key::Grpc, self.grpc.to_string()),
            (Key::Kafka, any()),
            (Key::Http, any()),
        ];
        let layers =
            flags.into_iter().try_fold(Layers::default(), |layers, (key, value)| layers.flag(key, value));
        let config = layers.and_then(|layers| ServerConfig::read(&layers));
        let config = config.unwrap_or_else(|error| panic!("configuration: {error}"));
        let running = start(self.env.clone(), config).await;
        let running = running.unwrap_or_else(|error| panic!("the broker does not start: {error}"));
        self.grpc = running.info().grpc.first().copied().unwrap_or(self.grpc);
        self.running = Some(running);
    }

    /// A client of `servers`, or of this broker if there are none.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn client(&self, servers: &[SocketAddr]) -> Client {
        let servers = if servers.is_empty() { &[self.grpc] } else { servers };
        let client =
            Client::connect(servers.iter().map(SocketAddr::to_string), ClientOptions::default()).await;
        client.unwrap_or_else(|error| panic!("no connection: {error}"))
    }

    /// Creates a topic.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn topic(&self, name: &str, partitions: u32) {
        let created =
            self.client(&[]).await.admin().create_topic(NewTopic::new(name).partitions(partitions)).await;
        created.unwrap_or_else(|error| panic!("topic {name}: {error}"));
    }
}
