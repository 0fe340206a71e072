//! `millrace dev-cluster`: three brokers of one cluster on this machine, for as long as it runs.
//!
//! They are processes of the same binary, each with a directory and a log file. One that is killed stays away: what that looks
//! like is what a cluster at home is for.

mod node;
mod ports;

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures::future::select_all;
use futures::{FutureExt as _, Stream, StreamExt as _};
use millrace_client::{Client, ClientOptions};
use millrace_env::{Clock, real};
use millrace_server::stop_signals;
use serde_json::{Map, Value};

use self::node::{News, Node, State};
use self::ports::Remembered;
use crate::args::DevClusterArgs;
use crate::exit::{self, tell};
use crate::table::{self, DumpFormat, ListFormat, counted, row};

/// How many brokers there are.
const NODES: usize = 3;
/// How long it may take until each broker has its vote, and how often that is looked at.
const VOTES_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const COLUMNS: [&str; 6] = ["node", "pid", "grpc", "kafka", "http", "state"];

/// Runs until it is stopped, or no broker is left; answers the exit code.
///
/// # Errors
/// A broker does not come up.
pub(crate) async fn run(args: DevClusterArgs) -> anyhow::Result<u8> {
    ports::check(&args)?;
    let env = real::env();
    let dir = &args.data_dir;
    env.fs.create_dir_all(dir).with_context(|| dir.display().to_string())?;
    // Handled from here on, so that a signal takes the brokers along.
    let mut signals = stop_signals().context("the handlers of signals cannot be installed")?;
    let mut remembered = Remembered::of(&env, dir, args.internal_port).await?;
    let nodes = (0..NODES).map(|index| Node::start(&args, &remembered, index));
    let mut brokers = Brokers { nodes: nodes.collect::<anyhow::Result<_>>()? };
    let is_up = tokio::select! {
        biased;
        Some(()) = signals.next() => false,
        accepted = brokers.come_up(&*env.clock) => accepted.map(|()| true)?,
    };
    if is_up {
        if !remembered.founded {
            remembered.founded = true;
            remembered.write(&env, dir)?;
        }
        brokers.announce(args.format)?;
        if brokers.watch(args.format, &mut signals).await?.is_empty() {
            return Ok(exit::FAILURE);
        }
    }
    brokers.stop(&mut signals).await
}

/// Those that were running when a watch ended.
type StillRunning = Vec<usize>;

/// All of them.
#[derive(Debug)]
struct Brokers {
    nodes: Vec<Node>,
}

impl Brokers {
    /// The next that something has become of.
    async fn news(&mut self) -> anyhow::Result<(&Node, News)> {
        let waiting = self.nodes.iter_mut().map(|node| node.news().boxed());
        let (news, index, _) = select_all(waiting).await;
        let node = self.nodes.get(index).context("there is no such node")?;
        Ok((node, news?))
    }

    /// Waits until all accept.
    async fn accept(&mut self) -> anyhow::Result<()> {
        while self.nodes.iter().any(|node| node.ready.is_none()) {
            let (node, news) = self.news().await?;
            if let (News::Ended, State::Gone(status)) = (news, node.state) {
                return Err(anyhow!(
                    "node {} did not come up: {status}; {} ends with{}",
                    node.number,
                    node.log().display(),
                    node.last_words()
                ));
            }
        }
        Ok(())
    }

    /// Waits until all accept, and until each has its vote: from then on one of them may go.
    async fn come_up(&mut self, clock: &dyn Clock) -> anyhow::Result<()> {
        self.accept().await?;
        let client = Client::connect(&self.doors(), ClientOptions::default()).await?;
        let deadline = clock.monotonic().after(VOTES_WITHIN);
        while clock.monotonic() < deadline {
            if client.admin().cluster_status().await.is_ok_and(|status| status.has_its_voters()) {
                return Ok(());
            }
            clock.sleep(LOOK_EVERY).await;
        }
        tell!("not every broker has a vote yet: `millrace cluster status` tells when they do");
        Ok(())
    }

    /// Where those that accept do.
    fn doors(&self) -> Vec<String> {
        self.nodes.iter().filter_map(|node| node.ready.as_ref()).map(|ready| ready.grpc.clone()).collect()
    }

    /// Says where they are.
    fn announce(&self, format: DumpFormat) -> io::Result<()> {
        if format == DumpFormat::Json {
            let mut out = io::stdout().lock();
            for node in &self.nodes {
                let mut line = self::line(node);
                line.remove("state");
                serde_json::to_writer(&mut out, &line)?;
                out.write_all(b"\n")?;
            }
            return out.flush();
        }
        self.show()?;
        tell!(
            "\nTo have the tools ask whichever broker is there:\n  export MILLRACE_SERVER={}",
            self.doors().join(",")
        );
        if let Some(node) = self.nodes.first() {
            tell!("Logs: {} and so on. Ctrl-C stops all of them.", node.log().display());
        }
        Ok(())
    }

    /// Prints the table.
    fn show(&self) -> io::Result<()> {
        let rows: Vec<_> = self.nodes.iter().map(line).collect();
        table::print(&COLUMNS, &rows, ListFormat::Table)
    }

    /// Tells of those that go, until it is stopped or all are gone; answers who runs then.
    async fn watch(
        &mut self,
        format: DumpFormat,
        signals: &mut (impl Stream<Item = ()> + Unpin),
    ) -> anyhow::Result<StillRunning> {
        while self.nodes.iter().any(Node::is_there) {
            tokio::select! {
                biased;
                Some(()) = signals.next() => break,
                news = self.news() => {
                    let (node, _) = news?;
                    tell!("node {} (process {}) is {}", node.number, node.pid(), said(node.state));
                    if format == DumpFormat::Table {
                        self.show()?;
                    }
                }
            }
        }
        Ok(self.nodes.iter().filter(|node| node.is_there()).map(|node| node.number).collect())
    }

    /// Stops those that run. A second signal kills them.
    async fn stop(&mut self, signals: &mut (impl Stream<Item = ()> + Unpin)) -> anyhow::Result<u8> {
        let running = self.nodes.iter().filter(|node| node.is_there()).count() as u64;
        tell!("stopping {}", counted(running, "broker"));
        self.nodes.iter_mut().for_each(Node::stop);
        let mut is_clean = true;
        while self.nodes.iter().any(Node::is_there) {
            tokio::select! {
                biased;
                Some(()) = signals.next() => {
                    tell!("killed; the next start recovers");
                    self.nodes.iter_mut().for_each(Node::kill);
                    return Ok(exit::INTERRUPTED);
                }
                news = self.news() => {
                    let (node, news) = news?;
                    if let (News::Ended, State::Gone(status)) = (news, node.state) && !status.success() {
                        tell!("node {} did not stop cleanly: {status}", node.number);
                        is_clean = false;
                    }
                }
            }
        }
        Ok(if is_clean { exit::SUCCESS } else { exit::FAILURE })
    }
}

fn line(node: &Node) -> Map<String, Value> {
    let ready = node.ready.as_ref();
    row! {
        "node": node.number,
        "pid": node.pid(),
        "grpc": ready.map(|ready| &ready.grpc),
        "kafka": ready.map(|ready| &ready.kafka),
        "http": ready.map(|ready| &ready.http),
        "state": said(node.state),
    }
}

fn said(state: State) -> String {
    match state {
        State::Starting => "starting".to_owned(),
        State::Running => "running".to_owned(),
        State::Gone(status) => format!("gone: {status}"),
    }
}
