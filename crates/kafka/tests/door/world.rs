//! A broker on a scratch directory behind a door on a free port, and a client that speaks in frames.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millrace_broker::{Broker, BrokerConfig, ConnectionId, Context, GroupSettings, ListenerName, Principal};
use millrace_env::{Env, NetStream};
use millrace_kafka::{KafkaDoor, NewTopics, Patience, Settings};
use millrace_kafka_wire::fetch_request::{FetchPartition, FetchTopic};
use millrace_kafka_wire::fetch_response::PartitionData;
use millrace_kafka_wire::metadata_request::MetadataRequestTopic;
use millrace_kafka_wire::metadata_response::MetadataResponseTopic;
use millrace_kafka_wire::produce_request::{PartitionProduceData, TopicProduceData};
use millrace_kafka_wire::produce_response::PartitionProduceResponse;
use millrace_kafka_wire::{
    ApiRequest, FetchRequest, Message, MetadataRequest, ProduceRequest, Reader, RequestHeader,
    ResponseHeader, Writer,
};
use millrace_record::{BatchBuilder, BatchOptions, Compression, NO_HEADERS, ProducerStamp, split_batches};
use millrace_types::{NodeId, TimestampMs};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) struct World {
    pub(crate) broker: Arc<Broker>,
    pub(crate) door: KafkaDoor,
    pub(crate) addr: SocketAddr,
    env: Env,
    scratch: Arc<tempfile::TempDir>,
}

/// Somebody who asks the broker itself.
pub(crate) fn context() -> Context {
    Context {
        principal: Principal::Anonymous,
        client_id: "test".into(),
        listener: ListenerName::Kafka,
        connection: ConnectionId(0),
        deadline: None,
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        node: NodeId(1),
        advertised: None,
        new_topics: NewTopics::default(),
        configs: Vec::new(),
        patience: Patience::default(),
    }
}

impl World {
    pub(crate) async fn new() -> World {
        World::with(settings()).await
    }

    pub(crate) async fn with(settings: Settings) -> World {
        World::on(millrace_env::real::env(), settings).await
    }

    pub(crate) async fn on(env: Env, settings: Settings) -> World {
        let scratch = Arc::new(tempfile::tempdir().unwrap());
        World::over(scratch, env, settings, GroupSettings::default()).await
    }

    /// With groups that are run by these settings.
    pub(crate) async fn with_groups(groups: GroupSettings) -> World {
        let scratch = Arc::new(tempfile::tempdir().unwrap());
        World::over(scratch, millrace_env::real::env(), settings(), groups).await
    }

    /// Stops and starts again on the same data.
    pub(crate) async fn restart(self, groups: GroupSettings) -> World {
        let (scratch, env) = (Arc::clone(&self.scratch), self.env.clone());
        self.stop().await;
        World::over(scratch, env, settings(), groups).await
    }

    async fn over(
        scratch: Arc<tempfile::TempDir>,
        env: Env,
        settings: Settings,
        groups: GroupSettings,
    ) -> World {
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
        let door = KafkaDoor::open(env.clone(), Arc::clone(&broker), vec![listener], settings).unwrap();
        World { broker, door, addr, env, scratch }
    }

    pub(crate) async fn client(&self) -> Client {
        Client { stream: self.env.net.dial(self.addr).await.unwrap(), correlation: 7 }
    }

    /// One more door to the same broker, which listens there, and a client that has come through it.
    pub(crate) async fn another_door(&self, addr: &str) -> (KafkaDoor, Client) {
        let listener = self.env.net.listen(addr.parse().unwrap()).await.unwrap();
        let door =
            KafkaDoor::open(self.env.clone(), Arc::clone(&self.broker), vec![listener], settings()).unwrap();
        let stream = self.env.net.dial(door.addrs()[0]).await.unwrap();
        (door, Client { stream, correlation: 7 })
    }

