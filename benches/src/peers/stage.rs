//! Rounds in turn, and the meters around each.
#![expect(clippy::print_stdout, reason = "a measurement talks to the person who called it")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::load::{self, Gate, Look};
use crate::peers::brokers::{Kind, Running};
use crate::peers::client::{JavaClient, summary};
use crate::peers::durability::Durability;
use crate::peers::results::{Column, ContestResult, Figures, Report, SideResult};
use crate::peers::{pages, resp, table};

/// Figures that every round of a load has.
const METERS: [Column; 4] = [
    Column { key: "broker_cpu_s_gb", head: "broker CPU s/GB" },
    Column { key: "broker_cores", head: "broker cores" },
    Column { key: "client_cores", head: "client cores" },
    Column { key: "others_percent", head: "others %" },
];

/// Records that a producer sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Job {
    /// Which durability.
    pub durability: Durability,
    /// How many records.
    pub records: u64,
    /// Bytes of each.
    pub size: u64,
    /// The producer's `batch.size` in bytes.
    pub batch: u64,
}

impl Job {
    pub(crate) fn bytes(self) -> u64 {
        self.records * self.size
    }

    pub(crate) fn id(self, what: &str) -> String {
        format!("{what}-{}-{}b-{}k", self.durability.word(), self.size, self.batch / 1024)
    }
}

/// Brokers at work, a client, and what was measured so far.
#[derive(Debug)]
pub struct Stage {
    /// The Java client.
    pub client: JavaClient,
    /// The brokers, in the order of their turns.
    pub running: Vec<Running>,
    /// Where files may be written.
    pub folder: PathBuf,
    /// Rounds that count.
    pub rounds: usize,
    /// Waits for the others.
    pub gate: Gate,
    /// Only contests with one of these in their ids.
    pub only: Vec<String>,
    /// What was measured so far.
    pub report: Report,
    /// Numbers the topics.
    pub topics: usize,
}

pub(crate) type Round<'a> = dyn FnMut(&mut Bench<'_>) -> Result<Figures> + 'a;

/// What one round may use.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The broker.
    pub broker: &'a Running,
    /// The Java client.
    pub client: &'a mut JavaClient,
    /// A name that no other round has.
    pub topic: String,
}

impl Stage {
    /// As fast as it goes.
    ///
    /// # Errors
    /// The machine's; what a broker does wrong goes into the report.
    pub fn produce(&mut self, job: Job) -> Result<()> {
        let title = format!(
            "produce, {}: records of {} B, batch.size {} KiB, {} MB a round",
            job.durability.word(),
            job.size,
            job.batch / 1024,
            job.bytes() / 1_000_000
        );
        let columns = with_meters(&[Column { key: "mb_s", head: "MB/s" }]);
        let folder = self.folder.clone();
        let contest = Contest { id: job.id("produce"), title, columns, with_redis: job.batch == 16 * 1024 };
        self.contest(contest, &mut |bench| {
            bench.broker.make_topic(bench.client, &bench.topic, job.durability)?;
            pages::warm(&folder, job.bytes())?;
            let figures = bench.produce(job);
            bench.broker.drop_topic(bench.client, &bench.topic)?;
            figures
        })
    }

    /// At a fixed rate.
    ///
    /// # Errors
    /// As [`Stage::produce`].
    pub fn latency(&mut self, job: Job, per_second: u64) -> Result<()> {
        let title = format!(
            "latency, {}: {per_second} records of {} B per second, linger.ms 0, {} s a round",
            job.durability.word(),
            job.size,
            job.records / per_second
        );
        let mut columns = Vec::from([("p50_ms", "p50 ms"), ("p99_ms", "p99 ms"), ("p999_ms", "p99.9 ms")]);
        columns.extend([("tool_p50_ms", "tool p50"), ("tool_p99_ms", "tool p99")]);
        columns.extend([("tool_p999_ms", "tool p99.9"), ("rate", "records/s")]);
        let columns: Vec<Column> = columns.into_iter().map(|(key, head)| Column { key, head }).collect();
        let folder = self.folder.clone();
        let contest =
            Contest { id: job.id("latency"), title, columns: with_meters(&columns), with_redis: true };
        self.contest(contest, &mut |bench| {
            bench.broker.make_topic(bench.client, &bench.topic, job.durability)?;
            pages::warm(&folder, job.bytes())?;
            let figures = bench.produce_at_rate(job, per_second);
            bench.broker.drop_topic(bench.client, &bench.topic)?;
            figures
        })
    }

