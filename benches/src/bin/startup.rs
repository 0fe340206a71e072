//! From the start of the process to the first acknowledged record, and what an idle broker costs.
//!
//! The ceiling of a start is a process that does nothing but listen, append, sync and answer once.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use millrace_benches::child::Broker;
use millrace_benches::contest::{Arena, Side, spread};
use millrace_benches::load;
use millrace_benches::options::Options;
use millrace_benches::rawserver::{self, Mode, RawServer};
use millrace_benches::rpc::{self, Pipeline, Rpc};
use millrace_benches::sample::{Column, Sample};
use millrace_benches::{records, role};
use millrace_proto::v1;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: u32 = 1000;
/// How long a broker is left alone before it counts as idle, and then how long it is watched.
const SETTLE: Duration = Duration::from_secs(3);
const WATCH: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    if role::play()? {
        return Ok(());
    }
    let options = Options::read("startup");
    let scratch = options.scratch()?;
    let folder = scratch.path();
    let mut arena = Arena::new(&options);
    let sides = vec![
        Side::new("a raw server: to its first ack", || raw_start(folder)),
        Side::new("Millrace: until it accepts", || empty_start(folder, &Until::Accepts)),
        Side::new("Millrace: to the first ack, in a new topic", || empty_start(folder, &Until::FirstAck)),
    ];
    arena.contest("startup: empty directory", &[Column::WallMs], sides)?;
    let full = folder.join("full");
    fill(&full)?;
    let sides = vec![
        Side::new("a raw server: to its first ack", || raw_start(folder)),
        Side::new("Millrace: until it accepts", || full_start(&full, &Until::Accepts)),
        Side::new("Millrace: to the first ack", || full_start(&full, &Until::FirstAck)),
    ];
    let title = format!("startup: {PARTITIONS} partitions after a clean stop");
    arena.contest(&title, &[Column::WallMs], sides)?;
    if arena.wants("idle") {
        idle(folder, &full, options.rounds)?;
    }
    Ok(())
}

/// How far a start is measured.
#[derive(Debug)]
enum Until {
    Accepts,
    FirstAck,
}

fn raw_start(folder: &Path) -> Result<Sample> {
    let frame = records::batch(1, 100)?.into_bytes();
    let start = Instant::now();
    let server = RawServer::start(folder)?;
    let mut stream = server.connect(Mode::Ping)?;
    rawserver::send(&mut stream, &frame)?;
    rawserver::receive_count(&mut stream)?;
    Ok(started(start, server.process.pid()))
}

fn started(start: Instant, pid: u32) -> Sample {
    let wall = start.elapsed();
    Sample { wall, cpu: load::cpu_of(pid), bytes: 0, operations: 1, latencies: None }
}

fn empty_start(folder: &Path, until: &Until) -> Result<Sample> {
    // Removed at the end: ext4 looks long for a file number when many were given back in the last seconds.
    let data = tempfile::tempdir_in(folder)?.keep();
    let start = Instant::now();
    let broker = Broker::start(&data)?;
    if matches!(until, Until::FirstAck) {
        run(async {
            let mut rpc = rpc::connect(&broker.grpc).await?;
            let topic = rpc::create_topic(&mut rpc, "first", 1).await?;
            produce_one(&mut rpc, &topic, 0).await
        })?;
    }
    let sample = started(start, broker.process.pid());
    broker.process.stop()?;
    Ok(sample)
}

fn full_start(data: &Path, until: &Until) -> Result<Sample> {
    let start = Instant::now();
    let broker = Broker::start(data)?;
    if matches!(until, Until::FirstAck) {
        run(async {
            let mut rpc = rpc::connect(&broker.grpc).await?;
            produce_one(&mut rpc, &named("full"), 7).await
        })?;
    }
    let sample = started(start, broker.process.pid());
    broker.process.stop()?;
    Ok(sample)
}

/// Runs a client that is gone afterwards: a broker that drains waits for calls that are open.
fn run<T>(client: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(client)
}

fn named(name: &str) -> v1::TopicRef {
    v1::TopicRef { name: name.to_owned(), id: Bytes::new() }
}

