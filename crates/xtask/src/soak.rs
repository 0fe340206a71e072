//! `cargo xtask soak`: what takes too long for every change.
//!
//! The ignored tests of the crates `tests`, `sim` and `log` (they read `MILLRACE_SOAK_MINUTES`), each fuzz target for as long, as
//! `fuzz:TARGET`, and each mistake of a library that is planted, as `planted:NAME`.

use anyhow::{Context as _, Result, bail};

use crate::planted::{self, PLANTED};
use crate::workspace::{self, Metadata};
use crate::{fuzz, process, test};

const PACKAGES: [&str; 3] = ["millrace-tests", "millrace-sim", "millrace-log"];
const FUZZ: &str = "fuzz:";
const PLANT: &str = "planted:";

fn suites(metadata: &Metadata) -> Vec<String> {
    PACKAGES.iter().flat_map(|package| metadata.targets(package, "test")).collect()
}

/// Prints the names of the long suites.
pub(crate) fn list() -> Result<()> {
    for target in suites(&Metadata::of_workspace()?) {
        let output = workspace::cargo()
            .args([
                "test",
                "--quiet",
                "--workspace",
                "--release",
                "--test",
                &target,
                "--",
                "--ignored",
                "--list",
            ])
            .output()
            .context("cargo test could not be started")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for name in text.lines().filter_map(|line| line.strip_suffix(": test")) {
            println!("{name}");
        }
    }
    for target in fuzz::targets()? {
        println!("{FUZZ}{target}");
    }
    PLANTED.iter().for_each(|planted| println!("{PLANT}{}", planted.name));
    Ok(())
}

/// Runs one long suite (or those whose names hold `name`), or everything.
pub(crate) fn run(name: Option<&str>, minutes: u64) -> Result<()> {
    if let Some(target) = name.and_then(|name| name.strip_prefix(FUZZ)) {
        return fuzz::run(Some(target), minutes * 60);
    }
    if let Some(wanted) = name.and_then(|name| name.strip_prefix(PLANT)) {
        let planted = PLANTED.iter().find(|planted| planted.name == wanted);
        return planted::run(planted.with_context(|| format!("{wanted} is nothing that is planted"))?);
    }
    let suites = run_suites(name, minutes);
    if name.is_some() {
        return suites;
    }
    let fuzzing = fuzz::run(None, minutes * 60);
    suites.and(fuzzing).and(PLANTED.iter().try_for_each(planted::run))
}

fn run_suites(name: Option<&str>, minutes: u64) -> Result<()> {
    let metadata = Metadata::of_workspace()?;
    let report = test::fresh_report(&metadata)?;
    let targets = suites(&metadata);
    process::run(workspace::cargo().args(["build", "--workspace", "--release"]))?;
    let mut command = workspace::cargo();
    command.args(["test", "--workspace", "--release", "--no-fail-fast"]);
    for target in &targets {
        command.args(["--test", target]);
    }
    // One at a time: a long suite wants the machine for itself.
    command.args(["--", "--ignored", "--nocapture", "--test-threads", "1"]).args(name);
    command.env("MILLRACE_SOAK_MINUTES", minutes.to_string()).env(test::SKIP_REPORT, &report);
    let outcome = process::run(&mut command);
    test::print_report(&report);
    outcome
}
