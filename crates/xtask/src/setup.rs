//! What the suites want from the machine beyond Rust and a C compiler, and how it is installed.

use std::process::Command;

use anyhow::{Result, bail};

use crate::machine::{self, PROGRAMS};
use crate::process;

/// `cargo xtask setup`.
pub(crate) fn run() -> Result<()> {
    let missing: Vec<_> = PROGRAMS.iter().filter(|need| !machine::has_program(need.name)).collect();
    if missing.is_empty() {
        println!("setup: everything the suites want is here");
        return Ok(());
    }
    for need in &missing {
        println!("setup: {} is missing ({})", need.name, need.what_for);
    }
    let mut packages: Vec<&str> = missing.iter().filter_map(|need| need.package).collect();
    packages.dedup();
    println!("setup: apt-get install --no-install-recommends {}", packages.join(" "));
    if !machine::is_ci() || !machine::is_root() {
        println!("setup: (installed only as root with CI set)");
        return Ok(());
    }
    if !machine::has_program("apt-get") {
        bail!("no apt-get here: install the above by the means of this machine");
    }
    process::run(Command::new("apt-get").args(["-qq", "update"]))?;
    process::run(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-qq", "-y", "install", "--no-install-recommends"])
            .args(&packages),
    )
}
