//! Reading a partition whole through the native API, without the client library: records as the broker decodes them.

use bytes::Bytes;
use millrace_proto::v1::millrace_client::MillraceClient;
use millrace_proto::v1::{self, offset_query};
use tonic::transport::{Channel, Endpoint};

const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;
const FETCH_BYTES: u32 = 8 * 1024 * 1024;

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRecord {
    /// Its offset.
    pub offset: i64,
    /// Its time, in milliseconds.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
}

/// Asks a broker directly.
#[derive(Debug, Clone)]
pub struct Wire {
    /// The generated client.
    pub rpc: MillraceClient<Channel>,
}

/// The reference to a topic of that name.
#[must_use]
pub fn topic_named(name: &str) -> Option<v1::TopicRef> {
    Some(v1::TopicRef { name: name.to_owned(), id: Bytes::new() })
}

impl Wire {
    /// Connects.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn connect(address: &str) -> Wire {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = endpoint.connect().await.expect("it accepts");
        let rpc = MillraceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        Wire { rpc: rpc.max_encoding_message_size(ANSWER_BYTES_MAX) }
    }

    /// The log start or the high watermark of a partition.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn offset(&mut self, topic: &str, partition: i32, at: offset_query::At) -> i64 {
        let query = v1::OffsetQuery { topic: topic_named(topic), partition, at: Some(at) };
        let request = v1::ListOffsetsRequest { queries: vec![query] };
        let answer = self.rpc.list_offsets(request).await.expect("an answer").into_inner();
        let answer = answer.answers.into_iter().next().expect("one answer");
        assert_eq!(answer.error, None);
        answer.offset.expect("an offset")
    }

    /// The high watermark of a partition.
    pub async fn end(&mut self, topic: &str, partition: i32) -> i64 {
        self.offset(topic, partition, offset_query::At::Latest(offset_query::Latest {})).await
    }

    /// Every record from `from` to the high watermark as it stands now.
    ///
    /// # Panics
    /// When the broker refuses, or answers nothing though there is something.
    pub async fn records(&mut self, topic: &str, partition: i32, from: i64) -> Vec<ReadRecord> {
        let end = self.end(topic, partition).await;
        let mut records = Vec::new();
        let mut next = from;
        while next < end {
            let fetched = self.fetch(topic, partition, next, end).await;
            assert!(fetched.next_offset > next, "{topic}-{partition}: nothing at {next}, the end is {end}");
            next = fetched.next_offset;
            records.extend(fetched.records.into_iter().map(|record| ReadRecord {
                offset: record.offset,
                timestamp: record.timestamp_ms.unwrap_or(-1),
                key: record.key,
                value: record.value,
            }));
        }
        records
    }

    async fn fetch(&mut self, topic: &str, partition: i32, from: i64, end: i64) -> v1::PartitionFetched {
        let wanted = v1::PartitionFetch {
            topic: topic_named(topic),
            partition,
            offset: from,
            end_offset: Some(end),
            ..Default::default()
        };
        let request = v1::FetchRequest {
            partitions: vec![wanted],
            max_bytes: FETCH_BYTES,
            min_bytes: 0,
            max_wait_ms: 0,
            isolation: v1::Isolation::Committed.into(),
            format: v1::FetchFormat::Records.into(),
        };
        let answer = self.rpc.fetch(request).await.expect("an answer").into_inner();
        let fetched = answer.partitions.into_iter().next().expect("one answer");
        assert_eq!(fetched.error, None, "{topic}-{partition} at {from}");
        fetched
    }
}
