//! What the process answers when it ends.

use std::io;
use std::process::ExitCode;

/// Everything was done.
pub(crate) const SUCCESS: u8 = 0;
/// Something failed; standard error says what.
pub(crate) const FAILURE: u8 = 1;

/// Prints an error with its causes and picks the exit code. A closed pipe ends a tool quietly: whoever read its
/// output has seen enough.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::from(SUCCESS);
    }
    eprintln!("millrace: {error:#}");
    ExitCode::from(FAILURE)
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}