    /// Waits until no request holds memory any more.
    pub(crate) async fn until_nothing_is_held(&self) {
        while self.broker.memory().in_use() > 0 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn stop(self) {
        self.door.drain(Duration::from_secs(60)).await;
        assert_eq!(self.broker.memory().in_use(), 0, "memory is held by nobody");
        self.broker.shut_down(Duration::from_secs(60)).await.unwrap();
    }
}

pub(crate) struct Client {
    pub(crate) stream: Box<dyn NetStream>,
    correlation: i32,
}

/// A request in its frame.
pub(crate) fn frame<R: ApiRequest>(correlation_id: i32, version: i16, request: &R) -> Bytes {
    let header = RequestHeader {
        request_api_key: R::API_KEY,
        request_api_version: version,
        correlation_id,
        client_id: Some("test".to_owned()),
        ..RequestHeader::default()
    };
    let mut writer = Writer::new();
    header.write(&mut writer, R::request_header_version(version)).unwrap();
    request.write(&mut writer, version).unwrap();
    framed(&writer.into_runs().concat())
}

/// Bytes with their length in front.
pub(crate) fn framed(body: &[u8]) -> Bytes {
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame.into()
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame, without its length; `None` if the door has closed.
    pub(crate) async fn receive(&mut self) -> Option<Bytes> {
        let length = self.stream.read_u32().await.ok()?;
        let mut body = BytesMut::zeroed(length as usize);
        self.stream.read_exact(&mut body).await.unwrap();
        Some(body.freeze())
    }

    pub(crate) async fn ask<R: ApiRequest>(&mut self, version: i16, request: &R) {
        self.correlation += 1;
        let frame = frame(self.correlation, version, request);
        self.send(&frame).await;
    }

    /// Takes the next answer apart: its correlation id and its body.
    pub(crate) async fn answer<R: ApiRequest>(&mut self, version: i16) -> (i32, R::Response) {
        let body = self.receive().await.unwrap();
        let mut reader = Reader::new(body);
        let header = ResponseHeader::read(&mut reader, R::response_header_version(version)).unwrap();
        let response = R::Response::read(&mut reader, version).unwrap();
        reader.finish().unwrap();
        (header.correlation_id, response)
    }

    pub(crate) async fn call<R: ApiRequest>(&mut self, version: i16, request: &R) -> R::Response {
        self.ask(version, request).await;
        let (correlation, response) = self.answer::<R>(version).await;
        assert_eq!(correlation, self.correlation);
        response
    }

    /// Asks for a topic, which makes it.
    pub(crate) async fn topic(&mut self, name: &str) -> MetadataResponseTopic {
        let mut response = self.call(12, &metadata(&[name])).await;
        response.topics.remove(0)
    }

    /// Produces to partition 0 of one topic.
    pub(crate) async fn produce(&mut self, name: &str, records: Bytes) -> PartitionProduceResponse {
        let mut response = self.call(9, &produce(name, records)).await;
        response.responses.remove(0).partition_responses.remove(0)
    }

    /// Reads partition 0 of one topic.
    pub(crate) async fn fetch(&mut self, name: &str, offset: i64) -> PartitionData {
        let mut response = self.call(12, &fetch(name, offset)).await;
        assert_eq!((response.error_code, response.session_id), (0, 0));
        response.responses.remove(0).partitions.remove(0)
    }

    /// Waits until the door closes.
    pub(crate) async fn closed(&mut self) {
        let mut left = Vec::new();
        // A reset is a way to close.
        let _either_way = self.stream.read_to_end(&mut left).await;
        assert_eq!(left, b"", "nothing is answered before the close");
    }
}

pub(crate) fn metadata(names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic {
        name: Some((*name).to_owned()),
        ..MetadataRequestTopic::default()
    };
    MetadataRequest { topics: Some(names.iter().map(topic).collect()), ..MetadataRequest::default() }
}

pub(crate) fn produce(name: &str, records: Bytes) -> ProduceRequest {
    let partition = PartitionProduceData { index: 0, records: Some(records), ..Default::default() };
    let topic =
        TopicProduceData { name: name.to_owned(), partition_data: vec![partition], ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
}

pub(crate) fn fetch(name: &str, offset: i64) -> FetchRequest {
    let partition = FetchPartition {
        partition: 0,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = FetchTopic { topic: name.to_owned(), partitions: vec![partition], ..Default::default() };
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 1 << 24,
        topics: vec![topic],
        ..Default::default()
    }
}

/// A batch as a client makes it.
pub(crate) fn batch(values: &[&[u8]]) -> Bytes {
    build(values, Compression::None, None)
}

pub(crate) fn build(values: &[&[u8]], compression: Compression, producer: Option<ProducerStamp>) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    if let Some(producer) = producer {
        builder.set_producer(producer);
    }
    for value in values {
        builder.append(TimestampMs(1_700_000_000_000), None, Some(value), NO_HEADERS).unwrap();
    }
    builder.build().unwrap().into_bytes()
}

/// The value of every record in what a fetch answered.
pub(crate) fn values(fetched: &PartitionData) -> Vec<Bytes> {
    let records = fetched.records.clone().unwrap_or_default();
    let batches = split_batches(records).map(|batch| batch.unwrap());
    let records = batches.flat_map(|batch| batch.records().unwrap());
    records.map(|record| record.unwrap().value.unwrap()).collect()
}
