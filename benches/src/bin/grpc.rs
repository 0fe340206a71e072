//! End to end through gRPC: a real `millrace serve` as a child process, sync.mode `always` unless the title says otherwise,
//! against two floors of the same run: a raw server (threads, frames over TCP, append, `fdatasync`) and a bare tonic server that stores nothing.
//!
//! Processor time is that of the server alone. The client is the generated one on one thread; it shares the cores.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use millrace_benches::barerpc::BareRpc;
use millrace_benches::contest::{Arena, Side};
use millrace_benches::options::Options;
use millrace_benches::pair::{
    FETCH_PARTITION_BYTES, Load, Pair, READERS, REQUESTS_IN_FLIGHT, ROUND_BYTES, ROUND_REQUESTS_MAX,
    side_by_side,
};
use millrace_benches::rawserver::{self, Mode, RawServer};
use millrace_benches::rpc::{self, Pipeline, Rpc};
use millrace_benches::sample::{Column, Done, Sample, Whose, latencies, measure, nanos_since};
use millrace_benches::{records, role};
use millrace_proto::v1;
use millrace_proto::v1::partition_produce::Data;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pings of one round.
const PINGS: u64 = 2000;
/// Plain records that one round sends.
const ROUND_RECORDS: usize = 800_000;
const RECORDS_PER_REQUEST: usize = 100;
/// How long the closed loop of many clients goes on.
const CROWD_ROUND: Duration = Duration::from_secs(1);

struct Stage {
    pair: Pair,
    /// The floor: a server of the same stack that stores nothing.
    bare: BareRpc,
    bare_rpc: Rpc,
}

impl Stage {
    fn set(options: &Options) -> Result<Stage> {
        let pair = Pair::start(options)?;
        let bare = BareRpc::start()?;
        let bare_rpc = pair.runtime.block_on(rpc::connect(&bare.addr))?;
        Ok(Stage { pair, bare, bare_rpc })
    }

    /// Measures the broker.
    fn on_broker(&self, work: impl AsyncFnOnce(Rpc) -> Result<Done>) -> Result<Sample> {
        self.pair.on_broker(|| self.pair.runtime.block_on(work(self.pair.rpc.clone())))
    }

