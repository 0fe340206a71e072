//! The integration tests of the Rust crate `rdkafka`, whose sources come with it, built once per target directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Need;
use crate::crate_source::{copy, source_of, succeed};

/// What is needed to build them.
pub const NEEDS: [Need; 3] = [Need::Program("make"), Need::Program("cc"), Need::Program("c++")];
/// Written when the copy is as we want it.
const OURS: &str = "copied";
/// Which broker they are told that they speak to.
const KAFKA_VERSION: &str = "4.0.0";

/// The suites, built.
#[derive(Debug, Clone)]
pub struct RdkafkaSuites {
    folder: PathBuf,
    built: PathBuf,
}

impl RdkafkaSuites {
    /// Fetches and builds them, with the versions that the crate's own lock file names.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn build(target: &Path) -> RdkafkaSuites {
        let source = source_of("rdkafka");
        let version = source.file_name().expect("a folder with a version");
        let (folder, built) = (target.join(version), target.join("rdkafka-target"));
        let ours = folder.join(OURS);
        if !ours.exists() {
            copy(&source, &folder);
            // It may lie inside of our workspace, and is none of it.
            let manifest = folder.join("Cargo.toml");
            let told = std::fs::read_to_string(&manifest).expect("its manifest");
            std::fs::write(manifest, told + "\n[workspace]\n").expect("its manifest");
            std::fs::write(ours, "").expect("a mark");
        }
        let suites = RdkafkaSuites { folder, built };
        succeed(suites.cargo().args(["test", "--locked", "--no-run", "--tests"]));
        suites
    }

    /// Runs one suite against a broker, one test after the other; says of each whether it passed.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn run(&self, suite: &str, bootstrap: &str) -> BTreeMap<String, bool> {
        let mut cargo = self.cargo();
        cargo.args(["test", "--locked", "--no-fail-fast", "--test", suite, "--", "--test-threads", "1"]);
        cargo.env("KAFKA_HOST", bootstrap).env("KAFKA_VERSION", KAFKA_VERSION);
        let output = cargo.output().expect("cargo starts");
        // test NAME ... ok
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
        lines.map(|(name, told)| (name.to_owned(), told == "ok")).collect()
    }

    fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // Neither our profile nor what this test was started with.
        cargo.current_dir(&self.folder).env("CARGO_TARGET_DIR", &self.built).env_remove("RUSTFLAGS");
        cargo
    }
}
