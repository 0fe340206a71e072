//! End to end through gRPC: a real `millrace serve` as a child process, sync.mode `always` unless the title says otherwise,
//! against two floors of the same run: a raw server (threads, frames over TCP, append, `fdatasync`) and a bare tonic server that stores nothing.
//!
//! Processor time is that of the server alone. The client is the generated one on one thread; it shares the cores.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use millrace_benches::barerpc::BareRpc;
use millrace_benches::child::Broker;
use millrace_benches::contest::{Arena, Side};
use millrace_benches::options::Options;
use millrace_benches::rawserver::{self, Mode, RawServer};
use millrace_benches::rpc::{self, Pipeline, Rpc};
use millrace_benches::sample::{Column, Done, Sample, Whose, latencies, measure, nanos_since};
use millrace_benches::store::RawFile;
use millrace_benches::{records, role};
use millrace_proto::v1;
use millrace_proto::v1::partition_produce::Data;
use tempfile::TempDir;
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pings of one round.
const PINGS: u64 = 2000;
/// Bytes that one throughput round sends.
const ROUND_BYTES: usize = 256 << 20;
/// Plain records that one round sends.
const ROUND_RECORDS: usize = 800_000;
/// Encoded batches that one round sends, if they are small.
const ROUND_REQUESTS_MAX: usize = 20_000;
const RECORDS_PER_REQUEST: usize = 100;
const REQUESTS_IN_FLIGHT: usize = 16;
/// How long the closed loop of many clients goes on.
const CROWD_ROUND: Duration = Duration::from_secs(1);
/// Readers that fetch side by side, each its own partition.
const READERS: usize = 2;
const FETCH_PARTITION_BYTES: usize = 192 << 20;

/// What is produced in encoded batches.
#[derive(Clone, Copy)]
struct Load {
    sync_mode: &'static str,
    partitions: u32,
    /// Of a batch, roughly.
    bytes: usize,
}

struct Stage {
    runtime: Runtime,
    broker: Broker,
    broker_rpc: Rpc,
    bare: BareRpc,
    bare_rpc: Rpc,
    raw: RawServer,
    scratch: TempDir,
}

impl Stage {
    fn set(options: &Options) -> Result<Stage> {
        let scratch = options.scratch()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let broker = Broker::start(&scratch.path().join("data"))?;
        let bare = BareRpc::start()?;
        let raw = RawServer::start(scratch.path())?;
        let broker_rpc = runtime.block_on(rpc::connect(&broker.grpc))?;
        let bare_rpc = runtime.block_on(rpc::connect(&bare.addr))?;
        Ok(Stage { runtime, broker, broker_rpc, bare, bare_rpc, raw, scratch })
    }

    /// The client goes first: a drain waits for calls that are open, and ours are as long as nobody drives them.
    fn end(self) -> Result<()> {
        let Stage { runtime, broker, broker_rpc, .. } = self;
        drop(broker_rpc);
        drop(runtime);
        broker.process.stop()
    }

    fn raw(&self) -> Whose {
        Whose::Process(self.raw.process.pid())
    }

    fn bare(&self) -> Whose {
        Whose::Process(self.bare.process.pid())
    }

    fn broker(&self) -> Whose {
        Whose::Process(self.broker.process.pid())
    }

    /// Makes a topic for all rounds of a contest: a new one in every round would begin with an empty tail cache.
    fn topic(&self, partitions: u32) -> Result<v1::TopicRef> {
        self.runtime.block_on(rpc::create_topic(&mut self.broker_rpc.clone(), "measured", partitions))
    }

    fn drop_topic(&self, topic: &v1::TopicRef) -> Result<()> {
        self.runtime.block_on(rpc::delete_topic(&mut self.broker_rpc.clone(), topic))
    }

    /// Measures the broker.
    fn on_broker(&self, work: impl AsyncFnOnce(Rpc) -> Result<Done>) -> Result<Sample> {
        measure(self.broker(), || self.runtime.block_on(work(self.broker_rpc.clone())))
    }

    /// Measures the floor.
    fn on_bare(&self, work: impl AsyncFnOnce(Rpc) -> Result<Done>) -> Result<Sample> {
        measure(self.bare(), || self.runtime.block_on(work(self.bare_rpc.clone())))
    }

    /// A virtual machine gives pages back that were free for some seconds, and the first touch of such a page costs ten
    /// times a write. Whoever is measured next finds pages that were in use a moment ago.
    fn warm(&self) -> Result<()> {
        let path = self.scratch.path().join("warm");
        let mut file = RawFile::create(&path, ROUND_BYTES as u64)?;
        let filling = vec![7; 1 << 20];
        for _ in 0..ROUND_BYTES / filling.len() {
            file.append(&filling)?;
        }
        Ok(std::fs::remove_file(path)?)
    }
}