    /// Reads from the beginning what was produced just before, `passes` times a round.
    ///
    /// # Errors
    /// As [`Stage::produce`].
    pub fn read(&mut self, job: Job, passes: u64) -> Result<()> {
        let title = format!(
            "read: records of {} B in batches of {} KiB, {} MB a round, from the page cache",
            job.size,
            job.batch / 1024,
            job.bytes() * passes / 1_000_000
        );
        let contest = Contest {
            id: job.id("read"),
            title,
            columns: with_meters(&[Column { key: "mb_s", head: "MB/s" }]),
            with_redis: job.batch == 16 * 1024,
        };
        if !self.wants(&contest.id) {
            return Ok(());
        }
        let topic = format!("read-{}", job.id("of"));
        for broker in self.running.iter().filter(|broker| contest.takes(broker)) {
            broker.make_topic(&mut self.client, &topic, job.durability)?;
            pages::warm(&self.folder, job.bytes())?;
            let mut bench = Bench { broker, client: &mut self.client, topic: topic.clone() };
            if let Err(error) = bench.produce(job) {
                println!("{}: nothing to read: {error:#}", broker.peer.label());
            }
        }
        let outcome = self.contest(contest.clone(), &mut |bench| {
            bench.topic.clone_from(&topic);
            bench.read(job, passes)
        });
        for broker in self.running.iter().filter(|broker| contest.takes(broker)) {
            broker.drop_topic(&mut self.client, &topic)?;
        }
        outcome
    }

    /// Whether the command line asks for this contest.
    pub(crate) fn wants(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| id.contains(part.as_str()))
    }

    /// One round each that does not count, then the rounds in turn. A broker that fails is out of this contest.
    pub(crate) fn contest(&mut self, contest: Contest, round: &mut Round<'_>) -> Result<()> {
        if !self.wants(&contest.id) {
            return Ok(());
        }
        let taking: Vec<&Running> = self.running.iter().filter(|broker| contest.takes(broker)).collect();
        let side =
            |broker: &&Running| SideResult { label: broker.peer.label(), rounds: Vec::new(), failed: None };
        let mut sides: Vec<SideResult> = taking.iter().map(side).collect();
        for counted in 0..=self.rounds {
            for (broker, side) in taking.iter().zip(&mut sides).filter(|(_, side)| side.failed.is_none()) {
                self.topics += 1;
                let topic = format!("bench-{}", self.topics);
                // Between the rounds, so that no round pays for what another one left.
                self.client.run("collect")?;
                self.gate.pass();
                let before = Look::now();
                match round(&mut Bench { broker, client: &mut self.client, topic }) {
                    Ok(mut figures) if counted > 0 => {
                        figures.entry("others_percent").or_insert_with(|| before.others_since() * 100.0);
                        side.rounds.push(figures);
                    }
                    Ok(_) => {}
                    Err(error) => side.failed = Some(format!("{error:#}")),
                }
            }
        }
        self.conclude(contest, sides);
        Ok(())
    }

    /// Prints what a contest came to and keeps it for the report.
    pub(crate) fn conclude(&mut self, contest: Contest, sides: Vec<SideResult>) {
        let Contest { id, title, columns, .. } = contest;
        let result = ContestResult { id, title, columns, sides };
        println!("{}", table::contest(&result));
        self.report.contests.push(result);
    }
}

/// A contest before it is measured.
#[derive(Clone, Debug)]
pub(crate) struct Contest {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) with_redis: bool,
}

impl Contest {
    fn takes(&self, broker: &Running) -> bool {
        self.with_redis || broker.peer.kind != Kind::Redis
    }
}

pub(crate) fn with_meters(own: &[Column]) -> Vec<Column> {
    own.iter().chain(&METERS).copied().collect()
}

