//! Processes that a tool starts of the same binary, and that do not outlive it.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};

use anyhow::Context;
use millrace_env::real;
use tokio::sync::oneshot;

/// A process that does not outlive its owner.
#[derive(Debug)]
pub(crate) struct Owned(Child);

impl Owned {
    /// Takes care of it from now on.
    pub(crate) fn new(child: Child) -> Owned {
        Owned(child)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// What it reads, what it writes and where it complains, where it was given pipes; once.
    pub(crate) fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout, ChildStderr)> {
        Some((self.0.stdin.take()?, self.0.stdout.take()?, self.0.stderr.take()?))
    }

    /// What it writes, where that is a pipe; once.
    pub(crate) fn output(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    /// Where it complains, where that is a pipe; once.
    pub(crate) fn errors(&mut self) -> Option<ChildStderr> {
        self.0.stderr.take()
    }

    /// Ends what it reads, where that is a pipe.
    pub(crate) fn end_input(&mut self) {
        drop(self.0.stdin.take());
    }

    /// Waits until it has ended. Blocks: for one that has closed its output.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        self.0.wait().context("it cannot be waited for")
    }

    /// Kills it with SIGKILL: it gets no chance to write, sync or say goodbye.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn kill_hard(&mut self) -> anyhow::Result<ExitStatus> {
        self.0.kill().context("it cannot be killed")?;
        self.0.wait().context("it was killed and cannot be waited for")
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What a process prints, read on a thread of its own: one that says nothing must not keep its owner from giving up.
#[derive(Debug)]
pub(crate) struct Output {
    /// Its first line; empty if it ends before.
    pub(crate) line: oneshot::Receiver<String>,
    /// Its end, which is the process's.
    pub(crate) end: oneshot::Receiver<()>,
}

impl Output {
    /// Begins to read. What comes behind the first line is dropped: a full pipe must not stop the process.
    ///
    /// # Errors
    /// There is no thread.
    pub(crate) fn of(name: &str, output: impl Read + Send + 'static) -> std::io::Result<Output> {
        let ((said, line), (ended, end)) = (oneshot::channel(), oneshot::channel());
        let read = move || {
            let mut output = BufReader::new(output);
            let mut line = String::new();
            output.read_line(&mut line).ok();
            // If nobody waits any more, the owner is done.
            said.send(line).ok();
            std::io::copy(&mut output, &mut std::io::sink()).ok();
            ended.send(()).ok();
        };
        real::env().tasks.thread(name, Box::new(read))?;
        Ok(Output { line, end })
    }
}

/// The running binary, with nothing of the user's own configuration: what is started is the same everywhere.
///
/// # Errors
/// It cannot be found.
pub(crate) fn program() -> anyhow::Result<Command> {
    let binary = std::env::current_exe().context("the running binary cannot be found")?;
    let mut command = Command::new(binary);
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("MILLRACE_")) {
        command.env_remove(name);
    }
    Ok(command)
}
