//! `millrace dev-cluster` as a child process, and the brokers that it starts.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStderr, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::tool::{self, Said};

/// A safety net, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster that one command has started. Killed when dropped, and its brokers with it.
#[derive(Debug)]
pub struct DevCluster {
    child: Child,
    stderr: Option<ChildStderr>,
    /// The lines that it printed, by node.
    pub lines: Vec<serde_json::Value>,
}

impl DevCluster {
    /// Starts one on ports that nobody else has, and waits until all accept.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(dir: &Path) -> DevCluster {
        let mut command = tool::bare();
        command.args(["dev-cluster", "--format", "json", "--grpc-port", "0", "--kafka-port", "0"]);
        command.args(["--http-port", "0", "--internal-port", "0", "--data-dir"]).arg(dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let lines = stdout.lines().take(3).map(|line| line.expect("a line of text"));
        let lines: Vec<_> =
            lines.map(|line| serde_json::from_str(&line).expect("one JSON object a line")).collect();
        let mut cluster = DevCluster { stderr: child.stderr.take(), child, lines };
        if cluster.lines.len() < 3 {
            let status = cluster.child.wait();
            panic!("it did not come up: {status:?}\n{}", cluster.said());
        }
        cluster
    }

    /// A tool, asking all of the brokers.
    #[must_use]
    pub fn ask(&self, words: &[&str], input: &str) -> Said {
        let doors: Vec<_> = self.lines.iter().filter_map(|line| line["grpc"].as_str()).collect();
        tool::ask(&doors.join(","), words, input)
    }

    /// The process of a node.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn pid(&self, node: usize) -> Pid {
        let pid = self.lines[node - 1]["pid"].as_i64().expect("a process id");
        i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id")
    }

    /// Kills a node with SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_node(&self, node: usize) {
        kill_process(self.pid(node), Signal::KILL).expect("a running broker");
    }

    /// Kills the command itself with SIGKILL, and leaves its brokers to themselves.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Asks it to stop (SIGTERM), and waits until it has; what it said meanwhile on standard error.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn stop(&mut self) -> (ExitStatus, String) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::TERM).expect("a running child");
        let said = self.said();
        (self.child.wait().expect("a child can be waited for"), said)
    }

    /// Waits until none of the brokers runs any more.
    ///
    /// # Panics
    /// When one goes on.
    pub fn wait_for_brokers(&self) {
        let end = Instant::now() + PATIENCE;
        // One that has ended may wait to be reaped by whoever adopted it.
        let runs = |node: &usize| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid(*node).as_raw_pid()));
            stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.starts_with(" Z")))
        };
        while let Some(node) = [1, 2, 3].iter().find(|node| runs(node)) {
            assert!(Instant::now() < end, "node {node} goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Standard error, to its end.
    fn said(&mut self) -> String {
        let mut said = String::new();
        if let Some(mut stderr) = self.stderr.take() {
            stderr.read_to_string(&mut said).expect("text");
        }
        said
    }
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