fn main() -> Result<()> {
    if role::play()? {
        return Ok(());
    }
    let options = Options::read("grpc");
    let stage = Stage::set(&options)?;
    let mut arena = Arena::new(&options);
    for bytes in [100, 1024] {
        pings(&stage, &mut arena, bytes)?;
    }
    crowd(&stage, &mut arena)?;
    for sync_mode in ["os", "always"] {
        let sizes: &[usize] = if options.quick { &[256, 1024] } else { &[1, 16, 64, 256, 1024] };
        for kib in sizes {
            encoded(&stage, &mut arena, Load { sync_mode, partitions: 1, bytes: kib << 10 })?;
        }
        let crowds: &[u32] = if options.quick { &[256] } else { &[16, 256, 2000] };
        for &partitions in crowds {
            encoded(&stage, &mut arena, Load { sync_mode, partitions, bytes: 16 << 10 })?;
        }
    }
    for bytes in [100, 1024] {
        plain(&stage, &mut arena, bytes)?;
    }
    fetches(&stage, &mut arena)?;
    stage.end()
}

/// One durable record at a time.
fn pings(stage: &Stage, arena: &mut Arena, bytes: usize) -> Result<()> {
    let title = format!("grpc, durable ack: one record of {bytes} B at a time, 1 client, 1 partition");
    let frame = records::batch(1, bytes)?.into_bytes();
    let value = Bytes::from(records::value(bytes, 1));
    let topic = &stage.topic(1)?;
    let mut raw = stage.raw.connect(Mode::Ping)?;
    let sides = vec![
        Side::new("raw TCP + fdatasync", || measure(stage.raw(), || raw_pings(&mut raw, &frame))),
        Side::new("bare tonic, stream, not stored", || {
            stage.on_bare(async |rpc| stream_pings(rpc, topic, &value).await)
        }),
        Side::new("bare tonic, unary, not stored", || {
            stage.on_bare(async |rpc| unary_pings(rpc, topic, &value).await)
        }),
        Side::new("Millrace, ProduceStream", || {
            stage.on_broker(async |rpc| stream_pings(rpc, topic, &value).await)
        }),
        Side::new("Millrace, Produce", || stage.on_broker(async |rpc| unary_pings(rpc, topic, &value).await)),
    ];
    let columns = [Column::P50, Column::P99, Column::P999, Column::Max, Column::CpuMicros];
    arena.contest(&title, &columns, sides)?;
    stage.drop_topic(topic)
}

fn raw_pings(stream: &mut TcpStream, frame: &[u8]) -> Result<Done> {
    let mut taken = latencies()?;
    for _ in 0..PINGS {
        let start = Instant::now();
        rawserver::send(stream, frame)?;
        rawserver::receive_count(stream)?;
        taken.record(nanos_since(start))?;
    }
    Ok(Done { bytes: PINGS * frame.len() as u64, operations: PINGS, latencies: Some(taken) })
}

async fn stream_pings(mut rpc: Rpc, topic: &v1::TopicRef, value: &Bytes) -> Result<Done> {
    let mut pipeline = Pipeline::open(&mut rpc, 1).await?;
    let mut taken = latencies()?;
    for _ in 0..PINGS {
        let request = rpc::produce_request(topic, 0, rpc::plain([value.clone()]));
        let start = Instant::now();
        pipeline.send(request).await?;
        pipeline.drain().await?;
        taken.record(nanos_since(start))?;
    }
    Ok(Done { bytes: PINGS * value.len() as u64, operations: PINGS, latencies: Some(taken) })
}

async fn unary_pings(mut rpc: Rpc, topic: &v1::TopicRef, value: &Bytes) -> Result<Done> {
    let mut taken = latencies()?;
    for _ in 0..PINGS {
        let request = rpc::produce_request(topic, 0, rpc::plain([value.clone()]));
        let start = Instant::now();
        rpc::check(rpc.produce(request).await?.get_ref())?;
        taken.record(nanos_since(start))?;
    }
    Ok(Done { bytes: PINGS * value.len() as u64, operations: PINGS, latencies: Some(taken) })
}

