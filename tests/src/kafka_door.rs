//! The Kafka door asked directly, frame by frame: what a test says on the wire is what it means to say.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use millrace_kafka_wire::produce_request::{PartitionProduceData, TopicProduceData};
use millrace_kafka_wire::{
    ApiRequest, FetchRequest, FetchResponse, Message as _, MetadataRequest, MetadataResponse, ProduceRequest,
    Reader, RequestHeader, ResponseHeader, Uuid, fetch_request, metadata_request,
};
use millrace_record::{BatchBuilder, BatchOptions, Compression, NO_HEADERS};
use millrace_types::TimestampMs;

/// A safety net: nothing waits that long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// The versions in which [`KafkaConnection`] speaks; topics have names in them.
const PRODUCE: i16 = 9;
const FETCH: i16 = 12;
const METADATA: i16 = 12;

/// A connection that asks and waits.
#[derive(Debug)]
pub struct KafkaConnection {
    stream: TcpStream,
    correlation: i32,
}

/// A request with its header, and the length in front.
///
/// # Panics
/// When a field is set that the version cannot say.
#[must_use]
pub fn frame<R: ApiRequest>(version: i16, correlation: i32, request: &R) -> Vec<u8> {
    let header = RequestHeader {
        request_api_key: R::API_KEY,
        request_api_version: version,
        correlation_id: correlation,
        client_id: Some("millrace-tests".to_owned()),
        ..RequestHeader::default()
    };
    let mut body = header.encode(R::request_header_version(version)).expect("a header").concat();
    body.extend(
        request.encode(version).unwrap_or_else(|error| panic!("version {version}: {error}")).concat(),
    );
    framed(&body)
}

/// Bytes with their length in front.
#[must_use]
pub fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), body].concat()
}

impl KafkaConnection {
    /// Connects.
    ///
    /// # Panics
    /// When nobody accepts.
    #[must_use]
    pub fn open(address: &str) -> KafkaConnection {
        let stream = TcpStream::connect(address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        KafkaConnection { stream, correlation: 0 }
    }

    /// Asks and waits for the answer.
    ///
    /// # Panics
    /// When there is none, or it cannot be read.
    pub fn ask<R: ApiRequest>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request);
        self.receive::<R>(version)
    }

    /// Asks.
    ///
    /// # Panics
    /// When nobody reads.
    pub fn send<R: ApiRequest>(&mut self, version: i16, request: &R) {
        self.correlation += 1;
        self.stream.write_all(&frame(version, self.correlation, request)).expect("it reads");
    }

    /// Waits for the answer to what was asked last.
    ///
    /// # Panics
    /// When there is none, or it cannot be read.
    pub fn receive<R: ApiRequest>(&mut self, version: i16) -> R::Response {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("it answers");
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut body).expect("it answers whole");
        let mut reader = Reader::new(body.into());
        let header =
            ResponseHeader::read(&mut reader, R::response_header_version(version)).expect("a header");
        assert_eq!(header.correlation_id, self.correlation, "answers come in order");
        let answer = R::Response::read(&mut reader, version).expect("an answer of that version");
        reader.finish().expect("nothing behind the answer");
        answer
    }

    /// What the broker says of a topic, which is made if it is not there.
    pub fn topic_id(&mut self, topic: &str) -> Uuid {
        let wanted = metadata_request::MetadataRequestTopic {
            name: Some(topic.to_owned()),
            ..metadata_request::MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: Some(vec![wanted]),
            allow_auto_topic_creation: true,
            ..MetadataRequest::default()
        };
        let answer: MetadataResponse = self.ask(METADATA, &request);
        let found = answer.topics.first().expect("the topic that was asked for");
        assert_eq!(found.error_code, 0, "{topic}");
        found.topic_id
    }

    /// Appends a batch to partition 0: the error code and the offset.
    pub fn produce(&mut self, topic: &str, batch: &Bytes) -> (i16, i64) {
        let answer = self.ask(PRODUCE, &produce_request(PRODUCE, topic, [0; 16], batch));
        let partition = answer.responses.first().and_then(|topic| topic.partition_responses.first());
        let partition = partition.expect("the partition that was asked for");
        (partition.error_code, partition.base_offset)
    }

    /// What lies at an offset of partition 0: the error code and the batches.
    pub fn fetch(&mut self, topic: &str, offset: i64) -> (i16, Bytes) {
        let answer: FetchResponse = self.ask(FETCH, &fetch_request(FETCH, topic, [0; 16], offset));
        let partition = answer.responses.first().and_then(|topic| topic.partitions.first());
        let partition = partition.expect("the partition that was asked for");
        (partition.error_code, partition.records.clone().unwrap_or_default())
    }
}

/// A batch of one record.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn batch_of(value: &[u8], compression: Compression) -> Bytes {
    let options = BatchOptions { compression, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    let time = TimestampMs(1_700_000_000_000);
    builder.append(time, Some(b"key".as_slice()), Some(value), NO_HEADERS).expect("a record");
    builder.build().expect("a batch").into_bytes()
}

/// A produce to partition 0.
#[must_use]
pub fn produce_request(version: i16, topic: &str, id: Uuid, batch: &Bytes) -> ProduceRequest {
    let partition =
        PartitionProduceData { index: 0, records: Some(batch.clone()), ..PartitionProduceData::default() };
    let by_name = version < 13;
    let topic = TopicProduceData {
        name: if by_name { topic.to_owned() } else { String::new() },
        topic_id: if by_name { [0; 16] } else { id },
        partition_data: vec![partition],
        ..TopicProduceData::default()
    };
    ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..ProduceRequest::default()
    }
}

/// A fetch of partition 0 that does not wait.
#[must_use]
pub fn fetch_request(version: i16, topic: &str, id: Uuid, offset: i64) -> FetchRequest {
    let partition = fetch_request::FetchPartition {
        partition: 0,
        fetch_offset: offset,
        partition_max_bytes: 64 * 1024,
        ..fetch_request::FetchPartition::default()
    };
    let by_name = version < 13;
    let topic = fetch_request::FetchTopic {
        topic: if by_name { topic.to_owned() } else { String::new() },
        topic_id: if by_name { [0; 16] } else { id },
        partitions: vec![partition],
        ..fetch_request::FetchTopic::default()
    };
    let max_bytes = 64 * 1024;
    FetchRequest { max_bytes, topics: vec![topic], session_epoch: -1, ..FetchRequest::default() }
}
