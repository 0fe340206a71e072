//! The broker that an exam is about.
//!
//! With `MILLRACE_EXAM_BOOTSTRAP=HOST:PORT` it is whoever listens there, such as Apache Kafka: an exam that its own broker does not
//! pass says nothing about ours. What only works on a process of ours (a kill) is then left out.

use std::time::Duration;

use tempfile::TempDir;

use crate::broker::{BrokerProcess, BrokerSetup};

/// The variable that names another broker.
const FOREIGN: &str = "MILLRACE_EXAM_BOOTSTRAP";

/// A broker of ours with a directory of its own, or a foreign one.
#[derive(Debug)]
pub struct Judged {
    _home: TempDir,
    setup: BrokerSetup,
    ours: Option<BrokerProcess>,
    bootstrap: String,
}

impl Judged {
    /// Starts it, with more arguments to `serve`, if it is ours.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(more: &[&str]) -> Judged {
        Judged::start_at("127.0.0.1:0", more)
    }

    /// The same with a door for Kafka's clients at this address.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_at(kafka: &str, more: &[&str]) -> Judged {
        let home = TempDir::new().expect("a directory");
        let mut setup = BrokerSetup::new(&home.path().join("data"), &home.path().join("log"));
        kafka.clone_into(&mut setup.kafka);
        setup.args.extend(more.iter().map(|word| (*word).to_owned()));
        if let Ok(bootstrap) = std::env::var(FOREIGN) {
            return Judged { _home: home, setup, ours: None, bootstrap };
        }
        let broker = setup.start();
        broker.grpc().clone_into(&mut setup.grpc);
        broker.kafka().clone_into(&mut setup.kafka);
        let bootstrap = broker.kafka().to_owned();
        Judged { _home: home, setup, ours: Some(broker), bootstrap }
    }

    /// Where Kafka clients find it, `host:port`.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Whether it is not ours.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.ours.is_none()
    }

    /// Until when that is so; of ours, whether it is so now: what it has acknowledged it also tells. Kafka's brokers hear of a change
    /// a little later than it is acknowledged.
    pub fn soon(&self, mut is_so: impl FnMut() -> bool) -> bool {
        let tries = if self.is_foreign() { 100 } else { 1 };
        (0..tries).any(|again| {
            if again > 0 {
                std::thread::sleep(Duration::from_millis(50));
            }
            is_so()
        })
    }

    /// A name for what this run makes there: a foreign broker may have seen runs before.
    #[must_use]
    pub fn name(&self, suite: &str) -> String {
        match self.ours {
            Some(_) => suite.to_owned(),
            None => format!("{suite}-{}", std::process::id()),
        }
    }

    /// Kills it with SIGKILL and starts it again where it was; a foreign one goes on.
    pub fn kill_and_start(&mut self) {
        if let Some(broker) = &mut self.ours {
            broker.kill_hard();
            *broker = self.setup.start();
        }
    }

    /// Stops it.
    ///
    /// # Panics
    /// When it does not stop cleanly.
    pub fn stop(mut self) {
        if let Some(broker) = &mut self.ours {
            assert_eq!(broker.stop().code(), Some(0), "it stops cleanly");
        }
    }
}
