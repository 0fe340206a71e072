//! What a cluster of three brokers on one machine takes to go on when one is killed or stopped, and what it costs to have one.
//!
//! These are times and figures of a whole, so there is no ceiling beside them: what is promised is said in each line.
#![expect(clippy::print_stdout, reason = "a measurement says what it found")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use hdrhistogram::Histogram;
use millrace_benches::machine;
use millrace_client::{Client, Compression, NewTopic, ProducerRecord};
use millrace_tests::trio::{Trio, until};
use tokio::sync::Mutex;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Between two records of the client that is watched.
const PACE: Duration = Duration::from_millis(2);
/// A cluster is left alone for so long before it is killed again.
const REST: Duration = Duration::from_secs(2);
/// A round that takes longer is told by itself: who was gone, and whether that one led the quorum.
const TOLD_ABOVE: Duration = Duration::from_millis(200);
/// How long a cluster counts as idle, and how long it is watched then.
const SETTLE: Duration = Duration::from_secs(10);
const WATCH: Duration = Duration::from_secs(20);
const GIGABYTE: f64 = 1e9;

/// Measures a cluster of three brokers.
#[derive(Parser, Debug)]
struct Options {
    /// How often a leader is killed, and how often one is stopped.
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Partitions with three replicas each.
    #[arg(long, default_value_t = 1000)]
    partitions: u32,
    /// Megabytes of records that are replicated.
    #[arg(long, default_value_t = 1000)]
    megabytes: u64,
    /// Only this part: failover, hand-over, scale, replication.
    #[arg(long)]
    only: Option<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let scratch = tempfile::tempdir()?;
    println!("{}", machine::line(scratch.path()));
    let wants = |part: &str| options.only.as_deref().is_none_or(|only| only == part);
    if wants("failover") {
        let gaps = gaps(&scratch.path().join("failover"), options.rounds, End::Kill).await?;
        tell(
            "kill -9 of the leader, to the first write acknowledged",
            &gaps,
            "p50 <= 1000 ms, p99 <= 2500 ms",
        );
    }
    if wants("hand-over") {
        let gaps = gaps(&scratch.path().join("hand-over"), options.rounds, End::Stop).await?;
        tell("SIGTERM of the leader, longest time without an acknowledgement", &gaps, "<= 200 ms, no error");
    }
    if wants("scale") {
        scale(&scratch.path().join("scale"), options.partitions).await?;
    }
    if wants("replication") {
        replication(&scratch.path().join("replication"), options.megabytes).await?;
    }
    Ok(())
}

/// How the leader ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Kill,
    Stop,
}

fn tell(what: &str, gaps: &Histogram<u64>, promised: &str) {
    let ms = |micros: u64| micros as f64 / 1000.0;
    println!(
        "{what}: {} rounds, p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms (wanted: {promised})",
        gaps.len(),
        ms(gaps.value_at_quantile(0.5)),
        ms(gaps.value_at_quantile(0.99)),
        ms(gaps.max())
    );
}

/// When records were sent and acknowledged, one after the other.
#[derive(Clone, Copy, Debug)]
struct Acknowledged {
    sent: Instant,
    at: Instant,
}

async fn gaps(home: &Path, rounds: usize, end: End) -> Result<Histogram<u64>> {
    let mut trio = Trio::start(home);
    let client = trio.client().await;
    client.admin().create_topic(NewTopic::new("watched").partitions(1).replication_factor(3)).await?;
    whole(&client, "watched").await;
    let seen: Arc<Mutex<Vec<Acknowledged>>> = Arc::default();
    let writer = tokio::spawn(write(client.clone(), Arc::clone(&seen)));
    let mut gaps = Histogram::new(3)?;
    for round in 0..rounds {
        tokio::time::sleep(REST).await;
        let leader = leader_of(&client, "watched").await?;
        let controller = client.admin().describe_cluster().await?.controller.map(|node| node.0);
        let before = Instant::now();
        match end {
            End::Kill => trio.kill_hard(leader),
            End::Stop => trio.stop(leader),
        }
        let gap = loop {
            tokio::time::sleep(PACE).await;
            ensure!(!writer.is_finished(), "the client has heard an error");
            let seen = seen.lock().await;
            match end {
                End::Kill => {
                    if let Some(first) = seen.iter().find(|ack| ack.sent >= before) {
                        break first.at.duration_since(before);
                    }
                }
                End::Stop => {
                    let after: Vec<Instant> =
                        seen.iter().map(|ack| ack.at).filter(|at| *at >= before).collect();
                    if after.last().is_some_and(|last| last.elapsed() < REST && before.elapsed() > REST) {
                        let pauses = after
                            .windows(2)
                            .filter_map(|pair| Some(pair.last()?.duration_since(*pair.first()?)));
                        break pauses.max().unwrap_or_default();
                    }
                }
            }
        };
        if gap > TOLD_ABOVE {
            let decided = if controller == Some(leader) { "which decided" } else { "which did not decide" };
            println!(
                "round {round}: {:.0} ms without broker {leader}, {decided}",
                gap.as_secs_f64() * 1000.0
            );
        }
        gaps.record(u64::try_from(gap.as_micros())?)?;
        trio.start_again(leader);
        whole(&client, "watched").await;
        seen.lock().await.clear();
    }
    writer.abort();
    Ok(gaps)
}

