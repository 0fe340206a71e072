//! What a person watches: a line on standard error that counts records, tables that are printed again and again.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use indicatif::{ProgressBar, ProgressStyle};

/// A line that counts records, `what` being said of them; hidden if standard error is no terminal.
pub(crate) fn counter(what: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    let template = format!("{{spinner}} {{human_pos}} records {what}, {{per_sec}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

/// Whether standard output goes to a file: then nobody else writes to the terminal.
pub(crate) fn is_output_a_file() -> bool {
    let output = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    output.and_then(|output| output.metadata()).is_ok_and(|metadata| metadata.is_file())
}

/// Empties the screen for the next table, if standard output is one.
///
/// # Errors
/// Standard output's.
pub(crate) fn clear() -> io::Result<()> {
    let mut output = io::stdout().lock();
    if output.is_terminal() {
        output.write_all(b"\x1b[H\x1b[2J\x1b[3J")?;
        output.flush()?;
    }
    Ok(())
}
