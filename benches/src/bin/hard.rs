//! The four cases in which fast brokers have broken, each beside a baseline of the same run: many producers with small
//! batches, retention at work, a backlog that is drained while producers keep their rate, and a long run.
//!
//! The load is `millrace bench` of the same build: an open loop wherever a latency is compared.
#![expect(clippy::print_stdout, reason = "a measurement talks to the person who called it")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use millrace_benches::child::{Broker, program};
use millrace_benches::load::{anonymous_kib_of, cpu_of};
use millrace_benches::machine;
use rustix::fs::{Advice, fadvise};
use serde_json::Value;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is measured, and for how long.
#[derive(Debug, Parser)]
struct Options {
    /// Only the cases with one of these names: small, retention, backlog, long.
    only: Vec<String>,
    /// Seconds that each figure takes.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Everything within five minutes.
    #[arg(long)]
    quick: bool,
    /// Seconds of the long run.
    #[arg(long, default_value_t = 1800)]
    long: u64,
    /// Where to write; a scratch directory in it is removed at the end. Beside the binary by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Options {
    fn seconds(&self) -> u64 {
        if self.quick { 4 } else { self.seconds }
    }

    fn long(&self) -> u64 {
        if self.quick { 60 } else { self.long }
    }

    fn wants(&self, case: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == case)
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let beside = std::env::current_exe()?.parent().map(Path::to_owned);
    let folder = options.dir.clone().or(beside).unwrap_or_else(|| PathBuf::from("."));
    let quick = if options.quick { " --quick" } else { "" };
    println!("# hard: cargo xtask bench hard{quick}\n{}", machine::line(&folder));
    type Case = fn(&Options, &Path) -> Result<()>;
    let cases: [(&str, Case); 4] =
        [("small", small), ("retention", retention), ("backlog", backlog), ("long", long)];
    for (name, case) in cases.into_iter().filter(|(name, _)| options.wants(name)) {
        let scratch = tempfile::tempdir_in(&folder)?;
        case(&options, &scratch.path().join("data")).with_context(|| name.to_owned())?;
        // With more than a few running on so many cores, the figures above are of a crowd.
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!("   load average at the end of it: {}", load.split(' ').next().unwrap_or_default());
    }
    Ok(())
}

/// A figure of a run of `millrace bench`.
#[derive(Debug)]
struct Figure {
    rows: Vec<Value>,
    /// Processor time of the broker meanwhile.
    cpu: Duration,
    /// RssAnon of the broker at the end, in KiB.
    memory_kib: u64,
}

impl Figure {
    /// A number of the row with that measure.
    fn of(&self, measure: &str, key: &str) -> f64 {
        let row = self.rows.iter().find(|row| row["measure"] == measure);
        row.and_then(|row| row[key].as_f64()).unwrap_or(f64::NAN)
    }

    fn acknowledged(&self, key: &str) -> f64 {
        self.of("acknowledged", key)
    }
}

const HEAD: &str = "   what                                          records/s     MB/s    p50 ms    p99 ms  p99.9 ms    max ms  CPU us each  RssAnon MiB";

fn print(what: &str, figure: &Figure) {
    let ms = |key| figure.acknowledged(key) / 1e3;
    // The warm-up is in the processor time and not in the records: a run of one second more than it says.
    let counted =
        figure.acknowledged("seconds") / (figure.acknowledged("seconds") + figure.acknowledged("warm_up_s"));
    let each = figure.cpu.as_secs_f64() * 1e6 * counted / figure.acknowledged("records");
    println!(
        "   {what:<44} {:>11.0} {:>8.1} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {each:>12.2} {:>12}",
        figure.acknowledged("records_per_s"),
        figure.acknowledged("mb_per_s"),
        ms("p50_us"),
        ms("p99_us"),
        ms("p99_9_us"),
        ms("max_us"),
        figure.memory_kib / 1024,
    );
}

/// Runs `millrace bench` to its end.
fn bench(broker: &Broker, words: &[&str]) -> Result<Figure> {
    let before = cpu_of(broker.process.pid());
    let run = start(broker, words)?;
    let output = run.wait_with_output()?;
    figure_of(broker, before, &output, words)
}

