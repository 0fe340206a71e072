//! `cargo xtask test`: every test, on a machine with only Rust and a C compiler.
//!
//! Suites that want more (root, Java, Python) ask `millrace_tests::require`. Where the machine has not got it they say so
//! in the skip report, which is printed at the end: nothing is left out silently. With `CI` set they fail instead.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;
use crate::workspace::{self, Metadata};

/// The variable that names the file to which a suite that is left out adds a line.
pub(crate) const SKIP_REPORT: &str = "MILLRACE_SKIP_REPORT";

/// Runs everything, doc tests included.
pub(crate) fn run(rest: &[String]) -> Result<()> {
    let report = fresh_report(&Metadata::of_workspace()?)?;
    // Suites of the `tests` crate start the binary as a process; cargo builds it for its own package's tests only.
    process::run(workspace::cargo().args(["build", "--workspace", "--release"]))?;
    let outcome = process::run(
        workspace::cargo()
            .args(["test", "--workspace", "--release", "--no-fail-fast"])
            .args(rest)
            .env(SKIP_REPORT, &report),
    );
    // Asked for in particular, the others are meant and not this.
    let teeth = if rest.is_empty() { process::run(&mut teeth()) } else { Ok(()) };
    print_report(&report);
    outcome.and(teeth)
}

/// The planted bugs, each of which must be caught. They are built by this command alone: within the workspace, so that
/// outside crates are the ones that everything else has built, and without any program.
pub(crate) fn teeth() -> Command {
    let mut command = workspace::cargo();
    command.args(["test", "--workspace", "--release", "--features", "millrace-sim/teeth"]);
    command.args(["--test", "sim_teeth", "--", "--nocapture"]);
    command
}

/// An empty report in the target folder.
pub(crate) fn fresh_report(metadata: &Metadata) -> Result<PathBuf> {
    std::fs::create_dir_all(&metadata.target_directory)?;
    let report = metadata.target_directory.join("skipped-suites.txt");
    std::fs::write(&report, "").with_context(|| format!("{} cannot be written", report.display()))?;
    Ok(report)
}

/// Prints what was left out and why.
pub(crate) fn print_report(report: &Path) {
    let text = std::fs::read_to_string(report).unwrap_or_default();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    if lines.is_empty() {
        println!("test: no suite was skipped");
    }
    for line in lines {
        println!("{line}");
    }
}