/// One record after the other, each when the one before it is acknowledged.
async fn write(client: Client, seen: Arc<Mutex<Vec<Acknowledged>>>) -> Result<()> {
    let producer = client.producer().linger(Duration::ZERO).build()?;
    for number in 0_u64.. {
        let sent = Instant::now();
        let record = ProducerRecord::new("watched", number.to_string());
        let delivered = producer.send(record).await?.await;
        if let Err(error) = delivered {
            println!("a client has heard: {error}");
            return Err(error.into());
        }
        seen.lock().await.push(Acknowledged { sent, at: Instant::now() });
        tokio::time::sleep(PACE).await;
    }
    Ok(())
}

async fn whole(client: &Client, topic: &str) {
    until(client, topic, "whole", |topic| topic.partitions.iter().all(|p| p.isr.len() == p.replicas.len()))
        .await;
}

async fn leader_of(client: &Client, topic: &str) -> Result<i32> {
    let topic = client.admin().describe_topic(topic).await?;
    Ok(topic.partitions.first().and_then(|partition| partition.leader).context("a leader")?.0)
}

/// Many partitions: what they cost when nothing happens, and how long it takes until a third of them has another leader.
async fn scale(home: &Path, partitions: u32) -> Result<()> {
    let mut trio = Trio::start(home);
    let client = trio.client().await;
    tokio::time::sleep(SETTLE).await;
    let memory_before: u64 = pids(&mut trio).into_iter().map(millrace_tests::broker::own_memory_kib_of).sum();
    let began = Instant::now();
    client.admin().create_topic(NewTopic::new("many").partitions(partitions).replication_factor(3)).await?;
    whole(&client, "many").await;
    println!("{partitions} partitions with three replicas: made in {:.1} s", began.elapsed().as_secs_f64());
    tokio::time::sleep(SETTLE).await;
    let pids_now = pids(&mut trio);
    let memory: u64 = pids_now.iter().copied().map(millrace_tests::broker::own_memory_kib_of).sum();
    let (cpu, began) = (cpu_seconds(&pids_now)?, Instant::now());
    tokio::time::sleep(WATCH).await;
    let cpu = (cpu_seconds(&pids_now)? - cpu) / began.elapsed().as_secs_f64();
    println!(
        "idle: {:.1} % of one core for all three brokers; {:.1} KiB of memory for each replica ({:.0} MiB in all)",
        cpu * 100.0,
        memory.saturating_sub(memory_before) as f64 / f64::from(partitions) / 3.0,
        memory as f64 / 1024.0
    );
    let killed = 1;
    let began = Instant::now();
    trio.kill_hard(killed);
    let is_led = |p: &millrace_client::PartitionDescription| p.leader.is_some_and(|node| node.0 != killed);
    until(&client, "many", "led by others", |topic| topic.partitions.iter().all(is_led)).await;
    let led = began.elapsed();
    let producer = client.producer().linger(Duration::ZERO).build()?;
    let mut deliveries = Vec::new();
    for partition in 0..partitions {
        let record =
            ProducerRecord::new("many", "after").partition(millrace_types::PartitionIndex(partition));
        deliveries.push(producer.send(record).await?);
    }
    for delivery in deliveries {
        delivery.await?;
    }
    println!(
        "a broker with a third of the leaders is killed: every partition has another leader after {:.2} s, \
         and has acknowledged a write after {:.2} s (wanted: 10 s for 3,300)",
        led.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// How fast records lie on three brokers, and what that takes of the processors.
async fn replication(home: &Path, megabytes: u64) -> Result<()> {
    let mut trio = Trio::start(home);
    let client = trio.client().await;
    client.admin().create_topic(NewTopic::new("bulk").partitions(6).replication_factor(3)).await?;
    whole(&client, "bulk").await;
    let pids = pids(&mut trio);
    let (cpu, began) = (cpu_seconds(&pids)?, Instant::now());
    let producer = client.producer().compression(Compression::None).build()?;
    let value = bytes::Bytes::from(vec![b'x'; 1000]);
    let records = megabytes * 1000;
    let mut deliveries = std::collections::VecDeque::new();
    for number in 0..records {
        let record = ProducerRecord::new("bulk", value.clone())
            .partition(millrace_types::PartitionIndex(u32::try_from(number / 1000 % 6)?));
        deliveries.push_back(producer.send(record).await?);
        if deliveries.len() > 50_000
            && let Some(first) = deliveries.pop_front()
        {
            first.await?;
        }
    }
    for delivery in deliveries {
        delivery.await?;
    }
    let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds(&pids)? - cpu);
    let gigabytes = (records * 1000) as f64 / GIGABYTE;
    println!(
        "replication: {:.0} MB/s acknowledged by all three (acks=all, sync.mode=always), {:.2} CPU s per GB in the three brokers",
        gigabytes * 1000.0 / took,
        cpu / gigabytes
    );
    Ok(())
}

fn pids(trio: &mut Trio) -> Vec<u32> {
    (1..=3).map(|node| trio.broker(node).pid()).collect()
}

/// What processes have used of the processors.
fn cpu_seconds(pids: &[u32]) -> Result<f64> {
    let mut ticks = 0_u64;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, rest) = stat.rsplit_once(')').context("a name")?;
        // utime and stime are the 14th and 15th field; two are before the rest.
        ticks += rest
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum::<u64>();
    }
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}