async fn produce_one(rpc: &mut Rpc, topic: &v1::TopicRef, partition: i32) -> Result<()> {
    let value = Bytes::from(records::value(100, 1));
    let request = rpc::produce_request(topic, partition, rpc::plain([value]));
    rpc::check(rpc.produce(request).await?.get_ref())
}

/// A directory with many partitions, a record in each, cleanly stopped.
fn fill(data: &Path) -> Result<()> {
    let broker = Broker::start(data)?;
    run(async {
        let mut rpc = rpc::connect(&broker.grpc).await?;
        let topic = rpc::create_topic(&mut rpc, "full", PARTITIONS).await?;
        let value = Bytes::from(records::value(100, 1));
        let mut pipeline = Pipeline::open(&mut rpc, 64).await?;
        for partition in 0..i32::try_from(PARTITIONS)? {
            pipeline.send(rpc::produce_request(&topic, partition, rpc::plain([value.clone()]))).await?;
        }
        pipeline.drain().await
    })?;
    broker.process.stop()
}

/// What a broker holds while nobody asks anything of it.
#[derive(Clone, Copy, Debug)]
struct Idle {
    resident_mib: f64,
    own_mib: f64,
    cpu_percent: f64,
}

#[expect(clippy::print_stdout, reason = "a measurement talks to the person who called it")]
fn idle(folder: &Path, full: &Path, rounds: usize) -> Result<()> {
    println!("\n## idle: {} s after {} s of rest", WATCH.as_secs(), SETTLE.as_secs());
    let empty = folder.join("idle");
    for (name, data) in
        [("no topic", empty.as_path()), ("1,000 partitions, none read or written since the start", full)]
    {
        let mut seen = Vec::new();
        for _ in 0..rounds.min(3) {
            seen.push(watch(data)?);
        }
        println!("   {name}");
        let show = |what: &str, of: fn(&Idle) -> f64| {
            let values: Vec<f64> = seen.iter().map(of).collect();
            println!("      {what:<44}{:>26}", spread(&values, 2));
        };
        show("resident, MiB (VmRSS)", |idle| idle.resident_mib);
        show("of it not backed by files, MiB (RssAnon)", |idle| idle.own_mib);
        show("CPU, % of one core", |idle| idle.cpu_percent);
    }
    let used = watch_after_use(&empty)?;
    println!(
        "   after 100,000 records of 1 KiB were produced\n      resident {:.2} MiB, anonymous {:.2} MiB",
        used.resident_mib, used.own_mib
    );
    Ok(())
}

fn watch(data: &Path) -> Result<Idle> {
    let broker = Broker::start(data)?;
    let idle = rest(&broker)?;
    broker.process.stop()?;
    Ok(idle)
}

fn watch_after_use(data: &Path) -> Result<Idle> {
    let broker = Broker::start(data)?;
    run(async {
        let mut rpc = rpc::connect(&broker.grpc).await?;
        let topic = rpc::create_topic(&mut rpc, "used", 1).await?;
        let value = Bytes::from(records::value(1024, 1));
        let data = rpc::plain(std::iter::repeat_n(value, 100));
        let mut pipeline = Pipeline::open(&mut rpc, 16).await?;
        for _ in 0..1000 {
            pipeline.send(rpc::produce_request(&topic, 0, data.clone())).await?;
        }
        pipeline.drain().await
    })?;
    let idle = rest(&broker)?;
    broker.process.stop()?;
    Ok(idle)
}

fn rest(broker: &Broker) -> Result<Idle> {
    let pid = broker.process.pid();
    std::thread::sleep(SETTLE);
    let before = load::cpu_of(pid);
    std::thread::sleep(WATCH);
    let cpu = load::cpu_of(pid).saturating_sub(before);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mib = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
        let kib: f64 = line.split_whitespace().next().context("no number")?.parse()?;
        Ok(kib / 1024.0)
    };
    Ok(Idle {
        resident_mib: mib("VmRSS:")?,
        own_mib: mib("RssAnon:")?,
        cpu_percent: cpu.as_secs_f64() / WATCH.as_secs_f64() * 100.0,
    })
}
