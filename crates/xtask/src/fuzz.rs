//! `cargo xtask fuzz`: coverage-guided fuzzing on the stable compiler.
//!
//! The targets are the binaries of the workspace in `fuzz/`, which stands apart because it is built with coverage
//! counters. These flags are what cargo-fuzz sets for `--sanitizer none`; the sanitizers themselves want a nightly
//! compiler, and decoders without `unsafe` gain little from them. libFuzzer is compiled from libfuzzer-sys: that wants a
//! C++ compiler (the one thing here that does).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::workspace::{self, Metadata};
use crate::{machine, process};

/// What the coverage counters need, and `cfg(fuzzing)` for code that wants to know.
const FLAGS: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cdebug-assertions -Coverflow-checks";

/// An input may not take longer than this, in seconds.
const INPUT_SECONDS_MAX: u32 = 10;
/// A target may not hold more memory than this, in MiB: a decoder that believes a length field shows here.
const MEMORY_MIB_MAX: u32 = 1_024;
/// Inputs are at most this long, in bytes.
const INPUT_BYTES_MAX: u32 = 65_536;

/// Prints the names of the targets.
pub(crate) fn list() -> Result<()> {
    for target in targets()? {
        println!("{target}");
    }
    Ok(())
}

/// The binaries of `fuzz/Cargo.toml`.
pub(crate) fn targets() -> Result<Vec<String>> {
    let path = folder().join("Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let manifest: toml::Table = toml::from_str(&text)?;
    let binaries = manifest.get("bin").and_then(toml::Value::as_array).into_iter().flatten();
    let names = binaries.filter_map(|binary| binary.get("name").and_then(toml::Value::as_str));
    Ok(names.map(str::to_owned).collect())
}

/// Builds, and runs one target, or each in turn, for so many seconds.
pub(crate) fn run(target: Option<&str>, seconds: u64) -> Result<()> {
    let mut chosen = targets()?;
    if let Some(target) = target {
        ensure!(
            chosen.iter().any(|known| known == target),
            "no target {target:?}; there are: {}",
            chosen.join(", ")
        );
        chosen = vec![target.to_owned()];
    }
    let binaries = build()?;
    let mut failed = Vec::new();
    for target in &chosen {
        if let Err(error) = run_target(&binaries, target, seconds) {
            println!("fuzz: {error:#}");
            failed.push(target.as_str());
        }
    }
    if !failed.is_empty() {
        bail!("these targets found something (see fuzz/artifacts): {}", failed.join(", "));
    }
    Ok(())
}

/// Builds every target and says where the binaries lie.
pub(crate) fn build() -> Result<PathBuf> {
    if !["c++", "g++", "clang++"].iter().any(|name| machine::has_program(name)) {
        bail!("fuzzing wants a C++ compiler (Debian: g++), libFuzzer is C++");
    }
    let triple = workspace::host_triple()?;
    // Apart from the workspace's own target folder: other flags, and so other artefacts throughout.
    let target_directory = Metadata::of_workspace()?.target_directory.join("fuzz");
    // The same versions as the workspace's, and only the fuzzer's own crates on top; so this lock is not kept in git.
    std::fs::copy(workspace::root().join("Cargo.lock"), folder().join("Cargo.lock"))?;
    process::run(
        workspace::cargo()
            .args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml"])
            // Naming the target keeps the flags away from build scripts and macros.
            .args(["--target", &triple])
            .arg("--target-dir")
            .arg(&target_directory)
            .env("RUSTFLAGS", FLAGS),
    )?;
    Ok(target_directory.join(triple).join("release"))
}

fn run_target(binaries: &Path, target: &str, seconds: u64) -> Result<()> {
    let corpus = folder().join("corpus").join(target);
    let artifacts = folder().join("artifacts").join(target);
    std::fs::create_dir_all(&corpus)?;
    std::fs::create_dir_all(&artifacts)?;
    let seeds = folder().join("seeds").join(target);
    let mut command = Command::new(binaries.join(target));
    command
        .current_dir(workspace::root())
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-verbosity=0", "-print_funcs=0", "-print_final_stats=1"])
        // New finds go into the first folder; the seeds are only read.
        .arg(&corpus);
    if seeds.is_dir() {
        command.arg(&seeds);
    }
    // libFuzzer ends with a dictionary that it recommends: hundreds of lines, in which a find drowns.
    let log = artifacts.join("last-run.log");
    command.stderr(std::fs::File::create(&log)?);
    let ended = process::run_within(&mut command, Duration::from_secs(seconds + 120));
    let said = std::fs::read(&log)?;
    let said = String::from_utf8_lossy(&said);
    for line in said
        .lines()
        .filter(|line| !line.ends_with(|end: char| end.is_ascii_digit()) || !line.contains("# Uses:"))
    {
        println!("{line}");
    }
    ended
}

fn folder() -> PathBuf {
    workspace::root().join("fuzz")
}
