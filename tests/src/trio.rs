//! Three brokers of one cluster, as processes.

use std::path::Path;
use std::time::{Duration, Instant};

use millrace_client::{Client, ClientOptions, TopicDescription};

use crate::broker::{BrokerProcess, BrokerSetup};

/// A safety net, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

/// Three brokers. Killed when dropped.
#[derive(Debug)]
pub struct Trio {
    setups: Vec<BrokerSetup>,
    /// The running ones, by place: node ids begin at 1.
    brokers: Vec<Option<BrokerProcess>>,
}

impl Trio {
    /// Starts three brokers below `home`; the second and the third join the first.
    ///
    /// # Panics
    /// When one does not start.
    #[must_use]
    pub fn start(home: &Path) -> Trio {
        std::fs::create_dir_all(home).expect("a folder");
        let mut trio = Trio { setups: Vec::new(), brokers: Vec::new() };
        let mut first = None;
        for node in 1..=3 {
            let folder = home.join(format!("node-{node}"));
            let mut setup = BrokerSetup::new(&folder, &home.join(format!("node-{node}.log")));
            let mut args = vec!["--node-id".to_owned(), node.to_string()];
            args.extend(["--internal".to_owned(), "127.0.0.1:0".to_owned()]);
            if let Some(first) = &first {
                args.extend(["--join".to_owned(), String::clone(first)]);
            }
            setup.args = args;
            let broker = setup.start();
            // A broker that starts again is found where it was.
            let internal = broker.ready["internal"].as_str().expect("an address").to_owned();
            setup.args = setup.args.iter().map(|arg| arg.replace("127.0.0.1:0", &internal)).collect();
            broker.grpc().clone_into(&mut setup.grpc);
            broker.kafka().clone_into(&mut setup.kafka);
            first.get_or_insert(internal);
            trio.setups.push(setup);
            trio.brokers.push(Some(broker));
        }
        trio
    }

    /// The native doors.
    #[must_use]
    pub fn grpc(&self) -> Vec<String> {
        self.setups.iter().map(|setup| setup.grpc.clone()).collect()
    }

    /// The Kafka doors.
    #[must_use]
    pub fn kafka(&self) -> Vec<String> {
        self.setups.iter().map(|setup| setup.kafka.clone()).collect()
    }

    /// A client of all three.
    ///
    /// # Panics
    /// When none answers.
    pub async fn client(&self) -> Client {
        Client::connect(self.grpc(), ClientOptions::default()).await.expect("one of them accepts")
    }

    /// Kills a node with SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_hard(&mut self, node: i32) {
        self.place(node).take().expect("a running broker").kill_hard();
    }

    /// Asks a node to stop (SIGTERM), and waits until it has.
    ///
    /// # Panics
    /// When it does not.
    pub fn stop(&mut self, node: i32) {
        let status = self.place(node).take().expect("a running broker").stop();
        assert_eq!(status.code(), Some(0), "node {node} stops cleanly");
    }

    /// Starts a node again, where it was.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self, node: i32) {
        let index = usize::try_from(node - 1).expect("a node");
        let broker = self.setups[index].start();
        *self.place(node) = Some(broker);
    }

    /// A running node.
    ///
    /// # Panics
    /// When it does not run.
    pub fn broker(&mut self, node: i32) -> &mut BrokerProcess {
        self.place(node).as_mut().expect("a running broker")
    }

    fn place(&mut self, node: i32) -> &mut Option<BrokerProcess> {
        let index = usize::try_from(node - 1).expect("a node");
        self.brokers.get_mut(index).expect("a node")
    }
}

/// Asks for a topic until it is as wanted.
///
/// # Panics
/// When that takes too long.
pub async fn until(client: &Client, topic: &str, what: &str, is_so: impl Fn(&TopicDescription) -> bool) {
    let end = Instant::now() + PATIENCE;
    let mut last = None;
    while Instant::now() < end {
        match client.admin().describe_topic(topic).await {
            Ok(description) if is_so(&description) => return,
            other => last = Some(other),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{topic} is not {what}: {last:?}");
}