    /// Measures the floor.
    fn on_bare(&self, work: impl AsyncFnOnce(Rpc) -> Result<Done>) -> Result<Sample> {
        let bare = Whose::Process(self.bare.process.pid());
        measure(bare, || self.pair.runtime.block_on(work(self.bare_rpc.clone())))
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
    let Stage { pair, bare_rpc, .. } = stage;
    drop(bare_rpc);
    pair.stop()
}

/// One durable record at a time.
fn pings(stage: &Stage, arena: &mut Arena, bytes: usize) -> Result<()> {
    let title = format!("grpc, durable ack: one record of {bytes} B at a time, 1 client, 1 partition");
    let frame = records::batch(1, bytes)?.into_bytes();
    let value = Bytes::from(records::value(bytes, 1));
    let topic = &stage.pair.create(1, &[])?;
    let mut raw = stage.pair.raw.connect(Mode::Ping)?;
    let sides = vec![
        Side::new("raw TCP + fdatasync", || stage.pair.on_raw(|_| raw_pings(&mut raw, &frame))),
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
    stage.pair.delete(topic)
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
    let topic = &stage.pair.create(16, &[])?;
    let sides = vec![
        Side::new("raw TCP + fdatasync, 16 clients, 16 files", || {
            stage.pair.on_raw(|raw| raw_crowd(raw, &frame))
        }),
        Side::new("Millrace, ProduceStream, 64 clients", || {
            stage.on_broker(async |rpc| stream_crowd(rpc, topic, &value).await)
        }),
    ];
    let columns = [Column::PerSecond, Column::P50, Column::P99, Column::Max, Column::CpuMicros];
    arena.contest(title, &columns, sides)?;
    stage.pair.delete(topic)
}

fn raw_crowd(raw: &RawServer, frame: &[u8]) -> Result<Done> {
    let connections = (0..16).map(|_| raw.connect(Mode::Ping)).collect::<Result<Vec<_>>>()?;
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
    let topic = &stage.pair.create(partitions, &[("sync.mode", sync_mode)])?;
    let (data, size) = (rpc::encoded(batch.clone()), batch.len());
    let all = Sending { topic, partitions, data: &data, count, bytes: size };
    let send = async |rpc| stream_all(rpc, &all).await;
    let (mode, raw) = load.raw();
    let sides = vec![
        Side::new(raw, || {
            stage.pair.warm()?;
            stage.pair.on_raw(|raw| raw.store(mode, &batch, count, REQUESTS_IN_FLIGHT))
        }),
        Side::new("bare tonic stream, not stored", || {
            stage.pair.warm()?;
            stage.on_bare(send)
        }),
        Side::new("Millrace, ProduceStream", || {
            stage.pair.warm()?;
            stage.on_broker(send)
        }),
    ];
    arena.contest(&title, &[Column::GbPerSecond, Column::CpuPerGb], sides)?;
    stage.pair.delete(topic)
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
    let topic = &stage.pair.create(1, &[])?;
    let send = async |rpc| {
        let bytes = RECORDS_PER_REQUEST * bytes;
        let done = stream_all(rpc, &Sending { topic, partitions: 1, data: &data, count, bytes }).await?;
        Ok(Done { operations: done.operations * RECORDS_PER_REQUEST as u64, ..done })
    };
    let sides = vec![
        Side::new("bare tonic stream, not stored", || {
            stage.pair.warm()?;
            stage.on_bare(send)
        }),
        Side::new("Millrace, ProduceStream", || {
            stage.pair.warm()?;
            stage.on_broker(send)
        }),
    ];
    let columns = [Column::PerSecond, Column::CpuMicros, Column::GbPerSecond, Column::CpuPerGb];
    arena.contest(&title, &columns, sides)?;
    stage.pair.delete(topic)
}

/// Stored batches, read by several readers side by side.
fn fetches(stage: &Stage, arena: &mut Arena) -> Result<()> {
    let topic = stage.pair.create(READERS, &[])?;
    stage.pair.runtime.block_on(fill(stage.pair.rpc.clone(), &topic))?;
    for bytes in [1 << 20, 64 << 10] {
        let title = format!(
            "grpc, fetch: encoded batches, {} KiB at a time, {READERS} readers, {} MiB each, batches of 64 KiB",
            bytes >> 10,
            FETCH_PARTITION_BYTES >> 20
        );
        let topic = &topic;
        let sides = vec![
            Side::new("raw TCP, pread + write", || {
                let fetch = |raw: &RawServer| raw.fetch(Mode::Fetch, bytes, FETCH_PARTITION_BYTES);
                stage.pair.on_raw(|raw| side_by_side(READERS, |_| fetch(raw)))
            }),
            Side::new("bare tonic", || stage.on_bare(async |rpc| read_all(&rpc, topic, bytes).await)),
            Side::new("Millrace, Fetch", || stage.on_broker(async |rpc| read_all(&rpc, topic, bytes).await)),
            Side::new("bare tonic, stream", || {
                stage.on_bare(async |rpc| follow_all(&rpc, topic, bytes).await)
            }),
            Side::new("Millrace, Subscribe", || {
                stage.on_broker(async |rpc| follow_all(&rpc, topic, bytes).await)
            }),
        ];
        arena.contest(&title, &[Column::GbPerSecond, Column::CpuPerGb, Column::CpuMicros], sides)?;
    }
    stage.pair.delete(&topic)
}

async fn fill(mut rpc: Rpc, topic: &v1::TopicRef) -> Result<()> {
    let batch = records::batch_of_size(64 << 10)?.into_bytes();
    let mut pipeline = Pipeline::open(&mut rpc, REQUESTS_IN_FLIGHT).await?;
    for _ in 0..FETCH_PARTITION_BYTES / batch.len() {
        for partition in 0..i32::try_from(READERS)? {
            pipeline.send(rpc::produce_request(topic, partition, rpc::encoded(batch.clone()))).await?;
        }
    }
    pipeline.drain().await?;
    Ok(())
}

async fn read_all(rpc: &Rpc, topic: &v1::TopicRef, bytes: usize) -> Result<Done> {
    let readers = (0..READERS).map(|partition| read_partition(rpc.clone(), topic.clone(), partition, bytes));
    Ok(futures::future::try_join_all(readers).await?.into_iter().sum())
}

async fn read_partition(mut rpc: Rpc, topic: v1::TopicRef, partition: u32, bytes: usize) -> Result<Done> {
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
    Ok(futures::future::try_join_all(readers).await?.into_iter().sum())
}

async fn follow_partition(mut rpc: Rpc, topic: v1::TopicRef, partition: u32, bytes: usize) -> Result<Done> {
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
