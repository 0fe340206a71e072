//! The broker that the demo starts, kills and starts again: `millrace serve` of the same binary.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use millrace_env::real;
use serde::Deserialize;

/// The line that `serve` prints once it accepts.
#[derive(Deserialize, Debug)]
struct Ready {
    pid: u32,
    grpc: String,
}

/// A running `serve`. Killed when dropped.
#[derive(Debug)]
pub(super) struct BrokerChild {
    data_dir: PathBuf,
    child: Child,
    ready: Ready,
    started_in: Duration,
}

impl BrokerChild {
    /// Starts a broker on `grpc` (port 0 picks one) and waits until it accepts.
    ///
    /// # Errors
    /// It ends, or prints something else.
    pub(super) fn start(data_dir: &Path, grpc: &str) -> anyhow::Result<BrokerChild> {
        let binary = std::env::current_exe().context("the running binary cannot be found")?;
        let clock = real::env().clock;
        let begun = clock.monotonic();
        let mut child = Command::new(binary)
            .arg("serve")
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--grpc", grpc, "--http", "127.0.0.1:0", "--log-level", "warn"])
            .env_remove("MILLRACE_SERVER")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the broker does not start")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        match serde_json::from_str::<Ready>(&line) {
            Ok(ready) => {
                let started_in = clock.monotonic().since(begun);
                Ok(BrokerChild { data_dir: data_dir.to_owned(), child, ready, started_in })
            }
            Err(_) => {
                child.kill().ok();
                let status = child.wait()?;
                bail!("the broker did not come up: it said {line:?} and ended with {status}")
            }
        }
    }

    /// Where it listens.
    pub(super) fn grpc(&self) -> &str {
        &self.ready.grpc
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.ready.pid
    }

    /// From starting the process to the first moment it accepted.
    pub(super) fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Starts a new process on the same files and the same address, after [`BrokerChild::kill_hard`].
    ///
    /// # Errors
    /// As [`BrokerChild::start`].
    pub(super) fn start_again(&mut self) -> anyhow::Result<()> {
        *self = BrokerChild::start(&self.data_dir, &self.ready.grpc)?;
        Ok(())
    }

    /// Kills it with SIGKILL: it gets no chance to write, sync or say goodbye.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn kill_hard(&mut self) -> anyhow::Result<()> {
        self.child.kill().context("the broker cannot be killed")?;
        self.child.wait().context("the killed broker cannot be waited for")?;
        Ok(())
    }
}

impl Drop for BrokerChild {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
