//! End to end through the Kafka door: a real `millrace serve` as a child process against raw servers of the same run that do
//! nothing but what the job cannot do without.
//!
//! ```text
//!   produce   raw: receive + CRC-32C + append (+ fdatasync)      ours: the same bytes as Produce requests, acks=1
//!   fetch     raw: pread + write, write from a map, sendfile     ours: Fetch requests
//! ```
//! The client is one blocking thread with ready-made frames. Processor time is that of the server alone; the client shares
//! the cores. The raw server has one file, whatever the number of partitions.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use millrace_benches::contest::{Arena, Side};
use millrace_benches::options::Options;
use millrace_benches::pair::{
    FETCH_PARTITION_BYTES, Load, Pair, READERS, REQUESTS_IN_FLIGHT, ROUND_BYTES, ROUND_REQUESTS_MAX,
    side_by_side,
};
use millrace_benches::rawserver::Mode;
use millrace_benches::sample::{Column, Done};
use millrace_benches::wire::{self, Wire};
use millrace_benches::{records, role};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FETCH_BATCH_BYTES: usize = 64 << 10;
/// Of the contest of sync modes, each with a connection and a partition of its own.
const PRODUCERS: u32 = 8;

struct Stage {
    pair: Pair,
    /// Where the Kafka door is.
    door: String,
}

fn main() -> Result<()> {
    if role::play()? {
        return Ok(());
    }
    let options = Options::read("kafka");
    let pair = Pair::start(&options)?;
    let door = pair.broker.kafka.clone().context("this broker has no Kafka door")?;
    let stage = Stage { pair, door };
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
    for bytes in [1 << 20, 64 << 10] {
        cost_of_syncs(&stage, &mut arena, bytes)?;
    }
    fetches(&stage, &mut arena, &options)?;
    stage.pair.stop()
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
    let topic = stage.pair.create(partitions, &[("sync.mode", sync_mode)])?;
    // More distinct frames than that would only be memory traffic of the client.
    let frames = (0..partitions)
        .map(|partition| wire::produce_frame(&topic.name, partition, &batch))
        .collect::<Result<Vec<_>>>()?;
    let (mode, raw) = load.raw();
    let sides = vec![
        Side::new(raw, || {
            stage.pair.warm()?;
            stage.pair.on_raw(|raw| raw.store(mode, &batch, count, REQUESTS_IN_FLIGHT))
        }),
        Side::new("Millrace, Produce", || {
            stage.pair.warm()?;
            stage.pair.on_broker(|| stream_all(stage, &frames, count, batch.len()))
        }),
    ];
    let columns = [Column::GbPerSecond, Column::CpuPerGb, Column::PerSecond, Column::CpuMicros];
    arena.contest(&title, &columns, sides)?;
    stage.pair.delete(&topic)
}

/// What `always` costs many producers: the same broker, the same batches, two topics.
fn cost_of_syncs(stage: &Stage, arena: &mut Arena, bytes: usize) -> Result<()> {
    let title = format!(
        "kafka, {PRODUCERS} producers: batches of {}, {REQUESTS_IN_FLIGHT} in flight each, a partition each, acks=1, sync.mode always \
         against os",
        said(bytes)
    );
    if !arena.wants(&title) {
        return Ok(());
    }
    let batch = records::batch_of_size(bytes)?.into_bytes();
    let count = ROUND_BYTES / batch.len();
    let mut topics = Vec::new();
    let mut sides = Vec::new();
    for mode in ["os", "always"] {
        let topic = stage.pair.create_named(&format!("eight-{mode}"), PRODUCERS, &[("sync.mode", mode)])?;
        let frames = (0..PRODUCERS).map(|partition| wire::produce_frame(&topic.name, partition, &batch));
        let frames = frames.collect::<Result<Vec<_>>>()?;
        topics.push(topic);
        let bytes = batch.len();
        sides.push(Side::new(format!("Millrace, {mode}"), move || {
            stage.pair.warm()?;
            stage.pair.on_broker(|| {
                let share = count / frames.len();
                side_by_side(PRODUCERS, |producer| {
                    stream_all(stage, &frames[producer as usize..][..1], share, bytes)
                })
            })
        }));
    }
    let columns = [Column::GbPerSecond, Column::CpuPerGb, Column::PerSecond, Column::CpuMicros];
    arena.contest(&title, &columns, sides)?;
    topics.iter().try_for_each(|topic| stage.pair.delete(topic))
}

fn said(bytes: usize) -> String {
    match bytes {
        bytes if bytes < 1024 => format!("one record of {bytes} B"),
        bytes => format!("{} KiB", bytes >> 10),
    }
}

fn stream_all(stage: &Stage, frames: &[Vec<u8>], count: usize, batch_bytes: usize) -> Result<Done> {
    let mut wire = Wire::connect(&stage.door)?;
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
        let topic = stage.pair.create(READERS, &[("sync.mode", "os"), ("segment.bytes", segment_bytes)])?;
        let batch = records::batch_of_size(FETCH_BATCH_BYTES)?;
        let stored = Stored {
            name: topic.name.clone(),
            batch_bytes: batch.size(),
            batch_records: u64::from(batch.header().last_offset_delta.cast_unsigned()) + 1,
        };
        fill(stage, &stored, &batch.into_bytes())?;
        for (bytes, title) in wanted {
            let raw = |mode| {
                stage
                    .pair
                    .on_raw(|raw| side_by_side(READERS, |_| raw.fetch(mode, bytes, FETCH_PARTITION_BYTES)))
            };
            let sides = vec![
                Side::new("raw TCP, sendfile", move || raw(Mode::Sendfile)),
                Side::new("raw TCP, write from a map", move || raw(Mode::Map)),
                Side::new("raw TCP, pread + write", move || raw(Mode::Fetch)),
                Side::new("Millrace, Fetch", || stage.pair.on_broker(|| read_all(stage, &stored, bytes))),
            ];
            arena.contest(&title, &[Column::GbPerSecond, Column::CpuPerGb, Column::CpuMicros], sides)?;
        }
        stage.pair.delete(&topic)?;
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

fn read_all(stage: &Stage, stored: &Stored, bytes: usize) -> Result<Done> {
    side_by_side(READERS, |partition| {
        let mut wire = Wire::connect(&stage.door)?;
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
