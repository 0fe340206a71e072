//! What cargo and git know about this workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The root folder of the workspace.
pub(crate) fn root() -> PathBuf {
    // Two folders above this crate, which cargo knows when it compiles it.
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// `cargo`, the one that runs us, started in the root folder.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// A package of the workspace, or one that it links, as `cargo metadata` describes it.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// Where it was taken from; a package of the workspace has none.
    pub(crate) source: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

/// An arrow of the manifest, whatever kind it is (normal, dev, build).
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Lies in this workspace.
    pub(crate) local: bool,
}

/// A library, binary, test or bench of a package.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) path: PathBuf,
}

/// What `cargo metadata` says.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

impl Metadata {
    /// The packages of the workspace alone: needs no network and no lock.
    pub(crate) fn of_workspace() -> Result<Self> {
        read_metadata(&["--no-deps", "--offline"])
    }

    /// Everything in Cargo.lock that this machine's platform links.
    pub(crate) fn of_everything() -> Result<Self> {
        read_metadata(&["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
    }

    /// The targets of one kind (`test`, `bin`, `bench`) in one package.
    pub(crate) fn targets(&self, package: &str, kind: &str) -> Vec<String> {
        let packages = self.packages.iter().filter(|candidate| candidate.name == package);
        let targets = packages.flat_map(|package| &package.targets).filter(|target| target.kind == kind);
        targets.map(|target| target.name.clone()).collect()
    }

    /// The targets of one kind in the whole workspace.
    pub(crate) fn all_targets(&self, kind: &str) -> Vec<String> {
        let targets = self.packages.iter().flat_map(|package| &package.targets);
        targets.filter(|target| target.kind == kind).map(|target| target.name.clone()).collect()
    }
}

fn read_metadata(arguments: &[&str]) -> Result<Metadata> {
    let output = cargo()
        .args(["metadata", "--format-version", "1"])
        .args(arguments)
        .output()
        .context("cargo metadata could not be started")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    parse_metadata(&serde_json::from_slice(&output.stdout)?)
}

fn parse_metadata(value: &Value) -> Result<Metadata> {
    let packages = value["packages"].as_array().context("no packages in cargo metadata")?;
    let target_directory = value["target_directory"].as_str().context("no target_directory")?.into();
    Ok(Metadata { packages: packages.iter().map(parse_package).collect(), target_directory })
}

fn parse_package(value: &Value) -> Package {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let list = |key: &str| value[key].as_array().cloned().unwrap_or_default();
    Package {
        name: text("name").unwrap_or_default(),
        version: text("version").unwrap_or_default(),
        license: text("license"),
        source: text("source"),
        dependencies: list("dependencies")
            .iter()
            .map(|dependency| Dependency {
                name: dependency["name"].as_str().unwrap_or_default().to_owned(),
                local: dependency["path"].is_string(),
            })
            .collect(),
        targets: list("targets")
            .iter()
            .map(|target| Target {
                name: target["name"].as_str().unwrap_or_default().to_owned(),
                kind: target["kind"][0].as_str().unwrap_or_default().to_owned(),
                path: target["src_path"].as_str().unwrap_or_default().into(),
            })
            .collect(),
    }
}

/// The files that are, or with the next `git add` would be, in the repository; relative to the root, in order.
pub(crate) fn tracked_files() -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .current_dir(root())
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("git could not be started")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).context("a file name that is not UTF-8")?;
    let files = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    let mut files: Vec<PathBuf> = files.filter(|file| root().join(file).is_file()).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// The platform that we run on, as the compiler calls it.
pub(crate) fn host_triple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("rustc could not be started")?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc -vV names no host")?.to_owned())
}
