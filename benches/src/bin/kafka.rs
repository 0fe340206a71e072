//! End to end through the Kafka door: a real `millrace serve` as a child process against raw servers of the same run that do
//! nothing but what the job cannot do without.
//!
//! ```text
//!   produce   raw: receive + CRC-32C + append (+ fdatasync)      ours: the same bytes as Produce requests, acks=1
//!   fetch     raw: pread + write, write from a map, sendfile     ours: Fetch requests
//! ```
//! The client is one blocking thread with ready-made frames. Processor time is that of the server alone; the client shares
//! the cores. The raw server has one file, whatever the number of partitions.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use millrace_benches::child::Broker;
use millrace_benches::contest::{Arena, Side};
use millrace_benches::options::Options;
use millrace_benches::rawserver::{self, Mode, RawServer};
use millrace_benches::rpc::{self, Rpc};
use millrace_benches::sample::{Column, Done, Whose, measure};
use millrace_benches::store::RawFile;
use millrace_benches::wire::{self, Wire};
use millrace_benches::{records, role};
use millrace_proto::v1;
use tempfile::TempDir;
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes that one round sends, if the batches are large.
const ROUND_BYTES: usize = 256 << 20;
/// Requests that one round sends, if they are small.
const ROUND_REQUESTS_MAX: usize = 20_000;
const REQUESTS_IN_FLIGHT: usize = 16;
/// Readers that fetch side by side, each its own partition.
const READERS: u32 = 2;
const FETCH_PARTITION_BYTES: usize = 192 << 20;
const FETCH_BATCH_BYTES: usize = 64 << 10;

struct Stage {
    runtime: Runtime,
    broker: Broker,
    rpc: Rpc,
    kafka: String,
    raw: RawServer,
    scratch: TempDir,
}

impl Stage {
    fn set(options: &Options) -> Result<Stage> {
        let scratch = options.scratch()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let broker = Broker::start(&scratch.path().join("data"))?;
        let raw = RawServer::start(scratch.path())?;
        let rpc = runtime.block_on(rpc::connect(&broker.grpc))?;
        let kafka = broker.kafka.clone().context("this broker has no Kafka door")?;
        Ok(Stage { runtime, broker, rpc, kafka, raw, scratch })
    }

    fn end(self) -> Result<()> {
        let Stage { runtime, broker, rpc, .. } = self;
        drop(rpc);
        drop(runtime);
        broker.process.stop()
    }

    fn raw(&self) -> Whose {
        Whose::Process(self.raw.process.pid())
    }

    fn broker(&self) -> Whose {
        Whose::Process(self.broker.process.pid())
    }

    fn create(&self, partitions: u32, configs: &[(&str, &str)]) -> Result<v1::TopicRef> {
        let mut rpc = self.rpc.clone();
        self.runtime.block_on(rpc::create_topic_with(&mut rpc, "measured", partitions, configs))
    }

    fn delete(&self, topic: &v1::TopicRef) -> Result<()> {
        self.runtime.block_on(rpc::delete_topic(&mut self.rpc.clone(), topic))
    }

