//! The brokers as processes: how each is started, and how it keeps a topic.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use serde_json::Value;

use crate::child::{self, Process};
use crate::peers::client::JavaClient;
use crate::peers::durability::Durability;
use crate::peers::kafka_jars::{self, KafkaJars};
use crate::peers::resp;

/// The heap that Kafka's broker is given; its own start script says the same.
pub const KAFKA_HEAP_MIB: u32 = 1024;
/// What Kafka's own start script sets.
const KAFKA_JVM: [&str; 6] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];
const PATIENCE: Duration = Duration::from_secs(60);
/// What a Java process answers with when it is asked to end.
const ENDED_BY_TERM: i32 = 143;

/// Which broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// `millrace serve`.
    Millrace,
    /// Apache Kafka, KRaft, one node.
    Kafka,
    /// Redis streams.
    Redis,
}

/// A broker that is to be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Which one.
    pub kind: Kind,
    /// 0, or how many of its kind stand before it (a broker can be measured against itself).
    pub copy: usize,
}

impl Peer {
    /// Its name in tables.
    #[must_use]
    pub fn label(self) -> String {
        let name = match self.kind {
            Kind::Millrace => "Millrace",
            Kind::Kafka => "Apache Kafka",
            Kind::Redis => "Redis streams",
        };
        if self.copy == 0 { name.to_owned() } else { format!("{name} ({} more)", self.copy) }
    }

    /// Prepares a data directory and ports: nothing of it counts as the start.
    ///
    /// # Errors
    /// Kafka's format tool fails.
    pub fn prepare(self, jars: &KafkaJars, folder: &Path) -> Result<Prepared> {
        let data = tempfile::tempdir_in(folder)?.keep();
        let prepared = Prepared { peer: self, jars: jars.clone(), data, ports: free_ports()? };
        if self.kind == Kind::Kafka {
            std::fs::write(prepared.properties(), prepared.kafka_properties())?;
            let mut format = jars.java(256, &[]);
            format.args(["kafka.tools.StorageTool", "format", "-t", "bWlsbHJhY2UtcGVlcnMtMQ", "-c"]);
            kafka_jars::finish(format.arg(prepared.properties()))?;
        }
        Ok(prepared)
    }
}

/// A broker that could be started now.
#[derive(Debug)]
pub struct Prepared {
    peer: Peer,
    jars: KafkaJars,
    data: PathBuf,
    ports: [u16; 2],
}

impl Prepared {
    /// Where clients will find it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// Starts it, and waits until it accepts connections.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(self) -> Result<Running> {
        let log = File::create(self.log())?;
        let (mut command, ready_line) = match self.peer.kind {
            Kind::Millrace => (self.millrace()?, true),
            Kind::Kafka => (self.kafka(), false),
            Kind::Redis => (self.redis(), false),
        };
        command.stderr(log.try_clone()?);
        let mut running = if ready_line {
            let (process, line) = Process::start(&mut command).with_context(|| self.complaint())?;
            let ready: Value = serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?;
            let grpc = ready["grpc"].as_str().or_else(|| ready["grpc"][0].as_str()).unwrap_or_default();
            Running {
                peer: self.peer,
                process,
                address: self.address(),
                grpc: grpc.to_owned(),
                data: self.data.clone(),
            }
        } else {
            let process = Process::spawn(command.stdin(Stdio::null()).stdout(log))?;
            Running {
                peer: self.peer,
                process,
                address: self.address(),
                grpc: String::new(),
                data: self.data.clone(),
            }
        };
        let start = Instant::now();
        while TcpStream::connect(&running.address).is_err() {
            ensure!(running.process.is_running(), "{}", self.complaint());
            ensure!(start.elapsed() < PATIENCE, "{} does not listen", running.peer.label());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(running)
    }

    fn properties(&self) -> PathBuf {
        self.data.with_extension("properties")
    }

    fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    fn complaint(&self) -> String {
        let told = std::fs::read_to_string(self.log()).unwrap_or_default();
        let last: Vec<&str> = told.lines().rev().take(5).collect();
        format!(
            "{} did not come up: {}",
            self.peer.label(),
            last.into_iter().rev().collect::<Vec<_>>().join(" | ")
        )
    }

    fn millrace(&self) -> Result<Command> {
        let program = child::program()?;
        let mut command = kafka_jars::tied(&program.display().to_string());
        command.args(["serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-level", "warn"]);
        // As Kafka's properties below say it: a measurement of groups is not one of how long a group waits for more members.
        command.args(["--group-initial-rebalance-delay-ms", "0"]);
        command.args(["--kafka", &self.address(), "--data-dir"]).arg(&self.data).env_remove("MILLRACE_BIN");
        Ok(command)
    }

