//! Three brokers in one process: real logs, real quorum, and calls from one to the other that need no sockets.

mod certainty;
mod coordinators;
mod fetching;
mod mending;

use std::collections::BTreeMap;
use std::fmt;

use millrace_env::{BoxFuture, real};
use parking_lot::Mutex as Lock;

use super::*;
use crate::{
    CallError, ClusterOptions, Peer, PeerAnswer, PeerCall, PeerError, PeerService, Peers, QuorumAnswer,
    QuorumNetwork, QuorumRequest,
};

/// Who is where. Whoever is not in it cannot be reached.
#[derive(Default)]
struct Wires {
    brokers: Lock<BTreeMap<String, Arc<Broker>>>,
}

impl fmt::Debug for Wires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wires")
    }
}

impl Wires {
    fn find(&self, address: &str) -> Option<Arc<Broker>> {
        self.brokers.lock().get(address).cloned()
    }
}

impl QuorumNetwork for Wires {
    fn call(
        &self,
        to: &Peer,
        request: QuorumRequest,
        _within: Duration,
    ) -> BoxFuture<Result<QuorumAnswer, CallError>> {
        match self.find(&to.address) {
            Some(broker) => broker.answer_quorum(request),
            None => Box::pin(std::future::ready(Err(CallError::Unreachable("nobody is there".to_owned())))),
        }
    }
}

impl Peers for Wires {
    fn ask(
        &self,
        address: &str,
        call: PeerCall,
        within: Duration,
    ) -> BoxFuture<Result<PeerAnswer, PeerError>> {
        let address = address.to_owned();
        match self.find(&address) {
            Some(broker) => Box::pin(async move {
                let answer = tokio::time::timeout(within, broker.answer(call)).await;
                match answer {
                    Ok(answer) => answer.map_err(PeerError::Refused),
                    Err(_) => Err(PeerError::NoAnswer { address, why: "too late".to_owned() }),
                }
            }),
            None => {
                let why = "nobody is there".to_owned();
                Box::pin(std::future::ready(Err(PeerError::Unreachable { address, why })))
            }
        }
    }
}

struct Cluster {
    wires: Arc<Wires>,
    dir: tempfile::TempDir,
}

impl Cluster {
    fn new() -> Cluster {
        Cluster { wires: Arc::default(), dir: tempfile::tempdir().unwrap() }
    }

    async fn start(&self, node: i32, join: &[i32]) -> Arc<Broker> {
        let address = |node: &i32| format!("node-{node}");
        let peers: Arc<dyn Peers> = Arc::clone(&self.wires) as Arc<dyn Peers>;
        let options = ClusterOptions {
            peers,
            internal: address(&node),
            kafka: String::new(),
            join: join.iter().map(address).collect(),
        };
        let config = BrokerConfig {
            data_dir: self.dir.path().join(format!("data-{node}")),
            node: NodeId(node),
            grpc_advertised: format!("grpc-{node}"),
            cluster: Some(options),
            ..config()
        };
        let broker = Broker::start(real::env(), config).await.unwrap();
        self.wires.brokers.lock().insert(address(&node), Arc::clone(&broker));
        broker
    }

    /// Nodes 1, 2 and 3.
    async fn three(&self) -> [Arc<Broker>; 3] {
        let first = self.start(1, &[]).await;
        within("the first", first.joined()).await;
        let second = self.start(2, &[1]).await;
        within("the second", second.joined()).await;
        let third = self.start(3, &[1]).await;
        within("the third", third.joined()).await;
        [first, second, third]
    }

    async fn stop(&self, broker: &Broker) {
        self.wires.brokers.lock().remove(&format!("node-{}", broker.core.config.node));
        broker.shut_down(Duration::from_secs(10)).await.unwrap();
    }

    async fn stop_all(&self, brokers: &[Arc<Broker>]) {
        for broker in brokers {
            self.stop(broker).await;
        }
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, future).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

/// The node that leads partition 0.
fn leader_of(broker: &Broker, topic: &str) -> i32 {
    let image = broker.core.metadata.image();
    let topic = image.topic_by_name(&TopicName::new(topic).unwrap()).unwrap();
    topic.partition(PartitionIndex(0)).unwrap().leader.unwrap().0
}

/// Produces wherever the partition is led, until it is acknowledged.
async fn produced(brokers: &[Arc<Broker>], topic: &str, value: &str) -> Produced {
    loop {
        for broker in brokers {
            let request = produce_request(vec![plain(topic, 0, &[value], None)]);
            let answer = broker.produce(&ctx(), request).await.unwrap().acknowledged().await;
            match answer.partitions.into_iter().next().unwrap() {
                Ok(produced) => return produced,
                Err(error) => assert!(error.code.is_retriable(), "{error}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_replicate_and_one_takes_over() {
    let cluster = Cluster::new();
    let brokers = cluster.three().await;
    within("the topic", brokers[1].create_topic(&ctx(), new_topic("a", 1))).await.unwrap();
    let mut values = Vec::new();
    for number in 0..20 {
        let value = format!("before {number}");
        within("a produce", produced(&brokers, "a", &value)).await;
        values.push(value);
    }
    let leader = leader_of(&brokers[0], "a");
    let gone = usize::try_from(leader).unwrap() - 1;
    cluster.stop(&brokers[gone]).await;
    let left: Vec<Arc<Broker>> = brokers
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != gone)
        .map(|(_, broker)| Arc::clone(broker))
        .collect();
    for number in 0..20 {
        let value = format!("after {number}");
        within("a produce after the stop", produced(&left, "a", &value)).await;
        values.push(value);
    }
    let mut read = Vec::new();
    for broker in &left {
        let request = fetch_request(vec![from("a", 0, 0)], Duration::ZERO);
        if let Ok(fetched) = broker.fetch(&ctx(), request).await.unwrap().partitions.remove(0) {
            read = decoded(fetched.extents);
        }
    }
    assert_eq!(read, values);
    cluster.stop_all(&left).await;
}
