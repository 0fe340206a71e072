//! A broker on a scratch directory behind a door on a free port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_broker::{Broker, BrokerConfig, GroupSettings};
use millrace_env::Env;
use millrace_grpc::{GrpcDoor, Patience};
use millrace_proto::v1;
use millrace_proto::v1::millrace_client::MillraceClient;
use millrace_types::limits::REQUEST_BYTES_MAX;
use millrace_types::{ErrorCode, NodeId};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

pub(crate) struct World {
    pub(crate) broker: Arc<Broker>,
    pub(crate) door: GrpcDoor,
    pub(crate) addr: SocketAddr,
    env: Env,
    _scratch: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> World {
        World::with(Patience::default()).await
    }

    pub(crate) async fn with(patience: Patience) -> World {
        World::start(patience, GroupSettings::default()).await
    }

    pub(crate) async fn with_groups(groups: GroupSettings) -> World {
        World::start(Patience::default(), groups).await
    }

    async fn start(patience: Patience, groups: GroupSettings) -> World {
        let (env, scratch) = (millrace_env::real::env(), tempfile::tempdir().unwrap());
        let listener = env.net.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let config = BrokerConfig {
            data_dir: scratch.path().join("data"),
            node: NodeId(1),
            memory_budget_bytes: 512 * 1024 * 1024,
            grpc_advertised: addr.to_string(),
            groups,
            cluster: None,
        };
        let broker = Broker::start(env.clone(), config).await.unwrap();
        let listeners = vec![listener];
        let door = GrpcDoor::open(env.clone(), Arc::clone(&broker), listeners, patience).await.unwrap();
        World { broker, door, addr, env, _scratch: scratch }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.addr)).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> MillraceClient<Channel> {
        MillraceClient::new(self.channel().await).max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    /// A client and a topic of one partition.
    pub(crate) async fn client_with_topic(&self, name: &str) -> MillraceClient<Channel> {
        let mut client = self.client().await;
        client
            .create_topic(v1::CreateTopicRequest { name: name.to_owned(), ..Default::default() })
            .await
            .unwrap();
        client
    }

    pub(crate) async fn dial(&self) -> Box<dyn millrace_env::NetStream> {
        self.env.net.dial(self.addr).await.unwrap()
    }

    /// Waits until no call holds memory any more.
    pub(crate) async fn until_nothing_is_held(&self) {
        while self.broker.memory().in_use() > 0 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn stop(self) {
        self.door.drain(Duration::from_secs(10)).await;
        self.broker.shut_down(Duration::from_secs(10)).await.unwrap();
    }
}

pub(crate) fn topic(name: &str) -> Option<v1::TopicRef> {
    Some(v1::TopicRef { name: name.to_owned(), id: Bytes::new() })
}

/// A produce of one plain record to partition 0.
pub(crate) fn produce(name: &str, value: &[u8]) -> v1::ProduceRequest {
    let value = Some(Bytes::copy_from_slice(value));
    let list = v1::RecordList { records: vec![v1::Record { value, ..Default::default() }] };
    let partition = v1::PartitionProduce {
        topic: topic(name),
        data: Some(v1::partition_produce::Data::Records(list)),
        ..Default::default()
    };
    v1::ProduceRequest { partitions: vec![partition], ..Default::default() }
}

/// A fetch of partition 0 from an offset.
pub(crate) fn fetch(name: &str, offset: i64, format: v1::FetchFormat) -> v1::FetchRequest {
    let partition = v1::PartitionFetch { topic: topic(name), offset, ..Default::default() };
    v1::FetchRequest { partitions: vec![partition], format: format.into(), ..Default::default() }
}

#[track_caller]
pub(crate) fn code_of(status: &Status) -> ErrorCode {
    millrace_proto::error_of(status)
        .unwrap_or_else(|| panic!("no error of ours: {status:?}"))
        .known_code()
        .unwrap()
}

pub(crate) fn code(error: Option<&v1::Error>) -> Option<ErrorCode> {
    error.map(|error| error.known_code().unwrap())
}