fn start(broker: &Broker, words: &[&str]) -> Result<std::process::Child> {
    let mut command = Command::new(program()?);
    command.env_remove("MILLRACE_BIN").args(["--server", &broker.grpc, "bench"]).args(words);
    Ok(command.args(["--format", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

fn figure_of(
    broker: &Broker,
    before: Duration,
    output: &std::process::Output,
    words: &[&str],
) -> Result<Figure> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "millrace bench {}: {said}", words.join(" "));
    let text = String::from_utf8_lossy(&output.stdout);
    let rows = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let pid = broker.process.pid();
    Ok(Figure { rows, cpu: cpu_of(pid).saturating_sub(before), memory_kib: anonymous_kib_of(pid) })
}

/// Many producers, each with one record at a time, against few with large batches.
fn small(options: &Options, data: &Path) -> Result<()> {
    let seconds = format!("{}s", options.seconds());
    println!(
        "\n## hard, small batches: records of 100 B; 500 producers on 500 connections, one record at a time, against 4 with batches"
    );
    println!("{HEAD}");
    let broker = Broker::start(data)?;
    for mode in ["os", "always"] {
        let config = format!("sync.mode={mode}");
        for partitions in ["16", "256"] {
            let common = [
                "produce",
                "--duration",
                &seconds,
                "--partitions",
                partitions,
                "--config",
                &config,
                "--record-size",
                "100",
            ];
            let few = bench(&broker, &[&common[..], &["--producers", "4", "--buffer", "4MiB"]].concat())?;
            print(&format!("{mode}, {partitions} partitions: 4 with batches"), &few);
            let many = ["--producers", "500", "--outstanding", "1", "--linger", "0ms"];
            let many = bench(&broker, &[&common[..], &many].concat())?;
            print(&format!("{mode}, {partitions} partitions: 500 x 1 record"), &many);
        }
    }
    broker.process.stop()
}

/// The same load with and without segments that are deleted all the time.
fn retention(options: &Options, data: &Path) -> Result<()> {
    let seconds = format!("{}s", options.seconds());
    println!("\n## hard, retention at work: segments of 1 MiB; kept for ever against 16 MiB per partition");
    let broker = Broker::start(data)?;
    let common = [
        "produce",
        "--duration",
        &seconds,
        "--partitions",
        "4",
        "--config",
        "segment.bytes=1048576",
        "--config",
        "sync.mode=os",
    ];
    let deleting = ["--config", "retention.bytes=16777216"];
    let tried = bench(&broker, &[&["produce", "--records", "10", "--warm-up", "0s"], &deleting[..]].concat());
    if let Err(refused) = tried {
        println!("   not measured: {refused:#}");
        return broker.process.stop();
    }
    println!("{HEAD}");
    let full = ["--producers", "2", "--buffer", "4MiB"];
    let without = bench(&broker, &[&common[..], &full].concat())?;
    print("full speed, kept", &without);
    let with = bench(&broker, &[&common[..], &full, &deleting].concat())?;
    print("full speed, deleted behind", &with);
    // A third of what it could: a latency under full load is that of the queue.
    let rate = format!(
        "{:.0}",
        (without.acknowledged("records_per_s").min(with.acknowledged("records_per_s")) / 3.0).max(1.0)
    );
    let steady = ["--rate", &rate, "--producers", "2"];
    print("a third of it, kept", &bench(&broker, &[&common[..], &steady].concat())?);
    print("a third of it, deleted behind", &bench(&broker, &[&common[..], &steady, &deleting].concat())?);
    broker.process.stop()
}

/// A reader of old records beside producers and readers of new ones.
fn backlog(options: &Options, data: &Path) -> Result<()> {
    let seconds = options.seconds();
    let records = if options.quick { "1000000" } else { "4000000" };
    println!(
        "\n## hard, backlog: {records} records of 1 KiB are read from the medium while 20,000 records of 1 KiB per second are written and read"
    );
    println!("{HEAD}");
    let broker = Broker::start(data)?;
    let fill = [
        "produce",
        "--topic",
        "backlog",
        "--keep",
        "--partitions",
        "4",
        "--records",
        records,
        "--warm-up",
        "0s",
        "--config",
        "sync.mode=interval=1000,16777216",
    ];
    let filled = bench(&broker, &fill)?;
    print("the backlog is written", &filled);
    // Started again: the tail cache holds none of it, and no file is mapped.
    broker.process.stop_within(Duration::from_secs(120))?;
    let forgotten = forget(data)?;
    let broker = Broker::start(data)?;
    let duration = format!("{seconds}s");
    let load =
        ["end-to-end", "--rate", "20000", "--duration", &duration, "--partitions", "4", "--readers", "1"];
    let alone = bench(&broker, &load)?;
    print("tail alone, acknowledged", &alone);
    let mut draining =
        start(&broker, &["consume", "--topic", "backlog", "--records", records, "--readers", "2"])?;
    let during = bench(&broker, &load)?;
    let was_busy = draining.try_wait()?.is_none();
    print("tail beside the backlog, acknowledged", &during);
    let output = draining.wait_with_output()?;
    let drained = figure_of(&broker, Duration::ZERO, &output, &["consume"])?;
    for (name, figure) in [("alone", &alone), ("beside the backlog", &during)] {
        let ms = |key| figure.of("read", key) / 1e3;
        println!(
            "   until read, {name:<20}: p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
            ms("p50_us"),
            ms("p99_us"),
            ms("p99_9_us"),
            ms("max_us")
        );
    }
    println!(
        "   the backlog was read at {:.0} MB/s; {forgotten} files were dropped from the page cache before; it was {} when the tail's run ended",
        drained.of("batch-awaited", "mb_per_s"),
        if was_busy { "still being read" } else { "through already" }
    );
    println!(
        "   p99 beside the backlog to p99 alone: {:.2}",
        during.of("read", "p99_us") / alone.of("read", "p99_us")
    );
    broker.process.stop_within(Duration::from_secs(120))
}

/// Drops the cached pages of every file of the directory; how many they are.
fn forget(folder: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            count += forget(&path)?;
        } else {
            let file = File::open(&path)?;
            // Pages that are not on the medium cannot be dropped.
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
            count += 1;
        }
    }
    Ok(count)
}