/// Many clients that each wait for their own acknowledgement.
fn crowd(stage: &Stage, arena: &mut Arena) -> Result<()> {
    let title = "grpc, durable rate: 64 clients on 16 partitions, one record of 100 B at a time each";
    let frame = records::batch(1, 100)?.into_bytes();
    let value = Bytes::from(records::value(100, 1));
    let topic = &stage.topic(16)?;
    let sides = vec![
        Side::new("raw TCP + fdatasync, 16 clients, 16 files", || {
            measure(stage.raw(), || raw_crowd(stage, &frame))
        }),
        Side::new("Millrace, ProduceStream, 64 clients", || {
            stage.on_broker(async |rpc| stream_crowd(rpc, topic, &value).await)
        }),
    ];
    let columns = [Column::PerSecond, Column::P50, Column::P99, Column::Max, Column::CpuMicros];
    arena.contest(title, &columns, sides)?;
    stage.drop_topic(topic)
}

fn raw_crowd(stage: &Stage, frame: &[u8]) -> Result<Done> {
    let connections = (0..16).map(|_| stage.raw.connect(Mode::Ping)).collect::<Result<Vec<_>>>()?;
    let client = |mut stream: TcpStream| {
        let mut taken = latencies()?;
        let begun = Instant::now();
        while begun.elapsed() < CROWD_ROUND {
            let start = Instant::now();
            rawserver::send(&mut stream, frame)?;
            rawserver::receive_count(&mut stream)?;
            taken.record(nanos_since(start))?;
        }
        anyhow::Ok(taken)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            connections.into_iter().map(|stream| scope.spawn(move || client(stream))).collect();
        let mut all = latencies()?;
        for thread in threads {
            all.add(thread.join().map_err(|_| anyhow!("a client panicked"))??)?;
        }
        let operations = all.len();
        Ok(Done { bytes: operations * frame.len() as u64, operations, latencies: Some(all) })
    })
}

async fn stream_crowd(rpc: Rpc, topic: &v1::TopicRef, value: &Bytes) -> Result<Done> {
    let client = |partition: i32| {
        let mut rpc = rpc.clone();
        async move {
            let mut pipeline = Pipeline::open(&mut rpc, 1).await?;
            let mut taken = latencies()?;
            let begun = Instant::now();
            while begun.elapsed() < CROWD_ROUND {
                let request = rpc::produce_request(topic, partition, rpc::plain([value.clone()]));
                let start = Instant::now();
                pipeline.send(request).await?;
                pipeline.drain().await?;
                taken.record(nanos_since(start))?;
            }
            anyhow::Ok(taken)
        }
    };
    let clients = (0..64).map(|number| client(number % 16));
    let mut all = latencies()?;
    for taken in futures::future::try_join_all(clients).await? {
        all.add(taken)?;
    }
    let operations = all.len();
    Ok(Done { bytes: operations * value.len() as u64, operations, latencies: Some(all) })
}

/// Ready-made batches, pipelined.
fn encoded(stage: &Stage, arena: &mut Arena, load: Load) -> Result<()> {
    let Load { sync_mode, partitions, bytes } = load;
    let title = format!(
        "grpc, produce: encoded batches of {} KiB (records of 1 KiB), {REQUESTS_IN_FLIGHT} in flight, {partitions} partitions, \
         sync.mode {sync_mode}",
        bytes >> 10
    );
    if !arena.wants(&title) {
        return Ok(());
    }
    let batch = records::batch_of_size(bytes)?.into_bytes();
    let count = (ROUND_BYTES / bytes).min(ROUND_REQUESTS_MAX);
    let mut rpc = stage.broker_rpc.clone();
    let configs = [("sync.mode", sync_mode)];
    let topic =
        &stage.runtime.block_on(rpc::create_topic_with(&mut rpc, "measured", partitions, &configs))?;
    let (data, size) = (rpc::encoded(batch.clone()), batch.len());
    let all = Sending { topic, partitions, data: &data, count, bytes: size };
    let send = async |rpc| stream_all(rpc, &all).await;
    let (mode, raw) = match sync_mode {
        "always" => (Mode::Pipelined, "raw TCP + CRC + append + fdatasync"),
        _ => (Mode::Buffered, "raw TCP + CRC + append"),
    };
    let sides = vec![
        Side::new(raw, || {
            stage.warm()?;
            measure(stage.raw(), || raw_stream(stage, mode, &batch, count))
        }),
        Side::new("bare tonic stream, not stored", || {
            stage.warm()?;
            stage.on_bare(send)
        }),
        Side::new("Millrace, ProduceStream", || {
            stage.warm()?;
            stage.on_broker(send)
        }),
    ];
    arena.contest(&title, &[Column::GbPerSecond, Column::CpuPerGb], sides)?;
    stage.drop_topic(topic)
}

