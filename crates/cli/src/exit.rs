//! What the process answers when it ends, and what it says on standard error.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::process::ExitCode;

use millrace_client::{ClientError, ProduceError};
use millrace_server::config::ConfigError;

/// Everything was done.
pub(crate) const SUCCESS: u8 = 0;
/// Something failed; standard error says what.
pub(crate) const FAILURE: u8 = 1;
/// The command line or the configuration cannot be right, whatever the world is like; clap's own number.
pub(crate) const USAGE: u8 = 2;
/// What was asked about is there, and not as it should be.
pub(crate) const UNWELL: u8 = 3;
/// A signal ended it: 128 and the number of SIGINT, as shells say it.
pub(crate) const INTERRUPTED: u8 = 130;

/// What was asked for makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// The user has stopped it.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(crate) struct Stopped;

/// Says something to a person. Nobody listening is no failure.
pub(crate) fn tell_line(text: fmt::Arguments<'_>) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// [`tell_line()`] with a format.
macro_rules! tell {
    ($($text:tt)*) => { $crate::exit::tell_line(format_args!($($text)*)) };
}
pub(crate) use tell;

/// Prints an error with its causes and picks the exit code. A closed pipe ends a tool quietly: whoever read its
/// output has seen enough.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::from(SUCCESS);
    }
    tell!("millrace: {}", text(error));
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    let is_usage = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<Usage>()
            || cause.is::<ConfigError>()
            || matches!(cause.downcast_ref(), Some(ClientError::Config { .. }))
            || matches!(cause.downcast_ref(), Some(ProduceError::Config { .. }))
    };
    if error.chain().any(is_usage) {
        USAGE
    } else if error.chain().any(|cause| cause.is::<Stopped>()) {
        INTERRUPTED
    } else {
        FAILURE
    }
}

/// The error and its causes, those left out that the one before has told already.
fn text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(cause.trim_end()) {
            write!(text, ": {cause}").ok();
        }
    }
    text.truncate(text.trim_end().len());
    if let Some(ClientError::Unreachable { .. }) = error.chain().find_map(|cause| cause.downcast_ref()) {
        text += "\nIs a broker running there? `millrace serve` starts one; --server or MILLRACE_SERVER names another.";
    }
    text
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("reading a: {source}")]
    struct Telling {
        source: io::Error,
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::Error::new(Telling { source: io::Error::other("it is gone") });
        assert_eq!(text(&error), "reading a: it is gone");
        let error = anyhow::Error::new(io::Error::other("it is gone")).context("a");
        assert_eq!(text(&error), "a: it is gone");
    }

    #[test]
    fn what_cannot_be_right_is_usage_and_the_rest_is_failure() {
        let config = ClientError::Config { what: "server".to_owned(), reason: "no".to_owned() };
        assert_eq!(code(&Err::<(), _>(config).context("--server").unwrap_err()), USAGE);
        assert_eq!(code(&Usage("no".to_owned()).into()), USAGE);
        assert_eq!(code(&Stopped.into()), INTERRUPTED);
        assert_eq!(code(&anyhow::anyhow!("no")), FAILURE);
    }

    #[test]
    fn where_nobody_answers_it_says_what_to_do() {
        let (server, reason) = ("a:1".to_owned(), "refused".to_owned());
        let text = text(&ClientError::Unreachable { server, reason }.into());
        assert!(text.starts_with("cannot reach a:1: refused\nIs a broker running there?"), "{text}");
    }
}
