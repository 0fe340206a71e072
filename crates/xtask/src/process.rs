//! Running a command of a step: its output goes straight through, and it may be given an end.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

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

/// Like `run`, but the command and everything it started are killed when `limit` has passed.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let shown = show(command);
    println!("$ {shown}");
    // A group of its own, so that the end reaches the test binaries that cargo started too.
    let mut child = command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("{shown} did not start"))?;
    match wait(&mut child, limit)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("{shown}: {status}"),
        None => {
            kill_group(&mut child);
            bail!("{shown}: killed after {} s", limit.as_secs())
        }
    }
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
    fn a_command_past_its_end_is_killed_with_its_children() {
        let error =
            run_within(Command::new("sh").args(["-c", "sleep 600 & wait"]), Duration::from_millis(20))
                .unwrap_err();
        assert!(error.to_string().contains("killed after"), "{error}");
    }
}