impl Bench<'_> {
    /// Sends the records as fast as it goes.
    ///
    /// # Errors
    /// The client's.
    pub fn produce(&mut self, job: Job) -> Result<Figures> {
        let (address, topic) = (self.broker.address.clone(), self.topic.clone());
        let meter = self.meter();
        let seconds = if self.broker.peer.kind == Kind::Redis {
            resp::add_all(&address, &topic, job.records, usize::try_from(job.size)?)?
        } else {
            let command = tool(&address, &topic, job, -1) + &format!(" batch.size={}", job.batch);
            let line = summary(&self.client.run(&command)?.printed)?;
            line.records / line.rate
        };
        Ok(meter.read(job.bytes(), seconds))
    }

    fn produce_at_rate(&mut self, job: Job, per_second: u64) -> Result<Figures> {
        let (address, topic) = (self.broker.address.clone(), self.topic.clone());
        let meter = self.meter();
        if self.broker.peer.kind == Kind::Redis {
            let load = resp::Load { records: job.records, size: usize::try_from(job.size)?, per_second };
            let latencies = resp::add_at_rate(&address, &topic, load)?;
            let mut figures = meter.read(job.bytes(), job.records as f64 / latencies["rate"]);
            figures.extend(latencies);
            return Ok(figures);
        }
        let command = tool(&address, &topic, job, i64::try_from(per_second)?)
            + " linger.ms=0 interceptor.classes=Driver$Stamp";
        let answer = self.client.run(&command)?;
        let line = summary(&answer.printed)?;
        let mut figures = meter.read(job.bytes(), line.records / line.rate);
        for (name, from) in [("p50_ms", "p50_nanos"), ("p99_ms", "p99_nanos"), ("p999_ms", "p999_nanos")] {
            figures.insert(name, answer.figure(from)? / 1e6);
        }
        for (name, value) in ["tool_p50_ms", "tool_p99_ms", "tool_p999_ms"].into_iter().zip(line.latencies) {
            figures.insert(name, value);
        }
        figures.insert("rate", line.rate);
        Ok(figures)
    }

    /// Reads all records, several times over.
    ///
    /// # Errors
    /// The client's.
    pub fn read(&mut self, job: Job, passes: u64) -> Result<Figures> {
        let (address, topic) = (self.broker.address.clone(), self.topic.clone());
        let meter = self.meter();
        let (mut bytes, mut seconds) = (0, 0.0);
        for _ in 0..passes {
            if self.broker.peer.kind == Kind::Redis {
                let (read, took) = resp::read_all(&address, &topic, job.records)?;
                (bytes, seconds) = (bytes + read, seconds + took);
            } else {
                let answer = self.client.run(&format!("read {address} {topic} {}", job.records))?;
                (bytes, seconds) = (bytes + job.bytes(), seconds + answer.figure("nanos")? / 1e9);
            }
        }
        Ok(meter.read(bytes, seconds))
    }

    pub(crate) fn meter(&self) -> Meter {
        let broker = self.broker.process.pid();
        // The load for Redis runs in this process.
        let client = (self.broker.peer.kind != Kind::Redis).then(|| self.client.pid());
        Meter {
            broker,
            client,
            at: Instant::now(),
            spent: (load::cpu_of(broker), client_cpu(client)),
            look: Look::now(),
        }
    }
}

fn tool(address: &str, topic: &str, job: Job, throughput: i64) -> String {
    format!(
        "produce --topic {topic} --num-records {} --record-size {} --throughput {throughput} \
         --producer-props bootstrap.servers={address} acks=all",
        job.records, job.size
    )
}

fn client_cpu(client: Option<u32>) -> Duration {
    client.map_or_else(load::own_cpu, load::cpu_of)
}

pub(crate) struct Meter {
    broker: u32,
    client: Option<u32>,
    at: Instant,
    spent: (Duration, Duration),
    look: Look,
}

impl Meter {
    /// Seconds of the broker's processor time so far.
    pub(crate) fn broker_seconds(&self) -> f64 {
        load::cpu_of(self.broker).saturating_sub(self.spent.0).as_secs_f64()
    }

    /// `seconds` is what the client says that its work took; the meters ran a little longer.
    pub(crate) fn read(&self, bytes: u64, seconds: f64) -> Figures {
        let wall = self.at.elapsed().as_secs_f64();
        let broker = self.broker_seconds();
        let client = client_cpu(self.client).saturating_sub(self.spent.1).as_secs_f64();
        let gigabytes = bytes as f64 / 1e9;
        Figures::from([
            ("mb_s", gigabytes * 1e3 / seconds),
            ("broker_cpu_s_gb", broker / gigabytes),
            ("client_cpu_s_gb", client / gigabytes),
            ("broker_cores", broker / wall),
            ("client_cores", client / wall),
            ("others_percent", self.look.others_since() * 100.0),
        ])
    }
}
