//! Processes that a measurement starts: brokers, and raw servers that set the ceiling. They end with us.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::load;

/// How long a process may take to come up or to end.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(1);

/// A process whose processor time counts as ours and that is killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it and reads the first line of its standard output.
    ///
    /// # Errors
    /// It does not start, or ends without a line.
    pub fn start(command: &mut Command) -> Result<(Process, String)> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("not started")?;
        load::adopt(child.id());
        let output = child.stdout.take().context("no standard output")?;
        let process = Process { child };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(!line.is_empty(), "it ended before it was ready");
        Ok((process, line))
    }

    /// Starts it as the command says, and waits for nothing.
    ///
    /// # Errors
    /// It does not start.
    pub fn spawn(command: &mut Command) -> Result<Process> {
        let child = command.spawn().context("not started")?;
        load::adopt(child.id());
        Ok(Process { child })
    }

    /// What it reads and what it writes, where the command asked for pipes; once.
    pub fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        Some((self.child.stdin.take()?, self.child.stdout.take()?))
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// This binary again, with these arguments.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn again(arguments: &[&str]) -> Result<(Process, String)> {
        Process::start(Command::new(std::env::current_exe()?).args(arguments))
    }

    /// Its id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// It does not end, or not well.
    pub fn stop(self) -> Result<()> {
        self.stop_within(PATIENCE)
    }

    /// As [`Process::stop`], with another patience.
    ///
    /// # Errors
    /// It does not end, or not well.
    pub fn stop_within(self, patience: Duration) -> Result<()> {
        self.stop_as(0, patience)
    }

    /// As [`Process::stop_within`], where ending well has another exit code.
    ///
    /// # Errors
    /// It does not end, or not so.
    pub fn stop_as(mut self, code: i32, patience: Duration) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, Signal::TERM)?;
        let start = Instant::now();
        while start.elapsed() < patience {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.code() == Some(code), "it ended with {status}");
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        bail!("it does not end")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        load::disown(self.pid());
        // It may have ended already, which is as good.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A broker with a data directory of its own, on ports of its own.
#[derive(Debug)]
pub struct Broker {
    /// The process.
    pub process: Process,
    /// Where its gRPC door is, `host:port`.
    pub grpc: String,
    /// Where its Kafka door is, if it has one.
    pub kafka: Option<String>,
}

impl Broker {
    /// Starts `millrace serve` and waits until it accepts.
    ///
    /// # Errors
    /// It is not built, or does not come up.
    pub fn start(data_dir: &Path) -> Result<Broker> {
        let program = program()?;
        let mut command = Command::new(program);
        command.args([
            "serve",
            "--grpc",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--kafka",
            "127.0.0.1:0",
            "--log-level",
            "warn",
        ]);
        // The broker knows its own names in the environment and refuses any other.
        command.arg("--data-dir").arg(data_dir).env_remove("MILLRACE_BIN");
        let (process, line) = Process::start(&mut command).context("millrace serve")?;
        let ready: Value = serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?;
        let grpc = address(&ready["grpc"]).with_context(|| format!("no gRPC address in {line}"))?;
        Ok(Broker { process, grpc, kafka: address(&ready["kafka"]) })
    }
}

/// The first address of a door.
fn address(door: &Value) -> Option<String> {
    let first = match door {
        Value::Array(all) => all.first().and_then(Value::as_str),
        one => one.as_str(),
    };
    first.map(str::to_owned)
}

/// The binary beside ours, or what `MILLRACE_BIN` says.
///
/// # Errors
/// It is not built.
pub fn program() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("MILLRACE_BIN") {
        return Ok(given.into());
    }
    let beside = std::env::current_exe()?.with_file_name("millrace");
    ensure!(beside.is_file(), "{} is not there: cargo build --release", beside.display());
    Ok(beside)
}
