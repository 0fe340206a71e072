//! Many partitions on one broker: how long it takes to start with them, and what they hold open, idle and once read.
//!
//! The limits that must not be passed are the process's own: open files (`RLIMIT_NOFILE`) and maps (`vm.max_map_count`).
#![expect(clippy::print_stdout, reason = "a measurement talks to the person who called it")]

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use millrace_benches::child::Broker;
use millrace_benches::contest::spread;
use millrace_benches::options::Options;
use millrace_benches::records;
use millrace_benches::rpc::{self, Pipeline, Rpc};
use millrace_proto::v1;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: i32 = 10_000;
/// Partitions that one fetch asks for.
const FETCHED_AT_ONCE: i32 = 100;
/// How long a broker may take to sync and close that many logs.
const STOP_PATIENCE: Duration = Duration::from_secs(300);
/// How long a broker is left alone before what it holds is counted.
const SETTLE: Duration = Duration::from_secs(3);

fn main() -> Result<()> {
    let options = Options::read("partitions");
    let scratch = options.scratch()?;
    let data = scratch.path().join("data");
    fill(&data)?;
    let rounds = options.rounds.min(3);
    println!("\n## partitions: {PARTITIONS} of one topic, one segment and one record of 100 B each");
    println!("   start to the first ack, {rounds} rounds, ms");
    let (mut clean, mut unclean) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (broker, ms) = start(&data)?;
        clean.push(ms);
        if round == 0 {
            hold(&broker)?;
        }
        kill(broker);
        let (broker, ms) = start(&data)?;
        unclean.push(ms);
        broker.process.stop_within(STOP_PATIENCE)?;
    }
    println!("      after a clean stop      {}", spread(&clean, 0));
    println!("      after a kill -9         {}", spread(&unclean, 0));
    Ok(())
}

/// Runs a client that is gone afterwards: a broker that drains waits for calls that are open.
fn run<T>(client: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(client)
}

fn topic() -> v1::TopicRef {
    v1::TopicRef { name: "many".to_owned(), id: Bytes::new() }
}

/// Makes the topic, puts a record into each partition, stops.
fn fill(data: &Path) -> Result<()> {
    let broker = Broker::start(data)?;
    let begun = Instant::now();
    run(async {
        let mut rpc = rpc::connect(&broker.grpc).await?;
        let topic = rpc::create_topic(&mut rpc, "many", PARTITIONS.unsigned_abs()).await?;
        println!("   {PARTITIONS} partitions made in {:.1} s", begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        let value = Bytes::from(records::value(100, 1));
        let mut pipeline = Pipeline::open(&mut rpc, 64).await?;
        for partition in 0..PARTITIONS {
            pipeline.send(rpc::produce_request(&topic, partition, rpc::plain([value.clone()]))).await?;
        }
        pipeline.drain().await?;
        println!("   a record in each, synced, in {:.1} s", begun.elapsed().as_secs_f64());
        Ok(())
    })?;
    let begun = Instant::now();
    broker.process.stop_within(STOP_PATIENCE)?;
    println!("   stopped in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Starts the broker; answers it with the milliseconds until it has acknowledged a record.
fn start(data: &Path) -> Result<(Broker, f64)> {
    let begun = Instant::now();
    let broker = Broker::start(data)?;
    run(async {
        let mut rpc = rpc::connect(&broker.grpc).await?;
        let value = Bytes::from(records::value(100, 1));
        let request = rpc::produce_request(&topic(), 7, rpc::plain([value]));
        rpc::check(rpc.produce(request).await?.get_ref())
    })?;
    Ok((broker, begun.elapsed().as_secs_f64() * 1000.0))
}

/// Kills it as a crash would.
fn kill(broker: Broker) {
    drop(broker);
}

/// Counts what it holds, idle, and after every partition was read.
fn hold(broker: &Broker) -> Result<()> {
    std::thread::sleep(SETTLE);
    println!(
        "   {:<28}{:>12}{:>12}{:>16}{:>20}",
        "", "open files", "maps", "resident, MiB", "anonymous, MiB"
    );
    count(broker, "idle")?;
    let begun = Instant::now();
    run(async {
        let mut rpc = rpc::connect(&broker.grpc).await?;
        for first in (0..PARTITIONS).step_by(usize::try_from(FETCHED_AT_ONCE)?) {
            read(&mut rpc, first..first + FETCHED_AT_ONCE).await?;
        }
        Ok(())
    })?;
    let took = begun.elapsed().as_secs_f64();
    count(broker, "every partition read")?;
    println!("   read in {took:.1} s");
    Ok(())
}

async fn read(rpc: &mut Rpc, partitions: std::ops::Range<i32>) -> Result<()> {
    let fetch = |partition| v1::PartitionFetch { topic: Some(topic()), partition, ..Default::default() };
    let request = v1::FetchRequest { partitions: partitions.map(fetch).collect(), ..Default::default() };
    let answer = rpc.fetch(request).await?.into_inner();
    for part in &answer.partitions {
        ensure!(part.error.is_none(), "partition {}: {:?}", part.partition, part.error);
        ensure!(part.next_offset > 0, "partition {} has no record", part.partition);
    }
    Ok(())
}

fn count(broker: &Broker, when: &str) -> Result<()> {
    let proc = format!("/proc/{}", broker.process.pid());
    let files = std::fs::read_dir(format!("{proc}/fd"))?.count();
    let maps = std::fs::read_to_string(format!("{proc}/maps"))?.lines().count();
    let status = std::fs::read_to_string(format!("{proc}/status"))?;
    let mib = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
        let kib: f64 = line.split_whitespace().next().context("no number")?.parse()?;
        Ok(kib / 1024.0)
    };
    let (resident, anonymous) = (mib("VmRSS:")?, mib("RssAnon:")?);
    println!("   {when:<28}{files:>12}{maps:>12}{resident:>16.1}{anonymous:>20.1}");
    Ok(())
}