fn raw_stream(stage: &Stage, mode: Mode, batch: &[u8], count: usize) -> Result<Done> {
    let mut stream = stage.raw.connect(mode)?;
    let (mut sent, mut synced) = (0, 0);
    for _ in 0..count {
        while sent - synced >= REQUESTS_IN_FLIGHT as u64 {
            synced = rawserver::receive_count(&mut stream)?;
        }
        rawserver::send(&mut stream, batch)?;
        sent += 1;
    }
    while synced < sent {
        synced = rawserver::receive_count(&mut stream)?;
    }
    Ok(Done { bytes: sent * batch.len() as u64, operations: sent, latencies: None })
}

/// The same data again and again, to one partition after the other.
struct Sending<'a> {
    topic: &'a v1::TopicRef,
    partitions: u32,
    data: &'a Data,
    count: usize,
    /// Of the data.
    bytes: usize,
}

async fn stream_all(mut rpc: Rpc, sending: &Sending<'_>) -> Result<Done> {
    let Sending { topic, partitions, data, count, bytes } = *sending;
    let mut pipeline = Pipeline::open(&mut rpc, REQUESTS_IN_FLIGHT).await?;
    for partition in (0..i32::try_from(partitions)?).cycle().take(count) {
        pipeline.send(rpc::produce_request(topic, partition, data.clone())).await?;
    }
    pipeline.drain().await?;
    Ok(Done { bytes: (count * bytes) as u64, operations: count as u64, latencies: None })
}

/// Plain records: the broker builds the batch.
fn plain(stage: &Stage, arena: &mut Arena, bytes: usize) -> Result<()> {
    let title = format!(
        "grpc, produce: plain records of {bytes} B in requests of {RECORDS_PER_REQUEST}, {REQUESTS_IN_FLIGHT} in flight, \
         1 partition; figures are of a record"
    );
    let value = Bytes::from(records::value(bytes, 1));
    let data = rpc::plain(std::iter::repeat_n(value, RECORDS_PER_REQUEST));
    let count = ROUND_RECORDS / RECORDS_PER_REQUEST * 100 / bytes.clamp(100, 400);
    let topic = &stage.topic(1)?;
    let send = async |rpc| {
        let bytes = RECORDS_PER_REQUEST * bytes;
        let done = stream_all(rpc, &Sending { topic, partitions: 1, data: &data, count, bytes }).await?;
        Ok(Done { operations: done.operations * RECORDS_PER_REQUEST as u64, ..done })
    };
    let sides = vec![
        Side::new("bare tonic stream, not stored", || {
            stage.warm()?;
            stage.on_bare(send)
        }),
        Side::new("Millrace, ProduceStream", || {
            stage.warm()?;
            stage.on_broker(send)
        }),
    ];
    let columns = [Column::PerSecond, Column::CpuMicros, Column::GbPerSecond, Column::CpuPerGb];
    arena.contest(&title, &columns, sides)?;
    stage.drop_topic(topic)
}

/// Stored batches, read by several readers side by side.
fn fetches(stage: &Stage, arena: &mut Arena) -> Result<()> {
    let mut rpc = stage.broker_rpc.clone();
    let partitions = u32::try_from(READERS)?;
    let topic = stage.runtime.block_on(fill(&mut rpc, partitions))?;
    for bytes in [1 << 20, 64 << 10] {
        let title = format!(
            "grpc, fetch: encoded batches, {} KiB at a time, {READERS} readers, {} MiB each, batches of 64 KiB",
            bytes >> 10,
            FETCH_PARTITION_BYTES >> 20
        );
        let topic = &topic;
        let sides = vec![
            Side::new("raw TCP, pread + write", || measure(stage.raw(), || raw_fetch(stage, bytes))),
            Side::new("bare tonic", || {
                measure(stage.bare(), || stage.runtime.block_on(read_all(&stage.bare_rpc, topic, bytes)))
            }),
            Side::new("Millrace, Fetch", || {
                measure(stage.broker(), || stage.runtime.block_on(read_all(&stage.broker_rpc, topic, bytes)))
            }),
            Side::new("bare tonic, stream", || {
                measure(stage.bare(), || stage.runtime.block_on(follow_all(&stage.bare_rpc, topic, bytes)))
            }),
            Side::new("Millrace, Subscribe", || {
                measure(stage.broker(), || {
                    stage.runtime.block_on(follow_all(&stage.broker_rpc, topic, bytes))
                })
            }),
        ];
        arena.contest(&title, &[Column::GbPerSecond, Column::CpuPerGb, Column::CpuMicros], sides)?;
    }
    stage.runtime.block_on(rpc::delete_topic(&mut rpc, &topic))
}

