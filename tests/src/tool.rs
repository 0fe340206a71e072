//! The tools of the binary, as a person runs them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::millrace_program;

/// What a tool said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// The binary with nothing of the caller's own settings.
#[must_use]
pub fn bare() -> Command {
    let mut command = Command::new(millrace_program());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MILLRACE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a tool to its end with that standard input.
///
/// # Panics
/// When it cannot be run.
#[must_use]
pub fn run(command: &mut Command, input: &str) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    // A tool that does not want its input may have closed it.
    let _unread = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    Said { code, out: text(output.stdout), err: text(output.stderr) }
}

/// Runs a tool against a server.
#[must_use]
pub fn ask(server: &str, words: &[&str], input: &str) -> Said {
    run(bare().args(["--server", server]).args(words), input)
}
