//! The second act: three workers share the topic in one group, one is killed, the others take over.
//!
//! ```text
//!  worker 1 ─┐ lines: what it was assigned, and place and checksum of every record, written before it may be committed
//!  worker 2 ─┼──► desk: each record against the CSV, how often it was read, by whom first ──► verdict
//!  worker 3 ─┘ (kill -9)
//! ```

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, Stdio};

use anyhow::{Context as _, anyhow};
use millrace_client::{Client, Offset, PartitionIndex};
use millrace_env::{Monotonic, real};
use tokio::sync::mpsc;

use super::child::LastWords;
use super::desk::{Desk, Event, Report};
use super::ledger::Expected;
use super::screen::Screen;
use super::{PARTITIONS, TOPIC};
use crate::child::{Owned, program};
use crate::table::counted;

/// The group of the workers.
pub(super) const GROUP: &str = "planes";
/// What a worker is told that shall not take its time any more.
pub(super) const HURRY: &str = "hurry";
const WORKERS: usize = 3;
/// The one that is killed.
const VICTIM: usize = 1;
/// How many records it may read before.
const KILL_AFTER: u64 = 5_000;
/// Lines that wait to be read.
const LINES_MAX: usize = 8192;

/// A worker's process. Killed when dropped.
#[derive(Debug)]
struct Worker {
    child: Owned,
    orders: Option<ChildStdin>,
}

/// A line of a worker, and when it came.
type Line = (usize, Monotonic, Event);

impl Worker {
    fn start(
        number: usize,
        grpc: &str,
        lines: mpsc::Sender<Line>,
        words: &LastWords,
    ) -> anyhow::Result<Worker> {
        let mut command = program()?;
        command.args(["--server", grpc, "demo", "--worker"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Owned::new(command.spawn().context("a worker does not start")?);
        let (orders, output, errors) = child.pipes().context("a worker without pipes")?;
        words.listen_to(errors)?;
        let clock = real::env().clock;
        let listen = move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // A line that was cut off by the kill is none.
                let Some(event) = Event::parse(&line) else { continue };
                if lines.blocking_send((number, clock.monotonic(), event)).is_err() {
                    return;
                }
            }
            lines.blocking_send((number, clock.monotonic(), Event::Ended)).ok();
        };
        real::env().tasks.thread("worker", Box::new(listen))?;
        Ok(Worker { child, orders: Some(orders) })
    }
}

/// Plays it.
///
/// # Errors
/// A worker or the broker does not do what it should.
pub(super) async fn run(
    client: &Client,
    grpc: &str,
    expected: &Expected<'_>,
    words: &LastWords,
    screen: &Screen,
) -> anyhow::Result<Report> {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    let start = |number| Worker::start(number, grpc, sender.clone(), words);
    let workers = (0..WORKERS).map(start).collect::<anyhow::Result<Vec<_>>>()?;
    drop(sender);
    let pids: Vec<String> = workers.iter().map(|worker| worker.child.pid().to_string()).collect();
    screen.say(&format!("second act: three workers (processes {}) in one group", pids.join(", ")));
    let desk = Desk::new(expected.record_sums(), WORKERS);
    let mut stage = Stage { client, workers, lines, desk, screen };
    stage.share().await?;
    stage.kill().await?;
    stage.take_over().await?;
    stage.finish().await?;
    stage.desk.report()
}

struct Stage<'a> {
    client: &'a Client,
    workers: Vec<Worker>,
    lines: mpsc::Receiver<Line>,
    desk: Desk,
    screen: &'a Screen,
}

impl Stage<'_> {
    /// Takes lines until the desk is as wanted.
    async fn until(&mut self, wanted: impl Fn(&Desk) -> bool) -> anyhow::Result<()> {
        while !wanted(&self.desk) {
            let (worker, at, event) = self.lines.recv().await.context("all workers have ended")?;
            let is_end = event == Event::Ended;
            self.desk.take(worker, at, event);
            if is_end && self.desk.victim() != Some(worker) {
                return Err(anyhow!("worker {} ended too early", worker + 1));
            }
        }
        Ok(())
    }

    /// Until everybody has its share, and the victim has read some of it.
    async fn share(&mut self) -> anyhow::Result<()> {
        let share = usize::try_from(PARTITIONS)? / WORKERS;
        self.until(|desk| (0..WORKERS).all(|worker| desk.owned(worker).len() == share)).await?;
        for worker in 0..WORKERS {
            let partitions = list(self.desk.owned(worker));
            self.screen.say(&format!("  worker {} has partitions {partitions}", worker + 1));
        }
        let before = self.desk.read_by(VICTIM);
        self.until(|desk| desk.read_by(VICTIM) >= before + KILL_AFTER).await
    }

    async fn kill(&mut self) -> anyhow::Result<()> {
        let victim = self.workers.get_mut(VICTIM).context("no victim")?;
        let pid = victim.child.pid();
        victim.child.kill_hard()?;
        self.desk.killed(VICTIM, real::env().clock.monotonic());
        // What it had written before is still to come.
        self.until(|desk| desk.has_ended(VICTIM)).await?;
        let partitions: Vec<u32> = self.desk.left_behind().to_vec();
        let keys: Vec<_> = partitions.iter().map(|partition| (TOPIC, PartitionIndex(*partition))).collect();
        let committed = self.client.admin().fetch_offsets(GROUP, &keys).await?;
        let committed = committed.iter().map(|one| (one.partition.0, one.offset.map_or(0, Offset::get)));
        let undone = self.desk.committed_by_victim(committed.collect());
        self.screen.say(&format!(
            "kill -9 {pid}, worker {}, after {}; it had partitions {}, and {undone} of their records were not committed",
            VICTIM + 1,
            counted(self.desk.read_by(VICTIM), "record"),
            list(&partitions),
        ));
        Ok(())
    }

    async fn take_over(&mut self) -> anyhow::Result<()> {
        self.until(Desk::is_taken_over).await?;
        let taken = self.desk.taken_over_in().unwrap_or_default();
        for worker in (0..WORKERS).filter(|worker| *worker != VICTIM) {
            let partitions = list(self.desk.owned(worker));
            self.screen.say(&format!(
                "  {:.1} s later worker {} reads partitions {partitions}",
                taken.as_secs_f32(),
                worker + 1
            ));
        }
        for worker in &mut self.workers {
            if let Some(orders) = &mut worker.orders {
                // The dead one does not read it.
                writeln!(orders, "{HURRY}").ok();
            }
        }
        Ok(())
    }

    /// Lets them read the rest and go, and asks the broker what the group is behind then.
    async fn finish(&mut self) -> anyhow::Result<()> {
        self.until(Desk::is_complete).await?;
        for worker in &mut self.workers {
            worker.orders = None;
        }
        while let Some((worker, at, event)) = self.lines.recv().await {
            self.desk.take(worker, at, event);
        }
        let lags = self.client.admin().group_lag(GROUP).await?;
        anyhow::ensure!(lags.iter().all(|lag| lag.refusal.is_none()), "the lag of the group is not known");
        self.desk.lag_after(lags.iter().map(|lag| lag.lag).sum());
        Ok(())
    }
}

fn list<'a>(partitions: impl IntoIterator<Item = &'a u32>) -> String {
    let numbers: Vec<String> = partitions.into_iter().map(u32::to_string).collect();
    numbers.join(", ")
}
