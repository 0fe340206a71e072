//! `cargo xtask bench`: the measurements of the `benches` crate, by name.
//!
//! A measurement is a binary of that crate; it prints its figures beside the machine's ceiling of the same run.

use std::process::Command;

use anyhow::{Result, bail, ensure};

use crate::process;
use crate::workspace::{self, Metadata};

const PACKAGE: &str = "millrace-benches";

/// Prints what there is to measure.
pub(crate) fn list() -> Result<()> {
    for name in names(&Metadata::of_workspace()?) {
        println!("{name}");
    }
    Ok(())
}

/// Builds with the whole workspace (so that nothing is compiled twice) and runs one measurement, or all in turn.
pub(crate) fn run(name: Option<&str>, rest: &[String]) -> Result<()> {
    let metadata = Metadata::of_workspace()?;
    let mut chosen = names(&metadata);
    if let Some(name) = name {
        ensure!(
            chosen.iter().any(|known| known == name),
            "no measurement {name:?}; there are: {}",
            chosen.join(", ")
        );
        chosen = vec![name.to_owned()];
    }
    process::run(workspace::cargo().args(["build", "--workspace", "--release", "--bins"]))?;
    let folder = metadata.target_directory.join("release");
    let failed: Vec<&String> = chosen
        .iter()
        .filter(|name| {
            let outcome =
                process::run(Command::new(folder.join(name)).args(rest).current_dir(workspace::root()));
            outcome.inspect_err(|error| println!("bench: {error:#}")).is_err()
        })
        .collect();
    if !failed.is_empty() {
        bail!("failed: {failed:?}");
    }
    Ok(())
}

fn names(metadata: &Metadata) -> Vec<String> {
    metadata.targets(PACKAGE, "bin")
}