/// The same load for as long as it takes to see what grows.
fn long(options: &Options, data: &Path) -> Result<()> {
    const PARTS: u64 = 10;
    let part = (options.long() / PARTS).max(2);
    println!(
        "\n## hard, a long run: {} s in tenths, 2 producers at full speed on 4 partitions that keep 2 GiB each, sync.mode=os",
        part * PARTS
    );
    println!("{HEAD}");
    let broker = Broker::start(data)?;
    let duration = format!("{}s", part - 1);
    let mut figures = Vec::new();
    for number in 1..=PARTS {
        // A topic for each part, deleted behind it: the disk is not what is measured, and topics that come and go are.
        let words = [
            "produce",
            "--duration",
            &duration,
            "--warm-up",
            "1s",
            "--partitions",
            "4",
            "--producers",
            "2",
            "--buffer",
            "4MiB",
            "--config",
            "sync.mode=os",
            // A part of minutes at a gigabyte per second is more than a disk of this size has room for.
            "--config",
            "segment.bytes=134217728",
            "--config",
            "retention.bytes=2147483648",
        ];
        let figure = bench(&broker, &words)?;
        print(&format!("tenth {number}"), &figure);
        figures.push(figure);
    }
    let (Some(first), Some(last)) = (figures.first(), figures.last()) else { bail!("no figures") };
    let ratio = |key| last.acknowledged(key) / first.acknowledged(key);
    println!(
        "   last tenth to first: records/s {:.2}, p99 {:.2}, RssAnon {} to {} MiB",
        ratio("records_per_s"),
        ratio("p99_us"),
        first.memory_kib / 1024,
        last.memory_kib / 1024
    );
    broker.process.stop_within(Duration::from_secs(120))
}
