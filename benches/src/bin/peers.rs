//! Millrace beside Apache Kafka and Redis streams: the same client, in turn, at like durability.
//!
//! Wants Maven and a Java compiler (Debian: maven, default-jdk-headless); Redis is left out where `redis-server` is missing.
#![expect(clippy::print_stdout, reason = "a measurement talks to the person who called it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use millrace_benches::load::Gate;
use millrace_benches::machine;
use millrace_benches::peers::brokers::{self, KAFKA_HEAP_MIB, Kind, Peer};
use millrace_benches::peers::client::{HEAP_MIB, JavaClient};
use millrace_benches::peers::durability::Durability;
use millrace_benches::peers::groups::{GROUP_PARTITIONS, GroupProtocol};
use millrace_benches::peers::kafka_jars::{KafkaJars, VERSION};
use millrace_benches::peers::results::Report;
use millrace_benches::peers::stage::{Job, Stage};
use millrace_benches::peers::{picture, starts, table, verdict};

const RATE: u64 = 20_000;
const KIB: u64 = 1024;

/// Millrace beside Apache Kafka and Redis streams.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Measure only contests with one of these in their ids (start, produce, latency, read, flushed, ...).
    only: Vec<String>,
    /// Rounds of each broker, after one that does not count; 5, or 2 with --quick.
    #[arg(long)]
    rounds: Option<usize>,
    /// Fewer rounds and a quarter of the volume.
    #[arg(long)]
    quick: bool,
    /// Which brokers take turns; one that stands here twice is measured against itself.
    #[arg(long, default_value = "millrace,kafka,redis")]
    brokers: String,
    /// Seconds to wait in all for other processes to be quiet.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Where to write while measuring; removed at the end. Beside the binary by default.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A folder for peers.txt, peers.json and peers.svg. Without it they are only printed.
    #[arg(long)]
    report: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let exe = std::env::current_exe()?;
    let target = exe.parent().context("a binary lies in a folder")?;
    let folder = options.dir.clone().unwrap_or_else(|| target.to_owned());
    let scratch = tempfile::tempdir_in(&folder)?;
    let began = Instant::now();
    let jars = KafkaJars::fetch(target, scratch.path())?;
    let peers = present(brokers::list(&options.brokers)?);
    let rounds = options.rounds.unwrap_or(if options.quick { 2 } else { 5 });
    let report = Report { head: head(&options, scratch.path(), rounds), contests: Vec::new() };
    println!("{}", report.head.join("\n"));
    let mut stage = Stage {
        client: JavaClient::start(&jars)?,
        running: Vec::new(),
        folder: scratch.path().to_owned(),
        rounds,
        gate: Gate::new(Duration::from_secs(options.patience)),
        only: options.only.clone(),
        report,
        topics: 0,
    };
    starts::measure(&mut stage, &jars, &peers)?;
    for peer in &peers {
        stage.running.push(peer.prepare(&jars, scratch.path())?.start()?);
    }
    loads(&mut stage, if options.quick { 4 } else { 1 })?;
    for running in stage.running.drain(..) {
        running.stop()?;
    }
    stage.report.head.push(format!("It took {} minutes.", began.elapsed().as_secs().div_ceil(60)));
    finish(&stage.report, options.report.as_deref())
}

/// Leaves out what the machine does not have.
fn present(peers: Vec<Peer>) -> Vec<Peer> {
    let (there, missing): (Vec<Peer>, Vec<Peer>) = peers.into_iter().partition(|peer| {
        peer.kind != Kind::Redis || Command::new("redis-server").arg("--version").output().is_ok()
    });
    for peer in missing {
        println!("{} is left out: apt-get install redis-server", peer.label());
    }
    there
}

