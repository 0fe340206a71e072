//! The broker that the demo starts and kills: `millrace serve` of the same binary.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use millrace_env::{ThreadHandle, real};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::child::{Output, Owned, program};

/// Lines of the broker's log that are kept, to be told if the demo fails.
const LAST_WORDS_MAX: usize = 12;

/// The line that `serve` prints once it accepts.
#[derive(Deserialize, Debug)]
struct Ready {
    pid: u32,
    grpc: String,
}

/// What the broker and the workers wrote to standard error last.
#[derive(Clone, Default, Debug)]
pub(super) struct LastWords(Arc<Mutex<VecDeque<String>>>);

impl LastWords {
    /// For an error message; empty if it said nothing.
    pub(super) fn text(&self) -> String {
        let lines = self.0.lock();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        if lines.is_empty() {
            String::new()
        } else {
            format!("\nits processes said:\n  {}", lines.join("\n  "))
        }
    }

    /// Listens until the broker has ended.
    pub(super) fn listen_to(
        &self,
        stderr: impl Read + Send + 'static,
    ) -> std::io::Result<Box<dyn ThreadHandle>> {
        let words = self.clone();
        let listen = move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut lines = words.0.lock();
                if lines.len() == LAST_WORDS_MAX {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        };
        real::env().tasks.thread("broker log", Box::new(listen))
    }
}

/// A running `serve`. Killed when dropped.
#[derive(Debug)]
pub(super) struct BrokerChild {
    data_dir: PathBuf,
    words: LastWords,
    child: Owned,
    ready: Ready,
    started_in: Duration,
}

impl BrokerChild {
    /// Starts a broker on `grpc` (port 0 picks one) and waits until it accepts.
    ///
    /// # Errors
    /// It ends, or prints something else.
    pub(super) async fn start(data_dir: &Path, grpc: &str, words: &LastWords) -> anyhow::Result<BrokerChild> {
        let clock = real::env().clock;
        let begun = clock.monotonic();
        let child = program()?
            .arg("serve")
            .arg("--data-dir")
            .arg(data_dir)
            .args([
                "--grpc",
                grpc,
                "--http",
                "127.0.0.1:0",
                "--kafka",
                "127.0.0.1:0",
                "--log-level",
                "warn",
                "--log-format",
                "human",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("the broker does not start")?;
        let mut child = Owned::new(child);
        let stderr = child.errors().context("the broker has no standard error")?;
        let mut listener = Some(words.listen_to(stderr)?);
        let stdout = child.output().context("the broker has no standard output")?;
        let line = Output::of("broker output", stdout)?.line.await.context("the broker's standard output")?;
        let Ok(ready) = serde_json::from_str::<Ready>(&line) else {
            let status = if line.is_empty() { child.wait()? } else { child.kill_hard()? };
            // It is dead, so what it said comes to an end.
            real::env().tasks.blocking_section(&mut || {
                if let Some(listener) = listener.take() {
                    listener.join();
                }
            });
            return Err(anyhow!("the broker did not come up: it printed {line:?} and ended with {status}"));
        };
        let started_in = clock.monotonic().since(begun);
        Ok(BrokerChild { data_dir: data_dir.to_owned(), words: words.clone(), child, ready, started_in })
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
    pub(super) async fn start_again(&mut self) -> anyhow::Result<()> {
        *self = BrokerChild::start(&self.data_dir, &self.ready.grpc, &self.words).await?;
        Ok(())
    }

    /// As [`Owned::kill_hard`].
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn kill_hard(&mut self) -> anyhow::Result<()> {
        self.child.kill_hard().context("the broker").map(|_status| ())
    }
}