    fn kafka(&self) -> Command {
        let mut command = self.jars.java(KAFKA_HEAP_MIB, &KAFKA_JVM);
        command.arg("kafka.Kafka").arg(self.properties());
        command
    }

    fn redis(&self) -> Command {
        let mut command = kafka_jars::tied("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.ports[0].to_string(), "--daemonize", "no"]);
        command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]);
        command.args(["--auto-aof-rewrite-percentage", "0", "--dir"]).arg(&self.data);
        command
    }

    /// One node, everything else as it comes.
    fn kafka_properties(&self) -> String {
        let [port, controller] = self.ports;
        format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             inter.broker.listener.name=PLAINTEXT\nlog.dirs={}\noffsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n",
            self.data.display()
        )
    }
}

/// A broker at work.
#[derive(Debug)]
pub struct Running {
    /// Which one.
    pub peer: Peer,
    /// Its process.
    pub process: Process,
    /// Where clients find it, `host:port`.
    pub address: String,
    grpc: String,
    data: PathBuf,
}

impl Running {
    /// Makes a topic of one partition. Redis has none: its durability is set for the whole server.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn make_topic(&self, client: &mut JavaClient, name: &str, durability: Durability) -> Result<()> {
        self.make_topic_of(client, name, 1, durability)
    }

    /// Makes a topic of so many partitions.
    ///
    /// # Errors
    /// As [`Running::make_topic`].
    pub fn make_topic_of(
        &self,
        client: &mut JavaClient,
        name: &str,
        partitions: u32,
        durability: Durability,
    ) -> Result<()> {
        match (self.peer.kind, durability) {
            (Kind::Millrace, durability) => {
                let mode = if durability == Durability::Buffered { "os" } else { "always" };
                self.millrace(&[
                    "topic",
                    "create",
                    name,
                    "--partitions",
                    &partitions.to_string(),
                    "--config",
                    &format!("sync.mode={mode}"),
                ])
            }
            (Kind::Kafka, Durability::Buffered) => {
                client.run(&format!("topic {} {name} {partitions}", self.address)).map(drop)
            }
            (Kind::Kafka, Durability::Flushed) => {
                client.run(&format!("topic {} {name} {partitions} flush.messages=1", self.address)).map(drop)
            }
            (Kind::Redis, durability) => resp::set_durability(&self.address, durability),
        }
    }

    /// Removes a topic with what is in it.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn drop_topic(&self, client: &mut JavaClient, name: &str) -> Result<()> {
        match self.peer.kind {
            Kind::Millrace => self.millrace(&["topic", "delete", name]),
            Kind::Kafka => client.run(&format!("drop {} {name}", self.address)).map(drop),
            Kind::Redis => resp::remove(&self.address, name),
        }
    }

    fn millrace(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(child::program()?);
        command.args(arguments).args(["--server", &self.grpc]).env_remove("MILLRACE_BIN");
        kafka_jars::finish(&mut command)
    }

    /// Resident memory, that part of it which no file backs, and the most that was ever resident, in MiB.
    ///
    /// # Errors
    /// The process is gone.
    pub fn memory_mib(&self) -> Result<[f64; 3]> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        let mib = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
            let kib: f64 = line.split_whitespace().next().context("no number")?.parse()?;
            Ok(kib / 1024.0)
        };
        Ok([mib("VmRSS:")?, mib("RssAnon:")?, mib("VmHWM:")?])
    }

    /// Ends it and removes what it kept.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(self) -> Result<()> {
        let code = if self.peer.kind == Kind::Kafka { ENDED_BY_TERM } else { 0 };
        self.process.stop_as(code, PATIENCE)?;
        Ok(std::fs::remove_dir_all(&self.data)?)
    }
}

/// Two ports that nobody listens on.
fn free_ports() -> Result<[u16; 2]> {
    let (one, other) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok([one.local_addr()?.port(), other.local_addr()?.port()])
}

/// Reads a list of brokers: `millrace,kafka`; one that stands there twice is measured against itself.
///
/// # Errors
/// One is unknown, or none is named.
pub fn list(text: &str) -> Result<Vec<Peer>> {
    let mut peers: Vec<Peer> = Vec::new();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let Ok(kind) = Kind::from_str(word, true) else {
            bail!("{word:?} is no broker that is measured here")
        };
        let copy = peers.iter().filter(|peer| peer.kind == kind).count();
        peers.push(Peer { kind, copy });
    }
    ensure!(!peers.is_empty(), "no broker is named");
    Ok(peers)
}
