//! One of the brokers: a process of the same binary.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, anyhow};
use millrace_env::real;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::ports::{self, Remembered};
use crate::args::DevClusterArgs;
use crate::child::{Output, Owned, program};

/// Lines of the log that are told of one that does not come up.
const LAST_WORDS_MAX: usize = 8;

/// The line that `serve` prints once it accepts.
#[derive(Clone, Deserialize, Debug)]
pub(super) struct Ready {
    pub(super) grpc: String,
    pub(super) kafka: String,
    pub(super) http: String,
}

/// How it is with a broker.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// It has not said yet that it accepts.
    Starting,
    /// It has.
    Running,
    /// It has ended, and nobody starts it again.
    Gone(ExitStatus),
}

/// A broker. Killed when dropped.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) number: usize,
    pub(super) ready: Option<Ready>,
    pub(super) state: State,
    log: PathBuf,
    child: Owned,
    line: Option<oneshot::Receiver<String>>,
    end: Option<oneshot::Receiver<()>>,
}

/// What a broker has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum News {
    /// It accepts.
    Accepts,
    /// It has ended.
    Ended,
}

impl Node {
    /// Starts a broker. It stops when what it reads ends: when it is told to, and when we are gone, whatever ends us.
    ///
    /// # Errors
    /// It cannot be started, or its log cannot be written.
    pub(super) fn start(
        args: &DevClusterArgs,
        remembered: &Remembered,
        index: usize,
    ) -> anyhow::Result<Node> {
        let number = index + 1;
        let log = args.data_dir.join(format!("node-{number}.log"));
        let internal = remembered.internal(index).context("there is no such node")?;
        let mut command = program()?;
        command.args(["serve", "--stop-with-input", "--node-id", &number.to_string(), "--data-dir"]);
        command.arg(args.data_dir.join(format!("node-{number}")));
        let doors = [("--grpc", args.grpc_port), ("--kafka", args.kafka_port), ("--http", args.http_port)];
        for (door, base) in doors {
            command.args([door, &ports::door(base, index).to_string()]);
        }
        command.args(["--internal", &internal.to_string()]);
        if let Some(others) = remembered.join(index) {
            command.args(["--join", &others]);
        }
        command.args(["--log-level", &args.log_level, "--log-format", "human"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(appended(&log)?);
        // A group of its own: what a terminal sends on Ctrl-C is for us, and a broker that hears it twice stops hard.
        command.process_group(0);
        let mut child = Owned::new(command.spawn().with_context(|| format!("node {number} does not start"))?);
        let stdout = child.output().context("a broker without a pipe")?;
        let Output { line, end } = Output::of("broker output", stdout)?;
        let (line, end) = (Some(line), Some(end));
        Ok(Node { number, ready: None, state: State::Starting, log, child, line, end })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Whether it runs, or will.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self.state, State::Gone(_))
    }

    /// Waits until something has become of it; for ever, once it is gone. May be dropped half-way.
    ///
    /// # Errors
    /// It says something that no broker says.
    pub(super) async fn news(&mut self) -> anyhow::Result<News> {
        if let Some(line) = &mut self.line {
            let line = line.await.unwrap_or_default();
            self.line = None;
            if !line.is_empty() {
                let ready = serde_json::from_str(&line)
                    .with_context(|| format!("node {} says {line:?}", self.number))?;
                self.ready = Some(ready);
                self.state = State::Running;
                return Ok(News::Accepts);
            }
        }
        match &mut self.end {
            // A thread that is gone has nothing to read any more.
            Some(end) => drop(end.await),
            None => std::future::pending().await,
        }
        self.end = None;
        let mut ended = Err(anyhow!("it was not waited for"));
        // It has closed its output, so it ends now.
        real::env().tasks.blocking_section(&mut || ended = self.child.wait());
        self.state = State::Gone(ended?);
        Ok(News::Ended)
    }

    /// Asks it to stop: it hands over what it leads, answers what is in flight, and leaves everything in order.
    pub(super) fn stop(&mut self) {
        self.child.end_input();
    }

    /// Kills it.
    pub(super) fn kill(&mut self) {
        if self.is_there() {
            self.child.kill_hard().ok();
        }
    }

    /// Where it writes what it does.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// The end of that.
    pub(super) fn last_words(&self) -> String {
        #[expect(clippy::disallowed_methods, reason = "a log for people, not one of records")]
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LAST_WORDS_MAX)..).unwrap_or_default();
        last.iter().map(|line| format!("\n  {line}")).collect()
    }
}

fn appended(path: &Path) -> anyhow::Result<File> {
    #[expect(clippy::disallowed_methods, reason = "a log for people, not one of records")]
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| path.display().to_string())
}