    /// Pages that were in use a moment ago: the first touch of one that the machine gave back costs ten times a write.
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

/// What is produced.
#[derive(Clone, Copy)]
struct Load {
    sync_mode: &'static str,
    partitions: u32,
    /// Of a batch, roughly.
    bytes: usize,
}

fn main() -> Result<()> {
    if role::play()? {
        return Ok(());
    }
    let options = Options::read("kafka");
    let stage = Stage::set(&options)?;
    let mut arena = Arena::new(&options);
    for sync_mode in ["os", "always"] {
        let sizes: &[usize] = if options.quick {
            &[1 << 20, 16 << 10, 1 << 10]
        } else {
            &[1 << 20, 64 << 10, 16 << 10, 1 << 10, 100]
        };
        for &bytes in sizes {
            produce(&stage, &mut arena, Load { sync_mode, partitions: 1, bytes })?;
        }
        let crowds: &[u32] = if options.quick { &[256] } else { &[16, 256, 2000] };
        for &partitions in crowds {
            produce(&stage, &mut arena, Load { sync_mode, partitions, bytes: 16 << 10 })?;
        }
    }
    fetches(&stage, &mut arena, &options)?;
    stage.end()
}

/// Ready-made batches, pipelined on one connection.
fn produce(stage: &Stage, arena: &mut Arena, load: Load) -> Result<()> {
    let Load { sync_mode, partitions, bytes } = load;
    let title = format!(
        "kafka, produce: batches of {}, {REQUESTS_IN_FLIGHT} in flight, {partitions} partitions, acks=1, sync.mode {sync_mode}",
        said(bytes)
    );
    if !arena.wants(&title) {
        return Ok(());
    }
    // The smallest is one record of 100 B.
    let batch = if bytes < 1024 { records::batch(1, bytes)? } else { records::batch_of_size(bytes)? };
    let batch = batch.into_bytes();
    let count = (ROUND_BYTES / batch.len()).min(ROUND_REQUESTS_MAX);
    let topic = stage.create(partitions, &[("sync.mode", sync_mode)])?;
    // More distinct frames than that would only be memory traffic of the client.
    let frames = (0..partitions)
        .map(|partition| wire::produce_frame(&topic.name, partition, &batch))
        .collect::<Result<Vec<_>>>()?;
    let (mode, raw) = match sync_mode {
        "always" => (Mode::Pipelined, "raw TCP + CRC + append + fdatasync"),
        _ => (Mode::Buffered, "raw TCP + CRC + append"),
    };
    let sides = vec![
        Side::new(raw, || {
            stage.warm()?;
            measure(stage.raw(), || raw_stream(stage, mode, &batch, count))
        }),
        Side::new("Millrace, Produce", || {
            stage.warm()?;
            measure(stage.broker(), || stream_all(stage, &frames, count, batch.len()))
        }),
    ];
    let columns = [Column::GbPerSecond, Column::CpuPerGb, Column::PerSecond, Column::CpuMicros];
    arena.contest(&title, &columns, sides)?;
    stage.delete(&topic)
}

fn said(bytes: usize) -> String {
    match bytes {
        bytes if bytes < 1024 => format!("one record of {bytes} B"),
        bytes => format!("{} KiB", bytes >> 10),
    }
}

fn raw_stream(stage: &Stage, mode: Mode, batch: &[u8], count: usize) -> Result<Done> {
    let mut stream = stage.raw.connect(mode)?;
    let (mut sent, mut written) = (0, 0);
    for _ in 0..count {
        while sent - written >= REQUESTS_IN_FLIGHT as u64 {
            written = rawserver::receive_count(&mut stream)?;
        }
        rawserver::send(&mut stream, batch)?;
        sent += 1;
    }
    while written < sent {
        written = rawserver::receive_count(&mut stream)?;
    }
    Ok(Done { bytes: sent * batch.len() as u64, operations: sent, latencies: None })
}

fn stream_all(stage: &Stage, frames: &[Vec<u8>], count: usize, batch_bytes: usize) -> Result<Done> {
    let mut wire = Wire::connect(&stage.kafka)?;
    let receive = |wire: &mut Wire| {
        wire.receive()?;
        wire.check_produced()
    };
    for (sent, frame) in frames.iter().cycle().take(count).enumerate() {
        if sent >= REQUESTS_IN_FLIGHT {
            receive(&mut wire)?;
        }
        wire.send(frame)?;
    }
    for _ in 0..count.min(REQUESTS_IN_FLIGHT) {
        receive(&mut wire)?;
    }
    Ok(Done { bytes: (count * batch_bytes) as u64, operations: count as u64, latencies: None })
}

/// Stored batches, read by several readers side by side, out of the page cache.
fn fetches(stage: &Stage, arena: &mut Arena, options: &Options) -> Result<()> {
    let sizes: &[usize] = if options.quick {
        &[1 << 20, 64 << 10]
    } else {
        &[1 << 20, 512 << 10, 256 << 10, 128 << 10, 64 << 10]
    };
    for segments in ["active", "sealed"] {
        let titles = sizes.iter().map(|bytes| {
            let title = format!(
                "kafka, fetch: {} at a time of {segments} segments, {READERS} readers, {} MiB each, batches of {}",
                said(*bytes),
                FETCH_PARTITION_BYTES >> 20,
                said(FETCH_BATCH_BYTES)
            );
            (*bytes, title)
        });
        let wanted: Vec<_> = titles.filter(|(_, title)| arena.wants(title)).collect();
        if wanted.is_empty() {
            continue;
        }
        let segment_bytes = if segments == "active" { "1073741824" } else { "33554432" };
        let topic = stage.create(READERS, &[("sync.mode", "os"), ("segment.bytes", segment_bytes)])?;
        let batch = records::batch_of_size(FETCH_BATCH_BYTES)?;
        let stored = Stored {
            name: topic.name.clone(),
            batch_bytes: batch.size(),
            batch_records: u64::from(batch.header().last_offset_delta.cast_unsigned()) + 1,
        };
        fill(stage, &stored, &batch.into_bytes())?;
        for (bytes, title) in wanted {
            let raw = |mode| measure(stage.raw(), || raw_fetch(stage, mode, bytes));
            let sides = vec![
                Side::new("raw TCP, sendfile", move || raw(Mode::Sendfile)),
                Side::new("raw TCP, write from a map", move || raw(Mode::Map)),
                Side::new("raw TCP, pread + write", move || raw(Mode::Fetch)),
                Side::new("Millrace, Fetch", || measure(stage.broker(), || read_all(stage, &stored, bytes))),
            ];
            arena.contest(&title, &[Column::GbPerSecond, Column::CpuPerGb, Column::CpuMicros], sides)?;
        }
        stage.delete(&topic)?;
    }
    Ok(())
}

/// What lies in the topic that is fetched.
struct Stored {
    name: String,
    batch_bytes: usize,
    batch_records: u64,
}

impl Stored {
    fn batches(&self) -> usize {
        FETCH_PARTITION_BYTES / self.batch_bytes
    }
}

fn fill(stage: &Stage, stored: &Stored, batch: &Bytes) -> Result<()> {
    for partition in 0..READERS {
        let frame = vec![wire::produce_frame(&stored.name, partition, batch)?];
        stream_all(stage, &frame, stored.batches(), batch.len())?;
    }
    Ok(())
}

/// Runs `read` for every reader on a thread of its own.
fn side_by_side(read: impl Fn(u32) -> Result<Done> + Sync) -> Result<Done> {
    std::thread::scope(|scope| {
        let read = &read;
        let threads: Vec<_> = (0..READERS).map(|reader| scope.spawn(move || read(reader))).collect();
        let mut all = Done::default();
        for thread in threads {
            let done = thread.join().map_err(|_| anyhow!("a reader panicked"))??;
            all.bytes += done.bytes;
            all.operations += done.operations;
        }
        Ok(all)
    })
}

fn raw_fetch(stage: &Stage, mode: Mode, bytes: usize) -> Result<Done> {
    let count = FETCH_PARTITION_BYTES / bytes;
    let wanted = u32::try_from(bytes)?;
    side_by_side(|_| {
        let mut stream: TcpStream = stage.raw.connect(mode)?;
        let mut buffer = vec![0; bytes];
        for _ in 0..count {
            let frame: [[u8; 4]; 2] = [4_u32.to_le_bytes(), wanted.to_le_bytes()];
            stream.write_all(frame.as_flattened())?;
            stream.read_exact(&mut buffer)?;
        }
        Ok(Done { bytes: (count * bytes) as u64, operations: count as u64, latencies: None })
    })
}

fn read_all(stage: &Stage, stored: &Stored, bytes: usize) -> Result<Done> {
    side_by_side(|partition| {
        let mut wire = Wire::connect(&stage.kafka)?;
        let mut done = Done::default();
        let mut batches = 0;
        while batches < stored.batches() {
            let offset = batches as u64 * stored.batch_records;
            wire.send(&wire::fetch_frame(&stored.name, partition, offset, bytes)?)?;
            let whole = wire.receive()? / stored.batch_bytes;
            if whole == 0 {
                wire.check_fetched()?;
            }
            batches += whole;
            done.bytes += (whole * stored.batch_bytes) as u64;
            done.operations += 1;
        }
        Ok(done)
    })
}