async fn fill(rpc: &mut Rpc, partitions: u32) -> Result<v1::TopicRef> {
    let topic = rpc::create_topic(rpc, "fetched", partitions).await?;
    let batch = records::batch_of_size(64 << 10)?.into_bytes();
    let mut pipeline = Pipeline::open(rpc, REQUESTS_IN_FLIGHT).await?;
    for _ in 0..FETCH_PARTITION_BYTES / batch.len() {
        for partition in 0..i32::try_from(partitions)? {
            pipeline.send(rpc::produce_request(&topic, partition, rpc::encoded(batch.clone()))).await?;
        }
    }
    pipeline.drain().await?;
    Ok(topic)
}

fn raw_fetch(stage: &Stage, bytes: usize) -> Result<Done> {
    let connections = (0..READERS).map(|_| stage.raw.connect(Mode::Fetch)).collect::<Result<Vec<_>>>()?;
    let count = FETCH_PARTITION_BYTES / bytes;
    let wanted = u32::try_from(bytes)?;
    let read = |mut stream: TcpStream| {
        let mut buffer = vec![0; bytes];
        for _ in 0..count {
            let frame: [[u8; 4]; 2] = [4_u32.to_le_bytes(), wanted.to_le_bytes()];
            stream.write_all(frame.as_flattened())?;
            stream.read_exact(&mut buffer)?;
        }
        anyhow::Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            connections.into_iter().map(|stream| scope.spawn(move || read(stream))).collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a reader panicked"))??;
        }
        let operations = (READERS * count) as u64;
        Ok(Done { bytes: operations * bytes as u64, operations, latencies: None })
    })
}

async fn read_all(rpc: &Rpc, topic: &v1::TopicRef, bytes: usize) -> Result<Done> {
    let readers = (0..READERS).map(|partition| read_partition(rpc.clone(), topic.clone(), partition, bytes));
    let mut all = Done::default();
    for done in futures::future::try_join_all(readers).await? {
        all.bytes += done.bytes;
        all.operations += done.operations;
    }
    Ok(all)
}

async fn read_partition(mut rpc: Rpc, topic: v1::TopicRef, partition: usize, bytes: usize) -> Result<Done> {
    let mut done = Done::default();
    let mut offset = 0;
    // The floor has no end: both stop at the same number of bytes (a last batch more or less).
    while done.bytes + (64 << 10) < FETCH_PARTITION_BYTES as u64 {
        let part = v1::PartitionFetch {
            topic: Some(topic.clone()),
            partition: i32::try_from(partition)?,
            offset,
            ..Default::default()
        };
        let request = v1::FetchRequest {
            partitions: vec![part],
            max_bytes: u32::try_from(bytes)?,
            ..Default::default()
        };
        let answer = rpc.fetch(request).await?.into_inner();
        let part = answer.partitions.first().context("an answer without partitions")?;
        if let Some(error) = &part.error {
            return Err(anyhow!("refused: {error:?}"));
        }
        if part.batches.is_empty() {
            break;
        }
        done.bytes += part.batches.len() as u64;
        done.operations += 1;
        offset = part.next_offset;
    }
    Ok(done)
}

async fn follow_all(rpc: &Rpc, topic: &v1::TopicRef, bytes: usize) -> Result<Done> {
    let readers =
        (0..READERS).map(|partition| follow_partition(rpc.clone(), topic.clone(), partition, bytes));
    let mut all = Done::default();
    for done in futures::future::try_join_all(readers).await? {
        all.bytes += done.bytes;
        all.operations += done.operations;
    }
    Ok(all)
}

async fn follow_partition(mut rpc: Rpc, topic: v1::TopicRef, partition: usize, bytes: usize) -> Result<Done> {
    let part = v1::PartitionSubscribe {
        topic: Some(topic),
        partition: i32::try_from(partition)?,
        ..Default::default()
    };
    let request = v1::SubscribeRequest {
        partitions: vec![part],
        max_message_bytes: u32::try_from(bytes)?,
        ..Default::default()
    };
    let mut messages = rpc.subscribe(request).await?.into_inner();
    let mut done = Done::default();
    // As far as `read_partition` goes.
    while done.bytes + (64 << 10) < FETCH_PARTITION_BYTES as u64 {
        let message = messages.message().await?.context("the stream has ended")?;
        for part in message.partitions.into_iter().filter_map(|part| part.fetched) {
            if let Some(error) = &part.error {
                return Err(anyhow!("refused: {error:?}"));
            }
            done.bytes += part.batches.len() as u64;
        }
        done.operations += 1;
    }
    Ok(done)
}
