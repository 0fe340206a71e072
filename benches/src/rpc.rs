//! A client of the native API with as little around it as tonic allows, so that the broker is what is measured.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use millrace_proto::v1;
use millrace_proto::v1::millrace_client::MillraceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// As large as the broker reads them: HTTP/2's default of 16 KiB costs half of the throughput.
const FRAME_BYTES: u32 = 256 * 1024;
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const MESSAGE_BYTES_MAX: usize = 80 << 20;

/// The generated client.
pub type Rpc = MillraceClient<Channel>;

/// Connects to `host:port`.
///
/// # Errors
/// It cannot be reached.
pub async fn connect(addr: &str) -> Result<Rpc> {
    let endpoint = Endpoint::from_shared(format!("http://{addr}"))?
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES);
    let channel = endpoint.connect().await.with_context(|| format!("{addr} does not answer"))?;
    Ok(MillraceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

/// A topic, by the id that it got.
///
/// # Errors
/// The broker refuses.
pub async fn create_topic(rpc: &mut Rpc, name: &str, partitions: u32) -> Result<v1::TopicRef> {
    create_topic_with(rpc, name, partitions, &[]).await
}

/// As [`create_topic`], with some of its configuration.
///
/// # Errors
/// The broker refuses.
pub async fn create_topic_with(
    rpc: &mut Rpc,
    name: &str,
    partitions: u32,
    configs: &[(&str, &str)],
) -> Result<v1::TopicRef> {
    let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let request = v1::CreateTopicRequest {
        name: name.to_owned(),
        partitions,
        replication_factor: 1,
        configs: configs.collect(),
        ..Default::default()
    };
    let topic = rpc.create_topic(request).await?.into_inner().topic.context("no topic in the answer")?;
    Ok(v1::TopicRef { name: topic.name, id: topic.id })
}

/// Deletes a topic.
///
/// # Errors
/// The broker refuses.
pub async fn delete_topic(rpc: &mut Rpc, topic: &v1::TopicRef) -> Result<()> {
    rpc.delete_topic(v1::DeleteTopicRequest { topic: Some(topic.clone()) }).await?;
    Ok(())
}

/// A request for one partition.
#[must_use]
pub fn produce_request(
    topic: &v1::TopicRef,
    partition: i32,
    data: v1::partition_produce::Data,
) -> v1::ProduceRequest {
    let part = v1::PartitionProduce {
        topic: Some(topic.clone()),
        partition,
        data: Some(data),
        ..Default::default()
    };
    v1::ProduceRequest { partitions: vec![part], ..Default::default() }
}

/// An encoded batch.
#[must_use]
pub fn encoded(batch: Bytes) -> v1::partition_produce::Data {
    v1::partition_produce::Data::Batch(batch)
}

/// Plain records with these values.
#[must_use]
pub fn plain(values: impl IntoIterator<Item = Bytes>) -> v1::partition_produce::Data {
    let records = values.into_iter().map(|value| v1::Record { value: Some(value), ..Default::default() });
    v1::partition_produce::Data::Records(v1::RecordList { records: records.collect() })
}

/// Fails if a part of a produce has failed.
///
/// # Errors
/// The first error of the answer.
pub fn check(answer: &v1::ProduceResponse) -> Result<()> {
    for part in &answer.partitions {
        ensure!(part.error.is_none(), "refused: {:?}", part.error);
    }
    Ok(())
}

/// An open produce stream with a bound on what is in flight.
#[derive(Debug)]
pub struct Pipeline {
    requests: mpsc::Sender<v1::ProduceRequest>,
    answers: Streaming<v1::ProduceResponse>,
    in_flight: usize,
    in_flight_max: usize,
}

impl Pipeline {
    /// Opens a stream.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn open(rpc: &mut Rpc, in_flight_max: usize) -> Result<Pipeline> {
        let (requests, receiver) = mpsc::channel(in_flight_max);
        let answers = rpc.produce_stream(ReceiverStream::new(receiver)).await?.into_inner();
        Ok(Pipeline { requests, answers, in_flight: 0, in_flight_max })
    }

    /// Sends a request, waiting for an answer first where too many are in flight.
    ///
    /// # Errors
    /// A request was refused, or the stream has ended.
    pub async fn send(&mut self, request: v1::ProduceRequest) -> Result<()> {
        if self.in_flight >= self.in_flight_max {
            self.answer().await?;
        }
        self.requests.send(request).await.context("the stream has ended")?;
        self.in_flight += 1;
        Ok(())
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// A request was refused, or the stream has ended.
    pub async fn answer(&mut self) -> Result<()> {
        let answer = self.answers.message().await?.context("the stream has ended")?;
        self.in_flight -= 1;
        check(&answer)
    }

    /// Waits for every answer that is due.
    ///
    /// # Errors
    /// A request was refused, or the stream has ended.
    pub async fn drain(&mut self) -> Result<()> {
        while self.in_flight > 0 {
            self.answer().await?;
        }
        Ok(())
    }
}
