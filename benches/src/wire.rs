//! A client of the Kafka protocol with nothing around it: ready-made frames over a blocking socket, so that the broker is what
//! is measured. Nothing is looked up; the topics are made through the native door.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use millrace_kafka_wire::fetch_request::{FetchPartition, FetchTopic};
use millrace_kafka_wire::produce_request::{PartitionProduceData, TopicProduceData};
use millrace_kafka_wire::{
    ApiRequest, FetchRequest, FetchResponse, Message, ProduceRequest, ProduceResponse, RequestHeader, Writer,
};

/// The last version that names topics, as the benches do.
const PRODUCE_VERSION: i16 = 12;
/// The last version that names topics.
const FETCH_VERSION: i16 = 12;
/// The length in front of a frame, and the correlation number and the tags in front of an answer.
const LENGTH_BYTES: usize = 4;
const ANSWER_HEADER_BYTES: usize = 5;
const CORRELATION: i32 = 7;
const TIMEOUT_MS: i32 = 30_000;
/// The leader has it: what `acks=1` says. It waits for the sync if the topic's sync mode does.
const ACKS_LEADER: i16 = 1;

/// A connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Wire {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn connect(addr: &str) -> Result<Wire> {
        let stream = TcpStream::connect(addr).with_context(|| format!("{addr} does not answer"))?;
        stream.set_nodelay(true)?;
        Ok(Wire { stream, answer: Vec::new() })
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The operating system's.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(frame)?)
    }

    /// Reads the next answer and tells how many bytes it has.
    ///
    /// # Errors
    /// The operating system's, also where the broker has closed the connection.
    pub fn receive(&mut self) -> Result<usize> {
        let mut length = [0; LENGTH_BYTES];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length))?;
        self.answer.resize(length, 0);
        self.stream.read_exact(&mut self.answer)?;
        Ok(length)
    }

    fn body(&self) -> Bytes {
        Bytes::copy_from_slice(self.answer.get(ANSWER_HEADER_BYTES..).unwrap_or_default())
    }

    /// Whether the answer that was just read accepts what was produced.
    ///
    /// # Errors
    /// It does not.
    pub fn check_produced(&self) -> Result<()> {
        let response = ProduceResponse::decode(self.body(), PRODUCE_VERSION)?;
        let parts = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        for part in parts {
            ensure!(part.error_code == 0, "refused: {part:?}");
        }
        Ok(())
    }

    /// The error that the answer to a fetch carries, if any, for answers that are too short to hold records.
    ///
    /// # Errors
    /// It carries one.
    pub fn check_fetched(&self) -> Result<()> {
        let response = FetchResponse::decode(self.body(), FETCH_VERSION)?;
        let parts = response.responses.iter().flat_map(|topic| &topic.partitions);
        let error = parts.map(|part| part.error_code).find(|code| *code != 0);
        ensure!(error.is_none() && response.error_code == 0, "refused: {response:?}");
        Ok(())
    }
}

fn frame<R: ApiRequest>(request: &R, version: i16) -> Result<Vec<u8>> {
    let header = RequestHeader {
        request_api_key: R::API_KEY,
        request_api_version: version,
        correlation_id: CORRELATION,
        client_id: Some("bench".to_owned()),
        ..RequestHeader::default()
    };
    let mut writer = Writer::new();
    header.write(&mut writer, R::request_header_version(version))?;
    request.write(&mut writer, version)?;
    let body = writer.into_runs().concat();
    Ok([u32::try_from(body.len())?.to_be_bytes().as_slice(), &body].concat())
}

/// One batch for one partition.
///
/// # Errors
/// More than a frame may hold.
pub fn produce_frame(topic: &str, partition: u32, batch: &Bytes) -> Result<Vec<u8>> {
    let part = PartitionProduceData {
        index: i32::try_from(partition)?,
        records: Some(batch.clone()),
        ..PartitionProduceData::default()
    };
    let topic = TopicProduceData {
        name: topic.to_owned(),
        partition_data: vec![part],
        ..TopicProduceData::default()
    };
    let request = ProduceRequest {
        acks: ACKS_LEADER,
        timeout_ms: TIMEOUT_MS,
        topic_data: vec![topic],
        ..ProduceRequest::default()
    };
    frame(&request, PRODUCE_VERSION)
}

/// A fetch of one partition from `offset` on.
///
/// # Errors
/// Numbers that the protocol cannot say.
pub fn fetch_frame(topic: &str, partition: u32, offset: u64, bytes: usize) -> Result<Vec<u8>> {
    let bytes = i32::try_from(bytes)?;
    let part = FetchPartition {
        partition: i32::try_from(partition)?,
        current_leader_epoch: -1,
        fetch_offset: i64::try_from(offset)?,
        partition_max_bytes: bytes,
        ..FetchPartition::default()
    };
    let topic = FetchTopic { topic: topic.to_owned(), partitions: vec![part], ..FetchTopic::default() };
    let request = FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: bytes,
        topics: vec![topic],
        ..FetchRequest::default()
    };
    frame(&request, FETCH_VERSION)
}
