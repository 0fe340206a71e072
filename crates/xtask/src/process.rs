//! Running a command of a step: its output goes straight through, and it may be given an end.

mod said;

use std::io::{Read, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use said::Said;

/// How long output is waited for once a command has ended: a process that it left behind may hold the pipe for ever.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs it to its end, its output on ours; an error when it does not succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    println!("$ {shown}");
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("{shown} did not start"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// Like `run`, but the command and everything it started are killed when `limit` has passed, and the error ends with the
/// lines that say what went wrong: who reads a long report, or only its end, finds them without a search.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let shown = show(command);
    println!("$ {shown}");
    // A group of its own, so that the end reaches the test binaries that cargo started too.
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("{shown} did not start"))?;
    let heard = [
        child.stdout.take().map(|pipe| Passing::start(pipe, std::io::stdout())),
        child.stderr.take().map(|pipe| Passing::start(pipe, std::io::stderr())),
    ];
    let end = wait(&mut child, limit)?;
    if end.is_none() {
        kill_group(&mut child);
    }
    let said: String = heard.into_iter().flatten().map(Passing::last_words).collect();
    match end {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("{shown}: {status}\n{}", said),
        None => bail!("{shown}: killed after {} s\n{}", limit.as_secs(), said),
    }
}

/// A pipe that is copied to our own output on a thread.
struct Passing {
    said: Arc<Mutex<Said>>,
    /// Hangs up at the pipe's end.
    ended: Receiver<()>,
}

impl Passing {
    fn start(mut pipe: impl Read + Send + 'static, mut out: impl Write + Send + 'static) -> Passing {
        let (end, ended) = mpsc::channel();
        let said = Arc::new(Mutex::new(Said::default()));
        let hearing = Arc::clone(&said);
        std::thread::spawn(move || {
            let _until_the_end = end;
            let mut buffer = [0; 8192];
            while let Ok(count) = pipe.read(&mut buffer)
                && count > 0
            {
                let bytes = buffer.get(..count).unwrap_or_default();
                // Nobody reads our output any more: the command goes on all the same.
                let _passed_on = out.write_all(bytes).and_then(|()| out.flush());
                lock(&hearing).hear(bytes);
            }
        });
        Passing { said, ended }
    }

    fn last_words(self) -> String {
        let _ended = self.ended.recv_timeout(LAST_WORDS);
        lock(&self.said).text()
    }
}

fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn kill_group(child: &mut Child) {
    // The shell's own kill: it is there on every machine. A group that has just ended by itself is no error.
    let group = format!("kill -KILL -{}", child.id());
    if Command::new("sh").args(["-c", &group]).status().is_ok() {
        let _ended = child.wait();
    }
}

/// The command as a person would type it, without its environment.
pub(crate) fn show(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert!(error.to_string().contains("sh -c exit 3"), "{error}");
    }

    #[test]
    fn an_error_repeats_what_told_of_it() {
        let script = "echo test one ... ok; echo test two ... FAILED >&2; exit 1";
        let limit = Duration::from_secs(60);
        let error = run_within(Command::new("sh").args(["-c", script]), limit).unwrap_err().to_string();
        assert!(error.contains("test two ... FAILED") && !error.contains("test one ... ok\n"), "{error}");
    }

    #[test]
    fn a_command_past_its_end_is_killed_with_its_children() {
        let error =
            run_within(Command::new("sh").args(["-c", "sleep 600 & wait"]), Duration::from_millis(20))
                .unwrap_err();
        assert!(error.to_string().contains("killed after"), "{error}");
    }
}
