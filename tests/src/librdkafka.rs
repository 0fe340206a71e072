//! librdkafka's own test suite, whose sources come with the crate `rdkafka-sys`, built once per target directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Need;
use crate::crate_source::{copy, source_of, succeed};

/// A test that takes longer has not passed: its own limits are shorter, if the machine is not very busy.
const PATIENCE: Duration = Duration::from_secs(240);
/// Which broker the suite is told that it speaks to: it leaves out what that one has not.
const KAFKA_VERSION: &str = "4.0.0";

/// Tests from this number on run until somebody ends them.
const BY_HAND_FROM: &str = "8000";

/// What is needed to build it.
pub const NEEDS: [Need; 3] = [Need::Program("make"), Need::Program("cc"), Need::Program("c++")];

/// The suite, built.
#[derive(Debug, Clone)]
pub struct LibrdkafkaSuite {
    folder: PathBuf,
}

/// How one of its tests ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it must.
    Passed,
    /// It leaves itself out: why.
    Skipped(String),
    /// It does not: the end of what it has printed.
    Failed(String),
}

impl LibrdkafkaSuite {
    /// Fetches and builds it, if that was not done yet.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn build(target: &Path) -> LibrdkafkaSuite {
        static BUILDING: Mutex<()> = Mutex::new(());
        let _alone = BUILDING.lock();
        let source = source_of("rdkafka-sys").join("librdkafka");
        let version = source.parent().and_then(Path::file_name).expect("a folder with a version");
        let folder = target.join(version);
        let suite = LibrdkafkaSuite { folder: folder.clone() };
        let mark = folder.join("built");
        if mark.exists() {
            return suite;
        }
        copy(&source, &folder);
        // Nothing that a machine may have or not: only what the suite itself brings, and plain connections.
        let plain = ["ssl", "gssapi", "curl", "zstd", "lz4-ext"].map(|what| format!("--disable-{what}"));
        succeed(Command::new("./configure").args(plain).current_dir(&folder));
        succeed(Command::new("make").args(["-j2", "libs"]).current_dir(&folder));
        succeed(Command::new("make").args(["-j2", "-C", "tests", "test-runner"]).current_dir(&folder));
        std::fs::write(mark, "").expect("a mark");
        suite
    }

    /// The numbers of its tests, without those that a person watches.
    ///
    /// # Panics
    /// When its folder cannot be listed.
    #[must_use]
    pub fn numbers(&self) -> BTreeSet<String> {
        let files = std::fs::read_dir(self.folder.join("tests")).expect("its tests");
        let names = files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned());
        let number = |name: String| {
            let source = name.ends_with(".c") || name.ends_with(".cpp");
            let number =
                name.get(..4).filter(|digits| source && digits.bytes().all(|one| one.is_ascii_digit()))?;
            (number < BY_HAND_FROM).then(|| number.to_owned())
        };
        names.filter_map(number).collect()
    }

    /// Runs the test of that number against a broker.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn run(&self, number: &str, bootstrap: &str) -> Verdict {
        let home = tempfile::tempdir().expect("a folder");
        let config = home.path().join("test.conf");
        let settings = format!("metadata.broker.list={bootstrap}\ntest.topic.random=true\n");
        std::fs::write(&config, settings).expect("a configuration");
        let output = home.path().join("output");
        let file = std::fs::File::create(&output).expect("a file");
        let mut runner = Command::new("./test-runner");
        runner.args(["-p1", "-Q", "-E", "-L"]).current_dir(self.folder.join("tests"));
        runner.env("LD_LIBRARY_PATH", "../src:../src-cpp").env("TESTS", number);
        runner.env("TEST_KAFKA_VERSION", KAFKA_VERSION).env("RDKAFKA_TEST_CONF", &config);
        runner.stdout(file.try_clone().expect("a handle")).stderr(file);
        let mut child = runner.spawn().expect("the runner starts");
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                break Some(status);
            }
            if Instant::now() > end {
                child.kill().expect("a child can be killed");
                child.wait().expect("a child can be waited for");
                break None;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let text = String::from_utf8_lossy(&std::fs::read(&output).expect("its output")).into_owned();
        match status {
            Some(status) if status.success() => {
                // The table at the end: | 0009_mock_cluster | SKIPPED | 0.000s | why
                let mut rows = text.lines().filter(|line| line.starts_with('|'));
                let row = rows.find(|row| row.contains(&format!(" {number}_"))).unwrap_or_default();
                let skipped = row.contains(" SKIPPED ").then(|| row.rsplit('|').next().unwrap_or_default());
                skipped.map_or(Verdict::Passed, |why| Verdict::Skipped(why.trim().to_owned()))
            }
            _ => Verdict::Failed(end_of(&text)),
        }
    }
}

fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