fn head(options: &Options, folder: &Path, rounds: usize) -> Vec<String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let more = if words.is_empty() { String::new() } else { format!(" -- {}", words.join(" ")) };
    let version = |program: &str, flag: &str| {
        let output = Command::new(program).arg(flag).output().ok();
        let text = output
            .map(|output| String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned());
        text.and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_else(|| "not there".to_owned())
    };
    let quick = if options.quick { ", a quarter of the volume" } else { "" };
    vec![
        format!("# peers: cargo xtask bench peers{more}"),
        machine::line(folder),
        format!("Apache Kafka {VERSION}, KRaft, one node, heap {KAFKA_HEAP_MIB} MiB (G1, the flags of its own start script), otherwise as it comes; {}", version("java", "-version")),
        format!("{}, append-only file, no snapshots, no rewrites", version("redis-server", "--version")),
        format!("{rounds} rounds of each broker in turn{quick}, after one that does not count; median (smallest-largest); ratios round by round."),
        "All brokers run the whole time; each round has a topic of its own, one partition, removed behind it, and pages warmed by a file of".to_owned(),
        "the round's size. Buffered: Millrace sync.mode=os, Kafka's default, Redis appendfsync everysec. Flushed: sync.mode=always, Kafka".to_owned(),
        "flush.messages=1, appendfsync always. MB and GB are powers of ten. CPU is user plus system time of the process, from /proc.".to_owned(),
        format!("Client of Millrace and Kafka: one warm Java process (heap {HEAP_MIB} MiB) that runs Kafka's own ProducerPerformance (acks=all,"),
        "idempotent, five requests in flight, no compression) and reads with KafkaConsumer, assign and its default settings. Latency is".to_owned(),
        "taken from send to acknowledgement in nanoseconds by an interceptor in the same run; the tool itself prints whole milliseconds.".to_owned(),
        format!("Groups: topics of {GROUP_PARTITIONS} partitions, KafkaConsumer as it comes (auto.offset.reset=earliest), no delay before the first generation."),
        "Millrace syncs every commit; Kafka only where it says flushed (flush.messages=1 on its topic of commits).".to_owned(),
        "Client of Redis: ours, XADD in a pipeline of five times 64, XRANGE 1,000 at a time; cheaper than the Java one, so only the scale compares.".to_owned(),
    ]
}

fn loads(stage: &mut Stage, divisor: u64) -> Result<()> {
    use Durability::{Buffered, Flushed};
    let job =
        |durability, records: u64, size, batch| Job { durability, records: records / divisor, size, batch };
    stage.produce(job(Buffered, 1_000_000, KIB, 16 * KIB))?;
    stage.produce(job(Buffered, 1_000_000, KIB, KIB * KIB))?;
    stage.produce(job(Buffered, 3_000_000, 100, 16 * KIB))?;
    stage.produce(job(Buffered, 3_000_000, 100, KIB * KIB))?;
    stage.produce(job(Flushed, 100_000, KIB, 16 * KIB))?;
    stage.produce(job(Flushed, 400_000, KIB, KIB * KIB))?;
    stage.produce(job(Flushed, 500_000, 100, 16 * KIB))?;
    stage.latency(job(Buffered, 6 * RATE, KIB, 16 * KIB), RATE)?;
    stage.latency(job(Flushed, 4 * RATE, KIB, 16 * KIB), RATE)?;
    stage.read(job(Buffered, 1_000_000, KIB, 16 * KIB), 2)?;
    stage.read(job(Buffered, 1_000_000, KIB, KIB * KIB), 2)?;
    stage.read(job(Buffered, 3_000_000, 100, 16 * KIB), 1)?;
    for protocol in GroupProtocol::BOTH {
        stage.group_read(protocol, job(Buffered, 1_000_000, KIB, 16 * KIB))?;
        stage.group_share(protocol)?;
    }
    // The flushed one last: it changes the topic of Kafka's commits for good.
    stage.group_commit(Buffered, 4_000 / divisor)?;
    stage.group_commit(Flushed, 4_000 / divisor)
}

/// Prints the report, and writes it where that was asked for.
fn finish(report: &Report, folder: Option<&Path>) -> Result<()> {
    println!("{}", verdict::text(report));
    println!("{}", report.head.last().map_or("", String::as_str));
    let Some(folder) = folder else { return Ok(()) };
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("peers.txt"), table::report(report))?;
    std::fs::write(folder.join("peers.json"), serde_json::to_string_pretty(&report.json())? + "\n")?;
    std::fs::write(folder.join("peers.svg"), picture::svg(report))?;
    println!("written: peers.txt, peers.json, peers.svg in {}", folder.display());
    Ok(())
}
